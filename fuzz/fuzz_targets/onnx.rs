//! The embedded engine's reader: any bytes end in a network or a sentence, never in a panic.
//!
//! `cargo +nightly fuzz run onnx -- -rss_limit_mb=4096`, with `tests/data/segment` as a corpus.
#![no_main]

use hepalert_native::{Network, Options};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = Network::load(bytes, &Options::default());
});
