//! Volumes as NIfTI-1 single files, gzipped.
//!
//! A volume's memory order `[z, y, x]` is the file's order (x fastest): nothing is moved.
//! Same volume, same bytes: the gzip header carries no time.

use std::io::{self, Write};

use flate2::{Compression, GzBuilder};

use crate::volume::{Grid, Volume};

const HEADER_BYTES: i32 = 348;
/// Header and the four bytes that say "no extension".
const DATA_OFFSET: f32 = 352.0;
/// NIFTI_INTENT_DISPVECT.
pub(super) const DISPLACEMENTS: i16 = 1006;
/// NIFTI_UNITS_MM.
const UNITS_MM: u8 = 2;
/// NIFTI_XFORM_SCANNER_ANAT: coordinates of the scanner.
const SCANNER: i16 = 1;
/// How far from orthonormal the axes may be for the quaternion form, which knows no shear.
const SHEAR: f64 = 1e-4;

/// A volume of whole numbers, such as Hounsfield units, as `.nii.gz` bytes (`DT_INT16`).
///
/// # Panics
/// If an axis is longer than 32767 voxels: the format cannot say so.
pub fn write_i16(volume: &Volume<i16>) -> Vec<u8> {
    let put = |values: &[i16], bytes: &mut Vec<u8>| {
        bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    };
    write(volume, 4, 16, put)
}

/// A label map as `.nii.gz` bytes (`DT_UINT8`).
///
/// # Panics
/// If an axis is longer than 32767 voxels: the format cannot say so.
pub fn write_u8(volume: &Volume<u8>) -> Vec<u8> {
    write(volume, 2, 8, |values, bytes| bytes.extend_from_slice(values))
}

/// A map of instance numbers as `.nii.gz` bytes (`DT_UINT16`).
///
/// # Panics
/// If an axis is longer than 32767 voxels: the format cannot say so.
pub fn write_u16(volume: &Volume<u16>) -> Vec<u8> {
    let put = |values: &[u16], bytes: &mut Vec<u8>| {
        bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    };
    write(volume, 512, 16, put)
}

/// A volume of reals as `.nii.gz` bytes (`DT_FLOAT32`).
///
/// # Panics
/// If an axis is longer than 32767 voxels: the format cannot say so.
pub fn write_f32(volume: &Volume<f32>) -> Vec<u8> {
    let put = |values: &[f32], bytes: &mut Vec<u8>| {
        bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    };
    write(volume, 16, 32, put)
}

/// A displacement for every voxel as `.nii.gz` bytes: millimetres along x, y and z (RAS, as all
/// of NIfTI), with the intent of displacement vectors. `slice` gives the vectors of one slice in
/// C order: never are all of them held.
///
/// # Panics
/// If an axis is longer than 32767 voxels: the format cannot say so.
pub fn write_displacements(grid: &Grid, slice: impl Fn(usize) -> Vec<[f32; 3]>) -> Vec<u8> {
    let pack = || -> io::Result<Vec<u8>> {
        let mut gz = GzBuilder::new().mtime(0).write(Vec::new(), Compression::new(3));
        gz.write_all(&header(grid, 16, 32, Intent::Displacements))?;
        gz.write_all(&[0; 4])?;
        for component in 0..3 {
            for z in 0..grid.shape()[0] {
                let bytes = slice(z).into_iter().flat_map(|v| v[component].to_le_bytes());
                gz.write_all(&bytes.collect::<Vec<u8>>())?;
            }
        }
        gz.finish()
    };
    match pack() {
        Ok(bytes) => bytes,
        Err(error) => unreachable!("writing to memory cannot fail: {error}"),
    }
}

/// What the numbers mean.
#[derive(Clone, Copy)]
enum Intent {
    /// One value per voxel.
    Values,
    /// Three per voxel, along the fifth dimension (NIFTI_INTENT_DISPVECT).
    Displacements,
}

fn write<T>(
    volume: &Volume<T>,
    datatype: i16,
    bits: i16,
    put: impl Fn(&[T], &mut Vec<u8>),
) -> Vec<u8> {
    match compress(volume, datatype, bits, put) {
        Ok(bytes) => bytes,
        Err(error) => unreachable!("writing to memory cannot fail: {error}"),
    }
}

fn compress<T>(
    volume: &Volume<T>,
    datatype: i16,
    bits: i16,
    put: impl Fn(&[T], &mut Vec<u8>),
) -> io::Result<Vec<u8>> {
    let mut gz = GzBuilder::new().mtime(0).write(Vec::new(), Compression::new(3));
    gz.write_all(&header(volume.grid(), datatype, bits, Intent::Values))?;
    gz.write_all(&[0; 4])?;
    let Some(values) = volume.voxels().as_slice() else { unreachable!("volumes are in C order") };
    let mut bytes = Vec::new();
    // A quarter of a million values at a time: the copy stays small.
    for chunk in values.chunks(1 << 18) {
        bytes.clear();
        put(chunk, &mut bytes);
        gz.write_all(&bytes)?;
    }
    gz.finish()
}

/// The 348 bytes of a NIfTI-1 header, little endian.
fn header(grid: &Grid, datatype: i16, bits: i16, intent: Intent) -> Vec<u8> {
    let [nz, ny, nx] = grid.shape();
    let [sz, sy, sx] = grid.spacing_mm();
    let turn = quaternion(grid);
    let handed = turn.map_or(1.0, |(_, handed)| handed);
    let mut out = Header(HEADER_BYTES.to_le_bytes().to_vec());
    out.zeros(35);
    out.0.push(0);
    let (dimensions, components, code) = match intent {
        Intent::Values => (3, 1, 0),
        Intent::Displacements => (5, 3, DISPLACEMENTS),
    };
    out.shorts(&[dimensions, axis(nx), axis(ny), axis(nz), 1, components, 1, 1]);
    out.zeros(12);
    out.shorts(&[code]);
    out.shorts(&[datatype, bits, 0]);
    out.floats(&[handed, sx, sy, sz, 0.0, 0.0, 0.0, 0.0]);
    // vox_offset, scl_slope, scl_inter: the stored values are the values.
    out.floats(&[f64::from(DATA_OFFSET), 1.0, 0.0]);
    out.zeros(3);
    out.0.push(UNITS_MM);
    out.zeros(24);
    let description = b"hepalert";
    out.0.extend_from_slice(description);
    out.zeros(80 - description.len() + 24);
    out.shorts(&[if turn.is_some() { SCANNER } else { 0 }, SCANNER]);
    let origin = grid.ras_mm([0.0; 3]);
    out.floats(&turn.map_or([0.0; 3], |(bcd, _)| bcd));
    out.floats(&origin);
    grid.affine().iter().for_each(|row| out.floats(row));
    out.zeros(16);
    out.0.extend_from_slice(b"n+1\0");
    assert_eq!(out.0.len(), HEADER_BYTES as usize, "a NIfTI-1 header has 348 bytes");
    out.0
}

struct Header(Vec<u8>);

impl Header {
    fn zeros(&mut self, count: usize) {
        self.0.resize(self.0.len() + count, 0);
    }

    fn shorts(&mut self, values: &[i16]) {
        self.0.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    }

    fn floats(&mut self, values: &[f64]) {
        self.0.extend(values.iter().flat_map(|v| (*v as f32).to_le_bytes()));
    }
}

fn axis(length: usize) -> i16 {
    assert!(length <= i16::MAX as usize, "NIfTI-1 has at most 32767 voxels along an axis");
    length as i16
}

/// Quaternion parts b, c, d and the handedness (`qfac`) of the grid's axes, if they are
/// orthogonal and as long as the spacing says.
fn quaternion(grid: &Grid) -> Option<([f64; 3], f64)> {
    let [sz, sy, sx] = grid.spacing_mm();
    let mut r = grid.affine().map(|[x, y, z, _]| [x / sx, y / sy, z / sz]);
    let product = |a: usize, b: usize| (0..3).map(|i| r[i][a] * r[i][b]).sum::<f64>();
    let straight =
        (0..3).all(|a| (0..3).all(|b| (product(a, b) - f64::from(u8::from(a == b))).abs() < SHEAR));
    if !straight {
        return None;
    }
    let handed = determinant(&r).signum();
    r.iter_mut().for_each(|row| row[2] *= handed);
    Some((rotation_bcd(&r), handed))
}

fn determinant(r: &[[f64; 3]; 3]) -> f64 {
    let minor = |a: usize, b: usize| r[1][a] * r[2][b] - r[1][b] * r[2][a];
    r[0][0] * minor(1, 2) - r[0][1] * minor(0, 2) + r[0][2] * minor(0, 1)
}

/// b, c, d of the unit quaternion with a >= 0 of a rotation. The largest of the four parts
/// is taken from the diagonal, the others from it: no division by a small number.
fn rotation_bcd(r: &[[f64; 3]; 3]) -> [f64; 3] {
    let [xx, yy, zz] = [r[0][0], r[1][1], r[2][2]];
    let squares = [1.0 + xx + yy + zz, 1.0 + xx - yy - zz, 1.0 - xx + yy - zz, 1.0 - xx - yy + zz];
    let largest = (1..4).fold(0, |best, i| if squares[i] > squares[best] { i } else { best });
    let part = squares[largest].max(0.0).sqrt() / 2.0;
    let over = |value: f64| value / (4.0 * part);
    let twist = [r[2][1] - r[1][2], r[0][2] - r[2][0], r[1][0] - r[0][1]];
    let mirror = [r[1][0] + r[0][1], r[0][2] + r[2][0], r[2][1] + r[1][2]];
    let [a, b, c, d] = match largest {
        0 => [part, over(twist[0]), over(twist[1]), over(twist[2])],
        1 => [over(twist[0]), part, over(mirror[0]), over(mirror[1])],
        2 => [over(twist[1]), over(mirror[0]), part, over(mirror[2])],
        _ => [over(twist[2]), over(mirror[1]), over(mirror[2]), part],
    };
    let sign = if a < 0.0 { -1.0 } else { 1.0 };
    [sign * b, sign * c, sign * d]
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::sync::Arc;

    use ndarray::Array3;
    use proptest::prelude::*;

    use super::*;

    fn unpack(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        flate2::read::GzDecoder::new(bytes).read_to_end(&mut out).unwrap();
        out
    }

    /// Left and back are negative in RAS: the grid of an axial DICOM series.
    fn axial_dicom() -> Grid {
        let affine = [[-0.7, 0.0, 0.0, 100.0], [0.0, -0.8, 0.0, 90.5], [0.0, 0.0, 5.0, -300.0]];
        Grid::new([2, 3, 4], [5.0, 0.8, 0.7], affine)
    }

    #[test]
    fn the_header_says_what_the_standard_wants_where_it_wants_it() {
        let voxels = Array3::from_shape_fn((2, 3, 4), |(z, y, x)| (100 * z + 10 * y + x) as i16);
        let bytes = write_i16(&Volume::new(Arc::new(axial_dicom()), voxels));
        assert_eq!(bytes[4..8], [0; 4], "gzip without a time");
        let file = unpack(&bytes);
        let short = |at: usize| i16::from_le_bytes([file[at], file[at + 1]]);
        let float = |at: usize| f32::from_le_bytes(file[at..at + 4].try_into().unwrap());
        assert_eq!(file.len(), 352 + 24 * 2);
        assert_eq!((file[0..4].to_vec(), &file[344..348]), (vec![92, 1, 0, 0], &b"n+1\0"[..]));
        assert_eq!([40, 42, 44, 46, 48].map(short), [3, 4, 3, 2, 1]);
        assert_eq!([70, 72].map(short), [4, 16]);
        assert_eq!([76, 80, 84, 88].map(float), [1.0, 0.7, 0.8, 5.0]);
        assert_eq!([108, 112, 116].map(float), [352.0, 1.0, 0.0]);
        assert_eq!((file[123], [252, 254].map(short)), (2, [1, 1]));
        // Half a turn about z.
        assert_eq!([256, 260, 264].map(float), [0.0, 0.0, 1.0]);
        assert_eq!([268, 272, 276].map(float), [100.0, 90.5, -300.0]);
        assert_eq!([280, 284, 288, 292].map(float), [-0.7, 0.0, 0.0, 100.0]);
        assert_eq!([312, 316, 320, 324].map(float), [0.0, 0.0, 5.0, -300.0]);
        assert_eq!([352, 354, 360, 376].map(short), [0, 1, 10, 100], "x runs fastest");
    }

    #[test]
    fn a_left_handed_grid_says_so() {
        let affine = [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, -2.0, 0.0]];
        let (bcd, handed) = quaternion(&Grid::new([1, 1, 1], [2.0, 1.0, 1.0], affine)).unwrap();
        assert_eq!((bcd, handed), ([0.0; 3], -1.0));
    }

    #[test]
    fn a_sheared_grid_has_no_quaternion() {
        let affine = [[1.0, 0.3, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 2.0, 0.0]];
        assert_eq!(quaternion(&Grid::new([1, 1, 1], [2.0, 1.0, 1.0], affine)), None);
    }

    proptest! {
        /// The standard's own formula (a quaternion to a matrix) is the oracle.
        #[test]
        fn any_rotation_comes_back(parts in prop::array::uniform4(-1.0_f64..1.0), mirror: bool) {
            let norm = parts.iter().map(|p| p * p).sum::<f64>().sqrt();
            prop_assume!(norm > 0.1);
            let [a, b, c, d] = parts.map(|p| p / norm);
            let q = if mirror { -1.0 } else { 1.0 };
            let rotation = [
                [a * a + b * b - c * c - d * d, 2.0 * (b * c - a * d), 2.0 * (b * d + a * c)],
                [2.0 * (b * c + a * d), a * a + c * c - b * b - d * d, 2.0 * (c * d - a * b)],
                [2.0 * (b * d - a * c), 2.0 * (c * d + a * b), a * a + d * d - b * b - c * c],
            ];
            let affine = rotation.map(|[x, y, z]| [0.7 * x, 0.8 * y, 5.0 * q * z, 1.0]);
            let found = quaternion(&Grid::new([1, 1, 1], [5.0, 0.8, 0.7], affine));
            let (bcd, handed) = found.unwrap();
            prop_assert_eq!(handed, q);
            let sign = if a < 0.0 { -1.0 } else { 1.0 };
            for (have, want) in bcd.into_iter().zip([b, c, d]) {
                // At half a turn a is 0 and both signs say the same.
                prop_assert!((have - sign * want).abs() < 1e-6 || a.abs() < 1e-6);
            }
        }
    }
}
