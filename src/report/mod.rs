//! What was found, written down: `report.json`, label maps, pictures (drawn by `hepalert-pictures`).
//!
//! Owns the report's wire types and its files. Refuses to send anything: that is `publish`.

pub(crate) mod files;
pub(crate) mod output;
pub(crate) mod record;
pub(crate) mod slices;
pub(crate) mod types;
pub(crate) mod views;
