//! Neighbouring slices of a thin series averaged into thicker ones.

use std::sync::Arc;

use ndarray::{Array3, Axis, Slice};
use rayon::prelude::*;

use crate::volume::{Grid, Volume};

/// Every `count` slices become their mean, in the middle of them; what is left at the end and
/// is no whole group is dropped.
///
/// # Panics
/// If `count` is 0 or more than there are slices.
pub fn average_slices(volume: &Volume<f32>, count: usize) -> Volume<f32> {
    let grid = volume.grid();
    let [slices, rows, columns] = grid.shape();
    let shape = [slices / count, rows, columns];
    assert!(shape[0] > 0, "{count} of {slices} slices");
    let mut voxels = Array3::zeros(shape);
    voxels.axis_iter_mut(Axis(0)).into_par_iter().enumerate().for_each(|(z, mut plane)| {
        let range = Slice::from(z * count..(z + 1) * count);
        for slice in volume.voxels().slice_axis(Axis(0), range).outer_iter() {
            plane += &slice;
        }
        plane /= count as f32;
    });
    let [step, row, column] = grid.spacing_mm();
    let affine = grid.affine().map(|[x, y, z, origin]| {
        let middle = (count - 1) as f64 / 2.0;
        [x, y, z * count as f64, origin + z * middle]
    });
    let grid = Grid::new(shape, [step * count as f64, row, column], affine);
    Volume::new(Arc::new(grid), voxels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_averaged_where_they_lie() {
        let grid = Arc::new(Grid::axial([7, 1, 2], [0.5, 1.0, 1.0], [10.0, 20.0, 30.0]));
        let voxels = Array3::from_shape_fn([7, 1, 2], |(z, _, x)| (z * 10 + x) as f32);
        let thick = average_slices(&Volume::new(grid, voxels), 3);
        assert_eq!(thick.grid().shape(), [2, 1, 2]);
        assert_eq!(thick.grid().spacing_mm(), [1.5, 1.0, 1.0]);
        assert_eq!(thick.grid().ras_mm([0.0, 0.0, 0.0]), [10.0, 20.0, 30.5]);
        assert_eq!(thick.grid().ras_mm([1.0, 0.0, 0.0]), [10.0, 20.0, 32.0]);
        let values: Vec<f32> = thick.voxels().iter().copied().collect();
        assert_eq!(values, [10.0, 11.0, 40.0, 41.0]);
    }
}
