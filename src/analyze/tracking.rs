//! What a finding is called as long as it is followed: one UID over all revisions of a study, and over
//! the studies of a patient.
//!
//! Owns which earlier finding is the same. Of a revision of the same study it is the one whose centre
//! lies nearest, and near enough: there both lie in one space. Of another study see `over_time`, which
//! knows the patient by no name: which study that is was looked up elsewhere. Refuses to guess: a name
//! of its own is always right, another's may be wrong.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::report::files;
use crate::report::output::REPORT;
use crate::report::types::{EarlierFinding, LesionRecord, Report};
use hepalert_study::result::result_name;
use hepalert_voxels::volume::dicom::write::uid_of;

mod over_time;

pub(super) use over_time::place;

/// Centres that are nearer than this are one finding's, however small it is: two slices.
const NEAR_MM: f64 = 10.0;

/// Letters of tracking identifiers: none that make words, none that look like a digit.
const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
/// One of 160,000.
const MIN_LETTERS: usize = 4;

/// What is known from before.
#[derive(Clone, Copy, Default)]
pub(super) struct Before<'a> {
    /// The newest result of an earlier revision of the study.
    pub(super) revision: Option<&'a Report>,
    /// That of the study of the same patient that was read last.
    pub(super) study: Option<&'a Report>,
}

/// Gives every finding its name: that of the same finding in the newest earlier revision, else that of
/// the same finding in the patient's last study, else its own.
pub(super) fn name(report: &mut Report, before: Before<'_>, study_uid: &str) {
    if let Some(earlier) = before.revision {
        let same = same(&earlier.lesions, &report.lesions);
        for (lesion, at) in report.lesions.iter_mut().zip(same) {
            let Some(known) = at.map(|at| &earlier.lesions[at]) else { continue };
            lesion.tracking_uid.clone_from(&known.tracking_uid);
            lesion.earlier.clone_from(&known.earlier);
        }
    }
    if let Some(prior) = before.study {
        let followed = over_time::followed(prior, report);
        let mut used: BTreeSet<String> =
            report.lesions.iter().filter_map(|lesion| lesion.tracking_uid.clone()).collect();
        for (lesion, at) in report.lesions.iter_mut().zip(followed) {
            let Some(known) = at.map(|at| &prior.lesions[at]) else { continue };
            // What an earlier revision said stands.
            let Some(uid) = known.tracking_uid.clone() else { continue };
            if lesion.tracking_uid.is_some() || !used.insert(uid.clone()) {
                continue;
            }
            lesion.tracking_uid = Some(uid);
            let (study_key, revision) = (prior.study_key.clone(), prior.revision);
            lesion.earlier = Some(EarlierFinding { study_key, revision, id: known.id });
        }
    }
    let revision = report.revision;
    let by = format!("{} of {}", report.pipeline.fingerprint, report.input.fingerprint);
    for lesion in report.lesions.iter_mut().filter(|lesion| lesion.tracking_uid.is_none()) {
        // Another engine's first finding, or another device's, need not be this one.
        let own = format!("finding {} of {study_uid}, revision {revision}, {by}", lesion.id);
        lesion.tracking_uid = Some(uid_of(&own));
    }
    name_for_people(&mut report.lesions);
}

/// Tracking identifiers follow from the UIDs, so that both are the same for ever. They are letters and not
/// numbers: a finding's number is that of its report, and another in the next study.
fn name_for_people(lesions: &mut [LesionRecord]) {
    let mut used: BTreeSet<String> = BTreeSet::new();
    for lesion in lesions {
        let digest = Sha256::digest(lesion.tracking_uid.as_deref().unwrap_or_default());
        let letters: String = digest
            .iter()
            .map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()]))
            .collect();
        // More letters where two of a report begin alike.
        let mut names = (MIN_LETTERS..=letters.len()).map(|n| format!("lesion {}", &letters[..n]));
        lesion.tracking_id = names.find(|id| used.insert(id.clone()));
    }
}

/// The newest result of an earlier revision, beside this one: its folder, and what it says.
pub(super) fn earlier(out: &Path, revision: u32) -> Option<(PathBuf, Report)> {
    let name = out.file_name()?.to_str()?;
    let study = name.strip_suffix(&result_name("", revision))?;
    let beside = |n: u32| out.with_file_name(result_name(study, n));
    let read = |folder: PathBuf| Some((files::read(&folder.join(REPORT)).ok()?, folder));
    let found = (1..revision).rev().map(beside).find_map(read);
    found.map(|(report, folder)| (folder, report))
}

/// The report of another study of the patient; one that went meanwhile is none.
pub(super) fn prior(path: &Path) -> Option<Report> {
    files::read(path).ok()
}

/// For each later finding the earlier one that it is; each is one at most, nearest pairs first.
fn same(earlier: &[LesionRecord], later: &[LesionRecord]) -> Vec<Option<usize>> {
    let reach = |a: &LesionRecord, b: &LesionRecord| {
        NEAR_MM.max(a.max_diameter_mm.max(b.max_diameter_mm) / 2.0)
    };
    let mut pairs: Vec<(f64, usize, usize)> = Vec::new();
    for (at, before) in earlier.iter().enumerate() {
        for (to, now) in later.iter().enumerate() {
            let mm = apart_mm(before.centre_ras_mm, now.centre_ras_mm);
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

fn apart_mm(a: [f64; 3], b: [f64; 3]) -> f64 {
    a.iter().zip(b).map(|(p, q)| (p - q).powi(2)).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests;
