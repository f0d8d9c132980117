//! The manifest of an engine bundle.
#![no_main]

use std::sync::LazyLock;

use hepalert_bundles::{Bundle, MANIFEST};
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

static FOLDER: LazyLock<TempDir> = LazyLock::new(|| TempDir::new().unwrap());

fuzz_target!(|bytes: &[u8]| {
    std::fs::write(FOLDER.path().join(MANIFEST), bytes).unwrap();
    let _ = Bundle::open(FOLDER.path());
});
