//! A lesion as the third stage takes it, and its voxels on the patch grid.

use std::ops::Range;

use ndarray::Array3;
use sha2::{Digest, Sha256};

use super::prepared::Prepared;
use hepalert_study::anatomy::Lesion;

/// A lesion to judge, on the study's own grid.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// Comes back in [`super::Reclassified`].
    pub id: u32,
    /// What the first network called it.
    pub kind: Lesion,
    /// First voxel of the mask's box, `[z, y, x]`.
    pub lo: [usize; 3],
    /// True where the lesion is, `[z, y, x]` from `lo` on.
    pub mask: &'a Array3<bool>,
    /// Its volume on the study's own grid.
    pub volume_cm3: f64,
}

impl Candidate<'_> {
    /// Equal for equal masks, whatever the id and the type: SHA-256 of box and voxels.
    pub fn fingerprint(&self) -> [u8; 32] {
        let mut hash = Sha256::new_with_prefix(b"hepalert lesion mask 1");
        for n in self.lo.iter().chain(self.mask.shape()) {
            hash.update((*n as u64).to_le_bytes());
        }
        let bytes: Vec<u8> = self.mask.iter().map(|&on| u8::from(on)).collect();
        hash.update(bytes);
        hash.finalize().into()
    }
}

/// A lesion's voxels on the patch grid that lie in the liver region. The default is no
/// lesion, enough for an original negative patch.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PatchLesion {
    /// Voxels in C order, `[z, y, x]`; what lies outside R is left out, so it is never
    /// carried anywhere.
    pub points: Vec<[isize; 3]>,
    /// The voxel that is put on a target: the rounded centroid of `points`.
    pub anchor: [isize; 3],
    /// First voxel of the smallest box around `points`.
    pub lo: [isize; 3],
    /// First voxel past that box.
    pub hi: [isize; 3],
    /// Voxels of the whole mask on the patch grid, those outside R included.
    pub whole: usize,
    /// From [`Candidate::fingerprint`].
    pub fingerprint: [u8; 32],
}

impl PatchLesion {
    /// Carries a candidate's mask to the patch grid by nearest neighbour, the rule of its
    /// label map. `points` is empty if the mask falls between the voxels of a coarser patch
    /// grid or lies outside R.
    pub fn of(candidate: &Candidate<'_>, prepared: &Prepared) -> PatchLesion {
        let nearest = prepared.nearest();
        let ranges: [Range<usize>; 3] = std::array::from_fn(|axis| {
            let end = candidate.lo[axis] + candidate.mask.shape()[axis];
            let from = nearest[axis].partition_point(|&n| n < candidate.lo[axis]);
            from..nearest[axis].partition_point(|&n| n < end)
        });
        let mut whole = 0;
        let mut points = Vec::new();
        for z in ranges[0].clone() {
            for y in ranges[1].clone() {
                for x in ranges[2].clone() {
                    let at = [z, y, x];
                    let native =
                        std::array::from_fn(|axis| nearest[axis][at[axis]] - candidate.lo[axis]);
                    let native: [usize; 3] = native;
                    if candidate.mask[native] {
                        whole += 1;
                        if prepared.region().truth()[at] != 0 {
                            points.push(at.map(|n| n as isize));
                        }
                    }
                }
            }
        }
        PatchLesion::from_points(points, whole, candidate.fingerprint())
    }

    fn from_points(points: Vec<[isize; 3]>, whole: usize, fingerprint: [u8; 32]) -> PatchLesion {
        let count = points.len().max(1) as isize;
        let mut carried =
            PatchLesion { anchor: [0; 3], lo: [0; 3], hi: [0; 3], points, whole, fingerprint };
        for axis in 0..3 {
            let along = || carried.points.iter().map(|point| point[axis]);
            let (lo, hi) = (along().min().unwrap_or(0), along().max().map_or(0, |n| n + 1));
            carried.anchor[axis] = (along().sum::<isize>() + count / 2) / count;
            (carried.lo[axis], carried.hi[axis]) = (lo, hi);
        }
        carried
    }
}
