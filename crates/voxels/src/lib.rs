//! Voxels: volumes on a grid, the formats they come in, and the algorithms that know voxels only.
//!
//! Owns [`volume`] (grid, axes, NIfTI, DICOM), [`image`] (resampling, filters, components,
//! distances) and [`ct`] (what a CT must look like). Refuses to know anatomy, phases and networks.

pub mod ct;
pub mod image;
pub mod volume;
