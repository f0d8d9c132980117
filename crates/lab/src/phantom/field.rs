//! Smooth random fields: what keeps two livers from having the same surface.

use super::draw::Draw;
use super::shape::{Bounds, Point};

/// Knots in space, in C order `[z, y, x]`.
#[derive(Debug)]
struct Lattice {
    lo: Point,
    step_mm: Point,
    shape: [usize; 3],
}

/// First of four knots along an axis, and their B-spline weights.
type Tap = (usize, [f32; 4]);

impl Lattice {
    /// Covers `bounds` with one knot every `step_mm` along `[x, y, z]`.
    fn over(bounds: Bounds, step_mm: Point) -> Lattice {
        let count = |axis: usize| {
            ((bounds.hi[axis] - bounds.lo[axis]) / step_mm[axis]).ceil().max(0.0) as usize + 4
        };
        Lattice { lo: bounds.lo, step_mm, shape: [count(2), count(1), count(0)] }
    }

    /// A variate for every knot.
    fn draw(&self, draw: &mut Draw) -> Vec<f32> {
        (0..self.shape.iter().product()).map(|_| GAIN * draw.normal()).collect()
    }

    /// `N` values at one point, from as many at every knot: along x, then y, then z.
    fn at<const N: usize>(&self, knots: &[[f32; N]], p: Point) -> [f32; N] {
        let [(i, wx), (j, wy), (k, wz)] = [self.tap(0, p[0]), self.tap(1, p[1]), self.tap(2, p[2])];
        let [_, ny, nx] = self.shape;
        let mut values = [0.0; N];
        for (plane, wz) in wz.iter().enumerate() {
            let mut sheet = [0.0; N];
            for (row, wy) in wy.iter().enumerate() {
                let four = &knots[((k + plane) * ny + j + row) * nx + i..][..4];
                for (lane, sum) in sheet.iter_mut().enumerate() {
                    let line = wx[0] * four[0][lane]
                        + wx[1] * four[1][lane]
                        + wx[2] * four[2][lane]
                        + wx[3] * four[3][lane];
                    *sum += wy * line;
                }
            }
            values.iter_mut().zip(sheet).for_each(|(value, sum)| *value += wz * sum);
        }
        values
    }

    /// Along an axis (0 is x).
    fn tap(&self, axis: usize, at_mm: f32) -> Tap {
        let last = (self.shape[2 - axis] - 4) as f32;
        let place = ((at_mm - self.lo[axis]) / self.step_mm[axis]).clamp(0.0, last + 0.999);
        let first = place as usize;
        let t = place - first as f32;
        let s = 1.0 - t;
        let weights = [
            s * s * s / 6.0,
            (3.0 * t * t * t - 6.0 * t * t + 4.0) / 6.0,
            (3.0 * s * s * s - 6.0 * s * s + 4.0) / 6.0,
            t * t * t / 6.0,
        ];
        (first, weights)
    }
}

/// A cubic B-spline over white knots keeps, on average over positions, 151/315 of the
/// variance per axis.
const GAIN: f32 = 3.013;

/// A random field of mean 0 and deviation about 1: a cubic B-spline over a lattice of
/// normal variates.
#[derive(Debug)]
pub(super) struct Field {
    lattice: Lattice,
    knots: Vec<f32>,
}

impl Field {
    /// Covers `bounds` with one knot every `step_mm` along `[x, y, z]`.
    pub(super) fn new(draw: &mut Draw, bounds: Bounds, step_mm: Point) -> Field {
        let lattice = Lattice::over(bounds, step_mm);
        Field { knots: lattice.draw(draw), lattice }
    }

    /// The field's values at height `z` over the given columns and rows, in millimetres:
    /// `out` is `[row, column]` in C order.
    pub(super) fn sheet(&self, z: f32, ys: &[f32], xs: &[f32], out: &mut [f32]) {
        let [_, ny, nx] = self.lattice.shape;
        let (k, wz) = self.lattice.tap(2, z);
        let mut layer = vec![0.0; ny * nx];
        for (slot, weight) in wz.into_iter().enumerate() {
            let knots = &self.knots[(k + slot) * ny * nx..][..ny * nx];
            layer.iter_mut().zip(knots).for_each(|(sum, knot)| *sum += weight * knot);
        }
        let taps: Vec<(usize, [f32; 4])> = xs.iter().map(|x| self.lattice.tap(0, *x)).collect();
        let mut line = vec![0.0; nx];
        for (y, row) in ys.iter().zip(out.chunks_exact_mut(xs.len())) {
            let (j, wy) = self.lattice.tap(1, *y);
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
    pub(super) fn at(&self, p: Point) -> f32 {
        let [value] = self.lattice.at(self.knots.as_chunks().0, p);
        value
    }
}

/// Three fields on one lattice, as a displacement has them: read at a point in one go, since the way
/// back of a displacement asks for it a dozen times a voxel.
#[derive(Debug)]
pub(super) struct VectorField {
    lattice: Lattice,
    /// The three fields' knots side by side; the fourth lane is empty.
    knots: Vec<[f32; 4]>,
}

impl VectorField {
    /// Drawn one after the other, as [`Field::new`].
    pub(super) fn new(draw: &mut Draw, bounds: Bounds, step_mm: Point) -> VectorField {
        let lattice = Lattice::over(bounds, step_mm);
        let [x, y, z] = [0; 3].map(|_| lattice.draw(draw));
        let knots = (0..x.len()).map(|at| [x[at], y[at], z[at], 0.0]).collect();
        VectorField { lattice, knots }
    }

    /// The three values at one point, each to the bit what its field alone has there.
    pub(super) fn at(&self, p: Point) -> Point {
        let [x, y, z, _] = self.lattice.at(&self.knots, p);
        [x, y, z]
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

    #[test]
    fn three_fields_at_once_are_those_one_by_one() {
        let (bounds, step) = (Bounds { lo: [-50.0; 3], hi: [60.0; 3] }, [13.0, 11.0, 7.0]);
        let together = VectorField::new(&mut Draw::new(5, Stream::Texture), bounds, step);
        let mut draw = Draw::new(5, Stream::Texture);
        let alone = [0; 3].map(|_| Field::new(&mut draw, bounds, step));
        for n in 0..400 {
            let p = [n as f32 * 0.3 - 55.0, 60.0 - n as f32 * 0.29, (n % 37) as f32 * 3.0 - 52.0];
            assert_eq!(together.at(p), alone.each_ref().map(|field| field.at(p)), "{p:?}");
        }
    }
}
