//! Every series that lies in a place, read or not: what `hepalert inspect` tells.
//!
//! Owns one look for a person who has the files at hand, so descriptions are told as they
//! stand. Refuses to decide: phases are told by [`super::decide`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::discover::{assemble, look};
use super::events::{AssembleParams, StudyEvent};
use super::facts::{FileFacts, Part, SliceFacts, StudyFiles};
use super::fingerprint::Digest;
use super::gate::{GateParams, Refusal};
use super::phases::{Fitness, PhaseRules};
use super::probe::{KeyOf, Probe, ProbeError};
use super::reasons::RefusalCode;
use super::watch::Stamp;
use super::{Assembler, phases};
use hepalert_study::study::{Phase, StudyKey};

/// What lies in a place.
#[derive(Debug)]
pub struct Survey {
    /// Studies with series that may be a phase.
    pub studies: Vec<StudyFiles>,
    /// Studies and files that are refused without a look.
    pub refused: Vec<(StudyKey, Refusal)>,
    /// Series that are no candidates.
    pub aside: Vec<Aside>,
    /// Files that are no images and promise none.
    pub passed_over: usize,
    descriptions: BTreeMap<PathBuf, String>,
}

/// A series that is not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aside {
    /// Whose.
    pub study: StudyKey,
    /// SeriesNumber, where said.
    pub series_number: Option<i64>,
    /// SeriesDescription.
    pub description: String,
    /// Files.
    pub files: usize,
    /// Why, in a sentence.
    pub why: String,
}

impl Survey {
    /// SeriesDescription of the series that a file belongs to.
    pub fn description(&self, path: &Path) -> &str {
        self.descriptions.get(path).map_or("", String::as_str)
    }
}

/// Looks at everything in a folder or at one file.
///
/// # Errors
/// [`RefusalCode::Unreadable`] if the place cannot be read.
pub fn survey(
    input: &Path,
    expected: &[Phase],
    rules: &PhaseRules,
    gate: &GateParams,
    key_of: KeyOf<'_>,
) -> Result<Survey, Refusal> {
    let unreadable =
        |e: std::io::Error| Refusal::new(RefusalCode::Unreadable, e.kind().to_string(), 1);
    let seen = look(input).map_err(unreadable)?;
    let root = if input.is_dir() { Some(input) } else { input.parent() };
    let root = root.and_then(Path::parent).unwrap_or(Path::new(""));
    let probe = Probe { root, key_of, max_file_bytes: gate.max_file_bytes, is_network: false };
    let files: Vec<_> = seen.files.into_iter().collect();
    let found: Vec<(Result<FileFacts, ProbeError>, PathBuf, Stamp)> = files
        .into_par_iter()
        .map(|(path, stamp)| (probe.read(&path, stamp), path, stamp))
        .collect();
    let passed_over =
        found.iter().filter(|(f, ..)| matches!(f, Err(ProbeError::Foreign(_)))).count();
    let facts: Vec<(PathBuf, FileFacts)> =
        found.iter().filter_map(|(f, path, _)| Some((path.clone(), f.clone().ok()?))).collect();
    let mut params = AssembleParams::new(root, expected);
    params.rules = rules.clone();
    params.max_files = gate.max_files;
    params.force_complete_s = 0.0;
    let (mut studies, mut refused) = (Vec::new(), Vec::new());
    for outcome in assemble(Assembler::new(params, Vec::new()), found) {
        match outcome {
            StudyEvent::Complete { study, .. } => studies.push(study),
            StudyEvent::Refused { key, refusal, .. } => refused.push((key, refusal)),
            StudyEvent::Received { .. }
            | StudyEvent::Duplicate { .. }
            | StudyEvent::PassedOver { .. } => {}
        }
    }
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
            let group = (facts.study.as_str(), slice.series, slice.set_aside);
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
