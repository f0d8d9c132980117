//! The live class sums: one patch depth of weighted tiles.
//!
//! Owns blending: a tile's scores times its weights, added up, and divided by the sum of the
//! weights once a slice is complete. Sums that are rounded to f16 are kept in two bytes.

use half::f16;
use ndarray::{Array3, ArrayView1, ArrayView2, ArrayView3, ArrayView4, Axis};
use rayon::prelude::*;

use hepalert_bundles::Sums;
use hepalert_voxels::image::vector::widest;

use super::half::{f16_bits_to_f32, f32_to_f16_bits, round_to_f16};
use super::tiles::Tiling;
use super::{Plan, SegmentError};

/// A number as the slab keeps it.
pub(super) trait Accumulator: Copy + Default + Send + Sync {
    /// Adds `scores * weights` to a row of sums; false if a sum has become no number, or too
    /// large to be kept.
    fn add_row(sums: &mut [Self], scores: &[f32], weights: &[f32]) -> bool;
    /// Adds a row of weights.
    fn add_weights(sums: &mut [Self], weights: &[f32]);
    /// Writes sums over weights.
    fn divide(mean: &mut [f32], sums: &[Self], weights: &[Self]);
    /// Its bits, or more.
    fn bits(self) -> u32;
}

impl Accumulator for f32 {
    #[inline(always)]
    fn add_row(sums: &mut [f32], scores: &[f32], weights: &[f32]) -> bool {
        let mut lost = 0_u32;
        for ((sum, &score), &weight) in sums.iter_mut().zip(scores).zip(weights) {
            *sum += score * weight;
            lost |= u32::from(!sum.is_finite());
        }
        lost == 0
    }
    #[inline(always)]
    fn add_weights(sums: &mut [f32], weights: &[f32]) {
        sums.iter_mut().zip(weights).for_each(|(sum, weight)| *sum += weight);
    }
    #[inline(always)]
    fn divide(mean: &mut [f32], sums: &[f32], weights: &[f32]) {
        mean.iter_mut().zip(sums).zip(weights).for_each(|((mean, sum), w)| *mean = sum / w);
    }
    #[inline(always)]
    fn bits(self) -> u32 {
        self.to_bits()
    }
}

/// From here on numbers round to infinity in f16.
const F16_OVERFLOW: f32 = 65520.0;

impl Accumulator for f16 {
    #[inline(always)]
    fn add_row(sums: &mut [f16], scores: &[f32], weights: &[f32]) -> bool {
        let mut lost = 0_u32;
        for ((sum, &score), &weight) in sums.iter_mut().zip(scores).zip(weights) {
            let wide = f16_bits_to_f32(sum.to_bits()) + score * weight;
            let fits = wide.abs() < F16_OVERFLOW;
            lost |= u32::from(!fits);
            *sum = f16::from_bits(f32_to_f16_bits(wide));
        }
        lost == 0
    }
    #[inline(always)]
    fn add_weights(sums: &mut [f16], weights: &[f32]) {
        for (sum, weight) in sums.iter_mut().zip(weights) {
            *sum = f16::from_bits(f32_to_f16_bits(f16_bits_to_f32(sum.to_bits()) + weight));
        }
    }
    #[inline(always)]
    fn divide(mean: &mut [f32], sums: &[f16], weights: &[f16]) {
        for ((mean, sum), weight) in mean.iter_mut().zip(sums).zip(weights) {
            *mean =
                round_to_f16(f16_bits_to_f32(sum.to_bits()) / f16_bits_to_f32(weight.to_bits()));
        }
    }
    #[inline(always)]
    fn bits(self) -> u32 {
        u32::from(self.to_bits())
    }
}

/// A ring of slices in the precision of a network.
pub(super) enum Slab {
    F16(Ring<f16>),
    F32(Ring<f32>),
}

impl Slab {
    pub(super) fn new(tiling: &Tiling, plan: &Plan) -> Slab {
        let classes = plan.network.classes.len();
        match super::precision(&plan.network) {
            Sums::F16 => Slab::F16(Ring::new(tiling, classes)),
            Sums::F32 => Slab::F32(Ring::new(tiling, classes)),
        }
    }

    /// Adds the scores `[class, z, y, x]` of the tile at `start`, times its weights.
    ///
    /// # Errors
    /// [`SegmentError::NotFinite`] if a sum is no number, or too large for its precision.
    pub(super) fn add(
        &mut self,
        scores: ArrayView4<'_, f32>,
        tile: &Array3<f32>,
        start: [usize; 3],
    ) -> Result<(), SegmentError> {
        match self {
            Slab::F16(ring) => ring.add(scores, tile, start),
            Slab::F32(ring) => ring.add(scores, tile, start),
        }
    }

    /// Divides slice `z` by its weights, hands it out as `[class, y, x]`, clears its place.
    pub(super) fn finish(&mut self, z: usize, emit: impl FnOnce(ArrayView3<'_, f32>)) {
        match self {
            Slab::F16(ring) => ring.finish(z, emit),
            Slab::F32(ring) => ring.finish(z, emit),
        }
    }
}

/// Rows whose sums are fetched together.
const AHEAD: usize = 8;

/// Slice z at place z modulo the depth of a tile.
pub(super) struct Ring<S> {
    places: Vec<Place<S>>,
    height: usize,
    width: usize,
    /// The slice handed out last, `[class, y, x]`.
    mean: Array3<f32>,
}

/// One slice of sums.
struct Place<S> {
    /// `[class, y, x]`.
    sums: Vec<S>,
    /// `[y, x]`.
    weights: Vec<S>,
}

/// Where the rows of a tile lie in a plane.
struct Window {
    /// The first voxel.
    at: usize,
    /// From one row to the next.
    width: usize,
}

impl<S: Accumulator> Place<S> {
    /// Adds one slice of a tile; false if a sum is lost. Plane by plane: rows of one plane are
    /// neighbours in memory, which processors foresee.
    #[inline(always)]
    fn add(
        &mut self,
        scores: ArrayView3<'_, f32>,
        weights: ArrayView2<'_, f32>,
        window: &Window,
    ) -> bool {
        let span = |row: usize, columns: usize| {
            let at = window.at + row * window.width;
            at..at + columns
        };
        for (y, weights) in weights.outer_iter().enumerate() {
            S::add_weights(&mut self.weights[span(y, weights.len())], row(weights));
        }
        let height = weights.nrows();
        let mut sound = true;
        let planes = self.sums.chunks_exact_mut(self.weights.len());
        for (sums, scores) in planes.zip(scores.outer_iter()) {
            for (y, (scores, weights)) in scores.outer_iter().zip(weights.outer_iter()).enumerate()
            {
                if y % AHEAD == 0 {
                    let rows = (y..y + AHEAD).take_while(|&y| y < height);
                    prefetch(rows.map(|y| &sums[span(y, weights.len())]));
                }
                let sums = &mut sums[span(y, weights.len())];
                sound &= S::add_row(sums, row(scores), row(weights));
            }
        }
        sound
    }
}

impl<S: Accumulator> Ring<S> {
    fn new(tiling: &Tiling, classes: usize) -> Ring<S> {
        let [_, height, width] = tiling.padded;
        let area = height * width;
        let place = || Place {
            sums: vec![S::default(); classes * area],
            weights: vec![S::default(); area],
        };
        Ring {
            places: (0..tiling.tile[0]).map(|_| place()).collect(),
            height,
            width,
            mean: Array3::zeros((classes, height, width)),
        }
    }

    /// Every place of the ring takes one slice of the tile, so places are filled in parallel.
    fn add(
        &mut self,
        scores: ArrayView4<'_, f32>,
        tile: &Array3<f32>,
        [first, y, x]: [usize; 3],
    ) -> Result<(), SegmentError> {
        let (depth, width) = (self.places.len(), self.width);
        let sound = self.places.par_iter_mut().enumerate().map(|(place, kept)| {
            let dz = (place + depth - first % depth) % depth;
            let weights = tile.index_axis(Axis(0), dz);
            let scores = scores.index_axis(Axis(1), dz);
            let plane = Window { at: y * width + x, width };
            widest(
                #[inline(always)]
                || kept.add(scores, weights, &plane),
            )
        });
        if sound.reduce(|| true, |a, b| a & b) { Ok(()) } else { Err(SegmentError::NotFinite) }
    }

    fn finish(&mut self, z: usize, emit: impl FnOnce(ArrayView3<'_, f32>)) {
        let (count, area) = (self.places.len(), self.height * self.width);
        let Place { sums, weights } = &mut self.places[z % count];
        let planes = sums.par_chunks_exact_mut(area).zip(self.mean.axis_iter_mut(Axis(0)));
        planes.for_each(|(sums, mut mean)| {
            let Some(mean) = mean.as_slice_mut() else { unreachable!("planes are whole") };
            widest(
                #[inline(always)]
                || S::divide(mean, sums, weights),
            );
            sums.fill(S::default());
        });
        weights.fill(S::default());
        emit(self.mean.view());
    }
}

/// Reads one number of every cache line, so that all of them are on their way at once: the rows
/// of a tile lie too far apart for the processor to foresee them.
#[inline(always)]
fn prefetch<'a, S: Accumulator + 'a>(rows: impl Iterator<Item = &'a [S]>) {
    let mut sum = 0_u32;
    for row in rows {
        for kept in row.iter().step_by(64 / size_of::<S>()) {
            sum = sum.wrapping_add(kept.bits());
        }
    }
    std::hint::black_box(sum);
}

#[inline(always)]
fn row(row: ArrayView1<'_, f32>) -> &[f32] {
    let Some(row) = row.to_slice() else { unreachable!("scores and weights are in C order") };
    row
}
