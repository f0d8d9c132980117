//! Finds the studies in a file or folder that lies still: `hepalert analyze INPUT`.
//!
//! Owns one look at one place; the rules are those of the assembler. A person waits here:
//! whatever cannot be used is named at once.

use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::accepted::unreadable;
use super::events::{AssembleParams, Event, Millis, StudyEvent};
use super::facts::{FileFacts, StudyFiles};
use super::gate::{GateParams, Refusal};
use super::listing::{Snapshot, Stamp, WatchParams, list};
use super::probe::{KeyOf, Probe, ProbeError};
use super::reasons::RefusalCode;
use super::strangers::{Counts, most};
use super::{Assembler, PhaseRules};
use hepalert_study::study::{Phase, StudyKey};

/// What lies in a place.
#[derive(Debug, Clone, PartialEq)]
pub struct Discovered {
    /// Studies ready to load, by key.
    pub studies: Vec<StudyFiles>,
    /// Studies that are refused, and files of no study by folder.
    pub refused: Vec<(StudyKey, Refusal)>,
}

/// Looks for studies with the wanted phases in a folder, or takes one file. A study without all
/// phases of the first set is taken for the next whose phases it has.
///
/// # Errors
/// If nothing can be computed: the reason of the study with the most files, or
/// [`RefusalCode::NoCtSeries`].
pub fn discover(
    input: &Path,
    wanted: &[Vec<Phase>],
    rules: &PhaseRules,
    gate: &GateParams,
    key_of: KeyOf<'_>,
) -> Result<Discovered, Refusal> {
    let found = read_all(input, gate, key_of)?;
    let (expected, instead) = wanted.split_first().map_or((&[][..], &[][..]), |(a, b)| (a, b));
    let mut params = lies_still(root_of(input), expected, rules, gate);
    params.instead = instead.to_vec();
    let loose = loose(&found);
    sort(assemble(Assembler::new(params, Vec::new()), found)).map_err(|refusal| {
        let said = loose.into_iter().find(|(code, _)| *code == refusal.code);
        match said.filter(|_| refusal.file_count == 1) {
            Some((_, detail)) => Refusal { detail, ..refusal },
            None => refusal,
        }
    })
}

/// What was read of a file.
pub(super) type Found = (Result<FileFacts, ProbeError>, PathBuf, Stamp);

/// Reads every file in a place.
///
/// # Errors
/// [`RefusalCode::Unreadable`] if the place cannot be read.
pub(super) fn read_all(
    input: &Path,
    gate: &GateParams,
    key_of: KeyOf<'_>,
) -> Result<Vec<Found>, Refusal> {
    let seen = look(input).map_err(|error| unreadable(&error))?;
    let (root, max_file_bytes) = (root_of(input), gate.max_file_bytes);
    let probe = Probe { root, key_of, max_file_bytes, is_network: false };
    let files: Vec<_> = seen.files.into_iter().collect();
    let read = files.into_par_iter().map(|(path, stamp)| (probe.read(&path, stamp), path, stamp));
    Ok(read.collect())
}

/// Below which folder studies are named: the one above, so that `a/ct.nii.gz` and `b/ct.nii.gz`
/// are two studies whether `a` and `b` or the files are given.
pub(super) fn root_of(input: &Path) -> &Path {
    let folder = if input.is_dir() { Some(input) } else { input.parent() };
    folder.and_then(Path::parent).unwrap_or(Path::new(""))
}

/// Nothing more will come: whatever is there is complete now.
pub(super) fn lies_still(
    root: &Path,
    expected: &[Phase],
    rules: &PhaseRules,
    gate: &GateParams,
) -> AssembleParams {
    AssembleParams {
        rules: rules.clone(),
        max_files: gate.max_files,
        force_complete_s: 0.0,
        ..AssembleParams::new(root, expected)
    }
}

/// Why files of no study cannot be used, in the reader's own sentences.
fn loose(found: &[Found]) -> Vec<(RefusalCode, String)> {
    let of_none = |found: &Result<FileFacts, ProbeError>| match found {
        Err(ProbeError::Broken(broken)) if broken.study.is_none() => {
            Some((broken.code, broken.said.clone()))
        }
        Ok(_) | Err(_) => None,
    };
    found.iter().filter_map(|(found, ..)| of_none(found)).collect()
}

/// What follows of files that are all there at once.
pub(super) fn assemble(mut machine: Assembler, found: Vec<Found>) -> Vec<StudyEvent> {
    let mut outcomes = Vec::new();
    for (found, path, stamp) in found {
        let event = match found {
            Ok(facts) => Event::Stable { path, facts, changed_ns: stamp.changed_ns() },
            Err(ProbeError::Broken(broken)) => Event::Refused { path, broken },
            Err(ProbeError::Foreign(_) | ProbeError::Changed) => continue,
        };
        outcomes.extend(machine.apply(event, Millis(0)));
    }
    outcomes.extend(machine.tick(Millis(1)));
    outcomes
}

fn look(input: &Path) -> std::io::Result<Snapshot> {
    if input.is_dir() {
        // Who points at a folder means what its links lead to as well.
        return list(&WatchParams { follow_links: true, ..WatchParams::new(input) }, false);
    }
    let stamp = Stamp::of(&std::fs::metadata(input)?, false);
    Ok(Snapshot { files: [(input.to_owned(), stamp)].into(), ..Snapshot::default() })
}

fn sort(outcomes: Vec<StudyEvent>) -> Result<Discovered, Refusal> {
    let mut found = Discovered { studies: Vec::new(), refused: Vec::new() };
    for outcome in outcomes {
        match outcome {
            StudyEvent::Complete { study, .. } => found.studies.push(study),
            StudyEvent::Refused { key, refusal, .. } => found.refused.push((key, refusal)),
            StudyEvent::PassedOver { key, counts, .. } => {
                found.refused.push((key, passed_over(&counts)))
            }
            StudyEvent::Received { .. } | StudyEvent::Duplicate { .. } => {}
        }
    }
    if !found.studies.is_empty() {
        return Ok(found);
    }
    let nothing = || Refusal::new(RefusalCode::NoCtSeries, "no CT was found", 0);
    let refusals = found.refused.into_iter().map(|(_, refusal)| refusal);
    Err(refusals.max_by_key(|refusal| refusal.file_count).unwrap_or_else(nothing))
}

/// Files that are of no study: the reason of most of them.
pub(super) fn passed_over(counts: &Counts) -> Refusal {
    let code = most(counts).and_then(RefusalCode::from_name).unwrap_or(RefusalCode::UnknownFormat);
    let words: Vec<String> = counts.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    Refusal::new(code, format!("passed over: {}", words.join(", ")), counts.values().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_files_that_are_not_told_apart_is_no_reason() {
        let counts = Counts::from([("more", 9000), ("foreign", 96), ("truncated_file", 4000)]);
        assert_eq!(passed_over(&counts).code, RefusalCode::TruncatedFile);
        assert_eq!(passed_over(&counts).file_count, 13_096);
    }
}
