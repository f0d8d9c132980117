//! Why a case cannot be read or its labels not be kept.

use std::path::PathBuf;

use hepalert_voxels::volume::nifti::NiftiError;

use super::entry::Entry;
use super::reader::NotAReader;
use crate::refused::Refused;

/// Each variant says what is wrong and what to do; [`CaseError::code`] is its short name.
#[derive(Debug, thiserror::Error)]
pub enum CaseError {
    /// No such case, image, labels or reader's map.
    #[error("there is no {what} {name:?}: list the folder again")]
    Unknown {
        /// Case, image, labels.
        what: &'static str,
        /// What was asked for.
        name: String,
    },
    /// A reader's name that could not be a file's.
    #[error(transparent)]
    Reader(#[from] NotAReader),
    /// The labels are not those the edit was made on. Nothing has changed.
    #[error(
        "the labels have changed since (revision {current}, edited on {yours}): load them again, \
             or keep your own under another name"
    )]
    Conflict {
        /// What the edit was made on.
        yours: String,
        /// What is there.
        current: String,
        /// The edit in between, if the history tells.
        by: Option<Box<Entry>>,
    },
    /// The edit itself.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// An image or labels that are damaged.
    #[error("{}: {reason}", path.display())]
    Nifti {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: NiftiError,
    },
    /// A DICOM series that cannot be read.
    #[error("{}: {reason}", path.display())]
    Dicom {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The system refuses.
    #[error("{}: {}", path.display(), advised(reason))]
    File {
        /// The file or folder.
        path: PathBuf,
        /// The system's words.
        reason: std::io::Error,
    },
    /// A file that is longer than any of its kind.
    #[error("{}: longer than {most} bytes: this is no file of ours", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The limit.
        most: u64,
    },
    /// Something that cannot be exported, or exported there.
    #[error("{0}")]
    Export(String),
}

/// What the system says, and what to do about it.
fn advised(reason: &std::io::Error) -> String {
    use std::io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
    match reason.kind() {
        NotFound => "there is no such file or folder: is the path right?".to_owned(),
        NotADirectory => "this is no folder: name the one that the cases lie in".to_owned(),
        PermissionDenied => {
            format!("{reason}; let the account that runs this read it, and write among the labels")
        }
        _ => format!("{reason}; check free space and permissions"),
    }
}

impl CaseError {
    /// The short name used in answers.
    pub fn code(&self) -> &'static str {
        match self {
            CaseError::Unknown { .. } => "unknown_name",
            CaseError::Reader(_) => "bad_reader_name",
            CaseError::Conflict { .. } => "labels_changed",
            CaseError::Refused(refused) => refused.code(),
            CaseError::Nifti { reason, .. } => reason.code(),
            CaseError::Dicom { .. } => "bad_series",
            CaseError::File { .. } => "file_failed",
            CaseError::TooLong { .. } => "too_long",
            CaseError::Export(_) => "export_refused",
        }
    }
}
