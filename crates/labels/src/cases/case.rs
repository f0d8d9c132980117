//! What belongs to one patient.
//!
//! Owns the files of a case by their names. Refuses to read them.

use std::path::PathBuf;
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
    /// The file.
    pub path: PathBuf,
    /// Where its voxels lie, as stored.
    pub grid: Arc<Grid>,
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
    /// Why.
    pub why: String,
}
