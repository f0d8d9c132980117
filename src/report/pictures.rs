//! Pictures for a radiologist: key slices in a liver window, the liver outlined, lesions
//! outlined and numbered as in the report.
//!
//! Owns windowing, orientation and layout. Refuses to decide what is shown as suspected:
//! it draws the [`Marked`] lesions it is given.

use ndarray::{Array2, Axis};

use super::canvas::{Canvas, Colour, LINE_PX};
use hepalert_cascade::detect::Detection;
use hepalert_study::anatomy::Organ;
use hepalert_voxels::volume::{LabelMap, Volume};

/// Darkest and brightest value of the liver window, in HU: level 80, width 220.
pub const LIVER_WINDOW_HU: [f32; 2] = [-30.0, 190.0];
/// Most slices in the overview.
const OVERVIEW_SLICES: usize = 12;
/// Columns of the overview.
const OVERVIEW_COLUMNS: usize = 4;
/// Width of one tile of the overview, in pixels.
const TILE_PX: usize = 320;
/// Width of each half of a lesion's picture, in pixels.
const PANEL_PX: usize = 560;
/// Denser than air, lung and most of fat's noise.
const BODY_HU: f32 = -200.0;
/// A row of the picture belongs to the body if more than one in so many voxels is dense: a
/// table is thin.
const BODY_SHARE: usize = 8;
/// Voxels of body shown around the liver and around a lesion, in mm.
const MARGIN_MM: f64 = 25.0;

const LIVER_COLOUR: Colour = [70, 200, 120];
const MALIGNANT_COLOUR: Colour = [255, 70, 60];
const BENIGN_COLOUR: Colour = [90, 170, 255];

/// A lesion to draw.
#[derive(Debug, Clone, Copy)]
pub struct Marked<'a> {
    /// Its number in the report.
    pub number: usize,
    /// Where it is.
    pub detection: &'a Detection,
    /// Drawn red if malignant, blue otherwise.
    pub malignant: bool,
    /// What stands under its picture, without identifiers.
    pub caption: &'a str,
}

/// What the pictures are drawn from: one phase in HU and the label map, on one grid.
#[derive(Debug, Clone, Copy)]
pub struct Scene<'a> {
    /// Hounsfield units.
    pub image: &'a Volume<f32>,
    /// Labels of the shown view.
    pub labels: &'a LabelMap,
}

/// A box of columns and rows in a slice, half-open, in voxels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Frame {
    rows: [usize; 2],
    columns: [usize; 2],
}

/// Slices spread evenly over the liver, with every marked lesion they cut. Without a liver
/// the slices are spread over the whole volume.
pub fn overview(scene: &Scene<'_>, lesions: &[Marked<'_>]) -> Canvas {
    let slices = spread(liver_slices(scene.labels), OVERVIEW_SLICES);
    let frame = body_frame(scene);
    let tiles: Vec<Canvas> = slices
        .iter()
        .map(|&z| {
            let mut tile = slice_picture(scene, z, frame, TILE_PX, lesions, true);
            tile.text(4, 3, &format!("slice {}", z + 1), [230; 3]);
            tile
        })
        .collect();
    let tile_height = tiles.iter().map(Canvas::height).max().unwrap_or(1);
    let columns = OVERVIEW_COLUMNS.min(tiles.len().max(1));
    let rows = tiles.len().div_ceil(columns).max(1);
    let mut sheet = Canvas::new(columns * TILE_PX, rows * tile_height + 2 * LINE_PX);
    for (n, tile) in tiles.iter().enumerate() {
        sheet.paste(tile, n % columns * TILE_PX, n / columns * tile_height);
    }
    legend(&mut sheet, rows * tile_height + 4);
    sheet
}

/// One lesion: its largest slice with outlines on the left, the same place enlarged and
/// untouched on the right, its caption below.
pub fn lesion(scene: &Scene<'_>, shown: &Marked<'_>, all: &[Marked<'_>]) -> Canvas {
    let z = largest_slice(shown.detection);
    let left = slice_picture(scene, z, body_frame(scene), PANEL_PX, all, true);
    let right = slice_picture(scene, z, lesion_frame(scene, shown.detection), PANEL_PX, all, false);
    let height = left.height().max(right.height());
    let mut picture = Canvas::new(2 * PANEL_PX + 8, height + 3 * LINE_PX);
    picture.paste(&left, 0, 0);
    picture.paste(&right, PANEL_PX + 8, 0);
    picture.text(4, 3, &format!("slice {}", z + 1), [230; 3]);
    let colour = colour_of(shown);
    picture.text(4, height + 3, shown.caption, colour);
    legend(&mut picture, height + 5 + LINE_PX);
    picture
}

fn legend(canvas: &mut Canvas, row: usize) {
    let parts: [(&str, Colour); 4] = [
        ("suspected malignant", MALIGNANT_COLOUR),
        ("benign", BENIGN_COLOUR),
        ("liver", LIVER_COLOUR),
        ("Triage aid, not a diagnosis", [200; 3]),
    ];
    let mut column = 4;
    for (words, colour) in parts {
        canvas.text(column, row, words, colour);
        column += Canvas::text_width(words) + 22;
    }
}

fn colour_of(marked: &Marked<'_>) -> Colour {
    if marked.malignant { MALIGNANT_COLOUR } else { BENIGN_COLOUR }
}

/// One slice, cut to `frame`, turned to radiological view (patient's right on the left,
/// front at the top), scaled to `width_px` with square pixels.
fn slice_picture(
    scene: &Scene<'_>,
    z: usize,
    frame: Frame,
    width_px: usize,
    lesions: &[Marked<'_>],
    outlines: bool,
) -> Canvas {
    let view = View::of(scene.image, frame, width_px);
    let slice = scene.image.voxels().index_axis(Axis(0), z);
    let grey = view.sample(|y, x| window(slice[[y, x]]));
    let mut canvas = Canvas::from_grey(grey.view());
    if !outlines {
        return canvas;
    }
    let labels = scene.labels.voxels().index_axis(Axis(0), z);
    let liver = view.sample(|y, x| (1..=Organ::HepaticVessels.label()).contains(&labels[[y, x]]));
    canvas.outline(liver.view(), LIVER_COLOUR);
    for marked in lesions {
        let mask = view.sample(|y, x| covers(marked.detection, [z, y, x]));
        if let Some((row, column)) = label_place(&mask) {
            canvas.outline(mask.view(), colour_of(marked));
            canvas.text(column, row, &marked.number.to_string(), colour_of(marked));
        }
    }
    canvas
}

fn window(hu: f32) -> u8 {
    let [dark, bright] = LIVER_WINDOW_HU;
    ((hu - dark) / (bright - dark) * 255.0).clamp(0.0, 255.0) as u8
}

fn covers(detection: &Detection, [z, y, x]: [usize; 3]) -> bool {
    let lo = detection.region.lo;
    if z < lo[0] || y < lo[1] || x < lo[2] {
        return false;
    }
    detection.mask.get([z - lo[0], y - lo[1], x - lo[2]]).copied().unwrap_or(false)
}

/// Just right of the mask's topmost pixel, where the number covers little of the lesion.
fn label_place(mask: &Array2<bool>) -> Option<(usize, usize)> {
    let columns = mask.indexed_iter().filter(|(_, on)| **on).map(|((_, column), _)| column);
    let right = columns.max()?;
    let top = mask.indexed_iter().find(|(_, on)| **on).map(|((row, _), _)| row)?;
    Some((top, right + 3))
}

/// How picture pixels map to voxels of a slice.
struct View {
    frame: Frame,
    shape: [usize; 2],
    mirror_rows: bool,
    mirror_columns: bool,
}

impl View {
    fn of(image: &Volume<f32>, frame: Frame, width_px: usize) -> View {
        let [_, row_mm, column_mm] = image.grid().spacing_mm();
        let extent = |[lo, hi]: [usize; 2], mm: f64| (hi - lo) as f64 * mm;
        let ratio = extent(frame.rows, row_mm) / extent(frame.columns, column_mm);
        let height_px = (width_px as f64 * ratio).round().clamp(1.0, 4.0 * width_px as f64);
        let affine = image.grid().affine();
        View {
            frame,
            shape: [height_px as usize, width_px],
            // Rows must run from front to back, columns from the patient's right to left.
            mirror_rows: affine[1][1] > 0.0,
            mirror_columns: affine[0][0] > 0.0,
        }
    }

    fn sample<T>(&self, value: impl Fn(usize, usize) -> T) -> Array2<T> {
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
}

/// The first and last slice that hold liver or lesion.
fn liver_slices(labels: &LabelMap) -> [usize; 2] {
    let has_liver = |z: &usize| {
        let slice = labels.voxels().index_axis(Axis(0), *z);
        slice.iter().any(|label| (1..=Organ::Liver.label()).contains(label))
    };
    let slices = labels.grid().shape()[0];
    let first = (0..slices).find(has_liver).unwrap_or(0);
    let last = (0..slices).rev().find(has_liver).unwrap_or(slices - 1);
    [first, last]
}

/// At most `most` slices from first to last, evenly spread, top of the patient's list first.
fn spread([first, last]: [usize; 2], most: usize) -> Vec<usize> {
    let count = (last - first + 1).min(most);
    let step = (last - first) as f64 / (count.max(2) - 1) as f64;
    (0..count).map(|n| first + (step * n as f64).round() as usize).collect()
}

/// The box around the body in the middle slice, so that neither air nor the table is shown:
/// the longest runs of rows and of columns of which a fair share is denser than fat.
fn body_frame(scene: &Scene<'_>) -> Frame {
    let [slices, rows, columns] = scene.image.grid().shape();
    let middle = scene.image.voxels().index_axis(Axis(0), slices / 2);
    let dense = |line: ndarray::ArrayView1<'_, f32>| {
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

/// The box around a lesion with a margin of body, square in millimetres where it fits.
fn lesion_frame(scene: &Scene<'_>, detection: &Detection) -> Frame {
    let [_, rows, columns] = scene.image.grid().shape();
    let [_, row_mm, column_mm] = scene.image.grid().spacing_mm();
    let region = detection.region;
    let extent_mm = |axis: usize, mm: f64| (region.hi[axis] - region.lo[axis]) as f64 * mm;
    let half_mm = extent_mm(1, row_mm).max(extent_mm(2, column_mm)) / 2.0 + MARGIN_MM;
    let around = |axis: usize, mm: f64, n: usize| {
        let centre = (region.lo[axis] + region.hi[axis]) / 2;
        let reach = (half_mm / mm).ceil() as usize;
        [centre.saturating_sub(reach), (centre + reach).min(n)]
    };
    Frame { rows: around(1, row_mm, rows), columns: around(2, column_mm, columns) }
}

fn largest_slice(detection: &Detection) -> usize {
    let areas = detection.mask.outer_iter().map(|slice| slice.iter().filter(|on| **on).count());
    // The first of equals, so that the picture does not depend on iteration order.
    let best = areas.enumerate().fold(
        (0, 0),
        |best, (z, area)| {
            if area > best.1 { (z, area) } else { best }
        },
    );
    detection.region.lo[0] + best.0
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ndarray::Array3;

    use super::*;
    use hepalert_cascade::detect::Region;
    use hepalert_study::anatomy::Lesion;
    use hepalert_voxels::volume::Grid;

    fn scene(columns_to_the_left: bool) -> (Volume<f32>, LabelMap) {
        let sign = if columns_to_the_left { -1.0 } else { 1.0 };
        let affine = [[sign, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 0.0], [0.0, 0.0, 5.0, 0.0]];
        let grid = Arc::new(Grid::new([6, 40, 50], [5.0, 1.0, 1.0], affine));
        let mut hu = Array3::from_elem((6, 40, 50), -1000.0);
        hu.slice_mut(ndarray::s![.., 5..35, 5..45]).fill(80.0);
        // A bright mark on the low-index side of the columns.
        hu.slice_mut(ndarray::s![.., 18..22, 6..10]).fill(400.0);
        let mut labels = Array3::zeros((6, 40, 50));
        labels.slice_mut(ndarray::s![1..5, 10..30, 10..40]).fill(7);
        (Volume::new(Arc::clone(&grid), hu), Volume::new(grid, labels))
    }

    fn detection() -> Detection {
        Detection {
            id: 1,
            kind: Lesion::Meta,
            region: Region { lo: [2, 15, 20], hi: [4, 20, 25] },
            mask: Array3::from_elem((2, 5, 5), true),
            voxels: 50,
            volume_cm3: 0.25,
        }
    }

    #[test]
    fn the_patients_right_is_on_the_left_whatever_the_storage_order() {
        for to_the_left in [true, false] {
            let (image, labels) = scene(to_the_left);
            let scene = Scene { image: &image, labels: &labels };
            let picture = slice_picture(&scene, 2, body_frame(&scene), 200, &[], false);
            let bright_columns =
                (0..200).filter(|x| picture.get(*x, picture.height() / 2)[0] == 255);
            let mean = bright_columns.clone().sum::<usize>() / bright_columns.count();
            // Column 6..10 is the patient's right where x runs to the left (RAS x falls).
            assert_eq!(mean < 100, to_the_left, "{mean}");
        }
    }

    #[test]
    fn lesions_are_outlined_in_their_colour_only_where_they_are() {
        let (image, labels) = scene(true);
        let scene = Scene { image: &image, labels: &labels };
        let found = detection();
        let marked = Marked { number: 3, detection: &found, malignant: true, caption: "3" };
        let reds = |canvas: &Canvas| {
            let all = (0..canvas.height()).flat_map(|y| (0..canvas.width()).map(move |x| (x, y)));
            all.filter(|&(x, y)| canvas.get(x, y) == MALIGNANT_COLOUR).count()
        };
        let inside = slice_picture(&scene, 3, body_frame(&scene), 200, &[marked], true);
        let outside = slice_picture(&scene, 1, body_frame(&scene), 200, &[marked], true);
        assert!(reds(&inside) > 20);
        assert_eq!(reds(&outside), 0);
        assert_eq!(largest_slice(&found), 2);
    }

    #[test]
    fn nothing_to_show_is_still_a_picture() {
        let (image, labels) = scene(true);
        let empty = Volume::new(Arc::clone(labels.grid()), Array3::zeros((6, 40, 50)));
        let scene = Scene { image: &image, labels: &empty };
        let sheet = overview(&scene, &[]);
        assert_eq!(sheet.width(), OVERVIEW_COLUMNS * TILE_PX);
        assert!(sheet.png().is_ok());
        let air = Volume::new(Arc::clone(image.grid()), Array3::from_elem((6, 40, 50), -1000.0));
        overview(&Scene { image: &air, labels: &empty }, &[]);
    }

    #[test]
    fn slices_are_spread_from_first_to_last() {
        assert_eq!(spread([3, 3], 12), [3]);
        assert_eq!(spread([0, 10], 3), [0, 5, 10]);
        assert_eq!(spread([2, 4], 12), [2, 3, 4]);
    }
}
