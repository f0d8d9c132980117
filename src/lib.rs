//! hepalert: from a CT export folder to an alert on an MQTT broker.
//!
//! In reading order, the way a study goes: [`intake`] makes studies of files; the crates
//! `hepalert-cascade` and `hepalert-engines` run the stages and their networks on it; [`report`]
//! writes down what was found, [`store`] keeps it, [`publish`] sends it. [`worker`] runs the
//! cascade in a child process, `daemon` holds the threads, [`cli`] the commands; [`codes`] says
//! what each code means, [`archive`] goes through whole archives. Voxels and formats are
//! `hepalert-voxels`, the shared words `hepalert-study`, synthetic patients and cohorts `hepalert-lab`.

pub mod analyze;
mod archive;
pub mod cli;
pub mod codes;
pub mod config;
mod curate;
pub mod daemon;
mod demo;
pub mod dicom;
mod doctor;
mod fleet;
mod installer;
pub mod intake;
mod pem;
pub mod publish;
mod report;
pub mod store;
mod support_bundle;
mod system;
mod ui;
pub mod web;
pub mod worker;
