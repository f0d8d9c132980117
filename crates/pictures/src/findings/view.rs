//! How a slice is laid on a picture: which voxels, which way round, how large, and what a reader
//! must know to trust it: sides, place, scale, window.
//!
//! Owns the radiological view (patient's right on the left, front at the top) and what is written
//! on its margin. Refuses to know lesions.

use ndarray::{Array2, ArrayView1, Axis};

use super::{LIVER_WINDOW_HU, Scene};
use crate::canvas::{Canvas, Colour, LINE_PX};
use hepalert_voxels::volume::{Grid, Volume};

/// What is written on images: light, but no finding's colour.
const INK: Colour = [230; 3];
/// Denser than air, lung and most of fat's noise.
const BODY_HU: f32 = -200.0;
/// A row of the picture belongs to the body if more than one in so many voxels is dense: a
/// table is thin.
const BODY_SHARE: usize = 8;
/// Lengths a scale bar may have, in mm, longest first; it takes at most a third of the width.
const SCALES_MM: [u32; 4] = [100, 50, 20, 10];

/// A box of columns and rows in a slice, half-open, in voxels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) rows: [usize; 2],
    pub(super) columns: [usize; 2],
}

/// How picture pixels map to voxels of a slice.
pub(super) struct View {
    frame: Frame,
    shape: [usize; 2],
    mirror_rows: bool,
    mirror_columns: bool,
    px_per_mm: f64,
    sides: Sides,
}

/// The letters at the picture's edges: R, L, A, P, H (head), F (feet), as DICOM has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sides {
    left: char,
    right: char,
    top: char,
    bottom: char,
}

impl View {
    pub(super) fn of(image: &Volume<f32>, frame: Frame, width_px: usize) -> View {
        let [_, row_mm, column_mm] = image.grid().spacing_mm();
        let extent = |[lo, hi]: [usize; 2], mm: f64| (hi - lo) as f64 * mm;
        let width_mm = extent(frame.columns, column_mm);
        let ratio = extent(frame.rows, row_mm) / width_mm;
        let height_px = (width_px as f64 * ratio).round().clamp(1.0, 4.0 * width_px as f64);
        let affine = image.grid().affine();
        // Rows must run from front to back, columns from the patient's right to left.
        let (mirror_rows, mirror_columns) = (affine[1][1] > 0.0, affine[0][0] > 0.0);
        let [right, left] = letters(affine.map(|row| row[0]), mirror_columns);
        let [bottom, top] = letters(affine.map(|row| row[1]), mirror_rows);
        View {
            frame,
            shape: [height_px as usize, width_px],
            mirror_rows,
            mirror_columns,
            px_per_mm: width_px as f64 / width_mm,
            sides: Sides { left, right, top, bottom },
        }
    }

    pub(super) fn sample<T>(&self, value: impl Fn(usize, usize) -> T) -> Array2<T> {
        let pick = |k: usize, n: usize, [lo, hi]: [usize; 2], mirror: bool| {
            let k = if mirror { n - 1 - k } else { k };
            lo + k * (hi - lo) / n
        };
        Array2::from_shape_fn((self.shape[0], self.shape[1]), |(row, column)| {
            let y = pick(row, self.shape[0], self.frame.rows, self.mirror_rows);
            let x = pick(column, self.shape[1], self.frame.columns, self.mirror_columns);
            value(y, x)
        })
    }

    /// Writes the sides, the window and a scale bar on the margin of a picture of this view.
    pub(super) fn write_margin(&self, canvas: &mut Canvas) {
        let (width, height) = (canvas.width(), canvas.height());
        let letter = Canvas::text_width("R");
        let (middle_row, middle_column) = ((height / 2).saturating_sub(LINE_PX / 2), width / 2);
        let mut put = |column: usize, row: usize, side: char| {
            canvas.text(column, row, &side.to_string(), INK);
        };
        put(3, middle_row, self.sides.left);
        put(width.saturating_sub(letter + 3), middle_row, self.sides.right);
        put(middle_column, LINE_PX + 4, self.sides.top);
        put(middle_column, height.saturating_sub(LINE_PX + 1), self.sides.bottom);
        let [dark, bright] = LIVER_WINDOW_HU;
        let window = format!("W/L {:.0}/{:.0}", bright - dark, f32::midpoint(bright, dark));
        let column = width.saturating_sub(Canvas::text_width(&window) + 3);
        canvas.text(column, height.saturating_sub(LINE_PX + 1), &window, INK);
        self.write_scale(canvas);
    }

    /// A bar with ends on a black ground, its length in mm above it, at the lower left.
    fn write_scale(&self, canvas: &mut Canvas) {
        let fits = |mm: &u32| f64::from(*mm) * self.px_per_mm <= canvas.width() as f64 / 3.0;
        let Some(mm) = SCALES_MM.into_iter().find(fits) else { return };
        let length = (f64::from(mm) * self.px_per_mm).round() as usize;
        let row = canvas.height().saturating_sub(6);
        canvas.text(4, row.saturating_sub(LINE_PX + 3), &format!("{mm} mm"), INK);
        for column in 2..=6 + length {
            (row.saturating_sub(4)..row + 4).for_each(|ground| canvas.set(column, ground, [0; 3]));
        }
        for column in 4..=4 + length {
            canvas.set(column, row, INK);
            canvas.set(column, row + 1, INK);
        }
        for end in [4, 4 + length] {
            for tick in row.saturating_sub(4)..row + 2 {
                canvas.set(end, tick, INK);
            }
        }
    }
}

/// The letters towards which an axis rises and falls on the picture: the patient axis it lies
/// closest to. `direction` is the RAS step of one voxel.
fn letters(direction: [f64; 3], mirrored: bool) -> [char; 2] {
    const NAMES: [[char; 2]; 3] = [['R', 'L'], ['A', 'P'], ['H', 'F']];
    let nearest = (0..3).max_by(|a, b| direction[*a].abs().total_cmp(&direction[*b].abs()));
    let axis = nearest.unwrap_or(0);
    let [rising, falling] = NAMES[axis];
    if (direction[axis] > 0.0) == mirrored { [falling, rising] } else { [rising, falling] }
}

/// Where a slice is: its number in the archive, its number from the head as the page has it too,
/// and the height of its centre in the patient.
pub(super) fn place(grid: &Grid, z: usize, instance: Option<i64>) -> String {
    let [slices, rows, columns] = grid.shape();
    let centre = [z as f64, (rows as f64 - 1.0) / 2.0, (columns as f64 - 1.0) / 2.0];
    let [_, _, height_mm] = grid.ras_mm(centre);
    let instance = instance.map_or(String::new(), |number| format!("Im {number}, "));
    let number = from_head(grid, z);
    format!("{instance}slice {number}/{slices}, z {height_mm:.1} mm")
}

/// The number of a slice where the archive's is not known: from 1, the uppermost first.
pub fn from_head(grid: &Grid, z: usize) -> usize {
    if rises(grid) { grid.shape()[0] - z } else { z + 1 }
}

/// True if slices run from feet to head in the order they are stored.
pub(super) fn rises(grid: &Grid) -> bool {
    grid.affine()[2][2] > 0.0
}

/// The box around the body in the middle slice, so that neither air nor the table is shown:
/// the longest runs of rows and of columns of which a fair share is denser than fat.
pub(super) fn body_frame(scene: &Scene<'_>) -> Frame {
    let [slices, rows, columns] = scene.image.grid().shape();
    let middle = scene.image.voxels().index_axis(Axis(0), slices / 2);
    let dense = |line: ArrayView1<'_, f32>| {
        let count = line.iter().filter(|hu| **hu > BODY_HU).count();
        count * BODY_SHARE > line.len()
    };
    let along = |axis: usize, n: usize| longest_run(n, |k| dense(middle.index_axis(Axis(axis), k)));
    Frame {
        rows: along(0, rows).unwrap_or([0, rows]),
        columns: along(1, columns).unwrap_or([0, columns]),
    }
}

/// The longest half-open run of places below `n` that hold, the first of equals.
fn longest_run(n: usize, holds: impl Fn(usize) -> bool) -> Option<[usize; 2]> {
    let mut best: Option<[usize; 2]> = None;
    let mut begin = None;
    for k in 0..=n {
        if k < n && holds(k) {
            begin.get_or_insert(k);
        } else if let Some(first) = begin.take()
            && best.is_none_or(|[lo, hi]| k - first > hi - lo)
        {
            best = Some([first, k]);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_name_the_patients_sides_whatever_the_storage() {
        assert_eq!(letters([-0.7, 0.0, 0.0], false), ['L', 'R']);
        assert_eq!(letters([0.7, 0.1, 0.0], true), ['L', 'R']);
        assert_eq!(letters([0.7, 0.1, 0.0], false), ['R', 'L']);
        assert_eq!(letters([0.0, -0.7, 0.2], false), ['P', 'A']);
        // A coronal slice: rows run to the feet.
        assert_eq!(letters([0.0, 0.1, -5.0], false), ['F', 'H']);
    }

    #[test]
    fn a_slice_is_placed_by_number_and_height() {
        let grid = Grid::axial([41, 4, 4], [5.0, 1.0, 1.0], [0.0, 0.0, -374.0]);
        assert_eq!(place(&grid, 20, None), "slice 21/41, z -274.0 mm");
        assert_eq!(place(&grid, 40, None), "slice 1/41, z -174.0 mm");
        assert_eq!(place(&grid, 20, Some(65)), "Im 65, slice 21/41, z -274.0 mm");
        assert!(rises(&grid));
    }
}
