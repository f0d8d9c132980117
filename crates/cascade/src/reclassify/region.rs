//! The liver region R: where images are shown, and where lesions may be put.
//!
//! Owns the rule of method 1.5 (liver, lesions and hepatic vessels; holes filled; only
//! components with parenchyma). Works on the patch grid; refuses to know intensities.

use ndarray::{Array3, ArrayView3, Zip, s};
use sha2::{Digest, Sha256};

use hepalert_study::anatomy::{Organ, is_lesion, is_of_liver};
use hepalert_voxels::image::box_sum::BoxSum;
use hepalert_voxels::image::fill::{Neighbours, bounding_box, fill_holes, flood};

/// The class of healthy liver in the second network: 0 background, 1 to 6 lesions, 7 liver.
pub const LIVER_CLASS: u8 = Organ::Liver.label();

/// The liver region of one label map, on the patch grid.
#[derive(Debug, Clone)]
pub struct LiverRegion {
    truth: Array3<u8>,
    voxels: Vec<[u32; 3]>,
    healthy: Vec<[u32; 3]>,
    /// `deep` and `lesions` cover the box of R only, which begins at `lo`.
    lo: [isize; 3],
    deep: Array3<bool>,
    deep_voxels: Vec<[u32; 3]>,
    lesions: BoxSum,
    bounds: Option<([usize; 3], [usize; 3])>,
    fingerprint: [u8; 32],
}

impl LiverRegion {
    /// Reads R out of a label map `[z, y, x]` with the values of `anatomy`. Liver, lesions
    /// and hepatic vessels; three-dimensional holes filled (so portal vein or anything else
    /// counts only where enclosed); components (26 neighbours) without any liver dropped.
    /// `rim` is how many voxels `[y, x]` from any edge liver begins to be deep.
    pub fn of(labels: ArrayView3<'_, u8>, rim: [usize; 2]) -> LiverRegion {
        let Some((lo, hi)) = bounding_box(labels.mapv(is_of_liver).view()) else {
            return LiverRegion::from_truth(Array3::zeros(labels.raw_dim()), rim);
        };
        let part = s![lo[0]..hi[0], lo[1]..hi[1], lo[2]..hi[2]];
        let near = labels.slice(part);
        let mut inside = near.mapv(is_of_liver);
        fill_holes(&mut inside);
        let liver = places(&near.mapv(|label| label == Organ::Liver.label()), [0; 3]);
        let liver = liver.iter().map(|at| at.map(|n| n as usize));
        let inside = flood(inside.view(), liver, Neighbours::All);
        let mut truth = Array3::zeros(labels.raw_dim());
        Zip::from(truth.slice_mut(part)).and(&inside).and(near).for_each(
            |truth, &inside, &label| {
                if inside {
                    *truth = if is_lesion(label) { label } else { LIVER_CLASS };
                }
            },
        );
        LiverRegion::from_truth(truth, rim)
    }

    /// `truth`: 0 outside R, 1 to 6 lesion, 7 the rest of R.
    fn from_truth(truth: Array3<u8>, rim: [usize; 2]) -> LiverRegion {
        let bounds = bounding_box(truth.mapv(|label| label != 0).view());
        let (lo, hi) = bounds.unwrap_or_default();
        let near = truth.slice(s![lo[0]..hi[0], lo[1]..hi[1], lo[2]..hi[2]]);
        let healthy = near.mapv(|label| label == LIVER_CLASS);
        let deep = deep_within(&healthy, rim);
        LiverRegion {
            voxels: places(&near.mapv(|label| label != 0), lo),
            healthy: places(&healthy, lo),
            deep_voxels: places(&deep, lo),
            deep,
            lesions: BoxSum::of(near.mapv(is_lesion).view()),
            lo: lo.map(|n| n as isize),
            fingerprint: fingerprint(&truth, bounds),
            bounds,
            truth,
        }
    }

    /// What the second network should answer, `[z, y, x]`: 0 outside R, 1 to 6 where a
    /// lesion is, 7 in the rest of R.
    pub fn truth(&self) -> &Array3<u8> {
        &self.truth
    }

    /// The truth at a place that may lie outside the image (0 there).
    pub fn truth_at(&self, at: [isize; 3]) -> u8 {
        let index = at.map(|i| usize::try_from(i).unwrap_or(usize::MAX));
        self.truth.get(index).copied().unwrap_or(0)
    }

    /// The voxels of R in C order.
    pub fn voxels(&self) -> &[[u32; 3]] {
        &self.voxels
    }

    /// The voxels of R that are no lesion, in C order.
    pub fn healthy(&self) -> &[[u32; 3]] {
        &self.healthy
    }

    /// The healthy voxels that keep a distance in their slice from lesions and from the edge
    /// of R, where masks are never quite right, in C order.
    pub fn deep(&self) -> &[[u32; 3]] {
        &self.deep_voxels
    }

    /// Whether a place, which may lie outside the image, is one of [`LiverRegion::deep`].
    pub fn is_deep(&self, at: [isize; 3]) -> bool {
        let near: [isize; 3] = std::array::from_fn(|axis| at[axis] - self.lo[axis]);
        self.deep.get(near.map(|i| usize::try_from(i).unwrap_or(usize::MAX))) == Some(&true)
    }

    /// Lesion voxels of R in the half-open box `[lo, hi)`.
    pub fn lesion_voxels_in(&self, lo: [isize; 3], hi: [isize; 3]) -> u32 {
        let near = |at: [isize; 3]| std::array::from_fn(|axis| at[axis] - self.lo[axis]);
        self.lesions.count(near(lo), near(hi))
    }

    /// The smallest box `[lo, hi)` that holds R.
    pub fn bounds(&self) -> Option<([usize; 3], [usize; 3])> {
        self.bounds
    }

    /// Equal for equal regions: SHA-256 of shape, box and labels.
    pub fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }
}

/// The true voxels in C order, counted from `lo` on.
fn places(mask: &Array3<bool>, lo: [usize; 3]) -> Vec<[u32; 3]> {
    let mut places = Vec::new();
    for (z, plane) in mask.outer_iter().enumerate() {
        for (y, row) in plane.outer_iter().enumerate() {
            let on = row.iter().enumerate().filter(|(_, on)| **on);
            places.extend(on.map(|(x, _)| [lo[0] + z, lo[1] + y, lo[2] + x].map(|n| n as u32)));
        }
    }
    places
}

/// Voxels whose whole window of `rim` voxels around them, in their slice, is true.
fn deep_within(mask: &Array3<bool>, rim: [usize; 2]) -> Array3<bool> {
    let sums = BoxSum::of(mask.view());
    let [ry, rx] = rim.map(|n| n as isize);
    let window = (2 * ry + 1) * (2 * rx + 1);
    let mut deep = mask.clone();
    for ((z, y, x), on) in deep.indexed_iter_mut().filter(|(_, on)| **on) {
        let at = [z as isize, y as isize, x as isize];
        let lo = [at[0], at[1] - ry, at[2] - rx];
        let hi = [at[0] + 1, at[1] + ry + 1, at[2] + rx + 1];
        *on = sums.count(lo, hi) as isize == window;
    }
    deep
}

fn fingerprint(truth: &Array3<u8>, bounds: Option<([usize; 3], [usize; 3])>) -> [u8; 32] {
    let mut hash = Sha256::new_with_prefix(b"hepalert liver region 1");
    let (lo, hi) = bounds.unwrap_or_default();
    for n in truth.shape().iter().chain(&lo).chain(&hi) {
        hash.update((*n as u64).to_le_bytes());
    }
    for row in truth.slice(s![lo[0]..hi[0], lo[1]..hi[1], lo[2]..hi[2]]).rows() {
        if let Some(row) = row.as_slice() {
            hash.update(row);
        }
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(slices: &[&[&str]]) -> Array3<u8> {
        let shape = (slices.len(), slices[0].len(), slices[0][0].len());
        Array3::from_shape_fn(shape, |(z, y, x)| match slices[z][y].as_bytes()[x] {
            b'.' => 0,
            digit => digit - b'0',
        })
    }

    fn truth(slices: &[&[&str]]) -> Array3<u8> {
        LiverRegion::of(labels(slices).view(), [1, 1]).truth
    }

    #[test]
    fn enclosed_portal_vein_is_in_and_open_portal_vein_is_out() {
        let shell = ["777777", "777777", "777777"];
        let inner = ["777777", "797389", "777777"];
        let found = truth(&[&shell, &inner, &shell]);
        assert_eq!(found, labels(&[&shell, &["777777", "777370", "777777"], &shell]).mapv(|l| l));
    }

    #[test]
    fn lesions_without_liver_are_out_and_lesions_that_touch_it_are_in() {
        let found = truth(&[&["77...3", "73...3", "..1..."]]);
        assert_eq!(found, labels(&[&["77....", "73....", "..1..."]]));
    }

    #[test]
    fn two_livers_are_both_kept_and_counts_agree() {
        let region = LiverRegion::of(labels(&[&["77..7", "76..8"]]).view(), [1, 1]);
        assert_eq!(region.voxels().len(), 6);
        assert_eq!(region.healthy().len(), 5);
        assert_eq!(region.lesion_voxels_in([0, 0, 0], [1, 2, 5]), 1);
        assert_eq!(region.bounds(), Some(([0, 0, 0], [1, 2, 5])));
        assert_eq!((region.truth_at([0, 1, 1]), region.truth_at([0, -1, 9])), (6, 0));
    }

    #[test]
    fn deep_liver_keeps_away_from_edges_and_lesions_in_its_slice() {
        let rows = ["777777", "777777", "777777", "777737"];
        let region = LiverRegion::of(labels(&[&rows, &["777777"; 4]]).view(), [1, 1]);
        let first: Vec<_> = region.deep().iter().filter(|at| at[0] == 0).collect();
        assert_eq!(first, [&[0, 1, 1], &[0, 1, 2], &[0, 1, 3], &[0, 1, 4], &[0, 2, 1], &[0, 2, 2]]);
        assert_eq!(region.deep().len(), 6 + 8);
        assert!(
            region.is_deep([1, 2, 4]) && !region.is_deep([0, 2, 4]) && !region.is_deep([-1, 9, 0])
        );
    }

    #[test]
    fn without_liver_there_is_no_region() {
        let region = LiverRegion::of(labels(&[&["331", "899"]]).view(), [1, 1]);
        assert!(region.voxels().is_empty() && region.bounds().is_none());
    }

    #[test]
    fn the_fingerprint_tells_regions_apart() {
        let print = |rows: &[&str]| LiverRegion::of(labels(&[rows]).view(), [1, 1]).fingerprint();
        assert_eq!(print(&["77.", "7.."]), print(&["77.", "7.9"]));
        assert_ne!(print(&["77.", "7.."]), print(&["77.", "73."]));
        assert_ne!(print(&["77.", "7.."]), print(&[".77", ".7."]));
    }
}
