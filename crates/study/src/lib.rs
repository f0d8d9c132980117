//! The words that every room shares: [`anatomy`] (lesion types, organs, label values) and
//! [`study`] (phases, settings, an examination before and after alignment).
//!
//! Owns names and their order. Refuses to compute.

pub mod anatomy;
pub mod study;
