//! Bytes to facts and voxels: one file's facts, a study's voxels, and the gate between them.
//!
//! [`probe`] reads one file's facts, [`mod@load`] the voxels of a study past the [`gate`];
//! [`accepted`] proves that the bytes read are the bytes taken in. Knows nothing of the folder's
//! changes over time.

pub mod accepted;
pub mod gate;
pub mod load;
pub(in crate::intake) mod memory;
pub mod probe;
pub mod quality;
mod reader_errors;
pub(in crate::intake) mod suited;
pub mod thinned;
