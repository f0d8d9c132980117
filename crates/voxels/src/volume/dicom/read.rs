//! Bytes of a DICOM file to a header, or to a slice in Hounsfield units.
//!
//! Files may have any name, a preamble or none, a file meta group or none. Refuses whatever
//! is not a classic CT image as soon as pixels are asked for.

use dicom_dictionary_std::tags;

use super::envelope::Envelope;
use super::pixels;
pub use super::{
    DicomError, GeometryError, Identifiers, Pixels, SeriesBuilder, SeriesPlan, Slice, SliceHeader,
    assemble, plan,
};

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

/// Reads one CT image: uncompressed, deflated, RLE, JPEG, JPEG 2000, and JPEG-LS where the
/// feature `jpeg-ls` is built in.
///
/// # Errors
/// [`DicomError`] says what is wrong and what to do.
pub fn read_slice(bytes: &[u8]) -> Result<Slice, DicomError> {
    let envelope = Envelope::open(bytes)?;
    let (header, mut elements) = SliceHeader::parse(&envelope)?;
    header.require_ct()?;
    while let Some(element) = elements.next()? {
        if element.tag == tags::PIXEL_DATA {
            let pixels = pixels::decode(&header, envelope.encoding, &element.value)?;
            return Ok(Slice { header, pixels });
        }
    }
    // A CT image without pixels was cut between two elements.
    Err(DicomError::Truncated)
}
