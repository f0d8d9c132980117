//! How far machine and person are apart in one case.
//!
//! Owns the score by which cases are read: against a person's labels, one less the mean Dice over
//! the classes that the person's set marks; without a person, one less the Dice of the lesions of
//! the two views, which is how much hangs on the sensitivity alone.

use std::collections::BTreeSet;

use super::table::Row;
use super::{CurateError, Labelled};
use hepalert_labels::cases::compare::{Comparison, compare};
use hepalert_labels::refused::Refused;
use hepalert_labels::regions::{Held, regions};
use hepalert_study::anatomy::{is_lesion, is_of_liver};
use hepalert_voxels::volume::{LabelMap, Volume};

/// Only these classes of a map, the rest background. Lesions within a liver that a set draws as
/// one organ count as liver.
pub(super) fn only(map: &LabelMap, marked: &BTreeSet<u8>) -> LabelMap {
    const LIVER: u8 = hepalert_study::anatomy::Organ::Liver.label();
    let kept = |label: u8| match label {
        _ if marked.contains(&label) => label,
        _ if is_of_liver(label) && marked.contains(&LIVER) => LIVER,
        _ => 0,
    };
    Volume::new(map.grid().clone(), map.voxels().mapv(kept))
}

/// The classes that are compared where nobody has labelled.
pub(super) fn lesions() -> BTreeSet<u8> {
    (1..=u8::MAX).filter(|label| is_lesion(*label)).collect()
}

pub(super) fn judged(labelled: &Labelled<'_>, marked: &BTreeSet<u8>) -> Result<Row, CurateError> {
    let Ok(predicted) = &labelled.predicted else { unreachable!("judged after the engine") };
    let id = &labelled.case.id;
    let (against, first, second) = match &labelled.expert {
        Some((who, expert)) => {
            let [first, second] = [expert.map(), predicted.base.map()].map(|map| only(map, marked));
            (who.to_string(), first, second)
        }
        None => {
            let lesions = lesions();
            let [first, second] =
                [predicted.high.map(), predicted.base.map()].map(|map| only(map, &lesions));
            ("high view".to_owned(), first, second)
        }
    };
    let comparison = compare(&first, &second).map_err(hepalert_labels::cases::CaseError::from)?;
    let counts = lesion_counts(&first, &second).map_err(hepalert_labels::cases::CaseError::from)?;
    Ok(row(id, against, &comparison, counts))
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
        labels: Some(hepalert_labels::cases::desk::CURATED.to_owned()),
        ..Row::of(id)
    }
}

/// Lesions of the first map that the second has nothing of, and the other way round.
fn lesion_counts(first: &LabelMap, second: &LabelMap) -> Result<[usize; 2], Refused> {
    let alone = |own: &LabelMap, other: &LabelMap| -> Result<usize, Refused> {
        let mut count = 0;
        for lesion in regions(own, 1..=6).regions {
            let held = Held::at(own, lesion.at)?;
            let (lo, hi) = (lesion.lo, lesion.hi);
            let mask = held.mask(lo, hi);
            let there = other.voxels().slice(ndarray::s![lo[0]..hi[0], lo[1]..hi[1], lo[2]..hi[2]]);
            let is_met = mask.iter().zip(there).any(|(on, label)| *on && is_lesion(*label));
            count += usize::from(!is_met);
        }
        Ok(count)
    };
    Ok([alone(first, second)?, alone(second, first)?])
}
