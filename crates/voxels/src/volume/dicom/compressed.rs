//! Pixel data to the stored bytes of one image: as they are, or decoded.
//!
//! What the bytes begin with says more than the transfer syntax: archives pass compressed
//! pixels on under an unknown VR, or under the name of another syntax. RLE, JPEG-LS and lossy
//! JPEG of 12 bits have decoders of their own; JPEG and JPEG 2000 go through `dicom-pixeldata`.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use dicom_core::value::PixelFragmentSequence;
use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};
use dicom_pixeldata::PixelDecoder;
use dicom_transfer_syntax_registry::{TransferSyntaxIndex, TransferSyntaxRegistry};

use super::codestream::{self, Coding};
use super::elements::{EXPLICIT_VR_BIG_ENDIAN, Encoding, Value, fragments_of};
use super::layout::{Frame, Layout};
use super::{DicomError, SliceHeader, jpeg12, rle};

/// An item tag, in the byte order of all compressed syntaxes.
const ITEM: [u8; 4] = [0xfe, 0xff, 0x00, 0xe0];

/// The bytes of all images if they are not compressed: other bytes than the header promises,
/// that begin as compressed ones do, are compressed.
pub(super) fn native<'a>(
    header: &SliceHeader,
    layout: &Layout,
    value: &Value<'a>,
    images: usize,
) -> Option<&'a [u8]> {
    let Value::Plain(bytes) = *value else { return None };
    let promised = layout.bytes().saturating_mul(images);
    let as_promised = bytes.len() == promised || bytes.len() == promised.next_multiple_of(2);
    let packed = bytes.starts_with(&ITEM) || Coding::of(bytes).is_some();
    let is_native = matches!(family(&header.transfer_syntax), Family::Native);
    (is_native && (as_promised || !packed)).then_some(bytes)
}

/// Native pixel data as it is, compressed pixel data decoded.
pub(super) fn stored_bytes<'a>(
    header: &SliceHeader,
    encoding: Encoding,
    layout: &Layout,
    value: &Value<'a>,
    frame: Frame,
) -> Result<Cow<'a, [u8]>, DicomError> {
    if let Some(bytes) = native(header, layout, value, frame.of) {
        let from = layout.bytes().saturating_mul(frame.at);
        return Ok(Cow::Borrowed(bytes.get(from..).ok_or(DicomError::Truncated)?));
    }
    let packed = match value {
        Value::Fragments(items) => frame_of(items, frame)?,
        Value::Plain(bytes) if bytes.starts_with(&ITEM) => {
            frame_of(&fragments_of(bytes, encoding)?, frame)?
        }
        Value::Plain(bytes) if Coding::of(bytes).is_some() && frame.of == 1 => bytes.to_vec(),
        Value::Plain(_) | Value::Nested(_) => {
            return Err(DicomError::Corrupt("pixel data contradict the transfer syntax".into()));
        }
    };
    Ok(Cow::Owned(unpack(header, layout, packed)?))
}

/// The fragments of one image, joined. The first item is the offset table.
fn frame_of(items: &[&[u8]], frame: Frame) -> Result<Vec<u8>, DicomError> {
    let (table, fragments) = items.split_first().unwrap_or((&(&[] as &[u8]), &[]));
    if frame.of == 1 {
        return Ok(fragments.concat());
    }
    if fragments.len() == frame.of {
        return Ok(fragments[frame.at].to_vec());
    }
    let starts = if table.len() == 4 * frame.of {
        by_table(table, fragments)
    } else {
        // Without a table: images begin where a stream does.
        let begins = |at: &usize| Coding::of(fragments[*at]).is_some();
        (0..fragments.len()).filter(begins).collect()
    };
    if starts.len() != frame.of {
        return Err(DicomError::Corrupt("fragments that are not the frames".into()));
    }
    let end = starts.get(frame.at + 1).copied().unwrap_or(fragments.len());
    Ok(fragments.get(starts[frame.at]..end).unwrap_or_default().concat())
}

/// The fragments at which the offsets of the table point: offsets count item headers too.
fn by_table(table: &[u8], fragments: &[&[u8]]) -> Vec<usize> {
    let offsets = table.as_chunks::<4>().0.iter().map(|raw| u32::from_le_bytes(*raw) as usize);
    let mut places = Vec::with_capacity(fragments.len());
    let mut at = 0;
    for fragment in fragments {
        places.push(at);
        at += 8 + fragment.len();
    }
    offsets.filter_map(|offset| places.binary_search(&offset).ok()).collect()
}

fn unpack(header: &SliceHeader, layout: &Layout, frame: Vec<u8>) -> Result<Vec<u8>, DicomError> {
    match (family(&header.transfer_syntax), Coding::of(&frame)) {
        (Family::Rle, _) => rle::decode(&frame, layout.pixels(), layout.bytes_per_sample),
        (_, Some(Coding::JpegLs)) => jpeg_ls(layout, &frame),
        (_, Some(Coding::Jpeg)) if codestream::is_lossy_12_bit(&frame) => lossy_12(layout, &frame),
        (_, Some(coding @ (Coding::Jpeg | Coding::Jpeg2000))) => {
            through_registry(header, layout, coding, frame)
        }
        (Family::Wrapped, None) => Ok(frame),
        (_, None) => Err(no_codec(&header.transfer_syntax)),
    }
}

/// Transfer syntaxes, as far as they are treated alike.
#[derive(PartialEq, Eq)]
enum Family {
    Native,
    /// Uncompressed, in a fragment.
    Wrapped,
    Rle,
    Jpeg,
    Jpeg2000,
    Other,
}

/// Transfer syntaxes whose pixels are decoded: what a receiver may let a sender write in.
pub const READABLE_SYNTAXES: [&str; 17] = [
    uids::EXPLICIT_VR_LITTLE_ENDIAN,
    uids::IMPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    uids::ENCAPSULATED_UNCOMPRESSED_EXPLICIT_VR_LITTLE_ENDIAN,
    uids::RLE_LOSSLESS,
    uids::JPEG_BASELINE8_BIT,
    uids::JPEG_EXTENDED12_BIT,
    uids::JPEG_LOSSLESS,
    uids::JPEG_LOSSLESS_SV1,
    uids::JPEGLS_LOSSLESS,
    uids::JPEGLS_NEAR_LOSSLESS,
    uids::JPEG2000_LOSSLESS,
    uids::JPEG2000,
    uids::HTJ2K_LOSSLESS,
    uids::HTJ2K_LOSSLESS_RPCL,
    uids::HTJ2K,
];

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
        | uids::JPEG_LOSSLESS_SV1 => Family::Jpeg,
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

/// The image that a stream says it holds must be that of the header: decoders write past a
/// buffer (and panic), or leave the rest of it zero.
fn check_frame(layout: &Layout, said: &codestream::Frame, bytes: bool) -> Result<(), DicomError> {
    let same_size =
        said.rows == u32::from(layout.rows) && said.columns == u32::from(layout.columns);
    // Samples of up to 8 bits come out as bytes, all others as two.
    let same_width = !bytes || said.precision.div_ceil(8) as usize == layout.bytes_per_sample;
    if same_size && same_width && said.components == 1 && said.precision <= 16 {
        return Ok(());
    }
    Err(DicomError::Corrupt("the compressed frame is another image".into()))
}

/// Decoders of others have been seen to panic on damaged streams; that must not take the
/// series, or the process, with it.
fn guarded<T>(decode: impl FnOnce() -> Result<T, String>) -> Result<T, DicomError> {
    catch_unwind(AssertUnwindSafe(decode))
        .map_err(|_| DicomError::CodecFailed("the decoder gave up".into()))?
        .map_err(DicomError::CodecFailed)
}

fn jpeg_ls(layout: &Layout, frame: &[u8]) -> Result<Vec<u8>, DicomError> {
    check_frame(layout, &codestream::jpeg(frame)?, true)?;
    let (columns, rows) = (u32::from(layout.columns), u32::from(layout.rows));
    let frame = without_fill(frame);
    let (samples, ..) =
        guarded(|| jpegls::decode(&frame, columns, rows).map_err(|error| error.to_string()))?;
    if samples.len() != layout.pixels() {
        return Err(DicomError::CodecFailed("another number of pixels came out".into()));
    }
    Ok(if layout.bytes_per_sample == 1 {
        samples.iter().map(|sample| *sample as u8).collect()
    } else {
        samples.iter().flat_map(|sample| sample.to_le_bytes()).collect()
    })
}

/// Any number of bytes 0xFF may stand before a marker (ITU-T T.81, B.1.1.2). Encoders make the length
/// of a frame even with one before the end of image, which the decoder does not know.
fn without_fill(frame: &[u8]) -> Cow<'_, [u8]> {
    const END: [u8; 2] = [0xff, 0xd9];
    let end = frame.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let Some(image) = frame[..end].strip_suffix(&END) else { return frame.into() };
    match image.iter().rposition(|byte| *byte != 0xff) {
        Some(last) if last + 1 < image.len() => [&image[..=last], &END].concat().into(),
        _ => frame.into(),
    }
}

fn lossy_12(layout: &Layout, frame: &[u8]) -> Result<Vec<u8>, DicomError> {
    check_frame(layout, &codestream::jpeg(frame)?, true)?;
    let samples = jpeg12::decode(frame, layout.rows.into(), layout.columns.into())?;
    Ok(samples.iter().flat_map(|sample| sample.to_le_bytes()).collect())
}

/// A frame through the codec that `dicom-pixeldata` has for it.
fn through_registry(
    header: &SliceHeader,
    layout: &Layout,
    coding: Coding,
    frame: Vec<u8>,
) -> Result<Vec<u8>, DicomError> {
    let declared = header.transfer_syntax.as_str();
    let uid = match (coding, family(declared)) {
        (Coding::Jpeg, Family::Jpeg) | (Coding::Jpeg2000, Family::Jpeg2000) => declared,
        (Coding::Jpeg2000, _) => uids::JPEG2000,
        (Coding::Jpeg | Coding::JpegLs, _) => uids::JPEG_LOSSLESS_SV1,
    };
    if !TransferSyntaxRegistry.get(uid).is_some_and(|syntax| syntax.can_decode_all()) {
        return Err(no_codec(uid));
    }
    let is_jpeg = coding == Coding::Jpeg;
    let said = if is_jpeg { codestream::jpeg(&frame)? } else { codestream::jpeg2000(&frame)? };
    check_frame(layout, &said, is_jpeg)?;
    let failed = |why: String| DicomError::CodecFailed(why);
    let meta = FileMetaTableBuilder::new()
        .transfer_syntax(uid)
        .media_storage_sop_class_uid(&header.sop_class)
        .media_storage_sop_instance_uid(&header.sop_uid)
        .build()
        .map_err(|error| failed(error.to_string()))?;
    let object = codec_input(header, layout, frame).with_exact_meta(meta);
    let decoded = guarded(|| object.decode_pixel_data_frame(0).map_err(|error| error.to_string()))?
        .into_data();
    if decoded.len() == layout.bytes() {
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
