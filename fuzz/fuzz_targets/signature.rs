//! The signatures of a manifest: the manifest stays, its signature file is whatever comes.
#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use hepalert_bundles::signature::Trust;
use libfuzzer_sys::fuzz_target;

static TRUST: LazyLock<Trust> =
    LazyLock::new(|| Trust::read(Path::new("fuzz/corpus/keys"), 1).unwrap());

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = TRUST.verify(b"another manifest", text);
    }
});
