//! What Linux tells of the machine: free space, memory, temperatures.
//!
//! Owns where that stands. What it does not tell is `None`, never an error.

use std::path::Path;

/// Free space for this user where a folder lies, in MiB.
pub(crate) fn free_mib(folder: &Path) -> Option<u64> {
    let space = rustix::fs::statvfs(folder).ok()?;
    Some(space.f_bavail.saturating_mul(space.f_frsize) >> 20)
}

/// What a process (its number, or `self`) holds in memory by one line of its `status`, such as
/// `VmRSS`, in KiB.
pub(crate) fn memory_kib(process: &str, name: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_tells_what_it_holds() {
        let own = std::process::id().to_string();
        let (now, most) =
            (memory_kib(&own, "VmRSS").unwrap(), memory_kib("self", "VmHWM").unwrap());
        assert!(0 < now && now <= most, "{now} KiB of {most} KiB");
        assert_eq!(memory_kib("self", "VmR"), None, "a line is named in full");
        assert_eq!(memory_kib("none", "VmRSS"), None);
    }
}
