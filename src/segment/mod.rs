//! The first stage: from Hounsfield units to the scores of every class, by tiles.
//!
//! Owns preprocessing, tiling, blending and [`Scores`], from which every lesion
//! gain is read. Equal to nnU-Net v2's own predictor (method: nnU-Net inference parity).
//! Refuses to know single lesions.

pub mod gaussian;
pub mod preprocess;
pub mod scores;
pub mod tiles;

pub use scores::{LesionGain, Scores};
