//! Patches as an nnU-Net raw data set: `imagesTr`, `labelsTr`, `dataset.json`.
//!
//! Several studies may be written into one folder, as long as their intensities are meant
//! the same way.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, anyhow};
use ndarray::Axis;
use serde_json::{Map, Value, json};

use super::Failure;
use crate::report::output;
use hepalert_cascade::reclassify::{LIVER_CLASS, Patch, Prepared, Sampling};
use hepalert_study::anatomy::Lesion;
use hepalert_study::phase::Phase;
use hepalert_voxels::image::normalise::Normalisation;
use hepalert_voxels::volume::nifti::write::{write_f32, write_u8};
use hepalert_voxels::volume::{Grid, Volume};

/// What the voxels of the written images mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Values {
    /// Hounsfield units, clipped; outside the liver the mean, which normalises to 0.
    Hu,
    /// Normalised, 0 outside the liver: what the second network is given.
    Normalised,
}

impl Values {
    const fn name(self) -> &'static str {
        match self {
            Values::Hu => "hu",
            Values::Normalised => "normalised",
        }
    }
}

/// A raw data set being written.
#[derive(Debug)]
pub(super) struct Dataset<'a> {
    folder: PathBuf,
    inputs: &'a [&'a Path],
    values: Values,
    channels: Vec<Normalisation>,
}

impl<'a> Dataset<'a> {
    /// Makes the folders and `dataset.json`, or checks the one that is there.
    ///
    /// # Errors
    /// If the folder cannot be written or holds patches of another kind.
    pub(super) fn open(
        folder: &Path,
        inputs: &'a [&'a Path],
        values: Values,
        phases: &[Phase],
        sampling: &Sampling,
    ) -> Result<Dataset<'a>, Failure> {
        let channels = sampling.channels.clone();
        let plain = |scheme: &Normalisation| !matches!(scheme, Normalisation::Ct { .. });
        if values == Values::Hu && channels.iter().any(plain) {
            let reason = "Hounsfield units cannot be restored; take --values normalised";
            return Err(Failure::failed(anyhow!("{reason}")));
        }
        let dataset = Dataset { folder: folder.to_owned(), inputs, values, channels };
        let described = dataset.describe(phases, sampling);
        let earlier = dataset.read_description()?;
        if earlier.as_ref().is_some_and(|earlier| earlier["hepalert"] != described["hepalert"]) {
            let reason = "holds patches of another grid or with other intensities; \
                          write into another folder";
            return Err(Failure::failed(anyhow!("{}: {reason}", dataset.json().display())));
        }
        dataset.write_json(&described)?;
        for part in ["imagesTr", "labelsTr"] {
            output::make_folder(&folder.join(part))?;
        }
        Ok(dataset)
    }

    /// Writes one patch under this name.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub(super) fn write(
        &self,
        name: &str,
        patch: &Patch,
        prepared: &Prepared,
    ) -> Result<(), Failure> {
        let grid = Arc::new(placed(prepared.grid(), patch));
        for (channel, image) in patch.images.axis_iter(Axis(0)).enumerate() {
            let mut voxels = image.to_owned();
            if let (Values::Hu, Normalisation::Ct { mean, std, .. }) =
                (self.values, self.channels[channel])
            {
                voxels.mapv_inplace(|value| value * std as f32 + mean as f32);
            }
            let path = self.folder.join(format!("imagesTr/{name}_{channel:04}.nii.gz"));
            let bytes = write_f32(&Volume::new(Arc::clone(&grid), voxels));
            output::put(&path, &bytes, self.inputs)?;
        }
        let path = self.folder.join(format!("labelsTr/{name}.nii.gz"));
        let bytes = write_u8(&Volume::new(grid, patch.truth.clone()));
        Ok(output::put(&path, &bytes, self.inputs)?)
    }

    /// Counts the cases of the folder, enters the number and returns it.
    ///
    /// # Errors
    /// If the folder cannot be read or `dataset.json` cannot be written.
    pub(super) fn close(self) -> Result<usize, Failure> {
        let labels = self.folder.join("labelsTr");
        let count = std::fs::read_dir(&labels)
            .with_context(|| format!("{}: not readable", labels.display()))?
            .filter_map(Result::ok)
            .filter(|entry| entry.file_name().to_string_lossy().ends_with(".nii.gz"))
            .count();
        let mut described = self.read_description()?.unwrap_or_else(|| json!({}));
        described["numTraining"] = json!(count);
        self.write_json(&described)?;
        Ok(count)
    }

    fn write_json(&self, value: &Value) -> Result<(), Failure> {
        output::make_folder(&self.folder)?;
        Ok(output::put_json(&self.json(), value, self.inputs)?)
    }

    fn json(&self) -> PathBuf {
        self.folder.join("dataset.json")
    }

    fn describe(&self, phases: &[Phase], sampling: &Sampling) -> Value {
        // nnU-Net chooses its normalisation by the channel's name.
        let name = if self.values == Values::Hu { "CT" } else { "noNorm" };
        let names: Map<String, Value> =
            (0..self.channels.len()).map(|n| (n.to_string(), json!(name))).collect();
        let mut labels = Map::from_iter([("background".to_owned(), json!(0))]);
        labels.extend(Lesion::ALL.map(|kind| (kind.name().to_owned(), json!(kind.label()))));
        labels.insert("liver".to_owned(), json!(LIVER_CLASS));
        let channels: Vec<Value> =
            self.channels.iter().map(|scheme| scheme_json(*scheme)).collect();
        json!({
            "channel_names": names,
            "labels": labels,
            "numTraining": 0,
            "file_ending": ".nii.gz",
            "hepalert": {
                "values": self.values.name(),
                "phases": phases.iter().map(|phase| phase.code()).collect::<Vec<_>>(),
                "normalisation": channels,
                "spacing_mm": sampling.spacing_mm,
                "patch": sampling.patch,
            },
        })
    }

    fn read_description(&self) -> Result<Option<Value>, Failure> {
        let path = self.json();
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                let error = anyhow::Error::new(error);
                return Err(error.context(format!("{}: not readable", path.display())).into());
            }
        };
        let value = serde_json::from_slice(&bytes)
            .with_context(|| format!("{}: not a data set description", path.display()))?;
        Ok(Some(value))
    }
}

/// A normalisation as `dataset.json` and engine manifests describe it.
fn scheme_json(scheme: Normalisation) -> Value {
    match scheme {
        Normalisation::Ct { mean, std, lower, upper } => {
            json!({"scheme": "ct", "mean": mean, "std": std, "lower": lower, "upper": upper})
        }
        Normalisation::ZScore => json!({"scheme": "zscore"}),
        Normalisation::ZScoreOfNonzero => json!({"scheme": "zscore", "masked": true}),
        Normalisation::Rescale01 => json!({"scheme": "rescale01"}),
        Normalisation::None => json!({"scheme": "none"}),
    }
}

/// Where the patch lies in patient space.
fn placed(grid: &Grid, patch: &Patch) -> Grid {
    let (d, h, w) = patch.truth.dim();
    let first = grid.ras_mm(patch.origin.map(|n| n as f64));
    let mut affine = *grid.affine();
    for (row, first) in affine.iter_mut().zip(first) {
        row[3] = first;
    }
    Grid::new([d, h, w], grid.spacing_mm(), affine)
}
