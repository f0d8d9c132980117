//! Results as DICOM objects, for an archive to keep beside the images they were made from.
//!
//! Owns what a segmentation (SEG), a structured report (SR, TID 1500), a secondary capture and an
//! encapsulated PDF of ours hold, and their UIDs. Takes plain data and gives bytes: no file, no
//! network, no clock. Whoever the patient is comes in with [`source::Source`] and goes into these
//! objects alone; `Debug` shows nothing of it.

pub mod capture;
pub mod code;
mod dataset;
pub mod deidentified;
pub mod document;
pub mod finding;
pub mod maker;
#[cfg(test)]
mod samples;
pub mod segmentation;
pub mod source;
pub mod structured;

pub use dataset::WriteError;

/// One object, as it is stored and sent.
#[derive(Clone, PartialEq, Eq)]
pub struct Object {
    /// What it is.
    pub sop_class: &'static str,
    /// Its name in every archive.
    pub sop_uid: String,
    /// A DICOM file (PS3.10), Explicit VR Little Endian.
    pub bytes: Vec<u8>,
}
