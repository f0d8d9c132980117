//! CT slices as DICOM: the only place that knows this format.
//!
//! Takes and gives bytes; opening files is the caller's. Every size is bounded before
//! allocation. Refuses to judge a study: that is `intake`'s gate.

pub mod acquisitions;
mod charset;
mod codestream;
mod compressed;
pub mod content;
mod elements;
mod envelope;
mod error;
mod frames;
mod geometry;
mod header;
mod jpeg12;
mod layout;
mod pixels;
pub mod read;
mod rle;
mod series;
pub mod write;

#[cfg(test)]
mod tests;

pub use compressed::READABLE_SYNTAXES;
pub use envelope::begins_as_dicom;
pub use error::{DicomError, GeometryError};
pub use geometry::{SeriesPlan, plan};
pub use header::{Identifiers, SliceHeader};
pub use pixels::{Pixels, Slice};
pub use series::{SeriesBuilder, assemble};

/// Most characters of a UID (PS3.5 section 9.1).
pub const MAX_UID: usize = 64;

/// Whether a text is a UID: numbers with single points between. Zeros before a number, which PS3.5
/// forbids, are found in images all the same.
pub fn is_uid(text: &str) -> bool {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    text.len() <= MAX_UID && text.split('.').all(is_number)
}
