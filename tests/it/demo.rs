//! `demo` leaves nothing running, however it ends.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};

use crate::broker::installed;
use crate::commands::until_caught;
use crate::support::hepalert;

/// Command lines of processes that name a folder.
pub(crate) fn running_in(folder: &Path) -> Vec<String> {
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

#[test]
fn a_signal_before_anything_runs_is_answered_too() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("demo");
    let mut command = hepalert();
    command.args(["--json", "demo", "--setting", "venous", "--out"]).arg(&out);
    let demo = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until_caught(demo.id(), Signal::INT);
    kill_process(Pid::from_child(&demo), Signal::INT).unwrap();
    let ended = demo.wait_with_output().unwrap();
    let told: serde_json::Value = serde_json::from_slice(&ended.stdout).unwrap();
    let message = told["message"].as_str().unwrap();
    assert_eq!((ended.status.code(), &told["code"]), (Some(1), &"stopped".into()), "{message}");
    assert!(message.contains("no daemon and no broker ran yet"), "{message}");
    assert!(message.contains("begins anew") && message.contains("demo"), "{message}");
    // What is no engine is refused before a patient is made.
    let other = folder.path().join("other");
    let refused = hepalert().args(["demo", "--engine", "/nowhere", "--out"]).arg(&other).output();
    assert_eq!(refused.unwrap().status.code(), Some(4));
    assert!(!other.exists());
}
