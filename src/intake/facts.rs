//! What intake knows of one file, and what it hands on of a study.
//!
//! Owns [`FileFacts`] (in memory only: it holds the free text that names phases); of a study
//! [`StudyFiles`] is handed on. Refuses to carry a UID in clear: studies are keys, series and
//! instances are digests.

use super::fingerprint::Digest;
use super::names::NiftiName;
use super::reasons::RejectCode;
pub use hepalert_study::files::{Format, PhaseFiles, Pick, StudyFiles};
use hepalert_study::study::StudyKey;
use hepalert_voxels::volume::dicom::acquisitions::Marks;

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

/// What lies beside images and is none: passed over, counted, and never a reason to refuse a
/// study.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stranger {
    /// DICOMDIR, DIRFILE: the table of contents of a medium.
    Directory,
    /// A structured report or an encapsulated document.
    Report,
    /// A structured report of radiation dose.
    DoseReport,
    /// A presentation state.
    PresentationState,
    /// A screenshot as DICOM.
    SecondaryCapture,
    /// A DICOM object of any other class than CT.
    OtherObject,
    /// JPEG, PNG, TIFF, BMP, GIF; Thumbs.db among them.
    Picture,
    /// Zip, gzip, tar, 7z, RAR.
    Archive,
    /// Lists of checksums.
    Checksums,
    /// A program, a page, a text, a setting.
    Other,
}

impl Stranger {
    /// The name in events and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Stranger::Directory => "dicom_directory",
            Stranger::Report => "report",
            Stranger::DoseReport => "dose_report",
            Stranger::PresentationState => "presentation_state",
            Stranger::SecondaryCapture => "secondary_capture",
            Stranger::OtherObject => "other_object",
            Stranger::Picture => "picture",
            Stranger::Archive => "archive",
            Stranger::Checksums => "checksums",
            Stranger::Other => "other",
        }
    }

    /// What a SOP class makes an object, if not a CT image.
    pub fn of_sop_class(uid: &str) -> Option<Stranger> {
        const CT: [&str; 3] = [
            "1.2.840.10008.5.1.4.1.1.2",
            "1.2.840.10008.5.1.4.1.1.2.1",
            "1.2.840.10008.5.1.4.1.1.2.2",
        ];
        let is_below =
            |root: &str| uid.strip_prefix(root).is_some_and(|rest| rest.starts_with('.'));
        if CT.contains(&uid) {
            return None;
        }
        Some(match uid {
            "1.2.840.10008.1.3.10" => Stranger::Directory,
            "1.2.840.10008.5.1.4.1.1.88.67" | "1.2.840.10008.5.1.4.1.1.88.68" => {
                Stranger::DoseReport
            }
            "1.2.840.10008.5.1.4.1.1.7" => Stranger::SecondaryCapture,
            _ if is_below("1.2.840.10008.5.1.4.1.1.7") => Stranger::SecondaryCapture,
            _ if is_below("1.2.840.10008.5.1.4.1.1.88") => Stranger::Report,
            _ if is_below("1.2.840.10008.5.1.4.1.1.104") => Stranger::Report,
            _ if is_below("1.2.840.10008.5.1.4.1.1.11") => Stranger::PresentationState,
            _ => Stranger::OtherObject,
        })
    }

    /// What a file is that is no DICOM object and no NIfTI, by what it begins with and by its
    /// name in lower case; `None` if it may have been meant as an image.
    pub fn of_file(name: &str, bytes: &[u8]) -> Option<Stranger> {
        const PICTURES: [&[u8]; 6] =
            [b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"II*\0", b"MM\0*"];
        const ARCHIVES: [&[u8]; 6] =
            [b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b", b"7z\xbc\xaf", b"Rar!", b"BZh"];
        // A packed slice is no stranger: it was meant as an image and cannot be read.
        if name.contains(".dcm") {
            return None;
        }
        let begins = |marks: &[&[u8]]| marks.iter().any(|mark| bytes.starts_with(mark));
        let ends = |list: &[&str]| list.iter().any(|end| name.ends_with(end));
        if name == "thumbs.db" || begins(&PICTURES) {
            Some(Stranger::Picture)
        } else if begins(&ARCHIVES) || bytes.get(257..262) == Some(b"ustar") {
            Some(Stranger::Archive)
        } else if ends(&[".md5", ".sha1", ".sha256", ".sfv", ".crc"]) || ends(&["sums"]) {
            Some(Stranger::Checksums)
        } else {
            const OTHERS: [&[u8]; 5] = [b"MZ", b"\x7fELF", b"\xca\xfe\xba\xbe", b"%PDF", b"<?xml"];
            begins(&OTHERS).then_some(Stranger::Other)
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
    /// What tells its acquisition.
    pub marks: Marks,
    /// What it is if it is no CT image.
    pub stranger: Option<Stranger>,
    /// Why it was set aside, in the reader's own sentence.
    pub said: Option<String>,
}

impl FileFacts {
    /// Who this file is within its study: the instance, or the tag of a NIfTI file.
    pub fn identity(&self) -> Digest {
        match &self.part {
            Part::Slice(SliceFacts { instance, .. }) => *instance,
            Part::Frames(frames) => frames.first().map_or(self.content, |frame| frame.instance),
            Part::Nifti(name) => Digest::of(format!("nifti {:?}", name.tag).as_bytes()),
        }
    }
}
