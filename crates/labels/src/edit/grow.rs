//! A region grown over what looks like it.

use hepalert_voxels::image::distance::squared_distance_mm2;
use hepalert_voxels::image::fill::{Neighbours, flood};
use hepalert_voxels::volume::{LabelMap, Volume};
use ndarray::{Array3, Zip, s};

use super::Bounds;
use crate::change::Stretch;
use crate::refused::Refused;
use crate::regions::{RegionVoxels, label_at};

/// No lesion grows further from where it was seen.
const MAX_REACH_MM: f64 = 150.0;
/// Beyond what scanners write.
const HU: [f64; 2] = [-32768.0, 32767.0];

/// What is to grow, and how.
pub(super) struct Wish<'a> {
    pub(super) at: [usize; 3],
    pub(super) label: u8,
    pub(super) hu: [f64; 2],
    pub(super) reach_mm: f64,
    pub(super) inside: &'a [u8],
}

pub(super) fn grow(
    map: &LabelMap,
    wish: &Wish,
    image: Option<&Volume<f32>>,
) -> Result<Vec<Stretch>, Refused> {
    let image = image.filter(|image| image.grid().matches(map.grid())).ok_or(Refused::NoImage)?;
    let number = |what, least, most| Refused::Number { what, least, most };
    if !wish.hu.iter().all(|hu| (HU[0]..=HU[1]).contains(hu)) || wish.hu[0] > wish.hu[1] {
        return Err(number("the Hounsfield units, the lower one first,", HU[0], HU[1]));
    }
    if !(0.0..=MAX_REACH_MM).contains(&wish.reach_mm) {
        return Err(number("the reach in mm", 0.0, MAX_REACH_MM));
    }
    let shape = map.grid().shape();
    let spacing_mm = map.grid().spacing_mm();
    let margin = spacing_mm.map(|step| (wish.reach_mm / step).floor() as usize);
    let (bounds, start) = beginning(map, wish, margin)?;
    let Bounds { lo, hi } = bounds;
    let values = image.voxels().slice(s![lo[0]..hi[0], lo[1]..hi[1], lo[2]..hi[2]]);
    let reach_mm2 = (wish.reach_mm * wish.reach_mm) as f32;
    let far = squared_distance_mm2(start.view(), spacing_mm);
    let is_like = |value: f32| (wish.hu[0]..=wish.hu[1]).contains(&f64::from(value));
    let mut allowed =
        Zip::from(&far).and(values).and(bounds.of(map)).map_collect(|&far, &value, &label| {
            far <= reach_mm2 && is_like(value) && wish.inside.contains(&label)
        });
    allowed.zip_mut_with(&start, |allowed, &start| *allowed |= start);
    let seeds = start.indexed_iter().filter(|(_, on)| **on).map(|((z, y, x), _)| [z, y, x]);
    let grown = flood(allowed.view(), seeds, Neighbours::Faces);
    Ok(bounds.stretches(&grown, shape, wish.label))
}

/// The region of the wanted label at the voxel, or else that voxel alone, if it may be taken.
fn beginning(
    map: &LabelMap,
    wish: &Wish,
    margin: [usize; 3],
) -> Result<(Bounds, Array3<bool>), Refused> {
    let shape = map.grid().shape();
    let label = label_at(map, wish.at)?;
    if label == wish.label && label != 0 {
        let held = RegionVoxels::at(map, wish.at)?;
        let bounds = Bounds::around(&held, margin, shape);
        return Ok((bounds, held.mask(bounds.lo, bounds.hi)));
    }
    if !wish.inside.contains(&label) {
        return Err(Refused::NotInRegion(wish.at));
    }
    let bounds = Bounds {
        lo: std::array::from_fn(|axis| wish.at[axis].saturating_sub(margin[axis])),
        hi: std::array::from_fn(|axis| shape[axis].min(wish.at[axis] + margin[axis] + 1)),
    };
    let size: [usize; 3] = std::array::from_fn(|axis| bounds.hi[axis] - bounds.lo[axis]);
    let mut start = Array3::from_elem(size, false);
    let place: [usize; 3] = std::array::from_fn(|axis| wish.at[axis] - bounds.lo[axis]);
    start[place] = true;
    Ok((bounds, start))
}
