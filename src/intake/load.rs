//! Reads the voxels of a study, past the gate.
//!
//! Owns the bounds on what is read and the order of the checks: sizes, headers, geometry,
//! voxels. Slices are read in parallel, the volume and the slices in hand are all that is
//! held. Refuses by name; the detail of a refusal holds numbers, no text of a header.

use std::io;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::accepted::{self, Glance};
use super::facts::{Format, PhaseFiles, StudyFiles};
use super::fingerprint::{Digest, Item, digest_of, fingerprint};
use super::gate::{GateParams, Refusal, check_extent, check_said, check_values, sample};
use super::phases::{Confidence, PhaseSource};
use super::probe::open_regular;
use super::reasons::RejectCode;
use hepalert_study::study::{Phase, Study, StudyKey};
use hepalert_voxels::volume::dicom::read::{SliceHeader, plan, read_header, read_slice};
use hepalert_voxels::volume::dicom::{DicomError, Slice};
use hepalert_voxels::volume::nifti::read::{peek, read};
use hepalert_voxels::volume::{Axes, Grid, MAX_VOXELS, Volume};

/// Holds the header of nearly every CT slice; the others are read whole.
const HEADER_BYTES: u64 = 64 << 10;

/// A study in Hounsfield units, and how its phases were found.
#[derive(Debug)]
pub struct Loaded {
    /// The volumes.
    pub study: Study,
    /// In channel order.
    pub phases: Vec<LoadedPhase>,
}

/// What a report says of a phase.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadedPhase {
    /// Which.
    pub phase: Phase,
    /// Which rule named it.
    pub source: PhaseSource,
    /// How sure.
    pub confidence: Confidence,
    /// Slices.
    pub slices: usize,
    /// `[z, y, x]`; z from positions.
    pub spacing_mm: [f64; 3],
    /// Tube voltage, where said.
    pub kvp: Option<f64>,
    /// The header leaves open which side is the patient's left.
    pub side_uncertain: bool,
    /// Another series of the same scan comes first and could not be read.
    pub is_second: bool,
}

/// Loads the phases that an engine takes.
///
/// # Errors
/// [`Refusal`], with the number of files of the study.
pub fn load(files: &StudyFiles, expected: &[Phase], gate: &GateParams) -> Result<Loaded, Refusal> {
    let count = files.files().count();
    let all = |refusal: Refusal| Refusal { file_count: count, ..refusal };
    let find = |&phase: &Phase| {
        let found = files.phases.iter().find(|files| files.phase == phase);
        found.ok_or_else(|| Refusal::new(RejectCode::MissingPhase, phase.code(), count))
    };
    let wanted: Vec<&PhaseFiles> = expected.iter().map(find).collect::<Result<_, _>>()?;
    load_wanted(&files.key, &wanted, gate).map_err(|refusal| {
        // What is wrong with other bytes is not wrong with this study.
        all(accepted::verify(&wanted, gate.max_file_bytes).err().unwrap_or(refusal))
    })
}

fn load_wanted(
    key: &StudyKey,
    wanted: &[&PhaseFiles],
    gate: &GateParams,
) -> Result<Loaded, Refusal> {
    check_sizes(wanted, gate)?;
    let mut study = Study { key: key.clone(), phases: Default::default() };
    let mut phases = Vec::with_capacity(wanted.len());
    let read = |files: &&PhaseFiles| {
        let (volume, kvp, side_uncertain) = match files.format {
            Format::Nifti => {
                let (volume, side_uncertain) = load_nifti(files, gate)?;
                (volume, None, side_uncertain)
            }
            Format::Dicom => {
                let (volume, kvp) = load_dicom(files, gate)?;
                (volume, kvp, false)
            }
        };
        check_values(&sample_of(&volume), gate)?;
        Ok((volume, kvp, side_uncertain))
    };
    // All phases, then the first refusal: the same study is always refused for the same reason.
    let loaded: Vec<Result<_, Refusal>> =
        wanted.par_iter().map(|files| first_readable(files, &read)).collect();
    for (first, loaded) in wanted.iter().zip(loaded) {
        let (files, (volume, kvp, side_uncertain)) = loaded?;
        phases.push(LoadedPhase {
            phase: files.phase,
            source: files.source,
            confidence: files.confidence,
            slices: volume.grid().shape()[0],
            spacing_mm: volume.grid().spacing_mm(),
            kvp,
            side_uncertain,
            is_second: files.is_second || files != *first,
        });
        study.phases.insert(files.phase, volume);
    }
    Ok(Loaded { study, phases })
}

/// One series with slices at least `step_mm` apart, as far as it has so many: enough to see its
/// contrast. The geometry of the whole series is checked.
///
/// # Errors
/// [`Refusal`] of the first thing that is wrong.
pub fn thinned(
    files: &PhaseFiles,
    gate: &GateParams,
    step_mm: f64,
) -> Result<Volume<f32>, Refusal> {
    check_sizes(&[files], gate)?;
    let volume = match files.format {
        Format::Nifti => load_nifti(files, gate)?.0,
        Format::Dicom => load_dicom(&few(files, gate, step_mm)?, gate)?.0,
    };
    check_values(&sample_of(&volume), gate)?;
    Ok(volume)
}

/// Every so many slices along the body.
fn few(phase: &PhaseFiles, gate: &GateParams, step_mm: f64) -> Result<PhaseFiles, Refusal> {
    let headers: Vec<SliceHeader> = phase
        .files
        .par_iter()
        .map(|path| header(path, gate).map(|(header, _)| header))
        .collect::<Result<_, _>>()?;
    check_voxels(&headers)?;
    for header in &headers {
        header.require_ct()?;
    }
    let step = plan(&headers)?.coverage_mm() / headers.len() as f64;
    let every = ((step_mm / step).floor() as usize).max(1);
    let place = |at: usize| super::probe::position_mm(&headers[at]).unwrap_or_default();
    let mut along: Vec<usize> = (0..headers.len()).collect();
    along.sort_by(|&a, &b| place(a).total_cmp(&place(b)));
    let few: Vec<usize> = along.into_iter().step_by(every).collect();
    Ok(PhaseFiles {
        files: few.iter().map(|&at| phase.files[at].clone()).collect(),
        contents: few.iter().filter_map(|&at| phase.contents.get(at).copied()).collect(),
        ..phase.clone()
    })
}

/// The first series of a phase that can be read, and what was read; the reason of the first if
/// none can. Files that are no longer what was accepted are no reason to take others.
fn first_readable<'a, T>(
    first: &'a PhaseFiles,
    read: &impl Fn(&&'a PhaseFiles) -> Result<T, Refusal>,
) -> Result<(&'a PhaseFiles, T), Refusal> {
    let refusal = match read(&first) {
        Ok(found) => return Ok((first, found)),
        Err(refusal) => refusal,
    };
    if matches!(refusal.code, RejectCode::FilesChanged | RejectCode::Unreadable) {
        return Err(refusal);
    }
    let other = first.others.iter().find_map(|other| Some((other, read(&other).ok()?)));
    other.ok_or(refusal)
}

/// StudyInstanceUID and AccessionNumber, for messages whose privacy profile carries them:
/// read from the first slice again, because neither is kept anywhere. `None` for NIfTI or if
/// the file is no longer the one that was accepted.
pub fn identifiers(files: &StudyFiles) -> Option<(String, Option<String>)> {
    let phase = files.phases.iter().find(|phase| phase.format == Format::Dicom)?;
    phase.files.first()?;
    let bytes = accepted::read(phase.accepted(0), GateParams::default().max_file_bytes).ok()?;
    let header = read_header(&bytes).ok()?;
    Some((header.study_uid, header.identifiers.accession_number))
}

/// The files of phases that a person named: each a NIfTI file or a folder with one series.
///
/// # Errors
/// [`RejectCode::Unreadable`] if a path cannot be read.
pub fn files_of_paths(
    key: &StudyKey,
    phase_paths: &[(Phase, PathBuf)],
) -> Result<StudyFiles, Refusal> {
    let mut phases = Vec::new();
    let mut items: Vec<(Option<Phase>, Vec<Item>)> = Vec::new();
    for (phase, path) in phase_paths {
        let (format, mut files) = if path.is_dir() {
            let params = super::watch::WatchParams::new(path);
            let found = super::watch::list(&params, false).map_err(|e| unreadable(&e))?;
            let named = |path: &PathBuf| path.file_name().is_some_and(super::names::foreign);
            let files = found.files.into_keys().filter(|path| !named(path));
            (Format::Dicom, files.collect())
        } else {
            (Format::Nifti, vec![path.clone()])
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
        set_aside: 0,
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

fn content(path: &Path) -> Result<Digest, Refusal> {
    open_regular(path).and_then(digest_of).map_err(|e| unreadable(&e))
}

/// Of the kind alone: the text of an error may hold a path.
pub(super) fn unreadable(error: &io::Error) -> Refusal {
    Refusal::new(RejectCode::Unreadable, error.kind().to_string(), 1)
}

/// Before anything is read.
fn check_sizes(wanted: &[&PhaseFiles], gate: &GateParams) -> Result<(), Refusal> {
    let files = || wanted.iter().flat_map(|phase| &phase.files);
    let count = files().count();
    if count > gate.max_files {
        let detail = format!("{count} files, at most {}", gate.max_files);
        return Err(Refusal::new(RejectCode::TooManyFiles, detail, count));
    }
    let mut total: u64 = 0;
    for path in files() {
        let bytes = std::fs::metadata(path).map_err(|e| unreadable(&e))?.len();
        total = total.saturating_add(bytes);
        if bytes > gate.max_file_bytes || total > gate.max_study_bytes {
            let detail = format!("a file of {bytes} bytes, {total} bytes in all");
            return Err(Refusal::new(RejectCode::AbsurdSize, detail, count));
        }
    }
    Ok(())
}

/// The volume, and whether its header leaves the patient's left open.
fn load_nifti(phase: &PhaseFiles, gate: &GateParams) -> Result<(Volume<f32>, bool), Refusal> {
    let [_] = phase.files[..] else {
        let count = phase.files.len();
        return Err(Refusal::new(RejectCode::InconsistentSlices, "several files", count));
    };
    let bytes = accepted::read(phase.accepted(0), gate.max_file_bytes)?;
    let facts = peek(&bytes)?;
    check_nifti_grid(&facts.grid, gate)?;
    Ok((read(&bytes)?, facts.side_uncertain))
}

/// Slices must lie across the patient, in whatever order the file has its axes.
fn check_nifti_grid(stored: &Grid, gate: &GateParams) -> Result<(), Refusal> {
    let axes = Axes::ras(stored);
    let grid = &axes.grid(stored);
    let [_, _, along] = *grid.affine();
    let [slice_mm, row_mm, column_mm] = grid.spacing_mm();
    // Coronal or sagittal slices stay such when their axes change places: their thickness is
    // then a side of the pixels, and no scanner makes axial pixels so long.
    let turned = axes.from[0] != 0;
    let oblong = row_mm.max(column_mm) > 1.5 * row_mm.min(column_mm);
    if along[2].abs() / slice_mm < 0.8 || (turned && oblong) {
        return Err(Refusal::new(RejectCode::NotAxial, "the slices do not lie across the body", 1));
    }
    let slices = grid.shape()[0];
    check_extent(slices, slices as f64 * grid.spacing_mm()[0], gate)
}

fn load_dicom(
    phase: &PhaseFiles,
    gate: &GateParams,
) -> Result<(Volume<f32>, Option<f64>), Refusal> {
    let files = &phase.files;
    let seen: Vec<(SliceHeader, Glance)> =
        files.par_iter().map(|path| header(path, gate)).collect::<Result<_, _>>()?;
    let (headers, glances): (Vec<SliceHeader>, Vec<Glance>) = seen.into_iter().unzip();
    for header in &headers {
        header.require_ct()?;
        if !header.modality.is_empty() && header.modality != "CT" {
            return Err(Refusal::new(RejectCode::NotCt, "the modality is not CT", files.len()));
        }
    }
    check_voxels(&headers)?;
    let kvp: Vec<f64> = headers.iter().filter_map(|header| header.kvp).collect();
    for header in &headers {
        check_said(header.body_part.as_deref().unwrap_or_default(), &[], gate)?;
    }
    check_said("", &kvp, gate)?;
    let plan = plan(&headers)?;
    check_extent(headers.len(), plan.coverage_mm(), gate)?;
    let slice = |at: usize| -> Result<Slice, Refusal> {
        let bytes = accepted::read(phase.accepted(at), gate.max_file_bytes)?;
        glances[at].check(&bytes)?;
        Ok(read_slice(&bytes)?)
    };
    Ok((plan.fill(slice)?, kvp.first().copied()))
}

/// Before the volume is allocated.
fn check_voxels(headers: &[SliceHeader]) -> Result<(), Refusal> {
    let side = |n: Option<u16>| u128::from(n.unwrap_or(0));
    let voxels: u128 = headers.iter().map(|h| side(h.rows) * side(h.columns)).sum();
    if voxels > MAX_VOXELS as u128 {
        let detail = format!("{voxels} voxels, at most {MAX_VOXELS}");
        return Err(Refusal::new(RejectCode::AbsurdSize, detail, headers.len()));
    }
    match headers {
        [] => Err(Refusal::new(RejectCode::NoCtSeries, "no slices", 0)),
        _ => Ok(()),
    }
}

fn header(path: &Path, gate: &GateParams) -> Result<(SliceHeader, Glance), Refusal> {
    let mut bytes = accepted::read_prefix(path, HEADER_BYTES)?;
    let header = match read_header(&bytes) {
        Err(DicomError::Truncated) => {
            bytes = accepted::read_prefix(path, gate.max_file_bytes)?;
            read_header(&bytes)
        }
        header => header,
    };
    Ok((header?, Glance::of(&bytes)))
}

fn sample_of(volume: &Volume<f32>) -> Vec<f32> {
    // C order is checked when a volume is made: the slice is always there.
    volume.voxels().as_slice().map(sample).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nifti_grid_must_be_axial_and_long_enough() {
        let gate = GateParams::default();
        let code = |grid: &Grid| check_nifti_grid(grid, &gate).err().map(|refusal| refusal.code);
        let axial = Grid::axial([40, 64, 64], [5.0, 0.8, 0.8], [0.0; 3]);
        assert_eq!(code(&axial), None);
        let short = Grid::axial([10, 64, 64], [5.0, 0.8, 0.8], [0.0; 3]);
        assert_eq!(code(&short), Some(RejectCode::TooShort));
        // Third index from front to back.
        let affine = [[0.8, 0.0, 0.0, 0.0], [0.0, 0.0, 5.0, 0.0], [0.0, 0.8, 0.0, 0.0]];
        let coronal = Grid::new([40, 64, 64], [5.0, 0.8, 0.8], affine);
        assert_eq!(code(&coronal), Some(RejectCode::NotAxial));
    }

    #[test]
    fn sizes_are_bounded_before_anything_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::fs::write(&path, [0; 100]).unwrap();
        let phase = PhaseFiles {
            phase: Phase::Vp,
            source: PhaseSource::Given,
            confidence: Confidence::High,
            format: Format::Dicom,
            files: vec![path.clone(), path],
            contents: Vec::new(),
            is_second: false,
            others: Vec::new(),
        };
        let check = |max_files, max_file_bytes, max_study_bytes| {
            let gate =
                GateParams { max_files, max_file_bytes, max_study_bytes, ..GateParams::default() };
            check_sizes(&[&phase], &gate).err().map(|refusal| refusal.code)
        };
        assert_eq!(check(2, 100, 200), None);
        assert_eq!(check(1, 100, 200), Some(RejectCode::TooManyFiles));
        assert_eq!(check(2, 99, 200), Some(RejectCode::AbsurdSize));
        assert_eq!(check(2, 100, 199), Some(RejectCode::AbsurdSize));
    }
}
