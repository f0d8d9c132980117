//! The publisher against a real broker: what the contract promises, in the hour it is needed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests, outside a test function"
)]

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hepalert::daemon::bridge::{StoreOutbox, worklist};
use hepalert::publish::messages::{InfoParts, State, Status, StudyEvent, StudyState, Vitals};
use hepalert::publish::mqtt::ProbeError;
use hepalert::publish::schemas::schemas;
use hepalert::publish::{BrokerParams, Identity, Publisher, PublisherHandle, Snapshot, Tls, probe};
use hepalert::store::{Enqueued, Finished, NewEvent, NewJob, OpenAlert, Store};
use hepalert_study::outcome::AlertLevel;
use hepalert_study::phase::Setting;
use hepalert_study::study::StudyKey;
use jiff::Timestamp;

use crate::broker::{Broker, Heard, Kind, Subscriber, free_port, password};

const PATIENCE: Duration = Duration::from_secs(20);
const ROOT: &str = "hepalert/v1/ct-1";

pub(crate) fn params(port: u16) -> BrokerParams {
    BrokerParams { keep_alive_s: 5, ..BrokerParams::new("127.0.0.1", port, "ct-1") }
}

pub(crate) fn open(folder: &Path) -> Store {
    Store::open(&folder.join("hepalert.db"), Timestamp::now()).unwrap().store
}

pub(crate) fn start(params: BrokerParams, store: &Store) -> PublisherHandle {
    let boot = store.begin(Timestamp::now()).unwrap().boot;
    let since = Timestamp::now();
    let seen = store.clone();
    let snapshot = move || Snapshot {
        info: Some(
            InfoParts {
                engines: Vec::new(),
                config_sha256: "0".repeat(64),
                boot,
                next_seq: seen.backlog().unwrap().next_seq,
                clock_synced: None,
            }
            .into(),
        ),
        status: Status::new(State::Online, Vec::new(), since, boot),
        worklist: Some(worklist(&seen).unwrap()),
        vitals: Vitals::default(),
    };
    Publisher::start(params, Box::new(StoreOutbox(store.clone())), Arc::new(snapshot)).unwrap()
}

fn key(n: usize) -> String {
    format!("{n:032x}")
}

/// Writes the event "study n was queued"; returns its id.
pub(crate) fn write(store: &Store, n: usize) -> String {
    let identity = Identity {
        device: "ct-1".to_owned(),
        study_key: key(n),
        input_fingerprint: "f".to_owned(),
        pipeline_fingerprint: String::new(),
        revision: 1,
    };
    let event = StudyEvent {
        study_key: key(n),
        state: StudyState::Queued,
        code: None,
        setting: None,
        attempts: 0,
        passed_over: [("localiser".to_owned(), 2)].into(),
        target: None,
    };
    let draft = event.draft(&identity, Timestamp::now()).unwrap();
    let id = draft.id.to_string();
    store.record(&[draft.into()], Timestamp::now()).unwrap();
    id
}

fn is(heard: &Heard, topic: &str) -> bool {
    heard.topic == format!("{ROOT}/{topic}")
}

fn valid(name: &str, message: &serde_json::Value) {
    let schema = schemas().into_iter().find(|(known, _)| *known == name).unwrap().1;
    let validator = jsonschema::validator_for(schema.as_value()).unwrap();
    let faults: Vec<String> = validator.iter_errors(message).map(|e| e.to_string()).collect();
    assert!(faults.is_empty(), "{name}: {faults:?}\n{message:#}");
}

fn sent_all(store: &Store) {
    let deadline = Instant::now() + PATIENCE;
    while store.backlog().unwrap().unsent > 0 {
        assert!(Instant::now() < deadline, "{:?} left", store.backlog());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What a subscriber does by the contract: drop what it has seen by id, look for gaps in
/// `seq`, and ask for those again.
#[derive(Default)]
struct Reader {
    ids: BTreeSet<String>,
    seqs: Vec<u64>,
    repeated: usize,
}

impl Reader {
    fn read(&mut self, heard: &Heard) {
        let body = heard.json();
        if self.ids.insert(body["id"].as_str().unwrap().to_owned()) {
            self.seqs.push(body["seq"].as_u64().unwrap());
        } else {
            self.repeated += 1;
        }
    }

    fn read_until(&mut self, subscriber: &Subscriber, count: usize, patience: Duration) {
        let deadline = Instant::now() + patience;
        while self.ids.len() < count {
            let left = deadline.saturating_duration_since(Instant::now());
            let Some(heard) = subscriber.next(left) else { return };
            if is(&heard, "event/study") {
                self.read(&heard);
            }
        }
    }
}

#[test]
fn fifty_events_survive_a_stalled_and_killed_broker() {
    let Some(mut broker) = Broker::start(&Kind { persistent: true, ..Kind::default() }) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let subscriber = Subscriber::join(&broker, "reader", &format!("{ROOT}/event/#"));
    let publisher = start(BrokerParams { commands: true, ..params(broker.port) }, &store);

    let mut wanted = BTreeSet::new();
    for n in 0..50 {
        wanted.insert(write(&store, n));
        let before = Instant::now();
        publisher.wake();
        assert!(before.elapsed() < Duration::from_millis(100), "a wake waits for nobody");
        match n {
            20 => broker.stall(),
            35 => {
                broker.kill();
                broker.restart();
            }
            _ => {}
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    sent_all(&store);
    let mut reader = Reader::default();
    reader.read_until(&subscriber, 50, Duration::from_secs(5));
    let in_order = reader.seqs.is_sorted();
    let lost = 50 - reader.ids.len();
    println!("{} repeated, {lost} acknowledged but lost by the broker", reader.repeated);
    assert!(in_order, "{:?}", reader.seqs);
    if lost > 0 {
        // The broker acknowledged what it then forgot: a gap, so ask again.
        let (topic, reply) = (format!("{ROOT}/cmd/replay"), format!("{ROOT}/reply/reader"));
        subscriber.ask(&topic, r#"{"from_seq":1,"to_seq":50}"#, &reply, false);
        reader.read_until(&subscriber, 50, PATIENCE);
    }
    assert_eq!(reader.ids, wanted);
    let mut seqs = reader.seqs;
    seqs.sort_unstable();
    assert_eq!(seqs, (1..=50).collect::<Vec<_>>());
    assert!(publisher.stop(Duration::from_secs(2)));
}

#[test]
fn late_joiners_see_the_truth_and_a_forgetful_broker_is_told_again() {
    let Some(mut broker) = Broker::start(&Kind::default()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    raise_alert(&store, 7);
    let publisher = start(params(broker.port), &store);
    for round in 0..2 {
        sent_all(&store);
        let late = Subscriber::join(&broker, &format!("late-{round}"), &format!("{ROOT}/#"));
        let mut missing: BTreeSet<&str> =
            ["availability", "info", "status", "worklist", "health"].into();
        while !missing.is_empty() {
            let heard = late.next(PATIENCE).unwrap_or_else(|| panic!("no {missing:?}"));
            let name = heard.topic.strip_prefix(&format!("{ROOT}/")).unwrap().to_owned();
            if !missing.remove(name.as_str()) {
                continue;
            }
            if name == "availability" {
                assert_eq!(heard.body, b"online");
                continue;
            }
            valid(&name, &heard.json());
            assert_eq!(heard.properties.content_type.as_deref(), Some("application/json"));
            let schema = ("schema".to_owned(), format!("urn:hepalert:v1:{name}"));
            assert_eq!(heard.properties.user_properties, [schema]);
            if name == "worklist" {
                assert_eq!(heard.json()["open"][0]["study_key"], key(7));
            }
        }
        if round == 0 {
            broker.kill();
            broker.restart();
            let deadline = Instant::now() + PATIENCE;
            while publisher.state().connections < 2 {
                assert!(Instant::now() < deadline, "{:?}", publisher.state());
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
    assert!(publisher.stop(Duration::from_secs(2)));
}

/// A study that was refused; its key.
fn refuse(store: &Store, n: usize) -> String {
    let now = Timestamp::now();
    let job = NewJob {
        study_key: StudyKey::new(&key(n)).unwrap(),
        setting: Setting::Venous,
        input_fingerprint: "f".to_owned(),
        files_json: "{}".to_owned(),
        patient: None,
        completed_at: now,
    };
    store.enqueue_refused(&job, "not_ct", now, |_| Vec::new()).unwrap();
    key(n)
}

/// Puts an open alert about study `n` into the worklist; returns its id.
pub(crate) fn raise_alert(store: &Store, n: usize) -> String {
    let now = Timestamp::now();
    let job = NewJob {
        study_key: StudyKey::new(&key(n)).unwrap(),
        setting: Setting::Venous,
        input_fingerprint: "f".to_owned(),
        files_json: "{}".to_owned(),
        patient: None,
        completed_at: now,
    };
    let Enqueued::New(_) = store.enqueue(&job, now, |_| Vec::new()).unwrap() else { panic!() };
    let job = store.next_job(now, |_| Vec::new()).unwrap().unwrap();
    let id = uuid::Uuid::from_u128(n as u128).to_string();
    let (event_id, verdict, engine) = (id.clone(), AlertLevel::Suspected, "e 1".to_owned());
    let alert = OpenAlert { event_id, verdict, raised_at: now, engine };
    let finished = Finished {
        pipeline_fingerprint: "p".to_owned(),
        report_json: "{}".to_owned(),
        artefacts_json: "[]".to_owned(),
        deliveries: Vec::new(),
        alert: Some(alert),
    };
    store.finish(job.id, &finished, &[], now).unwrap();
    id
}

#[test]
fn a_message_that_is_too_large_holds_back_no_other() {
    for limit in ["max_packet_size 1500", "message_size_limit 1000"] {
        let Some(broker) = Broker::start(&Kind { more: limit, ..Kind::default() }) else { return };
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        let subscriber = Subscriber::join(&broker, "dashboard", &format!("{ROOT}/event/+"));
        let publisher = start(params(broker.port), &store);
        let before = write(&store, 1);
        let (large, vast) = (uuid::Uuid::from_u128(7), uuid::Uuid::from_u128(8));
        let lesions = vec!["x".repeat(300); 8];
        let short = serde_json::json!({"verdict": "suspected", "quality": [], "lesions": lesions});
        // Nothing can be left out of this one.
        let never = serde_json::json!({"words": "x".repeat(3000)});
        for (id, data) in [(large, short), (vast, never)] {
            let event = NewEvent {
                id: id.to_string(),
                topic: "event/result".to_owned(),
                kind: "result".to_owned(),
                subject: None,
                revision: 0,
                supersedes: None,
                time: Timestamp::now(),
                data: data.to_string(),
            };
            store.record(&[event], Timestamp::now()).unwrap();
        }
        let after = write(&store, 2);
        publisher.wake();
        let mut heard = std::collections::BTreeMap::new();
        while heard.len() < 3 {
            let message = subscriber.next(PATIENCE).expect(limit).json();
            heard.insert(message["id"].as_str().unwrap().to_owned(), message);
        }
        assert!(heard.contains_key(&before) && heard.contains_key(&after), "{limit}: {heard:#?}");
        let short = &heard[&large.to_string()];
        assert_eq!(short["data"]["verdict"], "suspected");
        assert_eq!(short["data"]["quality"], serde_json::json!(["shortened"]));
        let too_large = publisher.state().too_large.expect(limit);
        assert_eq!(too_large.topic, "event/result");
        assert!(too_large.most <= 1600 && too_large.bytes > too_large.most, "{too_large:?}");
        // They are marked as sent a moment after they are heard.
        let until = Instant::now() + PATIENCE;
        while store.backlog().unwrap().unsent != 1 {
            assert!(Instant::now() < until, "{limit}: only one cannot be sent");
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(publisher.state().connections < 8, "{limit}: {:?}", publisher.state());
        publisher.stop(Duration::from_secs(1));
    }
}

#[test]
fn a_clean_stop_says_so_first_and_sends_what_is_left() {
    let Some(broker) = Broker::start(&Kind::default()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let subscriber = Subscriber::join(&broker, "reader", &format!("{ROOT}/#"));
    let publisher = start(params(broker.port), &store);
    subscriber.until(PATIENCE, |heard| is(heard, "health")).expect("the greeting ends");
    // Written, but nobody woke the publisher for it.
    write(&store, 1);
    assert!(publisher.stop(Duration::from_secs(5)));
    let said: Vec<Heard> =
        std::iter::from_fn(|| subscriber.next(Duration::from_millis(500))).collect();
    let topics: Vec<&str> = said.iter().map(|h| h.topic.rsplit('/').next().unwrap()).collect();
    assert_eq!(topics, ["availability", "status", "study"], "and no last will after it");
    assert_eq!(said[0].body, b"offline");
    assert_eq!(said[1].json()["state"], "stopped");
    valid("study", &said[2].json());
    let id = said[2].json()["id"].as_str().unwrap().to_owned();
    assert!(said[2].properties.user_properties.contains(&("id".to_owned(), id)));
    assert_eq!(store.backlog().unwrap().unsent, 0);
}

#[test]
fn commands_are_obeyed_only_when_allowed_and_never_from_memory() {
    let Some(broker) = Broker::start(&Kind::default()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    for n in 0..3 {
        write(&store, n);
    }
    let alert = raise_alert(&store, 9);
    let reply = format!("{ROOT}/reply/reader");
    let reader = Subscriber::join(&broker, "reader", &format!("{ROOT}/#"));
    let answer = || {
        let heard = reader.until(PATIENCE, |heard| is(heard, "reply/reader")).expect("an answer");
        valid("reply", &heard.json());
        assert_eq!(heard.properties.correlation_data.as_deref(), Some(&b"question 1"[..]));
        (heard.json()["ok"].as_bool().unwrap(), heard.json()["code"].clone())
    };
    let deaf = start(params(broker.port), &store);
    reader.until(PATIENCE, |heard| is(heard, "health")).expect("the greeting ends");
    reader.ask(&format!("{ROOT}/cmd/ping"), "", &reply, true);
    let silent = reader.until(Duration::from_millis(700), |heard| is(heard, "reply/reader"));
    assert!(silent.is_none(), "off by default");
    assert!(deaf.stop(Duration::from_secs(2)));

    let publisher = start(BrokerParams { commands: true, ..params(broker.port) }, &store);
    reader.until(PATIENCE, |heard| is(heard, "health")).expect("the greeting ends");
    let silent = reader.until(Duration::from_millis(700), |heard| is(heard, "reply/reader"));
    assert!(silent.is_none(), "a kept command is not obeyed");
    reader.ask(&format!("{ROOT}/cmd/ping"), "", &reply, true);
    assert_eq!(answer(), (false, "retained-command".into()), "nor while the device listens");
    reader.ask(&format!("{ROOT}/cmd/ping"), "", &reply, false);
    assert_eq!(answer(), (true, serde_json::Value::Null));
    reader.ask(&format!("{ROOT}/cmd/engine"), "{}", &reply, false);
    assert_eq!(answer(), (false, "unknown-command".into()));
    let (refused, unknown, done) = (refuse(&store, 7), key(8), key(9));
    for (study, code) in [
        (refused.as_str(), serde_json::Value::Null),
        (&refused, "not-refused-or-failed".into()),
        (&unknown, "unknown-study".into()),
        (&done, "not-refused-or-failed".into()),
        ("no key", "unknown-study".into()),
    ] {
        let body = format!(r#"{{"study_key":"{study}"}}"#);
        reader.ask(&format!("{ROOT}/cmd/reprocess"), &body, &reply, false);
        assert_eq!(answer(), (code.is_null(), code), "{study}");
    }
    reader.ask(&format!("{ROOT}/cmd/ping"), "", "elsewhere/reply", false);

    reader.ask(&format!("{ROOT}/cmd/replay"), r#"{"from_seq":2,"to_seq":9}"#, &reply, false);
    assert_eq!(answer(), (true, serde_json::Value::Null));
    for seq in [2, 3] {
        let again = reader.until(PATIENCE, |heard| is(heard, "event/study")).unwrap().json();
        assert_eq!((&again["seq"], &again["replay"]), (&seq.into(), &true.into()));
    }
    let body = format!(r#"{{"id":"{alert}","by":"desk-1"}}"#);
    reader.ask(&format!("{ROOT}/cmd/ack"), &body, &reply, false);
    let wanted = |heard: &Heard| is(heard, "worklist") || is(heard, "reply/reader");
    // The worklist and the answer come in either order.
    let two: Vec<Heard> = (0..2).filter_map(|_| reader.until(PATIENCE, wanted)).collect();
    let list = two.iter().find(|heard| is(heard, "worklist")).expect("a new worklist").json();
    assert_eq!((&list["open_total"], &list["revision"]), (&0.into(), &2.into()));
    assert!(two.iter().any(|heard| is(heard, "reply/reader") && heard.json()["ok"] == true));
    assert!(publisher.stop(Duration::from_secs(2)));
}

/// Not a test by itself: a publisher that can be killed.
#[test]
#[ignore = "run as a child by the tests below"]
fn child_publisher() {
    let Ok(port) = std::env::var("HEPALERT_TEST_PORT") else { return };
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let _publisher = start(params(port.parse().unwrap()), &store);
    // The parent ends this process; if it died first, so does this one, in the end.
    std::thread::sleep(Duration::from_secs(60));
}

/// A child process; it ends with the value.
pub(crate) struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn publisher_process(port: u16) -> Running {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "publish::child_publisher", "--ignored"])
        .env("HEPALERT_TEST_PORT", port.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    Running(child.unwrap())
}

#[test]
fn a_killed_publisher_is_announced_by_the_broker() {
    let Some(broker) = Broker::start(&Kind::default()) else { return };
    let watcher = Subscriber::join(&broker, "watcher", &format!("{ROOT}/availability"));
    let child = publisher_process(broker.port);
    assert_eq!(watcher.next(PATIENCE).expect("a birth").body, b"online");
    drop(child);
    assert_eq!(watcher.next(PATIENCE).expect("a last will").body, b"offline");
    let late = Subscriber::join(&broker, "late", &format!("{ROOT}/availability"));
    let heard = late.next(PATIENCE).expect("it is kept");
    assert!(heard.retained && heard.body == b"offline");
}

#[test]
fn a_refused_connection_is_tried_again_in_peace() {
    // Nobody listens: the processor must be left alone.
    let mut child = publisher_process(free_port());
    std::thread::sleep(Duration::from_secs(3));
    assert!(child.0.try_wait().unwrap().is_none(), "it does not give up");
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.0.id())).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    // A tick is 10 ms; a spinning thread would have used some 300.
    println!("{ticks} ticks in 3 s");
    assert!(ticks < 60, "{ticks} ticks of processor time in three seconds");
    drop(child);

    // Someone listens and hangs up: the door must not be hammered either.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let knocks = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&knocks);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            drop(stream);
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let publisher = start(params(port), &store);
    std::thread::sleep(Duration::from_secs(3));
    let knocks = knocks.load(Ordering::SeqCst);
    assert!((2..=6).contains(&knocks), "{knocks} connections in three seconds");
    assert!(publisher.state().last_error.is_some() && !publisher.state().connected);
    let before = Instant::now();
    assert!(publisher.stop(Duration::from_secs(5)));
    assert!(before.elapsed() < Duration::from_secs(1), "no broker, nothing to wait for");
}

#[test]
fn a_password_is_read_from_its_file() {
    let kind = Kind { users: &["ct-1"], ..Kind::default() };
    let Some(broker) = Broker::start(&kind) else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    let named = BrokerParams {
        username: Some("ct-1".to_owned()),
        password_file: Some(file.clone()),
        ..params(broker.port)
    };
    let missing = probe(&named, PATIENCE).unwrap_err();
    assert!(missing.to_string().contains("mqtt.password_file cannot be read"), "{missing}");
    std::fs::write(&file, "wrong\n").unwrap();
    let refused = probe(&named, PATIENCE).unwrap_err();
    assert!(matches!(refused, ProbeError::Credentials(_)), "{refused}");
    std::fs::write(&file, password("ct-1") + "\n").unwrap();
    assert_eq!(probe(&named, PATIENCE), Ok(()));
}

#[test]
fn the_shipped_access_list_lets_a_device_speak_for_itself_only() {
    let acl = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/mosquitto/hepalert.acl");
    let kind = Kind { users: &["ct-1", "reading-desk"], acl: Some(acl), ..Kind::default() };
    let Some(broker) = Broker::start(&kind) else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, password("ct-1")).unwrap();
    let named = |device: &str| BrokerParams {
        device: device.to_owned(),
        username: Some("ct-1".to_owned()),
        password_file: Some(file.clone()),
        ..params(broker.port)
    };
    let store = open(folder.path());
    let desk = Subscriber::join(&broker, "reading-desk", "hepalert/v1/+/event/#");
    write(&store, 1);
    // Under another device's name nothing gets through, and it is not taken for sent.
    let impostor = start(named("ct-2"), &store);
    let deadline = Instant::now() + PATIENCE;
    while impostor.state().refused == 0 {
        assert!(Instant::now() < deadline, "{:?}", impostor.state());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(impostor.stop(Duration::from_secs(1)));
    assert_eq!(store.backlog().unwrap().unsent, 1);

    let device = start(named("ct-1"), &store);
    let heard = desk.next(PATIENCE).expect("the event");
    assert!(is(&heard, "event/study"), "{}", heard.topic);
    sent_all(&store);
    assert_eq!(device.state().last_error, None, "the retained set is allowed too");
    assert!(device.stop(Duration::from_secs(2)));
}

#[test]
fn certificates_go_both_ways() {
    let folder = tempfile::tempdir().unwrap();
    if !make_certificates(folder.path()) {
        println!("skipped: openssl is not installed");
        return;
    }
    let kind = Kind { tls: Some(folder.path().to_owned()), ..Kind::default() };
    let Some(broker) = Broker::start(&kind) else { return };
    let at = |name: &str| folder.path().join(name);
    let with = |ca: &str, client| {
        let tls = Some(Tls { ca_file: at(ca), client });
        probe(&BrokerParams { tls, ..params(broker.port) }, PATIENCE)
    };
    let ours = Some((at("device.pem"), at("device.key")));
    assert_eq!(with("ca.pem", ours.clone()), Ok(()));
    assert!(
        matches!(with("ca.pem", None), Err(ProbeError::Tls(_))),
        "the broker wants to know who we are: {:?}",
        with("ca.pem", None)
    );
    assert!(
        matches!(with("other-ca.pem", ours.clone()), Err(ProbeError::Tls(_))),
        "we want to know who the broker is: {:?}",
        with("other-ca.pem", None)
    );
}

/// An authority, another one, and certificates of the first for a broker and a device.
fn make_certificates(folder: &Path) -> bool {
    let script = r#"
        set -e
        new="openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
        for ca in ca other-ca; do
            $new -keyout $ca.key -out $ca.pem -subj "/CN=$ca"
        done
        for who in broker device; do
            $new -CA ca.pem -CAkey ca.key -keyout $who.key -out $who.pem -subj "/CN=$who" \
                -addext "basicConstraints=critical,CA:FALSE" \
                -addext "subjectAltName=IP:127.0.0.1"
        done"#;
    let made = Command::new("sh").args(["-c", script]).current_dir(folder).output().unwrap();
    made.status.success()
}
