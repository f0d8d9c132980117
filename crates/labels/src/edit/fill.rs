//! What a region encloses made part of it.

use hepalert_voxels::image::fill::{Neighbours, fill_holes, flood};
use hepalert_voxels::volume::LabelMap;
use ndarray::{Array3, Axis, Zip};

use super::Bounds;
use crate::change::Stretch;
use crate::operation::Enclosure;
use crate::refused::Refused;
use crate::regions::RegionVoxels;

/// Other labels inside, a vessel or a second lesion, stay as they are.
pub(super) fn fill(
    map: &LabelMap,
    at: [usize; 3],
    within: Enclosure,
) -> Result<Vec<Stretch>, Refused> {
    let held = RegionVoxels::at(map, at)?;
    let bounds = Bounds { lo: held.lo, hi: held.hi };
    let mask = held.mask(held.lo, held.hi);
    let mut filled = mask.clone();
    match within {
        Enclosure::Volume => fill_holes(&mut filled),
        Enclosure::Slices => fill_slices(&mut filled),
    }
    let around = held.surroundings(map);
    let wanted = Zip::from(&filled)
        .and(&mask)
        .and(bounds.of(map))
        .map_collect(|&filled, &own, &old| filled && !own && (old == 0 || old == around));
    Ok(bounds.stretches(&wanted, map.grid().shape(), held.label))
}

/// In each slice, what cannot reach the slice's edge by edges of voxels.
fn fill_slices(mask: &mut Array3<bool>) {
    let (_, height, width) = mask.dim();
    let rim = || {
        let rows = (0..height).flat_map(move |y| [[0, y, 0], [0, y, width - 1]]);
        rows.chain((0..width).flat_map(move |x| [[0, 0, x], [0, height - 1, x]]))
    };
    for mut slice in mask.axis_chunks_iter_mut(Axis(0), 1) {
        let empty = slice.mapv(|on| !on);
        let outside = flood(empty.view(), rim(), Neighbours::Faces);
        slice.zip_mut_with(&outside, |on, &outside| *on = !outside);
    }
}
