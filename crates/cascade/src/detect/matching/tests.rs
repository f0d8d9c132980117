//! Pairs drawn by hand, and the fast sweep against the slow definition.

use std::sync::Arc;

use ndarray::{Array3, arr3};
use proptest::prelude::*;

use super::*;
use crate::detect::seg2det::{DetectParams, seg2det};
use hepalert_voxels::volume::{Grid, Volume};

fn lesions(voxels: &Array3<u8>) -> Vec<Detection> {
    let grid = Arc::new(Grid::axial(voxels.dim().into(), [1.0; 3], [0.0; 3]));
    seg2det(&Volume::new(grid, voxels.clone()), &DetectParams::default())
}

/// One row of voxels.
fn row(labels: &[u8]) -> Vec<Detection> {
    lesions(&Array3::from_shape_fn([1, 1, labels.len()], |(_, _, x)| labels[x]))
}

fn outcomes(events: &Events) -> Vec<(Option<usize>, Option<usize>, &'static str)> {
    events.pairs.iter().map(|pair| (pair.truth, pair.predicted, pair.outcome.code())).collect()
}

#[test]
fn the_four_outcomes() {
    // HCC found, Meta found as cyst, ICC missed, Hem where nothing is.
    let truth = row(&[1, 1, 0, 3, 3, 0, 2, 0, 0]);
    let predicted = row(&[0, 1, 0, 6, 0, 0, 0, 0, 4]);
    let events = match_events(&truth, &predicted);
    assert_eq!(
        outcomes(&events),
        [
            (Some(0), Some(0), "TP"),
            (None, Some(1), "FP"),
            (Some(2), Some(2), "FL"),
            (Some(1), None, "FN"),
        ]
    );
    let tally = events.tally;
    assert_eq!(*tally.of(Lesion::Meta), Counts { fl_truth: 1, ..Counts::default() });
    assert_eq!(*tally.of(Lesion::Cyst), Counts { fl_predicted: 1, ..Counts::default() });
    assert_eq!(*tally.of(Lesion::Hem), Counts { fp: 1, ..Counts::default() });
    let malignant = Counts { tp: 1, tp_predicted: 1, fl_truth: 1, fn_: 1, ..Counts::default() };
    assert_eq!(tally.malignant, malignant);
    assert_eq!(match_strict(&truth, &predicted), tally);
}

#[test]
fn a_large_prediction_over_two_lesions_is_one_event() {
    let truth = row(&[1, 1, 1, 0, 1, 1]);
    let predicted = row(&[1, 1, 1, 1, 1, 1]);
    let events = match_events(&truth, &predicted);
    assert_eq!(outcomes(&events), [(Some(0), Some(0), "TP")]);
    let strict = match_strict(&truth, &predicted);
    assert_eq!((strict.of(Lesion::Hcc).tp, strict.of(Lesion::Hcc).tp_predicted), (2, 1));
}

#[test]
fn a_lesion_under_two_predictions_is_two_events() {
    let truth = row(&[3, 3, 3, 3]);
    let predicted = row(&[3, 0, 0, 1]);
    let events = match_events(&truth, &predicted);
    assert_eq!(events.tally.of(Lesion::Meta).tp, 1);
    assert_eq!(events.tally.of(Lesion::Meta).fl_truth, 1);
    assert_eq!(events.tally.of(Lesion::Hcc).fl_predicted, 1);
    assert_eq!(events.tally.malignant.tp, 2);
    let strict = match_strict(&truth, &predicted);
    assert_eq!((strict.of(Lesion::Meta).tp, strict.of(Lesion::Meta).fl_truth), (1, 0));
    assert_eq!(strict.of(Lesion::Hcc).fl_predicted, 1);
}

#[test]
fn ties_go_to_the_type_then_to_the_share_then_to_the_order() {
    let best =
        |truth: &[u8], predicted: &[u8]| match_events(&row(truth), &row(predicted)).pairs[0].truth;
    // HCC comes first in the list, but the metastasis has the prediction's type.
    assert_eq!(best(&[1, 1, 3, 3], &[0, 3, 3, 0]), Some(1));
    // Two metastases: of the second, one voxel of one is covered.
    assert_eq!(best(&[3, 3, 0, 3], &[0, 3, 3, 3]), Some(1));
    // Two equal ones: the first.
    assert_eq!(best(&[3, 3, 0, 3, 3], &[0, 3, 3, 3, 0]), Some(0));
}

#[test]
fn the_high_view_holds_what_is_common_and_what_is_not() {
    let low = row(&[1, 0, 0, 6, 0, 4, 0, 0]);
    let high = row(&[1, 1, 0, 3, 0, 0, 0, 3]);
    let view = common(&low, &high);
    assert_eq!(view.common, [0, 1]);
    assert_eq!(view.high_only, [2]);
    assert_eq!(view.low_only, [1]);
}

#[test]
fn empty_sets_meet_nothing() {
    let some = row(&[1, 0, 6]);
    assert_eq!(match_events(&[], &[]).pairs, []);
    assert_eq!(match_events(&some, &[]).tally.all().fn_, 2);
    assert_eq!(match_events(&[], &some).tally.all().fp, 2);
    assert_eq!(common(&[], &some).high_only, [0, 1]);
}

fn pair_of_maps() -> impl Strategy<Value = (Array3<u8>, Array3<u8>)> {
    [1..4usize, 1..7usize, 1..12usize].prop_flat_map(|shape| {
        let voxels = || {
            let voxel = prop_oneof![Just(0), 0..=6u8];
            proptest::collection::vec(voxel, shape.iter().product::<usize>())
                .prop_map(move |voxels| Array3::from_shape_vec(shape, voxels).unwrap())
        };
        (voxels(), voxels())
    })
}

/// The definition: every voxel of every pair.
fn overlaps_by_definition(truth: &[Detection], predicted: &[Detection]) -> Vec<Overlap> {
    let voxels = |lesion: &Detection| -> Vec<[usize; 3]> {
        lesion.runs().flat_map(|([z, y], xs)| xs.map(move |x| [z, y, x])).collect()
    };
    let mut table = Vec::new();
    for (t, a) in truth.iter().enumerate() {
        for (p, b) in predicted.iter().enumerate() {
            let others = voxels(b);
            let shared = voxels(a).iter().filter(|voxel| others.contains(voxel)).count();
            if shared > 0 {
                table.push(Overlap { truth: t, predicted: p, voxels: shared });
            }
        }
    }
    table
}

proptest! {
    #[test]
    fn overlaps_are_those_of_the_definition((a, b) in pair_of_maps()) {
        let (a, b) = (lesions(&a), lesions(&b));
        prop_assert_eq!(overlaps(&a, &b), overlaps_by_definition(&a, &b));
    }

    /// Sets whose lesions overlap one another do not come from a label map, but after
    /// reclassification a caller may hold one.
    #[test]
    fn overlapping_sets_are_counted_too((a, b) in pair_of_maps(), (c, _) in pair_of_maps()) {
        let mixed: Vec<_> = lesions(&a).into_iter().chain(lesions(&b)).collect();
        let other = lesions(&c);
        prop_assert_eq!(overlaps(&mixed, &other), overlaps_by_definition(&mixed, &other));
        prop_assert_eq!(overlaps(&other, &mixed), overlaps_by_definition(&other, &mixed));
    }

    #[test]
    fn counts_add_up((a, b) in pair_of_maps()) {
        let (truth, predicted) = (lesions(&a), lesions(&b));
        let events = match_events(&truth, &predicted);
        let all = events.tally.all();
        prop_assert_eq!(all.tp + all.fl_predicted + all.fp, predicted.len());
        prop_assert_eq!(all.fl_truth, all.fl_predicted);
        let strict = match_strict(&truth, &predicted);
        for kind in Lesion::ALL {
            let row = strict.of(kind);
            let count = |set: &[Detection]| set.iter().filter(|l| l.kind == kind).count();
            prop_assert_eq!(row.tp + row.fl_truth + row.fn_, count(&truth));
            prop_assert_eq!(row.tp_predicted + row.fl_predicted + row.fp, count(&predicted));
        }
        let malignant = |tally: &Tally, of: fn(&Counts) -> usize| -> usize {
            Lesion::ALL.iter().filter(|k| k.is_malignant()).map(|k| of(tally.of(*k))).sum()
        };
        for tally in [&events.tally, &strict] {
            prop_assert_eq!(tally.malignant.fp, malignant(tally, |row| row.fp));
            prop_assert_eq!(tally.malignant.fn_, malignant(tally, |row| row.fn_));
            prop_assert!(tally.malignant.tp >= malignant(tally, |row| row.tp));
        }
        prop_assert_eq!(
            events.tally.malignant.tp + events.tally.malignant.fl_truth,
            malignant(&events.tally, |row| row.tp + row.fl_truth)
        );
    }

    #[test]
    fn everything_matches_itself((a, _) in pair_of_maps()) {
        let set = lesions(&a);
        let all = match_events(&set, &set).tally.all();
        prop_assert_eq!((all.tp, all.fl_truth, all.fp, all.fn_), (set.len(), 0, 0, 0));
        prop_assert_eq!(match_strict(&set, &set), match_events(&set, &set).tally);
        let view = common(&set, &set);
        prop_assert_eq!(view.common.len(), set.len());
        prop_assert!(view.high_only.is_empty() && view.low_only.is_empty());
    }
}

#[test]
fn columns_far_to_the_right_of_the_row_before_are_met() {
    let truth = lesions(&arr3(&[[[0u8, 0, 0, 1], [0, 0, 0, 1], [1, 0, 0, 0]]]));
    let predicted = lesions(&arr3(&[[[2u8, 0, 0, 0], [0, 0, 0, 2], [2, 2, 0, 0]]]));
    assert_eq!(overlaps(&truth, &predicted), overlaps_by_definition(&truth, &predicted));
}
