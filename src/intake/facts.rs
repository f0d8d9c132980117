//! What intake knows of one file, and what it hands on of a study.
//!
//! Owns [`FileFacts`] (in memory only: it holds the free text that names phases) and
//! [`StudyFiles`], the wire type between intake, the store and the worker. Refuses to carry
//! a UID in clear: studies are keys, series and instances are digests.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::fingerprint::Digest;
use super::names::NiftiName;
use super::phases::{Confidence, PhaseSource, Recon, Scan};
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
    /// SeriesDescription, at most 256 characters.
    pub description: String,
    /// ProtocolName, at most 256 characters: often the whole examination's.
    pub protocol: String,
    /// A contrast agent is named.
    pub contrast: bool,
    /// Milliseconds since 1970 on the scanner's clock (no time zone is known).
    pub acquired_ms: Option<i64>,
    /// Along the slice normal.
    pub position_mm: Option<f64>,
    /// How the series was made.
    pub recon: Recon,
}

impl FileFacts {
    /// Who this file is within its study: the instance, or the tag of a NIfTI file.
    pub fn identity(&self) -> Digest {
        match &self.part {
            Part::Slice(slice) => slice.instance,
            Part::Nifti(name) => Digest::of(format!("nifti {:?}", name.tag).as_bytes()),
        }
    }
}

/// A study that is whole: the files of each phase, ready to load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StudyFiles {
    /// Who this is, without saying who.
    #[serde(with = "wire::key")]
    pub key: StudyKey,
    /// 1, and one more each time further files change a study that was complete.
    pub revision: u32,
    /// Of the files below: equal input, equal fingerprint, wherever the files lie.
    #[serde(with = "wire::digest")]
    pub fingerprint: Digest,
    /// In channel order, as far as headers say: empty where only images can tell.
    pub phases: Vec<PhaseFiles>,
    /// Every series that may be a phase; what its images show decides. None for NIfTI.
    #[serde(default)]
    pub candidates: Vec<Candidate>,
    /// When the first phase was scanned, `2025-01-31T10:11:12.000` on the scanner's clock.
    pub acquired: Option<String>,
    /// Files of the study that are no part of a phase: scouts, reports, other series.
    pub set_aside: usize,
}

impl StudyFiles {
    /// All files of all phases, and of series that may be one.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let candidates = self.candidates.iter().map(|candidate| &candidate.files);
        let phases = self.phases.iter().filter(|_| self.candidates.is_empty());
        candidates.chain(phases).flat_map(|phase| phase.files.iter().map(PathBuf::as_path))
    }
}

/// A series that may be a phase.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// What its header says.
    pub scan: Scan,
    /// Its files. Phase, source and confidence are what the header proposes, and the engine's
    /// first phase where it proposes none.
    pub files: PhaseFiles,
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
