//! Where two label maps of one image differ.
//!
//! Owns the overlap per label (Dice) and the list of places, each a connected set of voxels that
//! one map calls this and the other that. Refuses to say who is right.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use hepalert_voxels::volume::{LabelMap, Volume};
use ndarray::{Array3, Zip};
use serde::Serialize;

use crate::refused::Refused;
use crate::regions::{Region, regions};

/// Pairs of labels told apart: more are noise, and count as one.
const MAX_PAIRS: usize = 254;

/// How far two maps agree on a label.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Overlap {
    /// The label.
    pub label: u8,
    /// Voxels of the first map.
    pub first: u64,
    /// Voxels of the second.
    pub second: u64,
    /// Voxels of both.
    pub both: u64,
    /// 2 x both / (first + second).
    pub dice: f64,
}

/// A place where two maps differ.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Disagreement {
    /// The first map's label there.
    pub first: u8,
    /// The second's.
    pub second: u8,
    /// Where, and how large; `label` and `number` are of the list, not of the maps.
    #[serde(flatten)]
    pub region: Region,
}

/// How two maps compare.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// One per label that either map has, background left out.
    pub overlaps: Vec<Overlap>,
    /// Places, the largest first.
    pub disagreements: Vec<Disagreement>,
    /// Places beyond those listed.
    pub left_out: usize,
}

impl Comparison {
    /// Mean Dice over the labels that either map has; none of two empty maps.
    pub fn mean_dice(&self) -> Option<f64> {
        let count = self.overlaps.len();
        (count > 0).then(|| self.overlaps.iter().map(|o| o.dice).sum::<f64>() / count as f64)
    }
}

/// Compares two maps, both in RAS order.
///
/// # Errors
/// [`Refused::OtherGrid`] if they do not lie on one grid.
pub fn compare(first: &LabelMap, second: &LabelMap) -> Result<Comparison, Refused> {
    if !first.grid().matches(second.grid()) {
        return Err(Refused::OtherGrid);
    }
    let mut places = places(first, second);
    places.disagreements.sort_by_key(|place| (Reverse(place.region.voxels), place.region.lo));
    for (place, number) in places.disagreements.iter_mut().zip(1..) {
        place.region.number = number;
    }
    Ok(Comparison { overlaps: overlaps(first, second), ..places })
}

/// Per label that either map has, in order.
pub fn overlaps(first: &LabelMap, second: &LabelMap) -> Vec<Overlap> {
    let mut counts = [[0_u64; 3]; 256];
    Zip::from(first.voxels()).and(second.voxels()).for_each(|&one, &other| {
        counts[usize::from(one)][0] += 1;
        counts[usize::from(other)][1] += 1;
        counts[usize::from(one)][2] += u64::from(one == other);
    });
    let labels = (0..=u8::MAX).zip(counts).skip(1);
    labels
        .filter(|(_, [first, second, _])| first + second > 0)
        .map(|(label, [first, second, both])| {
            let dice = 2.0 * both as f64 / (first + second) as f64;
            Overlap { label, first, second, both, dice }
        })
        .collect()
}

fn places(first: &LabelMap, second: &LabelMap) -> Comparison {
    let mut pairs: BTreeMap<(u8, u8), u8> = BTreeMap::new();
    let mut map = Array3::zeros(first.voxels().raw_dim());
    Zip::from(&mut map).and(first.voxels()).and(second.voxels()).for_each(
        |place: &mut u8, &one, &other| {
            if one != other {
                let next = pairs.len().min(MAX_PAIRS) as u8 + 1;
                *place = *pairs.entry((one, other)).or_insert(next);
            }
        },
    );
    let found = regions(&Volume::new(first.grid().clone(), map), 1..=u8::MAX);
    let place = |region: Region| Disagreement {
        first: first.voxels()[region.at],
        second: second.voxels()[region.at],
        region,
    };
    let disagreements = found.regions.into_iter().map(place).collect();
    Comparison { overlaps: Vec::new(), disagreements, left_out: found.left_out }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hepalert_voxels::volume::Grid;

    use super::*;

    fn row(labels: &[u8]) -> LabelMap {
        let grid = Arc::new(Grid::axial([1, 1, labels.len()], [1.0; 3], [0.0; 3]));
        Volume::new(grid, Array3::from_shape_vec([1, 1, labels.len()], labels.to_vec()).unwrap())
    }

    #[test]
    fn overlap_and_places_are_told() {
        let (first, second) = (row(&[0, 1, 1, 1, 0, 2, 2, 0]), row(&[0, 1, 3, 3, 0, 2, 0, 0]));
        let found = compare(&first, &second).unwrap();
        let dice: Vec<_> = found.overlaps.iter().map(|o| (o.label, o.both, o.dice)).collect();
        assert_eq!(dice, [(1, 1, 0.5), (2, 1, 2.0 / 3.0), (3, 0, 0.0)]);
        let places: Vec<_> = found
            .disagreements
            .iter()
            .map(|p| (p.region.number, p.first, p.second, p.region.at[2], p.region.voxels))
            .collect();
        assert_eq!(places, [(1, 1, 3, 2, 2), (2, 2, 0, 6, 1)]);
        let mean = found.mean_dice().unwrap();
        assert!((mean - (0.5 + 2.0 / 3.0) / 3.0).abs() < 1e-12);
        let same = compare(&first, &first).unwrap();
        assert_eq!((same.mean_dice(), same.disagreements.len()), (Some(1.0), 0));
        assert_eq!(compare(&row(&[0]), &row(&[0])).unwrap().mean_dice(), None);
        assert_eq!(compare(&row(&[0]), &row(&[0, 0])).unwrap_err(), Refused::OtherGrid);
    }
}
