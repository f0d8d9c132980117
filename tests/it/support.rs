//! What the integration tests share: where real data lies, and the program under test.

use std::path::{Path, PathBuf};

/// The folder of real CT beside the checkout (`../shared/data`), if it is there. Without it
/// tests that need it are ignored (`build.rs`), and what a test does with it beside other things is
/// left out with a print; under `CI=true` a missing folder is a failure.
#[allow(dead_code)]
pub(crate) fn shared_data() -> Option<PathBuf> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    if data.is_dir() {
        return Some(data);
    }
    let ci = std::env::var("CI").is_ok_and(|value| value == "true");
    assert!(!ci, "CI=true, but {} is missing", data.display());
    println!("skipped: no real CT at {}", data.display());
    None
}

/// The program under test.
#[allow(dead_code)]
pub(crate) fn hepalert() -> std::process::Command {
    std::process::Command::new(env!("CARGO_BIN_EXE_hepalert"))
}

/// An engine that takes milliseconds.
pub(crate) fn small_engine() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/reclassify/bundle")
}

/// What a process holds of memory (`VmRSS`), or held at most (`VmHWM`), in KiB; 0 once it is gone.
pub(crate) fn memory_kib(pid: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse().ok()).unwrap_or(0)
}
