//! What intake knows of one file, and what it hands on of a study.
//!
//! Owns [`FileFacts`] (in memory only: it holds the free text that names phases) and
//! [`StudyFiles`], the wire type between intake, the store and the worker. Refuses to carry
//! a UID in clear: studies are keys, series and instances are digests.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::fingerprint::Digest;
use super::names::NiftiName;
use super::phases::{Confidence, PhaseSource};
use super::reasons::RejectCode;
use super::wire;
use hepalert_study::study::{Phase, StudyKey};

/// What one whole file is.
#[derive(Debug, Clone, PartialEq)]
pub struct FileFacts {
    /// Whose study.
    pub study: StudyKey,
    /// SHA-256 of the file.
    pub content: Digest,
    /// What it adds.
    pub part: Part,
}

/// What a file adds to its study.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// A DICOM object.
    Slice(SliceFacts),
    /// A whole volume.
    Nifti(NiftiName),
}

/// What a DICOM header says that decides where the object belongs.
#[derive(Debug, Clone, PartialEq)]
pub struct SliceFacts {
    /// Digest of SeriesInstanceUID.
    pub series: Digest,
    /// Digest of SOPInstanceUID.
    pub instance: Digest,
    /// Why it can never be part of a phase, if it cannot.
    pub set_aside: Option<RejectCode>,
    /// Series description and protocol name, at most 256 characters.
    pub description: String,
    /// A contrast agent is named.
    pub contrast: bool,
    /// Milliseconds since 1970 on the scanner's clock (no time zone is known).
    pub acquired_ms: Option<i64>,
    /// Along the slice normal.
    pub position_mm: Option<f64>,
    /// SeriesNumber.
    pub series_number: Option<i64>,
    /// A sharp kernel or a single energy: read where the scan has no other reconstruction.
    pub last_resort: bool,
}

impl FileFacts {
    /// What this file is a copy of: the instance, or the tag of a NIfTI file.
    pub fn instance(&self) -> Digest {
        match &self.part {
            Part::Slice(slice) => slice.instance,
            Part::Nifti(name) => Digest::of(format!("nifti {:?}", name.tag).as_bytes()),
        }
    }

    /// Who this file is within its study: the instance and, since several slices may share
    /// one, where it lies.
    pub fn identity(&self) -> Digest {
        match &self.part {
            Part::Slice(SliceFacts { position_mm: Some(mm), instance, .. }) => {
                // In hundredths of a millimetre: nearer, two slices are one.
                Digest::of(format!("{} at {:.0}", instance.hex(), mm * 100.0).as_bytes())
            }
            Part::Slice(_) | Part::Nifti(_) => self.instance(),
        }
    }
}

/// A study that is whole: the files of each phase, ready to load.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StudyFiles {
    /// Who this is, without saying who.
    #[serde(with = "wire::key")]
    pub key: StudyKey,
    /// 1, and one more each time further files change a study that was complete.
    pub revision: u32,
    /// Of the files below: equal input, equal fingerprint, wherever the files lie.
    #[serde(with = "wire::digest")]
    pub fingerprint: Digest,
    /// In channel order.
    pub phases: Vec<PhaseFiles>,
    /// When the first phase was scanned, `2025-01-31T10:11:12.000` on the scanner's clock.
    pub acquired: Option<String>,
    /// Files of the study that are no part of a phase: scouts, reports, other series.
    pub set_aside: usize,
}

/// Most series of one scan that are tried one after the other.
pub const MAX_CHOICES: usize = 4;

impl StudyFiles {
    /// The study with the next series of each phase that has one, for a study that cannot be
    /// computed with the first. `None` if there is no other.
    pub fn next_choice(&self) -> Option<StudyFiles> {
        let next = |phase: &PhaseFiles| {
            let mut others = phase.others.clone();
            if others.is_empty() {
                return phase.clone();
            }
            let first = others.remove(0);
            PhaseFiles { is_second: true, others, ..first }
        };
        let has_other = self.phases.iter().any(|phase| !phase.others.is_empty());
        let phases = self.phases.iter().map(next).collect();
        has_other.then(|| StudyFiles { phases, ..self.clone() })
    }

    /// All files of all phases.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.phases.iter().flat_map(|phase| phase.files.iter().map(PathBuf::as_path))
    }
}

/// The files of one phase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseFiles {
    /// Which phase.
    #[serde(with = "wire::phase")]
    pub phase: Phase,
    /// Which rule said so.
    #[serde(with = "wire::source")]
    pub source: PhaseSource,
    /// How sure the rule is.
    #[serde(with = "wire::confidence")]
    pub confidence: Confidence,
    /// How to read the files.
    pub format: Format,
    /// One NIfTI file or the slices, in no particular order of space.
    #[serde(with = "wire::paths")]
    pub files: Vec<PathBuf>,
    /// What was in each of them when the study was accepted. A study queued by a program that
    /// did not keep this yet has none, and is then not as accepted.
    #[serde(default, with = "wire::digests")]
    pub contents: Vec<Digest>,
    /// Another series of the same scan would be read first, were it whole.
    #[serde(default)]
    pub is_second: bool,
    /// Further series of the same scan, to be read if this one cannot be; best first.
    #[serde(default)]
    pub others: Vec<PhaseFiles>,
}

impl PhaseFiles {
    /// The file with this index as it was accepted.
    pub fn accepted(&self, at: usize) -> Accepted<'_> {
        Accepted { path: &self.files[at], content: self.contents.get(at).copied() }
    }
}

/// A file, and what was in it when its study was accepted.
#[derive(Debug, Clone, Copy)]
pub struct Accepted<'a> {
    /// Where it lies.
    pub path: &'a Path,
    /// Its SHA-256, if it was kept.
    pub content: Option<Digest>,
}

/// How the files of a phase are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// One file per slice.
    Dicom,
    /// One file.
    Nifti,
}
