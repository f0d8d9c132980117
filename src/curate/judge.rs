//! How far machine and person are apart in one case.
//!
//! Owns the score by which cases are read: against a person's labels, one less the mean Dice over
//! the classes that the person's set marks; without a person, one less the Dice of the lesions of
//! the two views, which is how much hangs on the sensitivity alone.

use std::collections::BTreeSet;

use hepalert_voxels::image::components::{Components, InPlane, components};
use ndarray::s;

use super::predict::Predicted;
use super::table::Row;
use super::{CurateError, Labelled};
use hepalert_labels::cases::compare::{Comparison, compare};
use hepalert_labels::labelling::Labelling;
use hepalert_study::anatomy::{LESION_LABELS, is_lesion, is_of_liver};
use hepalert_voxels::volume::{LabelMap, Volume};

/// Only these classes of a map, the rest background. Lesions within a liver that a set draws as
/// one organ count as liver.
fn only(map: &LabelMap, marked: &BTreeSet<u8>) -> LabelMap {
    const LIVER: u8 = hepalert_study::anatomy::Organ::Liver.label();
    let kept = |label: u8| match label {
        _ if marked.contains(&label) => label,
        _ if is_of_liver(label) && marked.contains(&LIVER) => LIVER,
        _ => 0,
    };
    Volume::new(map.grid().clone(), map.voxels().mapv(kept))
}

/// What is compared: a person's labels with the base view, in the classes that the person's set
/// marks; where nobody has labelled, the lesions of the high view with those of the base view.
pub(super) fn sides(
    expert: Option<&Labelling>,
    predicted: &Predicted,
    marked: &BTreeSet<u8>,
) -> [LabelMap; 2] {
    let lesions = || (1..=u8::MAX).filter(|label| is_lesion(*label)).collect();
    let (first, classes) = match expert {
        Some(expert) => (expert, marked.clone()),
        None => (&predicted.high, lesions()),
    };
    [first, &predicted.base].map(|labelling| only(labelling.map(), &classes))
}

pub(super) fn compared(labelled: &Labelled<'_>, marked: &BTreeSet<u8>) -> Result<Row, CurateError> {
    let Labelled { case, expert, predicted, .. } = labelled;
    let against = match expert {
        Some((who, _)) => who.to_string(),
        None => "high view".to_owned(),
    };
    let [first, second] = sides(expert.as_ref().map(|(_, expert)| expert), predicted, marked);
    let comparison = compare(&first, &second).map_err(hepalert_labels::cases::CaseError::from)?;
    Ok(row(&case.id, against, &comparison, lesion_counts(&first, &second)))
}

fn row(id: &str, against: String, comparison: &Comparison, [missed, extra]: [usize; 2]) -> Row {
    let worst = comparison.overlaps.iter().min_by(|a, b| a.dice.total_cmp(&b.dice));
    let largest = comparison.disagreements.first();
    // Two maps without any of the classes agree.
    let mean_dice = comparison.mean_dice();
    Row {
        disagreement: Some(1.0 - mean_dice.unwrap_or(1.0)),
        against: Some(against),
        mean_dice,
        worst: worst.map(|overlap| (overlap.label, overlap.dice)),
        missed_lesions: Some(missed),
        false_lesions: Some(extra),
        largest_cm3: largest.map(|place| place.region.volume_cm3),
        largest_labels: largest.map(|place| [place.first, place.second]),
        largest_box: largest.map(|place| [place.region.lo, place.region.hi]),
        largest_at: largest.map(|place| place.region.at),
        labels: Some(hepalert_labels::cases::editor::CURATED.to_owned()),
        ..Row::of(id)
    }
}

/// Lesions of the first map that the second has nothing of, and the other way round.
fn lesion_counts(first: &LabelMap, second: &LabelMap) -> [usize; 2] {
    let alone = |own: &LabelMap, other: &LabelMap| {
        let Components { runs, count } =
            components(own.voxels().view(), LESION_LABELS, InPlane::Eight);
        let mut is_met = vec![false; count];
        for run in &runs {
            let [z, y, lo, hi] = [run.z, run.y, run.x_lo, run.x_hi].map(|n| n as usize);
            let there = other.voxels().slice(s![z, y, lo..hi]);
            is_met[run.component as usize] |= there.iter().any(|label| is_lesion(*label));
        }
        is_met.iter().filter(|met| !**met).count()
    };
    [alone(first, second), alone(second, first)]
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hepalert_voxels::volume::Grid;
    use ndarray::Array3;

    use super::*;

    #[test]
    fn a_lesion_is_met_by_any_lesion_in_any_of_its_rows() {
        let map = |rows: [[u8; 6]; 2]| {
            let grid = Arc::new(Grid::axial([1, 2, 6], [1.0; 3], [0.0; 3]));
            let voxels = rows.concat();
            Volume::new(grid, Array3::from_shape_vec([1, 2, 6], voxels).unwrap())
        };
        // Two rows of one lesion, one beside it of another kind, and one that the other has not.
        let first = map([[1, 1, 2, 0, 3, 0], [1, 1, 7, 7, 7, 7]]);
        let second = map([[7, 7, 7, 7, 7, 0], [0, 4, 0, 7, 0, 5]]);
        assert_eq!(lesion_counts(&first, &second), [2, 1]);
        assert_eq!(lesion_counts(&first, &first), [0, 0]);
    }
}
