//! The lesion cascade, from an aligned study to a verdict.
//!
//! In reading order: [`align`] brings phases onto one grid, [`segment`], [`detect`], [`reclassify`] and [`verdict`] are the stages,
//! [`pipeline`] alone knows their order. Refuses files, clocks and wire formats.

pub mod align;
pub mod detect;
pub mod pipeline;
pub mod reclassify;
pub mod segment;
pub mod verdict;
