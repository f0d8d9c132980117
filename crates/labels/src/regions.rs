//! The single regions of a label map: what a list shows and what an edit takes hold of.
//!
//! Owns what a region is: voxels of one label that hang together as lesions do in `detect` (within
//! a slice by edges and corners, between slices straight up and down). A region is named by any
//! voxel in it, so that a list that is a moment old still points at the right one.

use std::cmp::Reverse;

use hepalert_voxels::image::components::{Components, InPlane, Run, components};
use hepalert_voxels::volume::LabelMap;
use ndarray::{Array3, s};
use serde::Serialize;

use crate::change::Stretch;
use crate::refused::Refused;

/// A list goes no further: nobody reads it, and a map of noise has millions.
pub const MAX_LISTED: usize = 2000;

/// One region, as a list shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Region {
    /// 1, 2, 3, .. in the order label, then volume descending, then box.
    pub number: u32,
    /// The label of its voxels.
    pub label: u8,
    /// A voxel in it, `[z, y, x]`: its name in operations.
    pub at: [usize; 3],
    /// First voxel of its box.
    pub lo: [usize; 3],
    /// First voxel outside its box.
    pub hi: [usize; 3],
    /// Number of voxels.
    pub voxels: usize,
    /// The same as a volume.
    pub volume_cm3: f64,
    /// Mean of its voxels' centres, `[x, y, z]` in millimetres RAS.
    pub centre_ras_mm: [f64; 3],
    /// Where it is looked at: the middle of the longest row in the axial slice with most of it.
    pub key: [usize; 3],
}

/// The regions of a map.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Regions {
    /// In order, at most [`MAX_LISTED`]: the largest of each label come first.
    pub regions: Vec<Region>,
    /// How many more there are.
    pub left_out: usize,
}

struct Outline {
    label: u8,
    at: [usize; 3],
    lo: [usize; 3],
    hi: [usize; 3],
    voxels: usize,
    sum: [f64; 3],
    key: [usize; 3],
}

impl Outline {
    fn of(run: &Run) -> Outline {
        let [z, y, x_lo, x_hi] = [run.z, run.y, run.x_lo, run.x_hi].map(|n| n as usize);
        let length = (x_hi - x_lo) as f64;
        let sum = [z as f64 * length, y as f64 * length, (x_lo + x_hi - 1) as f64 * 0.5 * length];
        let (lo, hi) = ([z, y, x_lo], [z + 1, y + 1, x_hi]);
        Outline { label: run.label, at: lo, lo, hi, voxels: run.voxels(), sum, key: lo }
    }

    fn add(&mut self, other: &Outline) {
        for axis in 0..3 {
            self.lo[axis] = self.lo[axis].min(other.lo[axis]);
            self.hi[axis] = self.hi[axis].max(other.hi[axis]);
            self.sum[axis] += other.sum[axis];
        }
        self.voxels += other.voxels;
    }
}

/// Every region of the labels from `wanted`.
pub fn regions(map: &LabelMap, wanted: std::ops::RangeInclusive<u8>) -> Regions {
    let parts = components(map.voxels().view(), wanted, InPlane::Eight);
    let mut outlines: Vec<Outline> = Vec::with_capacity(parts.count);
    for run in &parts.runs {
        let own = Outline::of(run);
        match outlines.get_mut(run.component as usize) {
            Some(outline) => outline.add(&own),
            // Components are numbered in the order of their first runs.
            None => outlines.push(own),
        }
    }
    let keys = keys(&parts);
    outlines.iter_mut().zip(keys).for_each(|(outline, key)| outline.key = key);
    outlines.sort_by_key(|part| (part.label, Reverse(part.voxels), part.lo, part.hi));
    let left_out = outlines.len().saturating_sub(MAX_LISTED);
    outlines.truncate(MAX_LISTED);
    let numbered = outlines.into_iter().zip(1..);
    Regions { regions: numbered.map(|(outline, n)| listed(map, outline, n)).collect(), left_out }
}

fn listed(map: &LabelMap, outline: Outline, number: u32) -> Region {
    let Outline { label, at, lo, hi, voxels, sum, key } = outline;
    Region {
        number,
        label,
        at,
        lo,
        hi,
        voxels,
        volume_cm3: voxels as f64 * map.grid().voxel_cm3(),
        centre_ras_mm: map.grid().ras_mm(sum.map(|axis| axis / voxels as f64)),
        key,
    }
}

/// Where each component is looked at: the lower slice of equals, the first of equal rows.
fn keys(parts: &Components) -> Vec<[usize; 3]> {
    /// A slice of a component: how much of it, its longest row and the middle of that.
    #[derive(Clone, Copy, Default)]
    struct Slice {
        z: u32,
        voxels: usize,
        longest: usize,
        middle: [usize; 3],
    }
    let mut best = vec![Slice::default(); parts.count];
    let mut now = vec![Slice { z: u32::MAX, ..Slice::default() }; parts.count];
    // Runs come slice by slice: one that begins ends the one before.
    for run in &parts.runs {
        let of = run.component as usize;
        if now[of].z != run.z {
            now[of] = Slice { z: run.z, ..Slice::default() };
        }
        let slice = &mut now[of];
        slice.voxels += run.voxels();
        if run.voxels() > slice.longest {
            slice.longest = run.voxels();
            slice.middle = [run.z, run.y, (run.x_lo + run.x_hi - 1) / 2].map(|n| n as usize);
        }
        // Its own slice grows in place; another one must be larger.
        if best[of].z == slice.z || slice.voxels > best[of].voxels {
            best[of] = *slice;
        }
    }
    best.into_iter().map(|slice| slice.middle).collect()
}

/// A region taken hold of.
#[derive(Debug, Clone, PartialEq)]
pub struct RegionVoxels {
    /// Its label.
    pub label: u8,
    /// First voxel of its box.
    pub lo: [usize; 3],
    /// First voxel outside its box.
    pub hi: [usize; 3],
    runs: Vec<Run>,
}

impl RegionVoxels {
    /// The region that holds this voxel.
    ///
    /// # Errors
    /// [`Refused::Outside`] or [`Refused::Background`].
    pub fn at(map: &LabelMap, at: [usize; 3]) -> Result<RegionVoxels, Refused> {
        let label = match label_at(map, at)? {
            0 => return Err(Refused::Background(at)),
            label => label,
        };
        let Components { runs, .. } =
            components(map.voxels().view(), label..=label, InPlane::Eight);
        let [z, y, x] = at.map(|n| n as u32);
        let holds = |run: &&Run| (run.z, run.y) == (z, y) && (run.x_lo..run.x_hi).contains(&x);
        let Some(component) = runs.iter().find(holds).map(|run| run.component) else {
            unreachable!("every voxel of the label is in a run")
        };
        let mut runs = runs;
        runs.retain(|run| run.component == component);
        let mut outline = Outline::of(&runs[0]);
        runs[1..].iter().for_each(|run| outline.add(&Outline::of(run)));
        Ok(RegionVoxels { label, lo: outline.lo, hi: outline.hi, runs })
    }

    /// The voxel by which a list names it.
    pub fn first(&self) -> [usize; 3] {
        let Run { z, y, x_lo, .. } = self.runs[0];
        [z, y, x_lo].map(|n| n as usize)
    }

    /// Number of voxels.
    pub fn voxels(&self) -> usize {
        self.runs.iter().map(Run::voxels).sum()
    }

    /// True where the region is, within the box `lo`, `hi`, which holds it.
    pub fn mask(&self, lo: [usize; 3], hi: [usize; 3]) -> Array3<bool> {
        let mut mask = Array3::from_elem([hi[0] - lo[0], hi[1] - lo[1], hi[2] - lo[2]], false);
        for run in &self.runs {
            let [z, y] = [run.z as usize - lo[0], run.y as usize - lo[1]];
            let columns = run.x_lo as usize - lo[2]..run.x_hi as usize - lo[2];
            mask.slice_mut(s![z, y, columns]).fill(true);
        }
        mask
    }

    /// All its voxels, to carry another label.
    pub fn stretches(&self, shape: [usize; 3], label: u8) -> Vec<Stretch> {
        let [_, height, width] = shape.map(|n| n as u32);
        let start = |run: &Run| (run.z * height + run.y) * width + run.x_lo;
        let whole = |run: &Run| Stretch { start: start(run), length: run.x_hi - run.x_lo, label };
        self.runs.iter().map(whole).collect()
    }

    /// The label that most of the voxels around carry, by faces: what the region lies in. The
    /// lowest of equals; 0 if nothing is around.
    pub fn surroundings(&self, map: &LabelMap) -> u8 {
        let voxels = map.voxels();
        let [depth, height, width] = map.grid().shape();
        let mut counts = [0_usize; 256];
        let mut look = |at: [usize; 3]| counts[usize::from(voxels[at])] += 1;
        for run in &self.runs {
            let [z, y, lo, hi] = [run.z, run.y, run.x_lo, run.x_hi].map(|n| n as usize);
            if lo > 0 {
                look([z, y, lo - 1]);
            }
            if hi < width {
                look([z, y, hi]);
            }
            for x in lo..hi {
                let beside = [
                    (z > 0).then(|| [z - 1, y, x]),
                    (z + 1 < depth).then(|| [z + 1, y, x]),
                    (y > 0).then(|| [z, y - 1, x]),
                    (y + 1 < height).then(|| [z, y + 1, x]),
                ];
                beside.into_iter().flatten().for_each(&mut look);
            }
        }
        // Neighbours by faces of the same label are the region itself.
        counts[usize::from(self.label)] = 0;
        let most =
            counts.iter().enumerate().max_by_key(|(label, count)| (**count, Reverse(*label)));
        most.filter(|(_, count)| **count > 0).map_or(0, |(label, _)| label as u8)
    }
}

/// The label of a voxel.
///
/// # Errors
/// [`Refused::Outside`].
pub fn label_at(map: &LabelMap, at: [usize; 3]) -> Result<u8, Refused> {
    let shape = map.grid().shape();
    map.voxels().get(at).copied().ok_or(Refused::Outside { at, shape })
}

/// Steps to the voxels that touch one, as regions hang together.
const STEPS: [[isize; 3]; 10] = [
    [-1, 0, 0],
    [0, -1, -1],
    [0, -1, 0],
    [0, -1, 1],
    [0, 0, -1],
    [0, 0, 1],
    [0, 1, -1],
    [0, 1, 0],
    [0, 1, 1],
    [1, 0, 0],
];

/// The voxels that touch one; some may be none.
pub fn neighbours(at: [usize; 3]) -> impl Iterator<Item = [usize; 3]> {
    STEPS
        .into_iter()
        .map(move |step| std::array::from_fn(|axis| at[axis].wrapping_add_signed(step[axis])))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hepalert_voxels::image::components::oracle::flood_fill;
    use hepalert_voxels::volume::{Grid, Volume};
    use proptest::prelude::*;

    use super::*;

    fn map(voxels: Array3<u8>) -> LabelMap {
        let grid = Grid::axial(voxels.dim().into(), [5.0, 2.0, 1.0], [0.0; 3]);
        Volume::new(Arc::new(grid), voxels)
    }

    #[test]
    fn a_list_names_measures_and_orders() {
        let mut voxels = Array3::zeros([2, 3, 8]);
        voxels.slice_mut(s![0, 0, 0..2]).fill(3);
        voxels.slice_mut(s![0..2, 1..3, 4..7]).fill(3);
        voxels[[1, 0, 0]] = 1;
        let found = regions(&map(voxels), 1..=255);
        let brief: Vec<_> =
            found.regions.iter().map(|r| (r.number, r.label, r.at, r.voxels)).collect();
        assert_eq!(brief, [(1, 1, [1, 0, 0], 1), (2, 3, [0, 1, 4], 12), (3, 3, [0, 0, 0], 2)]);
        assert_eq!(found.regions[1].centre_ras_mm, [5.0, 3.0, 2.5]);
        assert!((found.regions[1].volume_cm3 - 0.12).abs() < 1e-12);
        assert_eq!((found.regions[1].lo, found.regions[1].hi), ([0, 1, 4], [2, 3, 7]));
    }

    /// A crescent with a thin end: its middle is outside of it, and in another slice.
    #[test]
    fn a_region_is_looked_at_where_most_of_it_is() {
        let mut voxels = Array3::zeros([8, 5, 6]);
        voxels.slice_mut(s![.., 0, 0]).fill(2);
        voxels.slice_mut(s![1, 0..5, 0]).fill(2);
        voxels.slice_mut(s![1, 4, 0..5]).fill(2);
        voxels.slice_mut(s![6, 0..2, 0..2]).fill(2);
        let found = regions(&map(voxels), 1..=255);
        assert_eq!(found.regions.len(), 1);
        assert_eq!(found.regions[0].key, [1, 4, 2]);
    }

    #[test]
    fn what_a_region_lies_in_is_most_of_what_is_around() {
        let mut voxels = Array3::from_elem([3, 5, 5], 7_u8);
        voxels.slice_mut(s![.., .., 4..]).fill(10);
        voxels[[1, 2, 3]] = 2;
        assert_eq!(
            RegionVoxels::at(&map(voxels.clone()), [1, 2, 3]).unwrap().surroundings(&map(voxels)),
            7
        );
        let full = map(Array3::from_elem([1, 1, 2], 4));
        assert_eq!(RegionVoxels::at(&full, [0, 0, 0]).unwrap().surroundings(&full), 0);
    }

    #[test]
    fn nothing_is_held_outside_or_in_the_background() {
        let empty = map(Array3::zeros([1, 2, 3]));
        assert_eq!(RegionVoxels::at(&empty, [0, 0, 0]).unwrap_err().code(), "no_region");
        assert_eq!(RegionVoxels::at(&empty, [0, 2, 0]).unwrap_err().code(), "outside_image");
    }

    proptest! {
        #[test]
        fn a_held_region_is_that_of_flood_fill(labels in proptest::collection::vec(0..3u8, 72)) {
            let voxels = Array3::from_shape_vec([3, 4, 6], labels).unwrap();
            let truth = flood_fill(voxels.view(), 1..=255, InPlane::Eight);
            let map = map(voxels.clone());
            for (at, &own) in truth.indexed_iter().filter(|(_, own)| **own > 0) {
                let held = RegionVoxels::at(&map, [at.0, at.1, at.2]).unwrap();
                let mask = held.mask([0; 3], [3, 4, 6]);
                prop_assert!(mask.iter().zip(&truth).all(|(&on, &t)| on == (t == own)));
                prop_assert_eq!(held.voxels(), truth.iter().filter(|t| **t == own).count());
            }
            let listed = regions(&map, 1..=255);
            for region in &listed.regions {
                let held = RegionVoxels::at(&map, region.key).unwrap();
                prop_assert_eq!(held.first(), region.at);
                prop_assert_eq!((held.lo, held.hi, held.label), (region.lo, region.hi, region.label));
                let of = |z: usize| held.runs.iter().filter(|r| r.z as usize == z).map(Run::voxels).sum();
                let most: usize = (0..3).map(of).max().unwrap();
                prop_assert_eq!(of(region.key[0]), most);
            }
            prop_assert_eq!(listed.regions.len() as u32, truth.iter().copied().max().unwrap());
        }
    }
}
