//! Single lesions out of a label map, and how two sets of lesions correspond.
//!
//! Owns [`Detection`] and the steps Det = seg2det(Seg) (Eq. 4-6) and match (Eq. 7). Knows
//! nothing of probabilities, networks or files.

use std::ops::Range;

use ndarray::{Array3, ArrayView1};

use hepalert_study::anatomy::Lesion;

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

    /// Number of voxels inside.
    pub fn voxels(&self) -> usize {
        self.shape().iter().product()
    }

    /// The smallest box that holds both.
    pub fn hull(&self, other: &Region) -> Region {
        Region {
            lo: std::array::from_fn(|axis| self.lo[axis].min(other.lo[axis])),
            hi: std::array::from_fn(|axis| self.hi[axis].max(other.hi[axis])),
        }
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

impl Detection {
    /// The lesion's stretches of voxels along x, ordered by z, y, x: `[z, y]` and the
    /// half-open columns, all on the grid of the label map.
    pub fn runs(&self) -> impl Iterator<Item = ([usize; 2], Range<usize>)> + '_ {
        let [z0, y0, x0] = self.region.lo;
        let rows = self.mask.rows().into_iter().zip(0..);
        rows.flat_map(move |(row, index): (_, usize)| {
            let height = self.mask.dim().1;
            let at = [z0 + index / height, y0 + index % height];
            RowRuns { row, from: 0 }.map(move |run| (at, run.start + x0..run.end + x0))
        })
    }
}

/// The stretches of true values in a row.
struct RowRuns<'a> {
    row: ArrayView1<'a, bool>,
    from: usize,
}

impl Iterator for RowRuns<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        let rest = self.from..self.row.len();
        let start = rest.clone().find(|&x| self.row[x])?;
        let end = (start..rest.end).find(|&x| !self.row[x]).unwrap_or(rest.end);
        self.from = end;
        Some(start..end)
    }
}
