//! What intake knows of one file, and what it hands on of a study.
//!
//! Owns [`FileFacts`] (in memory only: it holds the free text that names phases); of a study
//! [`StudyFiles`] is handed on. Refuses to carry a UID in clear: studies are keys, series and
//! instances are digests.

use super::fingerprint::Digest;
use super::names::NiftiName;
use super::reasons::RejectCode;
pub use hepalert_study::files::{Accepted, Format, MAX_CHOICES, PhaseFiles, StudyFiles};
pub use hepalert_study::series::{Candidate, Recon};
use hepalert_study::study::StudyKey;

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
