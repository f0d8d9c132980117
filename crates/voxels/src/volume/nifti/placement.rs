//! Where the voxels of a NIfTI file lie in the patient.
//!
//! The rule is nibabel's: the sform if its code is positive, else the qform, else voxels
//! centred on the origin with x running to the left. Spacing is |pixdim|, as nnU-Net reads
//! it. Refuses axes that are not at right angles and spacings that contradict each other;
//! says when left and right rest on a guess.

use super::NiftiError;
use crate::volume::Grid;

/// Cosine between two axes that is still taken for a right angle: over 500 mm it moves a
/// voxel by half a millimetre. Rounding a header's cosines to six digits gives 1e-6.
const MAX_COSINE: f64 = 1e-3;

/// Difference between `pixdim` and the length of the sform's columns, as a share of
/// `pixdim`: less than one part in a hundred changes no diameter that is reported.
const MAX_SPACING_DIFFERENCE: f64 = 0.01;

/// No CT voxel is smaller or larger, in millimetres.
const SPACING_MM: std::ops::RangeInclusive<f64> = 0.01..=100.0;

/// What a header says about orientation, as stored.
pub(super) struct Orientation {
    /// `pixdim[0..4]`: the handedness of the qform, then spacings along x, y, z.
    pub(super) pixdim: [f64; 4],
    /// The lowest three bits of `xyzt_units`.
    pub(super) space_units: u8,
    pub(super) qform_code: i32,
    pub(super) sform_code: i32,
    pub(super) quatern: [f64; 3],
    pub(super) qoffset: [f64; 3],
    pub(super) srow: [[f64; 4]; 3],
}

/// The grid of `shape` (`[z, y, x]`) under this orientation.
pub(super) fn grid(shape: [usize; 3], header: &Orientation) -> Result<Grid, NiftiError> {
    let millimetres = match header.space_units {
        1 => 1000.0,
        3 => 0.001,
        _ => 1.0,
    };
    let mut spacing_mm = [0.0; 3];
    for (axis, spacing) in spacing_mm.iter_mut().enumerate() {
        *spacing = header.pixdim[axis + 1].abs() * millimetres;
        if !SPACING_MM.contains(spacing) {
            return Err(NiftiError::BadSpacing(*spacing));
        }
    }
    let affine = if header.sform_code > 0 {
        header.srow.map(|row| row.map(|entry| entry * millimetres))
    } else if header.qform_code > 0 {
        qform(header, spacing_mm, millimetres)?
    } else {
        centred(shape, spacing_mm)
    };
    check(&affine, spacing_mm)?;
    let [x, y, z] = spacing_mm;
    Ok(Grid::new(shape, [z, y, x], affine))
}

/// An axis that points further than this from where the other of the two transforms has it:
/// 60 degrees are no correction of the patient's position.
const LEAST_AGREEMENT: f64 = 0.5;

/// True when the header leaves open which side is the patient's left: neither transform is
/// set, so that the usual order is a guess, or both are and turn the axes another way.
pub(super) fn is_side_uncertain(header: &Orientation) -> bool {
    match (header.sform_code > 0, header.qform_code > 0) {
        (false, false) => true,
        (true, true) => {
            // Directions alone: spacing and units are checked elsewhere.
            let Ok(other) = qform(header, [1.0; 3], 1.0) else { return true };
            let agrees = |axis: usize| {
                let [p, q] = [&header.srow, &other].map(|rows| rows.map(|row| row[axis]));
                let dot = |p: [f64; 3], q: [f64; 3]| p[0] * q[0] + p[1] * q[1] + p[2] * q[2];
                dot(p, q) >= LEAST_AGREEMENT * (dot(p, p) * dot(q, q)).sqrt()
            };
            !(0..3).all(agrees)
        }
        (true, false) | (false, true) => false,
    }
}

/// The rotation of a unit quaternion `a + bi + cj + dk`, scaled by the spacings (x, y, z);
/// `pixdim[0] < 0` mirrors the third axis.
fn qform(
    header: &Orientation,
    spacing_mm: [f64; 3],
    millimetres: f64,
) -> Result<[[f64; 4]; 3], NiftiError> {
    let [mut b, mut c, mut d] = header.quatern;
    let length2 = b * b + c * c + d * d;
    // Single precision leaves a half-turn's b, c, d a little longer than 1.
    if !length2.is_finite() || length2 > 1.0 + 1e-3 {
        return Err(NiftiError::BadAffine);
    }
    let a = if length2 >= 1.0 {
        let length = length2.sqrt();
        (b, c, d) = (b / length, c / length, d / length);
        0.0
    } else {
        (1.0 - length2).sqrt()
    };
    let rotation = [
        [a * a + b * b - c * c - d * d, 2.0 * (b * c - a * d), 2.0 * (b * d + a * c)],
        [2.0 * (b * c + a * d), a * a + c * c - b * b - d * d, 2.0 * (c * d - a * b)],
        [2.0 * (b * d - a * c), 2.0 * (c * d + a * b), a * a + d * d - b * b - c * c],
    ];
    let [sx, sy, sz] = spacing_mm;
    let sz = if header.pixdim[0] < 0.0 { -sz } else { sz };
    let [tx, ty, tz] = header.qoffset.map(|offset| offset * millimetres);
    let row = |[x, y, z]: [f64; 3], t: f64| [x * sx, y * sy, z * sz, t];
    Ok([row(rotation[0], tx), row(rotation[1], ty), row(rotation[2], tz)])
}

/// nibabel's `base_affine`: the middle of the volume at the origin, x to the left.
fn centred(shape: [usize; 3], [sx, sy, sz]: [f64; 3]) -> [[f64; 4]; 3] {
    let [mz, my, mx] = shape.map(|size| (size - 1) as f64 / 2.0);
    [[-sx, 0.0, 0.0, mx * sx], [0.0, sy, 0.0, -my * sy], [0.0, 0.0, sz, -mz * sz]]
}

fn check(affine: &[[f64; 4]; 3], spacing_mm: [f64; 3]) -> Result<(), NiftiError> {
    if !affine.iter().flatten().all(|entry| entry.is_finite()) {
        return Err(NiftiError::BadAffine);
    }
    let column = |axis: usize| [affine[0][axis], affine[1][axis], affine[2][axis]];
    let dot = |p: [f64; 3], q: [f64; 3]| p[0] * q[0] + p[1] * q[1] + p[2] * q[2];
    let lengths = [0, 1, 2].map(|axis| dot(column(axis), column(axis)).sqrt());
    for (sform_mm, pixdim_mm) in lengths.into_iter().zip(spacing_mm) {
        if !sform_mm.is_finite() || sform_mm == 0.0 {
            return Err(NiftiError::BadAffine);
        }
        if (sform_mm - pixdim_mm).abs() > MAX_SPACING_DIFFERENCE * pixdim_mm {
            return Err(NiftiError::SpacingDisagrees { pixdim_mm, sform_mm });
        }
    }
    for (p, q) in [(0, 1), (0, 2), (1, 2)] {
        let cosine = dot(column(p), column(q)) / (lengths[p] * lengths[q]);
        if cosine.abs() > MAX_COSINE {
            return Err(NiftiError::NonOrthonormal(cosine));
        }
    }
    Ok(())
}
