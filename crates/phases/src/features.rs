//! What a series shows of contrast: densities of organs, each with how surely it was found.
//!
//! Owns the landmarks' order and the vector that the classifier takes. Refuses to name a
//! phase.

use hepalert_voxels::volume::Volume;

use super::coarse::Coarse;
use super::solid::{Solid, liver, spleen};
use super::spine::{Frame, frame};
use super::vessels::{Kidney, Tube, aorta, cava, kidneys};

/// A round thing that scores less is none.
const LEAST_TUBE: f32 = 1.45;
/// A kidney that scores less is none.
const LEAST_KIDNEY: f32 = 0.88;
/// Less even tissue than this, in cm3, is no liver.
const LEAST_LIVER_CM3: f64 = 60.0;
/// The spleen of a child or what is left of an embolised one.
const LEAST_SPLEEN_CM3: f64 = 8.0;
/// What a vein may be brighter than the aorta, in HU.
const BRIGHTEST_VEIN_HU: f32 = 40.0;
/// Millimetres of a vessel that must be seen.
const LEAST_LENGTH_MM: f64 = 30.0;

/// Hounsfield units of what was found; `None` where it was not.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Organs {
    /// Aorta at the liver's height and below.
    pub aorta_hu: Option<f32>,
    /// Liver parenchyma.
    pub liver_hu: Option<f32>,
    /// Even tissue like it, in cm3.
    pub liver_cm3: f32,
    /// What vessels in it are brighter by.
    pub liver_vessels_hu: Option<f32>,
    /// Mean HU of the spleen.
    pub spleen_hu: Option<f32>,
    /// The rounder kidney's median.
    pub kidney_hu: Option<f32>,
    /// Its bright tenth: cortex, later all of it.
    pub cortex_hu: Option<f32>,
    /// The brightest within both kidneys: contrast in urine.
    pub pelvis_hu: Option<f32>,
    /// Inferior cava below the kidneys.
    pub lower_cava_hu: Option<f32>,
    /// Inferior cava behind the liver.
    pub upper_cava_hu: Option<f32>,
}

/// Number of values of [`Organs::vector`].
pub(crate) const FEATURES: usize = 20;

impl Organs {
    /// Looks for every landmark in a series, whatever its voxel order.
    pub fn of(volume: &Volume<f32>) -> Organs {
        Organs::of_coarse(&Coarse::of(volume))
    }

    /// The same on a coarse volume.
    pub fn of_coarse(coarse: &Coarse) -> Organs {
        let Some(frame) = frame(coarse) else { return Organs::default() };
        let mut organs = Organs::default();
        let liver = liver(coarse, &frame).filter(|l| l.volume_cm3 > LEAST_LIVER_CM3);
        if let Some(liver) = &liver {
            organs.liver_hu = Some(liver.hu);
            organs.liver_cm3 = liver.volume_cm3 as f32;
            organs.liver_vessels_hu = Some(liver.vessels_hu);
            let spleen = spleen(coarse, &frame, liver).filter(|s| s.volume_cm3 > LEAST_SPLEEN_CM3);
            organs.spleen_hu = spleen.map(|spleen| spleen.hu);
        }
        if let Some(aorta) = aorta(coarse, &frame) {
            organs.vessels(coarse, &frame, &aorta, liver.as_ref());
        }
        organs
    }

    fn vessels(&mut self, coarse: &Coarse, frame: &Frame, aorta: &Tube, liver: Option<&Solid>) {
        let slices = coarse.shape()[0];
        let tall = (40.0 / coarse.step_mm[0]) as usize;
        let [low, high] = liver.map_or([0, slices - 1], |liver| liver.slices);
        let abdomen = [low.saturating_sub(tall), (high + tall).min(slices - 1)];
        self.aorta_hu = median(coarse, aorta, abdomen);
        let kidneys = kidneys(coarse, frame, aorta, low + (high - low) * 3 / 4);
        let kidneys: Vec<Kidney> =
            kidneys.into_iter().flatten().filter(|k| k.score > LEAST_KIDNEY).collect();
        // Of two the rounder: the other may be bowel, or not there.
        let best = kidneys.iter().max_by(|a, b| a.score.total_cmp(&b.score));
        self.kidney_hu = best.map(|k| k.middle_hu);
        self.cortex_hu = best.map(|k| k.bright_hu);
        // Both kidneys make urine; what is bright on one side alone is a stone, or bowel.
        self.pelvis_hu = kidneys.iter().map(|k| k.brightest_hu).min_by(f32::total_cmp);
        let hilum = kidneys.iter().map(|k| k.z).min();
        if let Some(cava) = cava(coarse, frame, aorta) {
            let below = hilum.map(|z| z.saturating_sub(tall / 2)).filter(|z| *z > 0);
            self.lower_cava_hu = below.and_then(|z| median(coarse, &cava, [0, z]));
            let above = hilum.map_or(low + (high - low) / 3, |z| z + tall / 2);
            self.upper_cava_hu = median(coarse, &cava, [above.min(high), high]);
        }
        // No vein is so much brighter than the aorta: that is bone, or bowel with oral contrast.
        let aorta_hu = self.aorta_hu;
        let is_vein = |hu: &f32| aorta_hu.is_none_or(|aorta| *hu <= aorta + BRIGHTEST_VEIN_HU);
        self.lower_cava_hu = self.lower_cava_hu.filter(is_vein);
        self.upper_cava_hu = self.upper_cava_hu.filter(is_vein);
    }

    /// What the classifier takes: every density in units of 100 HU beside 1 where it was found,
    /// 0 and 0 where not; then enhancement of organs relative to the aorta's, which no dose
    /// changes.
    pub fn vector(&self) -> [f32; FEATURES] {
        let mut vector = [0.0; FEATURES];
        let densities = [
            self.aorta_hu,
            self.liver_hu,
            self.spleen_hu,
            self.kidney_hu,
            self.cortex_hu,
            self.pelvis_hu,
            self.lower_cava_hu,
            self.upper_cava_hu,
        ];
        for (pair, hu) in vector.chunks_exact_mut(2).zip(densities) {
            if let Some(hu) = hu {
                pair.copy_from_slice(&[hu.clamp(-50.0, 500.0) / 100.0, 1.0]);
            }
        }
        let gain = |hu: Option<f32>, plain: f32| {
            let aorta = (self.aorta_hu? - 42.0).max(20.0);
            Some(((hu? - plain) / aorta).clamp(-1.0, 4.0))
        };
        vector[16] = gain(self.liver_hu, 54.0).unwrap_or(0.0);
        vector[17] = gain(self.spleen_hu, 47.0).unwrap_or(0.0);
        vector[18] = gain(self.cortex_hu, 40.0).unwrap_or(0.0);
        vector[19] = gain(self.lower_cava_hu, 42.0).unwrap_or(0.0);
        vector
    }
}

/// Median of a tube where it is round and even, if it is so for long enough.
fn median(coarse: &Coarse, tube: &Tube, [low, high]: [usize; 2]) -> Option<f32> {
    let mut sure: Vec<f32> = (low..=high.min(tube.hu.len().saturating_sub(1)))
        .filter(|z| tube.score[*z] > LEAST_TUBE)
        .map(|z| tube.hu[z])
        .collect();
    let least = (LEAST_LENGTH_MM / coarse.step_mm[0]).ceil() as usize;
    sure.sort_unstable_by(f32::total_cmp);
    (sure.len() >= least.max(2)).then(|| sure[sure.len() / 2])
}
