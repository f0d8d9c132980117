//! A packed engine: what a USB stick or an update folder brings, before any signature is known good.
#![no_main]

use std::io::Cursor;
use std::path::Path;
use std::sync::LazyLock;

use hepalert_bundles::package::Package;
use hepalert_bundles::signature::Trust;
use libfuzzer_sys::fuzz_target;

static TRUST: LazyLock<Trust> =
    LazyLock::new(|| Trust::read(Path::new("fuzz/corpus/keys"), 1).unwrap());

fuzz_target!(|bytes: &[u8]| {
    if let Ok(package) = Package::read(Cursor::new(bytes), bytes.len() as u64, &TRUST) {
        let _ = package.check();
    }
});
