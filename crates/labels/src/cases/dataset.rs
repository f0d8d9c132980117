//! A training set as nnU-Net takes it: `imagesTr`, `labelsTr`, `dataset.json`, and `manifest.json`
//! that says where each label came from.
//!
//! Owns the layout. A data set appears whole, by a rename, or not at all. Refuses a folder that
//! holds anything, a case whose images and labels do not lie on one grid, and labels without a name.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::{Compression, GzBuilder};
use hepalert_voxels::volume::LabelMap;
use hepalert_voxels::volume::nifti::write::write_u8;
use serde::Serialize;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use super::case::ImageFile;
use super::error::CaseError;
use super::files::{failed, file_name, make_folder, put};
use super::folder::nifti_of;
use super::meaning::Meaning;
use crate::refused::{Refused, listed};

/// A data set being written.
#[derive(Debug)]
pub struct DataSet {
    draft: TempDir,
    out: PathBuf,
    meaning: Meaning,
    channels: Vec<String>,
    cases: BTreeMap<String, Value>,
    left_out: Vec<LeftOut>,
}

/// A case that is not in a data set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// Its name.
    pub case: String,
    /// Why it was left out, in a sentence.
    pub why: String,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Written {
    /// The folder of the data set.
    pub out: PathBuf,
    /// How many cases.
    pub cases: usize,
    /// Which are not in it.
    pub left_out: Vec<LeftOut>,
}

impl DataSet {
    /// Begins one with these channels, one image of each case per channel.
    ///
    /// # Errors
    /// [`CaseError::Export`] if something is there, [`CaseError::File`].
    pub fn begin(out: &Path, channels: &[String], meaning: &Meaning) -> Result<DataSet, CaseError> {
        let is_free = match fs::read_dir(out) {
            Ok(mut entries) => entries.next().is_none(),
            Err(error) => error.kind() == std::io::ErrorKind::NotFound,
        };
        if !is_free {
            let what = "is not an empty folder; a training set is never mixed with another";
            return Err(CaseError::Export(format!("{} {what}: name a new one", out.display())));
        }
        let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        make_folder(parent)?;
        let draft = tempfile::Builder::new().prefix(".dataset-").tempdir_in(parent);
        let draft = draft.map_err(failed(parent))?;
        for folder in ["imagesTr", "labelsTr"] {
            make_folder(&draft.path().join(folder))?;
        }
        Ok(DataSet {
            draft,
            out: out.to_owned(),
            meaning: meaning.clone(),
            channels: channels.to_vec(),
            cases: BTreeMap::new(),
            left_out: Vec::new(),
        })
    }

    /// Adds a case: its images in the order of the channels, labels as stored on the first of
    /// them, and where those came from.
    ///
    /// # Errors
    /// [`CaseError::File`] if a file cannot be read or written.
    pub fn add(
        &mut self,
        case: &str,
        images: &[&ImageFile],
        labels: &LabelMap,
        origin: Value,
    ) -> Result<(), CaseError> {
        if images.len() != self.channels.len() {
            self.leave_out(case, "it has not as many images as the data set has channels");
            return Ok(());
        }
        if images.iter().any(|image| !image.grid.matches(labels.grid())) {
            let why = "its images and labels do not lie on one grid: register the phases first";
            self.leave_out(case, why);
            return Ok(());
        }
        if let Err(Refused::Unnamed { found, .. }) = self.meaning.check_map(labels) {
            let why = "has no name: correct it, or name it in dataset.json";
            self.leave_out(case, &format!("label {} {why}", listed(&found)));
            return Ok(());
        }
        for (channel, image) in images.iter().enumerate() {
            let to = self.draft.path().join(format!("imagesTr/{case}_{channel:04}.nii.gz"));
            put_image(image, &to)?;
        }
        let to = self.draft.path().join(format!("labelsTr/{case}.nii.gz"));
        put(&to, &write_u8(labels))?;
        let files: Vec<String> = images.iter().map(|image| file_name(image.place())).collect();
        self.cases.insert(case.to_owned(), json!({"images": files, "labels": origin}));
        Ok(())
    }

    /// Notes that a case is not in the data set.
    pub fn leave_out(&mut self, case: &str, why: &str) {
        self.left_out.push(LeftOut { case: case.to_owned(), why: why.to_owned() });
    }

    /// Names the data set: from now on it is there.
    ///
    /// # Errors
    /// [`CaseError::Export`] if it has no case, [`CaseError::File`].
    pub fn finish(self) -> Result<Written, CaseError> {
        if self.cases.is_empty() {
            let why = self
                .left_out
                .first()
                .map_or("there is none".to_owned(), |left| format!("{}: {}", left.case, left.why));
            return Err(CaseError::Export(format!("no case can be exported ({why})")));
        }
        let folder = self.draft.path().to_owned();
        let described = json!({
            "channel_names": numbered(self.channels.iter().map(|_| "CT")),
            "labels": self.labels(),
            "numTraining": self.cases.len(),
            "file_ending": ".nii.gz",
            "hepalert": {"channels": self.channels},
        });
        let manifest = json!({"cases": self.cases, "left_out": self.left_out});
        put_json(&folder.join("manifest.json"), &manifest)?;
        put_json(&folder.join("dataset.json"), &described)?;
        let written = Written { out: self.out, cases: self.cases.len(), left_out: self.left_out };
        let draft = self.draft.keep();
        fs::rename(&draft, &written.out).map_err(|error| {
            let _ = fs::remove_dir_all(&draft);
            failed(&written.out)(error)
        })?;
        Ok(written)
    }

    /// nnU-Net wants names for 0, 1, 2, .. without a gap: what the set leaves out between its own is
    /// named as unused, and no voxel carries it.
    fn labels(&self) -> Map<String, Value> {
        let names = self.meaning.names();
        let last = names.keys().next_back().copied().unwrap_or(0);
        let name = |label: u8| match names.get(&label) {
            // Whatever a data set calls it, nnU-Net calls 0 so.
            _ if label == 0 => "background".to_owned(),
            Some(name) => name.clone(),
            None => format!("unused_{label}"),
        };
        (0..=last).map(|label| (name(label), json!(label))).collect()
    }
}

fn numbered<'a>(names: impl Iterator<Item = &'a str>) -> Map<String, Value> {
    names.enumerate().map(|(n, name)| (n.to_string(), json!(name))).collect()
}

fn put_json(path: &Path, value: &Value) -> Result<(), CaseError> {
    let bytes = serde_json::to_vec_pretty(value)
        .map_err(|error| CaseError::File { path: path.to_owned(), reason: error.into() })?;
    put(path, &bytes)
}

/// The file as it is; gzipped if it is not. A DICOM series becomes one.
fn put_image(image: &ImageFile, to: &Path) -> Result<(), CaseError> {
    let bytes = nifti_of(image)?;
    if bytes.starts_with(&[0x1f, 0x8b]) {
        return put(to, &bytes);
    }
    let mut gz = GzBuilder::new().mtime(0).write(Vec::new(), Compression::new(3));
    let packed = gz.write_all(&bytes).and_then(|()| gz.finish());
    put(to, &packed.map_err(failed(to))?)
}
