//! What the publisher and the daemon exchange: the outbox and the snapshot that it asks for, the
//! state of the line and the wishes that it is told.
//!
//! Owns plain data and the trait; refuses to know the thread.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::contract::Row;
use hepalert_study::outcome::Opinion;

use super::messages::{Info, Status, Vitals, Worklist};

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
    /// Someone has seen this alert, and may think something of it; false if it is not open and
    /// there is no opinion to keep.
    ///
    /// # Errors
    /// Whatever the store says.
    fn acknowledge(
        &mut self,
        id: Uuid,
        by: &str,
        opinion: Option<Opinion>,
    ) -> Result<bool, OutboxError>;
    /// Puts a study back into the queue.
    ///
    /// # Errors
    /// Whatever the store says.
    fn reprocess(&mut self, study_key: &str) -> Result<Reprocess, OutboxError>;
}

/// What came of putting a study back into the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reprocess {
    /// It waits again.
    Queued,
    /// There is no such study.
    Unknown,
    /// It was neither refused nor has it failed.
    InOrder,
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
