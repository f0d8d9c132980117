//! A series with fewer slices: enough to see its contrast, read in a part of the time.
//!
//! Owns the choice of slices. The geometry of the whole series is checked, the voxels of what
//! is read.

use rayon::prelude::*;

use super::gate::{GateParams, Refusal};
use super::load::{header, load_dicom, load_nifti};
use super::memory::{check_size, check_sizes};
use crate::intake::facts::{Format, PhaseFiles};
use hepalert_voxels::volume::Volume;
use hepalert_voxels::volume::dicom::read::{SliceHeader, plan};

/// One series with slices at least `step_mm` apart, as far as it has so many.
///
/// # Errors
/// [`Refusal`] of the first thing that is wrong.
pub(crate) fn thinned(
    files: &PhaseFiles,
    gate: &GateParams,
    step_mm: f64,
) -> Result<Volume<f32>, Refusal> {
    check_sizes(&[files], gate)?;
    let scan = match files.format {
        Format::Nifti => load_nifti(files, gate)?,
        Format::Dicom => load_dicom(&few(files, gate, step_mm)?, gate)?,
    };
    Ok(scan.volume)
}

/// Every so many slices along the body; all of a file that holds many.
fn few(phase: &PhaseFiles, gate: &GateParams, step_mm: f64) -> Result<PhaseFiles, Refusal> {
    let headers: Vec<SliceHeader> = phase
        .files
        .par_iter()
        .map(|path| header(path, gate).map(|(header, _)| header))
        .collect::<Result<_, _>>()?;
    if headers.iter().any(SliceHeader::is_enhanced) {
        return Ok(phase.clone());
    }
    check_size(&headers)?;
    for header in &headers {
        header.require_ct()?;
    }
    let plan = plan(&headers)?;
    let step = plan.coverage_mm() / headers.len() as f64;
    let every = ((step_mm / step).floor() as usize).max(1);
    let few: Vec<usize> = plan.order().iter().copied().step_by(every).collect();
    Ok(PhaseFiles {
        files: few.iter().map(|&at| phase.files[at].clone()).collect(),
        contents: few.iter().filter_map(|&at| phase.contents.get(at).copied()).collect(),
        ..phase.clone()
    })
}
