//! A finding as objects show it: where it is, how large, what it is suspected to be.
//!
//! Owns the longest axis within a slice and the point that stands for a finding. Everything lies on
//! the grid of the images as they were stored. Refuses to decide what is a finding.

use ndarray::{ArrayView2, ArrayView3, Axis};

use hepalert_study::anatomy::{Lesion, Organ};
use hepalert_study::outcome::View;
use hepalert_study::phase::Phase;
use hepalert_voxels::volume::Grid;
use hepalert_voxels::volume::dicom::write::uid_of;

use crate::code;

/// Voxels within a box of a grid.
#[derive(Debug, Clone, Copy)]
pub struct Shape<'a> {
    /// The box's first voxel, `[z, y, x]`.
    pub lo: [usize; 3],
    /// True where it is; covers its box only.
    pub mask: ArrayView3<'a, bool>,
}

/// What one finding is called for as long as it is followed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tracking {
    /// For people, such as `lesion 1`.
    pub id: String,
    /// For programs; the same in every revision, and in later studies where it was recognised.
    pub uid: String,
}

impl Tracking {
    /// What an organ of a study is called: the same in every object and every revision.
    pub(crate) fn of_organ(organ: Organ, study_uid: &str) -> Tracking {
        let id = code::organ(organ).meaning.to_lowercase();
        let uid = uid_of(&format!("{id} of {study_uid}"));
        Tracking { id, uid }
    }
}

/// A finding.
#[derive(Debug, Clone)]
pub struct Finding<'a> {
    /// Its number in the report, from 1.
    pub number: u32,
    /// What it is suspected to be.
    pub kind: Lesion,
    /// What it is called.
    pub tracking: Tracking,
    /// Where it is.
    pub shape: Shape<'a>,
    /// Its volume.
    pub volume_cm3: f64,
    /// Largest distance between the centres of two of its voxels, in any direction.
    pub max_diameter_mm: f64,
    /// Mean attenuation per phase.
    pub mean_hu: Vec<(Phase, f64)>,
    /// The view in which it stands.
    pub view: View,
}

/// The longest line between the centres of two voxels of one slice.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LongAxis {
    /// The slice.
    pub slice: usize,
    /// Its ends, `[row, column]`.
    pub ends: [[usize; 2]; 2],
    /// Its length.
    pub mm: f64,
}

/// The segment number of a finding: its place in the list of findings, from 1.
pub(crate) fn number_of(place: usize) -> usize {
    place + 1
}

/// A point of a grid in patient coordinates as DICOM has them: left, back, head.
pub(crate) fn lps_mm(grid: &Grid, index: [f64; 3]) -> [f64; 3] {
    let [x, y, z] = grid.ras_mm(index);
    [-x, -y, z]
}

impl Shape<'_> {
    /// The longest axis of any slice; of equals that of the first. None of an empty shape.
    pub fn long_axis(&self, grid: &Grid) -> Option<LongAxis> {
        let [_, row_mm, column_mm] = grid.spacing_mm();
        let mut best: Option<LongAxis> = None;
        for (z, plane) in self.mask.axis_iter(Axis(0)).enumerate() {
            let ends = row_ends(plane);
            for (at, from) in ends.iter().enumerate() {
                for to in &ends[at..] {
                    let along = |axis: usize, mm: f64| from[axis].abs_diff(to[axis]) as f64 * mm;
                    let mm = along(0, row_mm).hypot(along(1, column_mm));
                    if best.is_none_or(|best| mm > best.mm) {
                        let place = |end: &[usize; 2]| [end[0] + self.lo[1], end[1] + self.lo[2]];
                        let ends = [place(from), place(to)];
                        best = Some(LongAxis { slice: z + self.lo[0], ends, mm });
                    }
                }
            }
        }
        best
    }

    /// The voxel nearest to the mean of all: unlike the mean it always lies inside. None of an
    /// empty shape.
    pub fn centre(&self, grid: &Grid) -> Option<[usize; 3]> {
        let inside =
            || self.mask.indexed_iter().filter(|(_, on)| **on).map(|((z, y, x), _)| [z, y, x]);
        let count = inside().count();
        let mut sum = [0usize; 3];
        for voxel in inside() {
            sum = std::array::from_fn(|axis| sum[axis] + voxel[axis]);
        }
        let mean = sum.map(|sum| sum as f64 / count.max(1) as f64);
        let mm = grid.spacing_mm();
        let distance = |voxel: &[usize; 3]| -> f64 {
            (0..3).map(|axis| ((voxel[axis] as f64 - mean[axis]) * mm[axis]).powi(2)).sum()
        };
        let nearest = inside().min_by(|a, b| distance(a).total_cmp(&distance(b)))?;
        Some(std::array::from_fn(|axis| nearest[axis] + self.lo[axis]))
    }
}

/// First and last voxel of every row: the ends of the longest line are among them.
fn row_ends(plane: ArrayView2<'_, bool>) -> Vec<[usize; 2]> {
    let mut ends = Vec::new();
    for (y, row) in plane.rows().into_iter().enumerate() {
        let Some(first) = row.iter().position(|on| *on) else { continue };
        ends.push([y, first]);
        if let Some(last) = row.iter().rposition(|on| *on).filter(|last| *last != first) {
            ends.push([y, last]);
        }
    }
    ends
}

#[cfg(test)]
mod tests {
    use ndarray::Array3;

    use super::*;

    #[test]
    fn the_long_axis_is_measured_in_millimetres_and_within_one_slice() {
        // In voxels the row is longer, in millimetres the column.
        let mut mask = Array3::from_elem((2, 4, 6), false);
        mask.slice_mut(ndarray::s![0, 1, 0..6]).fill(true);
        mask.slice_mut(ndarray::s![1, 0..4, 2]).fill(true);
        let grid = Grid::axial([9, 9, 9], [5.0, 2.0, 1.0], [0.0; 3]);
        let shape = Shape { lo: [3, 2, 1], mask: mask.view() };
        let axis = shape.long_axis(&grid).unwrap();
        assert_eq!(axis, LongAxis { slice: 4, ends: [[2, 3], [5, 3]], mm: 6.0 });
    }

    #[test]
    fn the_centre_of_a_ring_lies_in_the_ring() {
        let mask = Array3::from_shape_fn((1, 5, 5), |(_, y, x)| y != 2 || x != 2);
        let grid = Grid::axial([1, 9, 9], [1.0; 3], [0.0; 3]);
        let shape = Shape { lo: [0, 1, 1], mask: mask.view() };
        let [z, y, x] = shape.centre(&grid).unwrap();
        assert!(mask[[z, y - 1, x - 1]]);
        let empty = Array3::from_elem((1, 2, 2), false);
        assert_eq!(Shape { lo: [0; 3], mask: empty.view() }.centre(&grid), None);
    }
}
