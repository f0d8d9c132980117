//! Two overviews side by side, each under its engine and verdict.
//!
//! Owns the layout. Reads our own pictures back, within bounds: what is no picture of ours is left
//! black and said so.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use hepalert_pictures::canvas::{Canvas, LINE_PX};

/// A picture is as wide as an overview; where there is none, this.
const EMPTY_PX: [usize; 2] = [512, 128];
/// An overview of ours has a few million pixels.
const MAX_BYTES: usize = 64 << 20;
const GAP_PX: usize = 8;
const INK: [u8; 3] = [255, 220, 90];

/// One of the two.
pub(super) struct Side {
    /// What is written above it.
    pub(super) title: String,
    /// Where its overview is.
    pub(super) overview: PathBuf,
}

/// Both as one PNG; `None` if neither has a picture.
pub(super) fn beside(sides: &[Side; 2]) -> Result<Option<Vec<u8>>, png::EncodingError> {
    let read = [read(&sides[0].overview), read(&sides[1].overview)];
    if read.iter().all(Option::is_none) {
        return Ok(None);
    }
    let pictures = read.map(|picture| {
        picture.unwrap_or_else(|| {
            let mut empty = Canvas::new(EMPTY_PX[0], EMPTY_PX[1]);
            empty.text(GAP_PX, EMPTY_PX[1] / 2, "no picture", INK);
            empty
        })
    });
    let [left, right] = &pictures;
    let width = left.width() + GAP_PX + right.width();
    let height = LINE_PX + left.height().max(right.height());
    let mut canvas = Canvas::new(width, height);
    for (picture, (at, side)) in pictures.iter().zip([0, left.width() + GAP_PX].iter().zip(sides)) {
        canvas.paste(picture, *at, LINE_PX);
        let letters = picture.width() / Canvas::text_width("x");
        let title: String = side.title.chars().take(letters).collect();
        canvas.text(*at, 1, &title, INK);
    }
    canvas.png().map(Some)
}

/// A picture of red, green and blue in eight bits, as ours are.
fn read(path: &Path) -> Option<Canvas> {
    let limits = png::Limits { bytes: MAX_BYTES };
    let file = BufReader::new(File::open(path).ok()?);
    let mut reader = png::Decoder::new_with_limits(file, limits).read_info().ok()?;
    let size = reader.output_buffer_size().filter(|size| *size <= MAX_BYTES)?;
    let mut pixels = vec![0; size];
    let info = reader.next_frame(&mut pixels).ok()?;
    if (info.color_type, info.bit_depth) != (png::ColorType::Rgb, png::BitDepth::Eight) {
        return None;
    }
    let (width, height) = (info.width as usize, info.height as usize);
    let mut canvas = Canvas::new(width, height);
    for (at, pixel) in pixels.chunks_exact(3).enumerate() {
        canvas.set(at % width, at / width, [pixel[0], pixel[1], pixel[2]]);
    }
    Some(canvas)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_pictures_stand_side_by_side_and_a_missing_one_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let mut canvas = Canvas::new(40, 30);
        canvas.set(3, 2, [9, 8, 7]);
        let there = dir.path().join("a.png");
        std::fs::write(&there, canvas.png().unwrap()).unwrap();
        let side = |name: &str| Side { title: name.into(), overview: dir.path().join(name) };
        assert!(beside(&[side("x"), side("y")]).unwrap().is_none());
        std::fs::write(dir.path().join("c.png"), "no picture").unwrap();
        let both = beside(&[side("a.png"), side("c.png")]).unwrap().unwrap();
        std::fs::write(&there, both).unwrap();
        let read = read(&there).unwrap();
        assert_eq!((read.width(), read.height()), (40 + 8 + 512, 17 + 128));
        assert_eq!(read.get(3, 2 + LINE_PX), [9, 8, 7]);
    }
}
