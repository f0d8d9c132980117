//! From a scan as it came to the cubic voxels that are registered.
//!
//! Owns the crop to the body, the grid of equal spacing along the scan's own axes, and the
//! resampling to it. Slices of 5 mm registered as they are would lead the search astray (a voxel
//! along z is another distance than one in the plane); on 2 mm cubes they do not. A voxel is the
//! mean of what is nearer than the wider of both spacings, weighted by nearness: between thick
//! slices that is linear interpolation, in the plane it keeps noise from folding down.

use std::ops::Range;
use std::sync::Arc;

use super::affine::in_single_precision;
use hepalert_voxels::volume::{Grid, Volume};
use ndarray::{Array3, ArrayView3, Axis};
use rayon::prelude::*;

use crate::warp::Image;

/// What a voxel takes of each of its two neighbours along an axis. It leaves a quarter of the noise
/// in 2 mm cubes, and noise is what leads blocks without texture astray; displacements of less than
/// a voxel no longer show as blur.
const OF_NEIGHBOURS: f32 = 0.2;
/// Less than this is air around the body or in the lungs, in Hounsfield units.
const BODY_HU: f32 = -400.0;
/// A plane across an axis belongs to the body if this share of it does.
const BODY_SHARE: f64 = 0.01;
/// What scanners store; padding and metal lie beyond.
const HU: [f32; 2] = [-1000.0, 2000.0];
/// Farther than the widest search looks.
const SEARCH_MM: f64 = 100.0;
/// Most voxels of a grid for estimation: at about 60 bytes each, 1.5 GB. A larger body gets
/// larger voxels.
const MAX_VOXELS: f64 = 24e6;

/// An image in cubic voxels and where they lie.
#[derive(Debug)]
pub struct Isotropic {
    /// Hounsfield units within what scanners store.
    pub image: Image,
    /// Its grid; voxels have one spacing along every axis.
    pub grid: Arc<Grid>,
}

/// The box of the body, in voxels; the whole scan if there is hardly any.
pub fn body_box(volume: &Volume<f32>) -> [Range<usize>; 3] {
    let voxels = volume.voxels();
    let plane = |plane: ndarray::ArrayView2<'_, f32>| -> [Vec<u32>; 2] {
        let (rows, columns) = plane.dim();
        let (mut by_row, mut by_column) = (vec![0; rows], vec![0; columns]);
        for (row, count) in plane.outer_iter().zip(&mut by_row) {
            for (v, column) in row.iter().zip(&mut by_column) {
                let body = u32::from(*v > BODY_HU);
                *count += body;
                *column += body;
            }
        }
        [by_row, by_column]
    };
    let planes: Vec<_> = voxels.axis_iter(Axis(0)).into_par_iter().map(plane).collect();
    let total = |axis: usize| {
        let n = planes.first().map_or(0, |plane| plane[axis].len());
        (0..n).map(|i| planes.iter().map(|plane| u64::from(plane[axis][i])).sum()).collect()
    };
    let depths = planes.iter().map(|[rows, _]| rows.iter().map(|c| u64::from(*c)).sum()).collect();
    let counts: [Vec<u64>; 3] = [depths, total(0), total(1)];
    let boxed = |axis: usize| {
        let whole = voxels.len() as f64 / counts[axis].len() as f64;
        let body = |count: &u64| *count as f64 >= BODY_SHARE * whole;
        let first = counts[axis].iter().position(body)?;
        let last = counts[axis].iter().rposition(body)?;
        Some(first..last + 1)
    };
    let found = [boxed(0), boxed(1), boxed(2)];
    match found {
        [Some(z), Some(y), Some(x)] => [z, y, x],
        _ => volume.grid().shape().map(|n| 0..n),
    }
}

/// The spacing at which a box stays below the most voxels that are estimated on.
pub fn affordable_mm(grid: &Grid, within: &[Range<usize>; 3], wanted_mm: f64) -> f64 {
    let spacing = in_single_precision(grid).spacing_mm();
    let size = |a: usize| within[a].len() as f64 * spacing[a];
    let voxels = (0..3).map(|a| size(a) / wanted_mm + 1.0).product::<f64>();
    wanted_mm * (voxels / MAX_VOXELS).cbrt().max(1.0)
}

/// The box of a moving scan's body; of one that would be too many cubes of the fixed grid (its header
/// says voxels of decimetres, say) only what lies within [`SEARCH_MM`] of that grid.
pub fn affordable_part(moving: &Volume<f32>, fixed: &Grid) -> [Range<usize>; 3] {
    let body = body_box(moving);
    let (mm, spacing) = (fixed.spacing_mm()[0], moving.grid().spacing_mm());
    let cubes = (0..3).map(|a| body[a].len() as f64 * spacing[a] / mm + 1.0).product::<f64>();
    if cubes <= MAX_VOXELS {
        return body;
    }
    let last = fixed.shape().map(|n| (n - 1) as f64);
    let corners = (0..8).map(|corner| {
        let at = [0, 1, 2].map(|a| if corner >> a & 1 == 1 { last[a] } else { 0.0 });
        index_of(moving.grid(), fixed.ras_mm(at))
    });
    let corners: Vec<[f64; 3]> = corners.collect();
    [0, 1, 2].map(|a| {
        let margin = SEARCH_MM / spacing[a];
        let low = corners.iter().map(|at| at[a]).fold(f64::INFINITY, f64::min) - margin;
        let high = corners.iter().map(|at| at[a]).fold(f64::NEG_INFINITY, f64::max) + margin;
        let n = body[a].end - body[a].start;
        let inside = |at: f64| (at.max(0.0) as usize).clamp(body[a].start, body[a].start + n - 1);
        inside(low.floor())..inside(high.ceil()) + 1
    })
}

/// Where a point in mm RAS lies in a grid, in voxels `[z, y, x]`; its axes are taken to be at right angles.
fn index_of(grid: &Grid, at_mm: [f64; 3]) -> [f64; 3] {
    let affine = grid.affine();
    [0, 1, 2].map(|axis| {
        let along = [0, 1, 2].map(|row| affine[row][2 - axis]);
        let from = [0, 1, 2].map(|row| at_mm[row] - affine[row][3]);
        let dot = |a: [f64; 3], b: [f64; 3]| a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
        dot(along, from) / dot(along, along)
    })
}

/// The part of a scan within a box of voxels, in cubes of `spacing_mm`.
pub fn isotropic(volume: &Volume<f32>, within: &[Range<usize>; 3], spacing_mm: f64) -> Isotropic {
    let (grid, taps) = sampling(volume.grid(), within, spacing_mm);
    let part = volume.voxels().view();
    let part =
        part.slice_move(ndarray::s![within[0].clone(), within[1].clone(), within[2].clone()]);
    // In the plane first: that leaves the least to do along z.
    let planes: Vec<Array3<f32>> = part
        .axis_iter(Axis(0))
        .into_par_iter()
        .map(|plane| {
            let plane = plane.insert_axis(Axis(0)).mapv(|hu| hu.clamp(HU[0], HU[1]));
            along(along(plane.view(), 2, &taps[2]).view(), 1, &taps[1])
        })
        .collect();
    let views: Vec<_> = planes.iter().map(|plane| plane.view()).collect();
    let stacked = ndarray::concatenate(Axis(0), &views).unwrap_or_default();
    let voxels = quietened(along(stacked.view(), 0, &taps[0]));
    Isotropic { image: Image::whole(voxels), grid: Arc::new(grid) }
}

/// Source voxels and their weights for every voxel of the result.
type Taps = Vec<(usize, Vec<f32>)>;

fn sampling(grid: &Grid, within: &[Range<usize>; 3], mm: f64) -> (Grid, [Taps; 3]) {
    let grid = in_single_precision(grid);
    let spacing = grid.spacing_mm();
    // From the middle of the first voxel to that of the last.
    let last = [0, 1, 2].map(|a| (within[a].len() - 1) as f64);
    let shape = [0, 1, 2].map(|a| (last[a] * spacing[a] / mm + 1e-6) as usize + 1);
    let first = [0, 1, 2].map(|a| {
        let rest = last[a] - (shape[a] - 1) as f64 * mm / spacing[a];
        within[a].start as f64 + rest / 2.0
    });
    let origin = grid.ras_mm(first);
    let affine = [0, 1, 2].map(|row| {
        let step = |column: usize| grid.affine()[row][column] * mm / spacing[2 - column];
        [step(0), step(1), step(2), origin[row]]
    });
    let taps = [0, 1, 2].map(|a| {
        let at = |i: usize| first[a] - within[a].start as f64 + i as f64 * mm / spacing[a];
        let reach = (mm / spacing[a]).max(1.0);
        (0..shape[a]).map(|i| tap(at(i), reach, within[a].len())).collect()
    });
    (Grid::new(shape, [mm; 3], affine), taps)
}

/// Weights fall from 1 at the place itself to 0 at `reach` source voxels.
fn tap(at: f64, reach: f64, n: usize) -> (usize, Vec<f32>) {
    let first = (at - reach).ceil().max(0.0) as usize;
    let last = ((at + reach).floor().max(0.0) as usize).min(n - 1);
    let weight = |i: usize| (1.0 - (i as f64 - at).abs() / reach).max(0.0);
    let weights: Vec<f64> = (first.min(last)..=last).map(weight).collect();
    let sum: f64 = weights.iter().sum();
    if sum > 0.0 {
        (first.min(last), weights.iter().map(|w| (w / sum) as f32).collect())
    } else {
        ((at.round().max(0.0) as usize).min(n - 1), vec![1.0])
    }
}

/// An image with less noise; borders stay as they are.
fn quietened(mut voxels: Array3<f32>) -> Array3<f32> {
    for axis in 0..3 {
        let n = voxels.shape()[axis];
        let tap = |i: usize| match i {
            _ if i == 0 || i + 1 == n => (i, vec![1.0]),
            _ => (i - 1, vec![OF_NEIGHBOURS, 1.0 - 2.0 * OF_NEIGHBOURS, OF_NEIGHBOURS]),
        };
        voxels = along(voxels.view(), axis, &(0..n).map(tap).collect());
    }
    voxels
}

fn along(source: ArrayView3<'_, f32>, axis: usize, taps: &Taps) -> Array3<f32> {
    let mut shape = source.raw_dim();
    shape[axis] = taps.len();
    let mut out = Array3::zeros(shape);
    let planes = out.axis_iter_mut(Axis(axis)).into_par_iter().zip(taps);
    planes.for_each(|(mut out, (first, weights))| {
        for (k, weight) in weights.iter().enumerate() {
            let plane = source.index_axis(Axis(axis), first + k);
            out.zip_mut_with(&plane, |sum, v| *sum += weight * v);
        }
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ramp_stays_where_it_was_and_the_body_is_found() {
        let grid = Arc::new(Grid::axial([12, 30, 40], [5.0, 1.0, 0.8], [-7.0, 3.0, 100.0]));
        let mut voxels = Array3::from_elem((12, 30, 40), -1000.0_f32);
        for ((z, y, x), v) in voxels.indexed_iter_mut() {
            if (5..25).contains(&y) && (8..40).contains(&x) {
                let [a, b, c] = grid.ras_mm([z as f64, y as f64, x as f64]);
                *v = (a + 2.0 * b - c) as f32;
            }
        }
        let volume = Volume::new(Arc::clone(&grid), voxels);
        assert_eq!(body_box(&volume), [0..12, 5..25, 8..40]);
        let cubes = isotropic(&volume, &body_box(&volume), 2.0);
        assert_eq!(cubes.grid.spacing_mm(), [2.0; 3]);
        let [d, h, w] = cubes.image.shape();
        for z in 0..d {
            let [a, b, c] = cubes.grid.ras_mm([z as f64, h as f64 / 2.0, w as f64 / 2.0]);
            // The middle rows: kernels are symmetric there.
            let at = [z as f64, h as f64 / 2.0, w as f64 / 2.0];
            let found = cubes.image.sample(at).0;
            assert!((f64::from(found) - (a + 2.0 * b - c)).abs() < 0.51, "{z} {found}");
        }
    }

    #[test]
    fn a_large_body_gets_larger_voxels() {
        let grid = Grid::axial([4000, 512, 512], [1.0, 1.0, 1.0], [0.0; 3]);
        let whole = grid.shape().map(|n| 0..n);
        assert!(affordable_mm(&grid, &whole, 2.0) > 3.0);
        assert_eq!(affordable_mm(&grid, &[0..100, 0..300, 0..400], 2.0), 2.0);
    }
}
