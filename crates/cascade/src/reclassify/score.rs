//! How much of a lesion the second network sees again (Eq. 10 and 11), and as what.

use ndarray::{ArrayView3, ArrayView4, Axis};

use hepalert_study::anatomy::Lesion;

/// Carried voxels of one patch by the lesion class the network gave them, HCC first.
pub(crate) type Counts = [u32; Lesion::ALL.len()];

/// Eq. (10) and the overlap of Eq. (11) for one patch: of the carried voxels, how many have
/// each lesion class as their argmax (ties to the lower class). `logits` is
/// `[class, z, y, x]`.
pub(crate) fn overlap(logits: ArrayView4<'_, f32>, carried: ArrayView3<'_, bool>) -> Counts {
    let mut counts = Counts::default();
    for ((z, y, x), _) in carried.indexed_iter().filter(|(_, on)| **on) {
        let mut best = (0, f32::NEG_INFINITY);
        for class in 0..logits.len_of(Axis(0)) {
            let logit = logits[[class, z, y, x]];
            if logit > best.1 {
                best = (class, logit);
            }
        }
        if (1..=counts.len()).contains(&best.0) {
            counts[best.0 - 1] += 1;
        }
    }
    counts
}

/// Eq. (11): the mean overlap volume over the patches. `voxel_cm3` is what one carried
/// voxel stands for.
pub(crate) fn score_cm3(overlaps: u64, patches: usize, voxel_cm3: f64) -> f64 {
    voxel_cm3 * overlaps as f64 / patches as f64
}

/// True if the score must stay below the threshold even if every voxel of the lesion is
/// found in every remaining patch. Exact: it is the score's own formula, which grows with
/// the overlap in floating point too.
pub(crate) fn is_lost(
    overlaps: u64,
    remaining: usize,
    points: usize,
    patches: usize,
    voxel_cm3: f64,
    threshold_cm3: f64,
) -> bool {
    let most = overlaps + remaining as u64 * points as u64;
    score_cm3(most, patches, voxel_cm3) < threshold_cm3
}

/// Mean and population standard deviation; `None` of nothing.
pub(crate) fn mean_and_std(values: &[f64]) -> Option<(f64, f64)> {
    if values.is_empty() {
        return None;
    }
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
    Some((mean, variance.sqrt()))
}

#[cfg(test)]
mod tests {
    use ndarray::{Array3, Array4};

    use super::*;

    #[test]
    fn only_carried_lesion_voxels_count_and_ties_go_down() {
        let carried =
            Array3::from_shape_vec((1, 1, 5), vec![true, true, true, true, false]).unwrap();
        let mut logits = Array4::zeros((8, 1, 1, 5));
        logits[[3, 0, 0, 0]] = 1.0; // metastasis
        logits[[7, 0, 0, 1]] = 1.0; // liver
        logits[[2, 0, 0, 2]] = 1.0; // tie of ICC and cyst
        logits[[6, 0, 0, 2]] = 1.0;
        // voxel 3: all equal, background
        logits[[1, 0, 0, 4]] = 1.0; // not carried
        assert_eq!(overlap(logits.view(), carried.view()), [0, 1, 1, 0, 0, 0]);
    }

    #[test]
    fn a_lesion_is_lost_exactly_when_full_overlap_cannot_reach_the_threshold() {
        // 10 voxels of 0.1 cm3, 4 patches, threshold 0.5: 20 of 40 voxels are needed.
        assert!(!is_lost(0, 2, 10, 4, 0.1, 0.5));
        assert!(is_lost(9, 1, 10, 4, 0.1, 0.5));
        assert!(!is_lost(10, 1, 10, 4, 0.1, 0.5));
    }

    #[test]
    fn mean_and_spread() {
        assert_eq!(mean_and_std(&[1.0, 3.0]), Some((2.0, 1.0)));
        assert_eq!(mean_and_std(&[]), None);
    }
}
