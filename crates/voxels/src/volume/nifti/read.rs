//! Bytes of a NIfTI file to a volume.
//!
//! The memory of voxels read is one volume of the result: inflated bytes pass through one
//! small buffer. Refuses what is not one finite volume on a right-angled grid, and anything
//! that is damaged.

use std::io::{self, Read};
use std::sync::Arc;

use ndarray::Array3;

pub use super::error::NiftiError;
pub use super::gzip::unpacked_bytes;
use super::gzip::{Source, fill};
pub use super::header::Datatype;
use super::header::{HEADER_BYTES, Layout};
use crate::volume::{Grid, LabelMap, Volume};

/// Bytes converted at a time; a multiple of every datatype's size.
const CHUNK_BYTES: usize = 64 << 10;

/// Bytes tolerated after the voxels: writers pad to blocks.
const MAX_PADDING_BYTES: usize = 64 << 10;

/// What the first bytes of a file tell.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// Where the voxels lie.
    pub grid: Grid,
    /// The header leaves open which side is the patient's left; `grid` is the likelier one.
    pub side_uncertain: bool,
    /// How they are stored.
    pub datatype: Datatype,
    /// Bytes of header and voxels once inflated.
    pub unpacked_bytes: u64,
    /// Whether the file is gzipped.
    pub gzipped: bool,
}

/// Looks at the first bytes of a file, gzipped or not; 1 KiB is always enough, except
/// where a gzip header carries a long name.
///
/// # Errors
/// Whatever is wrong with the header; [`NiftiError::Truncated`] if the prefix is too short.
pub fn peek(prefix: &[u8]) -> Result<Facts, NiftiError> {
    let mut source = Source::of(prefix);
    let gzipped = matches!(source, Source::Gzip(_));
    let (layout, ..) = read_header(&mut source)?;
    let unpacked_bytes = layout.file_bytes();
    let Layout { grid, side_uncertain, datatype, .. } = layout;
    Ok(Facts { grid, side_uncertain, datatype, unpacked_bytes, gzipped })
}

/// The volume in a NIfTI file, scaled by its slope and intercept where they are set.
///
/// The scaling is computed in `f64` and rounded once to `f32`, as the readers of the field
/// do.
///
/// # Errors
/// [`NiftiError`] says what is wrong and what to do.
pub fn read(bytes: &[u8]) -> Result<Volume<f32>, NiftiError> {
    read_with(bytes, |value| {
        let voxel = value as f32;
        if voxel.is_finite() { Ok(voxel) } else { Err(NiftiError::NotFinite) }
    })
}

/// The labels in a NIfTI file of any datatype.
///
/// # Errors
/// [`NiftiError::NotLabels`] if a voxel is not a whole number from 0 to 255, and all that
/// [`read`] refuses.
pub fn read_labels(bytes: &[u8]) -> Result<LabelMap, NiftiError> {
    read_with(bytes, |value| {
        let label = value as u8;
        if f64::from(label) == value { Ok(label) } else { Err(NiftiError::NotLabels(value)) }
    })
}

fn read_with<T>(
    bytes: &[u8],
    accept: impl Fn(f64) -> Result<T, NiftiError>,
) -> Result<Volume<T>, NiftiError> {
    let mut source = Source::of(bytes);
    let (layout, head, failure) = read_header(&mut source)?;
    if let Some(failure) = failure {
        return Err(failure.into());
    }
    // Before anything is allocated: could these bytes hold what the header promises?
    if layout.file_bytes() > source.most(bytes.len()) {
        return Err(NiftiError::Truncated);
    }
    let mut source = head.as_slice().chain(source);
    let skipped = io::copy(&mut (&mut source).take(layout.offset as u64), &mut io::sink())?;
    if skipped < layout.offset as u64 {
        return Err(NiftiError::Truncated);
    }
    let voxels = read_voxels(&layout, &mut source, accept)?;
    finish(&mut source)?;
    let voxels =
        Array3::from_shape_vec(layout.grid.shape(), voxels).map_err(|_| NiftiError::Truncated)?;
    Ok(Volume::new(Arc::new(layout.grid), voxels))
}

/// The checked header, all bytes that were taken from the source for it, and what went wrong
/// after them.
fn read_header(
    source: &mut Source<'_>,
) -> Result<(Layout, Vec<u8>, Option<io::Error>), NiftiError> {
    let mut head = vec![0; HEADER_BYTES];
    let (filled, failure) = fill(source, &mut head);
    head.truncate(filled);
    match (Layout::parse(&head), failure) {
        // A header cut short by damage: the damage is the better answer.
        (Err(NiftiError::NotNifti | NiftiError::Truncated), Some(failure)) => Err(failure.into()),
        (layout, failure) => Ok((layout?, head, failure)),
    }
}

/// x fastest, then y, then z, as the file has them: C order of `[z, y, x]`.
fn read_voxels<T>(
    layout: &Layout,
    source: &mut impl Read,
    accept: impl Fn(f64) -> Result<T, NiftiError>,
) -> Result<Vec<T>, NiftiError> {
    let count = layout.grid.voxels();
    let mut voxels = Vec::new();
    voxels.try_reserve_exact(count).map_err(|_| NiftiError::OutOfMemory)?;
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut left = count * layout.datatype.bytes();
    while left > 0 {
        let taken = &mut chunk[..left.min(CHUNK_BYTES)];
        source.read_exact(taken)?;
        left -= taken.len();
        match layout.scaling {
            None => convert(layout, taken, &mut voxels, &accept)?,
            Some((slope, inter)) => {
                convert(layout, taken, &mut voxels, &|value| accept(value * slope + inter))?;
            }
        }
    }
    Ok(voxels)
}

/// Appends every stored value of `bytes`.
fn convert<T>(
    layout: &Layout,
    bytes: &[u8],
    voxels: &mut Vec<T>,
    accept: &impl Fn(f64) -> Result<T, NiftiError>,
) -> Result<(), NiftiError> {
    macro_rules! append {
        ($stored:ty) => {
            for stored in bytes.as_chunks::<{ size_of::<$stored>() }>().0 {
                let value = match layout.big_endian {
                    true => <$stored>::from_be_bytes(*stored),
                    false => <$stored>::from_le_bytes(*stored),
                };
                voxels.push(accept(value as f64)?);
            }
        };
    }
    match layout.datatype {
        Datatype::U8 => append!(u8),
        Datatype::I8 => append!(i8),
        Datatype::I16 => append!(i16),
        Datatype::U16 => append!(u16),
        Datatype::I32 => append!(i32),
        Datatype::U32 => append!(u32),
        Datatype::I64 => append!(i64),
        Datatype::U64 => append!(u64),
        Datatype::F32 => append!(f32),
        Datatype::F64 => append!(f64),
    }
    Ok(())
}

/// Reads to the end, so that the last checksum is verified, but not further than padding
/// goes.
fn finish(source: &mut impl Read) -> Result<(), NiftiError> {
    let mut padding = vec![0; MAX_PADDING_BYTES + 1];
    match fill(source, &mut padding) {
        (_, Some(failure)) => Err(failure.into()),
        (count, None) if count > MAX_PADDING_BYTES => Err(NiftiError::TrailingData),
        _ => Ok(()),
    }
}
