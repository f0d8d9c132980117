//! Stored pixels to Hounsfield units.
//!
//! The values equal those of GDCM, which SimpleITK reads with: bits above BitsStored are
//! dropped, the sign is extended from there, padding values are rescaled like any other.
//! Compressed frames go through `dicom-pixeldata`, RLE through this crate.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use dicom_core::value::PixelFragmentSequence;
use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};
use dicom_pixeldata::PixelDecoder;
use dicom_transfer_syntax_registry::{TransferSyntaxIndex, TransferSyntaxRegistry};

use super::elements::{EXPLICIT_VR_BIG_ENDIAN, Encoding, Value};
use super::{DicomError, SliceHeader, codestream, rle};

/// CT images have up to 2048 rows; four times the pixels are refused before they are read.
const MAX_SIDE: u16 = 4096;

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

/// How pixels are stored, checked.
struct Layout {
    rows: u16,
    columns: u16,
    bytes_per_sample: usize,
    bits_stored: u32,
    /// Unused bits below the sample.
    shift: u32,
    signed: bool,
}

impl Layout {
    fn of(header: &SliceHeader) -> Result<Layout, DicomError> {
        let present = |value: Option<u16>, name| value.ok_or(DicomError::MissingAttribute(name));
        let rows = present(header.rows, "Rows")?;
        let columns = present(header.columns, "Columns")?;
        if rows > MAX_SIDE || columns > MAX_SIDE {
            return Err(DicomError::TooLarge { rows: rows.into(), columns: columns.into() });
        }
        if rows == 0 || columns == 0 {
            return Err(DicomError::Corrupt("an image without pixels".into()));
        }
        if header.samples_per_pixel.unwrap_or(1) != 1 {
            return Err(DicomError::UnsupportedPixels("several samples".into()));
        }
        // GDCM inverts MONOCHROME1 and the standard does not: no reader can be right for all.
        if header.photometric.as_deref().is_some_and(|name| name != "MONOCHROME2") {
            return Err(DicomError::UnsupportedPixels(
                "another photometry than MONOCHROME2".into(),
            ));
        }
        let allocated = present(header.bits_allocated, "BitsAllocated")?;
        let stored = header.bits_stored.unwrap_or(allocated);
        let high = header.high_bit.unwrap_or(stored.saturating_sub(1));
        if !matches!(allocated, 8 | 16) || stored == 0 || high >= allocated || high + 1 < stored {
            let bits = format!("{allocated} bits allocated, {stored} stored, {high} highest");
            return Err(DicomError::UnsupportedPixels(bits));
        }
        Ok(Layout {
            rows,
            columns,
            bytes_per_sample: usize::from(allocated / 8),
            bits_stored: stored.into(),
            shift: u32::from(high + 1 - stored),
            signed: header.signed.ok_or(DicomError::MissingAttribute("PixelRepresentation"))?,
        })
    }

    fn pixels(&self) -> usize {
        usize::from(self.rows) * usize::from(self.columns)
    }

    /// The number that the stored bits mean.
    fn sample(&self, raw: u16) -> i32 {
        let value = i32::from(raw) >> self.shift & ((1 << self.bits_stored) - 1);
        if self.signed && value >> (self.bits_stored - 1) == 1 {
            value - (1 << self.bits_stored)
        } else {
            value
        }
    }
}

/// Decodes, unpacks and rescales the pixel data of a CT image.
pub(super) fn decode(
    header: &SliceHeader,
    encoding: Encoding,
    value: &Value<'_>,
) -> Result<Pixels, DicomError> {
    let layout = Layout::of(header)?;
    let scale = rescale(header)?;
    let bytes = stored_bytes(header, &layout, value)?;
    let needed = layout.pixels() * layout.bytes_per_sample;
    let bytes = bytes.get(..needed).ok_or(DicomError::Truncated)?;
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

/// Native pixel data as it is, compressed pixel data decoded.
fn stored_bytes<'a>(
    header: &SliceHeader,
    layout: &Layout,
    value: &Value<'a>,
) -> Result<Cow<'a, [u8]>, DicomError> {
    let uid = header.transfer_syntax.as_str();
    match (family(uid), value) {
        (Family::Native, Value::Plain(bytes)) => Ok(Cow::Borrowed(*bytes)),
        (Family::Native, _) | (_, Value::Plain(_) | Value::Nested) => {
            Err(DicomError::Corrupt("pixel data contradict the transfer syntax".into()))
        }
        // The first item is the offset table; all others are this one frame.
        (family, Value::Fragments(items)) => {
            let frame = items.get(1..).unwrap_or_default().concat();
            Ok(Cow::Owned(match family {
                Family::Wrapped => frame,
                Family::Rle => rle::decode(&frame, layout.pixels(), layout.bytes_per_sample)?,
                Family::Jpeg => through_registry(header, layout, codestream::jpeg, frame)?,
                Family::Jpeg2000 => through_registry(header, layout, codestream::jpeg2000, frame)?,
                Family::Native | Family::Other => return Err(no_codec(uid)),
            }))
        }
    }
}

/// Transfer syntaxes, as far as they are treated alike.
enum Family {
    Native,
    /// Uncompressed, in a fragment.
    Wrapped,
    Rle,
    /// JPEG and JPEG-LS.
    Jpeg,
    Jpeg2000,
    Other,
}

fn family(uid: &str) -> Family {
    match uid {
        uids::IMPLICIT_VR_LITTLE_ENDIAN
        | uids::EXPLICIT_VR_LITTLE_ENDIAN
        | EXPLICIT_VR_BIG_ENDIAN
        | uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN => Family::Native,
        uids::ENCAPSULATED_UNCOMPRESSED_EXPLICIT_VR_LITTLE_ENDIAN => Family::Wrapped,
        uids::RLE_LOSSLESS => Family::Rle,
        uids::JPEG_BASELINE8_BIT
        | uids::JPEG_EXTENDED12_BIT
        | uids::JPEG_LOSSLESS
        | uids::JPEG_LOSSLESS_SV1
        | uids::JPEGLS_LOSSLESS
        | uids::JPEGLS_NEAR_LOSSLESS => Family::Jpeg,
        uids::JPEG2000_LOSSLESS
        | uids::JPEG2000
        | uids::HTJ2K_LOSSLESS
        | uids::HTJ2K_LOSSLESS_RPCL
        | uids::HTJ2K => Family::Jpeg2000,
        _ => Family::Other,
    }
}

fn no_codec(uid: &str) -> DicomError {
    let name = TransferSyntaxRegistry.get(uid).map_or("unknown", |syntax| syntax.name());
    DicomError::NoCodec { uid: uid.to_owned(), name: name.to_owned() }
}

/// A frame through the codec that `dicom-pixeldata` has for it.
fn through_registry(
    header: &SliceHeader,
    layout: &Layout,
    look: fn(&[u8]) -> Result<codestream::Frame, DicomError>,
    frame: Vec<u8>,
) -> Result<Vec<u8>, DicomError> {
    let uid = header.transfer_syntax.as_str();
    if !TransferSyntaxRegistry.get(uid).is_some_and(|syntax| syntax.can_decode_all()) {
        return Err(no_codec(uid));
    }
    let said = look(&frame)?;
    let same_size =
        said.rows == u32::from(layout.rows) && said.columns == u32::from(layout.columns);
    // Samples of up to 8 bits come out as bytes, all others as two.
    let same_width = said.precision.div_ceil(8) as usize == layout.bytes_per_sample
        || matches!(family(uid), Family::Jpeg2000);
    if !same_size || !same_width || said.components != 1 || said.precision > 16 {
        return Err(DicomError::Corrupt("the compressed frame is another image".into()));
    }
    let failed = |why: String| DicomError::CodecFailed(why);
    let meta = FileMetaTableBuilder::new()
        .transfer_syntax(uid)
        .media_storage_sop_class_uid(&header.sop_class)
        .media_storage_sop_instance_uid(&header.sop_uid)
        .build()
        .map_err(|error| failed(error.to_string()))?;
    let object = codec_input(header, layout, frame).with_exact_meta(meta);
    // Decoders of others have been seen to panic on damaged streams; that must not take the
    // series, or the process, with it.
    let decoded = catch_unwind(AssertUnwindSafe(|| object.decode_pixel_data_frame(0)))
        .map_err(|_| failed("the decoder gave up".into()))?
        .map_err(|error| failed(error.to_string()))?
        .into_data();
    if decoded.len() == layout.pixels() * layout.bytes_per_sample {
        Ok(decoded)
    } else {
        Err(failed("another number of pixels came out".into()))
    }
}

/// The few attributes that codecs ask for, and one fragment.
fn codec_input(header: &SliceHeader, layout: &Layout, frame: Vec<u8>) -> InMemDicomObject {
    let allocated = layout.bytes_per_sample as u16 * 8;
    let stored = header.bits_stored.unwrap_or(allocated);
    let short = |tag, value: u16| DataElement::new(tag, VR::US, PrimitiveValue::from(value));
    let photometric = PrimitiveValue::from("MONOCHROME2");
    InMemDicomObject::from_element_iter([
        short(tags::SAMPLES_PER_PIXEL, 1),
        DataElement::new(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, photometric),
        short(tags::ROWS, layout.rows),
        short(tags::COLUMNS, layout.columns),
        short(tags::BITS_ALLOCATED, allocated),
        short(tags::BITS_STORED, stored),
        short(tags::HIGH_BIT, header.high_bit.unwrap_or(stored - 1)),
        short(tags::PIXEL_REPRESENTATION, layout.signed.into()),
        DataElement::new(
            tags::PIXEL_DATA,
            VR::OB,
            PixelFragmentSequence::new_fragments(vec![frame]),
        ),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_above_the_stored_ones_are_dropped_and_the_sign_extended() {
        let mut layout = Layout {
            rows: 1,
            columns: 1,
            bytes_per_sample: 2,
            bits_stored: 12,
            shift: 0,
            signed: true,
        };
        assert_eq!(layout.sample(0xf800), -2048);
        assert_eq!(layout.sample(0x17ff), 2047);
        layout.signed = false;
        assert_eq!(layout.sample(0xf800), 2048);
        layout.shift = 4;
        assert_eq!(layout.sample(0x8005), 2048);
    }

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
