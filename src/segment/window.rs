//! The sliding window: tiles through the engines, blended, slices handed on as they finish.
//!
//! Tiles run with z outermost, so only one patch depth of class scores is ever live: a ring
//! of slices, each handed to the caller once no later tile reaches it.

use std::ops::ControlFlow;

use ndarray::{Array3, Array4, Array5, ArrayView3, ArrayView4, Axis, Slice, Zip, s};
use rayon::prelude::*;

use crate::engine::Engine;
use crate::engine::bundle::{Fusion, Sums};

use super::gaussian::tile_weights;
use super::half::round_to_f16;
use super::tiles::Tiling;
use super::{Plan, Progress, SegmentError};

/// Runs every tile of `image` `[channel, z, y, x]` and calls `emit(z, scores)` for every
/// slice in order, once; `scores` is `[class, y, x]`: mean logits, or mean probabilities.
///
/// # Errors
/// [`SegmentError::Engine`], [`SegmentError::EngineShape`], [`SegmentError::NotFinite`], and
/// [`SegmentError::Cancelled`] when `watch` breaks between two tiles.
pub(super) fn slide(
    image: ArrayView4<'_, f32>,
    plan: &Plan,
    engines: &mut [Box<dyn Engine>],
    watch: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    emit: &mut dyn FnMut(usize, ArrayView3<'_, f32>),
) -> Result<(), SegmentError> {
    check_engines(plan, engines)?;
    let network = &plan.network;
    let (_, depth, height, width) = image.dim();
    let tiling = Tiling::new([depth, height, width], network.patch, network.tile_step);
    let weights = tile_weights(network.patch);
    let mut slab = Slab::new(&tiling, plan);
    let mut tile = TileRun::new(plan);
    let mut progress = Progress { tiles_done: 0, tiles_total: tiling.count() };
    let [zs, ys, xs] = &tiling.starts;
    for (row, &z) in zs.iter().enumerate() {
        for &y in ys {
            for &x in xs {
                if watch(progress).is_break() {
                    return Err(SegmentError::Cancelled);
                }
                tile.gather(image, [z, y, x], tiling.offset);
                let scores = tile.infer(engines)?;
                slab.add(scores, &weights, [z, y, x]);
                progress.tiles_done += 1;
            }
        }
        let next = zs.get(row + 1).copied().unwrap_or(tiling.padded[0]);
        for finished in z..next {
            let image_z = finished.checked_sub(tiling.offset[0]).filter(|&at| at < depth);
            slab.finish(finished, |scores| {
                if let Some(at) = image_z {
                    let [_, oy, ox] = tiling.offset;
                    emit(at, scores.slice(s![.., oy..oy + height, ox..ox + width]));
                }
            });
        }
    }
    let _ = watch(progress);
    Ok(())
}

fn check_engines(plan: &Plan, engines: &[Box<dyn Engine>]) -> Result<(), SegmentError> {
    let expected = plan.network.spec();
    if engines.is_empty() {
        return Err(SegmentError::EngineShape { found: "no engine".to_owned(), expected });
    }
    match engines.iter().find(|engine| *engine.spec() != expected) {
        Some(other) => {
            Err(SegmentError::EngineShape { found: format!("{:?}", other.spec()), expected })
        }
        None => Ok(()),
    }
}

/// One tile on its way through all engines and mirrors, with its buffers.
struct TileRun {
    fusion: Fusion,
    /// Every set of axes of the patch array (2 to 4) that is flipped, the empty set first.
    flips: Vec<Vec<usize>>,
    patch: Array5<f32>,
    mirrored: Array5<f32>,
    logits: Array5<f32>,
    sum: Array4<f32>,
}

impl TileRun {
    fn new(plan: &Plan) -> TileRun {
        let spec = plan.network.spec();
        let [z, y, x] = spec.patch;
        TileRun {
            fusion: plan.network.fusion,
            flips: subsets(&plan.network.mirror_axes),
            patch: Array5::zeros(spec.input_shape()),
            mirrored: Array5::zeros(spec.input_shape()),
            logits: Array5::zeros(spec.output_shape()),
            sum: Array4::zeros((spec.classes, z, y, x)),
        }
    }

    /// Copies the tile at `start` of the padded volume; padding is 0 after normalisation.
    fn gather(&mut self, image: ArrayView4<'_, f32>, start: [usize; 3], offset: [usize; 3]) {
        let mut source = image;
        let mut target = self.patch.index_axis_mut(Axis(0), 0);
        target.fill(0.0);
        for axis in 0..3 {
            let (size, tile) = (image.len_of(Axis(axis + 1)), target.len_of(Axis(axis + 1)));
            let first = start[axis].saturating_sub(offset[axis]);
            let skipped = offset[axis].saturating_sub(start[axis]);
            let last = (start[axis] + tile).saturating_sub(offset[axis]).min(size);
            source.slice_axis_inplace(Axis(axis + 1), Slice::from(first..last));
            let covered = skipped..skipped + (last - first);
            target.slice_axis_inplace(Axis(axis + 1), Slice::from(covered));
        }
        target.assign(&source);
    }

    /// The mean over all engines and mirrors: `[class, z, y, x]`.
    fn infer(
        &mut self,
        engines: &mut [Box<dyn Engine>],
    ) -> Result<ArrayView4<'_, f32>, SegmentError> {
        let passes = engines.len() * self.flips.len();
        self.sum.fill(0.0);
        for engine in engines {
            for flip in &self.flips {
                self.mirrored.assign(&flipped(self.patch.view(), flip));
                engine.infer(self.mirrored.view(), self.logits.view_mut())?;
                if !self.logits.iter().all(|v| v.is_finite()) {
                    return Err(SegmentError::NotFinite);
                }
                if self.fusion == Fusion::Probabilities {
                    softmax(&mut self.logits);
                }
                if passes > 1 {
                    self.sum += &flipped(self.logits.view(), flip).index_axis(Axis(0), 0);
                }
            }
        }
        if passes == 1 {
            return Ok(self.logits.index_axis(Axis(0), 0));
        }
        self.sum /= passes as f32;
        Ok(self.sum.view())
    }
}

fn flipped<'a>(
    array: ndarray::ArrayView5<'a, f32>,
    axes: &[usize],
) -> ndarray::ArrayView5<'a, f32> {
    let mut view = array;
    for &axis in axes {
        view.invert_axis(Axis(axis));
    }
    view
}

/// Every subset of the mirror axes, as axes of `[batch, channel, z, y, x]`.
fn subsets(mirror_axes: &[usize]) -> Vec<Vec<usize>> {
    let chosen = |bits: usize| {
        let axes = mirror_axes.iter().enumerate();
        axes.filter(|(i, _)| bits >> i & 1 == 1).map(|(_, axis)| axis + 2).collect()
    };
    (0..1_usize << mirror_axes.len()).map(chosen).collect()
}

/// Logits to probabilities, over the class axis.
fn softmax(logits: &mut Array5<f32>) {
    for mut volume in logits.outer_iter_mut() {
        volume.axis_iter_mut(Axis(1)).into_par_iter().for_each(|mut slice| {
            for mut voxel in slice.lanes_mut(Axis(0)) {
                let top = voxel.fold(f32::NEG_INFINITY, |top, &v| top.max(v));
                voxel.mapv_inplace(|v| (v - top).exp());
                let sum = voxel.sum();
                voxel.mapv_inplace(|v| v / sum);
            }
        });
    }
}

/// The live class sums: a ring of slices, slice z at place z modulo the depth of a tile.
struct Slab {
    /// `[place, class, y, x]`.
    sums: Array4<f32>,
    /// `[place, y, x]`.
    weights: Array3<f32>,
    precision: Sums,
}

impl Slab {
    fn new(tiling: &Tiling, plan: &Plan) -> Slab {
        let [_, height, width] = tiling.padded;
        let depth = tiling.tile[0];
        Slab {
            sums: Array4::zeros((depth, plan.network.classes.len(), height, width)),
            weights: Array3::zeros((depth, height, width)),
            precision: super::precision(&plan.network),
        }
    }

    /// Adds a tile's weighted scores `[class, z, y, x]`.
    fn add(&mut self, scores: ArrayView4<'_, f32>, tile: &Array3<f32>, start: [usize; 3]) {
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
    fn finish(&mut self, z: usize, emit: impl FnOnce(ArrayView3<'_, f32>)) {
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
