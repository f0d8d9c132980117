//! The embedded engine's reader: any bytes end in a network or a sentence, never in a panic.
#![no_main]

use hepalert_native::{Network, Options};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = Network::load(bytes, &Options::default());
});
