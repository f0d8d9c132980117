//! Opening a store: layouts, damaged files, other processes.

use std::os::unix::fs::PermissionsExt;

use rusqlite::params;

use super::*;

#[test]
fn the_file_is_private_and_opens_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hepalert.db");
    std::fs::write(&file, b"").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let store = open_at(folder.path());
    enqueue(&store, 1, "a");
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let mode = entry.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    drop(store);
    assert_eq!(open_at(folder.path()).known().unwrap().len(), 1);
}

#[test]
fn a_newer_layout_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_at(folder.path());
    store.lock().pragma_update(None, "user_version", 99).unwrap();
    drop(store);
    let refused = Store::open(&folder.path().join("hepalert.db"), at(0)).unwrap_err();
    assert!(matches!(refused, StoreError::Newer { found: 99, .. }), "{refused}");
}

#[test]
fn a_damaged_file_is_set_aside_and_said_so() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hepalert.db");
    let store = open_at(folder.path());
    for study in 0..100 {
        enqueue(&store, study, "a");
    }
    store.record(&[event("e", 1, 1)], at(0)).unwrap();
    store.lock().pragma_update(None, "wal_checkpoint", "truncate").ok();
    drop(store);
    let mut bytes = std::fs::read(&file).unwrap();
    for byte in &mut bytes[4096..] {
        *byte ^= 0x5a;
    }
    std::fs::write(&file, &bytes).unwrap();

    let opened = Store::open(&file, at(5)).unwrap();
    let aside = opened.moved_away.unwrap();
    assert_eq!(std::fs::read(aside).unwrap(), bytes, "nothing is deleted");
    let audit = opened.store.audit_rows(0, 10).unwrap();
    assert_eq!(audit[0].what, "store_replaced");
    assert!(audit[0].detail.contains("hepalert.db.damaged-"), "{}", audit[0].detail);
    assert!(opened.store.backlog().unwrap().next_seq > 1_000_000, "no number comes twice");
    assert!(opened.store.begin(at(6)).unwrap().boot > 1_000_000);
}

#[test]
fn an_opening_cut_short_after_the_damaged_file_was_moved_is_finished_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hepalert.db");
    for name in ["damaged-9", "damaged-10", "damaged-10-wal", "damaged-10-shm"] {
        std::fs::write(folder.path().join(format!("hepalert.db.{name}")), "bad").unwrap();
    }
    let opened = Store::open(&file, at(5)).unwrap();
    assert_eq!(opened.moved_away, Some(folder.path().join("hepalert.db.damaged-10")));
    assert!(opened.store.backlog().unwrap().next_seq > 1_000_000, "no number comes twice");
    let boot = opened.store.begin(at(6)).unwrap().boot;
    assert!(boot > 1_000_000);
    drop(opened);
    let again = Store::open(&file, at(7)).unwrap();
    assert_eq!((again.moved_away, again.store.boot().unwrap()), (None, boot), "said once");
}

#[test]
fn a_file_that_is_no_database_is_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hepalert.db");
    std::fs::write(&file, "not a database, but longer than a header ".repeat(50)).unwrap();
    assert!(Store::open(&file, at(0)).unwrap().moved_away.is_some());
}

#[test]
fn a_store_of_an_older_layout_keeps_its_rows() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hepalert.db");
    let old = Connection::open(&file).unwrap();
    open::MIGRATIONS[..2].iter().for_each(|step| old.execute_batch(step).unwrap());
    old.pragma_update(None, "user_version", 2).unwrap();
    let insert = "INSERT INTO jobs (study_key, revision, setting, fingerprint, files_json, state,
                  priority, received_at) VALUES (?1, 1, 'venous', 'a', '{}', ?2, ?3, 0)";
    for (study, state, priority) in [(1, "queued", 0), (2, "queued", 7), (3, "done", 0)] {
        old.execute(insert, params![key(study).as_str(), state, priority]).unwrap();
    }
    drop(old);
    let store = open_at(folder.path());
    let counts = store.job_counts().unwrap();
    assert_eq!((counts.queued, counts.done), (2, 1));
    assert_eq!([(); 2].map(|()| begin_next(&store).study_key), [key(1), key(2)], "by age alone");
}

#[test]
fn facts_outlive_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_at(folder.path());
    store.set_fact("selftest", "passed").unwrap();
    store.set_fact("selftest", "failed").unwrap();
    assert_eq!(open_at(folder.path()).fact("selftest").unwrap().as_deref(), Some("failed"));
}

#[test]
fn two_processes_can_look_and_write() {
    let folder = tempfile::tempdir().unwrap();
    let (daemon, tool) = (open_at(folder.path()), open_at(folder.path()));
    std::thread::scope(|scope| {
        for (store, base) in [(&daemon, 0), (&tool, 100)] {
            scope.spawn(move || {
                for n in 0..20 {
                    enqueue(store, base + n, "a");
                }
            });
        }
    });
    assert_eq!(daemon.known().unwrap().len(), 40);
    assert_eq!(daemon.verify_audit().unwrap(), 40);
}
