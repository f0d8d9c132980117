//! Resizing volumes exactly as nnU-Net v2 does (scikit-image `resize`, mode `edge`).
//!
//! Owns the rule when slices are resized one by one, the sample positions of every axis, and
//! the cubic, linear and nearest resize of a volume. Refuses spacings and patients: shapes
//! go in, shapes come out. Work is spread over slices; no whole-volume `f64` copy is made.

use ndarray::{ArrayView3, ArrayViewMut3, Axis};
use rayon::prelude::*;

mod cubic;
mod torch;

pub use cubic::{resize_cubic, resize_cubic_slices};
pub use torch::{resize_torch, torch_linear_taps, torch_nearest_taps, torch_taps};

/// nnU-Net's threshold: an axis more than three times as coarse as the finest is resized
/// on its own.
const ANISOTROPY_THRESHOLD: f64 = 3.0;

/// The axis along which slices are resized one by one, if there is one: the coarsest axis
/// of `current`, or else of `new`, when it is more than three times as coarse as the finest.
/// Two or three equally coarse axes are not separate (`determine_do_sep_z_and_axis`).
pub fn should_separate_z(current_mm: [f64; 3], new_mm: [f64; 3]) -> Option<usize> {
    [current_mm, new_mm].into_iter().find(|spacing| is_anisotropic(*spacing)).and_then(coarsest)
}

fn is_anisotropic(spacing_mm: [f64; 3]) -> bool {
    let max = spacing_mm.iter().fold(f64::MIN, |a, &b| a.max(b));
    let min = spacing_mm.iter().fold(f64::MAX, |a, &b| a.min(b));
    max / min > ANISOTROPY_THRESHOLD
}

/// The one axis with the largest spacing; `None` if several share it.
fn coarsest(spacing_mm: [f64; 3]) -> Option<usize> {
    let max = spacing_mm.iter().fold(f64::MIN, |a, &b| a.max(b));
    let mut ties = (0..3).filter(|&axis| max / spacing_mm[axis] == 1.0);
    let first = ties.next();
    if ties.next().is_some() { None } else { first }
}

/// The shape of a volume at another spacing: Python's `round(old / new * n)` per axis, half
/// to even (`compute_new_shape`).
pub fn new_shape(shape: [usize; 3], old_mm: [f64; 3], new_mm: [f64; 3]) -> [usize; 3] {
    std::array::from_fn(|axis| {
        (old_mm[axis] / new_mm[axis] * shape[axis] as f64).round_ties_even() as usize
    })
}

/// Where one output sample of an axis comes from: `lower` and `upper` are indices, `weight`
/// is the share of `upper`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tap {
    /// Index of the sample below.
    pub lower: usize,
    /// Index of the sample above; equal to `lower` at the ends and for nearest.
    pub upper: usize,
    /// Share of `upper`, 0 to 1.
    pub weight: f32,
}

/// Linear taps of an axis resized from `from` to `to` samples: half-pixel centres, clamped.
pub fn linear_taps(from: usize, to: usize) -> Vec<Tap> {
    let scale = from as f64 / to as f64;
    let last = from.saturating_sub(1);
    (0..to)
        .map(|k| {
            let x = ((k as f64 + 0.5) * scale - 0.5).clamp(0.0, last as f64);
            let lower = (x.floor() as usize).min(last);
            Tap { lower, upper: (lower + 1).min(last), weight: (x - lower as f64) as f32 }
        })
        .collect()
}

/// Nearest taps of an axis resized from `from` to `to` samples, as
/// `map_coordinates(order=0, mode="nearest")` rounds them.
pub fn nearest_taps(from: usize, to: usize) -> Vec<Tap> {
    let tap = |at| Tap { lower: at, upper: at, weight: 0.0 };
    (0..to).map(|k| tap(nearest_index(k, from, to))).collect()
}

/// The source index of output sample `k`. The order of the operations is scipy's, so that
/// exact ties fall the same way.
fn nearest_index(k: usize, from: usize, to: usize) -> usize {
    let scale = from as f64 / to as f64;
    let x = (scale * (k as f64 + 0.5) - 0.5).clamp(0.0, from.saturating_sub(1) as f64);
    (x + 0.5).floor() as usize
}

/// Taps of all three axes: linear, but nearest along the `separate` axis.
pub fn order_one_taps(from: [usize; 3], to: [usize; 3], separate: Option<usize>) -> [Vec<Tap>; 3] {
    std::array::from_fn(|axis| {
        if separate == Some(axis) {
            nearest_taps(from[axis], to[axis])
        } else {
            linear_taps(from[axis], to[axis])
        }
    })
}

/// Trilinear resize of `[z, y, x]` into `out`; nearest along the `separate` axis.
///
/// # Panics
/// If an axis of `source` is empty while `out` is not.
pub fn resize_linear(
    source: ArrayView3<'_, f32>,
    out: ArrayViewMut3<'_, f32>,
    separate: Option<usize>,
) {
    let (from, to) = (shape_of(&source), [out.dim().0, out.dim().1, out.dim().2]);
    resize_by(source, out, &order_one_taps(from, to, separate));
}

/// Every output sample mixed from the samples that the taps name.
fn resize_by(
    source: ArrayView3<'_, f32>,
    mut out: ArrayViewMut3<'_, f32>,
    [zs, ys, xs]: &[Vec<Tap>; 3],
) {
    out.axis_iter_mut(Axis(0)).into_par_iter().zip(zs).for_each(|(mut slice, z)| {
        for (mut row, y) in slice.outer_iter_mut().zip(ys) {
            for (value, x) in row.iter_mut().zip(xs) {
                let line = |z: usize, y: usize| {
                    mix(source[[z, y, x.lower]], source[[z, y, x.upper]], x.weight)
                };
                let plane = |z: usize| mix(line(z, y.lower), line(z, y.upper), y.weight);
                *value = mix(plane(z.lower), plane(z.upper), z.weight);
            }
        }
    });
}

/// `a` and `b` mixed, `weight` being the share of `b`; exactly `a` at weight 0.
#[inline(always)]
pub fn mix(a: f32, b: f32, weight: f32) -> f32 {
    a + (b - a) * weight
}

/// Nearest resize of `[z, y, x]` into `out`, for label maps.
///
/// # Panics
/// If an axis of `source` is empty while `out` is not.
pub fn resize_nearest<T: Copy + Send + Sync>(
    source: ArrayView3<'_, T>,
    mut out: ArrayViewMut3<'_, T>,
) {
    let from = shape_of(&source);
    let to = [out.dim().0, out.dim().1, out.dim().2];
    let [zs, ys, xs]: [Vec<Tap>; 3] =
        std::array::from_fn(|axis| nearest_taps(from[axis], to[axis]));
    out.axis_iter_mut(Axis(0)).into_par_iter().zip(&zs).for_each(|(mut slice, z)| {
        for (mut row, y) in slice.outer_iter_mut().zip(&ys) {
            for (value, x) in row.iter_mut().zip(&xs) {
                *value = source[[z.lower, y.lower, x.lower]];
            }
        }
    });
}

fn shape_of<T>(view: &ArrayView3<'_, T>) -> [usize; 3] {
    let (z, y, x) = view.dim();
    [z, y, x]
}

#[cfg(test)]
mod tests;
