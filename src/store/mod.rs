//! The durable store: jobs, reports, outbox, open alerts and audit in one SQLite file.
//!
//! Owns every state that must survive a power cut, and the rule that a change and the
//! messages about it commit together: only [`Store::finish`] completes a study, and its
//! report, its outbox rows and its place in the worklist are one transaction. Refuses to
//! know what an event says (data is text to it), to send anything, to read a clock (`now`
//! comes in), and to keep what does not have to survive: health never enters the outbox.
//!
//! [`Store`] is a handle: clone it into every thread. All clones share one connection behind
//! a lock; a transaction takes milliseconds and nothing waits on a network inside one.
//! Another process (the command line) opens the same file with [`Store::open`] and waits its
//! turn by SQLite's own lock.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};

use hepalert_failpoint::failpoint;

mod acknowledgements;
mod audit;
mod deliveries;
mod facts;
mod job;
mod open;
mod outbox;
mod queue;
mod requeue;
mod studies;
#[cfg(test)]
mod tests;
mod worklist;

pub use acknowledgements::{Answered, Patience, Unanswered};
pub use audit::AuditRow;
pub use deliveries::{Delivery, DeliveryCounts, NewDelivery, Waiting};
pub use job::{
    Admission, Enqueued, Finished, Job, JobCounts, JobId, JobState, Known, NewJob, OpenAlert,
    StoredReport,
};
pub use open::Opened;
pub use outbox::{Backlog, NewEvent, OutboxRow, Pruned};
pub use queue::{MAX_WAIT, NO_FILES};
pub use requeue::Requeued;
pub use studies::{Answer, StudyRow};
pub use worklist::{WorklistEntry, WorklistState};

/// The fact that says whose store this is: a copy of it tells.
pub const DEVICE_NAME: &str = "name";

/// A handle on the store; cheap to clone, safe to share between threads.
#[derive(Debug, Clone)]
pub struct Store {
    connection: Arc<Mutex<Connection>>,
    path: PathBuf,
}

/// What start-up found: start-up and recovery are the same code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// How often the daemon has started on this store, this time included.
    pub boot: u64,
    /// Jobs that were running when the last process ended; they wait again, attempts kept.
    pub requeued: Vec<JobId>,
}

/// Why the store refused.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be made, opened or moved.
    #[error("{}: the store cannot be opened: {reason}", path.display())]
    Unusable {
        /// The database file.
        path: PathBuf,
        /// The system's words.
        reason: String,
    },
    /// A newer program wrote this file.
    #[error("{}: layout {found} is newer than this program's {known}: install the newer program or restore a copy of the store", path.display())]
    Newer {
        /// The database file.
        path: PathBuf,
        /// The layout in the file.
        found: i64,
        /// The newest layout this program knows.
        known: i64,
    },
    /// No space left.
    #[error("the store's disk is full: free space or lower store.keep_days")]
    Full,
    /// Another process holds the file for longer than the busy timeout.
    #[error("another process keeps the store locked: try again")]
    Busy,
    /// The file is damaged or the disk fails.
    #[error(
        "the store is damaged or its disk fails: {0}: restart the daemon to move the file away"
    )]
    Damaged(rusqlite::Error),
    /// Anything else SQLite said.
    #[error("the store refused a statement: {0}")]
    Sql(rusqlite::Error),
    /// A row that this program could not have written.
    #[error("the store holds a row that makes no sense: {0}")]
    Nonsense(String),
    /// There is no such job.
    #[error("there is no job {0}")]
    NoSuchJob(JobId),
    /// The job is in a state from which this step is not possible.
    #[error("job {job} is {state}: this step needs a job that is {wanted}")]
    WrongState {
        /// The job.
        job: JobId,
        /// What it is.
        state: JobState,
        /// What it would have to be.
        wanted: &'static str,
    },
    /// Only events go through the outbox.
    #[error("topic {0} is not an event: only event/... goes through the outbox")]
    NotAnEvent(String),
}

impl StoreError {
    /// Whether the same call may succeed later.
    pub fn may_pass(&self) -> bool {
        match self {
            StoreError::Unusable { .. }
            | StoreError::Full
            | StoreError::Busy
            | StoreError::Damaged(_) => true,
            StoreError::Sql(error) => of_the_system(error),
            StoreError::Newer { .. }
            | StoreError::Nonsense(_)
            | StoreError::NoSuchJob(_)
            | StoreError::WrongState { .. }
            | StoreError::NotAnEvent(_) => false,
        }
    }
}

/// Whether the system stood in the way, and not what was to be written.
fn of_the_system(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{
        CannotOpen, FileLockingProtocolFailed, OperationInterrupted, OutOfMemory, PermissionDenied,
        ReadOnly,
    };
    let system = [
        CannotOpen,
        FileLockingProtocolFailed,
        OperationInterrupted,
        OutOfMemory,
        PermissionDenied,
        ReadOnly,
    ];
    error.sqlite_error_code().is_some_and(|code| system.contains(&code))
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> StoreError {
        use rusqlite::ErrorCode;
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => StoreError::Full,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Busy,
            Some(
                ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::SystemIoFailure,
            ) => StoreError::Damaged(error),
            Some(_) | None => StoreError::Sql(error),
        }
    }
}

impl Store {
    /// Opens the store, making it if there is none. Only for [`Store::begin`] does it matter
    /// who opens: the daemon begins, the command line only looks.
    ///
    /// # Errors
    /// [`StoreError::Unusable`], [`StoreError::Newer`] or [`StoreError::Busy`]. A damaged
    /// file is no error: it is moved away and [`Opened::moved_away`] names where it went.
    pub fn open(path: &Path, now: Timestamp) -> Result<Opened, StoreError> {
        open::open(path, now)
    }

    /// Opens the store for reading alone: nothing is made or moved. A layout that is
    /// older than this program stays so, and some calls then fail.
    ///
    /// # Errors
    /// [`StoreError::Unusable`], [`StoreError::Newer`], [`StoreError::Busy`] or
    /// [`StoreError::Damaged`].
    pub fn open_read_only(path: &Path) -> Result<Store, StoreError> {
        open::open_read_only(path)
    }

    /// Begins a run of the daemon: counts the boot and puts jobs that a dead process left
    /// running back into the queue.
    ///
    /// # Errors
    /// Whatever SQLite refuses.
    pub fn begin(&self, now: Timestamp) -> Result<Started, StoreError> {
        self.write(|tx| {
            let boot = facts::fact(tx, "boot")?.map_or(Ok(0), |text| number(&text))? + 1;
            facts::set_fact(tx, "boot", &boot.to_string())?;
            let requeued = queue::recover(tx)?;
            let detail = serde_json::json!({ "boot": boot, "requeued": requeued.len() });
            audit::append(tx, now, "boot", &detail.to_string())?;
            Ok(Started { boot, requeued })
        })
    }

    /// The boot count of the running daemon.
    ///
    /// # Errors
    /// Whatever SQLite refuses.
    pub fn boot(&self) -> Result<u64, StoreError> {
        self.read(|connection| facts::fact(connection, "boot")?.map_or(Ok(0), |text| number(&text)))
    }

    /// A fact about the device that outlives the process, if it was ever set.
    ///
    /// # Errors
    /// Whatever SQLite refuses.
    pub fn fact(&self, name: &str) -> Result<Option<String>, StoreError> {
        self.read(|connection| facts::fact(connection, &format!("device.{name}")))
    }

    /// Sets a fact about the device.
    ///
    /// # Errors
    /// Whatever SQLite refuses.
    pub fn set_fact(&self, name: &str, value: &str) -> Result<(), StoreError> {
        self.write(|tx| facts::set_fact(tx, &format!("device.{name}"), value))
    }

    /// When the newest row was written, by the clock of that moment.
    ///
    /// # Errors
    /// Whatever SQLite refuses.
    pub fn newest_row_at(&self) -> Result<Option<Timestamp>, StoreError> {
        self.read(|connection| {
            let sql = "SELECT at FROM audit ORDER BY n DESC LIMIT 1";
            let at: Option<i64> = connection.query_row(sql, [], |row| row.get(0)).optional()?;
            Ok(at.map(instant).transpose()?)
        })
    }

    /// The database file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn read<T>(
        &self,
        look: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        look(&self.lock())
    }

    /// The one door for changes: everything in `change` commits, or nothing does.
    fn write<T>(
        &self,
        change: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut connection = self.lock();
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let outcome = change(&tx)?;
        failpoint("before_commit");
        tx.commit()?;
        failpoint("after_commit");
        Ok(outcome)
    }

    /// A thread that panicked rolled its transaction back, so the connection is still good.
    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn millis(at: Timestamp) -> i64 {
    at.as_millisecond()
}

/// A word of a closed vocabulary; what nobody knows is no row of ours.
fn word<T: std::str::FromStr>(row: &rusqlite::Row<'_>, name: &str) -> rusqlite::Result<T> {
    row.get::<_, String>(name)?.parse().map_err(|_| rusqlite::Error::InvalidQuery)
}

fn instant(ms: i64) -> rusqlite::Result<Timestamp> {
    Timestamp::from_millisecond(ms)
        .map_err(|_| rusqlite::Error::IntegralValueOutOfRange(usize::MAX, ms))
}

fn number(text: &str) -> Result<u64, StoreError> {
    text.parse().map_err(|_| StoreError::Nonsense(format!("{text:?} is not a count")))
}
