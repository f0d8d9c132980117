//! A picture of a registration: the two images in a checkerboard and their difference, before and
//! after, in an axial and a coronal slice.
//!
//! Owns choice of slices, window and layout. Edges that run on across the squares show that the
//! images lie on each other; in the difference, contrast taken up stays and what moved goes.

use ndarray::{Array2, ArrayView3, Axis};

use crate::canvas::{Canvas, Colour, LINE_PX};
use hepalert_voxels::volume::{Axes, Volume};

/// Darkest and brightest value, in HU: wider than the liver window, native images are darker.
const WINDOW_HU: [f32; 2] = [-120.0, 220.0];
/// A difference of this many HU is fully coloured.
const DIFFERENCE_HU: f32 = 200.0;
/// Edge of a square of the checkerboard.
const SQUARE_MM: f64 = 24.0;
/// Width of one panel.
const PANEL_PX: usize = 400;
/// Between panels.
const GAP_PX: usize = 6;
/// Denser than air and lung.
const BODY_HU: f32 = -300.0;
const WORDS: Colour = [235; 3];

/// The fixed image and the moving one on its grid, before and after.
pub struct Pair<'a> {
    /// What stayed.
    pub fixed: &'a Volume<f32>,
    /// The moving image as it came.
    pub before: &'a Volume<f32>,
    /// As it was aligned.
    pub after: &'a Volume<f32>,
}

/// Two rows of four panels; `caption` is written below.
pub fn checkerboard(pair: &Pair<'_>, caption: &str) -> Canvas {
    let rows = [Cut::axial(pair.fixed), Cut::coronal(pair.fixed)].map(|cut| row(pair, &cut));
    let width = rows.iter().map(Canvas::width).max().unwrap_or(1);
    let height: usize = rows.iter().map(|row| row.height() + GAP_PX).sum();
    let mut sheet = Canvas::new(width, height + LINE_PX + 6);
    let mut top = 0;
    for row in &rows {
        sheet.paste(row, 0, top);
        top += row.height() + GAP_PX;
    }
    sheet.text(4, top + 2, caption, WORDS);
    sheet
}

fn row(pair: &Pair<'_>, cut: &Cut) -> Canvas {
    let [fixed, before, after] = [pair.fixed, pair.before, pair.after].map(|volume| cut.of(volume));
    let panels = [
        ("checkerboard before", cut.squares(&fixed, &before)),
        ("checkerboard after", cut.squares(&fixed, &after)),
        ("difference before", cut.difference(&fixed, &before)),
        ("difference after", cut.difference(&fixed, &after)),
    ];
    let height = panels[0].1.height();
    let mut row = Canvas::new(4 * (PANEL_PX + GAP_PX) - GAP_PX, height);
    for (n, (title, panel)) in panels.iter().enumerate() {
        let left = n * (PANEL_PX + GAP_PX);
        row.paste(panel, left, 0);
        row.text(left + 4, 3, title, WORDS);
    }
    row
}

/// A slice across one axis of the patient, as a radiologist looks at it: the patient's right on
/// the left, the front or the head up.
struct Cut {
    /// 0 across the body's length, 1 across front to back.
    across: usize,
    /// In RAS order.
    at: usize,
    /// Of a pixel, rows and columns.
    mm: [f64; 2],
    /// First and behind the last row and column of the body.
    body: [[usize; 2]; 2],
}

impl Cut {
    fn axial(fixed: &Volume<f32>) -> Cut {
        Cut::new(fixed, 0)
    }

    fn coronal(fixed: &Volume<f32>) -> Cut {
        Cut::new(fixed, 1)
    }

    /// Through the middle of the body.
    fn new(fixed: &Volume<f32>, across: usize) -> Cut {
        let axes = Axes::ras(fixed.grid());
        let mm = axes.from.map(|axis| fixed.grid().spacing_mm()[axis]);
        let view = ras(fixed);
        let middle = |axis: usize| {
            let dense = |at: usize| {
                let plane = view.index_axis(Axis(axis), at);
                plane.iter().step_by(17).filter(|hu| **hu > BODY_HU).count()
            };
            let counts: Vec<usize> = (0..view.len_of(Axis(axis))).map(dense).collect();
            let sum: usize = counts.iter().sum();
            let mut below = 0;
            let half = counts.iter().position(|count| {
                below += count;
                2 * below >= sum
            });
            half.unwrap_or(counts.len() / 2)
        };
        let mut cut =
            Cut { across, at: middle(across), mm: [mm[1 - across], mm[2]], body: [[0; 2]; 2] };
        cut.body = cut.bounds(&cut.of(fixed));
        cut
    }

    fn of(&self, volume: &Volume<f32>) -> Array2<f32> {
        let mut slice = ras(volume).index_axis_move(Axis(self.across), self.at);
        // Rows run down from the front or the head, columns from the patient's right.
        slice.invert_axis(Axis(0));
        let mut slice = slice.to_owned();
        slice.invert_axis(Axis(1));
        slice
    }

    fn bounds(&self, slice: &Array2<f32>) -> [[usize; 2]; 2] {
        [0, 1].map(|axis| {
            let dense = |line: ndarray::ArrayView1<'_, f32>| {
                line.iter().filter(|hu| **hu > BODY_HU).count() * 12 > line.len()
            };
            let lines: Vec<bool> = slice.axis_iter(Axis(axis)).map(dense).collect();
            let first = lines.iter().position(|on| *on).unwrap_or(0);
            let last = lines.iter().rposition(|on| *on).unwrap_or(lines.len() - 1);
            let margin = (10.0 / self.mm[axis]) as usize;
            [first.saturating_sub(margin), (last + 1 + margin).min(lines.len())]
        })
    }

    /// Pixels of a panel and the voxels they show.
    fn panel(&self, colour: impl Fn([usize; 2], [f64; 2]) -> Colour) -> Canvas {
        let [rows, columns] = self.body;
        let size = |axis: usize, [from, to]: [usize; 2]| (to - from).max(1) as f64 * self.mm[axis];
        let scale = size(1, columns) / PANEL_PX as f64;
        let height = (size(0, rows) / scale).ceil().clamp(1.0, 4.0 * PANEL_PX as f64) as usize;
        let mut canvas = Canvas::new(PANEL_PX, height);
        for y in 0..height {
            for x in 0..PANEL_PX {
                let mm = [y as f64 * scale, x as f64 * scale];
                let voxel = [
                    (rows[0] + (mm[0] / self.mm[0]) as usize).min(rows[1] - 1),
                    (columns[0] + (mm[1] / self.mm[1]) as usize).min(columns[1] - 1),
                ];
                canvas.set(x, y, colour(voxel, mm));
            }
        }
        canvas
    }

    fn squares(&self, fixed: &Array2<f32>, moving: &Array2<f32>) -> Canvas {
        self.panel(|voxel, mm| {
            let odd = ((mm[0] / SQUARE_MM) as usize + (mm[1] / SQUARE_MM) as usize) % 2 == 1;
            let hu = if odd { moving[voxel] } else { fixed[voxel] };
            // A breath of colour tells the squares apart where they fit well.
            let grey = windowed(hu);
            if odd { [grey, grey, grey.saturating_add(18)] } else { [grey; 3] }
        })
    }

    /// Grey where equal, red where the moving image is brighter, blue where it is darker.
    fn difference(&self, fixed: &Array2<f32>, moving: &Array2<f32>) -> Canvas {
        self.panel(|voxel, _| {
            let (a, b) = (clamped(fixed[voxel]), clamped(moving[voxel]));
            let share = ((b - a) / DIFFERENCE_HU).clamp(-1.0, 1.0);
            let ground = 0.35 * f32::from(windowed(fixed[voxel])) + 30.0;
            let toward = |to: f32| (ground + (to - ground) * share.abs()) as u8;
            if share > 0.0 {
                [toward(255.0), toward(70.0), toward(40.0)]
            } else {
                [toward(40.0), toward(120.0), toward(255.0)]
            }
        })
    }
}

fn ras(volume: &Volume<f32>) -> ArrayView3<'_, f32> {
    let axes = Axes::ras(volume.grid());
    let mut view = volume.voxels().view().permuted_axes(axes.from);
    for axis in 0..3 {
        if axes.reversed[axis] {
            view.invert_axis(Axis(axis));
        }
    }
    view
}

fn clamped(hu: f32) -> f32 {
    hu.clamp(WINDOW_HU[0], WINDOW_HU[1])
}

fn windowed(hu: f32) -> u8 {
    (255.0 * (clamped(hu) - WINDOW_HU[0]) / (WINDOW_HU[1] - WINDOW_HU[0])) as u8
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hepalert_voxels::volume::Grid;
    use ndarray::Array3;

    use super::*;

    /// A body of one density with a dense block at the patient's right and front.
    fn patient(affine_of_x: f64) -> Volume<f32> {
        let affine = [[affine_of_x, 0.0, 0.0, 0.0], [0.0, 2.0, 0.0, 0.0], [0.0, 0.0, 4.0, 0.0]];
        let grid = Arc::new(Grid::new([10, 30, 40], [4.0, 2.0, 2.0], affine));
        let voxels = Array3::from_shape_fn((10, 30, 40), |(_, y, x)| {
            let right = if affine_of_x > 0.0 { x >= 28 } else { x < 12 };
            if y >= 20 && right { 200.0 } else { 20.0 }
        });
        Volume::new(grid, voxels)
    }

    #[test]
    fn the_patients_right_is_on_the_left_however_it_is_stored() {
        for direction in [2.0, -2.0] {
            let volume = patient(direction);
            let slice: Array2<f32> = Cut::axial(&volume).of(&volume);
            let (rows, columns) = slice.dim();
            assert_eq!(slice[[1, 1]], 200.0, "front and right are up and left");
            assert_eq!([slice[[1, columns - 2]], slice[[rows - 2, 1]]], [20.0; 2]);
        }
    }

    #[test]
    fn equal_images_have_no_coloured_difference_and_seamless_squares() {
        let volume = patient(2.0);
        let cut = Cut::axial(&volume);
        let slice = cut.of(&volume);
        let difference = cut.difference(&slice, &slice);
        let grey = |c: Colour| c[0].abs_diff(c[1]) < 2 && c[1].abs_diff(c[2]) < 2;
        let at = |x: usize, y: usize| difference.get(x, y);
        assert!((0..PANEL_PX).all(|x| grey(at(x, 20))));
        let brighter = slice.mapv(|hu| hu + 150.0);
        let [red, _, blue] = cut.difference(&slice, &brighter).get(300, 200);
        assert!(red > blue + 60, "{red} {blue}");
        let sheet =
            checkerboard(&Pair { fixed: &volume, before: &volume, after: &volume }, "equal");
        assert_eq!(sheet.width(), 4 * PANEL_PX + 3 * GAP_PX);
    }
}
