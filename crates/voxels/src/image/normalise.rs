//! Intensity normalisation as nnU-Net v2 does it, in `f32`.
//!
//! Owns the schemes. Refuses to choose one: that is the engine manifest's business.

use ndarray::{Array3, ArrayView3, Axis, Zip};
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
    /// [`Normalisation::ZScore`] over the voxels that are not zero in every channel and not
    /// enclosed by such; the others are left as they are (`use_mask_for_norm`).
    ZScoreOfNonzero,
    /// Subtract the smallest value, divide by the largest that is then left.
    Rescale01,
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
    /// Settles a scheme; `None` leaves the image as it is. Only the schemes that take their
    /// figures from the image look at it. Without a mask to look at, every voxel counts for
    /// [`Normalisation::ZScoreOfNonzero`].
    pub fn of(scheme: Normalisation, voxels: ArrayView3<'_, f32>) -> Option<Pointwise> {
        let (mean, std, lower, upper) = match scheme {
            Normalisation::None => return None,
            Normalisation::Ct { mean, std, lower, upper } => (mean, std, lower, upper),
            Normalisation::ZScore | Normalisation::ZScoreOfNonzero => {
                let (mean, std) = mean_and_std(voxels, None);
                (mean, std, f64::NEG_INFINITY, f64::INFINITY)
            }
            Normalisation::Rescale01 => {
                let least = voxels.iter().copied().fold(f32::INFINITY, f32::min);
                let most = voxels.iter().copied().fold(f32::NEG_INFINITY, f32::max) - least;
                (f64::from(least), f64::from(most), f64::NEG_INFINITY, f64::INFINITY)
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

impl Normalisation {
    /// The value of everything at or below the lower clip; `None` if nothing is clipped.
    pub fn floor(self) -> Option<f32> {
        match self {
            Normalisation::Ct { .. } => {
                let empty: [f32; 0] = [];
                let nothing = ArrayView3::from_shape((0, 0, 0), &empty).ok()?;
                Pointwise::of(self, nothing).map(|scheme| scheme.apply(f32::NEG_INFINITY))
            }
            Normalisation::ZScore
            | Normalisation::ZScoreOfNonzero
            | Normalisation::Rescale01
            | Normalisation::None => None,
        }
    }
}

/// Normalises one channel in place.
pub fn normalise(voxels: &mut Array3<f32>, scheme: Normalisation) {
    if let Some(pointwise) = Pointwise::of(scheme, voxels.view()) {
        Zip::from(voxels).par_for_each(|v| *v = pointwise.apply(*v));
    }
}

impl Normalisation {
    /// Whether the mask of [`normalise_within`] changes the result.
    pub fn wants_mask(self) -> bool {
        self == Normalisation::ZScoreOfNonzero
    }
}

/// [`normalise`], with the voxels of `mask` being those that count for
/// [`Normalisation::ZScoreOfNonzero`]; no other scheme looks at it.
///
/// # Panics
/// If the mask has another shape.
pub fn normalise_within(
    voxels: &mut Array3<f32>,
    scheme: Normalisation,
    mask: ArrayView3<'_, bool>,
) {
    if !scheme.wants_mask() {
        return normalise(voxels, scheme);
    }
    let (mean, std) = mean_and_std(voxels.view(), Some(mask));
    let (mean, std) = (mean as f32, std.max(MIN_STD) as f32);
    Zip::from(voxels).and(mask).par_for_each(|v, &on| {
        if on {
            *v = (*v - mean) / std;
        }
    });
}

/// Mean and population standard deviation of the voxels in the mask; partial sums per slice,
/// added in slice order, so that the result does not depend on the number of threads.
fn mean_and_std(voxels: ArrayView3<'_, f32>, mask: Option<ArrayView3<'_, bool>>) -> (f64, f64) {
    let sum_of = |term: &(dyn Fn(f32) -> f64 + Sync)| -> f64 {
        let slices = (0..voxels.len_of(Axis(0))).into_par_iter();
        let of_slice = |z: usize| -> f64 {
            let slice = voxels.index_axis(Axis(0), z);
            match &mask {
                None => slice.iter().map(|&v| term(v)).sum(),
                Some(mask) => {
                    let pairs = slice.into_iter().zip(mask.index_axis_move(Axis(0), z));
                    pairs.filter(|(_, on)| **on).map(|(&v, _)| term(v)).sum()
                }
            }
        };
        slices.map(of_slice).collect::<Vec<f64>>().iter().sum()
    };
    let count = sum_of(&|_| 1.0).max(1.0);
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
    fn only_what_is_clipped_has_a_floor() {
        let scheme = Normalisation::Ct { mean: 50.0, std: 25.0, lower: -100.0, upper: 200.0 };
        assert_eq!(scheme.floor(), Some(-6.0));
        assert_eq!((Normalisation::ZScore.floor(), Normalisation::None.floor()), (None, None));
    }

    #[test]
    fn zscore_has_mean_zero_and_deviation_one() {
        let mut voxels = Array3::from_shape_fn((5, 7, 9), |(z, y, x)| (z * 63 + y * 9 + x) as f32);
        normalise(&mut voxels, Normalisation::ZScore);
        let (mean, std) = mean_and_std(voxels.view(), None);
        assert!(mean.abs() < 1e-6 && (std - 1.0).abs() < 1e-6, "{mean} {std}");
    }

    #[test]
    fn a_constant_image_does_not_divide_by_zero() {
        let mut voxels = Array3::from_elem((2, 2, 2), 7.0_f32);
        normalise(&mut voxels, Normalisation::ZScore);
        assert!(voxels.iter().all(|&v| v == 0.0));
    }

    #[test]
    fn a_mask_leaves_the_rest_as_it_is_and_out_of_the_figures() {
        let mut voxels = array![[[0.0_f32, 10.0, 30.0, 0.0]]];
        let mask = array![[[false, true, true, false]]];
        normalise_within(&mut voxels, Normalisation::ZScoreOfNonzero, mask.view());
        assert_eq!(voxels, array![[[0.0, -1.0, 1.0, 0.0]]]);
        normalise_within(&mut voxels, Normalisation::ZScore, mask.view());
        assert_eq!(voxels[[0, 0, 0]], 0.0, "the mean of all four");
        assert!(voxels[[0, 0, 2]] > 1.4, "their deviation is less than 1");
    }

    #[test]
    fn rescaling_goes_from_zero_to_one() {
        let mut voxels = array![[[-1000.0_f32, 0.0, 1000.0]]];
        normalise(&mut voxels, Normalisation::Rescale01);
        assert_eq!(voxels, array![[[0.0, 0.5, 1.0]]]);
    }

    #[test]
    fn none_changes_nothing() {
        let mut voxels = array![[[1.5_f32, -3.0]]];
        normalise(&mut voxels, Normalisation::None);
        assert_eq!(voxels, array![[[1.5, -3.0]]]);
    }
}
