//! A study given as files or folders on the command line: phases, labels, and the network's
//! sampling.
//!
//! Shared by `segment`, `shuffle` and `reclassify`. Reads files and turns what is wrong with them into
//! refusals that name the file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::anyhow;
use rayon::prelude::*;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Exit, Failure, Ui, engines};
use crate::analyze::phases_beside;
use crate::intake::study::decide::decide;
use crate::intake::{
    GateParams, PhaseRules, Refusal, StudyFiles, discover, files_of_paths, reading, study_key,
};
use hepalert_bundles::Bundle;
use hepalert_cascade::align::{Rules, align_given};
use hepalert_engines::backend::Runtime;
use hepalert_phases::Recogniser;
use hepalert_study::digest::hex;
use hepalert_study::phase::Phase;
use hepalert_study::study::{AlignedStudy, Study, StudyKey};
use hepalert_study::system;
use hepalert_voxels::volume::dicom::begins_as_dicom;
use hepalert_voxels::volume::nifti::read::{NiftiError, read, read_labels};
use hepalert_voxels::volume::{Axes, LabelMap, Orientation, Volume};

/// A phase and the file that holds it, as `vp=FILE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PhaseFile {
    /// Which phase.
    pub phase: Phase,
    /// Its NIfTI file, or a folder with one DICOM series.
    pub path: PathBuf,
}

impl std::str::FromStr for PhaseFile {
    type Err = String;

    fn from_str(text: &str) -> Result<PhaseFile, String> {
        let expected = || format!("`{text}`: write nc=FILE, ap=FILE, vp=FILE or dp=FILE");
        let (code, path) = text.split_once('=').ok_or_else(expected)?;
        let phase = code.parse().map_err(|_| expected())?;
        if path.is_empty() {
            return Err(expected());
        }
        Ok(PhaseFile { phase, path: PathBuf::from(path) })
    }
}

/// Label values to be read as others, as `1=7,2=3`; values not named stay.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Relabel(Vec<(u8, u8)>);

impl std::str::FromStr for Relabel {
    type Err = String;

    fn from_str(text: &str) -> Result<Relabel, String> {
        let pair = |part: &str| {
            let (from, to) = part.split_once('=')?;
            Some((from.trim().parse().ok()?, to.trim().parse().ok()?))
        };
        text.split(',')
            .map(|part| pair(part).ok_or_else(|| format!("`{part}`: write FROM=TO, like 2=3")))
            .collect::<Result<_, _>>()
            .map(Relabel)
    }
}

impl Relabel {
    /// Whether nothing is said.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The label map with the named values replaced.
    pub(crate) fn apply(&self, labels: &mut LabelMap) {
        let mut table: [u8; 256] = std::array::from_fn(|value| value as u8);
        for &(from, to) in &self.0 {
            table[usize::from(from)] = to;
        }
        labels.voxels_mut().mapv_inplace(|label| table[usize::from(label)]);
    }
}

/// A study as a person gave it.
#[derive(Debug)]
pub(crate) struct GivenStudy {
    /// On one grid.
    pub study: AlignedStudy,
    /// Images that are no CT of a body, or not whole: what `analyze` refuses, these commands
    /// compute on, since networks that they run need not be for CT.
    pub doubts: Vec<(Phase, Refusal)>,
}

impl GivenStudy {
    /// The study, with a warning for every doubt, and the doubts for a document.
    pub(crate) fn warned(self, ui: &Ui) -> (AlignedStudy, Vec<Value>) {
        let tell = |(phase, Refusal { code, detail, .. }): (Phase, Refusal)| {
            ui.say(format!("warning: {phase}: {code}: {} ({detail})", code.sentence()));
            json!({"phase": phase.code(), "code": code.as_str(), "detail": detail})
        };
        (self.study, self.doubts.into_iter().map(tell).collect())
    }
}

/// Reads all phases and brings them onto one grid. The study's key is made of the images' bytes:
/// the same files give the same draws.
///
/// # Errors
/// Refused with the reason code of the format, `unreadable`, `phase_twice`, `no_phase`,
/// `alignment_failed` or what makes a phase unfit for registration.
pub(crate) fn read_study(files: &[PhaseFile]) -> Result<GivenStudy, Failure> {
    let gate = GateParams::default();
    let images: Vec<Image> = files.iter().map(Image::of).collect::<Result<_, _>>()?;
    let hash = || images.iter().fold(Sha256::new(), |hash, image| hash.chain_update(image.bytes()));
    // All results, then the first failure: with several damaged files always the same is named.
    let read = || images.par_iter().zip(files).map(|(image, file)| image.read(file, &gate));
    let (volumes, hash) = rayon::join(|| read().collect::<Vec<_>>(), hash);
    drop(images);
    let mut phases = BTreeMap::new();
    let mut doubts = Vec::new();
    for (PhaseFile { phase, .. }, volume) in files.iter().zip(volumes) {
        let volume = volume?;
        doubts.extend(reading::load::doubts(&volume, &gate).map(|doubt| (*phase, doubt)));
        if phases.insert(*phase, volume).is_some() {
            return Err(phase_twice(*phase));
        }
    }
    if phases.is_empty() {
        return Err(Failure::refused("no_phase", anyhow!("no image; give --phase vp=FILE")));
    }
    let hex = hex(&hash.finalize()[..16]);
    let key = StudyKey::new(&hex).ok_or_else(|| Failure::failed(anyhow!("no study key")))?;
    let wanted: Vec<Phase> = phases.keys().copied().collect();
    on_one_grid(Study { key, phases }, &wanted, doubts)
}

/// As nnU-Net takes them: what lies on one grid is aligned.
fn on_one_grid(
    study: Study,
    wanted: &[Phase],
    doubts: Vec<(Phase, Refusal)>,
) -> Result<GivenStudy, Failure> {
    let aligned = align_given(study, wanted, &Rules::default());
    let aligned = aligned.map_err(|error| Failure::refused(error.code(), error))?;
    Ok(GivenStudy { study: aligned.study, doubts })
}

/// Nobody is protected from their own command line: the key of a study only has to be a key.
pub(crate) fn key_of(uid: &str) -> StudyKey {
    study_key(b"analyze", uid)
}

/// The phases of an engine from a folder, chosen among its series as `analyze` does.
///
/// # Errors
/// Refused with the reason code; wrong usage for a folder with several studies.
pub(crate) fn find_study(
    bundle: &Bundle,
    input: &Path,
    runtime: &Runtime,
) -> Result<GivenStudy, Failure> {
    engines::require_there(input)?;
    let (gate, wanted) = (GateParams::default(), bundle.phases().to_vec());
    let found =
        discover(input, std::slice::from_ref(&wanted), &PhaseRules::default(), &gate, &key_of);
    let studies = found.map_err(engines::refused_at(input))?.studies;
    let [study] = studies.as_slice() else {
        let (count, place) = (studies.len(), input.display());
        let error = anyhow!("{place} holds {count} studies: name one of them, or use `analyze`");
        return Err(Failure::new(Exit::Usage, error));
    };
    let recogniser = phases_beside(bundle.dir()).map(|dir| Recogniser::open(&dir, runtime));
    let mut recogniser = recogniser.transpose().map_err(engines::unusable)?;
    let decided = decide(study, &wanted, &gate, recogniser.as_mut());
    if let Some(refusal) = decided.refusal {
        return Err(engines::refused_at(input)(refusal));
    }
    let loaded =
        reading::load::load(&decided.told, &wanted, &gate).map_err(engines::refused_at(input))?;
    on_one_grid(loaded.study, &wanted, Vec::new())
}

/// What a person named as one phase.
enum Image {
    /// A NIfTI file, read.
    Nifti(Vec<u8>),
    /// A folder with one DICOM series, or a file with many frames.
    Dicom(Box<StudyFiles>),
}

impl Image {
    fn of(file: &PhaseFile) -> Result<Image, Failure> {
        let PhaseFile { phase, path } = file;
        engines::require_there(path)?;
        let bytes = if path.is_dir() { None } else { Some(read_file(path)?) };
        match bytes {
            Some(bytes) if !begins_as_dicom(&bytes) => Ok(Image::Nifti(bytes)),
            _ => {
                let key = study_key(b"", phase.code());
                let files = files_of_paths(&key, &[(*phase, path.clone())]);
                Ok(Image::Dicom(Box::new(files.map_err(engines::refused_at(path))?)))
            }
        }
    }

    /// What tells it from another image.
    fn bytes(&self) -> &[u8] {
        match self {
            Image::Nifti(bytes) => bytes,
            Image::Dicom(files) => files.fingerprint.as_bytes(),
        }
    }

    fn read(&self, file: &PhaseFile, gate: &GateParams) -> Result<Volume<f32>, Failure> {
        let PhaseFile { phase, path } = file;
        match self {
            Image::Nifti(bytes) => read(bytes).map_err(|error| damaged(path, error)),
            Image::Dicom(files) => {
                let loaded =
                    reading::load::load(files, &[*phase], gate).map_err(engines::refused)?;
                let volume = loaded.study.phases.into_iter().next().map(|(_, volume)| volume);
                volume.ok_or_else(|| Failure::failed(anyhow!("{}: no image", path.display())))
            }
        }
    }
}

/// Reads a NIfTI label map.
///
/// # Errors
/// Refused with the reason code of the format, or `unreadable`.
pub(crate) fn read_label_map(path: &Path) -> Result<LabelMap, Failure> {
    read_labels(&read_file(path)?).map_err(|error| damaged(path, error))
}

/// A phase for which two images were given.
pub(crate) fn phase_twice(phase: Phase) -> Failure {
    Failure::refused("phase_twice", anyhow!("phase {phase} is given twice"))
}

/// Reads a label map and lays it on the grid of the images, which it must match but for the
/// order in which its axes are stored.
///
/// # Errors
/// Refused with the reason code of the format, `unreadable` or `geometry_mismatch`.
pub(crate) fn read_label_file(
    path: &Path,
    relabel: &Relabel,
    study: &AlignedStudy,
) -> Result<LabelMap, Failure> {
    let labels = read_label_map(path)?;
    let axes = Axes::to(Orientation::of(study.grid()), labels.grid());
    let labels = axes.turn_volume(labels);
    if !study.grid().matches(labels.grid()) {
        let reason = "it does not lie on the grid of the images; resample it to the image first";
        return Err(Failure::refused("geometry_mismatch", anyhow!("{}: {reason}", path.display())));
    }
    let mut labels = Volume::new(Arc::clone(study.grid()), labels.into_voxels());
    relabel.apply(&mut labels);
    Ok(labels)
}
/// Reads a file, naming it if that fails.
///
/// # Errors
/// Refused as `unreadable`, with the path.
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>, Failure> {
    engines::require_there(path)?;
    if path.is_dir() {
        let error =
            anyhow!("{} is a folder; a NIfTI file (.nii, .nii.gz) is needed here", path.display());
        return Err(Failure::refused("unreadable", error));
    }
    crate::system::read_file(path).map_err(|error| {
        Failure::refused("unreadable", anyhow!("{}: {}", path.display(), system::reason(&error)))
    })
}

/// A NIfTI file that cannot be used, with its path.
pub(crate) fn damaged(path: &Path, error: NiftiError) -> Failure {
    let code = error.code();
    Failure::refused(code, anyhow::Error::new(error).context(path.display().to_string()))
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;
    use hepalert_voxels::volume::Grid;

    #[test]
    fn phases_and_relabelling_are_parsed() {
        let file: PhaseFile = "vp=a=b.nii.gz".parse().unwrap();
        assert_eq!((file.phase, file.path), (Phase::Vp, PathBuf::from("a=b.nii.gz")));
        assert!("xx=a".parse::<PhaseFile>().is_err() && "a.nii".parse::<PhaseFile>().is_err());
        assert!("1=7,2".parse::<Relabel>().is_err() && "1=300".parse::<Relabel>().is_err());
    }

    #[test]
    fn relabelling_replaces_all_values_at_once() {
        let grid = Arc::new(Grid::axial([1, 1, 4], [1.0; 3], [0.0; 3]));
        let mut labels = Volume::new(grid, array![[[0u8, 1, 2, 7]]]);
        "1=7, 2=1".parse::<Relabel>().unwrap().apply(&mut labels);
        assert_eq!(labels.voxels(), &array![[[0u8, 7, 1, 7]]]);
    }
}
