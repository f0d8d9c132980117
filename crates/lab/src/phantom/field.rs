//! Smooth random fields: what keeps two livers from having the same surface.

use super::draw::Draw;
use super::shape::{Bounds, Point};

/// A random field of mean 0 and deviation about 1: a cubic B-spline over a lattice of
/// normal variates. Knots are in C order `[z, y, x]`.
#[derive(Debug)]
pub(super) struct Field {
    lo: Point,
    step_mm: Point,
    shape: [usize; 3],
    knots: Vec<f32>,
}

/// A cubic B-spline over white knots keeps, on average over positions, 151/315 of the
/// variance per axis.
const GAIN: f32 = 3.013;

impl Field {
    /// Covers `bounds` with one knot every `step_mm` along `[x, y, z]`.
    pub(super) fn new(draw: &mut Draw, bounds: Bounds, step_mm: Point) -> Field {
        let count = |axis: usize| {
            ((bounds.hi[axis] - bounds.lo[axis]) / step_mm[axis]).ceil().max(0.0) as usize + 4
        };
        let shape = [count(2), count(1), count(0)];
        let knots = (0..shape.iter().product()).map(|_| GAIN * draw.normal()).collect();
        Field { lo: bounds.lo, step_mm, shape, knots }
    }

    /// The field's values at height `z` over the given columns and rows, in millimetres:
    /// `out` is `[row, column]` in C order.
    pub(super) fn sheet(&self, z: f32, ys: &[f32], xs: &[f32], out: &mut [f32]) {
        let [_, ny, nx] = self.shape;
        let (k, wz) = self.tap(2, z);
        let mut layer = vec![0.0; ny * nx];
        for (slot, weight) in wz.into_iter().enumerate() {
            let knots = &self.knots[(k + slot) * ny * nx..][..ny * nx];
            layer.iter_mut().zip(knots).for_each(|(sum, knot)| *sum += weight * knot);
        }
        let taps: Vec<(usize, [f32; 4])> = xs.iter().map(|x| self.tap(0, *x)).collect();
        let mut line = vec![0.0; nx];
        for (y, row) in ys.iter().zip(out.chunks_exact_mut(xs.len())) {
            let (j, wy) = self.tap(1, *y);
            let rows: [&[f32]; 4] = std::array::from_fn(|slot| &layer[(j + slot) * nx..][..nx]);
            for (x, value) in line.iter_mut().enumerate() {
                *value = (0..4).map(|slot| wy[slot] * rows[slot][x]).sum();
            }
            for ((i, w), value) in taps.iter().zip(row) {
                let four = &line[*i..*i + 4];
                *value = w[0] * four[0] + w[1] * four[1] + w[2] * four[2] + w[3] * four[3];
            }
        }
    }

    /// The field's value at one point.
    pub(super) fn at(&self, [x, y, z]: Point) -> f32 {
        let [_, ny, nx] = self.shape;
        let ((i, wx), (j, wy), (k, wz)) = (self.tap(0, x), self.tap(1, y), self.tap(2, z));
        let line = |plane: usize, row: usize| {
            let knots = &self.knots[((k + plane) * ny + j + row) * nx + i..][..4];
            wx[0] * knots[0] + wx[1] * knots[1] + wx[2] * knots[2] + wx[3] * knots[3]
        };
        let sheet = |plane: usize| (0..4).map(|row| wy[row] * line(plane, row)).sum::<f32>();
        (0..4).map(|plane| wz[plane] * sheet(plane)).sum()
    }

    /// First of four knots along an axis (0 is x), and their B-spline weights.
    fn tap(&self, axis: usize, at_mm: f32) -> (usize, [f32; 4]) {
        let last = (self.shape[2 - axis] - 4) as f32;
        let place = ((at_mm - self.lo[axis]) / self.step_mm[axis]).clamp(0.0, last + 0.999);
        let t = place.fract();
        let s = 1.0 - t;
        let weights = [
            s * s * s / 6.0,
            (3.0 * t * t * t - 6.0 * t * t + 4.0) / 6.0,
            (3.0 * s * s * s - 6.0 * s * s + 4.0) / 6.0,
            t * t * t / 6.0,
        ];
        (place as usize, weights)
    }
}

#[cfg(test)]
mod tests {
    use super::super::draw::Stream;
    use super::*;

    #[test]
    fn a_field_is_smooth_and_of_unit_deviation() {
        let bounds = Bounds { lo: [0.0; 3], hi: [400.0; 3] };
        let field = Field::new(&mut Draw::new(3, Stream::Texture), bounds, [10.0; 3]);
        let at: Vec<f32> = (0..800).map(|i| i as f32 * 0.5).collect();
        let mut sheet = vec![0.0; at.len() * at.len()];
        field.sheet(123.0, &at, &at, &mut sheet);
        let n = sheet.len() as f32;
        let mean = sheet.iter().sum::<f32>() / n;
        let deviation = (sheet.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / n).sqrt();
        assert!(mean.abs() < 0.15, "{mean}");
        assert!((0.8..1.2).contains(&deviation), "{deviation}");
        for (row, column) in [(0, 0), (799, 5), (400, 321)] {
            let alone = field.at([at[column], at[row], 123.0]);
            assert!((alone - sheet[row * at.len() + column]).abs() < 1e-4);
        }
        let jump = sheet.windows(2).take(799).map(|w| (w[1] - w[0]).abs()).fold(0.0, f32::max);
        assert!(jump < 0.3, "{jump}");
    }
}
