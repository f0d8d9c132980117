//! A contact sheet: a strip of slices per series.
//!
//! Owns the layout. Refuses to say what is on the slices: the titles come in.

use ndarray::Array2;

use crate::canvas::{Canvas, LINE_PX};
use hepalert_phases::coarse::Coarse;

/// Slices of a series.
const SLICES: usize = 4;
/// Edge of one slice in pixels: 400 mm at 2.5 mm.
const EDGE_PX: usize = 160;
/// HU that are black and white: liver and vessels with contrast in between.
const WINDOW_HU: [f32; 2] = [-110.0, 290.0];
/// More series than this do not fit on a sheet that a person looks at.
const MAX_STRIPS: usize = 60;
/// Letters that fit over a strip.
const MAX_LETTERS: usize = 70;

/// One series.
#[derive(Debug)]
pub struct Strip {
    /// What is written above it.
    pub title: String,
    /// Its voxels; `None` where it cannot be read.
    pub volume: Option<Coarse>,
    /// It is read: its title is bright.
    pub chosen: bool,
}

/// The sheet as PNG bytes.
///
/// # Errors
/// If the picture cannot be encoded.
pub fn sheet(strips: &[Strip]) -> Result<Vec<u8>, png::EncodingError> {
    let strips = &strips[..strips.len().min(MAX_STRIPS)];
    let tall = LINE_PX + EDGE_PX;
    let mut canvas = Canvas::new(SLICES * EDGE_PX, (tall * strips.len()).max(1));
    for (at, strip) in strips.iter().enumerate() {
        let top = at * tall;
        if let Some(coarse) = &strip.volume {
            for n in 0..SLICES {
                let slices = coarse.shape()[0];
                // From the feet: the ends of a scan show little.
                let z = (slices - 1) * (2 * n + 1) / (2 * SLICES);
                canvas.paste(&thumbnail(coarse, z), n * EDGE_PX, top + LINE_PX);
            }
        }
        let title: String = strip.title.chars().take(MAX_LETTERS).collect();
        let colour = if strip.chosen { [255, 220, 90] } else { [170, 170, 170] };
        canvas.text(2, top + 1, &title, colour);
    }
    canvas.png()
}

/// One slice, its middle in the middle, cut to the edge.
fn thumbnail(coarse: &Coarse, z: usize) -> Canvas {
    let [_, ny, nx] = coarse.shape();
    let [low, high] = WINDOW_HU;
    let scale = 2.5 / coarse.step_mm[2];
    let from = |at: usize, n: usize| {
        let off = (at as f64 - EDGE_PX as f64 / 2.0) * scale + n as f64 / 2.0;
        (off >= 0.0 && off < n as f64).then_some(off as usize)
    };
    let grey = Array2::from_shape_fn((EDGE_PX, EDGE_PX), |(row, column)| {
        let (Some(y), Some(x)) = (from(row, ny), from(column, nx)) else { return 0 };
        ((coarse.hu[[z, y, x]] - low) / (high - low) * 255.0).clamp(0.0, 255.0) as u8
    });
    Canvas::from_grey(grey.view())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array3;

    #[test]
    fn a_sheet_has_a_strip_per_series_also_of_one_that_cannot_be_read() {
        let coarse = Coarse { hu: Array3::zeros((6, 100, 120)), step_mm: [5.0, 2.5, 2.5] };
        let strips = [
            Strip { title: "4 portal".into(), volume: Some(coarse), chosen: true },
            Strip { title: "5 torn".into(), volume: None, chosen: false },
        ];
        let png = sheet(&strips).unwrap();
        let reader = png::Decoder::new(std::io::Cursor::new(png)).read_info().unwrap();
        let info = reader.info();
        assert_eq!((info.width, info.height), (640, 2 * (160 + 17)));
    }
}
