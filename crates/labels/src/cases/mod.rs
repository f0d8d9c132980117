//! The cases of a folder: images, labels and report of one patient together.
//!
//! In reading order: a [`case`], the [`folder`] that has them and reads their files, what label values
//! mean in it ([`meaning`]) and in labels that came with a case ([`given`]), [`reader`] is who labels, [`stored`] whose labels there are, [`editor`] one
//! reader's labels of one image under correction, kept on disk after each edit; [`history`] who did
//! what, [`compare`] where two readers differ, [`order`] which case to read next, [`export`] a data set
//! for training, [`segment`] labels of a DICOM series for its archive, [`sweep`] what a killed process left. What was found is never written
//! to: labels go into a folder of their own.

pub(crate) mod case;
pub mod compare;
pub mod dataset;
mod dicom;
pub mod editor;
pub mod entry;
pub(crate) mod error;
pub mod export;
pub mod files;
mod find;
pub mod folder;
pub mod given;
mod glance;
pub(crate) mod history;
pub(crate) mod meaning;
pub mod names;
pub mod order;
pub(crate) mod reader;
pub mod segment;
pub mod stored;
pub mod sweep;

pub use case::{Case, ImageFile, LabelFile, Voxels};
pub use editor::{LabelEditor, Saved, Start};
pub use error::CaseError;
pub use folder::Folder;
pub use meaning::Meaning;
pub use reader::Reader;
pub use stored::Who;
