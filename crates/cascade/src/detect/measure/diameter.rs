//! The largest distance between two voxels of a lesion, exactly.
//!
//! The two ends of the largest diameter are corners of the convex hull, and every corner of
//! the hull is a corner of its own slice's hull. So each slice is reduced to its hull in
//! integers, and pairs are taken from the outermost in until none can be longer.

use std::cmp::Ordering;

use crate::detect::Detection;
use hepalert_voxels::volume::Grid;

pub(super) struct Diameters {
    /// Over all pairs of voxels.
    pub max_mm: f64,
    /// Over pairs within a slice.
    pub axial_mm: f64,
}

pub(super) fn diameters(lesion: &Detection, grid: &Grid) -> Diameters {
    let mut corners = Vec::new();
    let mut axial = 0.0f64;
    for (z, ends) in slices(lesion) {
        let hull: Vec<[f64; 3]> = hull(&ends)
            .into_iter()
            .map(|[y, x]| grid.ras_mm([z as f64, y as f64, x as f64]))
            .collect();
        axial = axial.max(farthest(&hull, axial));
        corners.extend(hull);
    }
    let max = farthest(&corners, axial);
    Diameters { max_mm: max.sqrt(), axial_mm: axial.sqrt() }
}

/// The first and last voxel of each row, slice by slice: no voxel between them can be a
/// corner. `[y, x]`, ordered.
fn slices(lesion: &Detection) -> Vec<(usize, Vec<[i64; 2]>)> {
    let mut slices: Vec<(usize, Vec<[i64; 2]>)> = Vec::new();
    for ([z, y], columns) in lesion.runs() {
        if slices.last().is_none_or(|(last, _)| *last != z) {
            slices.push((z, Vec::new()));
        }
        let Some((_, ends)) = slices.last_mut() else { continue };
        // A second run of the row pushes its end outwards: the hull drops what lies between.
        for x in [columns.start, columns.end - 1] {
            let end = [y as i64, x as i64];
            if ends.last() != Some(&end) {
                ends.push(end);
            }
        }
    }
    slices
}

/// Corners of the convex hull of ordered points (Andrew's monotone chain, exact).
fn hull(points: &[[i64; 2]]) -> Vec<[i64; 2]> {
    let mut corners = half_hull(points.iter());
    let back = half_hull(points.iter().rev());
    corners.extend(back.into_iter().skip(1));
    corners.dedup();
    corners
}

fn half_hull<'a>(points: impl Iterator<Item = &'a [i64; 2]>) -> Vec<[i64; 2]> {
    let mut chain: Vec<[i64; 2]> = Vec::new();
    for &point in points {
        while let [.., a, b] = chain[..]
            && turn(a, b, point) <= 0
        {
            chain.pop();
        }
        chain.push(point);
    }
    chain
}

fn turn(a: [i64; 2], b: [i64; 2], c: [i64; 2]) -> i64 {
    (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
}

/// The largest squared distance between two of the points, or `least` if that is larger.
fn farthest(points: &[[f64; 3]], least: f64) -> f64 {
    let count = points.len().max(1) as f64;
    let middle: [f64; 3] =
        std::array::from_fn(|axis| points.iter().map(|p| p[axis]).sum::<f64>() / count);
    let mut ordered: Vec<(f64, [f64; 3])> =
        points.iter().map(|&point| (squared_mm2(point, middle).sqrt(), point)).collect();
    ordered.sort_by(|a, b| b.0.partial_cmp(&a.0).unwrap_or(Ordering::Equal));
    let mut best = least;
    for (at, (radius, point)) in ordered.iter().enumerate() {
        for (other_radius, other) in &ordered[at + 1..] {
            // The sum of the radii bounds the distance; the rest are nearer still. The
            // hair's breadth more keeps rounding from ending the search early.
            if (radius + other_radius).powi(2) * (1.0 + 1e-12) < best {
                break;
            }
            best = best.max(squared_mm2(*point, *other));
        }
    }
    best
}

fn squared_mm2(a: [f64; 3], b: [f64; 3]) -> f64 {
    std::iter::zip(a, b).map(|(p, q)| (p - q) * (p - q)).sum()
}
