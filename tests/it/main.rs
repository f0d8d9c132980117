//! The one integration test binary: whole commands, real data, a real broker.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed test panics")]

mod archive;
mod batch;
mod broker;
mod browser;
mod campaign;
mod commands;
mod daemon;
mod demo;
mod docs;
mod doctor;
mod engines;
mod escalation;
mod export;
mod faults;
mod fleet;
mod intake;
mod labels;
mod lesions;
mod liars;
mod limits;
mod messages;
mod mqtt311;
mod mutations;
mod openvino;
mod phantom;
mod phases;
mod publish;
mod reading;
mod reclassify;
mod register;
mod requeue;
mod requirements;
mod segment;
mod settings;
mod slurm;
mod soak;
mod store;
mod support;
mod tensorrt;
mod tidy;
mod volume;
mod web;
mod web_browser;
