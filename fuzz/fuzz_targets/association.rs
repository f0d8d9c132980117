//! What a DICOM peer may say: first bare, then within an association that was agreed on.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../readers.rs"]
mod readers;

fuzz_target!(|bytes: &[u8]| readers::peers::association(bytes));
