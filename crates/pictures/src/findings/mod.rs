//! Pictures for a radiologist: key slices in a liver window, the liver outlined, lesions
//! outlined and numbered as in the report.
//!
//! Owns windowing and layout; `view` lays a slice on a picture and writes what a reader must know
//! to trust it, `marks` points at lesions. Refuses to decide what is shown as suspected: it draws
//! the [`Marked`] lesions it is given.

use std::collections::BTreeSet;

use ndarray::{Array3, ArrayView2, Axis};

use crate::canvas::{Canvas, Colour, LINE_PX};
use hepalert_cascade::detect::Detection;
use hepalert_voxels::volume::Volume;

mod marks;
mod view;

use marks::Taken;

pub use view::from_head;
use view::{Frame, View, body_frame};

/// Darkest and brightest value of the liver window, in HU: level 80, width 220.
pub const LIVER_WINDOW_HU: [f32; 2] = [-30.0, 190.0];
/// A slice with less than this share of the largest cut through the liver shows a tip of it only.
const LIVER_SHARE: usize = 20;
/// Most slices in the overview.
const OVERVIEW_SLICES: usize = 12;
/// Columns of the overview.
const OVERVIEW_COLUMNS: usize = 4;
/// Width of one tile of the overview, in pixels.
const TILE_PX: usize = 320;
/// Width of each half of a lesion's picture, in pixels.
const PANEL_PX: usize = 560;
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

/// What the pictures are drawn from: one phase in HU and where the liver is, on one grid.
#[derive(Debug, Clone, Copy)]
pub struct Scene<'a> {
    /// Hounsfield units.
    pub image: &'a Volume<f32>,
    /// The liver, with what lies in it.
    pub liver: &'a Array3<bool>,
    /// The study's key and the phase shown, so that a picture on its own can be told from another.
    pub study: &'a str,
    /// InstanceNumber of each slice, as viewers show it; none where it is not known.
    pub instances: &'a [Option<i64>],
}

/// Head first: each lesion's largest slice (the most urgent ones if there are too many), the rest
/// spread evenly over the slices that hold liver. Without a liver the slices are spread over the
/// whole volume.
pub fn overview(scene: &Scene<'_>, lesions: &[Marked<'_>]) -> Canvas {
    let frame = body_frame(scene);
    let tiles: Vec<Canvas> = overview_slices(scene, lesions)
        .iter()
        .map(|&z| slice_picture(scene, z, frame, TILE_PX, lesions, Overlay::Outlines))
        .collect();
    let tile_height = tiles.iter().map(Canvas::height).max().unwrap_or(1);
    let columns = OVERVIEW_COLUMNS.min(tiles.len().max(1));
    let rows = tiles.len().div_ceil(columns).max(1);
    let mut sheet = Canvas::new(columns * TILE_PX, rows * tile_height + 2 * LINE_PX);
    for (n, tile) in tiles.iter().enumerate() {
        sheet.paste(tile, n % columns * TILE_PX, n / columns * tile_height);
    }
    legend(&mut sheet, rows * tile_height + 4, scene.study);
    sheet
}

fn overview_slices(scene: &Scene<'_>, lesions: &[Marked<'_>]) -> Vec<usize> {
    let largest = lesions.iter().map(|lesion| largest_slice(lesion.detection));
    let mut chosen: BTreeSet<usize> = BTreeSet::new();
    for z in largest.chain(spread(&liver_slices(scene.liver), OVERVIEW_SLICES)) {
        if chosen.len() < OVERVIEW_SLICES {
            chosen.insert(z);
        }
    }
    let feet_first: Vec<usize> = chosen.into_iter().collect();
    if view::rises(scene.image.grid()) {
        feet_first.into_iter().rev().collect()
    } else {
        feet_first
    }
}

/// One lesion: its largest slice with outlines on the left, the same place enlarged on the right
/// with nothing but an arrow on it, its caption below.
pub fn lesion(scene: &Scene<'_>, shown: &Marked<'_>, all: &[Marked<'_>]) -> Canvas {
    let z = largest_slice(shown.detection);
    let left = slice_picture(scene, z, body_frame(scene), PANEL_PX, all, Overlay::Outlines);
    let close = lesion_frame(scene, shown.detection);
    let right = slice_picture(scene, z, close, PANEL_PX, &[*shown], Overlay::Arrow);
    let height = left.height().max(right.height());
    let mut picture = Canvas::new(2 * PANEL_PX + 8, height + 3 * LINE_PX);
    picture.paste(&left, 0, 0);
    picture.paste(&right, PANEL_PX + 8, 0);
    let colour = colour_of(shown);
    picture.text(4, height + 3, shown.caption, colour);
    legend(&mut picture, height + 5 + LINE_PX, scene.study);
    picture
}

fn legend(canvas: &mut Canvas, row: usize, study: &str) {
    let parts: [(&str, Colour); 4] = [
        ("suspected malignant", MALIGNANT_COLOUR),
        ("suspected benign", BENIGN_COLOUR),
        ("liver", LIVER_COLOUR),
        ("Triage aid, not a diagnosis", [200; 3]),
    ];
    let mut column = 4;
    for (words, colour) in parts {
        canvas.text(column, row, words, colour);
        column += Canvas::text_width(words) + 20;
    }
    canvas.text(column, row, &format!("study {study}"), [200; 3]);
}

fn colour_of(marked: &Marked<'_>) -> Colour {
    if marked.malignant { MALIGNANT_COLOUR } else { BENIGN_COLOUR }
}

/// What is drawn over a slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Overlay {
    /// The liver and every lesion, outlined and numbered.
    Outlines,
    /// An arrow at each lesion and nothing on it.
    Arrow,
}

/// One slice, cut to `frame`, turned to radiological view (patient's right on the left,
/// front at the top), scaled to `width_px` with square pixels.
fn slice_picture(
    scene: &Scene<'_>,
    z: usize,
    frame: Frame,
    width_px: usize,
    lesions: &[Marked<'_>],
    overlay: Overlay,
) -> Canvas {
    let view = View::of(scene.image, frame, width_px);
    let slice = scene.image.voxels().index_axis(Axis(0), z);
    let grey = view.sample(|y, x| window(slice[[y, x]]));
    let mut canvas = Canvas::from_grey(grey.view());
    if overlay == Overlay::Outlines {
        let liver = scene.liver.index_axis(Axis(0), z);
        canvas.outline(view.sample(|y, x| liver[[y, x]]).view(), LIVER_COLOUR);
    }
    mark(&mut canvas, &view, z, lesions, overlay);
    view.write_margin(&mut canvas);
    let instance = scene.instances.get(z).copied().flatten();
    canvas.text(4, 3, &view::place(scene.image.grid(), z, instance), [230; 3]);
    canvas
}

/// Outlines first, numbers over all outlines.
fn mark(canvas: &mut Canvas, view: &View, z: usize, lesions: &[Marked<'_>], overlay: Overlay) {
    let within = [canvas.height(), canvas.width()];
    // A mask is as large as the picture: only those of lesions that this slice cuts.
    let is_cut = |marked: &&Marked<'_>| {
        let (lo, mask) = (marked.detection.region.lo[0], &marked.detection.mask);
        (lo..lo + mask.len_of(Axis(0))).contains(&z)
    };
    let lesions: Vec<_> = lesions.iter().filter(is_cut).collect();
    let cut = |marked: &&Marked<'_>| view.sample(|y, x| covers(marked.detection, [z, y, x]));
    let masks: Vec<_> = lesions.iter().map(cut).collect();
    // A finding may have several pieces in a slice: each has its number, the arrow points at the largest.
    let pieces: Vec<_> = masks.iter().map(marks::pieces).collect();
    if overlay == Overlay::Arrow {
        for (marked, pieces) in lesions.iter().zip(&pieces) {
            let largest = pieces.iter().take(1);
            largest.for_each(|piece| marks::arrow(canvas, piece, colour_of(marked)));
        }
        return;
    }
    for (marked, mask) in lesions.iter().zip(&masks) {
        canvas.outline(mask.view(), colour_of(marked));
    }
    let mut taken = Taken::below_caption(canvas.width());
    for (marked, pieces) in lesions.iter().zip(&pieces) {
        let number = marked.number.to_string();
        for piece in pieces {
            if let Some((column, row)) = taken.claim(piece, &number, within) {
                canvas.text(column, row, &number, colour_of(marked));
            }
        }
    }
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

/// The slices that hold liver, more than a tip of it; all slices if none does.
fn liver_slices(liver: &Array3<bool>) -> Vec<usize> {
    let count = |slice: ArrayView2<'_, bool>| slice.iter().filter(|on| **on).count();
    let areas: Vec<usize> = liver.outer_iter().map(count).collect();
    let largest = areas.iter().copied().max().unwrap_or(0);
    let is_seen = |z: &usize| largest == 0 || areas[*z] * LIVER_SHARE >= largest;
    (0..areas.len()).filter(is_seen).collect()
}

/// At most `most` of the slices, evenly spread from the first to the last.
fn spread(slices: &[usize], most: usize) -> Vec<usize> {
    let count = slices.len().min(most);
    let step = (slices.len().max(1) - 1) as f64 / (count.max(2) - 1) as f64;
    (0..count).map(|n| slices[(step * n as f64).round() as usize]).collect()
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

/// The slice of the study that shows most of a lesion.
pub fn largest_slice(detection: &Detection) -> usize {
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

    use super::*;
    use hepalert_cascade::detect::Region;
    use hepalert_study::anatomy::Lesion;
    use hepalert_voxels::volume::Grid;

    fn scene(columns_to_the_left: bool) -> (Volume<f32>, Array3<bool>) {
        let sign = if columns_to_the_left { -1.0 } else { 1.0 };
        let affine = [[sign, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 0.0], [0.0, 0.0, 5.0, 0.0]];
        let grid = Arc::new(Grid::new([6, 40, 50], [5.0, 1.0, 1.0], affine));
        let mut hu = Array3::from_elem((6, 40, 50), -1000.0);
        hu.slice_mut(ndarray::s![.., 5..35, 5..45]).fill(80.0);
        // A bright mark on the low-index side of the columns.
        hu.slice_mut(ndarray::s![.., 18..22, 6..10]).fill(400.0);
        let mut liver = Array3::from_elem((6, 40, 50), false);
        liver.slice_mut(ndarray::s![1..5, 10..30, 10..40]).fill(true);
        (Volume::new(grid, hu), liver)
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
            let (image, liver) = scene(to_the_left);
            let scene = Scene { image: &image, liver: &liver, study: "0", instances: &[] };
            let picture = slice_picture(&scene, 2, body_frame(&scene), 200, &[], Overlay::Outlines);
            let bright_columns =
                (0..200).filter(|x| picture.get(*x, picture.height() / 2)[0] == 255);
            let mean = bright_columns.clone().sum::<usize>() / bright_columns.count();
            // Column 6..10 is the patient's right where x runs to the left (RAS x falls).
            assert_eq!(mean < 100, to_the_left, "{mean}");
        }
    }

    #[test]
    fn lesions_are_outlined_in_their_colour_only_where_they_are() {
        let (image, liver) = scene(true);
        let scene = Scene { image: &image, liver: &liver, study: "0", instances: &[] };
        let found = detection();
        let marked = Marked { number: 3, detection: &found, malignant: true, caption: "3" };
        let reds = |canvas: &Canvas| {
            let all = (0..canvas.height()).flat_map(|y| (0..canvas.width()).map(move |x| (x, y)));
            all.filter(|&(x, y)| canvas.get(x, y) == MALIGNANT_COLOUR).count()
        };
        let inside =
            slice_picture(&scene, 3, body_frame(&scene), 200, &[marked], Overlay::Outlines);
        let outside =
            slice_picture(&scene, 1, body_frame(&scene), 200, &[marked], Overlay::Outlines);
        assert!(reds(&inside) > 20);
        assert_eq!(reds(&outside), 0);
        assert_eq!(largest_slice(&found), 2);
    }

    #[test]
    fn nothing_to_show_is_still_a_picture() {
        let (image, liver) = scene(true);
        let empty = Array3::from_elem(liver.raw_dim(), false);
        let scene = Scene { image: &image, liver: &empty, study: "0", instances: &[] };
        let sheet = overview(&scene, &[]);
        assert_eq!(sheet.width(), OVERVIEW_COLUMNS * TILE_PX);
        assert!(sheet.png().is_ok());
        let air = Volume::new(Arc::clone(image.grid()), Array3::from_elem((6, 40, 50), -1000.0));
        overview(&Scene { image: &air, liver: &empty, study: "0", instances: &[] }, &[]);
    }

    #[test]
    fn slices_are_spread_from_first_to_last() {
        assert_eq!(spread(&[3], 12), [3]);
        assert_eq!(spread(&(0..11).collect::<Vec<_>>(), 3), [0, 5, 10]);
        assert_eq!(spread(&[2, 3, 4], 12), [2, 3, 4]);
        assert_eq!(spread(&[], 12), [0; 0]);
    }
}
