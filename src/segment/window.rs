//! The sliding window: tiles through the engines, blended, slices handed on as they finish.
//!
//! Tiles run with z outermost, so only one patch depth of class scores is ever live: a ring
//! of slices, each handed to the caller once no later tile reaches it.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use ndarray::{Array3, Array4, Array5, ArrayView3, ArrayView4, Axis, s};
use rayon::prelude::*;

use crate::engine::Engine;
use crate::engine::bundle::Fusion;

use super::air::Order;
use super::feed::{Buffers, Feed, SETS};
use super::folds::FoldSlabs;
use super::gaussian::tile_weights;
use super::meter::Meter;
use super::passes::{Pass, Passes, answers, gather, unflipped};
use super::tiles::Tiling;
use super::{Plan, Progress, SegmentError};

type Watch<'a> = &'a mut dyn FnMut(Progress) -> ControlFlow<()>;
type Emit<'a> = &'a mut dyn FnMut(usize, ArrayView3<'_, f32>);

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
    meter: &mut Meter<'_>,
    watch: Watch<'_>,
    emit: Emit<'_>,
) -> Result<(), SegmentError> {
    check_engines(plan, engines)?;
    let network = &plan.network;
    let (_, depth, height, width) = image.dim();
    let tiling = Tiling::new([depth, height, width], network.patch, network.tile_step);
    let order = Order::new(image, network, &tiling, plan.air);
    let passes = Passes::new(order.run.len(), &network.mirror_axes, engines.len(), plan.batch);
    let mut blending = Blending::new(plan, &tiling, &order, &passes, [depth, height, width]);
    meter.busy.tiles_run += order.run.len();
    let clock = meter.clock;
    std::thread::scope(|scope| {
        let feed = Feed::start(scope, engines, clock);
        let mut free: Vec<Buffers> =
            (0..SETS).map(|_| Buffers::new(&network.spec(plan.batch))).collect();
        let mut todo = passes.iter();
        let mut asked = VecDeque::with_capacity(SETS);
        go_on(watch, blending.progress())?;
        loop {
            while let Some(mut buffers) = free.pop() {
                let Some(pass) = todo.next() else { break };
                meter.time(
                    |busy| &mut busy.gather_s,
                    || gather(&pass, &passes, (&tiling, &order.run), image, &mut buffers.patches),
                );
                feed.ask(pass.engine, buffers)?;
                asked.push_back(pass);
            }
            let Some(pass) = asked.pop_front() else { return Ok(()) };
            let mut buffers = meter.time(|busy| &mut busy.wait_s, || feed.take())?;
            meter.busy.network_s += buffers.network_s;
            meter.time(
                |busy| &mut busy.blend_s,
                || blending.take(&pass, &mut buffers.logits, watch, emit),
            )?;
            free.push(buffers);
        }
    })
}

/// Tells the watcher; after the last tile it is too late to stop.
fn go_on(watch: Watch<'_>, progress: Progress) -> Result<(), SegmentError> {
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
    order: &'a Order,
    fusion: Fusion,
    weights: Array3<f32>,
    slabs: FoldSlabs,
    /// Sums over mirrors, and over folds that share a slab, of the open group:
    /// `[slab and tile, class, z, y, x]`; empty where a tile is one answer.
    sums: Array5<f32>,
    /// Scores of a tile of air per slab, `[class, z, y, x]`, once they are known and needed.
    air: Vec<Array4<f32>>,
    /// Tiles blended: all before this one.
    next: usize,
    /// Shape of the volume without padding.
    volume: [usize; 3],
}

impl<'a> Blending<'a> {
    fn new(
        plan: &Plan,
        tiling: &'a Tiling,
        order: &'a Order,
        passes: &'a Passes,
        volume: [usize; 3],
    ) -> Blending<'a> {
        let [_, classes, z, y, x] = plan.network.spec(1).output_shape();
        let slabs = FoldSlabs::new(tiling, plan, passes.engines());
        let open = if passes.per_tile() > 1 { slabs.count() * passes.group() } else { 0 };
        Blending {
            passes,
            tiling,
            order,
            fusion: plan.network.fusion,
            weights: tile_weights(plan.network.patch),
            slabs,
            sums: Array5::zeros((open, classes, z, y, x)),
            air: Vec::new(),
            next: 0,
            volume,
        }
    }

    fn progress(&self) -> Progress {
        Progress { tiles_done: self.next, tiles_total: self.order.air.len() }
    }

    /// Takes the answers of a pass; if it closes its group, blends all tiles that are then
    /// known, in tile order.
    fn take(
        &mut self,
        pass: &Pass,
        logits: &mut Array5<f32>,
        watch: Watch<'_>,
        emit: Emit<'_>,
    ) -> Result<(), SegmentError> {
        self.sum(pass, logits)?;
        if !pass.closes {
            return Ok(());
        }
        for place in pass.group.clone() {
            let tile = self.order.run[place];
            self.repeat_air(tile, watch, emit)?;
            self.blend_answer(place - pass.group.start, tile, logits, emit)?;
            go_on(watch, self.progress())?;
        }
        if pass.group.end == self.order.run.len() {
            self.repeat_air(self.order.air.len(), watch, emit)?;
        }
        Ok(())
    }

    /// Adds the answers of a pass to their tiles, where a tile has several.
    fn sum(&mut self, pass: &Pass, logits: &mut Array5<f32>) -> Result<(), SegmentError> {
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
            let slab = pass.engine % self.slabs.count();
            let at = slab * self.passes.group() + tile - pass.group.start;
            let mut sum = self.sums.index_axis_mut(Axis(0), at);
            if (pass.engine, flip) == (slab, 0) {
                sum.assign(&answer);
            } else {
                sum += &answer;
            }
        }
        Ok(())
    }

    /// Blends the tiles of air before tile `end` that were not run.
    fn repeat_air(
        &mut self,
        end: usize,
        watch: Watch<'_>,
        emit: Emit<'_>,
    ) -> Result<(), SegmentError> {
        while self.next < end {
            assert_eq!(self.air.len(), self.slabs.count(), "the first of air is run");
            for (slab, scores) in self.air.iter().enumerate() {
                let start = self.tiling.start(self.next);
                self.slabs.add(slab, scores.view(), &self.weights, start)?;
            }
            self.finish_after(self.next, emit);
            go_on(watch, self.progress())?;
        }
        Ok(())
    }

    /// Blends a tile that was run, from its place in the group.
    fn blend_answer(
        &mut self,
        place: usize,
        tile: usize,
        logits: &Array5<f32>,
        emit: Emit<'_>,
    ) -> Result<(), SegmentError> {
        let several = !self.sums.is_empty();
        let keep_air = self.order.air[tile] && self.order.air[tile + 1..].contains(&true);
        if keep_air {
            self.air.clear();
        }
        let answers = self.passes.per_tile() / self.slabs.count();
        for slab in 0..self.slabs.count() {
            let at = slab * self.passes.group() + place;
            if several {
                let mut sum = self.sums.index_axis_mut(Axis(0), at);
                sum /= answers as f32;
            }
            let known = if several { &self.sums } else { logits };
            let scores = known.index_axis(Axis(0), at);
            self.slabs.add(slab, scores, &self.weights, self.tiling.start(tile))?;
            if keep_air {
                self.air.push(scores.to_owned());
            }
        }
        self.finish_after(tile, emit);
        Ok(())
    }

    /// Hands out the slices that no tile after this one reaches.
    fn finish_after(&mut self, tile: usize, emit: Emit<'_>) {
        self.next = tile + 1;
        for finished in self.tiling.finished_by(tile) {
            self.finish(finished, emit);
        }
    }

    /// Hands out a slice of the padded volume, cut to the volume.
    fn finish(&mut self, slice: usize, emit: Emit<'_>) {
        let [oz, oy, ox] = self.tiling.offset;
        let [depth, height, width] = self.volume;
        let inside = slice.checked_sub(oz).filter(|&z| z < depth);
        self.slabs.finish(slice, |scores| {
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
