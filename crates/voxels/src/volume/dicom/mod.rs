//! CT slices as DICOM: the only place that knows this format.
//!
//! Takes and gives bytes; opening files is the caller's. Every size is bounded before
//! allocation. Refuses to judge a study: that is `intake`'s gate.

pub mod acquisitions;
mod codestream;
mod compressed;
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
pub use error::{DicomError, GeometryError};
pub use geometry::{SeriesPlan, plan};
pub use header::{Identifiers, SliceHeader};
pub use pixels::{Pixels, Slice};
pub use series::{SeriesBuilder, assemble};
