//! Voxels as browsers take them: whole HU as NIfTI, labels as plain bytes, lesions by gain as lists;
//! all in RAS order, all gzipped.
//!
//! Pure. Owns the way of labels from one grid to another: the nearest voxel in patient space.

use std::io::Write as _;
use std::sync::Arc;

use flate2::{Compression, GzBuilder};
use ndarray::{Array3, Zip};

use hepalert_voxels::volume::{Grid, Volume};

/// Bytes as gzip, the same for the same bytes.
pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let pack = || {
        // Fast: made while somebody waits, and sent over a hospital's network.
        let mut gz = GzBuilder::new().mtime(0).write(Vec::new(), Compression::new(2));
        gz.write_all(bytes)?;
        gz.finish()
    };
    match pack() {
        Ok(bytes) => bytes,
        Err::<_, std::io::Error>(error) => unreachable!("writing to memory cannot fail: {error}"),
    }
}

/// Hounsfield units as whole numbers.
pub(super) fn whole(volume: Volume<f32>) -> Volume<i16> {
    let grid = Arc::clone(volume.grid());
    let round = |hu: &f32| hu.round().clamp(-32768.0, 32767.0) as i16;
    Volume::new(grid, volume.voxels().map(round))
}

/// Values on another grid: those of the nearest voxels, and nothing beyond the old one.
pub(super) fn onto<T: Copy + Default + Send + Sync>(
    volume: Volume<T>,
    grid: &Arc<Grid>,
) -> Volume<T> {
    if volume.grid().matches(grid) {
        return Volume::new(Arc::clone(grid), volume.into_voxels());
    }
    let back = inverse(volume.grid());
    let shape = volume.grid().shape();
    let mut voxels = Array3::<T>::default(grid.shape());
    let from = volume.voxels();
    Zip::indexed(&mut voxels).par_for_each(|(z, y, x), value| {
        let point = grid.ras_mm([z as f64, y as f64, x as f64]);
        let index: [f64; 3] =
            back.map(|[a, b, c, t]| a * point[0] + b * point[1] + c * point[2] + t);
        // Rows are x, y, z; the array is [z, y, x].
        let at = [index[2], index[1], index[0]].map(f64::round);
        let inside = at.iter().zip(shape).all(|(i, n)| *i >= 0.0 && *i < n as f64);
        if inside {
            *value = from[at.map(|i| i as usize)];
        }
    });
    Volume::new(Arc::clone(grid), voxels)
}

/// The way from a point in patient space to the index x, y, z.
fn inverse(grid: &Grid) -> [[f64; 4]; 3] {
    let a = grid.affine();
    let minor = |r: [usize; 2], c: [usize; 2]| {
        a[r[0]][c[0]] * a[r[1]][c[1]] - a[r[0]][c[1]] * a[r[1]][c[0]]
    };
    let others = [[1, 2], [0, 2], [0, 1]];
    let sign = |i: usize, j: usize| if (i + j).is_multiple_of(2) { 1.0 } else { -1.0 };
    let cofactor = |i: usize, j: usize| sign(i, j) * minor(others[i], others[j]);
    let determinant: f64 = (0..3).map(|j| a[0][j] * cofactor(0, j)).sum();
    std::array::from_fn(|i| {
        let row: [f64; 3] = std::array::from_fn(|j| cofactor(j, i) / determinant);
        let shift = (0..3).map(|j| row[j] * a[j][3]).sum::<f64>();
        [row[0], row[1], row[2], -shift]
    })
}

/// Voxels that turn to lesion at some gain, in the order in which they do: how many, then their
/// indices, their steps, their classes.
pub(super) fn by_gain(steps: &Volume<i16>) -> Vec<u8> {
    let told = steps.voxels().iter().enumerate().filter(|(_, step)| **step > 0);
    let mut found: Vec<(i16, u32, u8)> =
        told.map(|(at, step)| (step % 1000 - 400, at as u32, (step / 1000) as u8)).collect();
    found.sort_unstable();
    let mut bytes = Vec::with_capacity(4 + 7 * found.len());
    bytes.extend((found.len() as u32).to_le_bytes());
    bytes.extend(found.iter().flat_map(|(_, at, _)| at.to_le_bytes()));
    bytes.extend(found.iter().flat_map(|(step, ..)| step.to_le_bytes()));
    bytes.extend(found.iter().map(|(.., class)| class));
    bytes
}

/// Names a grid: voxels belong to it, or they are not taken.
pub(super) fn grid_hash(grid: &Grid) -> String {
    let mut text = String::new();
    for n in grid.shape() {
        text += &format!("{n} ");
    }
    for value in grid.affine().iter().flatten() {
        // Less than a tenth of a micrometre is noise of arithmetic.
        text += &format!("{:.4} ", value + 0.0);
    }
    hepalert_study::digest::Digest::of(text.as_bytes()).hex()[..16].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_go_to_the_nearest_voxel_of_another_grid() {
        let fine = Grid::axial([2, 4, 6], [5.0, 1.0, 1.0], [10.0, 20.0, 30.0]);
        let labels = Array3::from_shape_fn([2, 4, 6], |(z, y, x)| (1 + z + 2 * y + 10 * x) as u8);
        let labels = Volume::new(Arc::new(fine), labels);
        let coarse = Arc::new(Grid::axial([2, 2, 3], [5.0, 2.0, 2.0], [10.0, 20.0, 30.0]));
        let found = onto(labels.clone(), &coarse);
        assert_eq!(found.voxels()[[1, 1, 2]], labels.voxels()[[1, 2, 4]]);
        let away = Arc::new(Grid::axial([1, 1, 1], [5.0, 1.0, 1.0], [0.0; 3]));
        assert_eq!(onto(labels.clone(), &away).voxels()[[0, 0, 0]], 0);
        // The same places, the other way round.
        let lps = [[-1.0, 0.0, 0.0, 15.0], [0.0, -1.0, 0.0, 23.0], [0.0, 0.0, 5.0, 30.0]];
        let lps = Arc::new(Grid::new([2, 4, 6], [5.0, 1.0, 1.0], lps));
        let turned = onto(labels.clone(), &lps);
        assert_eq!(turned.voxels()[[1, 3, 5]], labels.voxels()[[1, 0, 0]]);
        assert_ne!(grid_hash(&lps), grid_hash(labels.grid()));
    }

    #[test]
    fn an_oblique_grid_is_undone() {
        let (c, s) = (0.96, 0.28);
        let tilted = [[0.7, 0.0, 0.0, -3.0], [0.0, c, -2.0 * s, 8.0], [0.0, s, 2.0 * c, 5.0]];
        let grid = Grid::new([5, 6, 7], [2.0, 1.0, 0.7], tilted);
        let back = inverse(&grid);
        let p = grid.ras_mm([4.0, 2.0, 6.0]);
        let index = back.map(|[a, b, c, t]| a * p[0] + b * p[1] + c * p[2] + t);
        assert!(index.iter().zip([6.0, 2.0, 4.0]).all(|(a, b)| (a - b).abs() < 1e-9), "{index:?}");
    }

    #[test]
    fn voxels_come_in_the_order_in_which_they_turn() {
        let grid = Arc::new(Grid::axial([1, 1, 4], [1.0; 3], [0.0; 3]));
        let steps = ndarray::array![[[0, 3600, 1300, 1400]]];
        let bytes = by_gain(&Volume::new(grid, steps));
        assert_eq!(bytes[..4], 3u32.to_le_bytes());
        let indices: Vec<u32> =
            bytes[4..16].chunks(4).map(|b| u32::from_le_bytes(b.try_into().unwrap())).collect();
        assert_eq!(indices, [2, 3, 1]);
        assert_eq!(bytes[16..18], (-100i16).to_le_bytes());
        assert_eq!(bytes[22..], [1, 1, 3]);
    }
}
