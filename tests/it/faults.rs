//! What goes wrong around a daemon, played on a real one: names that are used again, a second
//! daemon, a second device of one name, a clock that is wrong, a key that is gone, a full disk.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use hepalert::store::Store;
use hepalert_lab::phantom::{Case, Size, generate};
use hepalert_study::study::Setting;
use jiff::{SignedDuration, Timestamp};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::broker::{Broker, Kind, Subscriber};
use crate::daemon::{Heart, House, export, is_state, wait_until};
use crate::support::hepalert;

/// A small patient: what comes of it does not matter here.
fn series(seed: u64, scratch: &Path) -> Vec<PathBuf> {
    let size = Size { pixels: 64, slices: None };
    let patient = generate(seed, Case::Normal, Setting::Venous, size);
    hepalert::cli::phantom::write_series(&patient, &scratch.join(seed.to_string())).unwrap()
}

fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

fn start(kind: &Kind) -> Option<(Broker, Subscriber)> {
    let broker = Broker::start(kind)?;
    let subscriber = Subscriber::join(&broker, "dashboard", "hepalert/v1/test/#");
    Some((broker, subscriber))
}

fn has_reason(topic: &str, message: &Value, reason: &str) -> bool {
    let reasons = message["reasons"].as_array();
    topic.ends_with("/status") && reasons.is_some_and(|list| list.iter().any(|word| word == reason))
}

#[test]
fn an_exporter_that_uses_a_name_again_gives_no_patient_anothers_result() {
    let Some((broker, subscriber)) = start(&Kind::default()) else { return };
    let house = House::new(broker.port, 1);
    let daemon = house.start();
    let scratch = tempfile::tempdir().unwrap();
    let put = |seed: u64, name: &str| {
        let folder = house.export().join(name);
        fs::create_dir_all(&folder).unwrap();
        export(&series(seed, scratch.path()), &folder);
    };
    let mut heart = Heart::default();
    let mut next = |state: &str| {
        heart.listen(&subscriber, |_, message| is_state(message, state));
        heart.events.last().unwrap().1["subject"].as_str().unwrap().to_owned()
    };
    // The first study keeps the inference process busy while the second waits.
    put(11, "first");
    let first = next("started");
    let worker = wait_until(|| daemon.worker());
    signal(worker, Signal::STOP);
    put(12, "shared");
    let waiting = next("queued");
    assert_ne!(first, waiting);
    put(13, "shared");
    let other = next("queued");
    assert!(other != waiting && other != first);
    signal(worker, Signal::CONT);

    heart.listen(&subscriber, |_, message| is_state(message, "failed"));
    let failed = heart.events.last().unwrap().1.clone();
    assert_eq!(failed["subject"], waiting.as_str());
    assert_eq!(failed["data"]["code"], "files_changed");
    let ended = |message: &Value| ["completed", "rejected"].iter().any(|s| is_state(message, s));
    if !heart
        .events
        .iter()
        .any(|(_, message)| message["subject"] == other.as_str() && ended(message))
    {
        heart.listen(&subscriber, |_, message| {
            message["subject"] == other.as_str() && ended(message)
        });
    }
    daemon.stop();
    let of_waiting =
        heart.of("event/result").into_iter().filter(|event| event["subject"] == waiting.as_str());
    assert_eq!(of_waiting.count(), 0, "no result under the wrong patient");
}

#[test]
fn a_second_daemon_is_refused_by_name() {
    let Some((broker, subscriber)) = start(&Kind::default()) else { return };
    let house = House::new(broker.port, 1);
    let daemon = house.start();
    let mut heart = Heart::default();
    heart.listen(&subscriber, |topic, _| topic.ends_with("/info"));
    let second = hepalert().arg("run").arg("--config").arg(house.config()).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains("another daemon works with this store"), "{said}");
    daemon.stop();
    heart.listen(&subscriber, |topic, message| {
        topic.ends_with("/availability") && message == "offline"
    });
    let offline = heart
        .events
        .iter()
        .filter(|(topic, message)| topic.ends_with("/availability") && message == "offline");
    assert_eq!(offline.count(), 1, "its line to the broker was never taken away");
}

#[test]
fn two_devices_of_one_name_are_told() {
    let Some((broker, subscriber)) = start(&Kind::default()) else { return };
    let (one, two) = (House::new(broker.port, 1), House::new(broker.port, 1));
    let (first, second) = (one.start(), two.start());
    let mut heart = Heart::default();
    wait_until(|| {
        let said = format!("{}{}", one.log(), two.log());
        said.contains("another client has taken this device's name").then_some(())
    });
    heart.listen(&subscriber, |topic, message| has_reason(topic, message, "device_name_taken"));
    first.stop();
    second.stop();
}

#[test]
fn a_clock_wrong_for_one_start_removes_nothing() {
    let Some((broker, subscriber)) = start(&Kind::default()) else { return };
    let house = House::new(broker.port, 1);
    let result = house.state().join("results/0123456789abcdef0123456789abcdef-r1");
    fs::create_dir_all(&result).unwrap();
    let old = std::time::SystemTime::now() - Duration::from_secs(100 * 86_400);
    fs::File::open(&result).unwrap().set_modified(old).unwrap();
    let noted = |days: i64| {
        let file = house.state().join("hepalert.sqlite");
        let store = Store::open(&file, Timestamp::now()).unwrap().store;
        let at = Timestamp::now().checked_sub(SignedDuration::from_hours(24 * days)).unwrap();
        store.set_fact("clock", &at.to_string()).unwrap();
    };
    // As far as the device knows, a hundred days have gone by since its last hour.
    noted(100);
    let daemon = house.start();
    let mut heart = Heart::default();
    heart.listen(&subscriber, |topic, message| has_reason(topic, message, "clock_doubtful"));
    assert!(result.exists());
    daemon.stop();
    noted(1);
    let daemon = house.start();
    wait_until(|| (!result.exists()).then_some(()));
    daemon.stop();
}

#[test]
fn a_site_key_that_is_gone_is_not_made_anew() {
    let Some((broker, subscriber)) = start(&Kind::default()) else { return };
    let house = House::new(broker.port, 1);
    let daemon = house.start();
    let mut heart = Heart::default();
    heart.listen(&subscriber, |topic, _| topic.ends_with("/worklist"));
    daemon.stop();
    let (key, kept) = (house.state().join("site.key"), house.state().join("kept"));
    fs::rename(&key, &kept).unwrap();
    let daemon = house.start();
    heart.listen(&subscriber, |topic, message| has_reason(topic, message, "site_key_missing"));
    assert!(!key.exists());
    // Restored, it goes on by itself.
    fs::rename(&kept, &key).unwrap();
    heart.listen(&subscriber, |topic, message| {
        topic.ends_with("/status") && message["state"] == "online"
    });
    daemon.stop();
}

#[test]
fn systemd_hears_at_once_why_a_daemon_cannot_begin() {
    let house = House::new(1, 1);
    fs::create_dir_all(house.state()).unwrap();
    fs::write(house.state().join("site.key"), "short").unwrap();
    let socket = house.state().join("notify");
    let systemd = UnixDatagram::bind(&socket).unwrap();
    systemd.set_read_timeout(Some(Duration::from_secs(240))).unwrap();
    let daemon = house.start_under("NOTIFY_SOCKET", socket);
    let heard = [(); 2].map(|()| {
        let mut words = [0; 256];
        let length = systemd.recv(&mut words).unwrap();
        String::from_utf8_lossy(&words[..length]).trim().to_owned()
    });
    assert_eq!(heard, ["READY=1", "STATUS=cannot begin: site_key_missing"]);
    daemon.stop();
}

#[test]
fn a_queue_that_could_not_be_read_for_a_while_is_no_longer_told_as_failing() {
    let Some((broker, subscriber)) = start(&Kind::default()) else { return };
    let house = House::new(broker.port, 1);
    let daemon = house.start();
    let mut heart = Heart::default();
    let mut next = |wanted: &dyn Fn(&Value) -> bool| {
        heart.listen(&subscriber, |topic, message| topic.ends_with("/status") && wanted(message));
    };
    next(&|message| message["state"] == "online");
    // Nobody writes while another program holds the store, and no study waits after it.
    let other = rusqlite::Connection::open(house.state().join("hepalert.sqlite")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    next(&|message| has_reason("/status", message, "store_failing"));
    other.execute_batch("ROLLBACK").unwrap();
    next(&|message| message["state"] == "online");
    daemon.stop();
}

/// A disk of one megabyte; `None` where the system does not let tests make one.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn at(folder: &Path) -> Option<SmallDisk> {
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "none"])
            .arg(folder)
            .output();
        let mounted = mount.is_ok_and(|ended| ended.status.success());
        if !mounted {
            println!("skipped: no small disk can be mounted here");
        }
        mounted.then(|| SmallDisk(folder.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_first_start_on_a_full_disk_waits_and_says_so() {
    let Some((broker, subscriber)) = start(&Kind::default()) else { return };
    let house = House::new(broker.port, 1);
    fs::create_dir_all(house.state()).unwrap();
    let Some(_disk) = SmallDisk::at(&house.state()) else { return };
    let ballast = house.state().join("ballast");
    // What does not fit is not written.
    let _ = fs::write(&ballast, vec![1; 2 << 20]);
    let daemon = house.start();
    let mut heart = Heart::default();
    heart.listen(&subscriber, |topic, message| has_reason(topic, message, "disk_full"));
    let key = fs::read(house.state().join("site.key"));
    assert!(key.is_err() || key.unwrap().len() == 64, "no half a key");
    fs::remove_file(ballast).unwrap();
    heart.listen(&subscriber, |topic, _| topic.ends_with("/info"));
    daemon.stop();
}
