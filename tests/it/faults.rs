//! What goes wrong around a daemon, played on a real one: names that are used again, a second
//! daemon, a second device of one name, a clock that is wrong, a key that is gone, a full disk.

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use hepalert::store::Store;
use hepalert_lab::phantom::{Case, Size, generate};
use hepalert_study::phase::Setting;
use jiff::{SignedDuration, Timestamp};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::broker::{Broker, Kind, Subscriber};
use crate::campaign::study;
use crate::daemon::{Heart, House, export, has_reason, is_state, wait_until};
use crate::support::{hepalert, small_engine};

/// So long a disk stays full.
const FULL: Duration = Duration::from_secs(8);

/// A small patient: what comes of it does not matter here.
fn series(seed: u64, scratch: &Path) -> Vec<PathBuf> {
    let size = Size { pixels: 64, slices: None };
    let patient = generate(seed, Case::Normal, Setting::Venous, size);
    hepalert::cli::phantom::write_series(&patient, &scratch.join(seed.to_string())).unwrap()
}

fn put(house: &House, number: usize) {
    let folder = house.export().join(format!("s{number}"));
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("ct.nii.gz"), study(number)).unwrap();
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
fn a_study_that_takes_the_daemon_down_is_given_up_and_the_next_goes_on() {
    let Some((broker, subscriber)) = start(&Kind::default()) else { return };
    let house = House::with_bundle(broker.port, 2, &small_engine(), "");
    put(&house, 1);
    for attempt in 1..=2 {
        let mut daemon = house.start_with("study_begun");
        wait_until(|| daemon.has_ended().then_some(()));
        println!("the daemon went down with attempt {attempt}");
    }
    // A third attempt would take this one down too.
    let mut daemon = house.start_with("study_begun");
    let mut heart = Heart::default();
    heart.listen(&subscriber, |_, message| is_state(message, "failed"));
    let begun = house.log().matches("study begun, attempt").count();
    assert_eq!(begun, 2, "as often as it may be tried");
    let poison = heart.events.last().unwrap().1.clone();
    assert_eq!(poison["data"]["code"], "daemon_died");
    assert_eq!(poison["data"]["attempts"], 2);
    assert!(!daemon.has_ended());
    daemon.stop();

    let daemon = house.start();
    put(&house, 2);
    heart.listen(&subscriber, |_, message| is_state(message, "completed"));
    assert_ne!(heart.events.last().unwrap().1["subject"], poison["subject"]);
    daemon.stop();
    assert_eq!(heart.of("event/result").len(), 1);
}

#[test]
fn a_thread_that_panics_takes_the_daemon_off_line_and_the_next_start_does_the_study() {
    let Some((broker, subscriber)) = start(&Kind::default()) else { return };
    let house = House::with_bundle(broker.port, 3, &small_engine(), "");
    let mut daemon = house.start_with("study_begun:1:panic");
    let mut heart = Heart::default();
    let is = |wanted: &'static str| {
        move |topic: &str, message: &Value| topic.ends_with("/availability") && message == wanted
    };
    heart.listen(&subscriber, is("online"));
    put(&house, 1);
    heart.listen(&subscriber, is("offline"));
    wait_until(|| daemon.has_ended().then_some(()));
    let log = house.log();
    assert!(log.contains("the thread studies has ended"), "{log}");
    drop(daemon);

    let daemon = house.start();
    heart.listen(&subscriber, is("online"));
    heart.listen(&subscriber, |topic, _| topic.ends_with("event/result"));
    daemon.stop();
    assert_eq!(heart.of("event/result").len(), 1);
}

#[test]
fn a_daemon_whose_message_the_broker_does_not_take_says_so() {
    // A result is the only kind of message that is longer.
    let kind = Kind { more: "max_packet_size 1900", ..Kind::default() };
    let Some((broker, subscriber)) = start(&kind) else { return };
    let house = House::with_bundle(broker.port, 1, &small_engine(), "");
    put(&house, 1);
    let daemon = house.start();
    let mut heart = Heart::default();
    heart.listen(&subscriber, |topic, message| has_reason(topic, message, "message_too_large"));
    assert_eq!(heart.events.last().unwrap().1["state"], "degraded");
    if !heart.events.iter().any(|(_, message)| is_state(message, "completed")) {
        heart.listen(&subscriber, |_, message| is_state(message, "completed"));
    }
    let result = heart.of("event/result").pop().unwrap();
    let quality = result["data"]["quality"].as_array().unwrap();
    assert!(quality.contains(&"shortened".into()), "{result}");
    daemon.stop();
    let completed = heart.of("event/study").iter().any(|event| is_state(event, "completed"));
    assert!(completed, "the others are not held back");
    let log = house.log();
    assert!(log.contains("more than the broker's 1900"), "{log}");
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
        let file = house.database();
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
    let other = rusqlite::Connection::open(house.database()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    next(&|message| has_reason("/status", message, "store_failing"));
    other.execute_batch("ROLLBACK").unwrap();
    next(&|message| message["state"] == "online");
    daemon.stop();
}

/// What a small disk gives out at a time.
const PAGE: u64 = 4096;

/// A small disk; `None` where the system does not let tests make one.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn at(folder: &Path, megabytes: u32) -> Option<SmallDisk> {
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "none"])
            .arg(folder)
            .output();
        let mounted = mount.is_ok_and(|ended| ended.status.success());
        if !mounted {
            println!("skipped: no small disk can be mounted here");
        }
        mounted.then(|| SmallDisk(folder.to_owned()))
    }

    /// From here on it can be read alone, or written again: `ro` or `rw`.
    fn remount(&self, how: &str) -> bool {
        let mount = Command::new("mount")
            .args(["-o", &format!("remount,{how}")])
            .arg(&self.0)
            .output()
            .unwrap();
        mount.status.success()
    }

    /// Takes all the space there is but so many pages, until the file goes.
    fn fill_but(&self, pages: u64) -> PathBuf {
        let ballast = self.fill();
        let file = fs::OpenOptions::new().write(true).open(&ballast).unwrap();
        let size = file.metadata().unwrap().len();
        file.set_len(size - size % PAGE - pages * PAGE).unwrap();
        ballast
    }

    /// Takes all the space there is, until the file goes.
    fn fill(&self) -> PathBuf {
        let ballast = self.0.join("ballast");
        let mut file = fs::File::create(&ballast).unwrap();
        let mut bytes = vec![1; 1 << 16];
        while !bytes.is_empty() {
            // What does not fit is not written.
            if file.write_all(&bytes).is_err() {
                bytes.truncate(bytes.len() / 4);
            }
        }
        ballast
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
    let Some(disk) = SmallDisk::at(&house.state(), 1) else { return };
    let ballast = disk.fill();
    let daemon = house.start();
    let mut heart = Heart::default();
    heart.listen(&subscriber, |topic, message| has_reason(topic, message, "disk_full"));
    let key = fs::read(house.state().join("site.key"));
    assert!(key.is_err() || key.unwrap().len() == 64, "no half a key");
    fs::remove_file(ballast).unwrap();
    heart.listen(&subscriber, |topic, _| topic.ends_with("/info"));
    daemon.stop();
}

#[test]
fn a_store_that_cannot_be_written_is_told_and_nothing_is_lost() {
    let Some((broker, subscriber)) = start(&Kind::default()) else { return };
    let house = House::with_bundle(broker.port, 1, &small_engine(), "");
    fs::create_dir_all(house.state()).unwrap();
    let Some(disk) = SmallDisk::at(&house.state(), 16) else { return };
    if !disk.remount("ro") {
        println!("skipped: no disk can be made read-only here");
        return;
    }
    let mut heart = Heart::default();
    let mut next = |wanted: &dyn Fn(&str, &Value) -> bool| heart.listen(&subscriber, wanted);
    let failing = |topic: &str, message: &Value| has_reason(topic, message, "store_failing");
    // The first start is one that waits.
    let daemon = house.start();
    next(&failing);
    assert!(disk.remount("rw"));
    next(&|topic, _| topic.ends_with("/info"));
    put(&house, 1);
    next(&|topic, _| topic.ends_with("event/result"));
    daemon.stop();
    // A disk that the system made read-only for its errors, with a study that came meanwhile.
    assert!(disk.remount("ro"));
    put(&house, 2);
    let daemon = house.start();
    next(&failing);
    assert!(disk.remount("rw"));
    next(&|topic, _| topic.ends_with("event/result"));
    daemon.stop();
    assert_eq!(heart.of("event/result").len(), 2);
}

#[test]
fn a_disk_that_is_full_at_any_moment_of_a_study_loses_nothing() {
    let Some((broker, subscriber)) = start(&Kind::default()) else { return };
    let house = House::with_bundle(broker.port, 20, &small_engine(), "");
    fs::create_dir_all(house.state()).unwrap();
    let Some(disk) = SmallDisk::at(&house.state(), 16) else { return };
    let daemon = house.start();
    let mut heart = Heart::default();
    heart.listen(&subscriber, |topic, _| topic.ends_with("/info"));
    // Full from each step of a study on, for as long as it takes to be told.
    for (number, from) in ["", "received", "queued", "started"].into_iter().enumerate() {
        let before = heart.of("event/result").len();
        let full = |topic: &str, message: &Value| {
            let told = ["disk_full", "store_failing"];
            told.iter().any(|reason| has_reason(topic, message, reason))
        };
        if from.is_empty() {
            let ballast = disk.fill();
            heart.listen(&subscriber, full);
            put(&house, number);
            std::thread::sleep(Duration::from_secs(4));
            fs::remove_file(ballast).unwrap();
        } else {
            put(&house, number);
            heart.listen(&subscriber, |_, message| is_state(message, from));
            let ballast = disk.fill();
            // A study of this size may be through already.
            std::thread::sleep(Duration::from_secs(4));
            fs::remove_file(ballast).unwrap();
        }
        while heart.of("event/result").len() == before {
            heart.listen(&subscriber, |topic, _| topic.ends_with("event/result"));
        }
    }
    daemon.stop();
    let results = heart.of("event/result");
    let subjects: std::collections::BTreeSet<&str> =
        results.iter().map(|event| event["subject"].as_str().unwrap()).collect();
    assert_eq!((results.len(), subjects.len()), (4, 4), "one result a study");
    assert!(!house.log().contains("panicked"), "{}", house.log());
    let store = Store::open(&house.database(), Timestamp::now()).unwrap();
    assert!(store.moved_away.is_none());
    store.store.verify_audit().unwrap();
}

/// What a disk with so many pages left lets a study write: how far it came before there was room
/// again.
fn study_with_pages(
    house: &House,
    (disk, pages): (&SmallDisk, u64),
    (subscriber, heart): (&Subscriber, &mut Heart),
) -> String {
    // The log of the database is new after a start: what is written to it takes room.
    let daemon = house.start();
    heart.listen(subscriber, |topic, message| {
        topic.ends_with("/status") && message["state"] == "online"
    });
    let ballast = disk.fill_but(pages);
    let (before, began) = (heart.events.len(), Instant::now());
    put(house, usize::try_from(pages).unwrap());
    let mut furthest = "nothing".to_owned();
    let is_end = |step: &str| ["completed", "store_failing", "disk_full"].contains(&step);
    while began.elapsed() < FULL && !is_end(&furthest) {
        let Some(heard) = subscriber.next(Duration::from_millis(200)) else { continue };
        let message = serde_json::from_slice(&heard.body).unwrap_or(Value::Null);
        let told = ["disk_full", "store_failing"];
        let reason = told.into_iter().find(|why| has_reason(&heard.topic, &message, why));
        let state = message["data"]["state"].as_str().map(str::to_owned);
        furthest = reason.map(str::to_owned).or(state).unwrap_or(furthest);
        heart.events.push((heard.topic, message));
    }
    let steps =
        heart.events[before..].iter().filter_map(|(_, told)| told["data"]["state"].as_str());
    let seen = format!("{:?}, then {furthest}", steps.collect::<Vec<_>>());
    fs::remove_file(ballast).unwrap();
    let is_over = |message: &Value| is_state(message, "completed");
    if furthest != "completed" {
        heart.listen(subscriber, |_, message| is_over(message));
    }
    daemon.stop();
    heart.listen(subscriber, |topic, message| {
        topic.ends_with("/availability") && message == "offline"
    });
    seen
}

#[test]
fn a_disk_with_any_number_of_pages_left_loses_nothing() {
    let Some((broker, subscriber)) = start(&Kind::default()) else { return };
    let house = House::with_bundle(broker.port, 20, &small_engine(), "");
    let config = fs::read_to_string(house.config()).unwrap();
    // Studies are begun whatever is free: it is the writing that fails.
    fs::write(house.config(), config.replace("min_free_mib = 1", "min_free_mib = 0")).unwrap();
    fs::create_dir_all(house.state()).unwrap();
    let Some(disk) = SmallDisk::at(&house.state(), 16) else { return };
    let mut heart = Heart::default();
    let numbers = [0, 1, 2, 4, 6, 8, 12, 16, 24, 32, 48, 64];
    let mut places = std::collections::BTreeSet::new();
    for pages in numbers {
        let at = (&disk, pages);
        let seen = study_with_pages(&house, at, (&subscriber, &mut heart));
        println!("{pages} pages: {seen}");
        places.insert(seen);
    }
    assert!(places.len() > 2, "the disk was full at one moment only: {places:?}");
    let results = heart.of("event/result");
    let subjects: std::collections::BTreeSet<&str> =
        results.iter().map(|event| event["subject"].as_str().unwrap()).collect();
    assert_eq!((results.len(), subjects.len()), (numbers.len(), numbers.len()), "one a study");
    assert!(!house.log().contains("panicked"), "{}", house.log());
    let store = Store::open(&house.database(), Timestamp::now()).unwrap();
    assert!(store.moved_away.is_none());
    store.store.verify_audit().unwrap();
}

#[test]
fn a_daemon_short_of_files_or_memory_ends_every_study() {
    let Some((broker, subscriber)) = start(&Kind::default()) else { return };
    let house = House::with_bundle(broker.port, 2, &small_engine(), "");
    let mut heart = Heart::default();
    // Files for what it must, then hardly any addresses for the inference process.
    for (number, limit) in ["-n 24", "-v 1500000", "-v 400000"].into_iter().enumerate() {
        let daemon = house.start_limited(limit);
        heart.listen(&subscriber, |topic, message| {
            topic.ends_with("/availability") && message == "online"
        });
        put(&house, number);
        heart.listen(&subscriber, |_, message| {
            ["completed", "failed"].iter().any(|state| is_state(message, state))
        });
        daemon.stop();
        assert!(!house.log().contains("panicked"), "{limit}: {}", house.log());
    }
    let subjects = |topic| -> Vec<String> {
        let events = heart.of(topic).into_iter();
        events.map(|event| event["subject"].as_str().unwrap().to_owned()).collect()
    };
    // How much memory it takes hangs on the number of cores; few files always do.
    println!("{} of 3 studies have a result", subjects("event/result").len());
    assert!(!subjects("event/result").is_empty(), "{:#?}", heart.of("event/study"));
}
