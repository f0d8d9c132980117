//! What is sent to the page: the first byte says where, the others are the body.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../readers.rs"]
mod readers;

fuzz_target!(|bytes: &[u8]| readers::page::bodies(bytes));
