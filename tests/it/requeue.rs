//! A study that was refused, put back by hand: it is judged anew by what lies in the folder, and
//! the quarantine says which files it was.

#![allow(clippy::unwrap_used, reason = "helpers of tests, outside a test function")]

use std::fs;

use hepalert::store::{Finished, NewJob, Store};
use hepalert_study::phase::Setting;
use hepalert_study::study::StudyKey;
use jiff::Timestamp;
use serde_json::Value;

use crate::broker::{Broker, Kind, Subscriber};
use crate::daemon::{Heart, House, export, is_state, phantom};
use crate::support::hepalert;

/// Puts a study back; what the command said.
fn requeue(house: &House, key: &str) -> String {
    let mut command = hepalert();
    command.args(["study", "requeue", key, "--config"]).arg(house.config());
    let ended = command.output().unwrap();
    assert!(ended.status.success(), "{ended:?}");
    String::from_utf8(ended.stdout).unwrap()
}

/// The next rejection: code, study key and revision.
fn rejected(heart: &mut Heart, subscriber: &Subscriber) -> (String, String, u64) {
    heart.listen(subscriber, |_, message| is_state(message, "rejected"));
    let event = heart.events.last().unwrap().1.clone();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&event["data"]["code"]), text(&event["subject"]), event["rev"].as_u64().unwrap())
}

#[test]
fn a_study_that_intake_refused_is_judged_anew_when_it_is_put_back() {
    let Some(broker) = Broker::start(&Kind::default()) else { return };
    let subscriber = Subscriber::join(&broker, "dashboard", "hepalert/v1/test/event/#");
    let house = House::new(broker.port, 1);
    let wide = fs::read_to_string(house.config()).unwrap();
    fs::write(house.config(), format!("{wide}[gate]\nmax_files = 20\n")).unwrap();
    let daemon = house.start();
    let scratch = tempfile::tempdir().unwrap();
    let slices = phantom(9, scratch.path());
    let folder = house.export().join("many");
    fs::create_dir(&folder).unwrap();
    export(&slices, &folder);
    let mut heart = Heart::default();
    let (code, key, revision) = rejected(&mut heart, &subscriber);
    assert_eq!((code.as_str(), revision), ("too_many_files", 1));
    let listed = |revision: u64| -> Value {
        let file = house.state().join(format!("quarantine/{key}-r{revision}.json"));
        serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
    };
    let first = listed(1);
    assert_eq!((&first["code"], &first["files_total"]), (&"too_many_files".into(), &20.into()));
    assert_eq!(first["files"].as_array().unwrap().len(), 20);
    assert!(first["files"][0].as_str().unwrap().contains("many/"), "{first}");

    // Nothing has changed: the reason is the same, and not that its files are unknown.
    assert!(requeue(&house, &key).contains("reads its files in the export folder anew"));
    let (code, again, revision) = rejected(&mut heart, &subscriber);
    assert_eq!((code.as_str(), &again), ("too_many_files", &key));
    assert!(revision > 1);
    assert_eq!(listed(revision)["files_total"], 20);

    // Put back while no daemon runs, and under another limit.
    daemon.stop();
    requeue(&house, &key);
    fs::write(house.config(), wide).unwrap();
    let daemon = house.start();
    heart.listen(&subscriber, |_, message| {
        message["subject"] == key.as_str() && is_state(message, "started")
    });
    daemon.stop();
    assert!(!house.log().contains("panicked"), "{}", house.log());
}

#[test]
fn a_refused_study_whose_files_are_gone_is_told_as_vanished_when_it_is_put_back() {
    let Some(broker) = Broker::start(&Kind::default()) else { return };
    let subscriber = Subscriber::join(&broker, "dashboard", "hepalert/v1/test/event/#");
    let house = House::new(broker.port, 1);
    let daemon = house.start();
    let notes = house.export().join("notes");
    fs::create_dir(&notes).unwrap();
    fs::write(notes.join("README.txt"), "not a scan").unwrap();
    let mut heart = Heart::default();
    let (code, key, _) = rejected(&mut heart, &subscriber);
    assert_eq!(code, "foreign");
    requeue(&house, &key);
    assert_eq!(rejected(&mut heart, &subscriber).0, "foreign", "it still lies there");
    fs::remove_dir_all(notes).unwrap();
    requeue(&house, &key);
    assert_eq!(rejected(&mut heart, &subscriber).0, "vanished");
    daemon.stop();
}

#[test]
fn an_older_revision_takes_not_the_place_of_a_newer_one() {
    let house = House::new(1, 1);
    fs::create_dir_all(house.state()).unwrap();
    let now = Timestamp::now();
    let store = Store::open(&house.database(), now).unwrap().store;
    let key = "0123456789abcdef0123456789abcdef";
    let take = |fingerprint: &str| {
        let job = NewJob {
            study_key: StudyKey::new(key).unwrap(),
            setting: Setting::Venous,
            input_fingerprint: fingerprint.to_owned(),
            files_json: "{}".to_owned(),
            patient: None,
            completed_at: now,
        };
        store.enqueue(&job, now, |_| Vec::new()).unwrap();
        store.next_job(now, |_| Vec::new()).unwrap().unwrap()
    };
    store.dead_letter(take("twenty files").id, "worker_died", &[], now).unwrap();
    let finished = Finished {
        pipeline_fingerprint: String::new(),
        report_json: "{}".to_owned(),
        artefacts_json: "[]".to_owned(),
        deliveries: Vec::new(),
        alert: None,
    };
    store.finish(take("twenty-one").id, &finished, &[], now).unwrap();
    let mut command = hepalert();
    let ended = command.args(["study", "requeue", key, "--config"]).arg(house.config()).output();
    let ended = ended.unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(!ended.status.success() && said.contains("newest revision is done"), "{said}");
}
