//! The publisher from outside: what it needs, how it is started, woken and stopped.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::Timestamp;

use super::contract::ContractError;
use super::exchange::{LinkState, Outbox, Shared, Snapshot, lock};
use super::link::{Link, Waker};
use super::mqtt::{BrokerParams, MqttLink};
use super::schedule::{Schedule, ScheduleLimits};
use super::sender::Sender;

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

impl Publisher {
    /// Starts the thread. `snapshot` is called from it, on every connect, wake and health
    /// message: it must be quick and must not wait for the publisher.
    ///
    /// # Errors
    /// If a name cannot be a topic, or the system refuses a thread.
    pub fn start(
        params: BrokerParams,
        outbox: Box<dyn Outbox>,
        snapshot: Arc<dyn Fn() -> Snapshot + Send + Sync>,
    ) -> io::Result<PublisherHandle> {
        let named = |error: ContractError| io::Error::new(io::ErrorKind::InvalidInput, error);
        params.check().map_err(named)?;
        let limits = ScheduleLimits {
            window: usize::from(params.inflight.max(1)),
            health_ms: params.health_s.max(1).saturating_mul(1000),
            ..ScheduleLimits::default()
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
    params: BrokerParams,
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

    /// The same, for who outlives this handle.
    pub fn line(&self) -> Arc<dyn Fn() -> LinkState + Send + Sync> {
        let shared = Arc::clone(&self.shared);
        Arc::new(move || lock(&shared.state).clone())
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
