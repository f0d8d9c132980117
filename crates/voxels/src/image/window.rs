//! Cubic resize of a part of every slice: what `resample::resize_cubic` gives, without the
//! rest of the plane.
//!
//! Owns [`PlaneWindow`]. A B-spline coefficient feels samples twelve away by less than 2e-7,
//! so the window is cut with twelve samples around it and filtered alone, in `f32`.

use std::ops::Range;

use ndarray::{Array2, Array3, ArrayView2, ArrayView3, Axis, Zip};
use rayon::prelude::*;

/// Samples taken beyond the window on both sides; edge values repeat beyond the image.
const MARGIN: usize = 12;
/// Pole of the cubic B-spline filter, sqrt(3) - 2, and its gain.
const POLE: f32 = -0.267_949_2;
const GAIN: f32 = 6.0;

/// A box of output pixels and the input samples it needs.
#[derive(Debug, Clone)]
pub struct PlaneWindow {
    rows: Line,
    columns: Line,
}

impl PlaneWindow {
    /// The pixels `window` (rows, columns) of a slice resized `from` one shape `to` another,
    /// both `[y, x]`.
    ///
    /// # Panics
    /// If the window is empty or reaches out of `to`, or an axis of `from` is empty.
    pub fn new(from: [usize; 2], to: [usize; 2], window: [Range<usize>; 2]) -> PlaneWindow {
        let [rows, columns] = window;
        PlaneWindow {
            rows: Line::new(from[0], to[0], rows),
            columns: Line::new(from[1], to[1], columns),
        }
    }

    /// Cuts the samples of the window out of the named slices of a volume `[z, y, x]`.
    pub fn cut(&self, volume: ArrayView3<'_, f32>, slices: &[usize]) -> Array3<f32> {
        let (rows, columns) = (&self.rows.samples, &self.columns.samples);
        let mut cut = Array3::zeros((slices.len(), rows.len(), columns.len()));
        cut.outer_iter_mut().into_par_iter().zip(slices).for_each(|(mut slice, &z)| {
            for (mut to, &y) in slice.outer_iter_mut().zip(rows) {
                let from = volume.index_axis(Axis(0), z);
                let from = from.index_axis_move(Axis(0), y);
                to.iter_mut().zip(columns).for_each(|(to, &x)| *to = from[x]);
            }
        });
        cut
    }

    /// Resizes what [`PlaneWindow::cut`] gave, slice by slice, each clipped to its own range.
    pub fn resize(&self, cut: &Array3<f32>) -> Array3<f32> {
        let shape = (cut.len_of(Axis(0)), self.rows.taps.len(), self.columns.taps.len());
        let mut out = Array3::zeros(shape);
        out.outer_iter_mut().into_par_iter().zip(cut.outer_iter().into_par_iter()).for_each(
            |(mut out, slice)| {
                let (low, high) = slice
                    .iter()
                    .fold((f32::MAX, f32::MIN), |(low, high), &v| (low.min(v), high.max(v)));
                let resized = self.columns.resize_columns(self.rows.resize_rows(slice));
                Zip::from(&mut out).and(&resized).for_each(|out, v| *out = v.max(low).min(high));
            },
        );
        out
    }
}

/// One axis: the samples needed, and for every output pixel the first of four coefficients
/// among them, with weights.
#[derive(Debug, Clone)]
struct Line {
    samples: Vec<usize>,
    taps: Vec<(usize, [f32; 4])>,
    identity: bool,
}

impl Line {
    fn new(from: usize, to: usize, window: Range<usize>) -> Line {
        assert!(from > 0 && window.start < window.end && window.end <= to);
        if from == to {
            let taps = window.clone().map(|k| (k - window.start, [0.0, 1.0, 0.0, 0.0])).collect();
            return Line { samples: window.collect(), taps, identity: true };
        }
        let scale = from as f64 / to as f64;
        let place = |k: usize| (k as f64 + 0.5) * scale - 0.5;
        let first = place(window.start).floor() as isize - 1 - MARGIN as isize;
        let last = place(window.end - 1).floor() as isize + 2 + MARGIN as isize;
        let samples = (first..=last).map(|i| i.clamp(0, from as isize - 1) as usize).collect();
        let taps = window.map(|k| {
            let (x, t) = (place(k).floor(), place(k) - place(k).floor());
            let near = |u: f64| (4.0 - 6.0 * u * u + 3.0 * u * u * u) / 6.0;
            let far = |u: f64| u * u * u / 6.0;
            let weights = [far(1.0 - t), near(t), near(1.0 - t), far(t)].map(|w| w as f32);
            ((x as isize - 1 - first) as usize, weights)
        });
        Line { samples, taps: taps.collect(), identity: false }
    }

    /// Resizes the first axis; the recursion runs over whole rows at once.
    fn resize_rows(&self, slice: ArrayView2<'_, f32>) -> Array2<f32> {
        let mut lines = slice.to_owned();
        if self.identity {
            return lines;
        }
        let last = lines.nrows() - 1;
        lines.row_mut(0).mapv_inplace(|v| v * (GAIN / (1.0 - POLE)));
        for i in 1..=last {
            let (above, mut row) =
                lines.multi_slice_mut((ndarray::s![i - 1, ..], ndarray::s![i, ..]));
            row.zip_mut_with(&above, |v, &a| *v = GAIN * *v + POLE * a);
        }
        lines.row_mut(last).mapv_inplace(|v| v * (POLE / (POLE - 1.0)));
        for i in (0..last).rev() {
            let (mut row, below) =
                lines.multi_slice_mut((ndarray::s![i, ..], ndarray::s![i + 1, ..]));
            row.zip_mut_with(&below, |v, &b| *v = POLE * (b - *v));
        }
        let mut out = Array2::zeros((self.taps.len(), lines.ncols()));
        for (mut row, (first, weights)) in out.outer_iter_mut().zip(&self.taps) {
            for (j, &weight) in weights.iter().enumerate() {
                row.scaled_add(weight, &lines.row(first + j));
            }
        }
        out
    }

    /// Resizes the second axis.
    fn resize_columns(&self, mut slice: Array2<f32>) -> Array2<f32> {
        if self.identity {
            return slice;
        }
        let mut out = Array2::zeros((slice.nrows(), self.taps.len()));
        for (mut out, mut line) in out.outer_iter_mut().zip(slice.outer_iter_mut()) {
            let Some(line) = line.as_slice_mut() else { unreachable!("owned rows are in order") };
            filter(line);
            for (value, (first, w)) in out.iter_mut().zip(&self.taps) {
                let c = &line[*first..*first + 4];
                *value = w[0] * c[0] + w[1] * c[1] + w[2] * c[2] + w[3] * c[3];
            }
        }
        out
    }
}

/// Samples to spline coefficients, in place; constant beyond both ends (the margin hides
/// the choice).
fn filter(line: &mut [f32]) {
    let Some(last) = line.len().checked_sub(1) else { return };
    line[0] *= GAIN / (1.0 - POLE);
    for i in 1..=last {
        line[i] = GAIN * line[i] + POLE * line[i - 1];
    }
    line[last] *= POLE / (POLE - 1.0);
    for i in (0..last).rev() {
        line[i] = POLE * (line[i + 1] - line[i]);
    }
}

#[cfg(test)]
mod tests {
    use ndarray::s;
    use proptest::prelude::*;

    use super::*;
    use crate::image::resample::resize_cubic;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn a_window_equals_that_part_of_the_whole(
            from in (1..70usize, 1..60usize),
            to in (1..70usize, 1..60usize),
            cut in proptest::array::uniform4(0.0..1.0f64),
            seed in 0..u32::MAX,
        ) {
            let mut state = seed;
            let source = Array3::from_shape_simple_fn((2, from.0, from.1), || {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / (1 << 23) as f32 - 1.0
            });
            let span = |n: usize, a: f64, b: f64| {
                let lo = (a * n as f64) as usize;
                lo..(lo + 1 + (b * (n - lo) as f64) as usize).min(n)
            };
            let (rows, columns) = (span(to.0, cut[0], cut[1]), span(to.1, cut[2], cut[3]));
            let mut whole = Array3::zeros((2, to.0, to.1));
            resize_cubic(source.view(), whole.view_mut(), Some(0));
            let window =
                PlaneWindow::new(from.into(), to.into(), [rows.clone(), columns.clone()]);
            let samples = window.cut(source.view(), &[0, 1]);
            let found = window.resize(&samples);
            let part = whole.slice(s![.., rows, columns]);
            prop_assert_eq!(found.dim(), part.dim());
            for (z, (found, part)) in found.outer_iter().zip(part.outer_iter()).enumerate() {
                // The whole is clipped to the slice's range, the window to its samples'.
                let samples = samples.index_axis(Axis(0), z);
                let low = samples.iter().fold(f32::MAX, |a, &b| a.min(b));
                let high = samples.iter().fold(f32::MIN, |a, &b| a.max(b));
                for (a, b) in found.iter().zip(&part) {
                    prop_assert!((a - b.max(low).min(high)).abs() < 1e-5, "{} {}", a, b);
                }
            }
        }
    }
}
