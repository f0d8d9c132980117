//! The publishing thread on a line and an outbox that the test plays.

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, Sender as Tell, channel};

use std::sync::Mutex;

use uuid::Uuid;

use super::*;
use crate::publish::contract::{Draft, EventKind};
use crate::publish::exchange::{OutboxError, Reprocess};
use crate::publish::link::Waker;
use crate::publish::messages::{Info, InfoParts, Status, Worklist};
use crate::publish::publisher::{PublisherHandle, start_on};
use crate::publish::schedule::ScheduleLimits;
use hepalert_study::outcome::Opinion;

/// The publisher's end of a line whose other end the test holds.
struct FakeLink {
    events: Receiver<LinkEvent>,
    wake: Tell<LinkEvent>,
    done: Tell<Did>,
}

/// What the publisher did to the line.
#[derive(Debug, PartialEq)]
enum Did {
    Open,
    Send(Message),
    Close { polite: bool },
}

impl Link for FakeLink {
    fn open(&mut self) {
        let _ = self.done.send(Did::Open);
    }

    fn send(&mut self, message: Message) {
        let _ = self.done.send(Did::Send(message));
    }

    fn wait(&mut self, most: Duration) -> LinkEvent {
        self.events.recv_timeout(most).unwrap_or(LinkEvent::Idle)
    }

    fn close(&mut self, polite: Option<Duration>) {
        let _ = self.done.send(Did::Close { polite: polite.is_some() });
    }

    fn waker(&self) -> Waker {
        let wake = Mutex::new(self.wake.clone());
        Arc::new(move || drop(lock(&wake).send(LinkEvent::Woken)))
    }
}

/// Events 1 to `last`; can be told to fail.
#[derive(Debug, Default)]
struct OutboxState {
    last: u64,
    sent: BTreeSet<u64>,
    refusals: u32,
    broken: bool,
}

struct FakeOutbox(Arc<Mutex<OutboxState>>);

fn row(seq: u64) -> Row {
    let draft = Draft {
        id: Uuid::from_u128(u128::from(seq)),
        kind: EventKind::Study,
        subject: None,
        revision: 1,
        supersedes: None,
        time: Timestamp::UNIX_EPOCH,
        data: "{}".to_owned(),
    };
    Row { seq, boot: 1, draft }
}

impl Outbox for FakeOutbox {
    fn unsent(&mut self, after: u64, most: usize) -> Result<Vec<Row>, OutboxError> {
        let kept = lock(&self.0);
        let unsent = (after + 1..=kept.last).filter(|seq| !kept.sent.contains(seq));
        Ok(unsent.take(most).map(row).collect())
    }

    fn row(&mut self, seq: u64) -> Result<Option<Row>, OutboxError> {
        Ok(Some(row(seq)))
    }

    fn accepted(&mut self, seqs: &[u64]) -> Result<(), OutboxError> {
        let mut kept = lock(&self.0);
        if kept.broken {
            return Err(OutboxError("no space".to_owned()));
        }
        kept.sent.extend(seqs);
        Ok(())
    }

    fn refused(&mut self, seqs: &[u64]) -> Result<(), OutboxError> {
        lock(&self.0).refusals += seqs.len() as u32;
        Ok(())
    }

    fn acknowledge(&mut self, _: Uuid, _: &str, _: Option<Opinion>) -> Result<bool, OutboxError> {
        Ok(false)
    }

    fn reprocess(&mut self, _: &str) -> Result<Reprocess, OutboxError> {
        Ok(Reprocess::Unknown)
    }
}

/// The broker's side of everything.
struct Bench {
    publisher: PublisherHandle,
    say: Tell<LinkEvent>,
    did: Receiver<Did>,
    kept: Arc<Mutex<OutboxState>>,
    vitals: Arc<Mutex<Vitals>>,
}

const SOON: Duration = Duration::from_secs(10);

impl Bench {
    fn new() -> Bench {
        let (say, events) = channel();
        let (done, did) = channel();
        let kept = Arc::new(Mutex::new(OutboxState::default()));
        let vitals = Arc::new(Mutex::new(Vitals::default()));
        let seen = Arc::clone(&vitals);
        let snapshot = move || Snapshot {
            info: Some(Info::from(InfoParts {
                engines: Vec::new(),
                config_sha256: String::new(),
                boot: 1,
                next_seq: 1,
                clock_synced: None,
            })),
            status: Status::new(State::Online, Vec::new(), Timestamp::UNIX_EPOCH, 1),
            worklist: Some(Worklist::new(0, 0, Vec::new())),
            vitals: lock(&seen).clone(),
        };
        let link = FakeLink { events, wake: say.clone(), done };
        let limits =
            ScheduleLimits { backoff_ms: 10, most_backoff_ms: 20, ..ScheduleLimits::default() };
        let outbox = Box::new(FakeOutbox(Arc::clone(&kept)));
        let params = BrokerParams::new("nowhere", 1, "ct-1");
        let schedule = Schedule::new(limits, 1);
        let publisher = start_on(link, params, schedule, outbox, Arc::new(snapshot)).unwrap();
        Bench { publisher, say, did, kept, vitals }
    }

    fn write(&self, last: u64) {
        lock(&self.kept).last = last;
        self.publisher.wake();
    }

    fn sent(&self) -> Message {
        match self.did.recv_timeout(SOON).unwrap() {
            Did::Send(message) => message,
            other => panic!("{other:?} instead of a message"),
        }
    }

    fn answer(&self, message: &Message, outcome: Result<(), String>) {
        self.say.send(LinkEvent::Answered(message.ticket, outcome)).unwrap();
    }

    /// Takes the connection and the retained set; returns the topics in order.
    fn greet(&self) -> Vec<String> {
        assert_eq!(self.did.recv_timeout(SOON).unwrap(), Did::Open);
        self.say.send(LinkEvent::Up).unwrap();
        let said: Vec<Message> = (0..5).map(|_| self.sent()).collect();
        for message in &said {
            assert!(message.retain);
            self.answer(message, Ok(()));
        }
        said.into_iter().map(|message| message.topic).collect()
    }

    fn soon(&self, holds: impl Fn(&OutboxState) -> bool) {
        let deadline = Instant::now() + SOON;
        while !holds(&lock(&self.kept)) {
            assert!(Instant::now() < deadline, "{:?}", self.kept);
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

#[test]
fn the_set_is_said_in_order_and_again_after_a_loss() {
    let bench = Bench::new();
    let names = ["availability", "info", "status", "worklist", "health"];
    let topics = names.map(|name| format!("hepalert/v1/ct-1/{name}"));
    assert_eq!(bench.greet(), topics);
    bench.write(1);
    let first = bench.sent();
    assert!(!first.retain);
    bench.say.send(LinkEvent::Down("gone".to_owned())).unwrap();
    assert_eq!(bench.greet(), topics);
    let again = bench.sent();
    assert_eq!((&first.body, &first.topic), (&again.body, &again.topic), "the very same message");
    bench.answer(&first, Ok(()));
    bench.answer(&again, Ok(()));
    bench.soon(|kept| kept.sent.contains(&1));
    let state = bench.publisher.state();
    assert_eq!((state.connections, state.accepted), (2, 1));
    assert_eq!(state.last_error.as_deref(), Some("gone"));
    assert_eq!(lock(&bench.kept).refusals, 1);
}

#[test]
fn a_broker_that_sends_nonsense_is_no_second_device() {
    let bench = Bench::new();
    for _ in 0..4 {
        bench.greet();
        bench.say.send(LinkEvent::Nonsense("an answer to nothing".to_owned())).unwrap();
    }
    bench.greet();
    assert_eq!(bench.publisher.state().usurped, None);
}

#[test]
fn nothing_counts_as_sent_before_the_broker_says_so() {
    let bench = Bench::new();
    bench.greet();
    bench.write(2);
    let (first, second) = (bench.sent(), bench.sent());
    bench.answer(&first, Err("quota exceeded".to_owned()));
    bench.answer(&second, Ok(()));
    let again = bench.sent();
    assert_eq!(lock(&bench.kept).sent, BTreeSet::from([2]));
    assert_eq!(again.body, first.body);
    bench.answer(&again, Ok(()));
    bench.soon(|kept| kept.sent.len() == 2);
    assert_eq!(bench.publisher.state().refused, 1);
}

#[test]
fn what_cannot_be_marked_is_marked_later() {
    let bench = Bench::new();
    bench.greet();
    lock(&bench.kept).broken = true;
    bench.write(1);
    bench.answer(&bench.sent(), Ok(()));
    std::thread::sleep(Duration::from_millis(20));
    assert!(lock(&bench.kept).sent.is_empty());
    lock(&bench.kept).broken = false;
    bench.publisher.wake();
    bench.soon(|kept| kept.sent.contains(&1));
}

#[test]
fn a_change_of_health_is_told_and_a_bad_number_is_not() {
    let bench = Bench::new();
    bench.greet();
    lock(&bench.vitals).temperature_c = Some(f64::NAN);
    lock(&bench.vitals).dead = 1;
    // Five seconds lie between two: let them pass in the thread's own time.
    bench.publisher.wake();
    assert!(bench.did.recv_timeout(Duration::from_millis(100)).is_err(), "not at once");
    lock(&bench.vitals).temperature_c = Some(71.5);
    let health = bench.sent();
    let body: serde_json::Value = serde_json::from_slice(&health.body).unwrap();
    assert_eq!((&body["dead"], &body["temperature_c"]), (&1.into(), &71.5.into()));
}

#[test]
fn a_stop_is_polite() {
    let bench = Bench::new();
    bench.greet();
    let Bench { publisher, say, did, .. } = bench;
    let stopping = std::thread::spawn(move || publisher.stop(SOON));
    for body in ["offline", "stopped"] {
        let Did::Send(message) = did.recv_timeout(SOON).unwrap() else { panic!("no message") };
        assert!(String::from_utf8(message.body).unwrap().contains(body));
        say.send(LinkEvent::Answered(message.ticket, Ok(()))).unwrap();
    }
    assert_eq!(did.recv_timeout(SOON).unwrap(), Did::Close { polite: true });
    assert!(stopping.join().unwrap(), "in good order");
}
