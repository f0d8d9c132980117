//! The publishing thread: asks the schedule, does as it says, tells it what came of it.
//!
//! Owns the clock, the tickets of what is under way and the comparison of the retained
//! documents with what was last sent. Holds no decision about order or patience: those are
//! in [`super::schedule`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::contract::{ContractError, Row, bounded, finite, schema_id};
use super::exchange::{Inbox, Outbox, Shared, Snapshot, lock};
use super::link::{Link, LinkEvent, Message, Request};
use super::messages::{Health, Info, State, Vitals};
use super::mqtt::BrokerParams;
use super::schedule::{Item, Retained, Schedule, Step};
use hepalert_failpoint::failpoint;
use name::Lines;
use size::Room;

mod command;
mod name;
mod size;

/// How long the polite end of a connection may take.
const FAREWELL: Duration = Duration::from_secs(1);
/// How long to leave an outbox alone that failed.
const OUTBOX_PAUSE: Duration = Duration::from_secs(1);
/// Least time between two health messages.
const HEALTH_PAUSE_MS: u64 = 5_000;
/// Most events of the line handled before the schedule is asked again.
const MAX_HEARD: usize = 64;

/// A message under way, and its size.
struct Way {
    item: Item,
    topic: String,
    bytes: u64,
}

pub(super) struct Sender<L> {
    params: BrokerParams,
    root: String,
    link: L,
    schedule: Schedule,
    outbox: Box<dyn Outbox>,
    snapshot: Arc<dyn Fn() -> Snapshot + Send + Sync>,
    shared: Arc<Shared>,
    began: Instant,
    tickets: BTreeMap<u64, Way>,
    /// What this broker takes.
    room: Room,
    lines: Lines,
    next_ticket: u64,
    /// What each document said when it was last sent, to see what is new.
    last_sent: BTreeMap<Retained, Vec<u8>>,
    last_health: u64,
    /// Accepted by the broker, not yet marked in the outbox.
    unmarked: Vec<u64>,
}

impl<L: Link> Sender<L> {
    pub(super) fn new(
        link: L,
        params: BrokerParams,
        schedule: Schedule,
        outbox: Box<dyn Outbox>,
        snapshot: Arc<dyn Fn() -> Snapshot + Send + Sync>,
        shared: Arc<Shared>,
    ) -> Sender<L> {
        Sender {
            root: params.root(),
            params,
            link,
            schedule,
            outbox,
            snapshot,
            shared,
            began: Instant::now(),
            tickets: BTreeMap::new(),
            room: Room::default(),
            lines: Lines::default(),
            next_ticket: 0,
            last_sent: BTreeMap::new(),
            last_health: 0,
            unmarked: Vec::new(),
        }
    }

    pub(super) fn run(&mut self) {
        loop {
            self.read_inbox();
            let now = self.now();
            match self.schedule.next(now) {
                Step::Connect => {
                    self.link.open();
                    self.schedule.connecting(now);
                }
                Step::Abandon => {
                    self.link.close(None);
                    self.lost("the broker is silent");
                }
                Step::SendRetained(document) => self.send_retained(document),
                Step::Fetch { after, most } => self.fetch(after, most),
                Step::SendAgain(seq) => self.send_again(seq),
                Step::SendReplay(seq) => self.send_replay(seq),
                Step::Wait { ms } => self.listen(Duration::from_millis(ms)),
                Step::Finished => break,
            }
        }
        self.mark();
        self.link.close(Some(FAREWELL));
        lock(&self.shared.state).connected = false;
    }

    /// Milliseconds since the thread began.
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn read_inbox(&mut self) {
        let Inbox { woken, stop_within } = std::mem::take(&mut *lock(&self.shared.inbox));
        if let Some(within) = stop_within {
            let within = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
            self.schedule.stop(self.now().saturating_add(within));
        } else if woken {
            self.schedule.woken();
            self.compare();
        }
    }

    /// Finds the documents that no longer say what was last sent.
    fn compare(&mut self) {
        if !self.schedule.is_up() {
            return;
        }
        let now = (self.snapshot)();
        for document in [Retained::Info, Retained::Status, Retained::Worklist, Retained::Health] {
            let Some(said) = self.last_sent.get(&document) else { continue };
            if *said == change_key(&now, document) {
                continue;
            }
            if document == Retained::Health {
                self.schedule.hasten_health(self.last_health + HEALTH_PAUSE_MS);
            } else {
                self.schedule.changed(document);
            }
        }
    }

    fn send_retained(&mut self, document: Retained) {
        let now = self.now();
        let snapshot = (self.snapshot)();
        self.last_sent.insert(document, change_key(&snapshot, document));
        if document == Retained::Health {
            self.last_health = now;
        }
        self.schedule.sent(Item::Retained(document), now);
        match self.document(document, snapshot) {
            Ok(None) => self.schedule.answered(Item::Retained(document), false, now),
            Ok(Some(body)) => {
                let json = document != Retained::Availability;
                let properties = if json {
                    vec![("schema".to_owned(), schema_id(document.topic()))]
                } else {
                    Vec::new()
                };
                self.post(Item::Retained(document), document.topic(), body, properties);
            }
            Err(error) => {
                log::error!("{} cannot be published: {error}", document.topic());
                self.schedule.answered(Item::Retained(document), false, now);
            }
        }
    }

    /// Nothing if nothing is known of it.
    fn document(
        &self,
        document: Retained,
        snapshot: Snapshot,
    ) -> Result<Option<Vec<u8>>, ContractError> {
        let stopping = self.schedule.is_stopping();
        let Snapshot { info, mut status, worklist, vitals } = snapshot;
        match document {
            Retained::Availability => {
                Ok(Some(if stopping { b"offline".to_vec() } else { b"online".to_vec() }))
            }
            Retained::Info => info.map(|info| bounded("info", &info)).transpose(),
            Retained::Status => {
                if stopping {
                    status.state = State::Stopped;
                }
                bounded("status", &status).map(Some)
            }
            Retained::Worklist => worklist.map(|open| bounded("worklist", &open)).transpose(),
            Retained::Health => {
                let health = Health::new(vitals, self.params.health_s, Timestamp::now());
                finite("health", &serde_json::to_value(&health).unwrap_or_default())?;
                bounded("health", &health).map(Some)
            }
        }
    }

    fn fetch(&mut self, after: u64, most: usize) {
        match self.outbox.unsent(after, most) {
            Ok(rows) => {
                let found: Vec<u64> = rows.iter().map(|row| row.seq).collect();
                let to_send = self.schedule.fetched(&found, most);
                for row in rows.iter().filter(|row| to_send.contains(&row.seq)) {
                    self.send_row(row, Item::Event(row.seq));
                }
            }
            Err(error) => {
                log::error!("the outbox cannot be read: {error}");
                self.listen(OUTBOX_PAUSE);
            }
        }
    }

    fn send_again(&mut self, seq: u64) {
        match self.outbox.row(seq) {
            Ok(Some(row)) => self.send_row(&row, Item::Event(seq)),
            Ok(None) => self.schedule.forget(seq),
            Err(error) => {
                log::error!("the outbox cannot be read: {error}");
                self.listen(OUTBOX_PAUSE);
            }
        }
    }

    fn send_replay(&mut self, seq: u64) {
        match self.outbox.row(seq) {
            Ok(Some(row)) => self.send_row(&row, Item::Replay(seq)),
            Ok(None) => self.schedule.replayed(seq),
            Err(error) => {
                log::error!("the outbox cannot be read: {error}");
                self.listen(OUTBOX_PAUSE);
            }
        }
    }

    fn send_row(&mut self, row: &Row, item: Item) {
        let now = self.now();
        self.schedule.sent(item, now);
        let replay = matches!(item, Item::Replay(_));
        match row.body(&self.params.device, replay) {
            Ok(body) => {
                let kind = row.draft.kind;
                let properties = vec![
                    ("schema".to_owned(), schema_id(kind.name())),
                    ("id".to_owned(), row.draft.id.to_string()),
                ];
                self.post(item, kind.topic(), body, properties);
            }
            Err(error) => {
                log::error!("event {} cannot be published: {error}", row.seq);
                self.record_answer(item, false);
            }
        }
    }

    fn post(&mut self, item: Item, topic: &str, body: Vec<u8>, properties: Vec<(String, String)>) {
        let retained = matches!(item, Item::Retained(_));
        let plain = item == Item::Retained(Retained::Availability);
        let message = Message {
            ticket: self.ticket(),
            topic: format!("{}/{topic}", self.root),
            retain: retained,
            body,
            content_type: (!plain).then_some("application/json"),
            properties,
            correlation: None,
        };
        let Some(message) = self.fit(item, topic, message) else { return };
        let way = Way { item, topic: topic.to_owned(), bytes: size::packet(&message) };
        self.tickets.insert(message.ticket, way);
        self.link.send(message);
        failpoint("message_sent");
    }

    fn ticket(&mut self) -> u64 {
        self.next_ticket += 1;
        self.next_ticket
    }

    /// Waits for the line, then takes what has gathered, so that a burst of answers is
    /// marked in one transaction.
    fn listen(&mut self, most: Duration) {
        let mut event = self.link.wait(most);
        for _ in 0..MAX_HEARD {
            if event == LinkEvent::Idle {
                break;
            }
            self.hear(event);
            event = self.link.wait(Duration::ZERO);
        }
        self.hear(event);
        self.mark();
    }

    fn hear(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::Up => {
                log::info!("connected to the broker");
                self.tickets.clear();
                self.schedule.connected(self.now());
                self.greeted();
                self.lines.up(Instant::now());
                let mut state = lock(&self.shared.state);
                state.connected = true;
                state.connections += 1;
            }
            LinkEvent::Down(words) => self.down(&words),
            // Nobody took this line away.
            LinkEvent::Nonsense(words) => self.lost(&words),
            LinkEvent::Usurped => self.usurped("the broker says so"),
            LinkEvent::TooLarge => self.found_too_large(),
            LinkEvent::Answered(ticket, outcome) => {
                let Some(Way { item, .. }) = self.tickets.remove(&ticket) else { return };
                if let Err(words) = &outcome {
                    log::warn!("the broker refused a message: {words}");
                    lock(&self.shared.state).last_error = Some(words.clone());
                }
                self.record_answer(item, outcome.is_ok());
            }
            LinkEvent::Request(request) => self.handle_command(&request),
            LinkEvent::Woken | LinkEvent::Idle => {}
        }
    }

    fn record_answer(&mut self, item: Item, accepted: bool) {
        self.schedule.answered(item, accepted, self.now());
        let Item::Event(seq) = item else { return };
        let mut state = lock(&self.shared.state);
        if accepted {
            state.accepted += 1;
            self.unmarked.push(seq);
        } else {
            state.refused += 1;
            drop(state);
            self.note_refused(&[seq]);
        }
    }

    fn lost(&mut self, words: &str) {
        log::warn!("no connection to the broker: {words}");
        let under_way = self.schedule.lost(self.now());
        self.line_ended(&under_way, words);
    }

    /// Nothing is under way any more, and `words` say why.
    fn line_ended(&mut self, under_way: &[u64], words: &str) {
        self.tickets.clear();
        self.note_refused(under_way);
        let mut state = lock(&self.shared.state);
        state.connected = false;
        state.last_error = Some(words.to_owned());
    }

    /// Counting is all that this is for: a failure costs nothing but the count.
    fn note_refused(&mut self, seqs: &[u64]) {
        if !seqs.is_empty()
            && let Err(error) = self.outbox.refused(seqs)
        {
            log::warn!("attempts cannot be counted: {error}");
        }
    }

    /// What cannot be marked now is marked later; until then it would at worst be sent twice.
    fn mark(&mut self) {
        if self.unmarked.is_empty() {
            return;
        }
        failpoint("events_accepted");
        match self.outbox.accepted(&self.unmarked) {
            Ok(()) => self.unmarked.clear(),
            Err(error) => log::error!("sent events cannot be marked: {error}"),
        }
    }

    fn handle_command(&mut self, request: &Request) {
        command::handle_command(self, request);
    }
}

/// A document without what changes all the time.
fn change_key(snapshot: &Snapshot, document: Retained) -> Vec<u8> {
    let said = match document {
        Retained::Availability => return Vec::new(),
        Retained::Info => {
            let info = snapshot.info.clone().map(|info| Info { next_seq: 0, ..info });
            serde_json::to_vec(&info)
        }
        Retained::Status => serde_json::to_vec(&snapshot.status),
        Retained::Worklist => serde_json::to_vec(&snapshot.worklist),
        Retained::Health => {
            let Vitals { queued, running, dead, last_self_test, .. } = &snapshot.vitals;
            serde_json::to_vec(&(queued, running, dead, last_self_test))
        }
    };
    said.unwrap_or_default()
}

#[cfg(test)]
mod tests;
