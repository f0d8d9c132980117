//! The store under a process that is killed at any moment.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests, outside a test function"
)]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use hepalert::store::{Enqueued, Finished, JobState, NewEvent, NewJob, Store};
use hepalert_study::phase::Setting;
use hepalert_study::study::StudyKey;
use jiff::Timestamp;

fn open(folder: &Path) -> Store {
    Store::open(&folder.join("hepalert.db"), Timestamp::now()).unwrap().store
}

fn event(id: String, study: &StudyKey) -> NewEvent {
    NewEvent {
        id,
        topic: "event/result".to_owned(),
        kind: "result".to_owned(),
        subject: Some(study.as_str().to_owned()),
        revision: 1,
        supersedes: None,
        time: Timestamp::now(),
        data: "{}".to_owned(),
    }
}

/// Not a test by itself: takes and finishes studies as fast as it can, and says each promise
/// aloud once it is made.
#[test]
#[ignore = "run as a child by the test below"]
fn child_works() {
    let Ok(folder) = std::env::var("HEPALERT_TEST_STORE") else { return };
    let store = open(Path::new(&folder));
    let now = Timestamp::now();
    store.begin(now).unwrap();
    let mut out = std::io::stdout();
    let first = store.known().unwrap().len();
    for n in first.. {
        let job = NewJob {
            study_key: StudyKey::new(&format!("{n:032x}")).unwrap(),
            setting: Setting::Venous,
            input_fingerprint: "f".to_owned(),
            files_json: "{}".to_owned(),
            patient: None,
            completed_at: now,
        };
        let Enqueued::New(_) = store.enqueue(&job, now, |_| Vec::new()).unwrap() else { continue };
        writeln!(out, "\ntaken {n}").unwrap();
        while let Some(job) = store.next_job(now, |_| Vec::new()).unwrap() {
            let finished = Finished {
                pipeline_fingerprint: "p".to_owned(),
                report_json: "{}".to_owned(),
                artefacts_json: "[]".to_owned(),
                deliveries: Vec::new(),
                alert: None,
            };
            let events = [event(format!("result-{}", job.id), &job.study_key)];
            store.finish(job.id, &finished, &events, now).unwrap();
            writeln!(out, "\nfinished {}", job.id).unwrap();
        }
    }
}

/// Runs the child for a while, kills it, and returns what it promised.
fn work_and_die(folder: &Path, life: Duration) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store::child_works", "--ignored", "--nocapture"])
        .env("HEPALERT_TEST_STORE", folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let is_promise = |line: &String| line.starts_with("taken ") || line.starts_with("finished ");
    // Life begins with the first promise, not with the start of the process.
    let first = lines.by_ref().map_while(Result::ok).find(is_promise);
    let reader =
        std::thread::spawn(move || lines.map_while(Result::ok).filter(is_promise).collect());
    std::thread::sleep(life);
    child.kill().unwrap();
    child.wait().unwrap();
    let rest: Vec<String> = reader.join().unwrap();
    first.into_iter().chain(rest).collect()
}

#[test]
fn no_promise_is_broken_by_a_kill_at_any_moment() {
    let folder = tempfile::tempdir().unwrap();
    let (mut taken, mut finished) = (BTreeSet::new(), BTreeSet::new());
    for round in 0..6u64 {
        // Odd times, so that the kill falls into different moments of a transaction.
        let promises = work_and_die(folder.path(), Duration::from_micros(31_337 * (round + 1)));
        for promise in promises {
            let (what, n) = promise.split_once(' ').unwrap();
            let n: i64 = n.parse().unwrap();
            if what == "taken" {
                taken.insert(n)
            } else {
                finished.insert(n)
            };
        }
        check(&open(folder.path()), &taken, &finished);
    }
    assert!(finished.len() > 5, "the child must get to work: {finished:?}");
}

fn check(store: &Store, taken: &BTreeSet<i64>, finished: &BTreeSet<i64>) {
    let known: BTreeSet<i64> = store
        .known()
        .unwrap()
        .iter()
        .map(|known| i64::from_str_radix(known.study_key.as_str(), 16).unwrap())
        .collect();
    assert!(taken.is_subset(&known), "a study was taken and is gone");
    let rows = store.outbox_range(0, u64::MAX).unwrap();
    let done: BTreeSet<i64> = store
        .jobs(100_000)
        .unwrap()
        .iter()
        .filter(|job| job.state == JobState::Done)
        .map(|job| {
            assert!(store.report(&job.study_key).unwrap().is_some(), "done without a report");
            job.id.0
        })
        .collect();
    assert!(finished.is_subset(&done), "a study was finished and is not");
    let told: Vec<i64> = rows
        .iter()
        .map(|row| row.event.id.strip_prefix("result-").unwrap().parse().unwrap())
        .collect();
    assert_eq!(told.iter().copied().collect::<BTreeSet<_>>(), done, "a report without its event");
    assert_eq!(told.len(), done.len(), "an event twice");
    assert!(rows.iter().zip(1..).all(|(row, seq)| row.seq == seq), "a gap in the numbers");
    store.verify_audit().unwrap();
}
