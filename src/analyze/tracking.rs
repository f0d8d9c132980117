//! What a finding is called as long as it is followed: one UID over all revisions of a study.
//!
//! Owns which finding of an earlier revision is the same: the one whose centre lies nearest, and near
//! enough. Only results of the same study are looked at: there both lie in the patient's own space.
//! Refuses to follow a patient from study to study: that would need to know whose they are.

use std::path::{Path, PathBuf};

use crate::report::files;
use crate::report::output::REPORT;
use crate::report::types::{LesionRecord, Report};
use hepalert_voxels::volume::dicom::write::uid_of;

/// Centres that are nearer than this are one finding's, however small it is: two slices.
const NEAR_MM: f64 = 10.0;

/// Gives every finding its UID: that of the same finding in the newest earlier revision, or its own.
pub(super) fn name(report: &mut Report, earlier: Option<&Report>, study_uid: &str) {
    let earlier = earlier.map_or(&[][..], |report| &report.lesions);
    let same = same(earlier, &report.lesions);
    let revision = report.revision;
    for (lesion, same) in report.lesions.iter_mut().zip(same) {
        let known = same.and_then(|at| earlier[at].tracking_uid.clone());
        let own = || uid_of(&format!("finding {} of {study_uid}, revision {revision}", lesion.id));
        lesion.tracking_uid = Some(known.unwrap_or_else(own));
    }
}

/// The newest result of an earlier revision, beside this one.
pub(super) fn earlier(out: &Path, revision: u32) -> Option<Report> {
    let name = out.file_name()?.to_str()?;
    let study = name.strip_suffix(&format!("-r{revision}"))?;
    let beside = |n: u32| -> PathBuf { out.with_file_name(format!("{study}-r{n}")).join(REPORT) };
    (1..revision).rev().find_map(|n| files::read(&beside(n)).ok())
}

/// For each later finding the earlier one that it is; each is one at most, nearest pairs first.
fn same(earlier: &[LesionRecord], later: &[LesionRecord]) -> Vec<Option<usize>> {
    let apart = |a: &LesionRecord, b: &LesionRecord| -> f64 {
        let squares = a.centre_ras_mm.iter().zip(b.centre_ras_mm).map(|(p, q)| (p - q).powi(2));
        squares.sum::<f64>().sqrt()
    };
    let reach = |a: &LesionRecord, b: &LesionRecord| {
        NEAR_MM.max(a.max_diameter_mm.max(b.max_diameter_mm) / 2.0)
    };
    let mut pairs: Vec<(f64, usize, usize)> = Vec::new();
    for (at, before) in earlier.iter().enumerate() {
        for (to, now) in later.iter().enumerate() {
            let mm = apart(before, now);
            if mm <= reach(before, now) {
                pairs.push((mm, at, to));
            }
        }
    }
    pairs.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)).then(a.2.cmp(&b.2)));
    let mut taken = vec![false; earlier.len()];
    let mut found = vec![None; later.len()];
    for (_, at, to) in pairs {
        if !taken[at] && found[to].is_none() {
            (taken[at], found[to]) = (true, Some(at));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lesion(centre_ras_mm: [f64; 3], max_diameter_mm: f64) -> LesionRecord {
        let text = serde_json::json!({
            "id": 1, "class": "HCC", "malignant": true, "volume_cm3": 1.0,
            "max_diameter_mm": max_diameter_mm, "max_axial_diameter_mm": 1.0,
            "centre_ras_mm": centre_ras_mm, "bbox_zyx": [[0, 0, 0], [1, 1, 1]], "mean_hu": {},
            "surface_distance_mm": null, "lesion_score": [0.0, 0.0], "view": "common",
            "reclassified": { "outcome": "kept", "score_cm3": null, "score_std_cm3": null,
                "ratio": null, "patch_volumes_cm3": [], "votes_cm3": {}, "label_before": "HCC",
                "label_after": "HCC" },
        });
        serde_json::from_value(text).unwrap()
    }

    #[test]
    fn the_nearest_is_the_same_and_none_is_two() {
        let earlier = [lesion([0.0; 3], 20.0), lesion([50.0, 0.0, 0.0], 8.0)];
        let later = [
            lesion([52.0, 0.0, 0.0], 9.0),
            lesion([1.0, 1.0, 0.0], 22.0),
            lesion([3.0, 1.0, 0.0], 22.0),
            lesion([50.0, 0.0, 30.0], 9.0),
        ];
        assert_eq!(same(&earlier, &later), [Some(1), Some(0), None, None]);
        assert_eq!(same(&[], &later), [None; 4]);
    }
}
