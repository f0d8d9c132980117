//! The live class sums: one patch depth of weighted tiles.

use ndarray::{Array3, Array4, ArrayView3, ArrayView4, Axis, Zip, s};
use rayon::prelude::*;

use crate::engine::bundle::Sums;

use super::Plan;
use super::half::round_to_f16;
use super::tiles::Tiling;

/// A ring of slices, slice z at place z modulo the depth of a tile.
pub(super) struct Slab {
    /// `[place, class, y, x]`.
    sums: Array4<f32>,
    /// `[place, y, x]`.
    weights: Array3<f32>,
    precision: Sums,
}

impl Slab {
    pub(super) fn new(tiling: &Tiling, plan: &Plan) -> Slab {
        let [_, height, width] = tiling.padded;
        let depth = tiling.tile[0];
        Slab {
            sums: Array4::zeros((depth, plan.network.classes.len(), height, width)),
            weights: Array3::zeros((depth, height, width)),
            precision: super::precision(&plan.network),
        }
    }

    /// Adds a tile's weighted scores `[class, z, y, x]`.
    pub(super) fn add(
        &mut self,
        scores: ArrayView4<'_, f32>,
        tile: &Array3<f32>,
        start: [usize; 3],
    ) {
        match self.precision {
            Sums::F16 => self.add_rounded(scores, tile, start, round_to_f16),
            Sums::F32 => self.add_rounded(scores, tile, start, |sum| sum),
        }
    }

    /// Every place of the ring takes one slice of the tile, so places are filled in parallel.
    fn add_rounded(
        &mut self,
        scores: ArrayView4<'_, f32>,
        tile: &Array3<f32>,
        start: [usize; 3],
        round: impl Fn(f32) -> f32 + Copy + Sync,
    ) {
        let (depth, height, width) = tile.dim();
        let [first, y, x] = start;
        let window = s![y..y + height, x..x + width];
        let places = self.sums.outer_iter_mut().into_par_iter();
        let weights = self.weights.outer_iter_mut().into_par_iter();
        places.zip(weights).enumerate().for_each(|(place, (mut sums, mut total))| {
            let dz = (place + depth - first % depth) % depth;
            let weight = tile.index_axis(Axis(0), dz);
            let total = total.slice_mut(window);
            Zip::from(total).and(weight).for_each(|total, &weight| *total = round(*total + weight));
            for (mut sum, score) in sums.outer_iter_mut().zip(scores.outer_iter()) {
                Zip::from(sum.slice_mut(window))
                    .and(score.index_axis(Axis(0), dz))
                    .and(weight)
                    .for_each(|sum, &score, &weight| *sum = round(*sum + score * weight));
            }
        });
    }

    /// Divides slice `z` by its weights, hands it out, and clears its place.
    pub(super) fn finish(&mut self, z: usize, emit: impl FnOnce(ArrayView3<'_, f32>)) {
        let place = z % self.weights.len_of(Axis(0));
        let precision = self.precision;
        let mut sums = self.sums.index_axis_mut(Axis(0), place);
        let mut weights = self.weights.index_axis_mut(Axis(0), place);
        sums.outer_iter_mut().into_par_iter().for_each(|mut plane| {
            plane /= &weights;
            if precision == Sums::F16 {
                plane.mapv_inplace(round_to_f16);
            }
        });
        emit(sums.view());
        sums.fill(0.0);
        weights.fill(0.0);
    }
}
