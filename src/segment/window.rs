//! The sliding window: tiles through the engines, blended, slices handed on as they finish.
//!
//! Tiles run with z outermost, so only one patch depth of class scores is ever live: a ring
//! of slices, each handed to the caller once no later tile reaches it.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use ndarray::{Array3, Array5, ArrayView3, ArrayView4, Axis, s};
use rayon::prelude::*;

use crate::engine::Engine;
use crate::engine::bundle::Fusion;

use super::feed::{Buffers, Feed, SETS};
use super::gaussian::tile_weights;
use super::passes::{Pass, Passes, answers, gather, unflipped};
use super::slab::Slab;
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
    let passes = Passes::new(tiling.count(), &network.mirror_axes, engines.len(), plan.batch);
    let mut blending = Blending::new(plan, &tiling, &passes, [depth, height, width]);
    std::thread::scope(|scope| {
        let feed = Feed::start(scope, engines);
        let mut free: Vec<Buffers> =
            (0..SETS).map(|_| Buffers::new(&network.spec(plan.batch))).collect();
        let mut todo = passes.iter();
        let mut asked = VecDeque::with_capacity(SETS);
        let mut progress = Progress { tiles_done: 0, tiles_total: tiling.count() };
        go_on(watch, progress)?;
        loop {
            while let Some(mut buffers) = free.pop() {
                let Some(pass) = todo.next() else { break };
                gather(&pass, &passes, &tiling, image, &mut buffers.patches);
                feed.ask(pass.engine, buffers)?;
                asked.push_back(pass);
            }
            let Some(pass) = asked.pop_front() else { return Ok(()) };
            let mut buffers = feed.take()?;
            blending.take(&pass, &mut buffers.logits)?;
            if pass.closes {
                for tile in pass.group.clone() {
                    blending.blend(tile, &pass, &buffers.logits, emit)?;
                    progress.tiles_done += 1;
                    go_on(watch, progress)?;
                }
            }
            free.push(buffers);
        }
    })
}

/// Tells the watcher; after the last tile it is too late to stop.
fn go_on(
    watch: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    progress: Progress,
) -> Result<(), SegmentError> {
    let stop = watch(progress).is_break() && progress.tiles_done < progress.tiles_total;
    if stop { Err(SegmentError::Cancelled) } else { Ok(()) }
}

fn check_engines(plan: &Plan, engines: &[Box<dyn Engine>]) -> Result<(), SegmentError> {
    let expected = plan.network.spec(plan.batch);
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

/// From answers to finished slices.
struct Blending<'a> {
    passes: &'a Passes,
    tiling: &'a Tiling,
    fusion: Fusion,
    weights: Array3<f32>,
    slab: Slab,
    /// Sums over folds and mirrors of the open group, `[tile, class, z, y, x]`; empty where a
    /// tile is one answer.
    sums: Array5<f32>,
    /// Shape of the volume without padding.
    volume: [usize; 3],
}

impl<'a> Blending<'a> {
    fn new(
        plan: &Plan,
        tiling: &'a Tiling,
        passes: &'a Passes,
        volume: [usize; 3],
    ) -> Blending<'a> {
        let [_, classes, z, y, x] = plan.network.spec(1).output_shape();
        let open = if passes.per_tile() > 1 { passes.group() } else { 0 };
        Blending {
            passes,
            tiling,
            fusion: plan.network.fusion,
            weights: tile_weights(plan.network.patch),
            slab: Slab::new(tiling, plan),
            sums: Array5::zeros((open, classes, z, y, x)),
            volume,
        }
    }

    /// Adds the answers of a pass to their tiles, where a tile has several.
    fn take(&mut self, pass: &Pass, logits: &mut Array5<f32>) -> Result<(), SegmentError> {
        if self.fusion == Fusion::Probabilities {
            // Minus infinity would pass as a probability; of logits the sums tell.
            if !answers(pass, logits).iter().all(|v| v.is_finite()) {
                return Err(SegmentError::NotFinite);
            }
            softmax(logits);
        }
        if self.sums.is_empty() {
            return Ok(());
        }
        for (answer, &(tile, flip)) in answers(pass, logits).outer_iter().zip(&pass.slots) {
            let answer = unflipped(answer, self.passes.flip(flip));
            let mut sum = self.sums.index_axis_mut(Axis(0), tile - pass.group.start);
            if (pass.engine, flip) == (0, 0) {
                sum.assign(&answer);
            } else {
                sum += &answer;
            }
        }
        Ok(())
    }

    /// Adds a complete tile to the slab and hands out the slices that no later one reaches.
    fn blend(
        &mut self,
        tile: usize,
        pass: &Pass,
        logits: &Array5<f32>,
        emit: &mut dyn FnMut(usize, ArrayView3<'_, f32>),
    ) -> Result<(), SegmentError> {
        let place = tile - pass.group.start;
        let start = self.tiling.start(tile);
        if self.sums.is_empty() {
            self.slab.add(logits.index_axis(Axis(0), place), &self.weights, start)?;
        } else {
            let mut sum = self.sums.index_axis_mut(Axis(0), place);
            sum /= self.passes.per_tile() as f32;
            self.slab.add(sum.view(), &self.weights, start)?;
        }
        for finished in self.tiling.finished_by(tile) {
            self.finish(finished, emit);
        }
        Ok(())
    }

    /// Hands out a slice of the padded volume, cut to the volume.
    fn finish(&mut self, slice: usize, emit: &mut dyn FnMut(usize, ArrayView3<'_, f32>)) {
        let [oz, oy, ox] = self.tiling.offset;
        let [depth, height, width] = self.volume;
        let inside = slice.checked_sub(oz).filter(|&z| z < depth);
        self.slab.finish(slice, |scores| {
            if let Some(z) = inside {
                emit(z, scores.slice(s![.., oy..oy + height, ox..ox + width]));
            }
        });
    }
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
