//! Runs nnU-Net's exported networks on processors, with nothing installed.
//!
//! ONNX bytes go in and become a checked graph ([`LoadError`] says what was wrong and at which
//! node), then a plan for one fixed shape; [`Network::run`] takes a patch and gives its logits.
//! Knows nothing of bundles, tiles or labels.
//!
//! Same bits on every run and for any number of threads: work is cut by shapes alone, and every
//! sum has one order, told in `micro` (products), `direct` and `winograd` (what is summed) and
//! `norm` (statistics). Levels of vector instructions differ in their last bits, for fused
//! multiply-add, and so may their blocks of channels.

// Ranges of constants are unrolled and stay in registers; an iterator's closures would be compiled
// for no level.
#![allow(clippy::needless_range_loop)]

mod axis;
mod direct;
mod element;
mod error;
mod graph;
mod half;
mod level;
mod micro;
mod model;
mod network;
mod norm;
#[cfg(test)]
mod oracle;
mod output;
mod plan;
mod pointwise;
mod run;
mod stages;
#[cfg(test)]
mod tests;
mod volume;
mod winograd;
mod wire;
mod workers;

pub use error::LoadError;
pub use level::Level;
pub use network::{Network, Options, Precision, Scratch};
