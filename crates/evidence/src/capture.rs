//! Key images: pictures of the report as secondary captures, for archives that show nothing else.
//!
//! Owns the modules of a secondary capture (PS3.3 section A.8.1). What is burned into the pixels is
//! drawn elsewhere, and never names a patient.

use dicom_core::VR;
use dicom_dictionary_std::{tags, uids};

use crate::Object;
use crate::dataset::{Dataset, WriteError, held_to};
use crate::maker::{Identity, Maker, Series};
use crate::source::{ImageRef, Source};

/// A picture.
#[derive(Debug, Clone, Copy)]
pub struct Picture<'a> {
    /// Its number within the series, from 1.
    pub number: usize,
    /// What it shows.
    pub title: &'a str,
    /// Pixels in a row.
    pub width: usize,
    /// Pixels in a column.
    pub height: usize,
    /// Red, green, blue, row by row.
    pub rgb: &'a [u8],
    /// The images that it shows.
    pub of: &'a [ImageRef],
}

/// Writes a key image.
///
/// # Errors
/// [`WriteError::TooLarge`] for more than 65535 rows or columns.
pub fn write(
    picture: &Picture<'_>,
    source: &Source,
    maker: &Maker,
    identity: &Identity,
) -> Result<Object, WriteError> {
    let edge = |n: usize| u16::try_from(n).map_err(|_| WriteError::TooLarge("rows and columns"));
    let mut object = Dataset::new();
    source.put_study(&mut object);
    maker.put_series(&mut object, Series::Captures, identity);
    source.put_compression(&mut object);
    object.texts(&[
        (tags::CONVERSION_TYPE, VR::CS, "WSD"),
        (tags::IMAGE_TYPE, VR::CS, "DERIVED\\SECONDARY"),
        (tags::PATIENT_ORIENTATION, VR::CS, ""),
        (tags::BODY_PART_EXAMINED, VR::CS, "LIVER"),
        (tags::BURNED_IN_ANNOTATION, VR::CS, "NO"),
        (tags::DERIVATION_DESCRIPTION, VR::ST, &held_to(picture.title, 1024)),
        (tags::IMAGE_COMMENTS, VR::LT, &held_to(picture.title, 1024)),
        (tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "RGB"),
    ]);
    object.whole(tags::INSTANCE_NUMBER, picture.number);
    if !picture.of.is_empty() {
        object.items(tags::SOURCE_IMAGE_SEQUENCE, picture.of.iter().map(ImageRef::item).collect());
    }
    object.short(tags::SAMPLES_PER_PIXEL, 3);
    object.short(tags::PLANAR_CONFIGURATION, 0);
    object.short(tags::ROWS, edge(picture.height)?);
    object.short(tags::COLUMNS, edge(picture.width)?);
    object.short(tags::BITS_ALLOCATED, 8);
    object.short(tags::BITS_STORED, 8);
    object.short(tags::HIGH_BIT, 7);
    object.short(tags::PIXEL_REPRESENTATION, 0);
    object.bytes(tags::PIXEL_DATA, picture.rgb.to_vec());
    let uid = identity.uid(&format!("key image {}", picture.number));
    object.into_object(uids::SECONDARY_CAPTURE_IMAGE_STORAGE, uid)
}
