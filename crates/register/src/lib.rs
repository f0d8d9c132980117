//! Registration of CT phases of one patient: DEEDS (Heinrich, Jenkinson, Brady, Schnabel 2013)
//! with MIND-SSC descriptors, anew.
//!
//! In reading order: [`descriptor`] says what a voxel's surroundings look like, [`cost`] how badly
//! blocks fit at every displacement, [`tree`], [`parabola`] and [`messages`] choose for all blocks
//! together, [`deform`] does so level by level; [`matching`] and [`affine`] find the rigid map
//! before it, [`quality`] judges, [`align`] is the way from volumes in millimetres and back.
//! Pure voxels: no clock, log, file or randomness. Same volumes in, same bytes out, on any number
//! of threads.

pub mod affine;
pub mod align;
pub mod cost;
pub mod deform;
pub mod descriptor;
pub mod field;
pub mod isotropic;
pub mod lattice;
pub mod map;
pub mod matching;
pub mod messages;
pub mod parabola;
pub mod quality;
pub mod tree;
pub mod warp;
