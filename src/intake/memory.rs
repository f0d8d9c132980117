//! Whether the voxels of a study fit into memory, and thin slices made fewer where they do not.
//!
//! Owns the check before a volume is allocated and the one before anything is computed on it.

use super::gate::{GateParams, Refusal};
use hepalert_voxels::image::thin::average_slices;
use hepalert_voxels::volume::Volume;

/// A voxel in Hounsfield units.
pub(super) const BYTES_OF_HU: u64 = 4;

/// Thin slices are averaged to no thicker ones than this: lesions of a centimetre keep three.
const MAX_AVERAGED_MM: f64 = 3.0;

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
    use crate::intake::RejectCode;
    use crate::intake::gate::MemoryLimit;
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
        let refused = Err(RejectCode::OverMemoryBudget);
        assert_eq!(fit(0.6, 1600), Ok((100, false)));
        assert_eq!(fit(0.6, 1599), Ok((50, true)));
        assert_eq!(fit(0.6, 400), Ok((25, true)));
        assert_eq!(fit(0.6, 200), refused, "4.8 mm");
        assert_eq!(fit(2.5, 1599), refused, "5 mm");
        assert_eq!(fit(0.6, 0), refused);
        let none = fitted(volume(2.5), &GateParams::default()).unwrap();
        assert!(!none.1, "without a limit nothing is averaged");
    }
}
