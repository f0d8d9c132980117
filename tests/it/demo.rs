//! `demo` leaves nothing running, however it ends.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};

use crate::broker::installed;
use crate::support::hepalert;

/// Command lines of processes that name a folder.
pub fn running_in(folder: &Path) -> Vec<String> {
    let name = folder.to_str().unwrap();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(name)).collect()
}

#[test]
fn a_signal_ends_broker_and_daemon_too() {
    if !installed() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut demo = hepalert()
        .args([
            "demo",
            "--setting",
            "venous",
            "--pixels",
            "64",
            "--out",
            folder.path().to_str().unwrap(),
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(demo.stderr.take().unwrap()).lines().map_while(Result::ok);
    let exported = output.find(|line| line.starts_with("scanner:"));
    assert!(exported.is_some(), "it got as far as the export");
    assert!(running_in(folder.path()).len() >= 3, "demo, broker and daemon run");
    kill_process(Pid::from_child(&demo), Signal::TERM).unwrap();
    let said: Vec<String> = output.collect();
    let status = demo.wait().unwrap();
    assert!(said.iter().any(|line| line.contains("stopped by a signal")), "{said:?}");
    assert_eq!(status.code(), Some(1), "{status}");
    assert_eq!(running_in(folder.path()), Vec::<String>::new());
}
