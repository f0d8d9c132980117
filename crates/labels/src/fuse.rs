//! A person's labels of some classes and a network's of all, made one map.
//!
//! Owns the rule of the curation loop: where the person's set marks a class, the person is right,
//! and so is its absence; classes that the set does not mark are filled from the network. Lesions
//! and hepatic vessels are parts of the liver, so that a liver drawn as one organ is filled inside
//! and nothing of a liver lies outside of it.

use std::collections::{BTreeMap, BTreeSet};

use hepalert_study::anatomy::{Organ, is_lesion, is_of_liver};
use hepalert_voxels::volume::{LabelMap, Volume};
use ndarray::Zip;
use serde::Serialize;

use crate::refused::Refused;

const LIVER: u8 = Organ::Liver.label();

/// Where the voxels of a class came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Origin {
    /// The person marked them so, whatever the network said.
    pub expert: u64,
    /// They came otherwise: the network said so, or somebody corrected them since.
    pub machine: u64,
}

/// Fuses two maps of one grid; `marked` are the classes that the person's set marks wherever they
/// are, background left out.
///
/// # Errors
/// [`Refused::OtherGrid`].
pub fn fuse(
    expert: &LabelMap,
    machine: &LabelMap,
    marked: &BTreeSet<u8>,
) -> Result<LabelMap, Refused> {
    if !expert.grid().matches(machine.grid()) {
        return Err(Refused::OtherGrid);
    }
    let is_marked: [bool; 256] = std::array::from_fn(|label| marked.contains(&(label as u8)));
    let mut labels = expert.voxels().clone();
    Zip::from(&mut labels).and(machine.voxels()).for_each(|label, &machine| {
        *label = fused(*label, machine, &is_marked);
    });
    Ok(Volume::new(expert.grid().clone(), labels))
}

/// Voxels of each class by where they came from, background left out: the person's are those that
/// the person's map calls the same.
///
/// # Panics
/// If the maps' shapes differ.
pub fn origins(labels: &LabelMap, expert: &LabelMap) -> BTreeMap<u8, Origin> {
    let mut counts = [Origin::default(); 256];
    Zip::from(labels.voxels()).and(expert.voxels()).for_each(|label, expert| {
        let origin = &mut counts[usize::from(*label)];
        match label == expert {
            true => origin.expert += 1,
            false => origin.machine += 1,
        }
    });
    let counted = (0..=u8::MAX).zip(counts).skip(1);
    counted.filter(|(_, origin)| *origin != Origin::default()).collect()
}

fn fused(expert: u8, machine: u8, is_marked: &[bool; 256]) -> u8 {
    let marks = |label: u8| is_marked[usize::from(label)];
    match (expert, machine) {
        // A liver drawn as one organ: what is in it the set leaves open.
        (LIVER, machine) if is_of_liver(machine) && !marks(machine) => machine,
        (0, machine) if is_of_liver(machine) && marks(LIVER) => 0,
        // The set marks lesions and has none here: then it is liver.
        (0, machine) if is_lesion(machine) && marks(machine) => LIVER,
        (0, machine) if marks(machine) => 0,
        (0, machine) => machine,
        (expert, _) => expert,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hepalert_voxels::volume::Grid;
    use ndarray::Array3;
    use proptest::prelude::*;

    use super::*;

    fn row(labels: &[u8]) -> LabelMap {
        let grid = Arc::new(Grid::axial([1, 1, labels.len()], [1.0; 3], [0.0; 3]));
        Volume::new(grid, Array3::from_shape_vec([1, 1, labels.len()], labels.to_vec()).unwrap())
    }

    fn check(marked: &[u8], expert: &[u8], machine: &[u8], expected: &[u8]) {
        let marked = marked.iter().copied().collect();
        let found = fuse(&row(expert), &row(machine), &marked).unwrap();
        assert_eq!(found.voxels().as_slice().unwrap(), expected);
    }

    #[test]
    fn a_liver_without_lesions_is_filled_and_bounds_what_lies_in_it() {
        check(&[7], &[0, 0, 0, 7, 7, 7, 7], &[1, 7, 11, 1, 8, 11, 0], &[0, 0, 11, 1, 8, 7, 7]);
    }

    #[test]
    fn lesions_without_a_liver_lie_in_the_networks() {
        check(&[1, 3], &[0, 0, 0, 3, 0], &[7, 1, 6, 7, 11], &[7, 7, 6, 3, 11]);
    }

    #[test]
    fn a_set_of_everything_is_not_touched_and_one_of_nothing_is_the_networks() {
        let all: Vec<u8> = (1..=13).collect();
        check(&all, &[0, 7, 3, 0], &[11, 1, 7, 0], &[0, 7, 3, 0]);
        check(&[], &[0, 0, 0], &[11, 1, 7], &[11, 1, 7]);
    }

    #[test]
    fn origins_are_counted() {
        let marked = [7].into_iter().collect();
        let expert = row(&[7, 7, 0]);
        let found = fuse(&expert, &row(&[7, 1, 11]), &marked).unwrap();
        let expected = [
            (1, Origin { machine: 1, expert: 0 }),
            (7, Origin { expert: 1, machine: 0 }),
            (11, Origin { machine: 1, expert: 0 }),
        ];
        assert_eq!(origins(&found, &expert), expected.into_iter().collect());
        assert_eq!(fuse(&row(&[1]), &row(&[1, 1]), &marked).unwrap_err(), Refused::OtherGrid);
    }

    proptest! {
        /// Experts win: no voxel that carries a label of theirs gets another one, but for a liver
        /// that is filled; no voxel gets a class that their set marks and they did not mark there,
        /// but for liver under a lesion they do not confirm.
        #[test]
        fn the_person_is_right(expert in proptest::collection::vec(0..14u8, 30), machine in proptest::collection::vec(0..14u8, 30)) {
            let marked: BTreeSet<u8> = expert.iter().copied().filter(|label| *label > 0).collect();
            let found = fuse(&row(&expert), &row(&machine), &marked).unwrap();
            for ((&e, &m), &f) in expert.iter().zip(&machine).zip(found.voxels()) {
                prop_assert!(f == e || e == 0 || (e == LIVER && is_of_liver(f) && f == m));
                prop_assert!(f == e || !marked.contains(&f) || f == LIVER && !marked.contains(&LIVER));
            }
        }
    }
}
