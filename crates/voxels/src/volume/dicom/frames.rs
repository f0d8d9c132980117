//! Enhanced CT: one object, a header for every frame.
//!
//! What a classic image says of itself stands in functional groups here, once for all frames
//! or once for each. Owns the way from those to one [`SliceHeader`] per frame; pixels are cut
//! into frames where they are decoded.

use std::collections::BTreeMap;

use dicom_core::Tag;
use dicom_dictionary_std::tags;

use super::elements::{Elements, Encoding, Value, items};
use super::envelope::Envelope;
use super::header::{Leaves, is_leaf, is_wanted};
use super::{DicomError, SliceHeader};

/// More frames than this are no examination: four phases of 1,000 slices are 4,000.
const MAX_FRAMES: usize = 16_384;

/// The functional groups that hold attributes of interest.
const MACROS: [Tag; 8] = [
    tags::PIXEL_MEASURES_SEQUENCE,
    tags::PLANE_POSITION_SEQUENCE,
    tags::PLANE_ORIENTATION_SEQUENCE,
    tags::PIXEL_VALUE_TRANSFORMATION_SEQUENCE,
    tags::FRAME_CONTENT_SEQUENCE,
    tags::CT_IMAGE_FRAME_TYPE_SEQUENCE,
    tags::CTX_RAY_DETAILS_SEQUENCE,
    tags::CT_RECONSTRUCTION_SEQUENCE,
];

/// One header per frame, in the order of the frames, from the object's own attributes and its header.
///
/// # Errors
/// [`DicomError::EnhancedCt`] without a functional group for every frame.
pub(super) fn headers(
    envelope: &Envelope<'_>,
    leaves: Leaves<'_>,
    whole: &SliceHeader,
) -> Result<Vec<SliceHeader>, DicomError> {
    let encoding = envelope.encoding;
    let Leaves { mut written, has_modality_lut, mut rest } = leaves;
    let mut frames: Vec<Elements<'_>> = Vec::new();
    while rest.next_tag().is_some_and(|tag| tag < tags::PIXEL_DATA) {
        let Some(element) = rest.next()? else { break };
        let (Value::Plain(bytes) | Value::Nested(bytes)) = element.value else { continue };
        if element.tag == tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE {
            for group in items(bytes, encoding)? {
                collect(group, encoding, &mut written)?;
            }
        } else if element.tag == tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE {
            frames = items(bytes, encoding)?;
        }
    }
    let said = usize::try_from(whole.number_of_frames).unwrap_or(0);
    if frames.is_empty() || frames.len() != said {
        return Err(DicomError::EnhancedCt);
    }
    if said > MAX_FRAMES {
        return Err(DicomError::MultiFrame(whole.number_of_frames));
    }
    let header = |(at, groups): (usize, Elements<'_>)| {
        let mut own = written.clone();
        collect(groups, encoding, &mut own)?;
        let header = SliceHeader::of_leaves(own.into_values(), has_modality_lut, envelope)?;
        let instance_number = i64::try_from(at + 1).ok();
        Ok(SliceHeader { frame: Some(at), instance_number, ..header })
    };
    frames.into_iter().enumerate().map(header).collect()
}

/// Takes the attributes of interest out of the functional groups of one item.
fn collect<'a>(
    mut groups: Elements<'a>,
    encoding: Encoding,
    written: &mut BTreeMap<Tag, &'a [u8]>,
) -> Result<(), DicomError> {
    while let Some(group) = groups.next()? {
        let (Value::Plain(bytes) | Value::Nested(bytes)) = group.value else { continue };
        if !MACROS.contains(&group.tag) {
            continue;
        }
        for mut item in items(bytes, encoding)? {
            while let Some(element) = item.next()? {
                if is_wanted(element.tag) && is_leaf(&element, encoding) {
                    written.insert(element.tag, element.written);
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
