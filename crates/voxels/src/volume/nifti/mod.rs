//! NIfTI-1 and NIfTI-2, plain or gzipped: the only place that knows this format.
//!
//! Takes and gives bytes; opening files is the caller's. Every size is bounded before
//! allocation.

mod error;
mod gzip;
mod header;
mod placement;
pub mod read;
pub mod vectors;
pub mod write;

#[cfg(test)]
mod tests;

pub use error::NiftiError;
pub use header::Datatype;
