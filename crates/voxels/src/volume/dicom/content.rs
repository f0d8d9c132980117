//! What CT images say and show, apart from how their file is written.
//!
//! Owns the one line of bytes that every transfer syntax of the same images gives, as long as it loses
//! nothing: the attributes with their values, then the decoded pixels. Only what belongs to the
//! writing is left out, so that any other difference shows. What cannot be told apart from the
//! writing, such as a private sequence in implicit VR, counts as a difference.

use std::borrow::Cow;

use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry, VirtualVr};
use dicom_core::{Tag, VR};
use dicom_dictionary_std::{StandardDataDictionary, tags};

use super::elements::{Element, Elements, Encoding, Value, items};
use super::envelope::Envelope;
use super::header::Leaves;
use super::layout::Frame;
use super::{DicomError, Pixels, SliceHeader, frames, pixels};

/// Sequences of real headers nest three or four deep.
const MAX_DEPTH: usize = 16;
/// What fills a file up.
const TRAILING_PADDING: Tag = Tag(0xfffc, 0xfffc);

/// What an element begins with in the line of bytes.
#[repr(u8)]
enum Mark {
    Value,
    Sequence,
    Item,
    End,
    Pixels,
}

/// Hands the images of a file on, piece by piece.
///
/// # Errors
/// [`DicomError`] where a pixel cannot be decoded, or it is no CT image: then nothing is said of it.
pub fn decoded(bytes: &[u8], take: &mut dyn FnMut(&[u8])) -> Result<(), DicomError> {
    let envelope = Envelope::open(bytes)?;
    let leaves = Leaves::of(&envelope)?;
    let header = leaves.header(&envelope)?;
    header.require_ct()?;
    let elements = Elements::new(&envelope.dataset, envelope.encoding);
    let value = attributes(elements, envelope.encoding, 0, take)?.ok_or(DicomError::Truncated)?;
    let headers = match header.is_enhanced() {
        true => frames::headers(&envelope, leaves, &header)?,
        false => vec![header],
    };
    let of = headers.len();
    for (at, header) in headers.iter().enumerate() {
        show(header, envelope.encoding, &value, Frame { at, of }, take)?;
    }
    Ok(())
}

fn show(
    header: &SliceHeader,
    encoding: Encoding,
    value: &Value<'_>,
    frame: Frame,
    take: &mut dyn FnMut(&[u8]),
) -> Result<(), DicomError> {
    take(&[Mark::Pixels as u8]);
    let bytes: Vec<u8> = match pixels::decode(header, encoding, value, frame)? {
        Pixels::Whole(pixels) => pixels.iter().flat_map(|pixel| pixel.to_le_bytes()).collect(),
        Pixels::Fractional(pixels) => pixels.iter().flat_map(|pixel| pixel.to_le_bytes()).collect(),
    };
    take(&bytes);
    Ok(())
}

/// All attributes but the pixels, which are returned where they are met.
fn attributes<'a>(
    mut elements: Elements<'a>,
    encoding: Encoding,
    depth: usize,
    take: &mut dyn FnMut(&[u8]),
) -> Result<Option<Value<'a>>, DicomError> {
    if depth > MAX_DEPTH {
        return Err(DicomError::Corrupt("sequences nest too deep".into()));
    }
    let mut found = None;
    while let Some(element) = elements.next()? {
        if element.tag == tags::PIXEL_DATA && depth == 0 {
            found = Some(element.value);
        } else if !is_of_the_writing(element.tag) {
            attribute(&element, encoding, depth, take)?;
        }
    }
    Ok(found)
}

/// Lengths of groups and of the whole, what fills a file up, and the remark that a program leaves which
/// has compressed it. What was lost by that shows in the pixels.
fn is_of_the_writing(tag: Tag) -> bool {
    let remarks = [tags::DERIVATION_DESCRIPTION, tags::DERIVATION_CODE_SEQUENCE];
    tag.element() == 0
        || tag == Tag(0x0008, 0x0001)
        || tag == TRAILING_PADDING
        || remarks.contains(&tag)
}

fn attribute(
    element: &Element<'_>,
    encoding: Encoding,
    depth: usize,
    take: &mut dyn FnMut(&[u8]),
) -> Result<(), DicomError> {
    let (group, number) = (element.tag.group().to_le_bytes(), element.tag.element().to_le_bytes());
    take(&[group[0], group[1], number[0], number[1]]);
    let sequence = match element.value {
        Value::Nested(value) => Some(value),
        Value::Plain(value) if is_sequence(element) => Some(value),
        Value::Plain(value) => {
            take(&[Mark::Value as u8]);
            take(&(value.len() as u64).to_le_bytes());
            take(&little_endian(value, element.vr, encoding));
            None
        }
        Value::Fragments(_) => return Err(DicomError::Corrupt("pixels within a sequence".into())),
    };
    let Some(value) = sequence else { return Ok(()) };
    take(&[Mark::Sequence as u8]);
    let inner = match &element.vr {
        // PS3.5 section 6.2.2: implicit VR stands in an unknown one.
        b"UN" => Encoding { explicit_vr: false, ..encoding },
        _ => encoding,
    };
    for item in items(value, inner)? {
        take(&[Mark::Item as u8]);
        attributes(item, inner, depth + 1, take)?;
    }
    take(&[Mark::End as u8]);
    Ok(())
}

/// By what is written, and where no VR is, by the dictionary: a private sequence whose length is said is
/// then a value like any other.
fn is_sequence(element: &Element<'_>) -> bool {
    let by_dictionary = || {
        let entry = StandardDataDictionary.by_tag(element.tag);
        entry.is_some_and(|entry| entry.vr() == VirtualVr::Exact(VR::SQ))
    };
    match &element.vr {
        b"SQ" => true,
        b"UN" => by_dictionary(),
        _ => false,
    }
}

/// A value as it is written in little endian.
fn little_endian<'a>(value: &'a [u8], vr: [u8; 2], encoding: Encoding) -> Cow<'a, [u8]> {
    let width = match &vr {
        b"US" | b"SS" | b"OW" | b"AT" => 2,
        b"UL" | b"SL" | b"FL" | b"OF" | b"OL" => 4,
        b"FD" | b"OD" | b"OV" | b"SV" | b"UV" => 8,
        _ => 1,
    };
    if !encoding.big_endian || width == 1 {
        return Cow::Borrowed(value);
    }
    Cow::Owned(value.chunks(width).flat_map(|number| number.iter().rev().copied()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(elements: &[u8], encoding: Encoding) -> Result<Vec<u8>, DicomError> {
        let mut all = Vec::new();
        attributes(Elements::new(elements, encoding), encoding, 0, &mut |part| all.extend(part))?;
        Ok(all)
    }

    const ROWS: [u8; 10] = [0x28, 0, 0x10, 0, b'U', b'S', 2, 0, 0, 2];
    const ROWS_IMPLICIT: [u8; 10] = [0x28, 0, 0x10, 0, 2, 0, 0, 0, 0, 2];
    const ROWS_BIG: [u8; 10] = [0, 0x28, 0, 0x10, b'U', b'S', 0, 2, 2, 0];

    #[test]
    fn a_value_is_the_same_however_it_is_written() {
        let plain = said(&ROWS, Encoding::EXPLICIT).unwrap();
        assert_eq!(said(&ROWS_IMPLICIT, Encoding::IMPLICIT).unwrap(), plain);
        assert_eq!(said(&ROWS_BIG, Encoding::BIG).unwrap(), plain);
        let mut other = ROWS;
        other[8] = 1;
        assert_ne!(said(&other, Encoding::EXPLICIT).unwrap(), plain);
    }

    #[test]
    fn a_sequence_is_the_same_by_length_and_by_delimiter() {
        // ReferencedImageSequence of one item that holds Rows.
        let head = [8, 0, 0x40, 0x11, b'S', b'Q', 0, 0];
        let known = [&head[..], &[18, 0, 0, 0, 0xfe, 0xff, 0, 0xe0, 10, 0, 0, 0], &ROWS].concat();
        let open = [0xff; 4];
        let ends = [0xfe, 0xff, 0x0d, 0xe0, 0, 0, 0, 0, 0xfe, 0xff, 0xdd, 0xe0, 0, 0, 0, 0];
        let item = [&[0xfe, 0xff, 0, 0xe0][..], &open, &ROWS].concat();
        let delimited = [&head[..], &open, &item, &ends].concat();
        let implicit = [&[8, 0, 0x40, 0x11][..], &open, &item[..8], &ROWS_IMPLICIT, &ends].concat();
        let wanted = said(&known, Encoding::EXPLICIT).unwrap();
        assert_eq!(said(&delimited, Encoding::EXPLICIT).unwrap(), wanted);
        assert_eq!(said(&implicit, Encoding::IMPLICIT).unwrap(), wanted);
        // Beside the sequence is another place than in it.
        let beside = [&head[..], &[0; 4], &ROWS].concat();
        assert_ne!(said(&beside, Encoding::EXPLICIT).unwrap(), wanted);
    }

    #[test]
    fn what_nests_without_end_is_refused() {
        let mut bytes = ROWS.to_vec();
        for _ in 0..40 {
            let item =
                [&[0xfe, 0xff, 0, 0xe0][..], &(bytes.len() as u32).to_le_bytes(), &bytes].concat();
            let head = [8, 0, 0x40, 0x11, b'S', b'Q', 0, 0];
            bytes = [&head[..], &(item.len() as u32).to_le_bytes(), &item].concat();
        }
        assert!(said(&bytes, Encoding::EXPLICIT).is_err());
    }
}
