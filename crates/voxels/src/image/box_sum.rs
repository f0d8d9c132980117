//! How many voxels of a mask lie in a box, in constant time.

use ndarray::{Array3, ArrayView3};

/// Sums over all boxes that begin at the first voxel (a summed-volume table).
#[derive(Debug, Clone)]
pub struct BoxSum {
    sums: Array3<u32>,
}

impl BoxSum {
    /// Counts the true voxels of a mask; `volume::MAX_VOXELS` fits the counter.
    pub fn of(mask: ArrayView3<'_, bool>) -> BoxSum {
        let (d, h, w) = mask.dim();
        let mut sums = Array3::zeros((d + 1, h + 1, w + 1));
        for z in 0..d {
            for y in 0..h {
                let mut row = 0;
                for x in 0..w {
                    row += u32::from(mask[[z, y, x]]);
                    sums[[z + 1, y + 1, x + 1]] =
                        row + sums[[z, y + 1, x + 1]] + sums[[z + 1, y, x + 1]]
                            - sums[[z, y, x + 1]];
                }
            }
        }
        BoxSum { sums }
    }

    /// True voxels in the half-open box `[lo, hi)`; parts outside the array count nothing.
    pub fn count(&self, lo: [isize; 3], hi: [isize; 3]) -> u32 {
        let shape = self.sums.shape();
        let clamp = |axis: usize, at: isize| at.clamp(0, shape[axis] as isize - 1) as usize;
        let a: [usize; 3] = std::array::from_fn(|axis| clamp(axis, lo[axis]));
        let b: [usize; 3] = std::array::from_fn(|axis| clamp(axis, hi[axis]));
        if (0..3).any(|axis| a[axis] >= b[axis]) {
            return 0;
        }
        let at = |z: usize, y: usize, x: usize| i64::from(self.sums[[z, y, x]]);
        let plane = |z: usize| {
            at(z, b[1], b[2]) - at(z, a[1], b[2]) - at(z, b[1], a[2]) + at(z, a[1], a[2])
        };
        (plane(b[0]) - plane(a[0])) as u32
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn counts_equal_counting(
            bits in proptest::collection::vec(any::<bool>(), 3 * 4 * 5),
            lo in proptest::array::uniform3(-3isize..7),
            size in proptest::array::uniform3(0isize..8),
        ) {
            let mask = Array3::from_shape_vec((3, 4, 5), bits).unwrap();
            let hi: [isize; 3] = std::array::from_fn(|a| lo[a] + size[a]);
            let slow = mask.indexed_iter().filter(|((z, y, x), on)| {
                let at = [*z as isize, *y as isize, *x as isize];
                **on && (0..3).all(|a| lo[a] <= at[a] && at[a] < hi[a])
            }).count();
            prop_assert_eq!(BoxSum::of(mask.view()).count(lo, hi) as usize, slow);
        }
    }
}
