//! Finds the studies in a file or folder that lies still: `hepalert analyze INPUT`.
//!
//! Owns one look at one place; the rules are those of the assembler. A person waits here:
//! whatever cannot be used is named at once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use crate::intake::events::{AssembleParams, Event, Millis, StudyEvent};
use crate::intake::facts::{FileFacts, StudyFiles};
use crate::intake::folder::listing::{Degraded, Snapshot, Stamp, WatchParams, list};
use crate::intake::folder::stranger_kind::{Counts, StrangerKind};
use crate::intake::folder::strangers::{most, words};
use crate::intake::reading::accepted::unreadable;
use crate::intake::reading::gate::{GateParams, Refusal};
use crate::intake::reading::probe::{KeyOf, Probe, ProbeError};
use crate::intake::refusal_codes::RefusalCode;
use crate::intake::{Assembler, PhaseRules};
use hepalert_study::digest::Digest;
use hepalert_study::files::place_of;
use hepalert_study::phase::Phase;
use hepalert_study::study::StudyKey;

/// What lies in a place.
#[derive(Debug, Clone, PartialEq)]
pub struct Discovered {
    /// Studies ready to load, by key.
    pub studies: Vec<StudyFiles>,
    /// Studies that are refused, and files of no study by folder.
    pub refused: Vec<NotTaken>,
    /// Studies that are there once more, under other names: each is taken once.
    pub copies: usize,
}

/// What lies in a place and is not analysed.
#[derive(Debug, Clone, PartialEq)]
pub struct NotTaken {
    /// Of the study, or of the folder whose files are of no study.
    pub key: StudyKey,
    /// The folder that holds all its files; the file, if it is one.
    pub place: PathBuf,
    /// Why not.
    pub refusal: Refusal,
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
    let Place { found, passed_over, .. } = read_all(input, gate, key_of)?;
    let found = assemble(for_engines(input, wanted, rules, gate), found);
    if !found.studies.is_empty() {
        return Ok(found);
    }
    let refusals = found.refused.into_iter().map(|one| one.refusal);
    Err(refusals
        .max_by_key(|refusal| refusal.file_count)
        .unwrap_or_else(|| nothing_but(&passed_over)))
}

/// Everything in a large place.
#[derive(Debug)]
pub(crate) struct Inventory {
    /// Studies, and what is refused.
    pub found: Discovered,
    /// Files that are no images or were not looked into, by kind.
    pub passed_over: Counts,
    /// Why this is not everything, where it is not.
    pub degraded: Vec<Degraded>,
}

/// As [`discover`], of a folder with any number of studies up to `max_files` files: nothing found is
/// an answer too, and `step` hears how many files are read of how many.
///
/// # Errors
/// [`RefusalCode::Unreadable`] if the place cannot be read.
pub(crate) fn take_stock(
    input: &Path,
    wanted: &[Vec<Phase>],
    (rules, gate): (&PhaseRules, &GateParams),
    key_of: KeyOf<'_>,
    max_files: usize,
    step: &(dyn Fn(usize, usize) + Sync),
) -> Result<Inventory, Refusal> {
    let seen = look(input, max_files).map_err(|error| unreadable(&error))?;
    let Place { found, passed_over, degraded } = read_seen(seen, input, gate, key_of, step);
    let found = assemble(for_engines(input, wanted, rules, gate), found);
    Ok(Inventory { found, passed_over, degraded })
}

/// The rules for a place in which studies for any of these sets of phases lie, best first.
fn for_engines(
    input: &Path,
    wanted: &[Vec<Phase>],
    rules: &PhaseRules,
    gate: &GateParams,
) -> AssembleParams {
    let (expected, instead) = wanted.split_first().map_or((&[][..], &[][..]), |(a, b)| (a, b));
    let params = lies_still(root_of(input), expected, rules, gate);
    AssembleParams { instead: instead.to_vec(), ..params }
}

/// What lies in a place, read.
pub(in crate::intake) struct Place {
    /// Every file.
    pub(in crate::intake) found: Vec<Found>,
    /// What is no image or not looked into, by kind.
    pub(in crate::intake) passed_over: Counts,
    /// Why that is not everything.
    degraded: Vec<Degraded>,
}

/// What was read of a file.
pub(in crate::intake) type Found = (Result<FileFacts, ProbeError>, PathBuf, Stamp);

/// Reads every file in a place.
///
/// # Errors
/// [`RefusalCode::Unreadable`] if the place cannot be read.
pub(super) fn read_all(
    input: &Path,
    gate: &GateParams,
    key_of: KeyOf<'_>,
) -> Result<Place, Refusal> {
    let max_files = WatchParams::new(input).max_files;
    let seen = look(input, max_files).map_err(|error| unreadable(&error))?;
    Ok(read_seen(seen, input, gate, key_of, &|_, _| ()))
}

fn read_seen(
    seen: Snapshot,
    input: &Path,
    gate: &GateParams,
    key_of: KeyOf<'_>,
    step: &(dyn Fn(usize, usize) + Sync),
) -> Place {
    let (root, max_file_bytes) = (root_of(input), gate.max_file_bytes);
    let probe = Probe { root, key_of, max_file_bytes, is_network: false };
    let files: Vec<_> = seen.files.into_iter().collect();
    let (done, total) = (AtomicUsize::new(0), files.len());
    let read = files.into_par_iter().map(|(path, stamp)| {
        let read = (probe.read(&path, stamp), path, stamp);
        step(done.fetch_add(1, Ordering::Relaxed) + 1, total);
        read
    });
    let found: Vec<Found> = read.collect();
    let mut passed_over = Counts::new();
    let kinds = found.iter().filter_map(|(read, ..)| match read {
        Err(ProbeError::Foreign(kind)) => Some(*kind),
        Ok(_) | Err(_) => None,
    });
    let ignored = seen.ignored.into_values().map(|(_, kind)| kind);
    let closed = seen.blind.iter().map(|_| StrangerKind::ClosedFolder);
    for kind in kinds.chain(ignored).chain(closed) {
        *passed_over.entry(kind).or_default() += 1;
    }
    Place { found, passed_over, degraded: seen.degraded }
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

/// What follows of files that are all there at once.
pub(in crate::intake) fn assemble(params: AssembleParams, found: Vec<Found>) -> Discovered {
    let (mut machine, mut outcomes) = (Assembler::new(params, Vec::new()), Vec::new());
    let copies = copies_by_folder(&found);
    for (found, path, stamp) in found {
        let event = match found {
            Ok(facts) => Event::Stable { path, facts, changed_ns: stamp.changed_ns() },
            Err(ProbeError::Broken(broken)) => Event::Refused { path, broken },
            // Strangers were counted apart.
            Err(ProbeError::Foreign(_) | ProbeError::Changed) => continue,
        };
        outcomes.extend(machine.apply(event, Millis(0)));
    }
    outcomes.extend(machine.tick(Millis(1)));
    let not_taken = |key: StudyKey, refusal| NotTaken {
        place: place_of(machine.files_of(&key).iter().map(PathBuf::as_path)),
        key,
        refusal,
    };
    let mut sorted = Discovered { studies: Vec::new(), refused: Vec::new(), copies };
    for outcome in outcomes {
        match outcome {
            StudyEvent::Complete { study, .. } => sorted.studies.push(study),
            StudyEvent::Refused { key, refusal, .. } => {
                sorted.refused.push(not_taken(key, refusal))
            }
            StudyEvent::PassedOver { key, counts, said, .. } => {
                sorted.refused.push(not_taken(key, passed_over(&counts, said.as_deref())));
            }
            StudyEvent::Duplicate { .. } => sorted.copies += 1,
            StudyEvent::Received { .. } => {}
        }
    }
    sorted
}

/// How often studies lie in further folders, file by file the same. The assembler takes those as one
/// study without a word, as it must of a study that is sent twice.
fn copies_by_folder(found: &[Found]) -> usize {
    let mut folders: BTreeMap<(&StudyKey, Option<&Path>), BTreeSet<Digest>> = BTreeMap::new();
    for (facts, path, _) in found {
        // A volume is a study of its own wherever it lies, and tells of its copies itself.
        if let Ok(facts) = facts
            && !facts.part.slices().is_empty()
        {
            folders.entry((&facts.study, path.parent())).or_default().insert(facts.content);
        }
    }
    let mut alike: BTreeMap<(&StudyKey, BTreeSet<Digest>), usize> = BTreeMap::new();
    for ((study, _), contents) in folders {
        *alike.entry((study, contents)).or_default() += 1;
    }
    // A study may have a folder for each of its series.
    let mut most: BTreeMap<&StudyKey, usize> = BTreeMap::new();
    for ((study, _), folders) in alike {
        let seen = most.entry(study).or_default();
        *seen = (*seen).max(folders - 1);
    }
    most.values().sum()
}

fn look(input: &Path, max_files: usize) -> std::io::Result<Snapshot> {
    if input.is_dir() {
        // Who points at a folder means what its links lead to as well.
        let params = WatchParams { follow_links: true, max_files, ..WatchParams::new(input) };
        return list(&params, false);
    }
    let stamp = Stamp::of(&std::fs::metadata(input)?, false);
    Ok(Snapshot { files: [(super::behind_links(input)?, stamp)].into(), ..Snapshot::default() })
}

/// Files that are of no study: the reason of most of them, in the reader's sentence.
fn passed_over(counts: &Counts, said: Option<&str>) -> Refusal {
    let code = most(counts).and_then(StrangerKind::reason).unwrap_or(RefusalCode::UnknownFormat);
    let count = counts.values().sum();
    let detail = match said {
        Some(said) if counts.len() == 1 => said.to_owned(),
        Some(said) => format!("{said}; in all {}", words(counts)),
        None => format!("passed over: {}", words(counts)),
    };
    Refusal::new(code, detail, count)
}

/// Where nothing but strangers lies.
fn nothing_but(strangers: &Counts) -> Refusal {
    let mut detail = "no CT was found".to_owned();
    if !strangers.is_empty() {
        detail += &format!("; passed over: {}", words(strangers));
    }
    if strangers.contains_key(&StrangerKind::Archive) {
        detail += "; archives (zip, gz and the like) are not looked into: unpack them";
    }
    Refusal::new(RefusalCode::NoCtSeries, detail, strangers.values().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_files_that_are_not_told_apart_is_no_reason() {
        let truncated = StrangerKind::Refused(RefusalCode::TruncatedFile);
        let counts = Counts::from([
            (StrangerKind::More, 9000),
            (StrangerKind::Foreign, 96),
            (truncated, 4000),
        ]);
        let refusal = passed_over(&counts, Some("the file is empty"));
        assert_eq!((refusal.code, refusal.file_count), (RefusalCode::TruncatedFile, 13_096));
        let all = "the file is empty; in all 96 foreign, 9000 more, 4000 truncated_file";
        assert_eq!(refusal.detail, all);
    }

    #[test]
    fn what_was_passed_over_is_named_with_the_next_step() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["1.dcm.gz", "2.dcm.gz", "study.zip", "notes.txt", ".hidden", "x.part"] {
            std::fs::write(dir.path().join(name), "PK or something else").unwrap();
        }
        let key_of = |uid: &str| crate::intake::study_key(b"", uid);
        let (rules, gate) = (PhaseRules::default(), GateParams::default());
        let wanted = [vec![Phase::Vp]];
        let refusal = discover(dir.path(), &wanted, &rules, &gate, &key_of).unwrap_err();
        assert_eq!(
            (refusal.code, refusal.detail.as_str(), refusal.file_count),
            (
                RefusalCode::NoCtSeries,
                "no CT was found; passed over: 3 archive, 1 foreign, 1 hidden, 1 unfinished; \
                 archives (zip, gz and the like) are not looked into: unpack them",
                6
            )
        );
    }

    #[test]
    fn files_of_no_study_keep_the_sentence_of_their_reader() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a.img", "a.hdr"] {
            let mut bytes = vec![0; 348];
            bytes[..4].copy_from_slice(&348_i32.to_le_bytes());
            std::fs::write(dir.path().join(name), bytes).unwrap();
        }
        let key_of = |uid: &str| crate::intake::study_key(b"", uid);
        let (rules, gate) = (PhaseRules::default(), GateParams::default());
        let wanted = [vec![Phase::Vp]];
        let refusal = discover(dir.path(), &wanted, &rules, &gate, &key_of).unwrap_err();
        let pair = hepalert_voxels::volume::nifti::NiftiError::HeaderPair;
        assert_eq!((refusal.detail, refusal.file_count), (pair.to_string(), 2));
    }
}
