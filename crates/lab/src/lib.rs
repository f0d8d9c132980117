//! The laboratory: [`phantom`] makes patients with known truth, [`evaluate`] judges a cohort.
//!
//! Refuses to run the cascade: the command line does that.

pub mod evaluate;
pub mod phantom;
