//! The report's folder: label maps, instance map, pictures, and `report.json` last.
//!
//! Owns the names of the files and that the folder is there whole or not at all: everything
//! is written into a folder beside it, which then takes its place.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ndarray::Array3;

use super::output::{self, DRAFT, OutputError, REPORT};
use super::slices::Slices;
use super::types::{ArtefactRecord, Report};
use hepalert_cascade::pipeline::{Finding, Findings};
use hepalert_evidence::code::suspected_words;
use hepalert_pictures::canvas::Canvas;
use hepalert_pictures::findings::{self, Marked, Scene};
use hepalert_study::digest::Digest;
use hepalert_study::phase::Phase;
use hepalert_study::result::{LABELS_BASE, LABELS_HIGH, LESIONS, MARGIN};
use hepalert_study::study::{AlignedStudy, Back};
use hepalert_voxels::volume::{LabelMap, Volume, nifti};

/// Pictures of single lesions; the overview marks all.
const MAX_LESION_PICTURES: usize = 20;

/// Why a report was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// A file or folder.
    #[error("{}: {reason}; check free space and permissions", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// The system's words.
        reason: io::Error,
    },
    /// The place is taken, or cannot be written.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// A picture.
    #[error("a picture could not be encoded: {0}")]
    Picture(#[from] png::EncodingError),
    /// The report itself.
    #[error("the report could not be encoded: {0}")]
    Json(#[from] serde_json::Error),
}

/// A folder being filled; [`Draft::finish`] puts it in its place, dropping it removes it.
pub(crate) struct Draft {
    folder: tempfile::TempDir,
    target: PathBuf,
    artefacts: Vec<ArtefactRecord>,
    /// The pictures that were drawn, where they are wanted once more.
    pictures: Option<Vec<Picture>>,
}

/// A picture as it was drawn.
pub(crate) struct Picture {
    /// Its pixels.
    pub picture: Canvas,
    /// What it shows, in a line.
    pub title: String,
    /// The slices that it shows, in the order of storage.
    pub slices: Vec<usize>,
}

impl Draft {
    /// Begins the folder `target`; its parent is made if it is missing.
    ///
    /// # Errors
    /// [`WriteError::Output`] if no folder may be made there, [`WriteError::File`] if none can.
    pub(crate) fn begin(target: &Path) -> Result<Draft, WriteError> {
        output::check_folder(target, &[])?;
        let parent = output::folder_of(target);
        let failed = |reason| WriteError::File { path: parent.to_owned(), reason };
        fs::create_dir_all(parent).map_err(failed)?;
        // Images of a patient: for their owner alone, whatever the umask.
        let folder = tempfile::Builder::new()
            .prefix(DRAFT)
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir_in(parent)
            .map_err(failed)?;
        Ok(Draft { folder, target: target.to_owned(), artefacts: Vec::new(), pictures: None })
    }

    /// Keeps the pictures that are drawn from now on.
    pub(crate) fn keep_pictures(&mut self) {
        self.pictures = Some(Vec::new());
    }

    /// The pictures that were kept.
    pub(crate) fn take_pictures(&mut self) -> Vec<Picture> {
        self.pictures.take().unwrap_or_default()
    }

    /// Writes label maps and instances in the input's order of voxels, and pictures. `step` is
    /// told how many files are done.
    ///
    /// # Errors
    /// [`WriteError`] names the file.
    pub(crate) fn add_findings(
        &mut self,
        study: &AlignedStudy,
        findings: &Findings,
        slices: Slices<'_>,
        step: &mut dyn FnMut(usize, usize),
    ) -> Result<(), WriteError> {
        let back = slices.back;
        // Lesions are best seen in the portal venous phase.
        let venous = study.phases().iter().find(|(phase, _)| *phase == Phase::Vp);
        let (phase, image) = venous.unwrap_or(&study.phases()[0]);
        let captions: Vec<String> = findings.kept.iter().map(|one| caption(one, *phase)).collect();
        let marked: Vec<Marked<'_>> = findings.kept.iter().zip(&captions).map(mark).collect();
        let numbers: Vec<Option<i64>> =
            (0..image.grid().shape()[0]).map(|z| slices.instance_number(z)).collect();
        let (liver, study) = (&findings.liver, format!("{}, phase {phase}", study.key()));
        let scene = Scene { image, liver, study: &study, instances: &numbers };
        let singles = marked.len().min(MAX_LESION_PICTURES);
        let total = 4 + singles;
        step(0, total);
        let stored = |labels: &LabelMap| nifti::write::write_u8(&back.volume(labels.clone()));
        self.add(LABELS_BASE, &stored(&findings.labels_base))?;
        step(1, total);
        self.add(LABELS_HIGH, &stored(&findings.labels_high))?;
        step(2, total);
        let instances = back.volume(instances(&findings.kept, &findings.labels_base));
        self.add(LESIONS, &nifti::write::write_i16(&instances))?;
        step(3, total);
        let overview = Picture {
            picture: findings::overview(&scene, &marked),
            title: format!("Overview: {} suspected or other findings", marked.len()),
            slices: Vec::new(),
        };
        self.add_picture("pictures/overview.png", overview)?;
        for (done, lesion) in marked.iter().take(singles).enumerate() {
            let name = format!("pictures/lesion-{:02}.png", lesion.number);
            let picture = Picture {
                picture: findings::lesion(&scene, lesion, &marked),
                title: lesion.caption.to_owned(),
                slices: slices
                    .stored(findings::largest_slice(lesion.detection))
                    .into_iter()
                    .collect(),
            };
            self.add_picture(&name, picture)?;
            step(5 + done, total);
        }
        Ok(())
    }

    /// Writes `margin.nii.gz`: per voxel the logarithm of the smallest lesion gain at which it
    /// turns to lesion, held to +-100, which no gain reaches.
    ///
    /// # Errors
    /// [`WriteError::File`].
    pub(crate) fn add_margin(
        &mut self,
        findings: &Findings,
        back: &Back,
    ) -> Result<(), WriteError> {
        let scores = &findings.scores;
        let margin = Volume::new(Arc::clone(&scores.grid), scores.margin.mapv(bounded));
        self.add(MARGIN, &nifti::write::write_f32(&back.volume(margin)))
    }

    /// Writes `gains.nii.gz`: per voxel from which lesion gain on it is a lesion, and of which kind,
    /// as [`hepalert_cascade::segment::Scores::gain_steps`] has it. Small: most voxels never are.
    ///
    /// # Errors
    /// [`WriteError::File`].
    pub(crate) fn add_gains(&mut self, findings: &Findings, back: &Back) -> Result<(), WriteError> {
        let steps = back.volume(findings.scores.gain_steps());
        self.add("gains.nii.gz", &nifti::write::write_i16(&steps))
    }

    fn add_picture(&mut self, name: &str, picture: Picture) -> Result<(), WriteError> {
        self.add(name, &picture.picture.png()?)?;
        if let Some(kept) = &mut self.pictures {
            kept.push(picture);
        }
        Ok(())
    }

    /// Writes one file and remembers its hash.
    ///
    /// # Errors
    /// [`WriteError::File`].
    pub(crate) fn add(&mut self, name: &str, bytes: &[u8]) -> Result<(), WriteError> {
        self.put(name, bytes)?;
        self.artefacts.push(ArtefactRecord {
            path: name.to_owned(),
            sha256: Digest::of(bytes).hex(),
            bytes: bytes.len() as u64,
        });
        Ok(())
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), WriteError> {
        let path = self.folder.path().join(name);
        let failed = |reason| WriteError::File { path: path.clone(), reason };
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(failed)?;
        }
        let mut options = fs::OpenOptions::new();
        let opened = options.write(true).create_new(true).mode(0o600).open(&path);
        let mut file = opened.map_err(failed)?;
        file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed)
    }

    /// Writes `report.json` with the artefacts filled in and puts the folder in its place,
    /// replacing an older one. Returns the report's path.
    ///
    /// # Errors
    /// [`WriteError`]; an older folder is then still there.
    pub(crate) fn finish(self, report: &mut Report) -> Result<PathBuf, WriteError> {
        report.artefacts.clone_from(&self.artefacts);
        let mut bytes = serde_json::to_vec_pretty(report)?;
        bytes.push(b'\n');
        self.put(REPORT, &bytes)?;
        let Draft { folder, target, .. } = self;
        output::put_folder(folder, &target)?;
        Ok(target.join(REPORT))
    }
}

/// Reads a report back.
///
/// # Errors
/// [`WriteError::File`] or [`WriteError::Json`].
pub(crate) fn read(path: &Path) -> Result<Report, WriteError> {
    let failed = |reason| WriteError::File { path: path.to_owned(), reason };
    let bytes = crate::system::read_file(path).map_err(failed)?;
    Ok(serde_json::from_slice(&bytes)?)
}

/// Readers refuse what is not finite, and a class that cannot occur has an infinite margin.
fn bounded(margin: f32) -> f32 {
    margin.clamp(-100.0, 100.0)
}

fn mark<'a>((finding, caption): (&'a Finding, &'a String)) -> Marked<'a> {
    Marked {
        number: finding.detection.id as usize,
        detection: &finding.detection,
        malignant: finding.detection.kind.is_malignant(),
        caption,
    }
}

/// `shown` is the phase that the picture is of.
fn caption(finding: &Finding, shown: Phase) -> String {
    let detection = &finding.detection;
    let hu = finding.measured.hu.iter().find(|(phase, _)| *phase == shown).and_then(|(_, hu)| *hu);
    let hu = hu.map_or(String::new(), |hu| format!(", {:.0} HU in {shown}", hu.mean));
    format!(
        "Finding {}: {}, {:.1} cm3, longest {:.0} mm, axial {:.0} mm{hu}, view {}",
        detection.id,
        suspected_words(detection.kind),
        detection.volume_cm3,
        finding.measured.max_diameter_mm,
        finding.measured.axial_diameter_mm,
        finding.view.name(),
    )
}

/// Each kept lesion's number where it is; where two overlap, the more urgent one's.
fn instances(kept: &[Finding], like: &LabelMap) -> Volume<i16> {
    let mut map = Array3::zeros(like.voxels().raw_dim());
    for finding in kept.iter().rev() {
        let id = i16::try_from(finding.detection.id).unwrap_or(i16::MAX);
        let lo = finding.detection.region.lo;
        for ((z, y, x), _) in finding.detection.mask.indexed_iter().filter(|(_, on)| **on) {
            map[[lo[0] + z, lo[1] + y, lo[2] + x]] = id;
        }
    }
    Volume::new(Arc::clone(like.grid()), map)
}
