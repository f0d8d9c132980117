//! A configuration file.
#![no_main]

use std::sync::LazyLock;

use hepalert::config::Config;
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

static FOLDER: LazyLock<TempDir> = LazyLock::new(|| TempDir::new().unwrap());

fuzz_target!(|bytes: &[u8]| {
    let file = FOLDER.path().join("hepalert.toml");
    std::fs::write(&file, bytes).unwrap();
    let _ = Config::read(&file);
});
