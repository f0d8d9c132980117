//! Flood filling of masks: what can be reached, and what is enclosed.
//!
//! Owns [`flood`] and [`fill_holes`]. Knows nothing of what a mask stands for.

use ndarray::{Array3, ArrayView3, s};

const CLOSED: u8 = 0;
const OPEN: u8 = 1;
const REACHED: u8 = 2;

/// Which voxels touch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Neighbours {
    /// The 6 that share a face.
    Faces,
    /// The 26 that share a face, an edge or a corner.
    All,
}

impl Neighbours {
    fn steps(self) -> Vec<[isize; 3]> {
        let near = |n: isize| n - 1;
        let reach = match self {
            Neighbours::Faces => 1,
            Neighbours::All => 3,
        };
        (0..27)
            .map(|n| [near(n / 9), near(n / 3 % 3), near(n % 3)])
            .filter(|step| (1..=reach).contains(&step.iter().map(|d| d.abs()).sum::<isize>()))
            .collect()
    }
}

/// The allowed voxels that can be reached from the seeds, seeds included, by steps between
/// allowed neighbours. Seeds that are not allowed or lie outside are ignored.
pub fn flood(
    allowed: ArrayView3<'_, bool>,
    seeds: impl IntoIterator<Item = [usize; 3]>,
    neighbours: Neighbours,
) -> Array3<bool> {
    let (d, h, w) = allowed.dim();
    // A border of one voxel that is never allowed: steps need no bounds.
    let mut state = Array3::from_elem((d + 2, h + 2, w + 2), CLOSED);
    state
        .slice_mut(s![1..d + 1, 1..h + 1, 1..w + 1])
        .zip_mut_with(&allowed, |state, &on| *state = if on { OPEN } else { CLOSED });
    let strides = [((h + 2) * (w + 2)) as isize, (w + 2) as isize, 1];
    let steps: Vec<isize> = neighbours
        .steps()
        .iter()
        .map(|step| (0..3).map(|axis| step[axis] * strides[axis]).sum())
        .collect();
    let Some(cells) = state.as_slice_mut() else { unreachable!("new arrays are in C order") };
    let mut stack = Vec::new();
    for seed in seeds.into_iter().filter(|&[z, y, x]| z < d && y < h && x < w) {
        let at = ((seed[0] + 1) * (h + 2) + seed[1] + 1) * (w + 2) + seed[2] + 1;
        if cells[at] == OPEN {
            cells[at] = REACHED;
            stack.push(at);
        }
        while let Some(at) = stack.pop() {
            for step in &steps {
                let next = at.wrapping_add_signed(*step);
                if cells[next] == OPEN {
                    cells[next] = REACHED;
                    stack.push(next);
                }
            }
        }
    }
    state.slice(s![1..d + 1, 1..h + 1, 1..w + 1]).mapv(|state| state == REACHED)
}

/// The smallest box `[lo, hi)` that holds every true voxel, `None` if there is none.
pub fn bounding_box(mask: ArrayView3<'_, bool>) -> Option<([usize; 3], [usize; 3])> {
    let mut lo = [usize::MAX; 3];
    let mut hi = [0; 3];
    for (z, plane) in mask.outer_iter().enumerate() {
        for (y, row) in plane.outer_iter().enumerate() {
            let Some(first) = row.iter().position(|&on| on) else { continue };
            let last = row.iter().rposition(|&on| on).unwrap_or(first);
            lo = [lo[0].min(z), lo[1].min(y), lo[2].min(first)];
            hi = [z + 1, hi[1].max(y + 1), hi[2].max(last + 1)];
        }
    }
    (hi[0] > 0).then_some((lo, hi))
}

/// Sets every hole: background that cannot reach the edge of the array by faces. Equal to
/// `scipy.ndimage.binary_fill_holes` in three dimensions.
pub fn fill_holes(mask: &mut Array3<bool>) {
    let Some((lo, hi)) = bounding_box(mask.view()) else { return };
    // Background on a face of the box reaches the edge of the array outside the box.
    let mut inner = mask.slice_mut(s![lo[0]..hi[0], lo[1]..hi[1], lo[2]..hi[2]]);
    let empty = inner.mapv(|on| !on);
    let last = [hi[0] - lo[0] - 1, hi[1] - lo[1] - 1, hi[2] - lo[2] - 1];
    let faces =
        (0..=last[0]).flat_map(|z| (0..=last[1]).map(move |y| (z, y))).flat_map(|(z, y)| {
            let whole = z == 0 || z == last[0] || y == 0 || y == last[1];
            let step = if whole { 1 } else { last[2].max(1) };
            (0..=last[2]).step_by(step).map(move |x| [z, y, x])
        });
    let outside = flood(empty.view(), faces, Neighbours::Faces);
    inner.zip_mut_with(&outside, |on, &out| *on = !out);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mask(slices: &[&[&str]]) -> Array3<bool> {
        let shape = (slices.len(), slices[0].len(), slices[0][0].len());
        Array3::from_shape_fn(shape, |(z, y, x)| slices[z][y].as_bytes()[x] == b'#')
    }

    #[test]
    fn a_cavity_is_filled_and_a_tunnel_is_not() {
        let wall = ["#####", "#####", "#####"];
        let hole = ["#####", "#.#.#", "#####"];
        let open = ["#####", "#.###", "#####"];
        let mut both = mask(&[&wall, &hole, &open]);
        fill_holes(&mut both);
        assert_eq!(both, mask(&[&wall, &["#####", "#.###", "#####"], &open]));
    }

    #[test]
    fn corners_join_only_among_all_neighbours() {
        let picture = mask(&[&["#..", ".#.", "..."], &["...", "...", "..#"]]);
        let seeds = || [[0, 0, 0]];
        let count = |n| flood(picture.view(), seeds(), n).iter().filter(|&&on| on).count();
        assert_eq!((count(Neighbours::Faces), count(Neighbours::All)), (1, 3));
    }

    #[test]
    fn an_empty_mask_and_seeds_outside_do_nothing() {
        let mut none = Array3::from_elem((2, 2, 2), false);
        fill_holes(&mut none);
        assert!(none.iter().all(|&on| !on));
        assert_eq!(bounding_box(none.view()), None);
        let reached = flood(none.view(), [[0, 0, 0], [9, 9, 9]], Neighbours::All);
        assert!(reached.iter().all(|&on| !on));
    }

    /// The definition: grow the outside by one face step until nothing changes.
    fn fill_holes_slowly(mask: &Array3<bool>) -> Array3<bool> {
        let (d, h, w) = mask.dim();
        let mut out = Array3::from_elem((d + 2, h + 2, w + 2), false);
        out[[0, 0, 0]] = true;
        loop {
            let before = out.clone();
            for ((z, y, x), on) in out.indexed_iter_mut() {
                let solid = (1..=d).contains(&z)
                    && (1..=h).contains(&y)
                    && (1..=w).contains(&x)
                    && mask[[z - 1, y - 1, x - 1]];
                let near = Neighbours::Faces.steps().into_iter().any(|[dz, dy, dx]| {
                    let at = [
                        z.wrapping_add_signed(dz),
                        y.wrapping_add_signed(dy),
                        x.wrapping_add_signed(dx),
                    ];
                    before.get(at) == Some(&true)
                });
                *on = *on || (!solid && near);
            }
            if out == before {
                return Array3::from_shape_fn((d, h, w), |(z, y, x)| !out[[z + 1, y + 1, x + 1]]);
            }
        }
    }

    proptest! {
        #[test]
        fn filling_equals_its_definition(bits in proptest::collection::vec(0..10u8, 4 * 5 * 6)) {
            let mask = Array3::from_shape_fn((4, 5, 6), |(z, y, x)| bits[(z * 5 + y) * 6 + x] < 7);
            let mut fast = mask.clone();
            fill_holes(&mut fast);
            prop_assert_eq!(fast, fill_holes_slowly(&mask));
        }
    }
}
