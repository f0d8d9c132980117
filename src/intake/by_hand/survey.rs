//! Every series that lies in a place, read or not: what `hepalert inspect` tells.
//!
//! Owns one look for a person who has the files at hand, so descriptions are told as they
//! stand. Refuses to decide: phases are told by [`crate::intake::study::decide`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::discover::{Discovered, NotTaken, Place, assemble, lies_still, read_all, root_of};
use crate::intake::facts::{FileFacts, Part, SliceFacts, StudyFiles};
use crate::intake::fingerprint::Digest;
use crate::intake::folder::stranger_kind::Counts;
use crate::intake::reading::gate::{GateParams, Refusal};
use crate::intake::reading::probe::KeyOf;
use crate::intake::refusal_codes::RefusalCode;
use crate::intake::study::phases;
use crate::intake::study::phases::{Fitness, PhaseRules};
use hepalert_study::phase::Phase;
use hepalert_study::study::StudyKey;

/// What lies in a place.
#[derive(Debug)]
pub(crate) struct Survey {
    /// Studies with series that may be a phase.
    pub studies: Vec<StudyFiles>,
    /// Studies that are refused without a look, and files of no study by folder.
    pub refused: Vec<NotTaken>,
    /// Series that are no candidates.
    pub aside: Vec<Aside>,
    /// What is no image or not looked into, by kind.
    pub passed_over: Counts,
    descriptions: BTreeMap<PathBuf, String>,
}

/// A series that is not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Aside {
    /// The study's key.
    pub study: StudyKey,
    /// SeriesNumber, where said.
    pub series_number: Option<i64>,
    /// SeriesDescription.
    pub description: String,
    /// How many files it has.
    pub files: usize,
    /// Why, in a sentence.
    pub why: String,
}

impl Survey {
    /// SeriesDescription of the series that a file belongs to.
    pub(crate) fn description(&self, path: &Path) -> &str {
        self.descriptions.get(path).map_or("", String::as_str)
    }
}

/// Looks at everything in a folder or at one file.
///
/// # Errors
/// [`RefusalCode::Unreadable`] if the place cannot be read.
pub(crate) fn survey(
    input: &Path,
    expected: &[Phase],
    rules: &PhaseRules,
    gate: &GateParams,
    key_of: KeyOf<'_>,
) -> Result<Survey, Refusal> {
    let Place { found, passed_over, .. } = read_all(input, gate, key_of)?;
    let facts: Vec<(PathBuf, FileFacts)> =
        found.iter().filter_map(|(f, path, _)| Some((path.clone(), f.clone().ok()?))).collect();
    let params = lies_still(root_of(input), expected, rules, gate);
    let Discovered { studies, refused, .. } = assemble(params, found);
    let aside = aside(&facts, &studies, rules);
    let text = |facts: &FileFacts| match &facts.part {
        Part::Nifti(name) => name.case.clone(),
        part => part.slices().first().map_or(String::new(), |s| s.description.clone()),
    };
    let descriptions = facts.iter().map(|(path, facts)| (path.clone(), text(facts))).collect();
    Ok(Survey { studies, refused, aside, passed_over, descriptions })
}

/// Study, series and why it is set aside.
type Group<'a> = (&'a str, Digest, Option<RefusalCode>);

/// Series of which no file is in a study.
fn aside(facts: &[(PathBuf, FileFacts)], studies: &[StudyFiles], rules: &PhaseRules) -> Vec<Aside> {
    let used: BTreeSet<&Path> = studies.iter().flat_map(StudyFiles::files).collect();
    let mut groups: BTreeMap<Group<'_>, Vec<(&Path, &SliceFacts)>> = BTreeMap::new();
    for (path, facts) in facts {
        if let Some(slice) = facts.part.slices().first() {
            let group = (facts.study.as_str(), slice.series, slice.refused);
            groups.entry(group).or_default().push((path, slice));
        }
    }
    let unused =
        groups.iter().filter(|(_, files)| files.iter().all(|(path, _)| !used.contains(*path)));
    unused
        .filter_map(|((study, _, code), files)| {
            let slice = files[0].1;
            Some(Aside {
                study: StudyKey::new(study)?,
                series_number: slice.recon.series_number,
                description: slice.description.clone(),
                files: files.len(),
                why: reason(*code, slice, files.len(), rules),
            })
        })
        .collect()
}

fn reason(
    code: Option<RefusalCode>,
    slice: &SliceFacts,
    files: usize,
    rules: &PhaseRules,
) -> String {
    let header = phases::Header {
        series_description: &slice.description,
        protocol_name: &slice.protocol,
        acquisition_number: slice.recon.acquisition_number,
        series_number: slice.recon.series_number,
    };
    match (code, phases::rules::first(&rules.rules, header)) {
        (Some(code), _) => format!("{code}: {}", code.sentence()),
        (None, Some((number, phases::Ruled::Never))) => format!("rule {number} says never"),
        (None, _) if slice.recon.fitness == Fitness::Sharp => {
            "a kernel for lung or bone; a softer one is there".to_owned()
        }
        (None, _) => {
            format!("{files} slices: a scout, bolus tracking, or not enough for the study")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intake::study_key;

    #[test]
    fn a_broken_file_that_is_of_no_study_is_told() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("I0001"), "what is this, with no magic?").unwrap();
        let key_of = |uid: &str| study_key(b"", uid);
        let (rules, gate) = (PhaseRules::default(), GateParams::default());
        let found = survey(dir.path(), &[Phase::Vp], &rules, &gate, &key_of).unwrap();
        let codes: Vec<_> = found.refused.iter().map(|one| one.refusal.code).collect();
        assert_eq!(codes, [RefusalCode::UnknownFormat]);
    }
}
