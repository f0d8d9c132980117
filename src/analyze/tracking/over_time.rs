//! Findings from one study of a patient to the next.
//!
//! Owns how places in the one are found in the other: by the liver, whose centre is moved onto the
//! other's and which is stretched along each axis of the patient until both reach equally far. No image
//! is needed for it, only what both reports say. Refuses livers that were cut off or have changed their
//! shape, and findings that more than one may be.

use super::apart_mm;
use crate::report::record::rounded;
use crate::report::types::{LesionRecord, LiverPlace, Report};
use hepalert_cascade::pipeline::Findings;
use hepalert_voxels::volume::Grid;
use ndarray::ArrayView3;

/// How far from where it was expected a finding may be: breath and posture move places within the liver
/// by about a centimetre against its centre.
const REACH_MM: f64 = 15.0;
/// A liver that reaches less or more than this share as far as before was cut, operated on or drawn
/// otherwise: places in it do not compare.
const STRETCH: std::ops::RangeInclusive<f64> = 0.85..=1.18;
/// One finding does not grow or shrink more than so many times in diameter between two studies that
/// tell anything about each other.
const GROWTH: f64 = 3.0;

/// Where the liver lies; none where part of it may be missing, or there is none.
pub(in crate::analyze) fn place(findings: &Findings, grid: &Grid) -> Option<LiverPlace> {
    (!findings.liver_cut).then(|| place_of(findings.liver.view(), grid)).flatten()
}

/// Mean and spread of a mask. Sums are whole numbers, so that the order of voxels does not matter.
fn place_of(mask: ArrayView3<'_, bool>, grid: &Grid) -> Option<LiverPlace> {
    let mut count = 0u64;
    let mut sums = [0u64; 3];
    let mut products = [[0u64; 3]; 3];
    for ((z, y, x), _) in mask.indexed_iter().filter(|(_, on)| **on) {
        // Columns of the affine map are x, y, z.
        let at = [x, y, z].map(|n| n as u64);
        count += 1;
        for a in 0..3 {
            sums[a] += at[a];
            for b in 0..3 {
                products[a][b] += at[a] * at[b];
            }
        }
    }
    let of_all = |sum: u64| sum as f64 / count as f64;
    let [x, y, z] = sums.map(of_all);
    let mean = [x, y, z];
    let spread = |row: [f64; 4]| {
        let mut variance = 0.0;
        for a in 0..3 {
            for b in 0..3 {
                variance += row[a] * row[b] * (of_all(products[a][b]) - mean[a] * mean[b]);
            }
        }
        rounded(variance.max(0.0).sqrt())
    };
    let centre_ras_mm = grid.ras_mm([z, y, x]).map(rounded);
    let spread_mm = grid.affine().map(spread);
    let is_body = count > 0 && spread_mm.iter().all(|mm| *mm > 0.0);
    is_body.then_some(LiverPlace { centre_ras_mm, spread_mm })
}

/// A place of the one study as a place of the other; none where the livers do not compare.
fn moved(from: &LiverPlace, to: &LiverPlace) -> Option<impl Fn([f64; 3]) -> [f64; 3]> {
    let (from, to) = (*from, *to);
    let stretch: [f64; 3] = std::array::from_fn(|axis| to.spread_mm[axis] / from.spread_mm[axis]);
    let map = move |place: [f64; 3]| {
        std::array::from_fn(|axis| {
            let off = place[axis] - from.centre_ras_mm[axis];
            to.centre_ras_mm[axis] + stretch[axis] * off
        })
    };
    stretch.iter().all(|share| STRETCH.contains(share)).then_some(map)
}

/// For each finding of `report` that of the earlier study that it is: the only one within reach, and
/// itself the only one within reach of that.
pub(super) fn followed(prior: &Report, report: &Report) -> Vec<Option<usize>> {
    let none = vec![None; report.lesions.len()];
    let places = prior.liver_place.as_ref().zip(report.liver_place.as_ref());
    let Some(map) = places.and_then(|(from, to)| moved(from, to)) else { return none };
    let near = |before: &LesionRecord, now: &LesionRecord| {
        let reach = REACH_MM.max(before.max_diameter_mm.max(now.max_diameter_mm) / 2.0);
        apart_mm(map(before.centre_ras_mm), now.centre_ras_mm) <= reach
    };
    let only_before = |now: &LesionRecord| {
        let mut all = (0..prior.lesions.len()).filter(|at| near(&prior.lesions[*at], now));
        all.next().filter(|_| all.next().is_none())
    };
    let is_only =
        |before: &LesionRecord| report.lesions.iter().filter(|now| near(before, now)).count() == 1;
    let is_like = |before: &LesionRecord, now: &LesionRecord| {
        // Of a single voxel none is measured.
        let [a, b] = [before.max_diameter_mm, now.max_diameter_mm].map(|mm| mm.max(1.0));
        a.max(b) <= GROWTH * a.min(b)
    };
    let found = report.lesions.iter().map(|now| {
        let is_same = |before: &LesionRecord| is_only(before) && is_like(before, now);
        only_before(now).filter(|at| is_same(&prior.lesions[*at]))
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use ndarray::Array3;

    use super::*;

    /// A bent body of 60 x 40 x 20 mm at a place, on a grid whose first axis goes down or up.
    fn liver(at_mm: [f64; 3], upside_down: bool) -> LiverPlace {
        let step = if upside_down { -2.0 } else { 2.0 };
        let corner = [-60.0, -60.0, if upside_down { 60.0 } else { -60.0 }];
        let affine =
            [[1.5, 0.0, 0.0, corner[0]], [0.0, 1.5, 0.0, corner[1]], [0.0, 0.0, step, corner[2]]];
        let grid = Grid::new([61, 81, 81], [2.0, 1.5, 1.5], affine);
        let mask = Array3::from_shape_fn([61, 81, 81], |(z, y, x)| {
            let at = grid.ras_mm([z, y, x].map(|n| n as f64));
            let [x, y, z] = std::array::from_fn(|axis| at[axis] - at_mm[axis]);
            x.abs() < 30.0 && (y - x / 6.0).abs() < 20.0 && z.abs() < 10.0
        });
        place_of(mask.view(), &grid).unwrap()
    }

    #[test]
    fn the_liver_lies_where_it_lies_however_it_was_stored() {
        let [up, down] = [false, true].map(|turned| liver([6.0, 3.0, 8.0], turned));
        assert_eq!(up, down);
        let moved_by = liver([0.0; 3], false);
        for axis in 0..3 {
            let by = up.centre_ras_mm[axis] - moved_by.centre_ras_mm[axis];
            assert!((by - [6.0, 3.0, 8.0][axis]).abs() < 1e-3, "{by}");
            assert!((up.spread_mm[axis] / moved_by.spread_mm[axis] - 1.0).abs() < 1e-3);
        }
    }

    #[test]
    fn nothing_is_no_place_and_livers_that_differ_do_not_compare() {
        let grid = Grid::axial([2, 2, 2], [1.0; 3], [0.0; 3]);
        assert_eq!(place_of(Array3::from_elem((2, 2, 2), false).view(), &grid), None);
        let from = LiverPlace { centre_ras_mm: [10.0, 0.0, 0.0], spread_mm: [40.0, 30.0, 20.0] };
        let breathed =
            LiverPlace { centre_ras_mm: [10.0, 2.0, 8.0], spread_mm: [40.0, 30.0, 22.0] };
        let map = moved(&from, &breathed).unwrap();
        assert_eq!(map([10.0, 0.0, 20.0]), [10.0, 2.0, 30.0]);
        let cut = LiverPlace { spread_mm: [40.0, 30.0, 14.0], ..from };
        assert!(moved(&from, &cut).is_none() && moved(&cut, &from).is_none());
    }
}
