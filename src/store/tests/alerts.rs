//! Alerts that are open: who has seen them, when they are told again, what a display shows.

use super::*;

const PATIENCE: Patience = Patience { after: Duration::from_millis(60), times: 2 };

/// A store with one open alert, raised at 2 ms.
fn with_alert() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = open_at(folder.path());
    enqueue(&store, 1, "a");
    let job = begin_next(&store);
    store.finish(job.id, &finished(Some("alert")), &[], at(2)).unwrap();
    (folder, store)
}

#[test]
fn an_open_alert_is_told_again_after_every_wait_and_no_oftener_than_allowed() {
    let (_folder, store) = with_alert();
    let remind = |now| {
        let tell = |alert: &Unanswered| {
            assert_eq!((alert.event_id.as_str(), alert.raised_at), ("alert", at(2)));
            vec![event(&format!("reminder {}", alert.reminder), 1, alert.revision)]
        };
        store.remind(PATIENCE, at(now), tell).unwrap()
    };
    let told: Vec<usize> = [61, 62, 63, 121, 122, 500].map(remind).into();
    assert_eq!(told, [0, 1, 0, 0, 1, 0]);
    let ids: Vec<String> =
        store.unsent(0, 9).unwrap().into_iter().map(|row| row.event.id).collect();
    assert_eq!(ids, ["reminder 1", "reminder 2"]);
}

#[test]
fn who_has_seen_an_alert_ends_its_reminders_and_the_last_opinion_counts() {
    let (_folder, store) = with_alert();
    let opinion = || store.answers().unwrap()[0].opinion;
    assert_eq!((opinion(), store.answers().unwrap()[0].is_acknowledged), (None, false));
    assert!(store.acknowledge("alert", "desk", None, at(3)).unwrap());
    assert_eq!(store.remind(PATIENCE, at(500), |_| panic!("seen")).unwrap(), 0);
    assert!(store.acknowledge("alert", "reader", Some(Opinion::Agreed), at(4)).unwrap());
    assert!(!store.acknowledge("alert", "reader", None, at(5)).unwrap(), "nothing is said");
    assert_eq!(opinion(), Some(Opinion::Agreed));
    assert!(store.acknowledge("alert", "board", Some(Opinion::Disagreed), at(6)).unwrap());
    assert_eq!(opinion(), Some(Opinion::Disagreed));
    assert!(!store.acknowledge("other", "reader", Some(Opinion::Agreed), at(7)).unwrap());
    let answers = store.answers().unwrap();
    assert_eq!((answers.len(), answers[0].engine.as_str()), (1, "e 1"));
}

#[test]
fn the_worklist_shows_the_newest_and_counts_all() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_at(folder.path());
    for study in 0..4u8 {
        enqueue(&store, study, "a");
        let job = begin_next(&store);
        let mut outcome = finished(Some(&format!("alert-{study}")));
        outcome.alert.as_mut().unwrap().raised_at = at(i64::from(study));
        store.finish(job.id, &outcome, &[], at(20)).unwrap();
    }
    let worklist = store.worklist(2).unwrap();
    let ids: Vec<_> = worklist.entries.iter().map(|entry| entry.event_id.as_str()).collect();
    assert_eq!((worklist.open_total, ids), (4, vec!["alert-3", "alert-2"]));
}
