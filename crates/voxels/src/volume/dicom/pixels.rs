//! Stored pixels to Hounsfield units.
//!
//! The values equal those of GDCM, which SimpleITK reads with: bits above BitsStored are
//! dropped, the sign is extended from there, padding values are rescaled like any other (what
//! is no air among them is made so by `ct`).
//! What is compressed is unpacked by `compressed`.

use super::elements::{Encoding, Value};
use super::layout::{Frame, Layout};
use super::{DicomError, SliceHeader, compressed};

/// One slice in Hounsfield units.
#[derive(Debug, Clone)]
pub struct Slice {
    /// What the file says of it.
    pub header: SliceHeader,
    /// Row by row, `rows * columns` values.
    pub pixels: Pixels,
}

/// Hounsfield units, row by row.
#[derive(Debug, Clone, PartialEq)]
pub enum Pixels {
    /// Whole numbers, as nearly every CT has them.
    Whole(Vec<i16>),
    /// Slope or intercept is a fraction, or a value lies outside the range of `i16`.
    Fractional(Vec<f32>),
}

impl Pixels {
    /// Number of pixels.
    pub fn len(&self) -> usize {
        match self {
            Pixels::Whole(pixels) => pixels.len(),
            Pixels::Fractional(pixels) => pixels.len(),
        }
    }

    /// Whether there are none; a slice that was read has some.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes the pixels into `plane`, which has as many.
    pub(super) fn copy_into(&self, plane: &mut [f32]) {
        match self {
            Pixels::Whole(pixels) => {
                plane.iter_mut().zip(pixels).for_each(|(to, from)| *to = f32::from(*from));
            }
            Pixels::Fractional(pixels) => plane.copy_from_slice(pixels),
        }
    }
}

impl SliceHeader {
    /// The lowest and the highest value that the header calls padding, in Hounsfield units.
    pub fn padding_hu(&self) -> Option<[f32; 2]> {
        let layout = Layout::of(self).ok()?;
        let (slope, intercept) = rescale(self).ok()?;
        // Signed data with an unsigned attribute, and the reverse: the bits count.
        let hu = |stored: i64| {
            let sample = layout.sample((stored & 0xffff) as u16);
            (f64::from(sample) * slope + intercept) as f32
        };
        let value = hu(self.padding_value?);
        let limit = self.padding_limit.map_or(value, hu);
        Some([value.min(limit), value.max(limit)])
    }
}

/// Decodes, unpacks and rescales the pixel data of a CT image.
pub(super) fn decode(
    header: &SliceHeader,
    encoding: Encoding,
    value: &Value<'_>,
    frame: Frame,
) -> Result<Pixels, DicomError> {
    let layout = Layout::of(header)?;
    let scale = rescale(header)?;
    let bytes = compressed::stored_bytes(header, encoding, &layout, value, frame)?;
    let bytes = bytes.get(..layout.bytes()).ok_or(DicomError::Truncated)?;
    if layout.bytes_per_sample == 1 {
        return to_hounsfield(bytes.iter().map(|byte| layout.sample(u16::from(*byte))), scale);
    }
    let words = bytes.as_chunks::<2>().0.iter();
    if encoding.big_endian {
        to_hounsfield(words.map(|word| layout.sample(u16::from_be_bytes(*word))), scale)
    } else {
        to_hounsfield(words.map(|word| layout.sample(u16::from_le_bytes(*word))), scale)
    }
}

/// Whether as many bytes are there as the header says; compressed pixels are whole if they
/// were closed.
pub(super) fn check_whole(header: &SliceHeader, value: &Value<'_>) -> Result<(), DicomError> {
    let layout = match Layout::of(header) {
        Ok(layout) => layout,
        Err(error @ DicomError::TooLarge { .. }) => return Err(error),
        // What else cannot be laid out has another fault, which shows when it is decoded.
        Err(_) => return Ok(()),
    };
    let frames = usize::try_from(header.number_of_frames).unwrap_or(1).max(1);
    match compressed::native(header, &layout, value, frames) {
        Some(bytes) if bytes.len() < layout.bytes().saturating_mul(frames) => {
            Err(DicomError::Truncated)
        }
        Some(_) | None => Ok(()),
    }
}

/// `(slope, intercept)` to Hounsfield units.
fn rescale(header: &SliceHeader) -> Result<(f64, f64), DicomError> {
    if header.has_modality_lut {
        return Err(DicomError::UnsupportedPixels("a modality lookup table".into()));
    }
    if let Some(other) = header.rescale_type.as_deref().filter(|name| !matches!(*name, "HU" | "US"))
    {
        return Err(DicomError::NotHounsfield(other.to_owned()));
    }
    let slope = header.rescale_slope.filter(|slope| *slope != 0.0);
    Ok((
        slope.ok_or(DicomError::MissingAttribute("RescaleSlope"))?,
        header.rescale_intercept.ok_or(DicomError::MissingAttribute("RescaleIntercept"))?,
    ))
}

/// `HU = slope * stored + intercept` (PS3.3 C.11.1.1.2), whole where that loses nothing.
fn to_hounsfield(
    stored: impl Iterator<Item = i32> + Clone,
    (slope, intercept): (f64, f64),
) -> Result<Pixels, DicomError> {
    let units = stored.map(move |value| f64::from(value) * slope + intercept);
    if slope.fract() == 0.0 && intercept.fract() == 0.0 {
        let whole = |unit: f64| {
            let cast = unit as i16;
            (f64::from(cast) == unit).then_some(cast)
        };
        if let Some(pixels) = units.clone().map(whole).collect() {
            return Ok(Pixels::Whole(pixels));
        }
    }
    let pixels: Vec<f32> = units.map(|unit| unit as f32).collect();
    if pixels.iter().all(|unit| unit.is_finite()) {
        Ok(Pixels::Fractional(pixels))
    } else {
        Err(DicomError::Corrupt("rescaled values are not finite".into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_units_stay_whole_and_others_do_not() {
        let stored = [0, 1, -2000].into_iter();
        let whole = to_hounsfield(stored.clone(), (1.0, -1024.0)).unwrap();
        assert_eq!(whole, Pixels::Whole(vec![-1024, -1023, -3024]));
        let half = to_hounsfield(stored.clone(), (0.5, 0.0)).unwrap();
        assert_eq!(half, Pixels::Fractional(vec![0.0, 0.5, -1000.0]));
        let wide = to_hounsfield([65535].into_iter(), (1.0, 0.0)).unwrap();
        assert_eq!(wide, Pixels::Fractional(vec![65535.0]));
        assert!(to_hounsfield(stored, (1e300, 0.0)).is_err());
    }
}
