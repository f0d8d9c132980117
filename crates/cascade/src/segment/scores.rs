//! What is kept of the logits per voxel: best lesion, best other class, and the margin.

use std::sync::Arc;

use ndarray::{Array3, Zip};

use hepalert_voxels::volume::{Grid, LabelMap, Volume};

/// The factor alpha by which lesion probabilities are multiplied before the argmax (Eq. 3).
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct LesionGain(pub f32);

/// Enough of the logits to read the label map at any [`LesionGain`] (method 1.2).
#[derive(Debug, Clone)]
pub struct Scores {
    /// The study's own grid.
    pub grid: Arc<Grid>,
    /// Best class among the lesions, 1 to 6.
    pub best_lesion: Array3<u8>,
    /// Best class among background and organs.
    pub best_other: Array3<u8>,
    /// Logit of `best_other` minus logit of `best_lesion`; `exp(margin)` is the smallest
    /// gain at which the voxel turns to lesion.
    pub margin: Array3<f32>,
}

impl Scores {
    /// Eq. (3) then (2): the label map at this gain. Ties go to the lower class index.
    pub fn labels(&self, gain: LesionGain) -> LabelMap {
        let lift = gain.0.ln();
        let mut labels = Array3::zeros(self.margin.raw_dim());
        Zip::from(&mut labels)
            .and(&self.best_lesion)
            .and(&self.best_other)
            .and(&self.margin)
            .par_for_each(|label, &lesion, &other, &margin| {
                let lesion_wins = lift > margin || (lift == margin && lesion < other);
                *label = if lesion_wins { lesion } else { other };
            });
        Volume::new(Arc::clone(&self.grid), labels)
    }

    /// What a viewer needs to read the label map at any gain of [`GAIN_STEPS`]: 0 where no gain
    /// of them makes a voxel a lesion, else `1000 * lesion + step + 400` for the first step that does.
    pub fn gain_steps(&self) -> Volume<i16> {
        let lifts: Vec<f32> = GAIN_STEPS.map(|step| gain_of_step(step).0.ln()).collect();
        let mut steps = Array3::zeros(self.margin.raw_dim());
        Zip::from(&mut steps)
            .and(&self.best_lesion)
            .and(&self.best_other)
            .and(&self.margin)
            .par_for_each(|step, &lesion, &other, &margin| {
                let loses = |lift: &f32| !(*lift > margin || (*lift == margin && lesion < other));
                let first = match lifts.last().is_none_or(loses) {
                    true => return,
                    false => lifts.partition_point(loses),
                };
                *step = 1000 * i16::from(lesion) + first as i16;
            });
        Volume::new(Arc::clone(&self.grid), steps)
    }
}

/// Hundredths of a decade of lesion gain, from a ten-thousandth to ten thousand.
pub(crate) const GAIN_STEPS: std::ops::RangeInclusive<i16> = -400..=400;

/// The gain of a step.
pub(crate) fn gain_of_step(step: i16) -> LesionGain {
    LesionGain(10f32.powf(f32::from(step) / 100.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hepalert_study::anatomy::is_lesion;

    #[test]
    fn steps_give_the_same_lesions_as_the_equation_at_each_of_them() {
        let margins = [-20.0, -9.3, -0.5, 0.0, 0.0, 0.001, 4.6, 4.61, 9.2, 9.3, f32::INFINITY];
        let grid = Arc::new(Grid::axial([1, 1, margins.len()], [5.0, 1.0, 1.0], [0.0; 3]));
        let shape = [1, 1, margins.len()];
        let scores = Scores {
            grid,
            best_lesion: Array3::from_shape_fn(shape, |(.., x)| 1 + (x % 6) as u8),
            // Ties go to the lower class: to background, and away from the liver.
            best_other: Array3::from_shape_fn(shape, |(.., x)| if x == 3 { 0 } else { 7 }),
            margin: Array3::from_shape_fn(shape, |(.., x)| margins[x]),
        };
        let steps = scores.gain_steps();
        for step in GAIN_STEPS {
            let labels = scores.labels(gain_of_step(step));
            for (told, label) in steps.voxels().iter().zip(labels.voxels()) {
                let is_told = *told > 0 && told % 1000 - 400 <= step;
                let expected = if is_told { told / 1000 } else { 0 };
                let found = if is_lesion(*label) { i16::from(*label) } else { 0 };
                assert_eq!(expected, found, "step {step}, value {told}");
            }
        }
        assert_eq!((gain_of_step(0).0, gain_of_step(200).0), (1.0, 100.0));
    }
}
