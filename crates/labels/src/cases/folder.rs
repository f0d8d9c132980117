//! A folder of cases, found by the names of its files.
//!
//! Owns names and reads files; voxels are read when a case is opened. Never writes
//! among what was found.

use std::fs;
use std::path::{Path, PathBuf};

use hepalert_study::digest::Digest;
use hepalert_voxels::volume::nifti::NiftiError;
use hepalert_voxels::volume::nifti::read::{read as read_image, read_labels};
use hepalert_voxels::volume::nifti::write::write_i16;
use hepalert_voxels::volume::{LabelMap, Volume};

use super::case::{Case, ImageFile, Skipped, Voxels};
use super::dicom;
use super::error::CaseError;
use super::files::{MAX_NIFTI_BYTES, failed, read_there};
use super::glance::glance;
use super::meaning::Meaning;

/// Where labels go, in the folder of cases, unless said otherwise.
pub const WORK: &str = "hepalert-labels";

/// The cases of a folder.
#[derive(Debug, Clone)]
pub struct Folder {
    root: PathBuf,
    work: PathBuf,
    cases: Vec<Case>,
    skipped: Vec<Skipped>,
    meaning: Meaning,
    /// Whether somebody has said that labels mean that, or nobody anything.
    is_said: bool,
    /// What lay there before it was looked at; none where that is looked at anew each time.
    glance: Option<Digest>,
}

impl Folder {
    /// Looks for cases. Labels will go into `work`, or `hepalert-labels` in the folder.
    ///
    /// # Errors
    /// [`CaseError::File`] if the folder cannot be read.
    pub fn open(root: &Path, work: Option<&Path>) -> Result<Folder, CaseError> {
        let root = fs::canonicalize(root).map_err(failed(root))?;
        let work = work.map_or_else(|| root.join(WORK), Path::to_owned);
        let glance = glance(&root, &work);
        let (cases, skipped) = super::find::cases(&root, &work)?;
        let said = Meaning::of(&root, &work)?;
        let is_said = said.is_some();
        let meaning = said.unwrap_or_else(Meaning::house);
        Ok(Folder { root, work, cases, skipped, meaning, is_said, glance })
    }

    /// Whether nothing has come, gone or changed since, as far as names, sizes and times tell.
    pub fn is_as_it_was(&self) -> bool {
        self.glance.is_some() && self.glance == glance(&self.root, &self.work)
    }

    /// The folder looked into.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where labels go.
    pub fn work(&self) -> &Path {
        &self.work
    }

    /// Every case, by name.
    pub fn cases(&self) -> &[Case] {
        &self.cases
    }

    /// What looked like a case and is none.
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    /// What label values mean.
    pub fn meaning(&self) -> &Meaning {
        &self.meaning
    }

    /// Whether somebody has said what label values mean here: `dataset.json`, a name among the labels,
    /// or whoever curates.
    pub(super) fn is_said(&self) -> bool {
        self.is_said
    }

    /// Labels mean here what they mean everywhere in this program, from now on: what the curation
    /// loop makes does, whatever `dataset.json` calls its own.
    ///
    /// # Errors
    /// [`CaseError::File`] if that cannot be kept.
    pub fn as_in_house(self) -> Result<Folder, CaseError> {
        let meaning = Meaning::house();
        if self.meaning != meaning {
            meaning.keep(&self.work)?;
        }
        Ok(Folder { meaning, is_said: true, ..self })
    }

    /// A case by its name. Names are compared, never made into paths.
    ///
    /// # Errors
    /// [`CaseError::Unknown`].
    pub fn case(&self, id: &str) -> Result<&Case, CaseError> {
        let found = self.cases.iter().find(|case| case.id == id);
        found.ok_or_else(|| CaseError::Unknown { what: "case", name: id.to_owned() })
    }

    /// Where the labels and the history of a case go.
    pub fn work_of(&self, case: &Case) -> PathBuf {
        self.work.join(&case.id)
    }
}

/// The voxels of an image, as stored.
///
/// # Errors
/// [`CaseError::Nifti`], [`CaseError::Dicom`] or [`CaseError::File`].
pub fn image_of(file: &ImageFile) -> Result<Volume<f32>, CaseError> {
    match &file.voxels {
        Voxels::Nifti(path) => read_image(&bytes_of(path)?).map_err(damaged(path)),
        Voxels::Dicom { files, .. } => dicom::volume(files),
    }
}

/// An image as a NIfTI file: as it lies there, or whole HU of a DICOM series.
///
/// # Errors
/// As [`image_of`].
pub fn nifti_of(file: &ImageFile) -> Result<Vec<u8>, CaseError> {
    match &file.voxels {
        Voxels::Nifti(path) => bytes_of(path),
        Voxels::Dicom { files, .. } => {
            let volume = dicom::volume(files)?;
            let whole =
                |hu: &f32| hu.round().clamp(f32::from(i16::MIN), f32::from(i16::MAX)) as i16;
            let voxels = volume.voxels().map(whole);
            Ok(write_i16(&Volume::new(volume.grid().clone(), voxels)))
        }
    }
}

/// Labels of a file, as stored.
///
/// # Errors
/// [`CaseError::Nifti`] or [`CaseError::File`].
pub fn labels_of(path: &Path) -> Result<LabelMap, CaseError> {
    read_labels(&bytes_of(path)?).map_err(damaged(path))
}

/// The bytes of a file.
///
/// # Errors
/// [`CaseError::File`] or [`CaseError::TooLong`].
pub fn bytes_of(path: &Path) -> Result<Vec<u8>, CaseError> {
    read_there(path, MAX_NIFTI_BYTES)
}

pub(crate) fn damaged(path: &Path) -> impl Fn(NiftiError) -> CaseError + '_ {
    |reason| CaseError::Nifti { path: path.to_owned(), reason }
}
