//! Exact Euclidean distance on grids with unequal spacing.
//!
//! Owns the separable lower-envelope transform. Refuses to know what the distance is for.

use ndarray::{Array3, ArrayView3, ArrayViewMut1, Axis};
use rayon::prelude::*;

/// Squared distance in mm² of every voxel to the nearest true voxel of `sites`, between voxel
/// centres; infinite everywhere if there is none. Shapes and `spacing_mm` are `[z, y, x]`.
///
/// One pass along each axis, each the lower envelope of parabolas (Felzenszwalb and
/// Huttenlocher 2012): linear in the number of voxels.
pub fn squared_distance_mm2(sites: ArrayView3<bool>, spacing_mm: [f64; 3]) -> Array3<f32> {
    let mut field = sites.map(|&site| if site { 0.0 } else { f32::INFINITY });
    let [sz, sy, sx] = spacing_mm;
    field.axis_iter_mut(Axis(0)).into_par_iter().for_each(|mut slice| {
        let mut envelope = Envelope::default();
        slice.lanes_mut(Axis(1)).into_iter().for_each(|line| envelope.apply(line, sx));
        slice.lanes_mut(Axis(0)).into_iter().for_each(|line| envelope.apply(line, sy));
    });
    field.axis_iter_mut(Axis(1)).into_par_iter().for_each(|mut sheet| {
        let mut envelope = Envelope::default();
        sheet.lanes_mut(Axis(0)).into_iter().for_each(|line| envelope.apply(line, sz));
    });
    field
}

/// The lower envelope of parabolas over one line, with buffers that are used again.
#[derive(Default)]
struct Envelope {
    /// Place in millimetres and height of each parabola on the envelope.
    parabolas: Vec<(f64, f64)>,
    /// Where each parabola begins to be the lowest.
    begins: Vec<f64>,
}

impl Envelope {
    fn apply(&mut self, mut line: ArrayViewMut1<f32>, step_mm: f64) {
        self.build(&line, step_mm);
        if self.parabolas.is_empty() {
            return;
        }
        let mut at = 0;
        for (index, value) in line.iter_mut().enumerate() {
            let place = index as f64 * step_mm;
            while at + 1 < self.begins.len() && self.begins[at + 1] <= place {
                at += 1;
            }
            let (apex, height) = self.parabolas[at];
            *value = ((place - apex).powi(2) + height) as f32;
        }
    }

    fn build(&mut self, line: &ArrayViewMut1<f32>, step_mm: f64) {
        self.parabolas.clear();
        self.begins.clear();
        for (index, &height) in line.iter().enumerate() {
            if height.is_infinite() {
                continue;
            }
            let new = (index as f64 * step_mm, f64::from(height));
            let mut begin = f64::NEG_INFINITY;
            while let Some(&top) = self.parabolas.last() {
                begin = crossing(top, new);
                if begin > self.begins[self.begins.len() - 1] {
                    break;
                }
                self.parabolas.pop();
                self.begins.pop();
                begin = f64::NEG_INFINITY;
            }
            self.parabolas.push(new);
            self.begins.push(begin);
        }
    }
}

/// Where the parabola on the right comes to lie below the one on the left.
fn crossing((left, left_height): (f64, f64), (right, right_height): (f64, f64)) -> f64 {
    ((right_height + right * right) - (left_height + left * left)) / (2.0 * (right - left))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition: the smallest over all sites.
    fn by_definition(sites: &Array3<bool>, spacing_mm: [f64; 3]) -> Array3<f32> {
        Array3::from_shape_fn(sites.raw_dim(), |(z, y, x)| {
            let distances =
                sites.indexed_iter().filter(|(_, site)| **site).map(|((a, b, c), _)| {
                    let steps = [z.abs_diff(a), y.abs_diff(b), x.abs_diff(c)];
                    std::iter::zip(steps, spacing_mm).map(|(n, mm)| (n as f64 * mm).powi(2)).sum()
                });
            distances.fold(f64::INFINITY, f64::min) as f32
        })
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(
            shape in [1..5usize, 1..9usize, 1..9usize],
            seed in proptest::collection::vec(0..12u8, 400),
            spacing_mm in [0.5..6.0f64, 0.5..2.0f64, 0.5..2.0f64],
        ) {
            let mut seeds = seed.into_iter().cycle();
            let sites = Array3::from_shape_simple_fn(shape, || seeds.next() == Some(0));
            let fast = squared_distance_mm2(sites.view(), spacing_mm);
            for (a, b) in fast.iter().zip(&by_definition(&sites, spacing_mm)) {
                prop_assert!(a == b || (a - b).abs() <= 1e-4 * b.max(1.0), "{a} {b}");
            }
        }
    }
}
