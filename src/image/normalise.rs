//! Intensity normalisation as nnU-Net v2 does it, in `f32`.
//!
//! Owns the three schemes. Refuses to choose one: that is the engine manifest's business.

use ndarray::{Array3, ArrayView3, Zip};
use rayon::prelude::*;

/// Smallest divisor, as in nnU-Net.
const MIN_STD: f64 = 1e-8;

/// How one channel is normalised. Figures are those of the training data's foreground.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Normalisation {
    /// Clip to `lower..=upper` (the 0.5 and 99.5 percentiles), subtract `mean`, divide by
    /// `std`; all in Hounsfield units.
    Ct {
        /// Mean of the training foreground.
        mean: f64,
        /// Standard deviation of the training foreground.
        std: f64,
        /// Lower clip.
        lower: f64,
        /// Upper clip.
        upper: f64,
    },
    /// Subtract the image's own mean, divide by its own standard deviation.
    ZScore,
    /// Leave as it is.
    None,
}

/// A scheme settled for one image: what happens to each voxel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pointwise {
    lower: f32,
    upper: f32,
    mean: f32,
    std: f32,
}

impl Pointwise {
    /// Settles a scheme; `None` leaves the image as it is. Only [`Normalisation::ZScore`]
    /// looks at it.
    pub fn of(scheme: Normalisation, voxels: ArrayView3<'_, f32>) -> Option<Pointwise> {
        let (mean, std, lower, upper) = match scheme {
            Normalisation::None => return None,
            Normalisation::Ct { mean, std, lower, upper } => (mean, std, lower, upper),
            Normalisation::ZScore => {
                let (mean, std) = mean_and_std(voxels);
                (mean, std, f64::NEG_INFINITY, f64::INFINITY)
            }
        };
        let (mean, std) = (mean as f32, std.max(MIN_STD) as f32);
        Some(Pointwise { lower: lower as f32, upper: upper as f32, mean, std })
    }

    /// The normalised value. A NaN is clipped like anything below.
    #[inline(always)]
    pub fn apply(self, voxel: f32) -> f32 {
        // Not `clamp`: lower > upper must not panic here.
        (voxel.max(self.lower).min(self.upper) - self.mean) / self.std
    }
}

/// Normalises one channel in place.
pub fn normalise(voxels: &mut Array3<f32>, scheme: Normalisation) {
    if let Some(pointwise) = Pointwise::of(scheme, voxels.view()) {
        Zip::from(voxels).par_for_each(|v| *v = pointwise.apply(*v));
    }
}

/// Mean and population standard deviation; partial sums per slice, added in slice order, so
/// that the result does not depend on the number of threads.
fn mean_and_std(voxels: ArrayView3<'_, f32>) -> (f64, f64) {
    let count = voxels.len().max(1) as f64;
    let sum_of = |term: &(dyn Fn(f32) -> f64 + Sync)| -> f64 {
        let slices: Vec<f64> = voxels
            .outer_iter()
            .into_par_iter()
            .map(|slice| slice.iter().map(|&v| term(v)).sum())
            .collect();
        slices.iter().sum()
    };
    let mean = sum_of(&|v| f64::from(v)) / count;
    let variance = sum_of(&|v| (f64::from(v) - mean).powi(2)) / count;
    (mean, variance.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn ct_clips_then_standardises_in_f32() {
        let mut voxels = array![[[-2000.0_f32, 0.0, 100.0, 3000.0]]];
        let scheme = Normalisation::Ct { mean: 50.0, std: 25.0, lower: -100.0, upper: 200.0 };
        normalise(&mut voxels, scheme);
        assert_eq!(voxels, array![[[-6.0, -2.0, 2.0, 6.0]]]);
    }

    #[test]
    fn zscore_has_mean_zero_and_deviation_one() {
        let mut voxels = Array3::from_shape_fn((5, 7, 9), |(z, y, x)| (z * 63 + y * 9 + x) as f32);
        normalise(&mut voxels, Normalisation::ZScore);
        let (mean, std) = mean_and_std(voxels.view());
        assert!(mean.abs() < 1e-6 && (std - 1.0).abs() < 1e-6, "{mean} {std}");
    }

    #[test]
    fn a_constant_image_does_not_divide_by_zero() {
        let mut voxels = Array3::from_elem((2, 2, 2), 7.0_f32);
        normalise(&mut voxels, Normalisation::ZScore);
        assert!(voxels.iter().all(|&v| v == 0.0));
    }

    #[test]
    fn none_changes_nothing() {
        let mut voxels = array![[[1.5_f32, -3.0]]];
        normalise(&mut voxels, Normalisation::None);
        assert_eq!(voxels, array![[[1.5, -3.0]]]);
    }
}
