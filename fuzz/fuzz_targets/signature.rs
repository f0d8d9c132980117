//! The signatures of a manifest: the manifest stays, its signature file is whatever comes.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../readers.rs"]
mod readers;

fuzz_target!(|bytes: &[u8]| readers::signature(bytes));
