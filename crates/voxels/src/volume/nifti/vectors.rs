//! Displacement fields from NIfTI files: three components along the fifth dimension.
//!
//! Owns the one shape of field this program takes: single precision, little endian, on a grid that
//! the caller names. The file is unpacked no further than such a field is long.

use std::io::Read;

use flate2::read::MultiGzDecoder;

use super::read::{NiftiError, read};
use crate::volume::Grid;

/// Header and the four bytes that say "no extension".
const DATA_OFFSET: usize = 352;

/// No patient is longer.
const MAX_MM: f32 = 3_000.0;

/// Why a file is not the field of a grid.
#[derive(Debug, thiserror::Error)]
pub enum FieldError {
    /// Not a NIfTI file, damaged, or with voxels that are no numbers.
    #[error(transparent)]
    Nifti(#[from] NiftiError),
    /// An image or a tensor.
    #[error(
        "not a field of displacements: a single-file NIfTI-1 of three components along its fifth dimension is expected"
    )]
    NotAField,
    /// A field of something else.
    #[error("the field lies on another grid than the fixed image; write it again for this image")]
    OtherGrid,
    /// Millimetres that lead out of any body.
    #[error(
        "a displacement of {0:e} mm leads out of any patient; check that the field is in millimetres"
    )]
    TooFar(f32),
}

impl FieldError {
    /// The reason code.
    pub fn code(&self) -> &'static str {
        match self {
            FieldError::Nifti(error) => error.code(),
            FieldError::NotAField => "not_a_field",
            FieldError::OtherGrid => "field_of_another_grid",
            FieldError::TooFar(_) => "not_a_field",
        }
    }
}

/// The displacement of every voxel of `grid`, in C order: millimetres along x, y, z (RAS).
///
/// # Errors
/// [`FieldError`]; a field of another grid is refused.
pub fn read_displacements(bytes: &[u8], grid: &Grid) -> Result<Vec<[f32; 3]>, FieldError> {
    let most = DATA_OFFSET + 12 * grid.voxels();
    let mut plain = Vec::new();
    // One byte more than fits shows a larger field.
    let limit = most as u64 + 1;
    let unpacked = if bytes.starts_with(&[0x1f, 0x8b]) {
        MultiGzDecoder::new(bytes).take(limit).read_to_end(&mut plain)
    } else {
        bytes.take(limit).read_to_end(&mut plain)
    };
    let short =
        |at: usize| plain.get(at..at + 2).map(|b| usize::from(u16::from_le_bytes([b[0], b[1]])));
    let sizes: Vec<usize> = (0..8).filter_map(|i| short(40 + 2 * i)).collect();
    let [5, x, y, z, 1, 3, ..] = sizes[..] else { return Err(FieldError::NotAField) };
    if [z, y, x] != grid.shape() {
        return Err(FieldError::OtherGrid);
    }
    unpacked.map_err(NiftiError::from)?;
    // Three volumes, one behind the other: read as one of three times the slices.
    let slices = i16::try_from(3 * z).map_err(|_| FieldError::NotAField)?;
    let sizes = [3, x as i16, y as i16, slices, 1, 1, 1, 1];
    for (at, size) in sizes.into_iter().enumerate() {
        plain[40 + 2 * at..42 + 2 * at].copy_from_slice(&size.to_le_bytes());
    }
    let stacked = read(&plain)?;
    drop(plain);
    let own = Grid::new(grid.shape(), stacked.grid().spacing_mm(), *stacked.grid().affine());
    if !own.matches(grid) {
        return Err(FieldError::OtherGrid);
    }
    let values = stacked.into_voxels().into_raw_vec_and_offset().0;
    if let Some(far) = values.iter().find(|mm| mm.abs() > MAX_MM) {
        return Err(FieldError::TooFar(*far));
    }
    let n = grid.voxels();
    Ok((0..n).map(|i| [values[i], values[n + i], values[2 * n + i]]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::nifti::write::{write_displacements, write_f32};

    #[test]
    fn a_field_comes_back_and_other_files_are_refused_by_name() {
        let grid = Grid::axial([3, 4, 5], [5.0, 0.75, 0.75], [1.0, 2.0, -30.0]);
        let vector = |z: usize, i: usize| [z as f32 + 0.25, i as f32, -1.5];
        let bytes = write_displacements(&grid, |z| (0..20).map(|i| vector(z, i)).collect());
        let field = read_displacements(&bytes, &grid).unwrap();
        assert_eq!(field[2 * 20 + 7], vector(2, 7));
        let moved = Grid::axial([3, 4, 5], [5.0, 0.75, 0.75], [1.0, 2.0, -35.0]);
        let larger = Grid::axial([3, 4, 6], [5.0, 0.75, 0.75], [1.0, 2.0, -30.0]);
        let code = |bytes: &[u8], grid: &Grid| read_displacements(bytes, grid).unwrap_err().code();
        assert_eq!(code(&bytes, &moved), "field_of_another_grid");
        assert_eq!(code(&bytes, &larger), "field_of_another_grid");
        let image = ndarray::Array3::<f32>::zeros((3, 4, 5));
        let image = crate::volume::Volume::new(std::sync::Arc::new(grid.clone()), image);
        assert_eq!(code(&write_f32(&image), &grid), "not_a_field");
        assert_eq!(code(b"no", &grid), "not_a_field");
        let far = write_displacements(&grid, |_| vec![[0.0, 1e30, 0.0]; 20]);
        let error = read_displacements(&far, &grid).unwrap_err();
        assert!(matches!(error, FieldError::TooFar(1e30)), "{error}");
        // Damage and lies about the size end in a refusal, never in a panic.
        for at in (0..bytes.len()).step_by(7) {
            let mut broken = bytes.clone();
            broken[at] ^= 0x5a;
            let _ = read_displacements(&broken, &grid);
            let _ = read_displacements(&bytes[..at], &grid);
        }
    }
}
