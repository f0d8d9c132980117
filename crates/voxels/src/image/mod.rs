//! Pure voxel algorithms on arrays: resampling, normalising, components, filling.
//!
//! Owns algorithms that know nothing of anatomy, phases or networks. Refuses files, clocks
//! and logs.

pub mod box_sum;
pub mod components;
pub mod distance;
pub mod fill;
pub mod largest;
pub mod normalise;
pub mod resample;
pub mod thin;
pub mod vector;
pub mod window;
