//! CT slices as DICOM: the only place that knows this format.
//!
//! Takes and gives bytes; opening files is the caller's. Every size is bounded before
//! allocation. Refuses to judge a study: that is `intake`'s gate.

pub mod read;
pub mod write;
