//! The publisher from outside: what it needs, how it is started, woken and stopped.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use uuid::Uuid;

use super::contract::{ContractError, Row};
use super::link::{Link, Waker};
use super::messages::{Info, Status, Vitals, Worklist};
use super::mqtt::{MqttLink, Params};
use super::schedule::{Limits, Schedule};
use super::sender::Sender;

/// How the line to the broker is, for a status page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinkState {
    /// Whether the broker holds the connection.
    pub connected: bool,
    /// How often a connection was made.
    pub connections: u64,
    /// Events that the broker took.
    pub accepted: u64,
    /// Events that it refused.
    pub refused: u64,
    /// What the last failure was.
    pub last_error: Option<String>,
    /// The last message that this broker does not take for its size.
    pub too_large: Option<TooLarge>,
    /// When another client last came under this one's name.
    pub usurped: Option<Instant>,
}

/// A message that is larger than the broker takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TooLarge {
    /// Below the device's root.
    pub topic: String,
    /// Its size as a packet.
    pub bytes: u64,
    /// What the broker takes; where it does not say so, what it did not take before.
    pub most: u64,
}

/// What is kept until the broker has it. The daemon ties it to the store.
pub trait Outbox: Send {
    /// At most `most` unsent events with a number above `after`, oldest first.
    ///
    /// # Errors
    /// Whatever the store says; it is asked again later.
    fn unsent(&mut self, after: u64, most: usize) -> Result<Vec<Row>, OutboxError>;
    /// The event with this number, sent or not, if it is still kept.
    ///
    /// # Errors
    /// Whatever the store says.
    fn row(&mut self, seq: u64) -> Result<Option<Row>, OutboxError>;
    /// The broker has these.
    ///
    /// # Errors
    /// Whatever the store says; it is told again later.
    fn accepted(&mut self, seqs: &[u64]) -> Result<(), OutboxError>;
    /// The broker refused these, or the connection was lost over them.
    ///
    /// # Errors
    /// Whatever the store says.
    fn refused(&mut self, seqs: &[u64]) -> Result<(), OutboxError>;
    /// Someone has seen this alert; false if it is not open.
    ///
    /// # Errors
    /// Whatever the store says.
    fn acknowledge(&mut self, id: Uuid, by: &str) -> Result<bool, OutboxError>;
}

/// The outbox's own words for what went wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct OutboxError(pub String);

/// What is true of the device now.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// The birth message, once it can be told.
    pub info: Option<Info>,
    /// How the device is.
    pub status: Status,
    /// The open alerts; what is not known is not told, and what was told before stands.
    pub worklist: Option<Worklist>,
    /// The vital signs.
    pub vitals: Vitals,
}

/// Starts the publishing thread.
#[derive(Debug)]
pub struct Publisher;

/// The publishing thread, from outside. Dropping it leaves the thread running for as long as
/// the process lives; call [`PublisherHandle::stop`].
pub struct PublisherHandle {
    thread: JoinHandle<()>,
    shared: Arc<Shared>,
    waker: Waker,
}

#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) inbox: Mutex<Inbox>,
    pub(super) state: Mutex<LinkState>,
}

#[derive(Debug, Default)]
pub(super) struct Inbox {
    pub(super) woken: bool,
    pub(super) stop_within: Option<Duration>,
}

/// A thread that panicked while it held one of these left plain data behind.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Publisher {
    /// Starts the thread. `snapshot` is called from it, on every connect, wake and health
    /// message: it must be quick and must not wait for the publisher.
    ///
    /// # Errors
    /// If a name cannot be a topic, or the system refuses a thread.
    pub fn start(
        params: Params,
        outbox: Box<dyn Outbox>,
        snapshot: Arc<dyn Fn() -> Snapshot + Send + Sync>,
    ) -> io::Result<PublisherHandle> {
        let named = |error: ContractError| io::Error::new(io::ErrorKind::InvalidInput, error);
        params.check().map_err(named)?;
        let limits = Limits {
            window: usize::from(params.inflight.max(1)),
            health_ms: params.health_s.max(1).saturating_mul(1000),
            ..Limits::default()
        };
        let link = MqttLink::new(params.clone())?;
        // Only jitter hangs on it: devices that start together must not come back together.
        let seed = u64::from(std::process::id()) ^ Timestamp::now().as_nanosecond() as u64;
        start_on(link, params, Schedule::new(limits, seed), outbox, snapshot)
    }
}

/// Starts the thread on any line.
pub(super) fn start_on<L: Link + 'static>(
    link: L,
    params: Params,
    schedule: Schedule,
    outbox: Box<dyn Outbox>,
    snapshot: Arc<dyn Fn() -> Snapshot + Send + Sync>,
) -> io::Result<PublisherHandle> {
    let shared = Arc::new(Shared::default());
    let waker = link.waker();
    let mut sender = Sender::new(link, params, schedule, outbox, snapshot, Arc::clone(&shared));
    let thread =
        std::thread::Builder::new().name("publish".to_owned()).spawn(move || sender.run())?;
    Ok(PublisherHandle { thread, shared, waker })
}

impl PublisherHandle {
    /// Events were written or something in the snapshot changed. Cheap; call it often.
    pub fn wake(&self) {
        (self.waker())();
    }

    /// Wakes as [`PublisherHandle::wake`] does, for as long as the program runs.
    pub fn waker(&self) -> Waker {
        let (shared, wake) = (Arc::clone(&self.shared), Arc::clone(&self.waker));
        Arc::new(move || {
            lock(&shared.inbox).woken = true;
            wake();
        })
    }

    /// How the line to the broker is.
    pub fn state(&self) -> LinkState {
        lock(&self.shared.state).clone()
    }

    /// False once the thread has ended.
    pub fn is_alive(&self) -> bool {
        !self.thread.is_finished()
    }

    /// Publishes `offline`, sends what it can within `deadline`, and ends the thread. What is
    /// left stays in the outbox. Takes at most a second longer than the deadline. False if
    /// the thread had panicked, which is a fault of this program.
    pub fn stop(self, deadline: Duration) -> bool {
        lock(&self.shared.inbox).stop_within = Some(deadline);
        (self.waker)();
        self.thread.join().is_ok()
    }
}
