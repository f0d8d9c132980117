//! hepalert: from a CT export folder to an alert on an MQTT broker.
//!
//! In reading order, the way a study goes: [`anatomy`], [`study`] and [`volume`] are the
//! words; [`intake`] makes studies of files; [`segment`], [`detect`], [`reclassify`] and
//! [`verdict`] are the stages of the cascade, run on an [`engine`] in the order that
//! [`pipeline`] alone knows; [`report`] writes down what was found, [`store`] keeps it,
//! [`publish`] sends it. [`worker`] runs the cascade in a child process, `daemon` holds
//! the threads, [`cli`] the commands. [`evaluate`] judges a cohort; [`phantom`] makes studies
//! with known truth.

pub mod analyze;
pub mod anatomy;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod detect;
pub mod engine;
pub mod evaluate;
mod failpoint;
pub mod image;
pub mod intake;
pub mod phantom;
pub mod pipeline;
pub mod publish;
pub mod reclassify;
pub mod report;
pub mod segment;
pub mod store;
pub mod study;
pub mod verdict;
pub mod volume;
pub mod worker;
