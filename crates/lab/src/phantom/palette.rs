//! Hounsfield units of tissues per phase: a native value and what contrast adds to it.

use super::contrast::Enhancement;
use super::draw::Draw;
use hepalert_study::phase::Phase;

/// How one patient looks and takes up contrast, drawn once and shared by all phases.
#[derive(Debug, Clone)]
pub(super) struct Physiology {
    liver: f32,
    blood: f32,
    spleen: f32,
    pancreas: f32,
    kidney: f32,
    muscle: f32,
    bile: f32,
    fat: f32,
    marrow: f32,
    /// Contrast given per blood volume, 1 on average.
    dose: f32,
    /// Early (below 1) or late bolus of the parenchyma.
    uptake: f32,
    /// How much of the vein contrast has arrived.
    venous: f32,
}

impl Physiology {
    /// One patient. One in six has a fatty liver.
    pub(super) fn draw(draw: &mut Draw) -> Physiology {
        let fatty = draw.chance(0.16);
        Physiology {
            liver: if fatty { draw.uniform(22.0, 44.0) } else { draw.uniform(48.0, 64.0) },
            blood: draw.uniform(36.0, 46.0),
            spleen: draw.uniform(42.0, 52.0),
            pancreas: draw.uniform(32.0, 46.0),
            kidney: draw.uniform(27.0, 36.0),
            muscle: draw.uniform(46.0, 58.0),
            bile: draw.uniform(3.0, 15.0),
            fat: draw.uniform(-112.0, -96.0),
            marrow: draw.uniform(120.0, 230.0),
            dose: draw.uniform(0.82, 1.2),
            uptake: draw.uniform(0.85, 1.15),
            venous: draw.uniform(0.85, 1.15),
        }
    }
}

/// Hounsfield units of every tissue in one phase.
#[derive(Debug, Clone)]
pub(super) struct Palette {
    /// The phase.
    pub phase: Phase,
    /// Liver parenchyma.
    pub liver: f32,
    /// Hepatic veins.
    pub hepatic_vein: f32,
    /// Portal, splenic and mesenteric veins.
    pub portal_vein: f32,
    /// Inferior vena cava from the renal veins up.
    pub cava: f32,
    /// Inferior vena cava below the renal veins.
    pub lower_cava: f32,
    /// Aorta and arteries.
    pub aorta: f32,
    /// Blood in the heart.
    pub heart: f32,
    /// Heart muscle.
    pub myocardium: f32,
    /// HU of the spleen.
    pub spleen: f32,
    /// HU of the pancreas.
    pub pancreas: f32,
    /// Renal cortex.
    pub cortex: f32,
    /// Renal medulla.
    pub medulla: f32,
    /// Renal pelvis.
    pub pelvis: f32,
    /// Skeletal muscle.
    pub muscle: f32,
    /// Wall of stomach, bowel and gallbladder.
    pub wall: f32,
    /// HU of bile.
    pub bile: f32,
    /// HU of fat.
    pub fat: f32,
    /// Cancellous bone.
    pub marrow: f32,
    /// A cyst's water.
    pub water: f32,
}

impl Palette {
    /// The patient in one phase.
    pub(super) fn of(physiology: &Physiology, phase: Phase) -> Palette {
        let p = physiology;
        // What contrast adds: native, arterial, portal venous, delayed.
        let add = |table: [f32; 4], speed: f32| table[phase as usize] * p.dose * speed;
        Palette {
            phase,
            liver: p.liver + add([0.0, 12.0, 52.0, 36.0], p.uptake),
            hepatic_vein: p.blood + add([0.0, 6.0, 112.0, 74.0], p.venous),
            portal_vein: p.blood + add([0.0, 55.0, 122.0, 76.0], 1.0),
            cava: p.blood + add([0.0, 30.0, 92.0, 72.0], p.venous),
            lower_cava: p.blood + add([0.0, 30.0, 92.0, 72.0], p.venous),
            aorta: p.blood + add([0.0, 265.0, 116.0, 80.0], 1.0),
            heart: p.blood + add([0.0, 220.0, 106.0, 76.0], 1.0),
            myocardium: 42.0 + add([0.0, 65.0, 68.0, 48.0], 1.0),
            spleen: p.spleen + add([0.0, 80.0, 70.0, 46.0], 1.0),
            pancreas: p.pancreas + add([0.0, 65.0, 54.0, 34.0], 1.0),
            cortex: p.kidney + add([0.0, 140.0, 142.0, 112.0], 1.0),
            medulla: p.kidney + add([0.0, 40.0, 130.0, 118.0], 1.0),
            pelvis: 6.0 + add([0.0, 0.0, 4.0, 160.0], 1.0),
            muscle: p.muscle + add([0.0, 4.0, 9.0, 9.0], 1.0),
            wall: 38.0 + add([0.0, 34.0, 44.0, 34.0], 1.0),
            bile: p.bile,
            fat: p.fat,
            marrow: p.marrow,
            water: 8.0,
        }
    }

    /// The patient with this much contrast, so many seconds after the injection began.
    pub(super) fn after(physiology: &Physiology, added: Enhancement, seconds: f32) -> Palette {
        let p = physiology;
        let phase = match seconds {
            s if s < 5.0 => Phase::Nc,
            s if s < 50.0 => Phase::Ap,
            s if s < 110.0 => Phase::Vp,
            _ => Phase::Dp,
        };
        Palette {
            phase,
            liver: p.liver + added.liver,
            hepatic_vein: p.blood + added.hepatic_vein,
            portal_vein: p.blood + added.portal_vein,
            cava: p.blood + added.cava,
            lower_cava: p.blood + added.lower_cava,
            aorta: p.blood + added.aorta,
            heart: p.blood + 0.95 * added.aorta,
            myocardium: 42.0 + added.gut,
            spleen: p.spleen + added.spleen,
            pancreas: p.pancreas + added.gut,
            cortex: p.kidney + added.cortex,
            medulla: p.kidney + added.medulla,
            pelvis: 6.0 + added.pelvis,
            muscle: p.muscle + added.muscle,
            wall: 38.0 + added.gut,
            ..Palette::of(p, Phase::Nc)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::draw::Stream;
    use super::*;

    #[test]
    fn contrast_is_where_the_textbook_says() {
        for seed in 0..50 {
            let physiology = Physiology::draw(&mut Draw::new(seed, Stream::Anatomy));
            let [native, arterial, venous, delayed] =
                Phase::ALL.map(|phase| Palette::of(&physiology, phase));
            assert!((20.0..66.0).contains(&native.liver) && native.aorta < 47.0);
            assert!(arterial.aorta > 240.0 && arterial.hepatic_vein < arterial.portal_vein);
            assert!(venous.portal_vein > venous.liver + 10.0, "{venous:?}");
            assert!(venous.liver > delayed.liver && delayed.pelvis > venous.pelvis);
        }
    }
}
