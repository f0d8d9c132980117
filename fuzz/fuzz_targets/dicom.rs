//! One DICOM file of any transfer syntax: its header, then its pixels.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../readers.rs"]
mod readers;

// Decoders of others panic, and that is caught and refused by name; what is not caught still ends
// the fuzzer.
fuzz_target!(init: std::panic::set_hook(Box::new(|_| {})), |bytes: &[u8]| {
    readers::dicom(bytes);
});
