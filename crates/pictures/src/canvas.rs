//! A small RGB picture: grey images, outlines, text, PNG bytes.
//!
//! Owns pixels. Knows nothing of lesions or studies. Picture coordinates are `(column, row)`
//! from the top left.

use embedded_graphics::mono_font::iso_8859_1::FONT_9X15_BOLD;
use embedded_graphics::mono_font::{MonoFont, MonoTextStyle};
use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::{
    Dimensions, DrawTarget, Drawable, OriginDimensions, Pixel, Point, PointsIter, RgbColor, Size,
};
use embedded_graphics::text::{Baseline, Text};
use ndarray::ArrayView2;

use crate::MAKER;

/// The one font of all pictures.
const FONT: &MonoFont<'static> = &FONT_9X15_BOLD;
/// Height of a line of text in pixels.
pub const LINE_PX: usize = 17;

/// Red, green, blue.
pub type Colour = [u8; 3];

/// An RGB picture, row by row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canvas {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

impl Canvas {
    /// A black picture.
    pub fn new(width: usize, height: usize) -> Canvas {
        Canvas { width, height, pixels: vec![0; width * height * 3] }
    }

    /// Width in pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Red, green and blue of every pixel, row by row.
    pub fn rgb(&self) -> &[u8] {
        &self.pixels
    }

    /// Sets one pixel; outside the picture nothing happens.
    pub fn set(&mut self, column: usize, row: usize, colour: Colour) {
        if column < self.width && row < self.height {
            let at = (row * self.width + column) * 3;
            self.pixels[at..at + 3].copy_from_slice(&colour);
        }
    }

    /// The colour of a pixel; black outside.
    pub fn get(&self, column: usize, row: usize) -> Colour {
        if column >= self.width || row >= self.height {
            return [0; 3];
        }
        let at = (row * self.width + column) * 3;
        [self.pixels[at], self.pixels[at + 1], self.pixels[at + 2]]
    }

    /// Copies another picture in, its top left corner at `(column, row)`.
    pub fn paste(&mut self, other: &Canvas, column: usize, row: usize) {
        for y in 0..other.height {
            for x in 0..other.width {
                self.set(column + x, row + y, other.get(x, y));
            }
        }
    }

    /// A grey picture of `values`, `[row, column]`, already scaled to 0..=255.
    pub fn from_grey(values: ArrayView2<'_, u8>) -> Canvas {
        let (height, width) = values.dim();
        let mut canvas = Canvas::new(width, height);
        for ((row, column), &grey) in values.indexed_iter() {
            canvas.set(column, row, [grey; 3]);
        }
        canvas
    }

    /// Draws the inner border of a mask of the picture's size: mask pixels with a
    /// 4-neighbour outside the mask.
    pub fn outline(&mut self, mask: ArrayView2<'_, bool>, colour: Colour) {
        let (height, width) = mask.dim();
        let inside = |row: usize, column: usize| mask.get((row, column)).copied().unwrap_or(false);
        for row in 0..height {
            for column in 0..width {
                let interior = row > 0
                    && column > 0
                    && inside(row - 1, column)
                    && inside(row + 1, column)
                    && inside(row, column - 1)
                    && inside(row, column + 1);
                if inside(row, column) && !interior {
                    self.set(column, row, colour);
                }
            }
        }
    }

    /// Writes one line with its top left corner at `(column, row)`, on a black ground so
    /// that it can be read over any image.
    pub fn text(&mut self, column: usize, row: usize, words: &str, colour: Colour) {
        let style = MonoTextStyle::new(FONT, Rgb888::new(colour[0], colour[1], colour[2]));
        let place = Point::new(to_i32(column), to_i32(row));
        let text = Text::with_baseline(words, place, style, Baseline::Top);
        let ground = text.bounding_box();
        for point in ground.points() {
            if let (Ok(x), Ok(y)) = (usize::try_from(point.x), usize::try_from(point.y)) {
                self.set(x, y, [0; 3]);
            }
        }
        // Drawing on a canvas cannot fail: its error type has no values.
        let _ = text.draw(self);
    }

    /// Width in pixels of a line of text.
    pub fn text_width(words: &str) -> usize {
        words.chars().count() * FONT.character_size.width as usize
    }

    /// PNG bytes, the same for the same pixels.
    ///
    /// # Errors
    /// If the picture has no pixels.
    pub fn png(&self) -> Result<Vec<u8>, png::EncodingError> {
        png(self.width, self.height, &self.pixels)
    }
}

/// A picture of ours in PNG: `rgb` is rows of three bytes a pixel.
///
/// # Errors
/// If the picture has no pixels, or other than `width` times `height`.
pub fn png(width: usize, height: usize, rgb: &[u8]) -> Result<Vec<u8>, png::EncodingError> {
    let mut bytes = Vec::new();
    let side = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let mut encoder = png::Encoder::new(&mut bytes, side(width), side(height));
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Balanced);
    let [key, maker] = MAKER.map(str::to_owned);
    encoder.add_text_chunk(key, maker)?;
    let mut writer = encoder.write_header()?;
    writer.write_image_data(rgb)?;
    writer.finish()?;
    Ok(bytes)
}

fn to_i32(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

impl OriginDimensions for Canvas {
    fn size(&self) -> Size {
        let side = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Size::new(side(self.width), side(self.height))
    }
}

impl DrawTarget for Canvas {
    type Color = Rgb888;
    type Error = std::convert::Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(
        &mut self,
        pixels: I,
    ) -> Result<(), Self::Error> {
        for Pixel(point, colour) in pixels {
            if let (Ok(x), Ok(y)) = (usize::try_from(point.x), usize::try_from(point.y)) {
                self.set(x, y, [colour.r(), colour.g(), colour.b()]);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;

    fn drawn(canvas: &Canvas) -> String {
        let row =
            |y| (0..canvas.width()).map(move |x| if canvas.get(x, y)[0] > 0 { '#' } else { '.' });
        (0..canvas.height()).map(|y| row(y).collect::<String>() + "\n").collect()
    }

    #[test]
    fn an_outline_is_the_inner_border() {
        let mask =
            Array2::from_shape_fn((6, 7), |(y, x)| (1..5).contains(&y) && (1..6).contains(&x));
        let mut canvas = Canvas::new(7, 6);
        canvas.outline(mask.view(), [255, 0, 0]);
        expect_test::expect![[r#"
            .......
            .#####.
            .#...#.
            .#...#.
            .#####.
            .......
        "#]]
        .assert_eq(&drawn(&canvas));
    }

    #[test]
    fn a_mask_at_the_edge_is_outlined_too_and_text_is_clipped() {
        let mut canvas = Canvas::new(4, 3);
        canvas.outline(Array2::from_elem((3, 4), true).view(), [9, 9, 9]);
        assert_eq!(drawn(&canvas), "####\n#..#\n####\n");
        canvas.text(2, 1, "a long line of text", [255; 3]);
    }

    #[test]
    fn png_bytes_decode_to_the_same_pixels() {
        let mut canvas = Canvas::new(5, 2);
        canvas.set(3, 1, [1, 2, 3]);
        let bytes = canvas.png().unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(&bytes)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut pixels).unwrap();
        assert_eq!(pixels, canvas.pixels);
        assert!(Canvas::new(0, 0).png().is_err());
    }
}
