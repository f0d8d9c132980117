//! Resizing as `torch.nn.functional.interpolate` does it (nnU-Net's `resample_torch_fornnunet`).
//!
//! Positions are computed in `f32`, as there: near a tie that decides which sample is taken.

use ndarray::{ArrayView3, ArrayViewMut3};

use super::{Tap, resize_by, shape_of};

/// Linear taps of an axis resized from `from` to `to` samples (`align_corners=False`).
pub fn torch_linear_taps(from: usize, to: usize) -> Vec<Tap> {
    let scale = from as f32 / to as f32;
    let last = from.saturating_sub(1);
    (0..to)
        .map(|k| {
            let x = (scale * (k as f32 + 0.5) - 0.5).max(0.0);
            let lower = (x as usize).min(last);
            let weight = (x - lower as f32).clamp(0.0, 1.0);
            Tap { lower, upper: (lower + 1).min(last), weight }
        })
        .collect()
}

/// Nearest taps of an axis resized from `from` to `to` samples (`nearest-exact`).
pub fn torch_nearest_taps(from: usize, to: usize) -> Vec<Tap> {
    let scale = from as f32 / to as f32;
    let nearest = |k| (((k as f32 + 0.5) * scale) as usize).min(from.saturating_sub(1));
    (0..to).map(nearest).map(|at| Tap { lower: at, upper: at, weight: 0.0 }).collect()
}

/// Taps of all three axes: linear, but nearest along the `separate` axis.
pub fn torch_taps(from: [usize; 3], to: [usize; 3], separate: Option<usize>) -> [Vec<Tap>; 3] {
    std::array::from_fn(|axis| {
        if separate == Some(axis) {
            torch_nearest_taps(from[axis], to[axis])
        } else {
            torch_linear_taps(from[axis], to[axis])
        }
    })
}

/// Trilinear resize of `[z, y, x]` into `out`; nearest along the `separate` axis.
///
/// # Panics
/// If an axis of `source` is empty while `out` is not.
pub fn resize_torch(
    source: ArrayView3<'_, f32>,
    out: ArrayViewMut3<'_, f32>,
    separate: Option<usize>,
) {
    let to = [out.dim().0, out.dim().1, out.dim().2];
    let taps = torch_taps(shape_of(&source), to, separate);
    resize_by(source, out, &taps);
}
