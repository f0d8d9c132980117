//! Cubic B-spline resize, as scipy's `zoom(order=3, mode="nearest", grid_mode=True)` followed
//! by scikit-image's clip to the range of the input.
//!
//! Sums are `f64`, a few lines at a time: sixteen neighbouring lines go through the recursion
//! together, so that it is vector code along whichever axis.

use ndarray::{Array2, Array3, ArrayView2, ArrayView3, ArrayViewMut2, ArrayViewMut3, Axis, s};
use rayon::prelude::*;

use super::nearest_index;
use crate::image::vector::widest;

/// Samples of edge value that scipy adds at both ends before the spline filter.
const PADDING: usize = 12;
/// Pole of the cubic B-spline filter: sqrt(3) - 2.
const POLE: f64 = -0.267_949_192_431_122_7;
/// Overall gain of that filter: (1 - z)(1 - 1/z).
const GAIN: f64 = 6.0;

/// Lines that are resized together.
const LINES: usize = 16;
/// Slices that one thread resizes in a row: its buffers are made once for them.
const LEAST_SLICES: usize = 4;

/// Resizes `source` `[z, y, x]` into `out` by cubic splines, sums in `f64`.
///
/// With a `separate` axis every slice across it is resized in two dimensions and clipped to
/// its own range, then slices are picked by nearest; without, one three-dimensional resize
/// is clipped to the range of the volume.
///
/// # Panics
/// If an axis of `source` is empty while `out` is not.
pub fn resize_cubic(
    source: ArrayView3<'_, f32>,
    out: ArrayViewMut3<'_, f32>,
    separate: Option<usize>,
) {
    if source.dim() == out.dim() {
        let mut out = out;
        out.assign(&source);
        return;
    }
    let Some(axis) = separate else { return resize_volume(source, out) };
    let order: [usize; 3] = match axis {
        0 => [0, 1, 2],
        1 => [1, 0, 2],
        _ => [2, 0, 1],
    };
    let source = source.permuted_axes(order);
    let (depth, rows, columns) = source.dim();
    let out = out.permuted_axes(order);
    resize_cubic_slices([depth, rows, columns], out, &|z, slice| {
        slice.assign(&source.index_axis(Axis(0), z));
    });
}

/// [`resize_cubic`] with separate axis 0 for a volume of shape `from` that is made slice by
/// slice: `fill(z, slice)` writes slice `z`, once, on any thread. No copy of the volume is made.
///
/// # Panics
/// If an axis of `from` is 0 while `out` is not empty.
pub fn resize_cubic_slices(
    from: [usize; 3],
    out: ArrayViewMut3<'_, f32>,
    fill: &(dyn Fn(usize, &mut ArrayViewMut2<'_, f32>) + Sync),
) {
    let [depth, rows, columns] = from;
    let plane = Plane::new([rows, columns], [out.dim().1, out.dim().2]);
    group_by_source(out, depth).into_par_iter().with_min_len(LEAST_SLICES).for_each_init(
        || (Array2::zeros((rows, columns)), plane.scratch()),
        |(slice, scratch), (z, mut copies)| {
            fill(z, &mut slice.view_mut());
            let range = range(slice.iter());
            let (first, mut others) = copies.view_mut().split_at(Axis(0), 1);
            let mut first = first.index_axis_move(Axis(0), 0);
            plane.resize(slice.view(), &mut first, range, scratch);
            for mut copy in others.outer_iter_mut() {
                copy.assign(&first);
            }
        },
    );
}

/// Splits the output into runs of slices that come from the same source slice.
fn group_by_source(
    out: ArrayViewMut3<'_, f32>,
    from: usize,
) -> Vec<(usize, ArrayViewMut3<'_, f32>)> {
    let to = out.dim().0;
    let mut rest = out;
    let mut groups = Vec::new();
    let mut k = 0;
    while k < to {
        let source = nearest_index(k, from, to);
        let run = (k..to).take_while(|&next| nearest_index(next, from, to) == source).count();
        let (head, tail) = rest.split_at(Axis(0), run);
        groups.push((source, head));
        rest = tail;
        k += run;
    }
    groups
}

/// Least and largest value: what scikit-image clips to.
type Range = (f32, f32);

const UNCLIPPED: Range = (f32::MIN, f32::MAX);

fn range<'a>(values: impl Iterator<Item = &'a f32>) -> Range {
    values.fold((f32::MAX, f32::MIN), |(low, high), &v| (low.min(v), high.max(v)))
}

/// Not `clamp`: it panics on the empty range of a slice that is all NaN.
#[inline(always)]
fn clipped(value: f64, (low, high): Range) -> f32 {
    value.max(f64::from(low)).min(f64::from(high)) as f32
}

/// In plane first, into an `f32` volume; then along z, row by row.
fn resize_volume(source: ArrayView3<'_, f32>, mut out: ArrayViewMut3<'_, f32>) {
    let (depth, rows, columns) = source.dim();
    let (out_depth, out_rows, out_columns) = out.dim();
    let plane = Plane::new([rows, columns], [out_rows, out_columns]);
    let mut flat = Array3::zeros((depth, out_rows, out_columns));
    let slices = flat.outer_iter_mut().into_par_iter().zip(source.outer_iter().into_par_iter());
    slices.with_min_len(LEAST_SLICES).for_each_init(
        || plane.scratch(),
        |scratch, (mut slice, from)| plane.resize(from, &mut slice, UNCLIPPED, scratch),
    );
    let along_z = Spline::new(depth, out_depth);
    let range = source
        .outer_iter()
        .into_par_iter()
        .map(|slice| range(slice.iter()))
        .reduce(|| (f32::MAX, f32::MIN), |a, b| (a.0.min(b.0), a.1.max(b.1)));
    out.axis_iter_mut(Axis(1))
        .into_par_iter()
        .zip(flat.axis_iter(Axis(1)).into_par_iter())
        .for_each_init(
            || along_z.lines(),
            |lines, (mut out, rows)| {
                along_z.resize_down(rows, lines, &mut |k, first, sums| {
                    let last = (first + LINES).min(out_columns);
                    let row = out.slice_mut(s![k, first..last]);
                    row.into_iter().zip(sums).for_each(|(out, &sum)| *out = clipped(sum, range));
                });
            },
        );
}

/// The two-dimensional resize of one slice.
struct Plane {
    rows: Spline,
    columns: Spline,
}

/// Buffers of [`Plane::resize`].
struct Scratch {
    /// Resized along the first axis.
    tall: Array2<f64>,
    lines: Vec<[f64; LINES]>,
}

impl Plane {
    fn new(from: [usize; 2], to: [usize; 2]) -> Plane {
        Plane { rows: Spline::new(from[0], to[0]), columns: Spline::new(from[1], to[1]) }
    }

    fn scratch(&self) -> Scratch {
        let tall = Array2::zeros((self.rows.taps.len(), self.columns.from));
        let longest = self.rows.from.max(self.columns.from) + 2 * PADDING;
        Scratch { tall, lines: vec![[0.0; LINES]; longest] }
    }

    fn resize(
        &self,
        slice: ArrayView2<'_, f32>,
        out: &mut ArrayViewMut2<'_, f32>,
        range: Range,
        scratch: &mut Scratch,
    ) {
        let Scratch { tall, lines } = scratch;
        let width = tall.ncols();
        self.rows.resize_down(slice, lines, &mut |k, first, sums| {
            let last = (first + LINES).min(width);
            let row = tall.slice_mut(s![k, first..last]);
            row.into_iter().zip(sums).for_each(|(tall, &sum)| *tall = sum);
        });
        for (mut out, tall) in
            out.axis_chunks_iter_mut(Axis(0), LINES).zip(tall.axis_chunks_iter(Axis(0), LINES))
        {
            self.columns.resize_across(tall, lines, &mut |k, sums| {
                let column = out.column_mut(k);
                column.into_iter().zip(sums).for_each(|(out, &sum)| *out = clipped(sum, range));
            });
        }
    }
}

/// Cubic interpolation along one axis: for every output sample the first of four spline
/// coefficients, counted in the padded line, and their weights.
struct Spline {
    from: usize,
    taps: Vec<(usize, [f64; 4])>,
}

impl Spline {
    fn new(from: usize, to: usize) -> Spline {
        let scale = from as f64 / to as f64;
        let tap = |k: usize| {
            let x = (k as f64 + 0.5) * scale - 0.5 + PADDING as f64;
            let t = x - x.floor();
            let u = 1.0 - t;
            let weights = [
                u * u * u / 6.0,
                (4.0 - 6.0 * t * t + 3.0 * t * t * t) / 6.0,
                (4.0 - 6.0 * u * u + 3.0 * u * u * u) / 6.0,
                t * t * t / 6.0,
            ];
            (x.floor() as usize - 1, weights)
        };
        Spline { from, taps: (0..to).map(tap).collect() }
    }

    /// True if the output samples are the input samples.
    fn is_identity(&self) -> bool {
        self.taps.len() == self.from
    }

    /// A buffer for padded lines along this axis.
    fn lines(&self) -> Vec<[f64; LINES]> {
        vec![[0.0; LINES]; self.from + 2 * PADDING]
    }

    /// Resizes the first axis of `source`, strip by strip: `emit(k, first, sums)` takes output
    /// row `k` from column `first` on; what lies beyond the last column is to be ignored.
    fn resize_down(
        &self,
        source: ArrayView2<'_, f32>,
        lines: &mut [[f64; LINES]],
        emit: &mut impl FnMut(usize, usize, &[f64; LINES]),
    ) {
        for (n, strip) in source.axis_chunks_iter(Axis(1), LINES).enumerate() {
            for (line, row) in lines[PADDING..].iter_mut().zip(strip.outer_iter()) {
                line.iter_mut().zip(row).for_each(|(value, &v)| *value = f64::from(v));
            }
            widest(
                #[inline(always)]
                || self.resize_lines(lines, &mut |k, sums| emit(k, n * LINES, sums)),
            );
        }
    }

    /// Resizes the second axis of at most [`LINES`] rows: `emit(k, sums)` takes output column
    /// `k`; what lies beyond the last row is to be ignored.
    fn resize_across(
        &self,
        rows: ArrayView2<'_, f64>,
        lines: &mut [[f64; LINES]],
        emit: &mut impl FnMut(usize, &[f64; LINES]),
    ) {
        for (n, row) in rows.outer_iter().enumerate() {
            lines[PADDING..].iter_mut().zip(row).for_each(|(line, &v)| line[n] = v);
        }
        widest(
            #[inline(always)]
            || self.resize_lines(lines, emit),
        );
    }

    /// Resizes lines whose samples lie from [`PADDING`] on.
    #[inline(always)]
    fn resize_lines(
        &self,
        lines: &mut [[f64; LINES]],
        emit: &mut impl FnMut(usize, &[f64; LINES]),
    ) {
        if self.is_identity() {
            lines[PADDING..].iter().take(self.from).enumerate().for_each(|(k, v)| emit(k, v));
            return;
        }
        let lines = &mut lines[..self.from + 2 * PADDING];
        let last = PADDING + self.from - 1;
        let (head, tail) = (lines[PADDING], lines[last]);
        lines[..PADDING].fill(head);
        lines[last + 1..].fill(tail);
        filter(lines);
        for (k, (first, weights)) in self.taps.iter().enumerate() {
            let Some(c) = lines[*first..].first_chunk::<4>() else {
                unreachable!("taps are inside")
            };
            let mut sums = [0.0; LINES];
            for n in 0..LINES {
                let pair = weights[0] * c[0][n] + weights[1] * c[1][n];
                sums[n] = pair + weights[2] * c[2][n] + weights[3] * c[3][n];
            }
            emit(k, &sums);
        }
    }
}

/// Samples to spline coefficients, in place. Lines are taken as constant before their start
/// and mirrored at their end: twelve padded samples hide either choice.
#[inline(always)]
fn filter(lines: &mut [[f64; LINES]]) {
    let last = lines.len() - 1;
    let mut carried = lines[0].map(|v| v * (GAIN / (1.0 - POLE)));
    lines[0] = carried;
    for line in &mut lines[1..] {
        for n in 0..LINES {
            carried[n] = GAIN * line[n] + POLE * carried[n];
        }
        *line = carried;
    }
    for n in 0..LINES {
        carried[n] = POLE / (POLE * POLE - 1.0) * (carried[n] + POLE * lines[last - 1][n]);
    }
    lines[last] = carried;
    for line in lines[..last].iter_mut().rev() {
        for n in 0..LINES {
            carried[n] = POLE * (carried[n] - line[n]);
        }
        *line = carried;
    }
}
