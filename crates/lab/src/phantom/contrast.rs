//! Contrast at any moment after an injection.
//!
//! Owns curves of enhancement and how patients differ from them: heart, dose, injection, liver
//! and kidneys. The curves are a textbook's, smoothed; `engines/recipe/phases.py` has its own.

use super::draw::Draw;

/// Seconds after the start of the injection.
const SECONDS: [f32; 14] =
    [0.0, 14.0, 20.0, 26.0, 32.0, 38.0, 46.0, 55.0, 65.0, 80.0, 100.0, 140.0, 200.0, 360.0];
const AORTA: [f32; 14] =
    [0.0, 30.0, 170.0, 280.0, 325.0, 300.0, 238.0, 190.0, 160.0, 135.0, 116.0, 98.0, 82.0, 60.0];
const LIVER: [f32; 14] =
    [0.0, 0.0, 1.0, 3.0, 6.0, 11.0, 21.0, 36.0, 50.0, 58.0, 56.0, 48.0, 39.0, 27.0];
const PORTAL: [f32; 14] =
    [0.0, 0.0, 2.0, 12.0, 35.0, 68.0, 112.0, 136.0, 140.0, 130.0, 114.0, 96.0, 80.0, 58.0];
const HEPATIC: [f32; 14] =
    [0.0, 0.0, 0.0, 0.0, 2.0, 8.0, 26.0, 62.0, 104.0, 122.0, 112.0, 95.0, 79.0, 58.0];
const LOWER_CAVA: [f32; 14] =
    [0.0, 0.0, 0.0, 0.0, 0.0, 2.0, 8.0, 16.0, 28.0, 48.0, 66.0, 82.0, 79.0, 58.0];
const CAVA: [f32; 14] =
    [0.0, 0.0, 4.0, 18.0, 42.0, 62.0, 74.0, 86.0, 98.0, 106.0, 102.0, 92.0, 80.0, 58.0];
const SPLEEN: [f32; 14] =
    [0.0, 2.0, 20.0, 52.0, 80.0, 94.0, 96.0, 90.0, 82.0, 73.0, 65.0, 54.0, 44.0, 32.0];
const CORTEX: [f32; 14] =
    [0.0, 4.0, 45.0, 100.0, 145.0, 165.0, 172.0, 173.0, 172.0, 170.0, 166.0, 152.0, 132.0, 92.0];
const MEDULLA: [f32; 14] =
    [0.0, 0.0, 3.0, 10.0, 24.0, 44.0, 72.0, 100.0, 126.0, 148.0, 158.0, 152.0, 134.0, 95.0];
const GUT: [f32; 14] =
    [0.0, 1.0, 14.0, 34.0, 54.0, 64.0, 66.0, 60.0, 54.0, 47.0, 41.0, 34.0, 28.0, 20.0];

/// What differs between patients.
#[derive(Debug, Clone)]
pub(super) struct Circulation {
    /// Seconds of this patient per second of the curves.
    slow: f32,
    /// Enhancement against the curves'.
    dose: f32,
    /// Less where the liver is cirrhotic.
    liver: f32,
    /// Less where kidneys are ill.
    kidneys: f32,
    /// When urine with contrast reaches the pelvis.
    urine_s: f32,
}

/// HU above native.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Enhancement {
    /// Aorta and arteries; blood in the heart.
    pub aorta: f32,
    /// Liver parenchyma.
    pub liver: f32,
    /// Hepatic veins.
    pub hepatic_vein: f32,
    /// Portal, splenic and mesenteric veins.
    pub portal_vein: f32,
    /// Cava below the renal veins.
    pub lower_cava: f32,
    /// Cava above them.
    pub cava: f32,
    /// HU of the spleen.
    pub spleen: f32,
    /// Pancreas, walls of the bowel, heart muscle.
    pub gut: f32,
    /// Renal cortex.
    pub cortex: f32,
    /// Renal medulla.
    pub medulla: f32,
    /// Renal pelvis.
    pub pelvis: f32,
    /// HU of muscle.
    pub muscle: f32,
}

impl Circulation {
    /// One patient and injection. One in five has a cirrhotic liver, one in ten ill kidneys.
    pub(super) fn draw(draw: &mut Draw) -> Circulation {
        let cirrhosis = draw.chance(0.2);
        let ill = draw.chance(0.1);
        Circulation {
            slow: draw.uniform(0.88, 1.14),
            dose: draw.uniform(0.62, 1.5),
            liver: if cirrhosis { draw.uniform(0.6, 0.85) } else { draw.uniform(0.85, 1.15) },
            kidneys: if ill { draw.uniform(0.4, 0.75) } else { draw.uniform(0.85, 1.15) },
            urine_s: draw.uniform(95.0, 150.0),
        }
    }

    /// What contrast adds so many seconds after the injection began.
    pub(super) fn after(&self, seconds: f32) -> Enhancement {
        let now = seconds / self.slow;
        let of = |curve: &[f32; 14]| self.dose * along(curve, now);
        let urine = ((seconds - self.urine_s) / 60.0).clamp(0.0, 2.5) * 180.0 * self.kidneys;
        Enhancement {
            aorta: of(&AORTA),
            liver: of(&LIVER) * self.liver,
            hepatic_vein: of(&HEPATIC) * self.liver.sqrt(),
            portal_vein: of(&PORTAL),
            lower_cava: of(&LOWER_CAVA),
            cava: of(&CAVA),
            spleen: of(&SPLEEN),
            gut: of(&GUT),
            cortex: of(&CORTEX) * self.kidneys,
            medulla: of(&MEDULLA) * self.kidneys,
            pelvis: if seconds > 0.0 { urine } else { 0.0 },
            muscle: 0.12 * of(&LOWER_CAVA),
        }
    }
}

/// Linear between the curve's points, level beyond them.
fn along(curve: &[f32; 14], now: f32) -> f32 {
    let at = SECONDS.partition_point(|s| *s <= now);
    if at == 0 || at == SECONDS.len() {
        return curve[at.saturating_sub(1)];
    }
    let share = (now - SECONDS[at - 1]) / (SECONDS[at] - SECONDS[at - 1]);
    curve[at - 1] + share * (curve[at] - curve[at - 1])
}

#[cfg(test)]
mod tests {
    use super::super::draw::Stream;
    use super::*;

    #[test]
    fn contrast_runs_as_the_textbook_says() {
        for seed in 0..40 {
            let patient = Circulation::draw(&mut Draw::new(seed, Stream::Contrast));
            let [early, late, portal, delayed] =
                [22.0, 38.0, 72.0, 200.0].map(|seconds| patient.after(seconds));
            assert!(early.aorta > 80.0 && early.liver < 12.0, "{seed} {early:?}");
            assert!(late.aorta > 1.4 * portal.aorta, "{seed} {late:?}");
            assert!(late.cortex > late.medulla && late.spleen > late.liver);
            assert!(portal.liver > late.liver + 8.0, "{seed} {late:?} {portal:?}");
            assert!(portal.aorta > delayed.aorta && delayed.pelvis > portal.pelvis);
            assert!(portal.lower_cava < portal.aorta && late.lower_cava < late.cava);
        }
        let none = Circulation::draw(&mut Draw::new(1, Stream::Contrast)).after(0.0);
        assert!(none.aorta == 0.0 && none.pelvis == 0.0);
    }
}
