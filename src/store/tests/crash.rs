//! The promises of the store when the process dies, and in any order.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use proptest::prelude::*;

use super::{at, begin_next, enqueue, event, finished, key, open_at};
use crate::store::*;

/// Not a test by itself: the part of the process that dies. Finishes one job on the store
/// named by the environment.
#[test]
#[ignore = "run as a child by the tests below"]
fn child_finishes_a_job() {
    let Ok(folder) = std::env::var("HEPALERT_TEST_STORE") else { return };
    let store = open_at(Path::new(&folder));
    let id = store.jobs(1).unwrap()[0].id;
    store.finish(id, &finished(Some("alert")), &[event("alert", 1, 1)], at(20)).unwrap();
}

fn finish_in_a_child(folder: &Path, failpoint: &str) -> bool {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "store::tests::crash::child_finishes_a_job", "--ignored"]);
    child.env("HEPALERT_TEST_STORE", folder).env("HEPALERT_FAILPOINT", failpoint);
    child.output().unwrap().status.success()
}

#[test]
fn a_crash_leaves_all_of_a_finish_or_nothing() {
    for (failpoint, committed) in [("before_commit", false), ("after_commit", true)] {
        let folder = tempfile::tempdir().unwrap();
        let store = open_at(folder.path());
        enqueue(&store, 1, "a");
        let job = begin_next(&store);
        drop(store);
        assert!(!finish_in_a_child(folder.path(), failpoint), "the child must die");

        let store = open_at(folder.path());
        let seen = (
            store.report(&key(1)).unwrap().is_some(),
            store.unsent(0, 9).unwrap().len() == 1,
            store.worklist(9).unwrap().open_total == 1,
            store.job(job.id).unwrap().state == JobState::Done,
        );
        assert_eq!(seen, (committed, committed, committed, committed), "{failpoint}");
        drop(store);
        // What a restarted daemon does: the same again. Nothing is lost, nothing is double.
        assert!(finish_in_a_child(folder.path(), "none"));
        let store = open_at(folder.path());
        assert_eq!(store.unsent(0, 9).unwrap().len(), 1);
        assert_eq!(store.backlog().unwrap().next_seq, 2);
    }
}

/// One thing that can happen to the store.
#[derive(Debug, Clone, Copy)]
enum Step {
    Enqueue { study: u8, files: u8 },
    Begin,
    Finish,
    Fail,
    Crash,
    Send,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..3u8, 0..3u8).prop_map(|(study, files)| Step::Enqueue { study, files }),
        3 => Just(Step::Begin),
        3 => Just(Step::Finish),
        1 => Just(Step::Fail),
        2 => Just(Step::Crash),
        2 => Just(Step::Send),
    ]
}

/// What must be true whatever happened: every study that was taken is still there, its end
/// has exactly one result event, and what the broker has is what is marked as sent.
#[derive(Debug, Default)]
struct Model {
    taken: BTreeMap<(u8, u8), JobId>,
    ended: BTreeSet<JobId>,
    running: Vec<Job>,
    sent: BTreeSet<String>,
}

fn play(folder: &Path, steps: &[Step]) -> (Store, Model) {
    let mut store = open_at(folder);
    // Power cuts are played elsewhere; here a lost fsync costs only time.
    let quick = |store: &Store| store.lock().pragma_update(None, "synchronous", "off").unwrap();
    quick(&store);
    let mut model = Model::default();
    for &step in steps {
        match step {
            Step::Enqueue { study, files } => match enqueue(&store, study, &files.to_string()) {
                Enqueued::New(new) => {
                    assert!(model.taken.insert((study, files), new.job).is_none());
                }
                Enqueued::Duplicate(job) => assert_eq!(model.taken[&(study, files)], job),
            },
            Step::Begin => model.running.extend(store.next_job(at(10), |_| Vec::new()).unwrap()),
            Step::Finish => {
                let Some(job) = model.running.pop() else { continue };
                let events = [event(&format!("result-{}", job.id), 1, job.revision)];
                store.finish(job.id, &finished(None), &events, at(20)).unwrap();
                model.ended.insert(job.id);
            }
            Step::Fail => {
                let Some(job) = model.running.pop() else { continue };
                store.retry(job.id, at(0), "again").unwrap();
            }
            Step::Crash => {
                drop(store);
                store = open_at(folder);
                quick(&store);
                let mut lost: Vec<JobId> = model.running.drain(..).map(|job| job.id).collect();
                lost.sort_unstable();
                assert_eq!(store.begin(at(0)).unwrap().requeued, lost);
            }
            Step::Send => {
                let Some(row) = store.unsent(0, 1).unwrap().pop() else { continue };
                store.mark_sent(&[row.seq], at(30)).unwrap();
                assert!(model.sent.insert(row.event.id), "sent twice");
            }
        }
    }
    (store, model)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn no_order_of_events_loses_or_repeats_anything(
        steps in proptest::collection::vec(step(), 0..30)
    ) {
        let folder = tempfile::tempdir().unwrap();
        let (store, model) = play(folder.path(), &steps);
        prop_assert_eq!(store.known().unwrap().len(), model.taken.len());
        let rows = store.outbox_range(0, u64::MAX).unwrap();
        let ids: BTreeSet<String> = rows.iter().map(|row| row.event.id.clone()).collect();
        let wanted: BTreeSet<String> =
            model.ended.iter().map(|job| format!("result-{job}")).collect();
        prop_assert_eq!(&ids, &wanted);
        prop_assert_eq!(rows.len(), wanted.len());
        prop_assert!(rows.iter().zip(1u64..).all(|(row, seq)| row.seq == seq));
        for row in &rows {
            prop_assert_eq!(row.sent_at.is_some(), model.sent.contains(&row.event.id));
        }
        for &job in model.taken.values() {
            let state = store.job(job).unwrap().state;
            prop_assert_eq!(state == JobState::Done, model.ended.contains(&job));
        }
        let counts = store.job_counts().unwrap();
        prop_assert_eq!(counts.running as usize, model.running.len());
        store.verify_audit().unwrap();
    }
}
