//! What an archive may answer when it is sent a result, by STOW-RS or in an association.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../readers.rs"]
mod readers;

fuzz_target!(|bytes: &[u8]| readers::peers::answers(bytes));
