//! Findings of one patient over revisions and studies.

use super::*;
use crate::report::types::{LiverPlace, of_test};

fn lesion(id: u32, centre_ras_mm: [f64; 3], max_diameter_mm: f64) -> LesionRecord {
    let text = serde_json::json!({
        "id": id, "class": "HCC", "malignant": true, "volume_cm3": 1.0,
        "max_diameter_mm": max_diameter_mm, "max_axial_diameter_mm": 1.0,
        "centre_ras_mm": centre_ras_mm, "bbox_zyx": [[0, 0, 0], [1, 1, 1]], "mean_hu": {},
        "surface_distance_mm": null, "lesion_score": [0.0, 0.0], "view": "common",
        "reclassified": { "outcome": "kept", "score_cm3": null, "score_std_cm3": null,
            "ratio": null, "patch_volumes_cm3": [], "votes_cm3": {}, "label_before": "HCC",
            "label_after": "HCC" },
    });
    serde_json::from_value(text).unwrap()
}

/// A report of a study whose liver lies `height_mm` above the first one's, with findings at these
/// places of the first one's liver.
fn report(study: &str, height_mm: f64, places: &[([f64; 3], f64)]) -> Report {
    let lesions = places.iter().zip(1..).map(|((place, diameter), id)| {
        let [x, y, z] = *place;
        lesion(id, [x, y, z + height_mm], *diameter)
    });
    let spread_mm = [40.0, 30.0, 25.0];
    let mut report = Report {
        lesions: lesions.collect(),
        liver_place: Some(LiverPlace { centre_ras_mm: [-40.0, 10.0, height_mm], spread_mm }),
        ..of_test(study)
    };
    report.pipeline.fingerprint = String::new();
    report
}

fn named(mut report: Report, before: Before<'_>) -> Report {
    let study = report.study_key.clone();
    name(&mut report, before, &study);
    report
}

fn after<'a>(study: &'a Report) -> Before<'a> {
    Before { study: Some(study), ..Before::default() }
}

fn uids(report: &Report) -> Vec<&str> {
    report.lesions.iter().map(|lesion| lesion.tracking_uid.as_deref().unwrap()).collect()
}

fn ids(report: &Report) -> Vec<&str> {
    report.lesions.iter().map(|lesion| lesion.tracking_id.as_deref().unwrap()).collect()
}

const A: ([f64; 3], f64) = ([-60.0, 20.0, 10.0], 22.0);
const B: ([f64; 3], f64) = ([-20.0, 0.0, -20.0], 14.0);
const C: ([f64; 3], f64) = ([-90.0, 30.0, -30.0], 18.0);

#[test]
fn in_revisions_the_nearest_is_the_same_and_none_is_two() {
    let earlier = [lesion(1, [0.0; 3], 20.0), lesion(2, [50.0, 0.0, 0.0], 8.0)];
    let later = [
        lesion(1, [52.0, 0.0, 0.0], 9.0),
        lesion(2, [1.0, 1.0, 0.0], 22.0),
        lesion(3, [3.0, 1.0, 0.0], 22.0),
        lesion(4, [50.0, 0.0, 30.0], 9.0),
    ];
    assert_eq!(same(&earlier, &later), [Some(1), Some(0), None, None]);
    assert_eq!(same(&[], &later), [None; 4]);
}

#[test]
fn a_finding_keeps_its_name_over_three_studies_and_a_new_one_has_its_own() {
    let first = named(report("1", 0.0, &[A, B]), Before::default());
    assert!(ids(&first).iter().all(|id| id.len() == "lesion BCDF".len()), "{:?}", ids(&first));
    // The table stood 8 mm lower; A is gone, C is new and the largest.
    let second = named(report("2", 8.0, &[C, B]), after(&first));
    assert_eq!(uids(&second)[1], uids(&first)[1]);
    assert_eq!(ids(&second)[1], ids(&first)[1], "as the UID");
    let told = second.lesions[1].earlier.clone().unwrap();
    assert_eq!((told.study_key.as_str(), told.revision, told.id), ("1", 1, 2));
    assert!(!uids(&first).contains(&uids(&second)[0]) && second.lesions[0].earlier.is_none());
    // What the second was called goes on, in another order; A is seen again and is new here.
    let third = named(report("3", -30.0, &[B, C, A]), after(&second));
    assert_eq!(uids(&third)[..2], [uids(&second)[1], uids(&second)[0]]);
    assert_eq!(ids(&third)[..2], [ids(&second)[1], ids(&second)[0]]);
    assert_eq!(
        named(report("3", -30.0, &[B, C, A]), after(&second)),
        third,
        "same input, same words"
    );
    // Without the study before, all are its own.
    let alone = named(report("3", -30.0, &[B, C, A]), Before::default());
    assert!(uids(&alone).iter().all(|uid| !uids(&second).contains(uid)));
}

#[test]
fn what_may_be_two_is_neither() {
    let first = named(report("1", 0.0, &[A, B]), Before::default());
    let beside = ([A.0[0] + 12.0, A.0[1], A.0[2]], 10.0);
    let second = named(report("2", 0.0, &[A, beside, B]), after(&first));
    let kept: Vec<bool> = uids(&second).iter().map(|uid| uids(&first).contains(uid)).collect();
    assert_eq!(kept, [false, false, true]);
    let third = named(report("3", 0.0, &[A]), after(&second));
    assert!(third.lesions[0].earlier.is_none(), "two before are near");
    // Too far, or another size altogether.
    let far = ([A.0[0] + 16.0, A.0[1], A.0[2]], 22.0);
    let speck = (B.0, 4.0);
    let other = named(report("4", 0.0, &[far, speck]), after(&first));
    assert!(other.lesions.iter().all(|lesion| lesion.earlier.is_none()));
}

#[test]
fn a_liver_that_was_cut_or_is_another_is_no_measure() {
    let first = named(report("1", 0.0, &[A]), Before::default());
    let mut cut = report("2", 0.0, &[A]);
    cut.liver_place = None;
    assert!(named(cut, after(&first)).lesions[0].earlier.is_none());
    let mut operated = report("2", 0.0, &[A]);
    operated.liver_place.as_mut().unwrap().spread_mm[0] = 30.0;
    assert!(named(operated, after(&first)).lesions[0].earlier.is_none());
}

#[test]
fn a_revision_keeps_what_the_first_said_and_no_name_is_given_twice() {
    let first = named(report("1", 0.0, &[A, B]), Before::default());
    let second = named(report("2", 0.0, &[A]), after(&first));
    // A late series shows B too, and moves A by 6 mm; what the first revision said of A stands.
    let moved = ([A.0[0], A.0[1] + 6.0, A.0[2]], 22.0);
    let mut later = report("2", 0.0, &[B, moved]);
    later.revision = 2;
    let before = Before { revision: Some(&second), study: Some(&first) };
    let later = named(later, before);
    assert_eq!(uids(&later), [uids(&first)[1], uids(&first)[0]]);
    assert_eq!(later.lesions[1].earlier, second.lesions[0].earlier);
    // The first study's own late series comes after the second was read: it keeps its names.
    let mut again = report("1", 0.0, &[A, B]);
    again.revision = 2;
    let again = named(again, Before { revision: Some(&first), study: Some(&second) });
    assert_eq!(uids(&again), uids(&first));
    assert!(again.lesions.iter().all(|lesion| lesion.earlier.is_none()));
}
