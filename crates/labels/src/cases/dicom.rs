//! DICOM series of CT as images of cases.
//!
//! Owns which files make an image: one acquisition of one series of a study, whose slices lie in
//! equal steps. Names come from folders and numbers, never from what a header says of a patient.
//! What is no such series is told with the reason.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hepalert_voxels::volume::dicom::acquisitions::split_headers;
use hepalert_voxels::volume::dicom::read::{read_header, read_slice};
use hepalert_voxels::volume::dicom::{
    DicomError, GeometryError, SeriesPlan, SliceHeader, begins_as_dicom, plan,
};
use hepalert_voxels::volume::{Axes, Grid, Volume};
use rayon::prelude::*;

use super::error::CaseError;
use super::files::{failed, read, read_there};

/// Holds the header of nearly every CT slice; the others are read whole.
const HEADER_BYTES: u64 = 64 << 10;
/// A slice of 1024 x 1024 is 2 MiB; nothing of one image is longer.
pub(super) const MAX_FILE_BYTES: u64 = 64 << 20;
/// Whole bodies in half millimetres.
const MAX_SLICES: usize = 4000;
/// Fewer are no scan.
const MIN_SLICES: usize = 3;
/// Voxels of one image: two thousand slices of 512 x 512.
const MAX_VOXELS: usize = 512 << 20;

/// One acquisition of a series.
pub(super) struct Series {
    /// The study it belongs to.
    pub(super) study: String,
    /// SeriesNumber.
    pub(super) number: Option<i64>,
    /// Which acquisition of the series, from 1; none where it is the only one.
    pub(super) part: Option<usize>,
    /// Its files in the order of their names.
    pub(super) files: Vec<PathBuf>,
    /// Where its voxels lie.
    pub(super) grid: Arc<Grid>,
    /// InstanceNumber by slice from the feet, where known.
    pub(super) instances: Vec<Option<i64>>,
}

/// What the files of a folder hold, and what of it is no image.
pub(super) fn series(files: &[PathBuf]) -> (Vec<Series>, Vec<(PathBuf, String)>) {
    let read: Vec<Option<Result<SliceHeader, String>>> =
        files.par_iter().map(|f| head(f)).collect();
    let mut by_series: BTreeMap<String, Vec<(&PathBuf, SliceHeader)>> = BTreeMap::new();
    let (mut found, mut skipped) = (Vec::new(), Vec::new());
    for (file, header) in files.iter().zip(read) {
        match header {
            None => {}
            Some(Ok(header)) => {
                by_series.entry(header.series_uid.clone()).or_default().push((file, header));
            }
            Some(Err(why)) => skipped.push((file.clone(), why)),
        }
    }
    for members in by_series.into_values() {
        let headers: Vec<SliceHeader> = members.iter().map(|(_, header)| header.clone()).collect();
        let parts = split_headers(&headers, |_| None);
        let many = parts.len() > 1;
        for (at, part) in parts.into_iter().enumerate() {
            let files: Vec<PathBuf> = part.iter().map(|at| members[*at].0.clone()).collect();
            let headers: Vec<SliceHeader> = part.iter().map(|at| headers[*at].clone()).collect();
            match acquisition(&headers) {
                Ok((grid, instances)) => found.push(Series {
                    study: headers[0].study_uid.clone(),
                    number: headers[0].series_number,
                    part: many.then_some(at + 1),
                    files,
                    grid,
                    instances,
                }),
                Err(why) => skipped.push((files[0].clone(), why)),
            }
        }
    }
    found.sort_by(|a, b| (a.number, a.part, &a.files).cmp(&(b.number, b.part, &b.files)));
    (found, skipped)
}

fn acquisition(headers: &[SliceHeader]) -> Result<(Arc<Grid>, Vec<Option<i64>>), String> {
    if headers.iter().any(SliceHeader::is_enhanced) {
        return Err("an enhanced CT object: convert it to NIfTI".to_owned());
    }
    if let Some(Err(error)) = headers.iter().map(SliceHeader::require_ct).find(Result::is_err) {
        return Err(error.to_string());
    }
    if !(MIN_SLICES..=MAX_SLICES).contains(&headers.len()) {
        return Err(format!(
            "{} slices: from {MIN_SLICES} to {MAX_SLICES} are taken",
            headers.len()
        ));
    }
    let plan = plan(headers).map_err(|error| error.to_string())?;
    let grid = Arc::clone(plan.grid());
    if grid.voxels() > MAX_VOXELS {
        return Err(format!("more than {MAX_VOXELS} voxels"));
    }
    let instances = plan.order().iter().map(|at| headers[*at].instance_number).collect();
    let instances = Axes::ras(&grid).turn_slices(instances);
    Ok((grid, instances))
}

/// The header of a file; none if it is no DICOM at all.
fn head(file: &Path) -> Option<Result<SliceHeader, String>> {
    let mut bytes = Vec::new();
    let opened = File::open(file).and_then(|f| f.take(HEADER_BYTES).read_to_end(&mut bytes));
    if opened.is_err() || !begins_as_dicom(&bytes) {
        return None;
    }
    let told = |error: DicomError| error.to_string();
    Some(match read_header(&bytes) {
        Err(DicomError::Truncated) => match read(file, MAX_FILE_BYTES) {
            Ok(Some(whole)) => read_header(&whole).map_err(told),
            Ok(None) => Err("it is gone".to_owned()),
            Err(error) => Err(error.to_string()),
        },
        other => other.map_err(told),
    })
}

/// The headers of an image's files, in the order of the files, and how they lie.
fn planned(files: &[PathBuf]) -> Result<(Vec<SliceHeader>, SeriesPlan), CaseError> {
    let read = |file: &PathBuf| match head(file) {
        Some(Ok(header)) => Ok(header),
        Some(Err(reason)) => Err(CaseError::Dicom { path: file.clone(), reason }),
        None => Err(failed(file)(std::io::ErrorKind::NotFound.into())),
    };
    let headers: Vec<SliceHeader> = files.par_iter().map(read).collect::<Result<_, _>>()?;
    let plan = plan(&headers).map_err(|error| damaged(&files[0], &error))?;
    Ok((headers, plan))
}

/// The headers of an image's files, in the order of its slices as stored, and the file of the first.
///
/// # Errors
/// [`CaseError::Dicom`] or [`CaseError::File`].
pub(super) fn headers(files: &[PathBuf]) -> Result<(Vec<SliceHeader>, &Path), CaseError> {
    let (headers, plan) = planned(files)?;
    let first = &files[plan.order()[0]];
    Ok((plan.order().iter().map(|at| headers[*at].clone()).collect(), first))
}

/// The voxels of an image, in Hounsfield units, as stored.
///
/// # Errors
/// [`CaseError::Dicom`] or [`CaseError::File`].
pub(super) fn volume(files: &[PathBuf]) -> Result<Volume<f32>, CaseError> {
    let read_whole = |file: &PathBuf| -> Result<_, CaseError> {
        read_slice(&read_there(file, MAX_FILE_BYTES)?).map_err(|error| damaged(file, &error))
    };
    let (_, plan) = planned(files)?;
    if plan.grid().voxels() > MAX_VOXELS {
        return Err(damaged(&files[0], &"more voxels than are taken"));
    }
    plan.fill(|at| read_whole(&files[at]).map_err(Failure::Case)).map_err(|error| match error {
        Failure::Case(error) => error,
        Failure::Geometry(error) => damaged(&files[0], &error),
    })
}

/// What can go wrong slice by slice.
enum Failure {
    Case(CaseError),
    Geometry(GeometryError),
}

impl From<GeometryError> for Failure {
    fn from(error: GeometryError) -> Failure {
        Failure::Geometry(error)
    }
}

fn damaged(file: &Path, reason: &dyn std::fmt::Display) -> CaseError {
    CaseError::Dicom { path: file.to_owned(), reason: reason.to_string() }
}
