//! Images seen through a displacement.

use ndarray::{Array3, Axis};
use rayon::prelude::*;

use crate::affine::Affine;
use crate::field::Field;

/// An image on the estimation grid.
#[derive(Debug, Clone)]
pub struct Image {
    /// Hounsfield units; where nothing was scanned, what is nearest.
    pub voxels: Array3<f32>,
    /// Which voxels were scanned; `None` if all.
    pub seen: Option<Array3<bool>>,
}

impl Image {
    /// An image that was scanned wholly.
    pub fn whole(voxels: Array3<f32>) -> Image {
        Image { voxels, seen: None }
    }

    /// Voxels along `[z, y, x]`.
    pub fn shape(&self) -> [usize; 3] {
        std::array::from_fn(|axis| self.voxels.shape()[axis])
    }

    /// What the image shows at `affine(p + u(p))` for every voxel `p` of the field's lattice.
    pub fn warped(&self, affine: &Affine, field: &Field) -> Image {
        let shape = field.lattice().voxels;
        let mut voxels = Array3::zeros(shape);
        let mut seen = Array3::from_elem(shape, true);
        let rows = field.rows();
        let planes = voxels.axis_iter_mut(Axis(0)).into_par_iter();
        let planes = planes.zip(seen.axis_iter_mut(Axis(0))).enumerate();
        planes.for_each_init(Vec::new, |row: &mut Vec<[f32; 3]>, (z, (mut voxels, mut seen))| {
            for (y, (mut out, mut seen)) in
                voxels.outer_iter_mut().zip(seen.outer_iter_mut()).enumerate()
            {
                rows.at(z, y, row);
                for (x, u) in row.iter().enumerate() {
                    let p = [
                        z as f64 + f64::from(u[0]),
                        y as f64 + f64::from(u[1]),
                        x as f64 + f64::from(u[2]),
                    ];
                    let at = affine.map(p);
                    (out[x], seen[x]) = self.sample(at);
                }
            }
        });
        let all = seen.iter().all(|seen| *seen);
        Image { voxels, seen: (!all).then_some(seen) }
    }

    /// The value at a place in voxels, trilinear, and whether it was scanned.
    pub fn sample(&self, at: [f64; 3]) -> (f32, bool) {
        let shape = self.voxels.shape();
        let inside = (0..3).all(|a| at[a] >= -0.5 && at[a] <= shape[a] as f64 - 0.5);
        let value = trilinear(&self.voxels, at);
        let seen = inside
            && self.seen.as_ref().is_none_or(|seen| {
                seen[[0, 1, 2].map(|a| at[a].round().clamp(0.0, shape[a] as f64 - 1.0) as usize)]
            });
        (value, seen)
    }
}

/// Trilinear between voxels; outside, what is nearest.
pub fn trilinear(voxels: &Array3<f32>, at: [f64; 3]) -> f32 {
    let shape = voxels.shape();
    let (mut first, mut step, mut share) = ([0_usize; 3], [0_usize; 3], [0.0_f32; 3]);
    let strides = [shape[1] * shape[2], shape[2], 1];
    for a in 0..3 {
        let p = at[a].clamp(0.0, shape[a] as f64 - 1.0);
        first[a] = p as usize;
        share[a] = (p - first[a] as f64) as f32;
        step[a] = if first[a] + 1 < shape[a] { strides[a] } else { 0 };
    }
    let Some(flat) = voxels.as_slice() else { return f32::NAN };
    let o = first[0] * strides[0] + first[1] * strides[1] + first[2];
    let mix = |a: f32, b: f32, t: f32| a + (b - a) * t;
    let along_x = |o: usize| mix(flat[o], flat[o + step[2]], share[2]);
    let along_y = |o: usize| mix(along_x(o), along_x(o + step[1]), share[1]);
    mix(along_y(o), along_y(o + step[0]), share[0])
}
