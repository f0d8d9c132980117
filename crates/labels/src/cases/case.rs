//! What belongs to one patient.
//!
//! Owns the files of a case by their names. Refuses to read them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hepalert_study::phase::Phase;
use hepalert_voxels::volume::{Axes, Grid};

use super::error::CaseError;

/// An image of a case.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageFile {
    /// How it is called within its case: `vp`, `ct`, `0002`.
    pub name: String,
    /// Its phase, where the name tells it.
    pub phase: Option<Phase>,
    /// Where its voxels are read from.
    pub voxels: Voxels,
    /// Where its voxels lie, as stored.
    pub grid: Arc<Grid>,
}

/// What an image is read from.
#[derive(Debug, Clone, PartialEq)]
pub enum Voxels {
    /// A NIfTI file.
    Nifti(PathBuf),
    /// The files of a DICOM series.
    Dicom {
        /// In the order of their names.
        files: Vec<PathBuf>,
        /// InstanceNumber by slice from the feet, where known.
        instances: Vec<Option<i64>>,
    },
}

impl ImageFile {
    /// The file, or the folder of the series.
    pub fn place(&self) -> &Path {
        match &self.voxels {
            Voxels::Nifti(path) => path,
            Voxels::Dicom { files, .. } => files[0].parent().unwrap_or(Path::new(".")),
        }
    }

    /// All files that it is read from.
    pub fn files(&self) -> &[PathBuf] {
        match &self.voxels {
            Voxels::Nifti(path) => std::slice::from_ref(path),
            Voxels::Dicom { files, .. } => files,
        }
    }

    /// Whether it is a DICOM series.
    pub fn is_dicom(&self) -> bool {
        matches!(self.voxels, Voxels::Dicom { .. })
    }

    /// InstanceNumber by slice from the feet, where known; else empty.
    pub fn instances(&self) -> &[Option<i64>] {
        match &self.voxels {
            Voxels::Nifti(_) => &[],
            Voxels::Dicom { instances, .. } => instances,
        }
    }
}

/// Labels that came with a case.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelFile {
    /// How they are called within their case: `truth`, `labels_base`.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// Where their voxels lie, as stored.
    pub grid: Arc<Grid>,
}

/// What belongs to one patient.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// Its name: that of its folder, or what its files share. Never a path.
    pub id: String,
    /// One image or several phases, by name.
    pub images: Vec<ImageFile>,
    /// Labels that came with it, by name.
    pub labels: Vec<LabelFile>,
    /// The report of an analysis.
    pub report: Option<PathBuf>,
}

impl Case {
    /// The image that is read first: the portal venous one, or else the first.
    pub fn first_image(&self) -> &ImageFile {
        let venous = self.images.iter().find(|image| image.phase == Some(Phase::Vp));
        venous.unwrap_or(&self.images[0])
    }

    /// An image by its name.
    ///
    /// # Errors
    /// [`CaseError::Unknown`].
    pub fn image(&self, name: &str) -> Result<&ImageFile, CaseError> {
        let found = self.images.iter().find(|image| image.name == name);
        found.ok_or_else(|| CaseError::Unknown { what: "image", name: name.to_owned() })
    }

    /// Labels that came with the case, by name.
    ///
    /// # Errors
    /// [`CaseError::Unknown`].
    pub fn labels(&self, name: &str) -> Result<&LabelFile, CaseError> {
        let found = self.labels.iter().find(|labels| labels.name == name);
        found.ok_or_else(|| CaseError::Unknown { what: "labels", name: name.to_owned() })
    }

    /// The labels that lie on an image, as far as their headers tell.
    pub fn labels_on<'a>(&'a self, image: &ImageFile) -> impl Iterator<Item = &'a LabelFile> {
        let ras = Axes::ras(&image.grid).grid(&image.grid);
        self.labels
            .iter()
            .filter(move |labels| Axes::ras(&labels.grid).grid(&labels.grid).matches(&ras))
    }
}

/// Something that looked like a case and is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// The file or folder, below the folder of cases.
    pub path: PathBuf,
    /// Why it is no case, in a sentence.
    pub why: String,
}
