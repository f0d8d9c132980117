//! What is erased becomes what its region lies in: a lesion's voxels become liver, and no hole in it.
//!
//! Owns looking that up, once for a region.

use hepalert_voxels::volume::LabelMap;
use ndarray::Array3;

use crate::change::Stretch;
use crate::refused::Refused;
use crate::regions::RegionVoxels;

/// A region under the eraser, and what its voxels become.
struct Beneath {
    lo: [usize; 3],
    mask: Array3<bool>,
    label: u8,
}

impl Beneath {
    fn at(map: &LabelMap, voxel: [usize; 3]) -> Result<Beneath, Refused> {
        let held = RegionVoxels::at(map, voxel)?;
        let mask = held.mask(held.lo, held.hi);
        Ok(Beneath { lo: held.lo, mask, label: held.surroundings(map) })
    }

    fn holds(&self, voxel: [usize; 3]) -> bool {
        let within: [usize; 3] =
            std::array::from_fn(|axis| voxel[axis].wrapping_sub(self.lo[axis]));
        self.mask.get(within) == Some(&true)
    }
}

/// The same voxels with the labels that they get.
pub(super) fn uncovered(map: &LabelMap, erased: &[Stretch]) -> Result<Vec<Stretch>, Refused> {
    let [_, height, width] = map.grid().shape();
    let mut regions: Vec<Beneath> = Vec::new();
    let mut made: Vec<Stretch> = Vec::new();
    for start in erased.iter().flat_map(|run| run.start..run.start + run.length) {
        let at = start as usize;
        let voxel = [at / width / height, at / width % height, at % width];
        let label = match map.voxels()[voxel] {
            0 => 0,
            _ => becomes(map, voxel, &mut regions)?,
        };
        match made.last_mut() {
            Some(run) if run.label == label && run.start + run.length == start => run.length += 1,
            _ => made.push(Stretch { start, length: 1, label }),
        }
    }
    Ok(made)
}

fn becomes(map: &LabelMap, voxel: [usize; 3], regions: &mut Vec<Beneath>) -> Result<u8, Refused> {
    if let Some(known) = regions.iter().find(|region| region.holds(voxel)) {
        return Ok(known.label);
    }
    let found = Beneath::at(map, voxel)?;
    let label = found.label;
    regions.push(found);
    Ok(label)
}
