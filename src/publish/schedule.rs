//! What to do next on the line to the broker: pure, so that every order of events can be
//! played in a test.
//!
//! Owns the order (the retained set first after every connect, then events oldest first),
//! the window of unacknowledged messages, the patience with a silent broker, and the back-off
//! with jitter. Holds no clock (`now` comes in, milliseconds from any start), no message and
//! no socket. The rule for refusals: a connection that is lost loses nothing, everything
//! unacknowledged is sent again in order on the next one; a single event that the broker
//! refuses is postponed and is tried again later, so that it never holds back an alert.

use std::collections::{BTreeMap, BTreeSet};

use hepalert_study::defaults;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A retained document of the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Retained {
    /// `online` or `offline`.
    Availability,
    /// The birth message.
    Info,
    /// How the device is.
    Status,
    /// The open alerts.
    Worklist,
    /// The vital signs.
    Health,
}

impl Retained {
    /// All of them, in the order in which they are sent.
    pub(crate) const ALL: [Retained; 5] = [
        Retained::Availability,
        Retained::Info,
        Retained::Status,
        Retained::Worklist,
        Retained::Health,
    ];

    /// Its topic below the device's root, and the name of its schema.
    pub(crate) const fn topic(self) -> &'static str {
        match self {
            Retained::Availability => "availability",
            Retained::Info => "info",
            Retained::Status => "status",
            Retained::Worklist => "worklist",
            Retained::Health => "health",
        }
    }
}

/// A message under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Item {
    /// A retained document.
    Retained(Retained),
    /// The event with this number.
    Event(u64),
    /// The event with this number, once more, on request.
    Replay(u64),
}

/// How much is under way at once, and how long anything waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ScheduleLimits {
    /// Most messages under way.
    pub window: usize,
    /// How long the broker may stay silent about a message before the line counts as dead.
    pub patience_ms: u64,
    /// Between two health messages.
    pub health_ms: u64,
    /// First back-off.
    pub backoff_ms: u64,
    /// Longest back-off.
    pub most_backoff_ms: u64,
}

impl Default for ScheduleLimits {
    fn default() -> ScheduleLimits {
        ScheduleLimits {
            window: 16,
            patience_ms: 20_000,
            health_ms: 1000 * defaults::HEALTH_S,
            backoff_ms: 500,
            most_backoff_ms: 60_000,
        }
    }
}

/// A connection that held this long wipes out the failures before it: a broker that takes
/// the connection and drops it at once must not be hammered.
const STABLE_MS: u64 = 10_000;

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Begin to connect; then tell [`Schedule::connecting`].
    Connect,
    /// The broker is silent: drop the line; then tell [`Schedule::lost`].
    Abandon,
    /// Send this document.
    SendRetained(Retained),
    /// Get at most `most` unsent events above `after`; then tell [`Schedule::fetched`].
    Fetch {
        /// Above this number.
        after: u64,
        /// At most so many.
        most: usize,
    },
    /// Try this refused event again.
    SendAgain(u64),
    /// Send this event once more, as was asked.
    SendReplay(u64),
    /// Nothing, for so long or until something happens.
    Wait {
        /// How long.
        ms: u64,
    },
    /// Everything that could be sent is sent: the stop is complete.
    Finished,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Down { retry_at: u64 },
    Connecting { since: u64 },
    Up { since: u64 },
}

#[derive(Debug, Clone, Copy)]
struct Postponed {
    retry_at: u64,
    refusals: u32,
}

/// The state of sending.
#[derive(Debug)]
pub(crate) struct Schedule {
    limits: ScheduleLimits,
    rng: ChaCha8Rng,
    line: Line,
    failures: u32,
    due: BTreeSet<Retained>,
    next_health: u64,
    /// Everything unsent up to here was handed out on this connection or was postponed.
    cursor: u64,
    /// The last fetch found nothing above the cursor.
    dry: bool,
    under_way: BTreeMap<Item, u64>,
    postponed: BTreeMap<u64, Postponed>,
    replay: Option<(u64, u64)>,
    stop_by: Option<u64>,
}

impl Schedule {
    /// A schedule that wants to connect at once. The seed makes its jitter.
    pub(crate) fn new(limits: ScheduleLimits, seed: u64) -> Schedule {
        Schedule {
            limits,
            rng: ChaCha8Rng::seed_from_u64(seed),
            line: Line::Down { retry_at: 0 },
            failures: 0,
            due: BTreeSet::new(),
            next_health: 0,
            cursor: 0,
            dry: false,
            under_way: BTreeMap::new(),
            postponed: BTreeMap::new(),
            replay: None,
            stop_by: None,
        }
    }

    /// What to do at `now`.
    pub(crate) fn next(&mut self, now: u64) -> Step {
        if self.stop_by.is_some_and(|by| now >= by) {
            return Step::Finished;
        }
        match self.line {
            Line::Up { .. } => self.next_when_up(now),
            // Whoever stops does not wait for a broker that is not there.
            Line::Down { .. } | Line::Connecting { .. } if self.stop_by.is_some() => Step::Finished,
            Line::Down { retry_at } if retry_at <= now => Step::Connect,
            Line::Down { retry_at } => Step::Wait { ms: retry_at - now },
            Line::Connecting { since } => self.wait_or_abandon(since, now),
        }
    }

    fn next_when_up(&mut self, now: u64) -> Step {
        if let Some(&oldest) = self.under_way.values().min()
            && oldest + self.limits.patience_ms <= now
        {
            return Step::Abandon;
        }
        if now >= self.next_health && self.stop_by.is_none() {
            self.due.insert(Retained::Health);
        }
        // An earlier one may still be under way: the later word must not wait for it.
        if let Some(&document) = self.due.first() {
            return Step::SendRetained(document);
        }
        let room = self.limits.window.saturating_sub(self.under_way.len());
        if room > 0 && !self.dry {
            return Step::Fetch { after: self.cursor, most: room };
        }
        let ready = self.postponed_until().find(|(_, retry_at)| *retry_at <= now);
        if let Some((seq, _)) = ready
            && room > 0
        {
            return Step::SendAgain(seq);
        }
        if let Some((from, _)) = self.replay
            && room > 0
        {
            return Step::SendReplay(from);
        }
        if self.stop_by.is_some() && self.under_way.is_empty() && self.due.is_empty() {
            return Step::Finished;
        }
        self.wait_when_up(now)
    }

    fn wait_when_up(&self, now: u64) -> Step {
        let patience = self.under_way.values().min().map(|at| at + self.limits.patience_ms);
        let again = self.postponed_until().map(|(_, retry_at)| retry_at).min();
        let health = self.stop_by.is_none().then_some(self.next_health);
        let until = [patience, again, health, self.stop_by].into_iter().flatten().min();
        Step::Wait { ms: until.unwrap_or(u64::MAX).saturating_sub(now).max(1) }
    }

    /// Refused events that are not under way again, with the time of their next try.
    fn postponed_until(&self) -> impl Iterator<Item = (u64, u64)> {
        let idle = |seq: &u64| !self.under_way.contains_key(&Item::Event(*seq));
        let postponed = self.postponed.iter().filter(move |(seq, _)| idle(seq));
        postponed.map(|(&seq, postponed)| (seq, postponed.retry_at))
    }

    fn wait_or_abandon(&self, since: u64, now: u64) -> Step {
        let until = since + self.limits.patience_ms;
        if until <= now { Step::Abandon } else { Step::Wait { ms: until - now } }
    }

    /// Connecting has begun.
    pub(crate) fn connecting(&mut self, now: u64) {
        self.line = Line::Connecting { since: now };
    }

    /// The broker has taken the connection. It may have forgotten everything.
    pub(crate) fn connected(&mut self, now: u64) {
        self.line = Line::Up { since: now };
        self.due = Retained::ALL.into();
        self.under_way.clear();
        self.cursor = 0;
        self.dry = false;
    }

    /// The connection is lost or could not be made. Returns the events that were under way:
    /// they will be sent again.
    pub(crate) fn lost(&mut self, now: u64) -> Vec<u64> {
        if let Line::Up { since } = self.line
            && now.saturating_sub(since) >= STABLE_MS
        {
            self.failures = 0;
        }
        let wait = self.backoff(self.failures);
        self.failures = self.failures.saturating_add(1);
        self.line = Line::Down { retry_at: now + wait };
        self.due.clear();
        self.cursor = 0;
        self.dry = false;
        let under_way = std::mem::take(&mut self.under_way);
        under_way
            .into_keys()
            .filter_map(|item| match item {
                Item::Event(seq) => Some(seq),
                Item::Retained(_) | Item::Replay(_) => None,
            })
            .collect()
    }

    /// The name of this client is somebody else's too: whoever comes back at once is thrown out
    /// at once, so it takes its time.
    pub(crate) fn shared_name(&mut self, now: u64) -> Vec<u64> {
        let under_way = self.lost(now);
        self.failures = 20;
        let wait = self.backoff(self.failures);
        self.line = Line::Down { retry_at: now + wait };
        under_way
    }

    /// There may be new events.
    pub(crate) fn woken(&mut self) {
        self.dry = false;
    }

    /// This document says something new.
    pub(crate) fn changed(&mut self, document: Retained) {
        if matches!(self.line, Line::Up { .. }) {
            self.due.insert(document);
        }
    }

    /// The events found by a fetch. Returns those to send now, in order: the others are
    /// postponed until their time.
    pub(crate) fn fetched(&mut self, found: &[u64], most: usize) -> Vec<u64> {
        self.dry = found.len() < most;
        if let Some(&last) = found.last() {
            self.cursor = last;
        }
        found.iter().copied().filter(|seq| !self.postponed.contains_key(seq)).collect()
    }

    /// This message was handed to the line.
    pub(crate) fn sent(&mut self, item: Item, now: u64) {
        match item {
            Item::Retained(document) => {
                self.due.remove(&document);
                if document == Retained::Health {
                    self.next_health = now + self.limits.health_ms;
                }
            }
            Item::Replay(seq) => self.replayed(seq),
            Item::Event(_) => {}
        }
        self.under_way.insert(item, now);
    }

    /// Replay has passed this number, whether there was such an event or not.
    pub(crate) fn replayed(&mut self, seq: u64) {
        self.replay = self.replay.filter(|&(_, to)| seq < to).map(|(_, to)| (seq + 1, to));
    }

    /// This event is not to be found any more.
    pub(crate) fn forget(&mut self, seq: u64) {
        self.postponed.remove(&seq);
    }

    /// The broker has answered. An accepted event is done with; a refused one is postponed.
    pub(crate) fn answered(&mut self, item: Item, accepted: bool, now: u64) {
        if self.under_way.remove(&item).is_none() {
            return;
        }
        match item {
            Item::Event(seq) if accepted => {
                self.postponed.remove(&seq);
            }
            Item::Event(seq) => {
                let refusals = self.postponed.get(&seq).map_or(0, |postponed| postponed.refusals);
                let retry_at = now + self.backoff(refusals);
                self.postponed
                    .insert(seq, Postponed { retry_at, refusals: refusals.saturating_add(1) });
            }
            Item::Retained(_) | Item::Replay(_) => {}
        }
    }

    /// Asks for the events `from..=to` once more, after everything else. False while an
    /// earlier request is still being answered.
    pub(crate) fn replay(&mut self, from: u64, to: u64) -> bool {
        if self.replay.is_some() || from > to {
            return false;
        }
        self.replay = Some((from, to));
        true
    }

    /// Stop in good order: say so first, then send what can be sent, no longer than `by`.
    pub(crate) fn stop(&mut self, by: u64) {
        self.stop_by = Some(by);
        self.replay = None;
        self.dry = false;
        if matches!(self.line, Line::Up { .. }) {
            self.due = [Retained::Availability, Retained::Status].into();
        }
    }

    /// The next health message is due at `at`, if not sooner.
    pub(crate) fn hasten_health(&mut self, at: u64) {
        self.next_health = self.next_health.min(at);
    }

    /// Whether a stop is under way.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stop_by.is_some()
    }

    /// Whether the line is up.
    pub(crate) fn is_up(&self) -> bool {
        matches!(self.line, Line::Up { .. })
    }

    /// Doubles each time up to the cap; the jitter takes off up to half, so that a hundred
    /// devices do not come back in step.
    fn backoff(&mut self, failures: u32) -> u64 {
        let doubled = self.limits.backoff_ms.saturating_mul(1 << failures.min(20));
        let whole = doubled.min(self.limits.most_backoff_ms).max(2);
        self.rng.random_range(whole / 2..=whole)
    }
}

#[cfg(test)]
mod tests;
