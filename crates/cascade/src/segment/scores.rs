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
}
