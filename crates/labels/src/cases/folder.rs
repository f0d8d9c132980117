//! A folder of cases, found by the names of its files.
//!
//! Owns names and reads files; voxels are read when a case is opened. Never writes
//! among what was found.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use hepalert_study::anatomy::class_names;
use hepalert_voxels::volume::nifti::NiftiError;
use hepalert_voxels::volume::nifti::read::{read as read_image, read_labels};
use hepalert_voxels::volume::{LabelMap, Volume};
use serde_json::Value;

use super::case::{Case, ImageFile, Skipped};
use super::error::CaseError;
use super::files::{MAX_NIFTI_BYTES, failed, read};

/// Where labels go, in the folder of cases, unless said otherwise.
pub const WORK: &str = "hepalert-labels";
/// A description of a data set.
const MAX_JSON_BYTES: u64 = 16 << 20;

/// The cases of a folder.
#[derive(Debug, Clone)]
pub struct Folder {
    root: PathBuf,
    work: PathBuf,
    cases: Vec<Case>,
    skipped: Vec<Skipped>,
    names: BTreeMap<u8, String>,
}

impl Folder {
    /// Looks for cases. Labels will go into `work`, or `hepalert-labels` in the folder.
    ///
    /// # Errors
    /// [`CaseError::File`] if the folder cannot be read.
    pub fn open(root: &Path, work: Option<&Path>) -> Result<Folder, CaseError> {
        let root = fs::canonicalize(root).map_err(failed(root))?;
        let work = work.map_or_else(|| root.join(WORK), Path::to_owned);
        let (cases, skipped) = super::find::cases(&root, &work)?;
        let names = label_names(&root)?.unwrap_or_else(house_names);
        Ok(Folder { root, work, cases, skipped, names })
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

    /// What label values mean: as `dataset.json` of the folder says, or as everywhere in this
    /// program.
    pub fn label_names(&self) -> &BTreeMap<u8, String> {
        &self.names
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

/// What this program calls label values.
pub fn house_names() -> BTreeMap<u8, String> {
    (0..).zip(class_names()).map(|(label, name)| (label, name.to_owned())).collect()
}

/// `labels` of `dataset.json`: names to values (nnU-Net v2), or values to names (v1).
fn label_names(root: &Path) -> Result<Option<BTreeMap<u8, String>>, CaseError> {
    let Some(bytes) = read(&root.join("dataset.json"), MAX_JSON_BYTES)? else { return Ok(None) };
    let described: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let Some(labels) = described["labels"].as_object() else { return Ok(None) };
    let pair = |(key, value): (&String, &Value)| match value {
        Value::String(name) => Some((key.parse().ok()?, name.clone())),
        // A region of nnU-Net is several values: it is no label of its own.
        value => Some((u8::try_from(value.as_u64()?).ok()?, key.clone())),
    };
    Ok(Some(labels.iter().filter_map(pair).collect()))
}

/// The voxels of an image, as stored.
///
/// # Errors
/// [`CaseError::Nifti`] or [`CaseError::File`].
pub fn image_of(file: &ImageFile) -> Result<Volume<f32>, CaseError> {
    read_image(&bytes_of(&file.path)?).map_err(damaged(&file.path))
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
    read(path, MAX_NIFTI_BYTES)?.ok_or_else(|| failed(path)(std::io::ErrorKind::NotFound.into()))
}

pub(crate) fn damaged(path: &Path) -> impl Fn(NiftiError) -> CaseError + '_ {
    |reason| CaseError::Nifti { path: path.to_owned(), reason }
}
