//! What Linux tells of the machine: free space, memory, temperatures; and files that have an end.
//!
//! Owns where that stands. What it does not tell is `None`, never an error.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

/// The bytes of a file; a pipe or a device, whose end may never come, is refused.
///
/// # Errors
/// The system's.
pub(crate) fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let facts = std::fs::metadata(path)?;
    if !facts.is_file() && !facts.is_dir() {
        return Err(io::Error::other("it is no file with an end, but a pipe or a device"));
    }
    std::fs::read(path)
}

/// The same as text.
///
/// # Errors
/// The system's, and for what is no text.
pub(crate) fn read_text(path: &Path) -> io::Result<String> {
    let bytes = read_file(path)?;
    String::from_utf8(bytes)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is no text"))
}

/// Free space for this user where a folder lies, in MiB.
pub(crate) fn free_mib(folder: &Path) -> Option<u64> {
    hepalert_study::system::free_bytes(folder).ok().map(|bytes| bytes >> 20)
}

/// What a process (its number, or `self`) holds in memory by one line of its `status`, such as
/// `VmRSS`, in KiB.
pub(crate) fn memory_kib(process: &str, name: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// What this machine calls itself in its network.
pub(crate) fn host_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

/// Whether a time server sets the clock: systemd-timesyncd leaves a file once it has. Of other
/// daemons nothing is known.
pub(crate) fn clock_synced() -> Option<bool> {
    Path::new("/run/systemd/timesync/synchronized").exists().then_some(true)
}

/// A place whose heat is measured.
pub(crate) struct ThermalZone {
    /// As the kernel calls it.
    pub(crate) name: String,
    /// Degrees Celsius.
    pub(crate) now_c: f64,
    /// From where on the machine slows itself down, if that is said; degrees Celsius.
    pub(crate) slows_c: Option<f64>,
}

/// The thermal zones in order of their folders; `root` is the machine's `/`, or a test's.
pub(crate) fn thermal_zones(root: &Path) -> Vec<ThermalZone> {
    let entries = std::fs::read_dir(root.join("sys/class/thermal")).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    folders.retain(|folder| folder.file_name().is_some_and(is_zone));
    folders.sort();
    folders.iter().filter_map(|folder| thermal_zone(folder)).collect()
}

fn is_zone(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b"thermal_zone")
}

fn thermal_zone(folder: &Path) -> Option<ThermalZone> {
    let text = |file: &str| std::fs::read_to_string(folder.join(file)).ok();
    let degrees = |file: &str| Some(text(file)?.trim().parse::<f64>().ok()? / 1000.0);
    let is_passive = |trip: &i32| {
        text(&format!("trip_point_{trip}_type")).is_some_and(|kind| kind.trim() == "passive")
    };
    let slows =
        (0..16).find(is_passive).and_then(|trip| degrees(&format!("trip_point_{trip}_temp")));
    Some(ThermalZone {
        name: text("type")?.trim().to_owned(),
        now_c: degrees("temp")?,
        slows_c: slows.filter(|slows| *slows > 0.0),
    })
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
