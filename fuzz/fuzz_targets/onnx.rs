//! The embedded engine's reader: any bytes end in a network or a sentence, never in a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../readers.rs"]
mod readers;

fuzz_target!(|bytes: &[u8]| readers::onnx(bytes));
