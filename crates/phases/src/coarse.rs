//! A series on a coarse grid in the patient's own axes.
//!
//! Owns the averaging: whatever the order in which voxels are stored, whatever the slice
//! thickness, the same patient gives nearly the same coarse volume.

use ndarray::{Array3, ArrayView3, Axis};
use rayon::prelude::*;

use hepalert_voxels::volume::{Axes, Volume};

/// Millimetres in plane: a portal vein is five voxels wide.
pub const PLANE_MM: f64 = 2.5;
/// Millimetres between slices; thicker slices stay as they are.
pub const SLICE_MM: f64 = 5.0;
/// No more slices than this are looked at: a metre and a half.
const MAX_SLICES: usize = 300;
/// No more voxels in plane than this per axis: a metre.
const MAX_PLANE: usize = 400;

/// Hounsfield units, `[z, y, x]`: z to the head, y to the back, x to the patient's left.
#[derive(Debug, Clone)]
pub struct Coarse {
    /// The values.
    pub hu: Array3<f32>,
    /// Millimetres `[z, y, x]`.
    pub step_mm: [f64; 3],
}

/// The source indices of one coarse voxel along an axis.
type Span = std::ops::Range<usize>;

impl Coarse {
    /// Averages a volume. Needs nothing of it but its grid.
    pub fn of(volume: &Volume<f32>) -> Coarse {
        let grid = volume.grid();
        let mut axes = Axes::ras(grid);
        // RAS read backwards along y and x.
        axes.reversed[1] = !axes.reversed[1];
        axes.reversed[2] = !axes.reversed[2];
        let mut view = volume.voxels().view().permuted_axes(axes.from);
        for axis in 0..3 {
            if axes.reversed[axis] {
                view.invert_axis(Axis(axis));
            }
        }
        let spacing = axes.from.map(|axis| grid.spacing_mm()[axis]);
        Coarse::of_view(view, spacing)
    }

    fn of_view(view: ArrayView3<'_, f32>, spacing_mm: [f64; 3]) -> Coarse {
        let [nz, ny, nx] = [0, 1, 2].map(|axis| view.len_of(Axis(axis)));
        let (zs, z_mm) = spans(nz, spacing_mm[0], SLICE_MM, MAX_SLICES);
        let (ys, y_mm) = spans(ny, spacing_mm[1], PLANE_MM, MAX_PLANE);
        let (xs, x_mm) = spans(nx, spacing_mm[2], PLANE_MM, MAX_PLANE);
        let mut hu = Array3::zeros((zs.len(), ys.len(), xs.len()));
        let slices: Vec<_> = hu.outer_iter_mut().zip(&zs).collect();
        slices.into_par_iter().for_each(|(mut out, z)| {
            for (y, ys) in ys.iter().enumerate() {
                for (x, xs) in xs.iter().enumerate() {
                    let part = view.slice(ndarray::s![z.clone(), ys.clone(), xs.clone()]);
                    // Air outside the field of view may be stored as anything.
                    let sum: f32 = part.iter().map(|v| v.clamp(-1024.0, 3071.0)).sum();
                    out[[y, x]] = sum / part.len() as f32;
                }
            }
        });
        Coarse { hu, step_mm: [z_mm, y_mm, x_mm] }
    }

    /// Voxels along `[z, y, x]`.
    pub fn shape(&self) -> [usize; 3] {
        [0, 1, 2].map(|axis| self.hu.len_of(Axis(axis)))
    }

    /// Cubic centimetres of one voxel.
    pub fn voxel_cm3(&self) -> f64 {
        self.step_mm.iter().product::<f64>() / 1000.0
    }
}

/// Whole source voxels per coarse voxel, as many as come nearest to the wanted size.
fn spans(n: usize, spacing_mm: f64, wanted_mm: f64, most: usize) -> (Vec<Span>, f64) {
    let near = (wanted_mm / spacing_mm).round().max(1.0) as usize;
    let each = near.max(n.div_ceil(most)).min(n.max(1));
    let spans: Vec<Span> = (0..n / each).map(|i| i * each..(i + 1) * each).collect();
    (spans, each as f64 * spacing_mm)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hepalert_voxels::volume::Grid;
    use std::sync::Arc;

    #[test]
    fn stored_order_does_not_matter() {
        let make = |flip: bool| {
            let sign = if flip { 1.0 } else { -1.0 };
            let edge = if flip { 0.0 } else { 7.0 };
            let affine = [[sign, 0.0, 0.0, edge], [0.0, -1.0, 0.0, 7.0], [0.0, 0.0, 5.0, 0.0]];
            let grid = Arc::new(Grid::new([2, 8, 8], [5.0, 1.0, 1.0], affine));
            let voxels = Array3::from_shape_fn((2, 8, 8), |(z, y, x)| {
                let x = if flip { 7 - x } else { x };
                (z * 100 + y * 10 + x) as f32
            });
            Coarse::of(&Volume::new(grid, voxels))
        };
        let (a, b) = (make(false), make(true));
        assert_eq!(a.hu, b.hu);
        assert_eq!((a.shape(), a.step_mm), ([2, 2, 2], [5.0, 3.0, 3.0]));
        assert!(a.hu[[0, 0, 1]] > a.hu[[0, 0, 0]], "x grows to the left");
    }
}
