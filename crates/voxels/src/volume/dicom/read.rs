//! Bytes of a DICOM file to a header, or to a slice in Hounsfield units.
//!
//! Files may have any name, a preamble or none, a file meta group or none. Refuses whatever
//! is not a CT image as soon as pixels are asked for.

use std::collections::BTreeMap;

use dicom_core::Tag;
use dicom_dictionary_std::tags;

use super::charset;
use super::elements::{Elements, Encoding, Value, items};
use super::envelope::Envelope;
use super::header::{Leaves, is_leaf};
pub use super::{
    DicomError, GeometryError, Identifiers, Pixels, SeriesBuilder, SeriesPlan, Slice, SliceHeader,
    assemble, plan,
};
use super::{frames, layout, pixels};

/// Reads the attributes before the pixels, of a whole file or of its beginning. 64 KiB hold
/// the header of nearly every CT image.
///
/// # Errors
/// [`DicomError::Truncated`] if the bytes end before the header does: try again with the
/// whole file. [`DicomError::NotDicom`] and [`DicomError::Corrupt`] for other files. That an
/// object is no CT image is no error here: see [`SliceHeader::require_ct`].
pub fn read_header(bytes: &[u8]) -> Result<SliceHeader, DicomError> {
    let envelope = Envelope::open(bytes)?;
    Ok(SliceHeader::parse(&envelope)?.0)
}

/// Reads the header of every image in a file: one of a classic image, one per frame of an
/// enhanced object. Any other object has one too: see [`SliceHeader::require_ct`].
///
/// # Errors
/// As [`read_header`], and [`DicomError::EnhancedCt`] for an enhanced object that does not say
/// where its frames lie.
pub fn read_headers(bytes: &[u8]) -> Result<Vec<SliceHeader>, DicomError> {
    let envelope = Envelope::open(bytes)?;
    let leaves = Leaves::of(&envelope)?;
    let header = leaves.header(&envelope)?;
    if header.is_enhanced() {
        frames::headers(&envelope, leaves, &header)
    } else {
        Ok(vec![header])
    }
}

/// The texts of these attributes as far as they are there and hold any, decoded by the character
/// set of the file: for who copies them into an object of its own.
///
/// # Errors
/// As [`read_header`].
pub fn read_texts(bytes: &[u8], wanted: &[Tag]) -> Result<BTreeMap<Tag, String>, DicomError> {
    let envelope = Envelope::open(bytes)?;
    let mut elements = Elements::new(&envelope.dataset, envelope.encoding);
    let (mut declared, mut found) = (None, BTreeMap::new());
    while elements.next_tag().is_some_and(|tag| tag < tags::PIXEL_DATA) {
        let Some(element) = elements.next()? else { break };
        let Value::Plain(value) = element.value else { continue };
        if element.tag == tags::SPECIFIC_CHARACTER_SET {
            declared = Some(String::from_utf8_lossy(value).trim_matches(['\0', ' ']).to_owned());
        } else if wanted.contains(&element.tag) && is_leaf(&element, envelope.encoding) {
            found.insert(element.tag, value);
        }
    }
    let text = |(tag, value): (Tag, &[u8])| {
        let text = charset::decoded(value, declared.as_deref());
        let text = text.trim_matches(['\0', ' ']);
        (!text.is_empty()).then(|| (tag, text.to_owned()))
    };
    Ok(found.into_iter().filter_map(text).collect())
}

/// Transaction UID, and class and instance of every object that a bare data set refers to: what is
/// asked of storage commitment. `None` if the bytes are no such data set.
pub fn references(bytes: &[u8], explicit_vr: bool) -> Option<(String, Vec<(String, String)>)> {
    let encoding = if explicit_vr { Encoding::EXPLICIT } else { Encoding::IMPLICIT };
    let mut elements = Elements::new(bytes, encoding);
    let (mut transaction, mut objects) = (None, Vec::new());
    while let Some(element) = elements.next().ok()? {
        match element.value {
            Value::Plain(value) if element.tag == tags::TRANSACTION_UID => {
                transaction = Some(uid_text(value));
            }
            Value::Plain(value) | Value::Nested(value)
                if element.tag == tags::REFERENCED_SOP_SEQUENCE =>
            {
                for item in items(value, encoding).ok()? {
                    objects.push(reference(item)?);
                }
            }
            _ => {}
        }
    }
    Some((transaction?, objects))
}

fn reference(mut item: Elements<'_>) -> Option<(String, String)> {
    let (mut class, mut instance) = (None, None);
    while let Some(element) = item.next().ok()? {
        let Value::Plain(value) = element.value else { continue };
        if element.tag == tags::REFERENCED_SOP_CLASS_UID {
            class = Some(uid_text(value));
        } else if element.tag == tags::REFERENCED_SOP_INSTANCE_UID {
            instance = Some(uid_text(value));
        }
    }
    Some((class?, instance?))
}

fn uid_text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).trim_matches(['\0', ' ']).to_owned()
}

/// Whether the pixels of an image with this header are all there, without decoding any.
///
/// # Errors
/// [`DicomError::Truncated`] if they are not, [`DicomError::TooLarge`] of more than an image has; other
/// faults show when they are decoded.
pub fn check_whole(bytes: &[u8], header: &SliceHeader) -> Result<(), DicomError> {
    let envelope = Envelope::open(bytes)?;
    let value = pixel_data(Elements::new(&envelope.dataset, envelope.encoding))?;
    pixels::check_whole(header, &value)
}

/// Reads one CT image: uncompressed, deflated, RLE, JPEG, JPEG-LS, JPEG 2000.
///
/// # Errors
/// [`DicomError`] says what is wrong and what to do.
pub fn read_slice(bytes: &[u8]) -> Result<Slice, DicomError> {
    let envelope = Envelope::open(bytes)?;
    let (header, elements) = SliceHeader::parse(&envelope)?;
    header.require_ct()?;
    let value = pixel_data(elements)?;
    let pixels = pixels::decode(&header, envelope.encoding, &value, layout::Frame::ONLY)?;
    Ok(Slice { header, pixels })
}

/// Reads one frame of an enhanced object, by its header of [`read_headers`].
///
/// # Errors
/// As [`read_slice`].
pub fn read_frame(bytes: &[u8], header: &SliceHeader) -> Result<Slice, DicomError> {
    header.require_ct()?;
    let envelope = Envelope::open(bytes)?;
    let value = pixel_data(Elements::new(&envelope.dataset, envelope.encoding))?;
    let of = usize::try_from(header.number_of_frames).unwrap_or(1).max(1);
    let frame = layout::Frame { at: header.frame.unwrap_or(0), of };
    let pixels = pixels::decode(header, envelope.encoding, &value, frame)?;
    Ok(Slice { header: header.clone(), pixels })
}

fn pixel_data<'a>(mut elements: Elements<'a>) -> Result<Value<'a>, DicomError> {
    while let Some(element) = elements.next()? {
        if element.tag == tags::PIXEL_DATA {
            return Ok(element.value);
        }
    }
    // A CT image without pixels was cut between two elements.
    Err(DicomError::Truncated)
}
