//! Cubic B-spline resize, as scipy's `zoom(order=3, mode="nearest", grid_mode=True)` followed
//! by scikit-image's clip to the range of the input.

use ndarray::{Array2, Array3, ArrayView2, ArrayView3, ArrayViewMut2, ArrayViewMut3, Axis};
use rayon::prelude::*;

use super::nearest_index;

/// Samples of edge value that scipy adds at both ends before the spline filter.
const PADDING: usize = 12;
/// Pole of the cubic B-spline filter: sqrt(3) - 2.
const POLE: f64 = -0.267_949_192_431_122_7;
/// Overall gain of that filter: (1 - z)(1 - 1/z).
const GAIN: f64 = 6.0;

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
    match separate {
        Some(axis) => resize_slices(source, out, axis),
        None => resize_volume(source, out),
    }
}

fn resize_slices(source: ArrayView3<'_, f32>, out: ArrayViewMut3<'_, f32>, axis: usize) {
    let order: [usize; 3] = match axis {
        0 => [0, 1, 2],
        1 => [1, 0, 2],
        _ => [2, 0, 1],
    };
    let source = source.permuted_axes(order);
    let out = out.permuted_axes(order);
    let plane = Plane::new([source.dim().1, source.dim().2], [out.dim().1, out.dim().2]);
    group_by_source(out, source.dim().0).into_par_iter().for_each(|(from, mut copies)| {
        let slice = source.index_axis(Axis(0), from);
        let resized = plane.resize(slice);
        let (low, high) = range(slice.iter());
        for mut copy in copies.outer_iter_mut() {
            store(&resized, &mut copy, low, high);
        }
    });
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

fn store(values: &Array2<f64>, out: &mut ArrayViewMut2<'_, f32>, low: f32, high: f32) {
    ndarray::Zip::from(out).and(values).for_each(|out, &value| {
        // Not `clamp`: it panics on the empty range of a slice that is all NaN.
        *out = value.max(f64::from(low)).min(f64::from(high)) as f32;
    });
}

fn range<'a>(values: impl Iterator<Item = &'a f32>) -> (f32, f32) {
    values.fold((f32::MAX, f32::MIN), |(low, high), &v| (low.min(v), high.max(v)))
}

/// In plane first, into an `f32` volume; then along z, row by row.
fn resize_volume(source: ArrayView3<'_, f32>, mut out: ArrayViewMut3<'_, f32>) {
    let (depth, rows, columns) = source.dim();
    let (out_depth, out_rows, out_columns) = out.dim();
    let plane = Plane::new([rows, columns], [out_rows, out_columns]);
    let mut flat = Array3::zeros((depth, out_rows, out_columns));
    flat.outer_iter_mut().into_par_iter().zip(source.outer_iter().into_par_iter()).for_each(
        |(mut slice, from)| {
            store(&plane.resize(from), &mut slice, f32::MIN, f32::MAX);
        },
    );
    let along_z = Spline::new(depth, out_depth);
    let (low, high) = source
        .outer_iter()
        .into_par_iter()
        .map(|slice| range(slice.iter()))
        .reduce(|| (f32::MAX, f32::MIN), |a, b| (a.0.min(b.0), a.1.max(b.1)));
    out.axis_iter_mut(Axis(1))
        .into_par_iter()
        .zip(flat.axis_iter(Axis(1)).into_par_iter())
        .for_each(|(mut out, rows)| {
            let resized = along_z.resize_rows(&rows.mapv(f64::from));
            store(&resized, &mut out, low, high);
        });
}

/// The two-dimensional resize of one slice.
struct Plane {
    rows: Spline,
    columns: Spline,
}

impl Plane {
    fn new(from: [usize; 2], to: [usize; 2]) -> Plane {
        Plane { rows: Spline::new(from[0], to[0]), columns: Spline::new(from[1], to[1]) }
    }

    fn resize(&self, slice: ArrayView2<'_, f32>) -> Array2<f64> {
        let tall = self.rows.resize_rows(&slice.mapv(f64::from));
        self.columns.resize_columns(&tall)
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

    /// Resizes the first axis; the recursion runs over whole rows at once.
    fn resize_rows(&self, source: &Array2<f64>) -> Array2<f64> {
        if self.is_identity() {
            return source.clone();
        }
        let (from, width) = source.dim();
        let mut lines = Array2::<f64>::zeros((from + 2 * PADDING, width));
        for (i, mut line) in lines.outer_iter_mut().enumerate() {
            line.assign(&source.row(i.saturating_sub(PADDING).min(from - 1)));
        }
        filter_rows(&mut lines);
        let mut out = Array2::zeros((self.taps.len(), width));
        for (mut row, (first, weights)) in out.outer_iter_mut().zip(&self.taps) {
            for (j, &weight) in weights.iter().enumerate() {
                row.scaled_add(weight, &lines.row(first + j));
            }
        }
        out
    }

    /// Resizes the second axis.
    fn resize_columns(&self, source: &Array2<f64>) -> Array2<f64> {
        if self.is_identity() {
            return source.clone();
        }
        let (height, from) = source.dim();
        let mut line = vec![0.0; from + 2 * PADDING];
        let mut out = Array2::zeros((height, self.taps.len()));
        for (mut out, row) in out.outer_iter_mut().zip(source.outer_iter()) {
            for (i, value) in line.iter_mut().enumerate() {
                *value = row[i.saturating_sub(PADDING).min(from - 1)];
            }
            filter_line(&mut line);
            for (value, (first, w)) in out.iter_mut().zip(&self.taps) {
                let c = &line[*first..*first + 4];
                *value = w[0] * c[0] + w[1] * c[1] + w[2] * c[2] + w[3] * c[3];
            }
        }
        out
    }
}

/// Samples to spline coefficients, in place. The line is taken as constant before its
/// start and mirrored at its end: twelve padded samples hide either choice.
fn filter_line(line: &mut [f64]) {
    let last = line.len() - 1;
    line[0] *= GAIN / (1.0 - POLE);
    for i in 1..=last {
        line[i] = GAIN * line[i] + POLE * line[i - 1];
    }
    line[last] = POLE / (POLE * POLE - 1.0) * (line[last] + POLE * line[last - 1]);
    for i in (0..last).rev() {
        line[i] = POLE * (line[i + 1] - line[i]);
    }
}

/// `filter_line` along the first axis of all columns at once.
fn filter_rows(lines: &mut Array2<f64>) {
    let last = lines.nrows() - 1;
    lines.row_mut(0).mapv_inplace(|v| v * (GAIN / (1.0 - POLE)));
    for i in 1..=last {
        let (above, mut row) = lines.multi_slice_mut((ndarray::s![i - 1, ..], ndarray::s![i, ..]));
        row.zip_mut_with(&above, |v, &a| *v = GAIN * *v + POLE * a);
    }
    let (above, mut row) =
        lines.multi_slice_mut((ndarray::s![last - 1, ..], ndarray::s![last, ..]));
    row.zip_mut_with(&above, |v, &a| *v = POLE / (POLE * POLE - 1.0) * (*v + POLE * a));
    for i in (0..last).rev() {
        let (mut row, below) = lines.multi_slice_mut((ndarray::s![i, ..], ndarray::s![i + 1, ..]));
        row.zip_mut_with(&below, |v, &b| *v = POLE * (b - *v));
    }
}
