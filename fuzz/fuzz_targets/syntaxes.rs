//! A slice in each transfer syntax: the first byte names the syntax, the others are what is
//! encoded by it. So the fuzzer need not guess what stands around.
#![no_main]

use std::sync::Once;

use libfuzzer_sys::fuzz_target;

#[path = "../readers.rs"]
mod readers;

/// Decoders of others panic, and that is caught and refused by name; what is not caught still ends
/// the fuzzer.
static CAUGHT: Once = Once::new();

fuzz_target!(|bytes: &[u8]| {
    CAUGHT.call_once(|| std::panic::set_hook(Box::new(|_| {})));
    readers::syntaxes(bytes);
});
