//! Whether a study is small enough: its files, its voxels, and what is computed on them; thin
//! slices are made fewer where they do not fit into memory.
//!
//! Owns the checks before a file is read, before a volume is allocated and before anything is
//! computed on it.

use super::accepted::unreadable;
use super::gate::{GateParams, Refusal};
use crate::intake::facts::PhaseFiles;
use crate::intake::refusal_codes::RefusalCode;
use hepalert_voxels::image::thin::average_slices;
use hepalert_voxels::volume::dicom::read::SliceHeader;
use hepalert_voxels::volume::{MAX_VOXELS, Volume};

/// A voxel in Hounsfield units.
pub(super) const BYTES_OF_HU: u64 = 4;

/// Thin slices are averaged to no thicker ones than this: lesions of a centimetre keep three.
const MAX_AVERAGED_MM: f64 = 3.0;

/// Before anything is read.
pub(super) fn check_sizes(wanted: &[&PhaseFiles], gate: &GateParams) -> Result<(), Refusal> {
    let files = || wanted.iter().flat_map(|phase| &phase.files);
    let count = files().count();
    if count > gate.max_files {
        let detail = format!("{count} files, at most {}", gate.max_files);
        return Err(Refusal::new(RefusalCode::TooManyFiles, detail, count));
    }
    let mut total: u64 = 0;
    for path in files() {
        let bytes = std::fs::metadata(path).map_err(|e| unreadable(&e))?.len();
        total = total.saturating_add(bytes);
        if bytes > gate.max_file_bytes || total > gate.max_study_bytes {
            let detail = format!("a file of {bytes} bytes, {total} bytes in all");
            return Err(Refusal::new(RefusalCode::AbsurdSize, detail, count));
        }
    }
    Ok(())
}

/// Before the volume is allocated.
pub(super) fn check_size(headers: &[SliceHeader]) -> Result<(), Refusal> {
    let side = |n: Option<u16>| u128::from(n.unwrap_or(0));
    let voxels: u128 = headers.iter().map(|h| side(h.rows) * side(h.columns)).sum();
    if voxels > MAX_VOXELS as u128 {
        let detail = format!("{voxels} voxels, at most {MAX_VOXELS}");
        return Err(Refusal::new(RefusalCode::AbsurdSize, detail, headers.len()));
    }
    match headers {
        [] => Err(Refusal::new(RefusalCode::NoCtSeries, "no slices", 0)),
        _ => Ok(()),
    }
}

/// Before a volume is allocated: it must fit as it was stored.
pub(super) fn check_memory(voxels: usize, gate: &GateParams) -> Result<(), Refusal> {
    let bytes = (voxels as u64).saturating_mul(BYTES_OF_HU);
    match gate.memory {
        Some(limit) if bytes > limit.bytes => Err(limit.refusal(voxels as u64)),
        Some(_) | None => Ok(()),
    }
}

/// A volume that fits with all that is computed on its grid; thin slices are averaged where
/// that is what it takes.
pub(super) fn fitted(
    volume: Volume<f32>,
    gate: &GateParams,
) -> Result<(Volume<f32>, bool), Refusal> {
    let voxels = volume.grid().voxels() as u64;
    let Some(limit) = gate.memory.filter(|limit| voxels > limit.voxels()) else {
        return Ok((volume, false));
    };
    let count = voxels.div_ceil(limit.voxels().max(1));
    let step_mm = volume.grid().spacing_mm()[0] * count as f64;
    let slices = volume.grid().shape()[0] as u64;
    if step_mm > MAX_AVERAGED_MM || count > slices {
        return Err(limit.refusal(voxels));
    }
    Ok((average_slices(&volume, count as usize), true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intake::facts::{Format, Pick};
    use crate::intake::reading::gate::MemoryLimit;
    use crate::intake::study::phases::{Confidence, PhaseSource};
    use hepalert_study::phase::Phase;
    use hepalert_voxels::volume::Grid;

    #[test]
    fn thin_slices_are_averaged_only_where_memory_asks_for_it() {
        let volume = |step_mm| {
            let grid = Grid::axial([100, 4, 4], [step_mm, 1.0, 1.0], [0.0; 3]);
            Volume::new(grid.into(), ndarray::Array3::zeros([100, 4, 4]))
        };
        let fit = |step_mm, voxels: u64| {
            let memory = Some(MemoryLimit { bytes: 17 * voxels, bytes_per_voxel: 17 });
            let gate = GateParams { memory, ..GateParams::default() };
            let (volume, averaged) = fitted(volume(step_mm), &gate).map_err(|r| r.code)?;
            Ok((volume.grid().shape()[0], averaged))
        };
        let refused = Err(RefusalCode::OverMemoryBudget);
        assert_eq!(fit(0.6, 1600), Ok((100, false)));
        assert_eq!(fit(0.6, 1599), Ok((50, true)));
        assert_eq!(fit(0.6, 400), Ok((25, true)));
        assert_eq!(fit(0.6, 200), refused, "4.8 mm");
        assert_eq!(fit(2.5, 1599), refused, "5 mm");
        assert_eq!(fit(0.6, 0), refused);
        let none = fitted(volume(2.5), &GateParams::default()).unwrap();
        assert!(!none.1, "without a limit nothing is averaged");
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
            pick: Pick::default(),
        };
        let check = |max_files, max_file_bytes, max_study_bytes| {
            let gate =
                GateParams { max_files, max_file_bytes, max_study_bytes, ..GateParams::default() };
            check_sizes(&[&phase], &gate).err().map(|refusal| refusal.code)
        };
        assert_eq!(check(2, 100, 200), None);
        assert_eq!(check(1, 100, 200), Some(RefusalCode::TooManyFiles));
        assert_eq!(check(2, 99, 200), Some(RefusalCode::AbsurdSize));
        assert_eq!(check(2, 100, 199), Some(RefusalCode::AbsurdSize));
    }
}
