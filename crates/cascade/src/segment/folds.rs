//! The live sums of all folds: one slab, or one per fold.
//!
//! nnU-Net finishes a fold, rounds its logits to f16, and then adds the next: where sums are
//! rounded, folds must not share a slab, or near ties fall the other way.

use ndarray::{Array3, ArrayView3, ArrayView4, Zip};

use hepalert_bundles::{NetworkPlan, Sums};

use super::half::round_to_f16;
use super::slab::Slab;
use super::tiles::Tiling;
use super::{Plan, SegmentError};

/// Slabs that a network of this many folds needs.
pub(super) fn slab_count(network: &NetworkPlan, folds: usize) -> usize {
    match super::precision(network) {
        Sums::F16 => folds.max(1),
        Sums::F32 => 1,
    }
}

/// All slabs of a study.
pub(super) struct FoldSlabs {
    slabs: Vec<Slab>,
    /// The mean over slabs of a slice, `[class, y, x]`; empty if there is one.
    mean: Array3<f32>,
}

impl FoldSlabs {
    pub(super) fn new(tiling: &Tiling, plan: &Plan, folds: usize) -> FoldSlabs {
        let count = slab_count(&plan.network, folds);
        let [_, height, width] = tiling.padded;
        let classes = if count > 1 { plan.network.classes.len() } else { 0 };
        FoldSlabs {
            slabs: (0..count).map(|_| Slab::new(tiling, plan)).collect(),
            mean: Array3::zeros((classes, height, width)),
        }
    }

    /// How many there are, at least 1.
    pub(super) fn count(&self) -> usize {
        self.slabs.len()
    }

    /// [`Slab::add`] to one of them.
    ///
    /// # Errors
    /// As [`Slab::add`].
    pub(super) fn add(
        &mut self,
        slab: usize,
        scores: ArrayView4<'_, f32>,
        tile: &Array3<f32>,
        start: [usize; 3],
    ) -> Result<(), SegmentError> {
        self.slabs[slab].add(scores, tile, start)
    }

    /// Hands out slice `z`, `[class, y, x]`, and clears its places; the sum over folds and
    /// its division are rounded to f16 as nnU-Net rounds them.
    pub(super) fn finish(&mut self, z: usize, emit: impl FnOnce(ArrayView3<'_, f32>)) {
        if let [slab] = &mut self.slabs[..] {
            return slab.finish(z, emit);
        }
        let (count, mean) = (self.slabs.len() as f32, &mut self.mean);
        mean.fill(0.0);
        for slab in &mut self.slabs {
            slab.finish(z, |scores| {
                Zip::from(&mut *mean).and(scores).par_for_each(|mean, &score| {
                    *mean = round_to_f16(*mean + score);
                });
            });
        }
        mean.par_mapv_inplace(|sum| round_to_f16(sum / count));
        emit(mean.view());
    }
}
