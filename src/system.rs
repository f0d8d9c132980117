//! What Linux tells of the machine: free space, temperatures.
//!
//! Owns where that stands. What it does not tell is `None`, never an error.

use std::path::Path;

/// Free space for this user where a folder lies, in MiB.
pub(crate) fn free_mib(folder: &Path) -> Option<u64> {
    let space = rustix::fs::statvfs(folder).ok()?;
    Some(space.f_bavail.saturating_mul(space.f_frsize) >> 20)
}

/// Whether a time server sets the clock: systemd-timesyncd leaves a file once it has. Of other
/// daemons nothing is known.
pub(crate) fn clock_synced() -> Option<bool> {
    Path::new("/run/systemd/timesync/synchronized").exists().then_some(true)
}

/// The thermal zones by their names, in degrees Celsius.
pub(crate) fn temperatures_c() -> Vec<(String, f64)> {
    let zones = std::fs::read_dir("/sys/class/thermal").into_iter().flatten().flatten();
    let read = |zone: std::fs::DirEntry| {
        let text = |file| std::fs::read_to_string(zone.path().join(file)).ok();
        let name = text("type")?.trim().to_owned();
        Some((name, text("temp")?.trim().parse::<f64>().ok()? / 1000.0))
    };
    zones.filter_map(read).collect()
}
