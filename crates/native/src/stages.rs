//! How the parts of a Winograd convolution follow each other.
//!
//! With few weights a task does everything for some rows of one slice, out of its own cache. With
//! many it would read them from memory again and again; then all slices are transformed first,
//! each of the 36 points is multiplied by one task, whose weights so come once, and the outputs
//! are gathered last.

use crate::element::{Chunk, Element, LANES};
use crate::half::Pairs;
use crate::level::{Level, at_level};
use crate::micro::Step;
use crate::norm::Moments;
use crate::volume::{Band, Source, bands};
use crate::winograd::{OUTS, POINTS, Products, Winograd};
use crate::workers::spread;

/// Weights that stay in a core's second cache beside what is transformed.
const WEIGHT_BYTES: usize = 512 << 10;
/// What a task keeps transformed, inputs and sums.
const TILE_BYTES: usize = 512 << 10;
/// What is transformed at one time in all, if weights are many.
const SLAB_BYTES: usize = 24 << 20;

/// A way to run a convolution.
#[derive(Debug)]
pub(crate) struct Stages {
    way: Way,
    /// Rows of a band of outputs.
    pub(crate) rows: usize,
    steps: Vec<Step>,
    /// Of the last band, which may have fewer rows: its tiles lie closer.
    last_steps: Vec<Step>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    ByRows,
    /// Output slices at one time.
    ByPoints(usize),
}

/// Room that must be there.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Room {
    /// Chunks of each worker.
    pub(crate) own: usize,
    /// Chunks of transformed inputs and of sums, of all workers together.
    pub(crate) shared: [usize; 2],
}

/// A worker's memory.
#[derive(Debug, Default)]
pub(crate) struct Worker {
    pub(crate) chunks: Vec<Chunk>,
    /// Packed bf16.
    pub(crate) pairs: Vec<Pairs>,
}

impl Stages {
    pub(crate) fn new(winograd: &Winograd) -> Stages {
        let [depth, height, _] = winograd.size;
        let taps = winograd.axis.most_taps();
        let bytes = |rows: usize| {
            let tiles = winograd.tiles(rows);
            let sums = POINTS * winograd.out_blocks() * tiles;
            (taps * winograd.plane(tiles) + sums) * size_of::<Chunk>()
        };
        if winograd.weight_bytes() <= WEIGHT_BYTES && bytes(OUTS) <= TILE_BYTES {
            let rows = (1..=height.div_ceil(OUTS)).map(|n| n * OUTS);
            let rows = rows.take_while(|&rows| bytes(rows) <= TILE_BYTES).last().unwrap_or(OUTS);
            let steps = winograd.steps(winograd.tiles(rows));
            let last = height % rows;
            let last_steps = winograd.steps(winograd.tiles(last));
            return Stages { way: Way::ByRows, rows, steps, last_steps };
        }
        let tiles = winograd.tiles(height);
        let plane = winograd.plane(tiles) * size_of::<Chunk>();
        let slices = (SLAB_BYTES / plane).saturating_sub(taps - 1).clamp(1, depth);
        let rows = height.div_ceil(2).next_multiple_of(OUTS);
        let steps = winograd.steps(tiles);
        Stages { way: Way::ByPoints(slices), rows, steps, last_steps: Vec::new() }
    }

    pub(crate) fn room(&self, winograd: &Winograd) -> Room {
        let (taps, stride) = (winograd.axis.most_taps(), winograd.axis.stride);
        let blocks = winograd.out_blocks();
        match self.way {
            Way::ByRows => {
                let tiles = winograd.tiles(self.rows);
                let own = taps * winograd.plane(tiles) + POINTS * blocks * tiles;
                Room { own: own + winograd.row_room(), shared: [0; 2] }
            }
            Way::ByPoints(slices) => {
                let tiles = winograd.tiles(winograd.size[1]);
                let planes = (slices - 1) * stride + taps;
                let shared = [planes * winograd.plane(tiles), POINTS * blocks * slices * tiles];
                Room { own: winograd.row_room(), shared }
            }
        }
    }

    /// Runs it; `moments` is empty or has one per band and block.
    pub(crate) fn run<T: Element>(
        &self,
        winograd: &Winograd,
        sources: &[Source<'_, T>],
        out: &mut [[T; LANES]],
        moments: &mut [Moments],
        crew: &mut Crew<'_>,
    ) {
        let (size, level) = (winograd.size, crew.level);
        let blocks = winograd.out_blocks();
        match self.way {
            Way::ByRows => {
                let tasks = bands(out, moments, size, blocks, self.rows);
                spread(crew.workers, tasks, |worker, band| {
                    self.rows_of(winograd, level, sources, band, &mut worker.chunks);
                });
            }
            Way::ByPoints(slices) => {
                let plane = size[1] * size[2] * blocks;
                let own = size[1].div_ceil(self.rows) * blocks;
                let mut moments = moments.chunks_mut(slices * own);
                for (slab, out) in out.chunks_mut(slices * plane).enumerate() {
                    let moments = moments.next().unwrap_or_default();
                    let slab = Slab { first: slab * slices, count: out.len() / plane };
                    let low = transform(winograd, sources, slab, crew);
                    let depth = sources.first().map_or(0, |source| source.size()[0]);
                    self.multiply(winograd, slab, [low, depth], crew);
                    self.outputs(winograd, slab, out, moments, crew);
                }
            }
        }
    }

    fn rows_of<T: Element>(
        &self,
        winograd: &Winograd,
        level: Level,
        sources: &[Source<'_, T>],
        band: Band<'_, T>,
        room: &mut [Chunk],
    ) {
        let tiles = winograd.tiles(band.rows);
        let depth = sources.first().map_or(0, |source| source.size()[0]);
        let taps = winograd.axis.within(band.z, depth);
        let first = (winograd.axis.first(band.z) + taps.start.cast_signed()).cast_unsigned();
        let (plane, blocks) = (winograd.plane(tiles), winograd.out_blocks());
        let (inputs, room) = room.split_at_mut(winograd.axis.most_taps() * plane);
        let (sums, rows) = room.split_at_mut(POINTS * blocks * tiles);
        let last = &self.last_steps[..];
        let steps = if band.rows == self.rows { &self.steps[..] } else { last };
        at_level!(level, simd => {
            for (dz, to) in inputs.chunks_exact_mut(plane).enumerate().take(taps.len()) {
                let at = [first + dz, band.y, band.rows];
                winograd.transform(simd, sources, at, rows, to);
            }
            for point in 0..POINTS {
                let from = &inputs[point * (plane / POINTS)..];
                for (group, &(block, _)) in winograd.groups.iter().enumerate() {
                    let to = &mut sums[(point * blocks + block) * tiles..];
                    let taps = taps.clone();
                    let products = Products { steps, taps, point, group, tiles, stride: tiles };
                    winograd.multiply(simd, &products, from, to);
                }
            }
            winograd.gather(simd, sums, [blocks * tiles, tiles, 0], band);
        });
    }

    /// Every point of some output slices, from input slices that begin at `low`.
    fn multiply(
        &self,
        winograd: &Winograd,
        slab: Slab,
        [low, depth]: [usize; 2],
        crew: &mut Crew<'_>,
    ) {
        let (axis, level) = (&winograd.axis, crew.level);
        let tiles = winograd.tiles(winograd.size[1]);
        let (plane, blocks) = (winograd.plane(tiles), winograd.out_blocks());
        let [inputs, sums] = &mut *crew.shared;
        let stride = slab.count * tiles;
        let each = blocks * stride;
        let points = sums[..POINTS * each].chunks_exact_mut(each).enumerate();
        spread(crew.workers, points, |_, (point, sums)| {
            at_level!(level, simd => {
                for (group, &(block, _)) in winograd.groups.iter().enumerate() {
                    for z in 0..slab.count {
                        let taps = axis.within(slab.first + z, depth);
                        let first = axis.first(slab.first + z) + taps.start.cast_signed();
                        let from = (first.cast_unsigned() - low) * plane + point * (plane / POINTS);
                        let to = &mut sums[(block * slab.count + z) * tiles..];
                        let steps = &self.steps[..];
                        let products = Products { steps, taps, point, group, tiles, stride };
                        winograd.multiply(simd, &products, &inputs[from..], to);
                    }
                }
            });
        });
    }

    fn outputs<T: Element>(
        &self,
        winograd: &Winograd,
        slab: Slab,
        out: &mut [[T; LANES]],
        moments: &mut [Moments],
        crew: &mut Crew<'_>,
    ) {
        let level = crew.level;
        let tiles = winograd.tiles(winograd.size[1]);
        let (blocks, stride) = (winograd.out_blocks(), slab.count * tiles);
        let tasks = bands(out, moments, winograd.size, blocks, self.rows);
        let sums = &crew.shared[1][..];
        spread(crew.workers, tasks, |_, band| {
            let at = [blocks * stride, stride, band.z * tiles + winograd.tiles(band.y)];
            at_level!(level, simd => winograd.gather(simd, sums, at, band));
        });
    }
}

/// Transforms the inputs of some output slices; gives the first of the slices.
fn transform<T: Element>(
    winograd: &Winograd,
    sources: &[Source<'_, T>],
    slab: Slab,
    crew: &mut Crew<'_>,
) -> usize {
    let (height, level) = (winograd.size[1], crew.level);
    let depth = sources.first().map_or(0, |source| source.size()[0]);
    let plane = winograd.plane(winograd.tiles(height));
    let span = winograd.axis.span(slab.first..slab.first + slab.count);
    let low = span.0.max(0).cast_unsigned();
    let high = span.1.cast_unsigned().min(depth);
    let planes = crew.shared[0][..(high - low) * plane].chunks_exact_mut(plane).enumerate();
    spread(crew.workers, planes, |worker, (at, to)| {
        let room = &mut worker.chunks;
        at_level!(level, simd => {
            winograd.transform(simd, sources, [low + at, 0, height], room, to);
        });
    });
    low
}

/// Who runs an operation, and the memory that they have together.
#[derive(Debug)]
pub(crate) struct Crew<'a> {
    pub(crate) level: Level,
    pub(crate) workers: &'a mut [Worker],
    pub(crate) shared: &'a mut [Vec<Chunk>; 2],
}

/// Output slices that are computed together.
#[derive(Debug, Clone, Copy)]
struct Slab {
    first: usize,
    count: usize,
}
