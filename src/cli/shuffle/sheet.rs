//! Contact sheets: one row of tiles per group of patches, to be looked at.
//!
//! A tile is the slice with most of the lesion (or of the liver, without one), windowed to
//! 2.5 standard deviations about the mean. Outlines: the liver region cyan, the carried
//! lesion yellow, other lesions red. Outside the region is black, whatever the value.

use embedded_graphics::mono_font::MonoTextStyle;
use embedded_graphics::mono_font::ascii::FONT_6X10;
use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::*;
use embedded_graphics::text::{Baseline, Text};
use ndarray::{ArrayView2, Axis};

use hepalert_cascade::reclassify::Patch;
use hepalert_pictures::canvas;
use hepalert_study::anatomy::is_lesion;

/// Edge of a tile's picture is at least this many pixels, so that outlines are readable.
const TILE: usize = 192;
const CAPTION: usize = 12;
const HEADING: usize = 16;
const GAP: usize = 4;
/// Half the grey window in standard deviations.
const WINDOW: f32 = 2.5;

const CYAN: [u8; 3] = [0, 190, 200];
const YELLOW: [u8; 3] = [255, 220, 0];
const RED: [u8; 3] = [255, 70, 60];

/// A heading and its tiles.
#[derive(Debug)]
pub(super) struct Row {
    /// What stands above the tiles.
    pub heading: String,
    /// Caption and patch.
    pub tiles: Vec<(String, Patch)>,
}

/// An RGB picture.
#[derive(Debug)]
pub(super) struct Picture {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

impl OriginDimensions for Picture {
    fn size(&self) -> Size {
        Size::new(self.width as u32, self.height as u32)
    }
}

impl DrawTarget for Picture {
    type Color = Rgb888;
    type Error = std::convert::Infallible;

    fn draw_iter<I>(&mut self, pixels: I) -> Result<(), Self::Error>
    where
        I: IntoIterator<Item = Pixel<Rgb888>>,
    {
        for Pixel(at, colour) in pixels {
            if let (Ok(x), Ok(y)) = (usize::try_from(at.x), usize::try_from(at.y)) {
                self.set(x, y, [colour.r(), colour.g(), colour.b()]);
            }
        }
        Ok(())
    }
}

impl Picture {
    fn set(&mut self, x: usize, y: usize, colour: [u8; 3]) {
        if x < self.width && y < self.height {
            let at = 3 * (y * self.width + x);
            self.rgb[at..at + 3].copy_from_slice(&colour);
        }
    }

    fn text(&mut self, x: usize, y: usize, text: &str, colour: Rgb888) {
        let style = MonoTextStyle::new(&FONT_6X10, colour);
        let at = Point::new(x as i32, y as i32);
        let Ok(_) = Text::with_baseline(text, at, style, Baseline::Top).draw(self);
    }

    /// The picture as PNG.
    ///
    /// # Errors
    /// If the encoder refuses (an empty picture).
    pub(super) fn png(&self) -> Result<Vec<u8>, png::EncodingError> {
        canvas::png(self.width, self.height, &self.rgb)
    }
}

/// Lays out rows of tiles; all patches have one size.
pub(super) fn contact_sheet(title: &str, rows: &[Row]) -> Picture {
    let patches = || rows.iter().flat_map(|row| &row.tiles).map(|(_, patch)| patch);
    let [high, wide] =
        patches().next().map_or([1, 1], |patch| [patch.truth.dim().1, patch.truth.dim().2]);
    let zoom = TILE.div_ceil(high.max(wide)).max(2);
    let (cell_width, cell_height) = (wide * zoom + GAP, high * zoom + CAPTION + GAP);
    let columns = rows.iter().map(|row| row.tiles.len()).max().unwrap_or(0).max(1);
    let width = (columns * cell_width + GAP).max(6 * title.len() + 2 * GAP);
    let height = HEADING + rows.len() * (HEADING + cell_height) + GAP;
    let mut sheet = Picture { width, height, rgb: vec![24; 3 * width * height] };
    sheet.text(GAP, 3, title, Rgb888::WHITE);
    for (n, row) in rows.iter().enumerate() {
        let top = HEADING + n * (HEADING + cell_height);
        sheet.text(GAP, top + 3, &row.heading, Rgb888::new(180, 255, 180));
        for (column, (caption, patch)) in row.tiles.iter().enumerate() {
            let left = GAP + column * cell_width;
            tile(&mut sheet, [left, top + HEADING], zoom, patch);
            sheet.text(left, top + HEADING + high * zoom + 1, caption, Rgb888::CSS_LIGHT_GRAY);
        }
    }
    sheet
}

/// The slice to show.
fn best_slice(patch: &Patch) -> usize {
    let weight = |z: usize| {
        let carried = patch.carried.index_axis(Axis(0), z).iter().filter(|&&on| on).count();
        let liver = patch.truth.index_axis(Axis(0), z).iter().filter(|&&t| t != 0).count();
        (carried, liver)
    };
    (0..patch.truth.len_of(Axis(0))).max_by_key(|&z| (weight(z), std::cmp::Reverse(z))).unwrap_or(0)
}

fn tile(sheet: &mut Picture, [left, top]: [usize; 2], zoom: usize, patch: &Patch) {
    let z = best_slice(patch);
    // The last phase is delayed or venous: lesions show best there.
    let phase = patch.images.len_of(Axis(0)).saturating_sub(1);
    let image = patch.images.index_axis(Axis(0), phase);
    let (image, truth) = (image.index_axis(Axis(0), z), patch.truth.index_axis(Axis(0), z));
    let carried = patch.carried.index_axis(Axis(0), z);
    let inside = truth.mapv(|t| t != 0);
    let others = ndarray::Zip::from(truth).and(carried).map_collect(|&t, &c| is_lesion(t) && !c);
    for ((y, x), &value) in image.indexed_iter() {
        let grey = ((value / WINDOW + 1.0) * 127.5).clamp(0.0, 255.0) as u8;
        let grey = if inside[[y, x]] { grey } else { 0 };
        for (dy, dx) in (0..zoom * zoom).map(|n| (n / zoom, n % zoom)) {
            sheet.set(left + x * zoom + dx, top + y * zoom + dy, [grey; 3]);
        }
    }
    for (mask, colour) in [(inside.view(), CYAN), (others.view(), RED), (carried, YELLOW)] {
        outline(sheet, [left, top], zoom, mask, colour);
    }
}

/// Draws one pixel wide lines inside a mask, along its edge.
fn outline(
    sheet: &mut Picture,
    [left, top]: [usize; 2],
    zoom: usize,
    mask: ArrayView2<'_, bool>,
    colour: [u8; 3],
) {
    let on = |y: usize, x: usize| mask.get([y, x]) == Some(&true);
    for ((y, x), _) in mask.indexed_iter().filter(|(_, on)| **on) {
        let (x0, y0, end) = (left + x * zoom, top + y * zoom, zoom - 1);
        for n in 0..zoom {
            let edges = [
                (on(y.wrapping_sub(1), x), x0 + n, y0),
                (on(y + 1, x), x0 + n, y0 + end),
                (on(y, x.wrapping_sub(1)), x0, y0 + n),
                (on(y, x + 1), x0 + end, y0 + n),
            ];
            for (_, px, py) in edges.into_iter().filter(|(joined, ..)| !joined) {
                sheet.set(px, py, colour);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array3, Array4};

    use super::*;
    use hepalert_cascade::reclassify::Scheme;

    #[test]
    fn a_tile_shows_the_lesions_slice_inside_the_liver_only() {
        let mut patch = Patch {
            images: Array4::from_elem((1, 3, 4, 4), 2.5),
            truth: Array3::from_elem((3, 4, 4), 7),
            carried: Array3::from_elem((3, 4, 4), false),
            scheme: Scheme::OriginalPositive,
            origin: [0; 3],
            shift: [0; 3],
        };
        patch.truth.index_axis_mut(Axis(2), 3).fill(0);
        patch.carried[[2, 1, 1]] = true;
        assert_eq!(best_slice(&patch), 2);
        let rows = [Row { heading: "row".into(), tiles: vec![("one".into(), patch)] }];
        let sheet = contact_sheet("title", &rows);
        let zoom = TILE / 4;
        let at = |y: usize, x: usize| {
            let (y, x) = (2 * HEADING + y * zoom + zoom / 2, GAP + x * zoom + zoom / 2);
            sheet.rgb[3 * (y * sheet.width + x)]
        };
        assert_eq!((at(0, 0), at(0, 3)), (255, 0));
        let corner = 3 * ((2 * HEADING + zoom) * sheet.width + GAP + zoom);
        assert_eq!(sheet.rgb[corner..corner + 3], YELLOW);
        assert!(sheet.png().unwrap().starts_with(b"\x89PNG"));
    }
}
