//! Connected components of a label map, slice by slice, over runs of equal voxels.
//!
//! Owns the sweep that finds runs at memory speed and the union-find that joins them.
//! Refuses to give components a meaning: which labels are lesions is the caller's.
//!
//! Two voxels of one label belong together if they touch within a slice, or lie straight
//! above one another in neighbouring slices: for five-millimetre slices components join by
//! overlap, not by corners. With [`InPlane::Eight`] that is 3-D labelling with the
//! 10-neighbour element.

use std::ops::RangeInclusive;

use ndarray::ArrayView3;
use rayon::prelude::*;

/// Which neighbours within a slice touch a voxel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum InPlane {
    /// Edges only.
    Four,
    /// Edges and corners.
    #[default]
    Eight,
}

/// A stretch of voxels of one label along x, as long as it can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Number of the slice.
    pub z: u32,
    /// Number of the row.
    pub y: u32,
    /// First column inside.
    pub x_lo: u32,
    /// First column outside.
    pub x_hi: u32,
    /// The label of every voxel of the run.
    pub label: u8,
    /// The component it belongs to, 0 to [`Components::count`].
    pub component: u32,
}

impl Run {
    /// Number of voxels.
    pub fn voxels(&self) -> usize {
        (self.x_hi - self.x_lo) as usize
    }
}

/// A label map taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Components {
    /// Every run of a wanted label, ordered by z, y, x.
    pub runs: Vec<Run>,
    /// Number of components. They are numbered in the order of their first runs.
    pub count: usize,
}

/// Finds the components of each label in `wanted`; other voxels are background.
///
/// `labels` is `[z, y, x]`; C order is fastest, any other is copied first. The result is the
/// same for any number of threads.
///
/// # Panics
/// If there are more than 2^32 - 1 voxels or an axis is longer: the format readers bound both.
pub fn components(
    labels: ArrayView3<u8>,
    wanted: RangeInclusive<u8>,
    in_plane: InPlane,
) -> Components {
    let longest = labels.shape().iter().copied().max().unwrap_or(0);
    assert!(u32::try_from(labels.len().max(longest)).is_ok(), "runs count in 32 bits");
    if labels.is_empty() || wanted.is_empty() {
        return Components { runs: Vec::new(), count: 0 };
    }
    let (mut runs, starts) = runs_and_starts(labels, &wanted);
    let mut parents: Vec<u32> = (0..runs.len() as u32).collect();
    let reach = u32::from(in_plane == InPlane::Eight);
    for z in 0..starts.len() - 1 {
        let here = starts[z]..starts[z + 1];
        join(&runs, here.clone(), here.clone(), 1, reach, &mut parents);
        if z > 0 {
            join(&runs, starts[z - 1]..starts[z], here, 0, 0, &mut parents);
        }
    }
    let count = number(&mut runs, &mut parents);
    Components { runs, count }
}

/// The components of the voxels that are 1, joined by faces, edges and corners.
///
/// # Panics
/// As [`components`].
pub fn whole_components(mask: ArrayView3<u8>) -> Components {
    let longest = mask.shape().iter().copied().max().unwrap_or(0);
    assert!(u32::try_from(mask.len().max(longest)).is_ok(), "runs count in 32 bits");
    if mask.is_empty() {
        return Components { runs: Vec::new(), count: 0 };
    }
    let (mut runs, starts) = runs_and_starts(mask, &(1..=1));
    let mut parents: Vec<u32> = (0..runs.len() as u32).collect();
    for z in 0..starts.len() - 1 {
        let here = starts[z]..starts[z + 1];
        join(&runs, here.clone(), here.clone(), 1, 1, &mut parents);
        if z > 0 {
            let over = starts[z - 1]..starts[z];
            join(&runs, over.clone(), here.clone(), 0, 1, &mut parents);
            join(&runs, over.clone(), here.clone(), 1, 1, &mut parents);
            join(&runs, here, over, 1, 1, &mut parents);
        }
    }
    let count = number(&mut runs, &mut parents);
    Components { runs, count }
}

/// All runs, and where those of every slice start; one more start than slices.
fn runs_and_starts(labels: ArrayView3<u8>, wanted: &RangeInclusive<u8>) -> (Vec<Run>, Vec<usize>) {
    let slices = runs_by_slice(labels, wanted);
    let starts = slices
        .iter()
        .scan(0, |end, slice| Some(std::mem::replace(end, *end + slice.len())))
        .chain([slices.iter().map(Vec::len).sum()])
        .collect();
    (slices.concat(), starts)
}

/// Runs of every slice, in parallel: slices share nothing.
fn runs_by_slice(labels: ArrayView3<u8>, wanted: &RangeInclusive<u8>) -> Vec<Vec<Run>> {
    let labels = labels.as_standard_layout();
    let [_, height, width]: [usize; 3] = labels.dim().into();
    let voxels = labels.as_slice().unwrap_or_default();
    voxels
        .par_chunks(height * width)
        .enumerate()
        .map(|(z, slice)| slice_runs(slice, width, z as u32, wanted))
        .collect()
}

fn slice_runs(slice: &[u8], width: usize, z: u32, wanted: &RangeInclusive<u8>) -> Vec<Run> {
    let mut runs = Vec::new();
    let mut from = 0;
    while let Some(start) = next_wanted(slice, from, wanted) {
        let y = start / width;
        let row_start = y * width;
        let label = slice[start];
        let row_rest = &slice[start..row_start + width];
        let length = row_rest.iter().position(|&v| v != label).unwrap_or(row_rest.len());
        from = start + length;
        runs.push(Run {
            z,
            y: y as u32,
            x_lo: (start - row_start) as u32,
            x_hi: (from - row_start) as u32,
            label,
            component: 0,
        });
    }
    runs
}

/// One cache line: the compiler turns the test of a whole block into a few vector compares,
/// and background, nearly all of a lesion map, goes by at the speed of memory.
const BLOCK: usize = 64;

fn next_wanted(slice: &[u8], from: usize, wanted: &RangeInclusive<u8>) -> Option<usize> {
    let (lo, span) = (*wanted.start(), wanted.end() - wanted.start());
    let is_wanted = |voxel: u8| voxel.wrapping_sub(lo) <= span;
    let mut at = from;
    while let Some(block) = slice.get(at..at + BLOCK) {
        if block.iter().fold(0, |any, &voxel| any | u8::from(is_wanted(voxel))) != 0 {
            break;
        }
        at += BLOCK;
    }
    slice[at..].iter().position(|&voxel| is_wanted(voxel)).map(|offset| at + offset)
}

/// Unites runs of one label in `above` and `below` that meet: row y of `above` lies over row
/// y + `row_step` of `below`, and columns may miss one another by `reach`.
fn join(
    runs: &[Run],
    above: std::ops::Range<usize>,
    below: std::ops::Range<usize>,
    row_step: u32,
    reach: u32,
    parents: &mut [u32],
) {
    let mut first = above.start;
    for lower in below {
        let run = runs[lower];
        let passed = |upper: &Run| {
            let row = upper.y + row_step;
            row < run.y || (row == run.y && upper.x_hi + reach <= run.x_lo)
        };
        while first < above.end && passed(&runs[first]) {
            first += 1;
        }
        // Runs of one row are disjoint, so all but the last of these are passed for good:
        // the sweep stays linear.
        for (over, upper) in runs[first..above.end].iter().zip(first..) {
            if over.y + row_step != run.y || over.x_lo >= run.x_hi + reach {
                break;
            }
            if over.label == run.label {
                unite(parents, upper as u32, lower as u32);
            }
        }
    }
}

/// The root of a tree is its lowest index, so that roots come in raster order.
fn unite(parents: &mut [u32], a: u32, b: u32) {
    let (a, b) = (root(parents, a), root(parents, b));
    parents[a.max(b) as usize] = a.min(b);
}

fn root(parents: &mut [u32], mut at: u32) -> u32 {
    while parents[at as usize] != at {
        let above = parents[parents[at as usize] as usize];
        parents[at as usize] = above;
        at = above;
    }
    at
}

/// Numbers components in the order of their first runs and returns how many there are.
fn number(runs: &mut [Run], parents: &mut [u32]) -> usize {
    let mut count = 0;
    for at in 0..runs.len() {
        let root = root(parents, at as u32) as usize;
        runs[at].component = if root == at {
            count += 1;
            count - 1
        } else {
            runs[root].component
        };
    }
    count as usize
}

#[cfg(any(test, debug_assertions))]
pub mod oracle {
    //! The slow definition of components, for tests.

    use super::*;
    use ndarray::Array3;

    /// The definition: flood fill with the 10- (or 6-) neighbour element. Component numbers
    /// from 1 in raster order of first voxels, 0 elsewhere.
    pub fn flood_fill(
        labels: ArrayView3<u8>,
        wanted: RangeInclusive<u8>,
        in_plane: InPlane,
    ) -> Array3<u32> {
        let mut found = Array3::zeros(labels.raw_dim());
        let mut count = 0;
        for (start, &label) in labels.indexed_iter() {
            if !wanted.contains(&label) || found[start] != 0 {
                continue;
            }
            count += 1;
            found[start] = count;
            let mut open = vec![start];
            while let Some((z, y, x)) = open.pop() {
                for (dz, dy, dx) in element(in_plane) {
                    let at = (
                        z.wrapping_add_signed(dz),
                        y.wrapping_add_signed(dy),
                        x.wrapping_add_signed(dx),
                    );
                    if labels.get(at) == Some(&label) && found[at] == 0 {
                        found[at] = count;
                        open.push(at);
                    }
                }
            }
        }
        found
    }

    fn element(in_plane: InPlane) -> Vec<(isize, isize, isize)> {
        let mut steps = vec![(-1, 0, 0), (1, 0, 0)];
        for dy in -1..=1isize {
            for dx in -1..=1isize {
                let corner = dy != 0 && dx != 0;
                if (dy, dx) != (0, 0) && !(corner && in_plane == InPlane::Four) {
                    steps.push((0, dy, dx));
                }
            }
        }
        steps
    }

    /// Component numbers from 1, 0 elsewhere.
    pub fn painted(found: &Components, shape: [usize; 3]) -> Array3<u32> {
        let mut map = Array3::zeros(shape);
        for run in &found.runs {
            for x in run.x_lo..run.x_hi {
                map[[run.z as usize, run.y as usize, x as usize]] = run.component + 1;
            }
        }
        map
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::fill::{Neighbours, flood};
    use ndarray::Array3;
    use proptest::prelude::*;

    fn small_map() -> impl Strategy<Value = Array3<u8>> {
        ([1..4usize, 1..8usize, 1..150usize], 1..6u8).prop_flat_map(|(shape, most)| {
            proptest::collection::vec(0..=most, shape.iter().product::<usize>())
                .prop_map(move |voxels| Array3::from_shape_vec(shape, voxels).unwrap())
        })
    }

    proptest! {
        #[test]
        fn runs_find_what_flood_fill_finds(map in small_map(), four in any::<bool>(), hi in 1..5u8) {
            let in_plane = if four { InPlane::Four } else { InPlane::Eight };
            let found = components(map.view(), 1..=hi, in_plane);
            let shape = map.dim().into();
            prop_assert_eq!(
                oracle::painted(&found, shape),
                oracle::flood_fill(map.view(), 1..=hi, in_plane)
            );
        }

        #[test]
        fn whole_components_are_those_of_flooding_all_neighbours(map in small_map()) {
            let mask = map.mapv(|label| u8::from(label % 3 == 1));
            let painted = oracle::painted(&whole_components(mask.view()), map.dim().into());
            let allowed = mask.mapv(|on| on == 1);
            for (seed, &own) in painted.indexed_iter().filter(|(_, own)| **own != 0) {
                let from = [[seed.0, seed.1, seed.2]];
                let reached = flood(allowed.view(), from, Neighbours::All);
                prop_assert!(reached.iter().zip(&painted).all(|(&on, &p)| on == (p == own)));
            }
        }

        #[test]
        fn any_memory_order_gives_the_same(map in small_map()) {
            let turned = map.view().reversed_axes().as_standard_layout().into_owned();
            let back = turned.view().reversed_axes();
            prop_assert!(
                components(back, 1..=6, InPlane::Eight)
                    == components(map.view(), 1..=6, InPlane::Eight)
            );
        }
    }

    #[test]
    fn crossing_diagonals_of_two_labels_both_hold() {
        let map = ndarray::arr3(&[[[2u8, 2, 2, 1, 1], [1, 1, 1, 2, 2]]]);
        assert_eq!(components(map.view(), 1..=2, InPlane::Eight).count, 2);
        assert_eq!(components(map.view(), 1..=2, InPlane::Four).count, 4);
    }

    #[test]
    fn nothing_in_nothing_out() {
        for shape in [[0, 0, 0], [0, 5, 5], [3, 0, 4], [2, 2, 0], [2, 3, 4]] {
            let found = components(Array3::zeros(shape).view(), 1..=255, InPlane::Eight);
            assert_eq!((found.runs.len(), found.count), (0, 0));
        }
    }

    #[test]
    fn the_number_of_threads_changes_nothing() {
        let map =
            Array3::from_shape_fn([20, 30, 40], |(z, y, x)| ((z * 7 + y * 5 + x * x) % 5) as u8);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let alone = pool.install(|| components(map.view(), 1..=4, InPlane::Eight));
        assert_eq!(alone, components(map.view(), 1..=4, InPlane::Eight));
    }
}
