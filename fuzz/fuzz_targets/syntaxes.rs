//! A slice in each transfer syntax: the first byte names the syntax, the others are what is
//! encoded by it. So the fuzzer need not guess what stands around.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../readers.rs"]
mod readers;

// Decoders of others panic, and that is caught and refused by name; what is not caught still ends
// the fuzzer.
fuzz_target!(init: std::panic::set_hook(Box::new(|_| {})), |bytes: &[u8]| {
    readers::syntaxes(bytes);
});
