//! A command from the broker: the first byte names it, the others are its body.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../readers.rs"]
mod readers;

fuzz_target!(|bytes: &[u8]| readers::command(bytes));
