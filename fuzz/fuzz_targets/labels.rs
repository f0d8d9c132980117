//! Labels and edits as a page or another program sends them: the first byte says which.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../readers.rs"]
mod readers;

fuzz_target!(|bytes: &[u8]| readers::labels(bytes));
