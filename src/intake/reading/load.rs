//! Reads the voxels of a study, past the gate.
//!
//! Owns the bounds on what is read and the order of the checks: sizes, headers, geometry,
//! voxels. Slices are read in parallel, the volume and the slices in hand are all that is
//! held. Refuses by name; the detail of a refusal holds numbers, no text of a header.

use std::collections::BTreeMap;
use std::path::Path;

use dicom_core::Tag;
use rayon::prelude::*;

use super::accepted::{self, Glance};
use super::gate::{
    GateParams, Refusal, SliceNames, check_extent, check_said, check_voxels, refusal_of,
};
use super::memory::{BYTES_OF_HU, check_memory, check_size, check_sizes, fitted};
use super::probe::acquired_ms;
use super::quality::{self, QualityFlag};
use crate::intake::facts::{Accepted, Format, PhaseFiles, StudyFiles};
use crate::intake::refusal_codes::RefusalCode;
use hepalert_study::files::SliceName;
use hepalert_study::phase::Phase;
use hepalert_study::study::{Study, StudyKey};
use hepalert_voxels::volume::dicom::acquisitions::split_headers;
use hepalert_voxels::volume::dicom::read::{
    SliceHeader, plan, read_frame, read_header, read_headers, read_slice, read_texts,
};
use hepalert_voxels::volume::dicom::{DicomError, Slice, begins_as_dicom};
use hepalert_voxels::volume::nifti::read::{peek, read};
use hepalert_voxels::volume::{Axes, Grid, Volume};

/// Holds the header of nearly every CT slice; the others are read whole.
pub(in crate::intake) const HEADER_BYTES: u64 = 64 << 10;

/// What the beginning of a file tells, if it is a DICOM file that can be read.
pub(crate) fn header_of(path: &Path) -> Option<SliceHeader> {
    let start = accepted::read_prefix(path, HEADER_BYTES).ok()?;
    read_header(&start).ok().filter(|_| begins_as_dicom(&start))
}

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
    /// The series that was read: the next of the same scan where the first could not be.
    pub files: PhaseFiles,
    /// Why the first was not.
    pub passed_by: Option<Refusal>,
    /// How many slices it has.
    pub slices: usize,
    /// `[z, y, x]`; z from positions.
    pub spacing_mm: [f64; 3],
    /// Tube voltage, where said.
    pub kvp: Option<f64>,
    /// The header leaves open which side is the patient's left.
    pub side_uncertain: bool,
    /// What was unusual, in order.
    pub quality: Vec<QualityFlag>,
    /// How the archive knows each slice, in the order of storage; none of NIfTI, and none where
    /// slices were averaged.
    pub slice_names: Vec<SliceName>,
}

/// One phase's voxels, past the gate.
pub(in crate::intake) struct Scan {
    pub(in crate::intake) volume: Volume<f32>,
    kvp: Option<f64>,
    side_uncertain: bool,
    quality: Vec<QualityFlag>,
    slice_names: Vec<SliceName>,
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
        found.ok_or_else(|| Refusal::new(RefusalCode::MissingPhase, phase.code(), count))
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
    let read = |files: &PhaseFiles| match files.format {
        Format::Nifti => load_nifti(files, gate),
        Format::Dicom => load_dicom(files, gate),
    };
    // All phases, then the first refusal: the same study is always refused for the same reason.
    let loaded: Vec<Result<_, Refusal>> = match fits_at_once(wanted, gate) {
        true => wanted.par_iter().map(|files| first_readable(files, &read)).collect(),
        false => wanted.iter().map(|files| first_readable(files, &read)).collect(),
    };
    for loaded in loaded {
        let FirstReadable { files, passed_by, read } = loaded?;
        let Scan { volume, kvp, side_uncertain, quality, slice_names } = read;
        let phase = files.phase;
        phases.push(LoadedPhase {
            files: PhaseFiles {
                is_second: files.is_second || passed_by.is_some(),
                ..files.clone()
            },
            passed_by,
            slices: volume.grid().shape()[0],
            spacing_mm: volume.grid().spacing_mm(),
            kvp,
            side_uncertain,
            quality,
            slice_names,
        });
        study.phases.insert(phase, volume);
    }
    Ok(Loaded { study, phases })
}

/// The first series of a phase that can be read.
struct FirstReadable<'a> {
    files: &'a PhaseFiles,
    /// Why the very first is not it.
    passed_by: Option<Refusal>,
    read: Scan,
}

/// The first series of a phase that can be read; the reason of the first if none can. Files that
/// are no longer what was accepted are no reason to take others.
fn first_readable<'a>(
    first: &'a PhaseFiles,
    read: &impl Fn(&PhaseFiles) -> Result<Scan, Refusal>,
) -> Result<FirstReadable<'a>, Refusal> {
    let refusal = match read(first) {
        Ok(read) => return Ok(FirstReadable { files: first, passed_by: None, read }),
        Err(refusal) => refusal,
    };
    if matches!(refusal.code, RefusalCode::FilesChanged | RefusalCode::Unreadable) {
        return Err(refusal);
    }
    match first.others.iter().find_map(|other| Some((other, read(other).ok()?))) {
        Some((files, read)) => Ok(FirstReadable { files, passed_by: Some(refusal), read }),
        None => Err(refusal),
    }
}

/// Whether all phases may be in memory as they were stored. If not, they are read one after
/// the other, and thin ones averaged in between.
fn fits_at_once(wanted: &[&PhaseFiles], gate: &GateParams) -> bool {
    let Some(limit) = gate.memory else { return true };
    let bytes_of = |files: &&PhaseFiles| -> Option<u64> {
        let first = files.files.first()?;
        let voxels = match files.format {
            Format::Nifti => {
                peek(&accepted::read_prefix(first, HEADER_BYTES).ok()?).ok()?.grid.voxels() as u64
            }
            Format::Dicom => {
                let (header, _) = header(first, gate).ok()?;
                let frames = u64::try_from(header.number_of_frames).unwrap_or(1);
                let slices = frames.max(1) * files.files.len() as u64;
                u64::from(header.rows?) * u64::from(header.columns?) * slices
            }
        };
        Some(voxels.saturating_mul(BYTES_OF_HU))
    };
    // What cannot be told is refused when it is read.
    let bytes: u64 = wanted.iter().filter_map(bytes_of).fold(0, u64::saturating_add);
    bytes <= limit.bytes
}

/// The headers of all images of a phase, in the order of files and frames; none of NIfTI.
///
/// # Errors
/// [`Refusal`] of the first file that cannot be read.
pub(crate) fn headers(phase: &PhaseFiles, gate: &GateParams) -> Result<Vec<SliceHeader>, Refusal> {
    if phase.format == Format::Nifti {
        return Ok(Vec::new());
    }
    let (_, images) = images(phase, gate)?;
    Ok(images.into_iter().map(|image| image.header).collect())
}

/// The texts of these attributes in the first file of a phase, as it was accepted.
///
/// # Errors
/// [`Refusal`] if it is another one now, or cannot be read.
pub(crate) fn texts(phase: &PhaseFiles, wanted: &[Tag]) -> Result<BTreeMap<Tag, String>, Refusal> {
    let bytes = accepted::read(phase.accepted(0), GateParams::default().max_file_bytes)?;
    Ok(read_texts(&bytes, wanted)?)
}

/// StudyInstanceUID and AccessionNumber, for messages whose privacy profile carries them:
/// read from the first slice again, because neither is kept anywhere. `None` for NIfTI or if
/// the file is no longer the one that was accepted.
pub(crate) fn identifiers(files: &StudyFiles) -> Option<(String, Option<String>)> {
    // Where headers tell no phase there are candidates alone.
    let candidates = files.candidates.iter().map(|candidate| &candidate.files);
    let mut all = files.phases.iter().chain(candidates);
    let phase = all.find(|phase| phase.format == Format::Dicom)?;
    phase.files.first()?;
    let bytes = accepted::read(phase.accepted(0), GateParams::default().max_file_bytes).ok()?;
    let header = read_header(&bytes).ok()?;
    Some((header.study_uid, header.identifiers.accession_number))
}

pub(super) fn load_nifti(phase: &PhaseFiles, gate: &GateParams) -> Result<Scan, Refusal> {
    let [_] = phase.files[..] else {
        let count = phase.files.len();
        return Err(Refusal::new(RefusalCode::InconsistentSlices, "several files", count));
    };
    let bytes = accepted::read(phase.accepted(0), gate.max_file_bytes)?;
    let facts = peek(&bytes)?;
    check_nifti_grid(&facts.grid, gate)?;
    check_memory(facts.grid.voxels(), gate)?;
    let volume = read(&bytes)?;
    drop(bytes);
    let axes = across(volume.grid());
    let turned = axes.turn_volume(volume);
    let scan = checked(turned, None, &SliceNames::Places, &[], gate)?;
    let volume = axes.inverse().turn_volume(scan.volume);
    Ok(Scan { volume, side_uncertain: facts.side_uncertain, ..scan })
}

/// Axes by which slices lie across the body, in whatever order a file has them.
fn across(stored: &Grid) -> Axes {
    let axes = Axes::ras(stored);
    if axes.from[0] == 0 { Axes::STORED } else { axes }
}

/// Why the gate would refuse the voxels of a volume, for those who take it all the same.
pub(crate) fn doubts(volume: &Volume<f32>, gate: &GateParams) -> Option<Refusal> {
    let mut looked_at = across(volume.grid()).turn_volume(volume.clone());
    check_voxels(&mut looked_at, &SliceNames::Places, &[], gate).err()
}

/// Past the look at voxels, with what is told of it.
fn checked(
    mut volume: Volume<f32>,
    kvp: Option<f64>,
    names: &SliceNames,
    padding_hu: &[Option<[f32; 2]>],
    gate: &GateParams,
) -> Result<Scan, Refusal> {
    let repaired = check_voxels(&mut volume, names, padding_hu, gate)?;
    let mut quality: Vec<QualityFlag> =
        quality::of_step(volume.grid().spacing_mm()[0]).into_iter().collect();
    if repaired.padded_slices > 0 {
        quality.push(QualityFlag::PaddingReplaced);
    }
    if repaired.interpolated {
        quality.push(QualityFlag::SlicesInterpolated);
    }
    let (volume, averaged) = fitted(volume, gate)?;
    if averaged {
        quality.push(QualityFlag::SlicesAveraged);
    }
    quality.sort_unstable();
    Ok(Scan { volume, kvp, side_uncertain: false, quality, slice_names: Vec::new() })
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
        return Err(Refusal::new(
            RefusalCode::NotAxial,
            "the slices do not lie across the body",
            1,
        ));
    }
    let slices = grid.shape()[0];
    check_extent(slices, slices as f64 * grid.spacing_mm()[0], gate)
}

/// An image of a series, and the place of its file in the list.
struct Image {
    file: usize,
    header: SliceHeader,
}

/// What was seen of a file, and all of it if it holds many images.
struct Source {
    glance: Glance,
    whole: Option<Vec<u8>>,
}

impl Source {
    fn slice(
        &self,
        file: Accepted<'_>,
        image: &Image,
        gate: &GateParams,
    ) -> Result<Slice, Refusal> {
        if let Some(bytes) = &self.whole {
            return Ok(read_frame(bytes, &image.header)?);
        }
        let bytes = accepted::read(file, gate.max_file_bytes)?;
        self.glance.check(&bytes)?;
        Ok(read_slice(&bytes)?)
    }
}

/// The headers of all images that are read, in the order of files and frames.
fn images(phase: &PhaseFiles, gate: &GateParams) -> Result<(Vec<Source>, Vec<Image>), Refusal> {
    let read = |at: usize| -> Result<(Source, Vec<SliceHeader>), Refusal> {
        let (header, glance) = header(&phase.files[at], gate)?;
        if !header.is_enhanced() {
            return Ok((Source { glance, whole: None }, vec![header]));
        }
        let bytes = accepted::read(phase.accepted(at), gate.max_file_bytes)?;
        let headers = read_headers(&bytes)?;
        Ok((Source { glance, whole: Some(bytes) }, headers))
    };
    let found: Vec<(Source, Vec<SliceHeader>)> =
        (0..phase.files.len()).into_par_iter().map(read).collect::<Result<_, _>>()?;
    let (mut sources, mut images) = (Vec::new(), Vec::new());
    for (file, (source, headers)) in found.into_iter().enumerate() {
        let wanted = phase.pick.frames.get(file).filter(|frames| !frames.is_empty());
        let is_wanted = |frame: usize| wanted.is_none_or(|frames| frames.contains(&frame));
        let kept = headers.into_iter().enumerate().filter(|(frame, _)| is_wanted(*frame));
        images.extend(kept.map(|(_, header)| Image { file, header }));
        sources.push(source);
    }
    Ok((sources, images))
}

pub(super) fn load_dicom(phase: &PhaseFiles, gate: &GateParams) -> Result<Scan, Refusal> {
    let (sources, images) = images(phase, gate)?;
    let headers: Vec<SliceHeader> = images.iter().map(|image| image.header.clone()).collect();
    if let Some(refusal) = headers.iter().find_map(refusal_of) {
        return Err(refusal);
    }
    check_size(&headers)?;
    let kvp: Vec<f64> = headers.iter().filter_map(|header| header.kvp).collect();
    for header in &headers {
        check_said(header.body_part.as_deref().unwrap_or_default(), &[], gate)?;
    }
    check_said("", &kvp, gate)?;
    if !phase.pick.is_split {
        check_acquisitions(&headers)?;
    }
    let plan = plan(&headers)?;
    check_extent(headers.len(), plan.coverage_mm(), gate)?;
    check_memory(plan.grid().voxels(), gate)?;
    let volume = plan.fill(|at| {
        let image = &images[at];
        sources[image.file].slice(phase.accepted(image.file), image, gate)
    })?;
    drop(sources);
    let ordered = || plan.order().iter().map(|at| &headers[*at]);
    let padding_hu: Vec<Option<[f32; 2]>> = ordered().map(SliceHeader::padding_hu).collect();
    let instances: Option<Vec<i64>> = ordered().map(|header| header.instance_number).collect();
    let names = instances.map_or(SliceNames::Places, SliceNames::Instances);
    let mut scan = checked(volume, kvp.first().copied(), &names, &padding_hu, gate)?;
    if scan.volume.grid().shape()[0] == headers.len() {
        let name = |header: &SliceHeader| SliceName {
            instance_number: header.instance_number,
            sop_uid: header.sop_uid.clone(),
        };
        scan.slice_names = ordered().map(name).collect();
    }
    if headers.iter().any(|header| header.lossy) {
        scan.quality.push(QualityFlag::LossyCompression);
    }
    if phase.pick.is_split {
        scan.quality.push(QualityFlag::SeriesSplit);
    }
    scan.quality.sort_unstable();
    Ok(scan)
}

/// A folder that a person named as one phase may hold several acquisitions: which is meant
/// nobody knows, and never are they one volume.
fn check_acquisitions(headers: &[SliceHeader]) -> Result<(), Refusal> {
    let parts = split_headers(headers, acquired_ms);
    if parts.len() < 2 {
        return Ok(());
    }
    let sizes: Vec<String> = parts.iter().map(|part| part.len().to_string()).collect();
    let detail = format!("{} acquisitions of {} slices", parts.len(), sizes.join(" and "));
    Err(Refusal::new(RefusalCode::DuplicateSlicePositions, detail, headers.len()))
}

pub(in crate::intake) fn header(
    path: &Path,
    gate: &GateParams,
) -> Result<(SliceHeader, Glance), Refusal> {
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
        assert_eq!(code(&short), Some(RefusalCode::TooShort));
        // Third index from front to back.
        let affine = [[0.8, 0.0, 0.0, 0.0], [0.0, 0.0, 5.0, 0.0], [0.0, 0.8, 0.0, 0.0]];
        let coronal = Grid::new([40, 64, 64], [5.0, 0.8, 0.8], affine);
        assert_eq!(code(&coronal), Some(RefusalCode::NotAxial));
    }
}
