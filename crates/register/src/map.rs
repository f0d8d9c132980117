//! Where points of the fixed image lie in the moving one, in millimetres, and images, labels and
//! points taken along.

use std::sync::Arc;

use hepalert_voxels::volume::{Grid, LabelMap, Volume};
use ndarray::{Array3, Axis};
use rayon::prelude::*;

use crate::affine::Affine;
use crate::field::Field;
use crate::lattice::Lattice;
use crate::warp::trilinear;

/// Hounsfield units of what the moving image does not show: air, the lowest a scanner stores.
pub const OUTSIDE_HU: f32 = -1024.0;

/// From the fixed image's patient space to the moving image's.
#[derive(Debug, Clone)]
pub struct Map {
    /// From points, `[x, y, z]` RAS, to voxels of the grid of estimation, `[z, y, x]`.
    inward: Affine,
    field: Field,
    /// From displaced voxels of that grid to points of the moving image.
    outward: Affine,
}

/// An image on another grid, and where it shows anything.
#[derive(Debug)]
pub struct Warped {
    /// [`OUTSIDE_HU`] where nothing was scanned.
    pub volume: Volume<f32>,
    /// Which voxels were scanned.
    pub seen: Array3<bool>,
}

/// Whether a point, `[x, y, z]` in mm RAS, lies in an image on this grid, its outermost voxels
/// included. Beyond, a map goes on as at the nearest voxel.
pub fn holds(grid: &Grid, point_ras_mm: [f64; 3]) -> bool {
    let [d, h, w] = grid.shape().map(|n| n as f64);
    Affine::of(grid).inverse().is_some_and(|inward| {
        let voxel = inward.map(point_ras_mm);
        voxel.iter().zip([w, h, d]).all(|(at, n)| (-0.5..=n - 0.5).contains(at))
    })
}

impl Map {
    /// `field` lies on `fixed`, the grid of estimation; `rigid` takes its displaced voxels to
    /// those of `moving`.
    ///
    /// # Panics
    /// If a grid has no inverse, which readers of images refuse.
    pub fn new(fixed: &Grid, field: Field, rigid: &Affine, moving: &Grid) -> Map {
        let Some(inward) = Affine::of(fixed).inverse() else { panic!("a grid without volume") };
        Map { inward, field, outward: rigid.then(&Affine::of(moving)) }
    }

    /// Every point lies where it lies.
    pub fn identity(fixed: &Grid) -> Map {
        let lattice = Lattice::new([1; 3], 1);
        Map::new(fixed, Field::zero(lattice), &Affine::IDENTITY, fixed)
    }

    /// The map of a field given for every voxel of a grid, in C order: millimetres along x, y, z.
    ///
    /// # Panics
    /// As [`Map::new`], and if there is not one displacement per voxel.
    pub fn of_displacements(fixed: &Grid, ras_mm: &[[f32; 3]]) -> Map {
        let own = Affine::of(fixed);
        let Some(back) = own.inverse() else { panic!("a grid without volume") };
        let turn = Affine { shift: [0.0; 3], ..back };
        let voxels = |mm: &[f32; 3]| turn.map(mm.map(f64::from)).map(|v| v as f32);
        let lattice = Lattice::new(fixed.shape(), 1);
        let field = Field::new(lattice, ras_mm.par_iter().map(voxels).collect());
        Map { inward: back, field, outward: own }
    }

    /// Where a point of the fixed image lies in the moving one; both `[x, y, z]` in mm RAS.
    pub fn at(&self, point_ras_mm: [f64; 3]) -> [f64; 3] {
        self.voxel(self.inward.map(point_ras_mm))
    }

    fn voxel(&self, p: [f64; 3]) -> [f64; 3] {
        let u = self.field.at(p.map(|v| v as f32));
        self.outward.map([0, 1, 2].map(|c| p[c] + f64::from(u[c])))
    }

    /// The moving image as the fixed grid sees it, trilinear.
    pub fn warp(&self, moving: &Volume<f32>, fixed: &Arc<Grid>) -> Warped {
        let mut seen = Array3::from_elem(fixed.shape(), false);
        let mut voxels = Array3::from_elem(fixed.shape(), OUTSIDE_HU);
        let source = moving.voxels();
        let shape = moving.grid().shape();
        let planes = voxels.axis_iter_mut(Axis(0)).into_par_iter();
        planes.zip(seen.axis_iter_mut(Axis(0))).enumerate().for_each(|(z, (mut out, mut seen))| {
            self.plane(fixed, moving.grid(), z, |y, x, at| {
                if inside(at, shape) {
                    out[[y, x]] = trilinear(source, at);
                    seen[[y, x]] = true;
                }
            });
        });
        Warped { volume: Volume::new(Arc::clone(fixed), voxels), seen }
    }

    /// A label map of the moving image as the fixed grid sees it: the nearest voxel's label, 0
    /// outside.
    pub fn warp_labels(&self, moving: &LabelMap, fixed: &Arc<Grid>) -> LabelMap {
        let mut labels = Array3::zeros(fixed.shape());
        let shape = moving.grid().shape();
        let planes = labels.axis_iter_mut(Axis(0)).into_par_iter().enumerate();
        planes.for_each(|(z, mut out)| {
            self.plane(fixed, moving.grid(), z, |y, x, at| {
                if inside(at, shape) {
                    let nearest = |a: usize| (at[a].round() as usize).min(shape[a] - 1);
                    out[[y, x]] = moving.voxels()[[nearest(0), nearest(1), nearest(2)]];
                }
            });
        });
        Volume::new(Arc::clone(fixed), labels)
    }

    /// The displacement in millimetres, `[x, y, z]` RAS, of every voxel of a grid in one slice,
    /// in C order.
    pub fn displacements(&self, fixed: &Grid, z: usize) -> Vec<[f32; 3]> {
        let [_, rows, columns] = fixed.shape();
        let points = (0..rows).flat_map(|y| (0..columns).map(move |x| [z, y, x]));
        let displacement = |index: [usize; 3]| {
            let p = fixed.ras_mm(index.map(|i| i as f64));
            let q = self.at(p);
            [0, 1, 2].map(|c| (q[c] - p[c]) as f32)
        };
        points.map(displacement).collect()
    }

    /// Calls `put(y, x, place in moving voxels)` for a slice of the fixed grid.
    fn plane(
        &self,
        fixed: &Grid,
        moving: &Grid,
        z: usize,
        mut put: impl FnMut(usize, usize, [f64; 3]),
    ) {
        let Some(to_moving) = Affine::of(moving).inverse() else { return };
        let outward = self.outward.then(&to_moving);
        let inward = Affine::of(fixed).then(&self.inward);
        let [_, rows, columns] = fixed.shape();
        for y in 0..rows {
            for x in 0..columns {
                let p = inward.map([z as f64, y as f64, x as f64]);
                let u = self.field.at(p.map(|v| v as f32));
                put(y, x, outward.map([0, 1, 2].map(|c| p[c] + f64::from(u[c]))));
            }
        }
    }
}

/// Within the volume of the outermost voxels.
fn inside(at: [f64; 3], shape: [usize; 3]) -> bool {
    (0..3).all(|a| at[a] >= -0.5 && at[a] < shape[a] as f64 - 0.5)
}
