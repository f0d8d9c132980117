//! The promises of the store, one at a time.

use std::path::Path;
use std::time::Duration;

use super::*;
use hepalert_study::outcome::{AlertLevel, Opinion};
use hepalert_study::phase::Setting;
use hepalert_study::study::{PatientKey, StudyKey};

mod alerts;
mod crash;
mod opening;

pub(super) fn at(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(1_700_000_000_000 + ms).unwrap()
}

pub(super) fn open_at(folder: &Path) -> Store {
    Store::open(&folder.join("hepalert.db"), at(0)).unwrap().store
}

pub(super) fn key(n: u8) -> StudyKey {
    StudyKey::new(&format!("{n:032x}")).unwrap()
}

pub(super) fn new_job(study: u8, files: &str) -> NewJob {
    NewJob {
        study_key: key(study),
        setting: Setting::Venous,
        input_fingerprint: files.to_owned(),
        files_json: "[\"a.nii.gz\"]".to_owned(),
        patient: None,
        completed_at: at(0),
    }
}

pub(super) fn event(id: &str, study: u8, revision: u32) -> NewEvent {
    NewEvent {
        id: id.to_owned(),
        topic: "event/alert".to_owned(),
        kind: "alert".to_owned(),
        subject: Some(key(study).as_str().to_owned()),
        revision,
        supersedes: None,
        time: at(1),
        data: "{}".to_owned(),
    }
}

pub(super) fn finished(alert: Option<&str>) -> Finished {
    Finished {
        pipeline_fingerprint: "p".to_owned(),
        report_json: "{\"verdict\":1}".to_owned(),
        artefacts_json: "[]".to_owned(),
        deliveries: Vec::new(),
        alert: alert.map(|id| OpenAlert {
            event_id: id.to_owned(),
            verdict: AlertLevel::Suspected,
            raised_at: at(2),
            engine: "e 1".to_owned(),
        }),
    }
}

pub(super) fn enqueue(store: &Store, study: u8, files: &str) -> Enqueued {
    store.enqueue(&new_job(study, files), at(0), |_| Vec::new()).unwrap()
}

pub(super) fn begin_next(store: &Store) -> Job {
    store.next_job(at(10), |_| Vec::new()).unwrap().unwrap()
}

#[test]
fn the_same_files_are_taken_once_and_new_files_are_a_new_revision() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_at(folder.path());
    let Enqueued::New(first) = enqueue(&store, 1, "a") else { panic!("not new") };
    assert_eq!((first.revision, first.superseded.len()), (1, 0));
    assert_eq!(enqueue(&store, 1, "a"), Enqueued::Duplicate(first.job));

    let Enqueued::New(second) = enqueue(&store, 1, "b") else { panic!("not new") };
    assert_eq!((second.revision, second.superseded[0].id), (2, first.job));
    assert_eq!(store.job(first.job).unwrap().state, JobState::Superseded);

    assert_eq!(begin_next(&store).id, second.job);
    let Enqueued::New(third) = enqueue(&store, 1, "c") else { panic!("not new") };
    assert!(third.superseded.is_empty(), "a running job is not pulled away");
    assert_eq!(store.known().unwrap().len(), 3);
}

#[test]
fn a_refused_study_is_known_and_supersedes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_at(folder.path());
    enqueue(&store, 1, "a");
    let told = store.enqueue_refused(&new_job(1, "b"), "no-liver", at(1), |admission| {
        vec![event("refused", 1, admission.revision)]
    });
    let Enqueued::New(refused) = told.unwrap() else { panic!("not new") };
    assert_eq!(refused.superseded, []);
    let counts = store.job_counts().unwrap();
    assert_eq!((counts.queued, counts.refused), (1, 1));
    assert_eq!(store.unsent(0, 9).unwrap()[0].event.revision, 2);
    assert!(matches!(enqueue(&store, 1, "b"), Enqueued::Duplicate(_)));
}

#[test]
fn the_queue_goes_by_time_then_age() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_at(folder.path());
    enqueue(&store, 1, "a");
    enqueue(&store, 2, "a");
    enqueue(&store, 3, "a");
    let order: Vec<Job> = (0..3).map(|_| begin_next(&store)).collect();
    assert_eq!(order.iter().map(|j| &j.study_key).collect::<Vec<_>>(), [&key(1), &key(2), &key(3)]);

    store.retry(order[0].id, at(100), "engine-hung").unwrap();
    assert_eq!(store.next_job(at(99), |_| Vec::new()).unwrap(), None);
    let again = store.next_job(at(100), |_| Vec::new()).unwrap().unwrap();
    assert_eq!((again.attempts, again.reason_code.as_deref()), (2, Some("engine-hung")));
}

#[test]
fn the_queue_is_found_without_reading_every_job() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_at(folder.path());
    for sql in [queue::NEXT, queue::COUNTS] {
        let connection = store.lock();
        let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let steps = plan.raw_query().mapped(|row| row.get::<_, String>("detail"));
        let steps: Vec<String> = steps.collect::<Result<_, _>>().unwrap();
        assert!(steps.iter().any(|step| step.contains("INDEX jobs_state")), "{steps:?}");
        let costly = ["SCAN jobs", "TEMP B-TREE"];
        let covered = |step: &&String| !step.contains("USING COVERING INDEX");
        for step in steps.iter().filter(covered) {
            assert!(!costly.iter().any(|word| step.contains(word)), "{steps:?}");
        }
    }
}

#[test]
fn a_clock_that_was_set_back_holds_no_study_for_long() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_at(folder.path());
    enqueue(&store, 1, "a");
    let job = begin_next(&store);
    let day = 86_400_000;
    store.retry(job.id, at(day), "engine-hung").unwrap();
    assert_eq!(store.next_job(at(day - 60_000), |_| Vec::new()).unwrap(), None, "in a minute");
    let again = store.next_job(at(0), |_| Vec::new()).unwrap();
    assert_eq!(again.map(|job| job.attempts), Some(2), "not in a day");
}

#[test]
fn what_was_running_waits_again_with_its_attempts() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_at(folder.path());
    assert_eq!(store.begin(at(0)).unwrap(), Started { boot: 1, requeued: vec![] });
    enqueue(&store, 1, "a");
    let job = begin_next(&store);
    drop(store);
    let store = open_at(folder.path());
    assert_eq!(store.begin(at(0)).unwrap(), Started { boot: 2, requeued: vec![job.id] });
    assert_eq!(begin_next(&store).attempts, 2);
}

#[test]
fn a_power_cut_is_no_attempt_and_a_stop_neither() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_at(folder.path());
    store.begin(at(0)).unwrap();
    enqueue(&store, 1, "a");
    for _ in 0..5 {
        assert_eq!(begin_next(&store).attempts, 1);
        let requeued = store.begin(at(0)).unwrap().requeued;
        store.excuse(&requeued).unwrap();
    }
    // A machine that goes down over and over goes down because of the study.
    assert_eq!(begin_next(&store).attempts, 1);
    let requeued = store.begin(at(0)).unwrap().requeued;
    store.excuse(&requeued).unwrap();
    let job = begin_next(&store);
    assert_eq!(job.attempts, 2);
    store.put_back(job.id, at(0), None).unwrap();
    let again = begin_next(&store);
    assert_eq!((again.attempts, again.reason_code), (2, None));
    store.put_back(again.id, at(0), Some("engine_unusable")).unwrap();
    assert_eq!(store.job(again.id).unwrap().reason_code.as_deref(), Some("engine_unusable"));
    assert!(store.put_back(again.id, at(0), None).is_err(), "it does not run");
}

#[test]
fn finishing_is_one_step_and_happens_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_at(folder.path());
    store.begin(at(0)).unwrap();
    enqueue(&store, 1, "a");
    let job = begin_next(&store);
    let events = [event("result", 1, 1), event("alert", 1, 1)];
    assert!(store.finish(job.id, &finished(Some("alert")), &events, at(20)).unwrap());
    assert!(!store.finish(job.id, &finished(Some("alert")), &events, at(21)).unwrap());

    assert_eq!(store.job(job.id).unwrap().state, JobState::Done);
    assert_eq!(store.report(&key(1)).unwrap().unwrap().report_json, "{\"verdict\":1}");
    let rows = store.unsent(0, 9).unwrap();
    assert_eq!(rows.iter().map(|row| (row.seq, row.boot)).collect::<Vec<_>>(), [(1, 1), (2, 1)]);
    assert_eq!(store.worklist(50).unwrap().entries[0].event_id, "alert");
    let refused = store.refuse(job.id, "late", &[], at(22)).unwrap_err();
    assert!(matches!(refused, StoreError::WrongState { state: JobState::Done, .. }), "{refused}");
}

#[test]
fn a_stray_event_undoes_the_whole_step() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_at(folder.path());
    enqueue(&store, 1, "a");
    let job = begin_next(&store);
    let health = NewEvent { topic: "health".to_owned(), ..event("h", 1, 1) };
    let events = [event("alert", 1, 1), health];
    let refused = store.finish(job.id, &finished(Some("alert")), &events, at(20)).unwrap_err();
    assert!(matches!(refused, StoreError::NotAnEvent(_)), "{refused}");
    assert_eq!(store.job(job.id).unwrap().state, JobState::Running);
    assert_eq!(store.report(&key(1)).unwrap(), None);
    assert_eq!(store.backlog().unwrap().next_seq, 1);
}

#[test]
fn numbers_are_dense_and_never_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_at(folder.path());
    assert_eq!(store.record(&[event("a", 1, 1), event("b", 1, 1)], at(0)).unwrap(), 2);
    assert_eq!(store.record(&[event("b", 1, 1), event("c", 1, 1)], at(0)).unwrap(), 1);
    for seq in 1..=3 {
        store.mark_sent(&[seq], at(seq as i64)).unwrap();
    }
    store.mark_attempt(&[3]).unwrap();
    assert_eq!(store.prune(at(3)).unwrap().events, 2);
    assert_eq!(store.record(&[event("d", 1, 1)], at(9)).unwrap(), 1);
    let rows = store.outbox_range(0, u64::MAX).unwrap();
    let seen: Vec<_> = rows.iter().map(|row| (row.seq, row.event.id.as_str())).collect();
    assert_eq!(seen, [(3, "c"), (4, "d")]);
    assert_eq!((rows[0].attempts, rows[0].sent_at), (1, Some(at(3))));
    let backlog = store.backlog().unwrap();
    assert_eq!((backlog.unsent, backlog.oldest_unsent, backlog.next_seq), (1, Some(at(9)), 5));
}

#[test]
fn pruning_keeps_what_was_never_sent() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_at(folder.path());
    enqueue(&store, 1, "a");
    let job = begin_next(&store);
    store.finish(job.id, &finished(None), &[event("r", 1, 1)], at(20)).unwrap();
    assert_eq!(store.prune(at(1000)).unwrap(), Pruned { events: 0, reports: 1 });
    assert_eq!(store.unsent(0, 9).unwrap().len(), 1);
    assert_eq!(store.job(job.id).unwrap().files_json, "[]", "file names are forgotten");
    assert_eq!(store.known().unwrap().len(), 1, "the study is still known");
}

#[test]
fn a_later_revision_closes_or_replaces_the_alert() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_at(folder.path());
    enqueue(&store, 1, "a");
    let first = begin_next(&store);
    enqueue(&store, 1, "b");
    let second = begin_next(&store);
    store.finish(second.id, &finished(None), &[], at(20)).unwrap();
    store.finish(first.id, &finished(Some("stale")), &[], at(21)).unwrap();
    assert_eq!(store.worklist(50).unwrap().open_total, 0, "the later revision has spoken");

    enqueue(&store, 1, "c");
    let third = begin_next(&store);
    store.finish(third.id, &finished(Some("third")), &[event("third", 1, 3)], at(22)).unwrap();
    let worklist = store.worklist(50).unwrap();
    assert_eq!((worklist.revision, worklist.entries[0].revision), (1, 3));
    assert_eq!(
        store.newest_event("event/alert", key(1).as_str()).unwrap(),
        Some(("third".to_owned(), 3))
    );
    assert!(store.acknowledge("third", "reader \"1\"", None, at(23)).unwrap());
    assert!(!store.acknowledge("third", "reader 2", None, at(24)).unwrap());
    let worklist = store.worklist(50).unwrap();
    assert_eq!((worklist.revision, worklist.open_total), (2, 0));
}

#[test]
fn dead_jobs_can_be_put_back_by_hand() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_at(folder.path());
    enqueue(&store, 1, "a");
    let job = begin_next(&store);
    store.dead_letter(job.id, "worker-crashed", &[event("failed", 1, 1)], at(20)).unwrap();
    assert_eq!(store.job_counts().unwrap().dead, 1);
    assert_eq!(store.requeue(job.id, at(21)).unwrap(), 2, "what happens now is news");
    let again = begin_next(&store);
    assert_eq!((again.attempts, again.revision, again.reason_code), (1, 2, None));
    assert!(store.requeue(job.id, at(22)).is_err(), "it runs");
    assert!(matches!(store.requeue(JobId(99), at(22)), Err(StoreError::NoSuchJob(JobId(99)))));
}

#[test]
fn a_job_without_files_waits_for_the_intake_and_for_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_at(folder.path());
    let refused = |print: &str| {
        let new = NewJob { files_json: NO_FILES.to_owned(), ..new_job(1, print) };
        store.enqueue_refused(&new, "missing_slices", at(1), |_| Vec::new()).unwrap()
    };
    let Enqueued::New(first) = refused("a") else { panic!("new") };
    store.requeue(first.job, at(2)).unwrap();
    assert!(store.next_job(at(3), |_| Vec::new()).unwrap().is_none(), "there is nothing to read");
    let waiting = store.without_files().unwrap();
    assert_eq!(waiting.iter().map(|job| job.id).collect::<Vec<_>>(), [first.job]);
    // Whatever the intake brings takes its place, a refusal too.
    let Enqueued::New(second) = refused("b") else { panic!("new") };
    assert_eq!((second.revision, second.superseded[0].id), (3, first.job));
    assert_eq!(store.without_files().unwrap(), []);
    store.requeue(second.job, at(4)).unwrap();
    let Enqueued::New(third) = enqueue(&store, 1, "c") else { panic!("new") };
    assert_eq!(third.superseded[0].id, second.job);
    assert_eq!(begin_next(&store).id, third.job);
    // A refusal still takes no good one out of the queue.
    enqueue(&store, 2, "a");
    let new = NewJob { files_json: NO_FILES.to_owned(), ..new_job(2, "b") };
    store.enqueue_refused(&new, "missing_slices", at(5), |_| Vec::new()).unwrap();
    assert_eq!(begin_next(&store).study_key, key(2));
}

#[test]
fn the_audit_trail_shows_every_change() {
    for tampering in [
        "UPDATE audit SET detail = '{}' WHERE n = 2",
        "UPDATE audit SET at = at + 1 WHERE n = 3",
        "DELETE FROM audit WHERE n = 2",
        "DELETE FROM audit WHERE n = 1",
        "DELETE FROM audit WHERE n = 4",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let store = open_at(folder.path());
        for n in 0..4 {
            let detail = format!("{{\"n\":{n}}}");
            store.write(|tx| audit::append(tx, at(n), "config_read", &detail)).unwrap();
        }
        assert_eq!(store.verify_audit().unwrap(), 4);
        store.lock().execute(tampering, []).unwrap();
        assert!(matches!(store.verify_audit(), Err(StoreError::Nonsense(_))), "{tampering}");
    }
}

#[test]
fn what_the_system_refuses_may_pass_and_what_makes_no_sense_may_not() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_at(folder.path());
    let run = |sql: &str| StoreError::from(store.lock().execute_batch(sql).unwrap_err());
    assert!(!run("INSERT INTO meta VALUES (1, NULL)").may_pass(), "a constraint");
    assert!(!run("SELECT nothing").may_pass());
    store.lock().pragma_update(None, "query_only", true).unwrap();
    assert!(run("DELETE FROM meta").may_pass(), "read-only now, perhaps not later");
    assert!(StoreError::Full.may_pass() && !StoreError::NoSuchJob(JobId(1)).may_pass());
}

#[test]
fn a_patient_is_known_again_until_the_result_goes() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_at(folder.path());
    let person = PatientKey::new(key(90));
    let enqueue_of = |study: u8, patient: Option<&PatientKey>| {
        let new = NewJob { patient: patient.cloned(), ..new_job(study, &format!("files {study}")) };
        store.enqueue(&new, at(0), |_| Vec::new()).unwrap();
        store.next_job(at(1), |_| Vec::new()).unwrap().unwrap().id
    };
    let results = |but: u8| store.results_of(&person, &key(but), 9).unwrap();
    let [first, second] = [1, 2].map(|study| enqueue_of(study, Some(&person)));
    enqueue_of(4, Some(&PatientKey::new(key(91))));
    enqueue_of(5, None);
    assert_eq!(results(9), [], "none is done");
    for (job, ms) in [(second, 10), (first, 20)] {
        store.finish(job, &finished(None), &[], at(ms)).unwrap();
    }
    let named = |study: u8| (key(study).as_str().to_owned(), 1);
    assert_eq!(results(9), [named(1), named(2)], "the last comes first");
    assert_eq!(results(1), [named(2)], "but for the study itself");
    store.prune(at(15)).unwrap();
    assert_eq!(results(9), [named(1)]);
}
