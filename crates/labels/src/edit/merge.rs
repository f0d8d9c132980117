//! Two regions made one.
//!
//! Owns the bridge: the voxels that lie straight between the two, as wide as their nearest places
//! allow. Refuses to bridge far.

use hepalert_voxels::image::distance::squared_distance_mm2;
use hepalert_voxels::volume::LabelMap;
use ndarray::{Array3, Zip};

use super::Bounds;
use crate::change::Stretch;
use crate::refused::Refused;
use crate::regions::{RegionVoxels, neighbours};

/// Between regions further apart lies something else.
const MAX_GAP_MM: f64 = 30.0;

pub(super) fn merge(
    map: &LabelMap,
    at: [usize; 3],
    with: [usize; 3],
) -> Result<Vec<Stretch>, Refused> {
    let shape = map.grid().shape();
    let (kept, taken) = (RegionVoxels::at(map, at)?, RegionVoxels::at(map, with)?);
    if kept == taken {
        return Ok(Vec::new());
    }
    let mut made = taken.stretches(shape, kept.label);
    let bounds = Bounds::around(&kept, [1; 3], shape).hull(Bounds::around(&taken, [1; 3], shape));
    let [one, other] = [&kept, &taken].map(|held| held.mask(bounds.lo, bounds.hi));
    if do_touch(&one, &other) {
        return Ok(made);
    }
    let bridge = bridge(&one, &other, map.grid().spacing_mm())?;
    made.extend(bounds.stretches(&bridge, shape, kept.label));
    Ok(made)
}

/// As regions hang together: within a slice by corners too, between slices straight.
fn do_touch(one: &Array3<bool>, other: &Array3<bool>) -> bool {
    one.indexed_iter()
        .filter(|(_, on)| **on)
        .any(|((z, y, x), _)| neighbours([z, y, x]).any(|at| other.get(at) == Some(&true)))
}

/// A path by faces between the nearest voxels of the two, and what is hardly further from both
/// together than the gap is wide.
fn bridge(
    one: &Array3<bool>,
    other: &Array3<bool>,
    spacing_mm: [f64; 3],
) -> Result<Array3<bool>, Refused> {
    let near = squared_distance_mm2(one.view(), spacing_mm);
    let far = squared_distance_mm2(other.view(), spacing_mm);
    let (from, gap_mm2) = nearest(one, &far);
    let (to, _) = nearest(
        other,
        &Array3::from_shape_fn(one.raw_dim(), |(z, y, x)| squared_mm2([z, y, x], from, spacing_mm)),
    );
    let gap_mm = f64::from(gap_mm2).sqrt();
    if gap_mm > MAX_GAP_MM {
        return Err(Refused::Apart { gap_mm, most_mm: MAX_GAP_MM });
    }
    let width_mm = spacing_mm.iter().copied().fold(f64::INFINITY, f64::min);
    let most_mm = (gap_mm + width_mm) as f32;
    // Behind either region lies nothing that joins them.
    let lies_between = |near: f32, far: f32| {
        near.sqrt() + far.sqrt() <= most_mm && near.sqrt().max(far.sqrt()) <= gap_mm as f32
    };
    let mut made = Zip::from(&near).and(&far).map_collect(|&near, &far| lies_between(near, far));
    path(from, to).for_each(|at| made[at] = true);
    Ok(made)
}

/// The voxel of the mask with the smallest value, the first of equals.
fn nearest(mask: &Array3<bool>, values: &Array3<f32>) -> ([usize; 3], f32) {
    let of_mask = mask.indexed_iter().filter(|(_, on)| **on);
    let valued = of_mask.map(|((z, y, x), _)| ([z, y, x], values[[z, y, x]]));
    let least = valued.reduce(|best, next| if next.1 < best.1 { next } else { best });
    least.unwrap_or(([0; 3], f32::INFINITY))
}

fn squared_mm2(a: [usize; 3], b: [usize; 3], spacing_mm: [f64; 3]) -> f32 {
    let along = |axis: usize| (a[axis] as f64 - b[axis] as f64) * spacing_mm[axis];
    (0..3).map(|axis| along(axis) * along(axis)).sum::<f64>() as f32
}

/// Steps by faces, always along the axis that is furthest behind.
fn path(from: [usize; 3], to: [usize; 3]) -> impl Iterator<Item = [usize; 3]> {
    let whole: [usize; 3] = std::array::from_fn(|axis| from[axis].abs_diff(to[axis]));
    std::iter::successors(Some(from), move |at| {
        let left = |axis: usize| at[axis].abs_diff(to[axis]);
        let behind = |axis: usize| left(axis) as f64 / whole[axis].max(1) as f64;
        let axis = (0..3)
            .filter(|axis| left(*axis) > 0)
            .max_by(|a, b| behind(*a).total_cmp(&behind(*b)))?;
        let mut next = *at;
        next[axis] = if to[axis] > at[axis] { at[axis] + 1 } else { at[axis] - 1 };
        Some(next)
    })
}
