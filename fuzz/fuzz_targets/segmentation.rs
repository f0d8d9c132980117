//! Any mask becomes a segmentation that a plain reader reads back, bit for bit.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../readers.rs"]
mod readers;

fuzz_target!(|bytes: &[u8]| readers::masks::segmentation(bytes));
