//! Voxels on a grid in patient space.
//!
//! Owns [`Grid`] and [`Volume`]; `nifti` and `dicom` are the only files that know those
//! formats. Refuses to compute: algorithms on voxels live in `image`.
//! Every index triple is `[z, y, x]`; every point in patient space is `[x, y, z]` in
//! millimetres, RAS (x to the right, y to the front, z to the head of the patient).

use std::sync::Arc;

use ndarray::Array3;

mod axes;
pub mod dicom;
pub mod nifti;

pub use axes::{Axes, Orientation};

/// More voxels than this are refused before anything is allocated: 512 x 512 x 4096, four
/// times the longest whole-body CT in thin slices.
pub const MAX_VOXELS: usize = 512 * 512 * 4096;

/// Where voxels lie in patient space.
#[derive(Debug, Clone, PartialEq)]
pub struct Grid {
    shape: [usize; 3],
    spacing_mm: [f64; 3],
    affine: [[f64; 4]; 3],
}

impl Grid {
    /// `shape` and `spacing_mm` in `[z, y, x]`; `affine` as NIfTI has it: rows give the RAS
    /// millimetres x, y, z of the column `(x index, y index, z index, 1)`.
    ///
    /// # Panics
    /// If a spacing is not positive and finite or the affine is not finite: the format
    /// readers check what comes from outside.
    pub fn new(shape: [usize; 3], spacing_mm: [f64; 3], affine: [[f64; 4]; 3]) -> Grid {
        assert!(spacing_mm.iter().all(|s| s.is_finite() && *s > 0.0));
        assert!(affine.iter().flatten().all(|a| a.is_finite()));
        Grid { shape, spacing_mm, affine }
    }

    /// A grid whose axes run along RAS axes, the first voxel at `origin_ras_mm`.
    pub fn axial(shape: [usize; 3], spacing_mm: [f64; 3], origin_ras_mm: [f64; 3]) -> Grid {
        let [sz, sy, sx] = spacing_mm;
        let [ox, oy, oz] = origin_ras_mm;
        let affine = [[sx, 0.0, 0.0, ox], [0.0, sy, 0.0, oy], [0.0, 0.0, sz, oz]];
        Grid::new(shape, spacing_mm, affine)
    }

    /// Voxels along `[z, y, x]`.
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// Millimetres between voxel centres along `[z, y, x]`.
    pub fn spacing_mm(&self) -> [f64; 3] {
        self.spacing_mm
    }

    /// Rows x, y, z of RAS millimetres for the column `(x, y, z, 1)` of indices.
    pub fn affine(&self) -> &[[f64; 4]; 3] {
        &self.affine
    }

    /// Number of voxels.
    pub fn voxels(&self) -> usize {
        self.shape.iter().product()
    }

    /// Volume of one voxel in cubic centimetres.
    pub fn voxel_cm3(&self) -> f64 {
        self.spacing_mm.iter().product::<f64>() / 1000.0
    }

    /// The point in patient space, `[x, y, z]` in millimetres RAS, of a (fractional) index
    /// `[z, y, x]`.
    pub fn ras_mm(&self, index: [f64; 3]) -> [f64; 3] {
        let [z, y, x] = index;
        self.affine.map(|[ax, ay, az, t]| ax * x + ay * y + az * z + t)
    }

    /// Same shape, and every corner within 0.01 mm of the other grid's.
    pub fn matches(&self, other: &Grid) -> bool {
        self.shape == other.shape
            && self
                .corners()
                .zip(other.corners())
                .all(|(a, b)| a.iter().zip(b).all(|(p, q)| (p - q).abs() <= 0.01))
    }

    fn corners(&self) -> impl Iterator<Item = [f64; 3]> + '_ {
        let last = self.shape.map(|n| n.saturating_sub(1) as f64);
        (0..8).map(move |bits: usize| {
            let pick = |axis: usize| if bits >> axis & 1 == 1 { last[axis] } else { 0.0 };
            self.ras_mm([pick(0), pick(1), pick(2)])
        })
    }
}

/// One value per voxel of a [`Grid`], in C order `[z, y, x]`.
#[derive(Debug, Clone)]
pub struct Volume<T> {
    grid: Arc<Grid>,
    voxels: Array3<T>,
}

/// A volume of label values as in `anatomy`.
pub type LabelMap = Volume<u8>;

impl<T> Volume<T> {
    /// # Panics
    /// If the array's shape is not the grid's, or the array is not in C order.
    pub fn new(grid: Arc<Grid>, voxels: Array3<T>) -> Volume<T> {
        assert_eq!(grid.shape().as_slice(), voxels.shape(), "voxels must fill their grid");
        assert!(voxels.is_standard_layout(), "voxels are kept in C order");
        Volume { grid, voxels }
    }

    /// Where the voxels lie.
    pub fn grid(&self) -> &Arc<Grid> {
        &self.grid
    }

    /// The values, `[z, y, x]`.
    pub fn voxels(&self) -> &Array3<T> {
        &self.voxels
    }

    /// The values, to write.
    pub fn voxels_mut(&mut self) -> &mut Array3<T> {
        &mut self.voxels
    }

    /// Gives the array away.
    pub fn into_voxels(self) -> Array3<T> {
        self.voxels
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axial_grid_places_its_voxels() {
        let grid = Grid::axial([3, 4, 5], [5.0, 0.8, 0.7], [-10.0, -20.0, 30.0]);
        assert_eq!(grid.ras_mm([1.0, 2.0, 3.0]), [-10.0 + 2.1, -20.0 + 1.6, 35.0]);
        assert!((grid.voxel_cm3() - 0.0028).abs() < 1e-12);
        assert!(grid.matches(&Grid::axial([3, 4, 5], [5.0, 0.8, 0.7], [-10.0, -20.0, 30.005])));
        assert!(!grid.matches(&Grid::axial([3, 4, 5], [5.0, 0.8, 0.7], [-10.0, -20.0, 30.05])));
    }
}
