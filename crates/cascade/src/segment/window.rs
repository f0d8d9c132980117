//! The sliding window: tiles through the engines, blended, slices handed on as they finish.
//!
//! Tiles run with z outermost, so only one patch depth of class scores is ever live: a ring
//! of slices, each handed to the caller once no later tile reaches it.

use std::ops::ControlFlow;

use ndarray::{Array3, Array4, Array5, ArrayView3, ArrayView4, ArrayView5, Axis, s};
use rayon::prelude::*;

use hepalert_bundles::Fusion;
use hepalert_engines::Engine;

use super::air::Order;
use super::calls::{EngineCall, EngineCalls, answers, gather, unflipped};
use super::feed::{self, Work};
use super::folds::FoldSlabs;
use super::gaussian::tile_weights;
use super::meter::Meter;
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
    let calls = EngineCalls::new(order.run.len(), &network.mirror_axes, engines.len(), plan.batch);
    let mut blending = Blending::new(plan, &tiling, &order, &calls, [depth, height, width]);
    meter.busy.tiles_run += order.run.len();
    go_on(watch, blending.progress())?;
    let mut work = TileWork { image, blending: &mut blending, watch, emit };
    feed::run(engines, &network.spec(plan.batch), calls.iter(), meter, &mut work)
}

/// What is done around the networks.
struct TileWork<'a, 'b> {
    /// `[channel, z, y, x]`.
    image: ArrayView4<'a, f32>,
    blending: &'b mut Blending<'a>,
    watch: Watch<'b>,
    emit: Emit<'b>,
}

impl Work for TileWork<'_, '_> {
    fn fill(&mut self, call: &EngineCall, patches: &mut Array5<f32>) {
        let Blending { calls, tiling, order, .. } = &self.blending;
        gather(call, calls, (tiling, &order.run), self.image, patches);
    }

    fn take(&mut self, call: &EngineCall, logits: ArrayView5<'_, f32>) -> Result<(), SegmentError> {
        self.blending.take(call, logits, self.watch, self.emit)
    }
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
    calls: &'a EngineCalls,
    tiling: &'a Tiling,
    order: &'a Order,
    /// Where logits become probabilities, `[batch, class, z, y, x]`; none for logits.
    probabilities: Option<Array5<f32>>,
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
        calls: &'a EngineCalls,
        volume: [usize; 3],
    ) -> Blending<'a> {
        let [_, classes, z, y, x] = plan.network.spec(1).output_shape();
        let slabs = FoldSlabs::new(tiling, plan, calls.engines());
        let open = if calls.per_tile() > 1 { slabs.count() * calls.group() } else { 0 };
        Blending {
            calls,
            tiling,
            order,
            probabilities: (plan.network.fusion == Fusion::Probabilities)
                .then(|| Array5::zeros(plan.network.spec(plan.batch).output_shape())),
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

    /// Takes the answers of a call; if it closes its group, blends all tiles that are then
    /// known, in tile order.
    fn take(
        &mut self,
        call: &EngineCall,
        logits: ArrayView5<'_, f32>,
        watch: Watch<'_>,
        emit: Emit<'_>,
    ) -> Result<(), SegmentError> {
        match self.probabilities.take() {
            None => self.take_scores(call, logits, watch, emit),
            Some(mut probabilities) => {
                // Minus infinity would pass as a probability; of logits the sums tell.
                if !answers(call, &logits).iter().all(|v| v.is_finite()) {
                    return Err(SegmentError::NotFinite);
                }
                probabilities.assign(&logits);
                softmax(&mut probabilities);
                let taken = self.take_scores(call, probabilities.view(), watch, emit);
                self.probabilities = Some(probabilities);
                taken
            }
        }
    }

    fn take_scores(
        &mut self,
        call: &EngineCall,
        scores: ArrayView5<'_, f32>,
        watch: Watch<'_>,
        emit: Emit<'_>,
    ) -> Result<(), SegmentError> {
        self.sum(call, &scores);
        if !call.closes {
            return Ok(());
        }
        for place in call.group.clone() {
            let tile = self.order.run[place];
            self.repeat_air(tile, watch, emit)?;
            self.blend_answer(place - call.group.start, tile, &scores, emit)?;
            go_on(watch, self.progress())?;
        }
        if call.group.end == self.order.run.len() {
            self.repeat_air(self.order.air.len(), watch, emit)?;
        }
        Ok(())
    }

    /// Adds the answers of a call to their tiles, where a tile has several.
    fn sum(&mut self, call: &EngineCall, scores: &ArrayView5<'_, f32>) {
        if self.sums.is_empty() {
            return;
        }
        for (answer, &(tile, flip)) in answers(call, scores).outer_iter().zip(&call.slots) {
            let answer = unflipped(answer, self.calls.flip(flip));
            let slab = call.engine % self.slabs.count();
            let at = self.at(slab, tile - call.group.start);
            let mut sum = self.sums.index_axis_mut(Axis(0), at);
            if (call.engine, flip) == (slab, 0) {
                sum.assign(&answer);
            } else {
                sum += &answer;
            }
        }
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
        answers: &ArrayView5<'_, f32>,
        emit: Emit<'_>,
    ) -> Result<(), SegmentError> {
        self.average(place);
        let keep_air = self.order.air[tile] && self.order.air[tile + 1..].contains(&true);
        if keep_air {
            self.air.clear();
        }
        for slab in 0..self.slabs.count() {
            let scores = known(&self.sums, answers, self.at(slab, place));
            self.slabs.add(slab, scores, &self.weights, self.tiling.start(tile))?;
            if keep_air {
                self.air.push(scores.to_owned());
            }
        }
        self.finish_after(tile, emit);
        Ok(())
    }

    /// Turns the sums of a patch into means.
    fn average(&mut self, place: usize) {
        if self.sums.is_empty() {
            return;
        }
        let runs = self.calls.per_tile() / self.slabs.count();
        for slab in 0..self.slabs.count() {
            let at = self.at(slab, place);
            let mut sum = self.sums.index_axis_mut(Axis(0), at);
            sum /= runs as f32;
        }
    }

    /// Where the sums of a slab and a place of the group lie.
    fn at(&self, slab: usize, place: usize) -> usize {
        slab * self.calls.group() + place
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

/// The scores of a patch: a mean if there are several answers, else the one.
fn known<'a>(
    sums: &'a Array5<f32>,
    answers: &'a ArrayView5<'_, f32>,
    at: usize,
) -> ArrayView4<'a, f32> {
    if sums.is_empty() { answers.index_axis(Axis(0), at) } else { sums.index_axis(Axis(0), at) }
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
