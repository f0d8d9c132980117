//! Single lesions out of a label map, and how two sets of lesions correspond.
//!
//! Owns [`Detection`] and the steps Det = seg2det(Seg) (Eq. 4-6) and match (Eq. 7). Knows
//! nothing of probabilities, networks or files.

use ndarray::Array3;

use crate::anatomy::Lesion;

pub mod matching;
pub mod measure;
pub mod seg2det;

/// A half-open box of voxels, `[z, y, x]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Region {
    /// First voxel inside.
    pub lo: [usize; 3],
    /// First voxel outside.
    pub hi: [usize; 3],
}

impl Region {
    /// Edge lengths `[z, y, x]` in voxels.
    pub fn shape(&self) -> [usize; 3] {
        std::array::from_fn(|axis| self.hi[axis] - self.lo[axis])
    }
}

/// One lesion: a connected set of voxels of one type.
#[derive(Debug, Clone, PartialEq)]
pub struct Detection {
    /// 1, 2, 3, .. in the order label, then volume descending, then box.
    pub id: u32,
    /// The lesion's type.
    pub kind: Lesion,
    /// The smallest box that holds the lesion.
    pub region: Region,
    /// True where the lesion is; covers `region` only, in C order `[z, y, x]`.
    pub mask: Array3<bool>,
    /// Number of true voxels in `mask`.
    pub voxels: usize,
    /// `voxels` times the volume of one voxel.
    pub volume_cm3: f64,
}
