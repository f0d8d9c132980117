//! What an edit did, as runs of voxels: what undo takes back and the page is told.
//!
//! Owns the exact difference of two label maps in memory order. Knows nothing of why voxels
//! changed. `[z, y, x]` in C order, so that a run may go on into the next row.

use ndarray::Array3;

/// Voxels that are to carry a label: a place in memory order, and how many from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// First voxel, `(z * height + y) * width + x`.
    pub start: u32,
    /// Number of voxels.
    pub length: u32,
    /// The label they get.
    pub label: u8,
}

/// A run of voxels that changed from one label to one other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Changed {
    /// First voxel in memory order.
    pub start: u32,
    /// Number of voxels.
    pub length: u32,
    /// Their label before.
    pub before: u8,
    /// Their label now.
    pub after: u8,
}

/// All that differs between two label maps: runs in memory order that do not overlap.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Change(Vec<Changed>);

impl Change {
    /// Of two maps of one shape.
    ///
    /// # Panics
    /// If the shapes differ.
    pub fn between(before: &Array3<u8>, after: &Array3<u8>) -> Change {
        assert_eq!(before.dim(), after.dim(), "one grid");
        let (Some(before), Some(after)) = (before.as_slice(), after.as_slice()) else {
            unreachable!("label maps are in C order")
        };
        let mut change = Change::default();
        // Most of a map is equal: whole blocks are compared first.
        const BLOCK: usize = 4096;
        for (block, (old, new)) in before.chunks(BLOCK).zip(after.chunks(BLOCK)).enumerate() {
            if old != new {
                for (at, (&old, &new)) in old.iter().zip(new).enumerate() {
                    change.push(block * BLOCK + at, old, new);
                }
            }
        }
        change
    }

    /// Enters the stretches into a map, later ones over earlier ones, and tells what that changed.
    ///
    /// # Panics
    /// If a stretch leaves the map: who reads them from outside checks them.
    pub fn make(map: &mut Array3<u8>, stretches: &[Stretch]) -> Change {
        let mut ordered: Vec<&Stretch> = stretches.iter().collect();
        ordered.sort_by_key(|stretch| stretch.start);
        let overlap = ordered.windows(2).any(|pair| pair[0].start + pair[0].length > pair[1].start);
        if overlap {
            return Change::make_overlapping(map, stretches);
        }
        let Some(voxels) = map.as_slice_mut() else { unreachable!("label maps are in C order") };
        let mut change = Change::default();
        for stretch in ordered {
            let start = stretch.start as usize;
            for (at, voxel) in (start..).zip(&mut voxels[start..start + stretch.length as usize]) {
                change.push(at, *voxel, stretch.label);
                *voxel = stretch.label;
            }
        }
        change
    }

    /// One over the other: what counts is the label before all of them.
    fn make_overlapping(map: &mut Array3<u8>, stretches: &[Stretch]) -> Change {
        let before = map.clone();
        let Some(voxels) = map.as_slice_mut() else { unreachable!("label maps are in C order") };
        for stretch in stretches {
            let start = stretch.start as usize;
            voxels[start..start + stretch.length as usize].fill(stretch.label);
        }
        Change::between(&before, map)
    }

    fn push(&mut self, at: usize, before: u8, after: u8) {
        if before == after {
            return;
        }
        let at = at as u32;
        match self.0.last_mut() {
            Some(last)
                if last.start + last.length == at
                    && (last.before, last.after) == (before, after) =>
            {
                last.length += 1;
            }
            _ => self.0.push(Changed { start: at, length: 1, before, after }),
        }
    }

    /// Takes the change back.
    pub fn revert(&self, map: &mut Array3<u8>) {
        self.set(map, |run| run.before);
    }

    /// Makes it again.
    pub fn repeat(&self, map: &mut Array3<u8>) {
        self.set(map, |run| run.after);
    }

    fn set(&self, map: &mut Array3<u8>, label: impl Fn(&Changed) -> u8) {
        let Some(voxels) = map.as_slice_mut() else { unreachable!("label maps are in C order") };
        for run in &self.0 {
            let start = run.start as usize;
            voxels[start..start + run.length as usize].fill(label(run));
        }
    }

    /// The change that takes this one back.
    pub fn inverse(&self) -> Change {
        let turned = |run: &Changed| Changed { before: run.after, after: run.before, ..*run };
        Change(self.0.iter().map(turned).collect())
    }

    /// The runs, in memory order.
    pub fn runs(&self) -> &[Changed] {
        &self.0
    }

    /// What the voxels carry now.
    pub fn stretches(&self) -> Vec<Stretch> {
        let now =
            |run: &Changed| Stretch { start: run.start, length: run.length, label: run.after };
        self.0.iter().map(now).collect()
    }

    /// Number of voxels that changed.
    pub fn voxels(&self) -> usize {
        self.0.iter().map(|run| run.length as usize).sum()
    }

    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SHAPE: [usize; 3] = [3, 5, 7];
    const COUNT: usize = 105;

    fn map() -> impl Strategy<Value = Array3<u8>> {
        proptest::collection::vec(0..4u8, COUNT)
            .prop_map(|voxels| Array3::from_shape_vec(SHAPE, voxels).unwrap())
    }

    fn stretches() -> impl Strategy<Value = Vec<Stretch>> {
        let one = (0..COUNT as u32, 0..4u8).prop_flat_map(|(start, label)| {
            (0..=COUNT as u32 - start).prop_map(move |length| Stretch { start, length, label })
        });
        proptest::collection::vec(one, 0..8)
    }

    proptest! {
        #[test]
        fn a_change_is_the_difference_of_what_was_and_is(before in map(), wanted in stretches()) {
            let mut after = before.clone();
            let change = Change::make(&mut after, &wanted);
            // The definition: one voxel after the other.
            let mut expected = before.clone();
            for stretch in &wanted {
                for at in stretch.start..stretch.start + stretch.length {
                    expected.as_slice_mut().unwrap()[at as usize] = stretch.label;
                }
            }
            prop_assert_eq!(&after, &expected);
            prop_assert_eq!(&change, &Change::between(&before, &after));
            let differing = before.iter().zip(&after).filter(|(a, b)| a != b).count();
            prop_assert_eq!(change.voxels(), differing);
            let mut back = after.clone();
            change.revert(&mut back);
            prop_assert_eq!(&back, &before);
            change.inverse().revert(&mut back);
            prop_assert_eq!(&back, &after);
            change.revert(&mut back);
            change.repeat(&mut back);
            prop_assert_eq!(&back, &after);
        }
    }
}
