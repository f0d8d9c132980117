//! One region made several: by a plane, or around seeds.
//!
//! Owns the cut. Parts that would still be one region, since they carry one label and touch, are
//! parted by a gap that is one voxel wide and becomes what the region lies in.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use hepalert_voxels::image::components::{Components, InPlane, Run, components};
use hepalert_voxels::image::distance::squared_distance_mm2;
use hepalert_voxels::volume::LabelMap;
use ndarray::{Array3, Zip, s};

use super::Bounds;
use crate::change::Stretch;
use crate::operation::Seed;
use crate::refused::Refused;
use crate::regions::{RegionVoxels, neighbours};

/// More parts are drawn, not cut.
const MAX_SEEDS: usize = 32;

/// Pieces of less than one in so many of a part's voxels are crumbs.
const CRUMBS: usize = 20;

pub(super) fn by_plane(
    map: &LabelMap,
    at: [usize; 3],
    (point, normal): ([f64; 3], [f64; 3]),
    label: u8,
) -> Result<Vec<Stretch>, Refused> {
    let length = normal.iter().map(|part| part * part).sum::<f64>().sqrt();
    let is_number = point.iter().all(|part| part.is_finite()) && length.is_finite();
    if !is_number || length < 1e-6 {
        let what = "the length of the normal";
        return Err(Refused::Number { what, least: 1e-6, most: f64::MAX });
    }
    let held = RegionVoxels::at(map, at)?;
    let mut parts = held.mask(held.lo, held.hi).mapv(u8::from);
    for ((z, y, x), part) in parts.indexed_iter_mut().filter(|(_, part)| **part > 0) {
        let index = [z + held.lo[0], y + held.lo[1], x + held.lo[2]].map(|n| n as f64);
        let place = map.grid().ras_mm(index);
        let side: f64 = (0..3).map(|axis| (place[axis] - point[axis]) * normal[axis]).sum();
        *part = if side > 0.0 { 2 } else { 1 };
    }
    Ok(cut(map, &held, parts, &[held.label, label]))
}

pub(super) fn by_seeds(
    map: &LabelMap,
    at: [usize; 3],
    seeds: &[Seed],
) -> Result<Vec<Stretch>, Refused> {
    let found = seeds.len();
    if found < 2 {
        return Err(Refused::TooFew { what: "seeds", found, least: 2 });
    }
    if found > MAX_SEEDS {
        return Err(Refused::TooMany { what: "seeds", found, most: MAX_SEEDS });
    }
    let held = RegionVoxels::at(map, at)?;
    let mask = held.mask(held.lo, held.hi);
    let mut places = Vec::with_capacity(found);
    for seed in seeds {
        let place: [usize; 3] =
            std::array::from_fn(|axis| seed.at[axis].wrapping_sub(held.lo[axis]));
        if mask.get(place) != Some(&true) {
            return Err(Refused::NotInRegion(seed.at));
        }
        places.push(place);
    }
    let parts = watershed(&mask, &places, map.grid().spacing_mm());
    let labels: Vec<u8> = seeds.iter().map(|seed| seed.label).collect();
    Ok(cut(map, &held, parts, &labels))
}

/// A voxel to be flooded from: the deepest first, of equals the one that was reached first.
#[derive(PartialEq)]
struct Open {
    depth: f32,
    order: usize,
    at: [usize; 3],
}

impl Eq for Open {}

impl Ord for Open {
    fn cmp(&self, other: &Open) -> Ordering {
        self.depth.total_cmp(&other.depth).then(other.order.cmp(&self.order))
    }
}

impl PartialOrd for Open {
    fn partial_cmp(&self, other: &Open) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Which seed each voxel of the mask belongs to, from 1; 0 outside. The mask is flooded from the
/// seeds, deep voxels before shallow ones, so that floods meet where it is narrow (Meyer 1994, of
/// the distance to the nearest voxel outside).
fn watershed(mask: &Array3<bool>, seeds: &[[usize; 3]], spacing_mm: [f64; 3]) -> Array3<u8> {
    let depth = depth_mm2(mask, spacing_mm);
    let mut parts = Array3::zeros(mask.raw_dim());
    let mut open = BinaryHeap::new();
    let mut order = 0;
    for (part, &at) in (1..).zip(seeds) {
        if parts[at] == 0 {
            parts[at] = part;
            open.push(Open { depth: depth[at], order, at });
            order += 1;
        }
    }
    while let Some(Open { at, .. }) = open.pop() {
        for next in neighbours(at).filter(|next| mask.get(*next) == Some(&true)) {
            if parts[next] == 0 {
                parts[next] = parts[at];
                open.push(Open { depth: depth[next], order, at: next });
                order += 1;
            }
        }
    }
    parts
}

/// Squared distance to the nearest voxel outside the mask; beyond its box all is outside.
fn depth_mm2(mask: &Array3<bool>, spacing_mm: [f64; 3]) -> Array3<f32> {
    let (d, h, w) = mask.dim();
    let mut outside = Array3::from_elem((d + 2, h + 2, w + 2), true);
    let inner = s![1..=d, 1..=h, 1..=w];
    outside.slice_mut(inner).zip_mut_with(mask, |outside, &inside| *outside = !inside);
    squared_distance_mm2(outside.view(), spacing_mm).slice(inner).to_owned()
}

/// Crumbs that the gap leaves beside a part's body become gap too: a cut makes parts, and no dust.
fn widen(gap: &mut Array3<bool>, parts: &Array3<u8>, part: u8) {
    let left = Zip::from(parts).and(&*gap).map_collect(|&own, &gap| u8::from(own == part && !gap));
    let Components { runs, count } = components(left.view(), 1..=1, InPlane::Eight);
    let (mut sizes, mut is_cut) = (vec![0; count], vec![false; count]);
    let places = |run: &Run| {
        let [z, y, lo, hi] = [run.z, run.y, run.x_lo, run.x_hi].map(|n| n as usize);
        (lo..hi).map(move |x| [z, y, x])
    };
    for run in &runs {
        let piece = run.component as usize;
        sizes[piece] += run.voxels();
        is_cut[piece] |= places(run).flat_map(neighbours).any(|next| gap.get(next) == Some(&true));
    }
    let all: usize = sizes.iter().sum();
    for run in &runs {
        let piece = run.component as usize;
        if is_cut[piece] && sizes[piece] * CRUMBS < all {
            places(run).for_each(|at| gap[at] = true);
        }
    }
}

/// Gives every part its label, and opens gaps between parts of one label.
fn cut(map: &LabelMap, held: &RegionVoxels, parts: Array3<u8>, labels: &[u8]) -> Vec<Stretch> {
    let shape = map.grid().shape();
    let bounds = Bounds { lo: held.lo, hi: held.hi };
    let label_of = |part: u8| labels[usize::from(part) - 1];
    let is_gap = |at: [usize; 3], part: u8| {
        neighbours(at)
            .filter_map(|next| parts.get(next).copied())
            .any(|other| (1..part).contains(&other) && label_of(other) == label_of(part))
    };
    let mut gap = Array3::from_shape_fn(parts.raw_dim(), |(z, y, x)| {
        let part = parts[[z, y, x]];
        part > 1 && is_gap([z, y, x], part)
    });
    for part in 2..=labels.len() as u8 {
        widen(&mut gap, &parts, part);
    }
    let mut made = Vec::new();
    for (part, &label) in (1..=labels.len() as u8).zip(labels) {
        let mask = Zip::from(&parts).and(&gap).map_collect(|&own, &gap| own == part && !gap);
        made.extend(bounds.stretches(&mask, shape, label));
    }
    made.extend(bounds.stretches(&gap, shape, held.surroundings(map)));
    made
}
