//! What was found, written down: `report.json`, label maps, pictures.
//!
//! Owns the report's wire types and its files. Refuses to send anything: that is `publish`.

pub mod canvas;
pub mod checkerboard;
pub mod contact;
pub mod files;
pub mod output;
pub mod pictures;
pub mod record;
pub mod slices;
pub mod types;
pub mod views;
