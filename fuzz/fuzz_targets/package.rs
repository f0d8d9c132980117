//! A packed engine: what a USB stick or an update folder brings, before any signature is known good.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../readers.rs"]
mod readers;

fuzz_target!(|bytes: &[u8]| readers::package(bytes));
