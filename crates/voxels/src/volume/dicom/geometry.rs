//! Headers of slices to the grid of a volume, or the reason why they are none.
//!
//! Positions decide: the thickness of a slice is not the step to the next one. The grid is
//! that of SimpleITK's series reader: slices in order of increasing position along the normal
//! (row direction x column direction), the first centre of the first slice as origin, equal
//! steps between first and last.

use std::sync::Arc;

use super::{GeometryError, SliceHeader};
use crate::volume::{Grid, MAX_VOXELS};

/// Fewer slices than this hold no liver, even in 10 mm steps.
pub(super) const MIN_SLICES: usize = 8;

/// Error of a direction cosine, and between those of two slices: over 500 mm it moves a
/// voxel by half a millimetre.
const MAX_COSINE_ERROR: f64 = 1e-3;

/// Slices of one series say the same pixel spacing; text of six digits allows for this.
const MAX_PIXEL_SPACING_ERROR: f64 = 1e-4;

/// A step may differ from the median of all by the larger of these: a tenth of a millimetre
/// is rounding of table positions, two parts in a hundred change no volume that is reported.
const MAX_STEP_ERROR_MM: f64 = 0.1;
const MAX_STEP_ERROR: f64 = 0.02;

/// Steps below this share of the median put two slices at one position.
const DUPLICATE_STEP: f64 = 0.1;

/// A slice centre may lie this far off the line along the normal, or this share of its
/// distance from the first slice, if that is more.
const MAX_SHIFT_MM: f64 = 0.5;
const MAX_SHEAR: f64 = 1e-3;

/// No CT has smaller or larger pixels or steps, in millimetres.
const SPACING_MM: std::ops::RangeInclusive<f64> = 0.01..=100.0;

/// Where every slice of a series goes.
#[derive(Debug, Clone)]
pub struct SeriesPlan {
    grid: Arc<Grid>,
    order: Vec<usize>,
    normal: [f64; 3],
    first_mm: f64,
}

impl SeriesPlan {
    /// The grid of the volume.
    pub fn grid(&self) -> &Arc<Grid> {
        &self.grid
    }

    /// For every slice of the volume from the first, the index of its header.
    pub fn order(&self) -> &[usize] {
        &self.order
    }

    /// Millimetres from the first slice centre to the last, plus one step.
    pub fn coverage_mm(&self) -> f64 {
        self.order.len() as f64 * self.grid.spacing_mm()[0]
    }

    /// The index along z at which a slice lies, if it lies on the grid and fits it.
    pub(super) fn place_of(&self, header: &SliceHeader) -> Option<usize> {
        let [slices, rows, columns] = self.grid.shape();
        let frame = Frame::of(header).ok()?;
        let step = self.grid.spacing_mm()[0];
        let place = (dot(frame.position, self.normal) - self.first_mm) / step;
        let fits = frame.rows == rows
            && frame.columns == columns
            && (dot(frame.normal(), self.normal) - 1.0).abs() <= MAX_COSINE_ERROR
            && (place - place.round()).abs() < 0.5
            && (-0.5..slices as f64 - 0.5).contains(&place);
        fits.then(|| place.round().max(0.0) as usize)
    }
}

/// The geometry of one slice, complete and in LPS.
struct Frame<'a> {
    header: &'a SliceHeader,
    rows: usize,
    columns: usize,
    spacing_mm: [f64; 2],
    position: [f64; 3],
    along_row: [f64; 3],
    along_column: [f64; 3],
}

impl Frame<'_> {
    fn of(header: &SliceHeader) -> Result<Frame<'_>, GeometryError> {
        let missing = GeometryError::MissingGeometry;
        let [rx, ry, rz, cx, cy, cz] =
            header.image_orientation.ok_or(missing("ImageOrientationPatient"))?;
        Ok(Frame {
            header,
            rows: header.rows.ok_or(missing("Rows"))?.into(),
            columns: header.columns.ok_or(missing("Columns"))?.into(),
            spacing_mm: header.pixel_spacing_mm.ok_or(missing("PixelSpacing"))?,
            position: header.image_position_mm.ok_or(missing("ImagePositionPatient"))?,
            along_row: [rx, ry, rz],
            along_column: [cx, cy, cz],
        })
    }

    fn normal(&self) -> [f64; 3] {
        cross(self.along_row, self.along_column)
    }
}

/// The vector product.
pub(super) fn cross([ax, ay, az]: [f64; 3], [bx, by, bz]: [f64; 3]) -> [f64; 3] {
    [ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx]
}

/// The scalar product.
pub(super) fn dot([ax, ay, az]: [f64; 3], [bx, by, bz]: [f64; 3]) -> f64 {
    ax * bx + ay * by + az * bz
}

/// Checks that slices are one volume and says where each goes. Reads headers only.
///
/// # Errors
/// The first reason found; see [`GeometryError`].
pub fn plan(headers: &[SliceHeader]) -> Result<SeriesPlan, GeometryError> {
    if headers.len() < MIN_SLICES {
        return Err(GeometryError::TooFewSlices { found: headers.len() });
    }
    let frames: Vec<Frame<'_>> = headers.iter().map(Frame::of).collect::<Result<_, _>>()?;
    check_alike(&frames)?;
    let first = &frames[0];
    check_axes(first)?;
    let normal = first.normal();
    let mut order: Vec<usize> = (0..frames.len()).collect();
    let along: Vec<f64> = frames.iter().map(|frame| dot(frame.position, normal)).collect();
    order.sort_by(|a, b| along[*a].total_cmp(&along[*b]));
    let sorted: Vec<f64> = order.iter().map(|index| along[*index]).collect();
    check_steps(&sorted)?;
    let origin = &frames[order[0]];
    for index in &order {
        check_shear(origin.position, frames[*index].position, normal)?;
    }
    let step_mm = (sorted[sorted.len() - 1] - sorted[0]) / (sorted.len() - 1) as f64;
    let grid = Arc::new(grid(origin, order.len(), step_mm, normal)?);
    Ok(SeriesPlan { grid, order, normal, first_mm: sorted[0] })
}

/// One series, one size, one spacing, one orientation.
fn check_alike(frames: &[Frame<'_>]) -> Result<(), GeometryError> {
    let first = &frames[0];
    for frame in &frames[1..] {
        let close =
            |a: &[f64], b: &[f64], error: f64| a.iter().zip(b).all(|(p, q)| (p - q).abs() <= error);
        if frame.header.series_uid != first.header.series_uid
            || frame.header.frame_of_reference_uid != first.header.frame_of_reference_uid
        {
            return Err(GeometryError::MixedSeries);
        }
        if (frame.rows, frame.columns) != (first.rows, first.columns) {
            return Err(GeometryError::MixedSize);
        }
        if !close(&frame.along_row, &first.along_row, MAX_COSINE_ERROR)
            || !close(&frame.along_column, &first.along_column, MAX_COSINE_ERROR)
        {
            return Err(GeometryError::MixedOrientation);
        }
        if !close(&frame.spacing_mm, &first.spacing_mm, MAX_PIXEL_SPACING_ERROR) {
            return Err(GeometryError::MixedSpacing);
        }
    }
    Ok(())
}

/// Unit cosines at right angles, possible spacings, positions that are numbers.
fn check_axes(first: &Frame<'_>) -> Result<(), GeometryError> {
    let unit = |axis| (dot(axis, axis) - 1.0_f64).abs() <= 2.0 * MAX_COSINE_ERROR;
    let across = dot(first.along_row, first.along_column).abs();
    if !unit(first.along_row) || !unit(first.along_column) || across > MAX_COSINE_ERROR {
        return Err(GeometryError::NonOrthonormal);
    }
    match first.spacing_mm.iter().find(|spacing| !SPACING_MM.contains(spacing)) {
        Some(spacing) => Err(GeometryError::BadSpacing(*spacing)),
        None => Ok(()),
    }
}

/// `sorted` holds the positions along the normal, lowest first.
pub(super) fn check_steps(sorted: &[f64]) -> Result<(), GeometryError> {
    let steps: Vec<f64> = sorted.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let median_mm = median(&steps);
    let duplicate = |step: f64| step < (DUPLICATE_STEP * median_mm).max(*SPACING_MM.start());
    let count = steps.iter().filter(|step| duplicate(**step)).count();
    if count > 0 {
        return Err(GeometryError::DuplicatePosition { count });
    }
    if !SPACING_MM.contains(&median_mm) {
        return Err(GeometryError::BadSpacing(median_mm));
    }
    let tolerance = MAX_STEP_ERROR_MM.max(MAX_STEP_ERROR * median_mm);
    let uneven = |step_mm| GeometryError::UnevenSpacing { step_mm, median_mm };
    let (mut missing, mut after_mm) = (0, None);
    for (step, position) in steps.iter().zip(sorted) {
        let whole = (step / median_mm).round();
        if (step - whole * median_mm).abs() > tolerance * whole.max(1.0) {
            return Err(uneven(*step));
        }
        if whole > 1.0 {
            missing += whole as usize - 1;
            after_mm.get_or_insert(*position);
        }
    }
    if let Some(after_mm) = after_mm {
        return Err(GeometryError::MissingSlice { after_mm, missing });
    }
    check_drift(sorted, median_mm)
}

/// Steps that are each within tolerance may still add up: no slice may lie further than a
/// quarter of a step from where the even grid has it.
fn check_drift(sorted: &[f64], median_mm: f64) -> Result<(), GeometryError> {
    let step_mm = (sorted[sorted.len() - 1] - sorted[0]) / (sorted.len() - 1) as f64;
    let off = |(index, position): (usize, &f64)| {
        (position - sorted[0] - index as f64 * step_mm).abs() > 0.25 * step_mm
    };
    if sorted.iter().enumerate().any(off) {
        return Err(GeometryError::UnevenSpacing { step_mm, median_mm });
    }
    Ok(())
}

fn median(steps: &[f64]) -> f64 {
    let mut sorted = steps.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// The line through the slice centres must be the normal.
fn check_shear(from: [f64; 3], to: [f64; 3], normal: [f64; 3]) -> Result<(), GeometryError> {
    let apart = [0, 1, 2].map(|axis| to[axis] - from[axis]);
    let along = dot(apart, normal);
    let across = [0, 1, 2].map(|axis| apart[axis] - along * normal[axis]);
    let shift_mm = dot(across, across).sqrt();
    if shift_mm > MAX_SHIFT_MM.max(MAX_SHEAR * along) {
        return Err(GeometryError::GantryTilt { degrees: shift_mm.atan2(along).to_degrees() });
    }
    Ok(())
}

fn grid(
    origin: &Frame<'_>,
    slices: usize,
    step_mm: f64,
    normal: [f64; 3],
) -> Result<Grid, GeometryError> {
    let shape = [slices, origin.rows, origin.columns];
    let voxels: u128 = shape.iter().map(|size| *size as u128).product();
    if voxels > MAX_VOXELS as u128 {
        return Err(GeometryError::TooLarge(voxels));
    }
    let [row_step, column_step] = origin.spacing_mm;
    // LPS to RAS: the first two coordinates change their sign.
    let row = |axis: usize, sign: f64| {
        [
            sign * origin.along_row[axis] * column_step,
            sign * origin.along_column[axis] * row_step,
            sign * normal[axis] * step_mm,
            sign * origin.position[axis],
        ]
    };
    let affine = [row(0, -1.0), row(1, -1.0), row(2, 1.0)];
    Ok(Grid::new(shape, [step_mm, row_step, column_step], affine))
}
