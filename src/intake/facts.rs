//! What intake knows of one file, and what it hands on of a study.
//!
//! Owns [`FileFacts`] (in memory only: it holds the free text that names phases); of a study
//! [`StudyFiles`] is handed on. Refuses to carry a UID in clear: studies are keys, series and
//! instances are digests.

use super::fingerprint::Digest;
use super::folder::names::NiftiName;
use super::refusal_codes::RefusalCode;
pub(crate) use hepalert_study::files::{
    Accepted, Candidate, Format, MAX_CHOICES, PhaseFiles, Pick, SeriesHeld, StudyFiles, holds_all,
    seen,
};
pub(crate) use hepalert_study::series::Recon;
use hepalert_study::study::{PatientKey, StudyKey};
use hepalert_voxels::volume::dicom::acquisitions::Marks;

/// What one whole file is.
#[derive(Debug, Clone, PartialEq)]
pub struct FileFacts {
    /// Whose study.
    pub study: StudyKey,
    /// SHA-256 of the file.
    pub content: Digest,
    /// Of the images in it, whatever transfer syntax they are written in; `None` where they were not
    /// decoded.
    pub images: Option<Digest>,
    /// Whose it is, where the file says so.
    pub person: Option<PatientKey>,
    /// What it adds.
    pub part: Part,
}

/// What a file adds to its study.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// A DICOM object.
    Slice(SliceFacts),
    /// A DICOM object with a whole series in frames.
    Frames(Vec<SliceFacts>),
    /// A whole volume.
    Nifti(NiftiName),
}

impl Part {
    /// The images in a DICOM object; none of a NIfTI file.
    pub fn slices(&self) -> &[SliceFacts] {
        match self {
            Part::Slice(slice) => std::slice::from_ref(slice),
            Part::Frames(frames) => frames,
            Part::Nifti(_) => &[],
        }
    }
}

/// What a DICOM header says that decides where the object belongs.
#[derive(Debug, Clone, PartialEq)]
pub struct SliceFacts {
    /// Digest of SeriesInstanceUID.
    pub series: Digest,
    /// Digest of SOPInstanceUID.
    pub instance: Digest,
    /// Digest of PatientID, where it is said: of one study there is one patient. In memory only.
    pub patient: Option<Digest>,
    /// Why it can never be part of a phase, if it cannot.
    pub refused: Option<RefusalCode>,
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
    /// What tells its acquisition.
    pub marks: Marks,
    /// Why it was set aside, in the reader's own sentence.
    pub said: Option<String>,
}

impl SliceFacts {
    /// Who this slice is within its study: the instance and, since several slices may share
    /// one, where it lies.
    pub fn identity(&self) -> Digest {
        match self.position_mm {
            // In hundredths of a millimetre: nearer, two slices are one.
            Some(mm) => {
                Digest::of(format!("{} at {:.0}", self.instance.hex(), mm * 100.0).as_bytes())
            }
            None => self.instance,
        }
    }
}

impl FileFacts {
    /// What tells two versions of this file apart: what it shows, not how that is written.
    pub fn shown(&self) -> Digest {
        self.images.unwrap_or(self.content)
    }

    /// What this file is a copy of: the instance, or the tag of a NIfTI file.
    pub fn instance(&self) -> Digest {
        match &self.part {
            Part::Slice(slice) => slice.instance,
            Part::Frames(frames) => frames.first().map_or(self.content, |frame| frame.instance),
            Part::Nifti(name) => Digest::of(format!("nifti {:?}", name.tag).as_bytes()),
        }
    }

    /// Who this file is within its study: the instance and, since several slices may share
    /// one, where it lies.
    pub fn identity(&self) -> Digest {
        match &self.part {
            Part::Slice(slice) => slice.identity(),
            Part::Frames(_) | Part::Nifti(_) => self.instance(),
        }
    }
}
