//! How good an alignment is, by what can be measured without truth.
//!
//! Owns the Jacobian (folding, spread), the descriptor distance and the overlap of masks. Refuses
//! to decide: limits are in `align`.

use ndarray::{Array3, Axis};
use rayon::prelude::*;

use crate::affine::Affine;
use crate::field::Field;
use crate::warp::Image;

/// How local volume changes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Jacobian {
    /// Share of voxels whose surroundings are turned inside out.
    pub folding: f64,
    /// Standard deviation of the determinant, which is 1 where nothing changes.
    pub deviation: f64,
}

/// The Jacobian of `p -> p + u(p)` over all voxels, by central differences.
pub fn jacobian(field: &Field) -> Jacobian {
    let [depth, rows, columns] = field.lattice().voxels;
    let count = (depth * rows * columns).max(1) as f64;
    let by_row = field.rows();
    let plane = |z: usize| {
        let mut lines: [Vec<[f32; 3]>; 5] = Default::default();
        let mut sums = [0.0_f64; 3];
        for y in 0..rows {
            // A difference over two voxels, or over one at the border.
            let around = |at: usize, n: usize| (at.saturating_sub(1), (at + 1).min(n - 1));
            let ((z0, z1), (y0, y1)) = (around(z, depth), around(y, rows));
            for (line, (z, y)) in lines.iter_mut().zip([(z, y), (z0, y), (z1, y), (z, y0), (z, y1)])
            {
                by_row.at(z, y, line);
            }
            for x in 0..columns {
                let (x0, x1) = around(x, columns);
                let slope = |a: [f32; 3], b: [f32; 3], n: usize| {
                    [0, 1, 2].map(|c| f64::from(b[c] - a[c]) / n.max(1) as f64)
                };
                let mut columns = [
                    slope(lines[1][x], lines[2][x], z1 - z0),
                    slope(lines[3][x], lines[4][x], y1 - y0),
                    slope(lines[0][x0], lines[0][x1], x1 - x0),
                ];
                (0..3).for_each(|c| columns[c][c] += 1.0);
                let determinant = Affine { linear: columns, shift: [0.0; 3] }.determinant();
                sums[0] += f64::from(u8::from(determinant <= 0.0));
                sums[1] += determinant;
                sums[2] += determinant * determinant;
            }
        }
        sums
    };
    let sums: Vec<[f64; 3]> = (0..depth).into_par_iter().map(plane).collect();
    let [folded, sum, squares] = sums.iter().fold([0.0; 3], |a, b| [0, 1, 2].map(|c| a[c] + b[c]));
    let mean = sum / count;
    Jacobian { folding: folded / count, deviation: (squares / count - mean * mean).max(0.0).sqrt() }
}

/// How far descriptors of two images on one grid are apart: mean bits of 60 where the first
/// shows tissue and the second was scanned. `None` if that is nowhere. `a` are the descriptors of
/// the first and `b` of the second, with neighbours [`COMPARED`] voxels away.
pub fn descriptor_distance(
    fixed: &Image,
    a: &Array3<u64>,
    warped: &Image,
    b: &Array3<u64>,
) -> Option<f64> {
    let planes = (0..fixed.shape()[0]).into_par_iter().map(|z| {
        let (mut bits, mut voxels) = (0_u64, 0_u64);
        let planes = [a.index_axis(Axis(0), z), b.index_axis(Axis(0), z)];
        for ((place, a), b) in planes[0].indexed_iter().zip(&planes[1]) {
            let at = [z, place.0, place.1];
            if is_tissue(fixed.voxels[at]) && warped.seen.as_ref().is_none_or(|seen| seen[at]) {
                bits += u64::from((a ^ b).count_ones());
                voxels += 1;
            }
        }
        (bits, voxels)
    });
    let (bits, voxels) = planes.reduce(|| (0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
    (voxels > 0).then(|| bits as f64 / voxels as f64)
}

/// Share of the first image's tissue that the second one shows.
pub fn coverage(fixed: &Image, warped: &Image) -> f64 {
    let (mut tissue, mut covered) = (0_u64, 0_u64);
    for (at, hu) in fixed.voxels.indexed_iter() {
        if is_tissue(*hu) {
            tissue += 1;
            covered += u64::from(warped.seen.as_ref().is_none_or(|seen| seen[at]));
        }
    }
    if tissue == 0 { 0.0 } else { covered as f64 / tissue as f64 }
}

/// Neither air nor lung, nor dense bone.
fn is_tissue(hu: f32) -> bool {
    (-200.0..=500.0).contains(&hu)
}

/// Dice overlap of two masks on one grid; 1 if both are empty.
pub fn dice(a: &Array3<bool>, b: &Array3<bool>) -> f64 {
    let (mut both, mut sum) = (0_u64, 0_u64);
    for (a, b) in a.iter().zip(b) {
        both += u64::from(*a && *b);
        sum += u64::from(*a) + u64::from(*b);
    }
    if sum == 0 { 1.0 } else { 2.0 * both as f64 / sum as f64 }
}
