//! Voxels: volumes on a grid, the formats they come in, and the algorithms that know voxels only.
//!
//! Owns [`volume`] (grid, axes, NIfTI, DICOM) and [`image`] (resampling, filters, components,
//! distances). Refuses to know anatomy, phases and networks.

pub mod image;
pub mod volume;
