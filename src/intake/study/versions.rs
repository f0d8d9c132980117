//! Which of several copies of a slice counts.
//!
//! Owns the rule: the newest content of every slice, whole folders first. A copy with other
//! pixels or headers is a correction. Slices are told apart by instance and position, since
//! de-identifiers and broken senders give several slices one SOPInstanceUID. Refuses to let
//! the order of arrival or a path decide between equals.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::phases::{Choice, Confidence, PhaseSource, Scan, named_surely};
use crate::intake::events::Millis;
use crate::intake::facts::{Candidate, Format, PhaseFiles, Pick};
use crate::intake::fingerprint::{Digest, Item, fingerprint};
use hepalert_study::phase::Phase;

/// More folders than this with copies of one series are not weighed against each other.
const MAX_COPIES: usize = 16;

/// One file that holds a slice or a volume.
#[derive(Debug, Clone)]
pub(super) struct SliceCopy {
    /// Where it lies.
    pub path: PathBuf,
    /// SHA-256 of it.
    pub content: Digest,
    /// What it shows, however it is written.
    pub shown: Digest,
    /// Digest of the SOPInstanceUID or of the NIfTI tag.
    pub instance: Digest,
    /// Instance and position.
    pub identity: Digest,
    /// Which of several images in the file.
    pub frame: Option<usize>,
    /// When the file was last changed or put there, in ns.
    pub changed_ns: i128,
}

/// One series that can be read as a phase, with all copies of its slices.
#[derive(Debug, Clone)]
pub(super) struct Picked {
    /// The phase that its header proposes, and why.
    pub choice: Option<Choice>,
    /// What its header says; `None` for NIfTI.
    pub scan: Option<Scan>,
    /// How it is read.
    pub format: Format,
    /// When it was scanned.
    pub acquired_ms: Option<i64>,
    /// Its files.
    pub held: Vec<SliceCopy>,
    /// When the newest of them came.
    pub newest: Millis,
    /// A slice is missing between others.
    pub has_hole: bool,
    /// Another series would be read first, were it whole.
    pub is_second: bool,
    /// The series holds further acquisitions.
    pub is_split: bool,
}

/// One way to pick a copy of every slice.
#[derive(Debug, Clone)]
pub(super) struct Version {
    /// Of what the picked files show.
    pub fingerprint: Digest,
    /// Of their bytes: what it was before transfer syntaxes were seen through, and is where files that
    /// were taken in are written over.
    pub of_bytes: Digest,
    /// The picked files, as far as headers tell phases.
    pub phases: Vec<PhaseFiles>,
    /// The files of every series that may be a phase.
    pub candidates: Vec<Candidate>,
    /// When the first phase was scanned.
    pub acquired_ms: Option<i64>,
}

/// The version that counts, first; then, where several folders hold copies, one per folder
/// with its copies preferred. `picked` holds the choices of each phase, best first.
pub(super) fn versions(picked: &[Vec<Picked>], expected: &[Phase]) -> Vec<Version> {
    let held = || picked.iter().flatten().flat_map(|one| &one.held);
    let mut copies: BTreeMap<Digest, BTreeSet<Option<&Path>>> = BTreeMap::new();
    for file in held() {
        copies.entry(file.instance).or_default().insert(file.path.parent());
    }
    let several = copies.into_values().filter(|folders| folders.len() > 1);
    let folders: BTreeSet<Option<&Path>> = several.flatten().take(MAX_COPIES).collect();
    let mut versions = vec![version(picked, None, expected)];
    versions.extend(folders.into_iter().map(|folder| version(picked, folder, expected)));
    versions
}

fn version(picked: &[Vec<Picked>], preferred: Option<&Path>, expected: &[Phase]) -> Version {
    let (mut phases, mut candidates) = (Vec::new(), Vec::new());
    let mut parts: Vec<(Option<Phase>, Vec<&SliceCopy>)> = Vec::new();
    // Where nothing can be read, everything tells the study from others: two patients without the
    // engine's phases are no copies of each other.
    let mut unread: Vec<&SliceCopy> = Vec::new();
    for choices in picked {
        let mut read = choices.iter().map(|one| {
            let chosen = chosen(&one.held, preferred);
            let phase = one.choice.map(|choice| choice.phase);
            match phase.is_some() || may_matter(one, expected) {
                true => parts.push((phase, chosen.clone())),
                false => unread.extend(&chosen),
            }
            let (files, contents, pick) = files(&chosen, one.is_split);
            let files = PhaseFiles {
                phase: phase.or(expected.first().copied()).unwrap_or(Phase::Nc),
                source: one.choice.map_or(PhaseSource::Order, |choice| choice.source),
                confidence: one.choice.map_or(Confidence::Low, |choice| choice.confidence),
                format: one.format,
                files,
                contents,
                is_second: one.is_second,
                others: Vec::new(),
                pick,
            };
            candidates
                .extend(one.scan.clone().map(|scan| Candidate { scan, files: files.clone() }));
            files
        });
        let Some(first) = read.next() else { continue };
        let others = read.collect();
        phases.extend(choices[0].choice.map(|_| PhaseFiles { others, ..first }));
    }
    phases.sort_by_key(|files| files.phase);
    if parts.is_empty() {
        parts.push((None, unread));
    }
    let fingerprint = named(&parts, |file| file.shown);
    let of_bytes = named(&parts, |file| file.content);
    Version { fingerprint, of_bytes, phases, candidates, acquired_ms: acquired(picked) }
}

/// The fingerprint by one of the digests of each file.
fn named(parts: &[(Option<Phase>, Vec<&SliceCopy>)], by: impl Fn(&SliceCopy) -> Digest) -> Digest {
    let items = |held: &[&SliceCopy]| held.iter().map(|file| (file.instance, by(file))).collect();
    let parts: Vec<(Option<Phase>, Vec<Item>)> =
        parts.iter().map(|(phase, held)| (*phase, items(held))).collect();
    fingerprint(&parts)
}

/// Whether a series that is no phase by its header could be one by its images: not where it is
/// named as a phase that nobody wants. Such a series is looked at, and makes no revision.
fn may_matter(one: &Picked, expected: &[Phase]) -> bool {
    let named = one.scan.as_ref().and_then(named_surely);
    named.is_none_or(|phase| expected.contains(&phase))
}

/// When the first phase began; of all series where headers tell no phase.
fn acquired(picked: &[Vec<Picked>]) -> Option<i64> {
    let all = || picked.iter().flatten();
    let chosen = all().filter(|one| one.choice.is_some()).filter_map(|one| one.acquired_ms).min();
    chosen.or(all().filter_map(|one| one.acquired_ms).min())
}

/// Each file once, and which of its images are read. `chosen` is in order of paths.
fn files(chosen: &[&SliceCopy], is_split: bool) -> (Vec<PathBuf>, Vec<Digest>, Pick) {
    let by_file = || chosen.chunk_by(|a, b| a.path == b.path);
    let mut frames: Vec<Vec<usize>> =
        by_file().map(|images| images.iter().filter_map(|image| image.frame).collect()).collect();
    frames.iter_mut().for_each(|frames| frames.sort_unstable());
    if frames.iter().all(Vec::is_empty) {
        frames.clear();
    }
    let (files, contents) =
        by_file().map(|images| (images[0].path.clone(), images[0].content)).unzip();
    (files, contents, Pick { is_split, frames })
}

/// How much a folder's copies count: preferred, newest, then by what is in them.
type Rank = (bool, i128, Digest);

/// The copy of each slice that counts, by path.
fn chosen<'a>(held: &'a [SliceCopy], preferred: Option<&Path>) -> Vec<&'a SliceCopy> {
    let mut folders: BTreeMap<Option<&Path>, Vec<&SliceCopy>> = BTreeMap::new();
    for file in held {
        folders.entry(file.path.parent()).or_default().push(file);
    }
    let rank = |folder: Option<&Path>, files: &[&SliceCopy]| -> Rank {
        let newest = files.iter().map(|file| file.changed_ns).max().unwrap_or(0);
        let items = files.iter().map(|file| (file.instance, file.content)).collect();
        (preferred.is_some() && folder == preferred, newest, fingerprint(&[(None, items)]))
    };
    let ranked: Vec<(Rank, Vec<&SliceCopy>)> =
        folders.into_iter().map(|(folder, files)| (rank(folder, &files), files)).collect();
    let mut best: BTreeMap<Digest, (&Rank, &SliceCopy)> = BTreeMap::new();
    for (rank, files) in ranked.iter().filter(|one| !is_superseded(one, &ranked)) {
        for file in files {
            let key = |(rank, file): &(&Rank, &SliceCopy)| {
                (**rank, file.changed_ns, file.content, std::cmp::Reverse(file.path.clone()))
            };
            let found = best.entry(file.identity).or_insert((rank, file));
            if key(&(rank, file)) > key(found) {
                *found = (rank, file);
            }
        }
    }
    let mut chosen: Vec<&SliceCopy> = best.into_values().map(|(_, file)| file).collect();
    chosen.sort_by(|a, b| a.path.cmp(&b.path));
    chosen
}

/// True when a folder that counts more holds every slice of this one, corrected positions
/// included: then nothing of this one is read.
fn is_superseded((rank, files): &(Rank, Vec<&SliceCopy>), all: &[(Rank, Vec<&SliceCopy>)]) -> bool {
    let instances =
        |files: &[&SliceCopy]| files.iter().map(|f| f.instance).collect::<BTreeSet<_>>();
    let own = instances(files);
    // A single instance may be several slices that share a UID, each in a folder of its own.
    if own.len() < 2 || all.len() > MAX_COPIES {
        return false;
    }
    all.iter().any(|(other, files)| other > rank && own.is_subset(&instances(files)))
}
