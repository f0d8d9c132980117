//! Bytes to facts and voxels: one file's facts, a study's voxels, and the gate between them.
//!
//! [`probe`] reads one file's facts, [`mod@load`] the voxels of a study past the [`gate`];
//! [`accepted`] proves that the bytes read are the bytes taken in. Knows nothing of the folder's
//! changes over time.

pub(crate) mod accepted;
pub(crate) mod gate;
pub(crate) mod load;
pub(in crate::intake) mod memory;
pub(crate) mod probe;
pub(crate) mod quality;
mod reader_errors;
pub(in crate::intake) mod suited;
pub(crate) mod thinned;
