//! The header of a NIfTI-1 or NIfTI-2 file as what the reader needs of it.
//!
//! NIfTI-1 is parsed by the `nifti` crate, NIfTI-2 here. Every field that steers the reader
//! is checked; what the voxels are worth stays with `read`.

use nifti::NiftiHeader;

use super::NiftiError;
use super::placement::{self, Orientation};
use crate::volume::{Grid, MAX_VOXELS};

/// Bytes of the larger of the two headers.
pub(super) const HEADER_BYTES: usize = 540;
const NIFTI1_BYTES: usize = 348;

/// Extensions between header and voxels larger than this are refused: a copy of every DICOM
/// header of a series is a few MiB.
const MAX_VOX_OFFSET: f64 = (64 << 20) as f64;

/// How a voxel is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // the names say it all
pub enum Datatype {
    U8,
    I8,
    I16,
    U16,
    I32,
    U32,
    I64,
    U64,
    F32,
    F64,
}

impl Datatype {
    fn from_code(code: i64) -> Option<Datatype> {
        Some(match code {
            2 => Datatype::U8,
            4 => Datatype::I16,
            8 => Datatype::I32,
            16 => Datatype::F32,
            64 => Datatype::F64,
            256 => Datatype::I8,
            512 => Datatype::U16,
            768 => Datatype::U32,
            1024 => Datatype::I64,
            1280 => Datatype::U64,
            _ => return None,
        })
    }

    /// Bytes of one voxel in the file.
    pub fn bytes(self) -> usize {
        match self {
            Datatype::U8 | Datatype::I8 => 1,
            Datatype::I16 | Datatype::U16 => 2,
            Datatype::I32 | Datatype::U32 | Datatype::F32 => 4,
            Datatype::I64 | Datatype::U64 | Datatype::F64 => 8,
        }
    }
}

/// A checked header: where the voxels are, in the file and in the patient.
pub(super) struct Layout {
    pub(super) grid: Grid,
    pub(super) side_uncertain: bool,
    pub(super) datatype: Datatype,
    pub(super) big_endian: bool,
    /// First byte of the voxels.
    pub(super) offset: usize,
    /// `(slope, intercept)`, where the stored values are to be scaled.
    pub(super) scaling: Option<(f64, f64)>,
}

impl Layout {
    /// `head` holds the first [`HEADER_BYTES`] of the file, or all of a shorter one.
    pub(super) fn parse(head: &[u8]) -> Result<Layout, NiftiError> {
        let (fields, big_endian, least) = Fields::parse(head)?;
        let shape = shape(&fields.dim)?;
        let datatype = Datatype::from_code(fields.datatype)
            .ok_or(NiftiError::UnsupportedDatatype(fields.datatype))?;
        Ok(Layout {
            grid: placement::grid(shape, &fields.orientation)?,
            side_uncertain: placement::is_side_uncertain(&fields.orientation),
            datatype,
            big_endian,
            offset: offset(fields.vox_offset, least)?,
            scaling: scaling(fields.scl_slope, fields.scl_inter)?,
        })
    }

    /// Bytes from the beginning of the file to the end of its voxels.
    pub(super) fn file_bytes(&self) -> u64 {
        self.offset as u64 + (self.grid.voxels() * self.datatype.bytes()) as u64
    }
}

/// The fields as stored, whichever version they come from.
struct Fields {
    dim: [i64; 8],
    datatype: i64,
    vox_offset: f64,
    scl_slope: f64,
    scl_inter: f64,
    orientation: Orientation,
}

impl Fields {
    /// The fields, whether they are big-endian, and the first byte after header and
    /// extension flag.
    fn parse(head: &[u8]) -> Result<(Fields, bool, usize), NiftiError> {
        let size: [u8; 4] = *head.first_chunk().ok_or(NiftiError::NotNifti)?;
        for (number, big_endian) in
            [(i32::from_le_bytes(size), false), (i32::from_be_bytes(size), true)]
        {
            match number {
                348 => return Ok((Fields::nifti1(head)?, big_endian, NIFTI1_BYTES + 4)),
                540 => {
                    return Ok((Fields::nifti2(head, big_endian)?, big_endian, HEADER_BYTES + 4));
                }
                _ => {}
            }
        }
        Err(NiftiError::NotNifti)
    }

    fn nifti1(head: &[u8]) -> Result<Fields, NiftiError> {
        let head = head.get(..NIFTI1_BYTES).ok_or(NiftiError::Truncated)?;
        if head.ends_with(b"ni1\0") {
            return Err(NiftiError::HeaderPair);
        }
        if !head.ends_with(b"n+1\0") {
            return Err(NiftiError::NotNifti);
        }
        let header = NiftiHeader::from_reader(head).map_err(|_| NiftiError::NotNifti)?;
        // The crate tells the byte order by dim[0]; where that contradicts the size of the
        // header, one of the two is damaged.
        if header.sizeof_hdr != NIFTI1_BYTES as i32 {
            return Err(NiftiError::BadDimensions(vec![i64::from(header.dim[0])]));
        }
        Ok(Fields {
            // The crate reads the signed sizes of the standard as unsigned.
            dim: header.dim.map(|size| i64::from(size as i16)),
            datatype: i64::from(header.datatype),
            vox_offset: f64::from(header.vox_offset),
            scl_slope: f64::from(header.scl_slope),
            scl_inter: f64::from(header.scl_inter),
            orientation: Orientation {
                pixdim: [0, 1, 2, 3].map(|i| f64::from(header.pixdim[i])),
                space_units: header.xyzt_units & 7,
                qform_code: i32::from(header.qform_code),
                sform_code: i32::from(header.sform_code),
                quatern: [header.quatern_b, header.quatern_c, header.quatern_d].map(f64::from),
                qoffset: [header.quatern_x, header.quatern_y, header.quatern_z].map(f64::from),
                srow: [header.srow_x, header.srow_y, header.srow_z].map(|row| row.map(f64::from)),
            },
        })
    }

    fn nifti2(head: &[u8], big_endian: bool) -> Result<Fields, NiftiError> {
        let head = head.get(..HEADER_BYTES).ok_or(NiftiError::Truncated)?;
        match &head[4..12] {
            b"n+2\0\r\n\x1a\n" => {}
            b"ni2\0\r\n\x1a\n" => return Err(NiftiError::HeaderPair),
            _ => return Err(NiftiError::NotNifti),
        }
        let at = Ordered { bytes: head, big_endian };
        Ok(Fields {
            dim: std::array::from_fn(|i| at.i64(16 + 8 * i)),
            datatype: i64::from(i16::from_ne_bytes(at.take(12))),
            vox_offset: at.i64(168) as f64,
            scl_slope: at.f64(176),
            scl_inter: at.f64(184),
            orientation: Orientation {
                pixdim: std::array::from_fn(|i| at.f64(104 + 8 * i)),
                space_units: (at.i32(500) & 7) as u8,
                qform_code: at.i32(344),
                sform_code: at.i32(348),
                quatern: std::array::from_fn(|i| at.f64(352 + 8 * i)),
                qoffset: std::array::from_fn(|i| at.f64(376 + 8 * i)),
                srow: std::array::from_fn(|r| {
                    std::array::from_fn(|c| at.f64(400 + 32 * r + 8 * c))
                }),
            },
        })
    }
}

/// Numbers at fixed places of a header of known length.
struct Ordered<'a> {
    bytes: &'a [u8],
    big_endian: bool,
}

impl Ordered<'_> {
    /// `N` bytes in the order of this machine.
    fn take<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut taken = [0; N];
        taken.copy_from_slice(&self.bytes[at..at + N]);
        if self.big_endian != cfg!(target_endian = "big") {
            taken.reverse();
        }
        taken
    }

    fn i32(&self, at: usize) -> i32 {
        i32::from_ne_bytes(self.take(at))
    }

    fn i64(&self, at: usize) -> i64 {
        i64::from_ne_bytes(self.take(at))
    }

    fn f64(&self, at: usize) -> f64 {
        f64::from_ne_bytes(self.take(at))
    }
}

/// `[z, y, x]` of a header's `dim`; further dimensions must have size 1.
fn shape(dim: &[i64; 8]) -> Result<[usize; 3], NiftiError> {
    let bad = || NiftiError::BadDimensions(dim.to_vec());
    if !(3..=7).contains(&dim[0]) {
        return Err(bad());
    }
    let sizes = &dim[1..=dim[0] as usize];
    if sizes.iter().any(|size| *size < 1) || sizes[3..].iter().any(|size| *size != 1) {
        return Err(bad());
    }
    let voxels: u128 = sizes.iter().map(|size| *size as u128).fold(1, u128::saturating_mul);
    if voxels > MAX_VOXELS as u128 {
        return Err(NiftiError::TooLarge(voxels));
    }
    Ok([sizes[2] as usize, sizes[1] as usize, sizes[0] as usize])
}

/// Zero means "right after the header", as nibabel reads it.
fn offset(vox_offset: f64, least: usize) -> Result<usize, NiftiError> {
    if vox_offset == 0.0 {
        return Ok(least);
    }
    let header = (least - 4) as f64;
    if vox_offset.fract() == 0.0 && (header..=MAX_VOX_OFFSET).contains(&vox_offset) {
        Ok(vox_offset as usize)
    } else {
        Err(NiftiError::BadOffset(vox_offset))
    }
}

/// A slope of 0, NaN or infinity means that the values are stored as they are.
fn scaling(slope: f64, inter: f64) -> Result<Option<(f64, f64)>, NiftiError> {
    if slope == 0.0 || !slope.is_finite() {
        return Ok(None);
    }
    if !inter.is_finite() {
        return Err(NiftiError::BadScaling(inter));
    }
    Ok(Some((slope, inter)).filter(|scaling| *scaling != (1.0, 0.0)))
}
