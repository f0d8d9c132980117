//! Phases that a person named on the command line: the files of each.
//!
//! Owns what counts as a slice in a folder that was named as one phase. Refuses to doubt the
//! person; what the images show is checked later.

use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::intake::facts::{Format, PhaseFiles, Pick, StudyFiles};
use crate::intake::fingerprint::{Digest, Item, fingerprint};
use crate::intake::folder::listing::{WatchParams, list};
use crate::intake::folder::names;
use crate::intake::reading::accepted::{self, content, unreadable};
use crate::intake::reading::gate::{GateParams, Refusal};
use crate::intake::reading::load::{HEADER_BYTES, Loaded, load};
use crate::intake::reading::probe::stranger_by_content;
use crate::intake::study::phases::{Confidence, PhaseSource};
use hepalert_study::phase::Phase;
use hepalert_study::study::StudyKey;
use hepalert_voxels::volume::dicom::read::read_header;
use hepalert_voxels::volume::dicom::{DicomError, begins_as_dicom};

/// The files of phases that a person named: each a NIfTI file or a folder with one series.
///
/// # Errors
/// [`RefusalCode::Unreadable`] if a path cannot be read.
pub fn files_of_paths(
    key: &StudyKey,
    phase_paths: &[(Phase, PathBuf)],
) -> Result<StudyFiles, Refusal> {
    let mut phases = Vec::new();
    let mut items: Vec<(Option<Phase>, Vec<Item>)> = Vec::new();
    for (phase, path) in phase_paths {
        let (format, mut files) = if path.is_dir() {
            let found = list(&WatchParams::new(path), false).map_err(|e| unreadable(&e))?;
            let files: Vec<PathBuf> = found.files.into_keys().collect();
            (Format::Dicom, files.into_par_iter().filter(|path| !is_stranger(path)).collect())
        } else {
            let name = path.file_name().unwrap_or_default();
            let is_nifti = names::nifti_name(name).is_some();
            let format = if is_nifti { Format::Nifti } else { Format::Dicom };
            let file = super::behind_links(path).map_err(|error| unreadable(&error))?;
            (format, vec![file])
        };
        files.sort();
        let contents: Vec<Digest> =
            files.par_iter().map(|path| content(path)).collect::<Result<_, Refusal>>()?;
        items.push((Some(*phase), contents.iter().map(|content| (*content, *content)).collect()));
        let (source, confidence) = (PhaseSource::Given, Confidence::High);
        let (phase, is_second, others) = (*phase, false, Vec::new());
        phases.push(PhaseFiles {
            phase,
            source,
            confidence,
            format,
            files,
            contents,
            is_second,
            others,
            pick: Pick::default(),
        });
    }
    phases.sort_by_key(|files| files.phase);
    let fingerprint = fingerprint(&items);
    let key = key.clone();
    let candidates = Vec::new();
    Ok(StudyFiles {
        key,
        revision: 1,
        fingerprint,
        phases,
        candidates,
        acquired: None,
        unused: 0,
        unreadable_beside: 0,
        patient: None,
        series: Vec::new(),
        prior: None,
        seen: Vec::new(),
    })
}

/// Loads phases that a person named. See [`files_of_paths`].
///
/// # Errors
/// As [`load`].
pub fn load_paths(
    key: &StudyKey,
    phase_paths: &[(Phase, PathBuf)],
    gate: &GateParams,
) -> Result<Loaded, Refusal> {
    let files = files_of_paths(key, phase_paths)?;
    let phases: Vec<Phase> = files.phases.iter().map(|files| files.phase).collect();
    load(&files, &phases, gate)
}

/// Whether a file in a folder of slices is none: by what it begins with, its SOP class, or its
/// name where it does not begin as an image. What has no such name and cannot be read is refused
/// by its cause later.
fn is_stranger(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    let is_foreign = names::foreign(name);
    let Ok(start) = accepted::read_prefix(path, HEADER_BYTES) else { return is_foreign };
    // An ending is no proof: exporters call slices `1.txt` and `7.lock`.
    let is_marked = begins_as_dicom(&start);
    if is_foreign && (names::directory(name) || !is_marked) {
        return true;
    }
    match read_header(&start) {
        Ok(header) => matches!(header.require_ct(), Err(DicomError::NotCt(_))),
        Err(DicomError::NotDicom) => stranger_by_content(path, &start).is_some(),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ending_is_no_proof_that_a_file_is_no_slice() {
        use hepalert_lab::phantom::{Case, Size, generate};
        use hepalert_study::phase::Setting;
        let dir = tempfile::tempdir().unwrap();
        let size = Size { pixels: 32, slices: None };
        let patient = generate(3, Case::Normal, Setting::Venous, size);
        let slices = crate::cli::phantom::write_series(&patient, dir.path()).unwrap();
        let folder = slices[0].parent().unwrap();
        let key = StudyKey::new("0123456789abcdef0123456789abcdef").unwrap();
        let count = || {
            let given = [(Phase::Vp, folder.to_owned())];
            files_of_paths(&key, &given).unwrap().phases[0].files.len()
        };
        assert_eq!(count(), slices.len());
        std::fs::copy(&slices[0], folder.join("DICOMDIR")).unwrap();
        std::fs::rename(&slices[0], folder.join("1.txt")).unwrap();
        std::fs::rename(&slices[1], folder.join("7.lock")).unwrap();
        std::fs::write(folder.join("notes.txt"), "seen by nobody").unwrap();
        assert_eq!(count(), slices.len(), "two have odd names, two are no slices");
    }
}
