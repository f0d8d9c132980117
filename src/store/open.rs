//! Opening the file: permissions, pragmas, integrity, layout.

use std::ffi::OsString;
use std::fs::{self, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags};

use super::facts::{fact, set_fact};
use super::{Store, StoreError, audit, millis};

/// How long a call waits for another process. Longer than any transaction of ours by far.
const BUSY: Duration = Duration::from_secs(5);

/// What the name of a damaged file goes on with, before the milliseconds since 1970.
const DAMAGED: &str = ".damaged-";

/// Each step takes the layout one version up; `user_version` counts the steps taken. Steps
/// are only ever added.
pub(super) const MIGRATIONS: [&str; 6] = [
    include_str!("layout1.sql"),
    include_str!("layout2.sql"),
    include_str!("layout3.sql"),
    include_str!("layout4.sql"),
    include_str!("layout5.sql"),
    include_str!("layout6.sql"),
];

/// An open store, and what became of a damaged one.
#[derive(Debug)]
pub struct Opened {
    /// The store.
    pub store: Store,
    /// Where a damaged file was moved; the store is then new and empty, its audit says so,
    /// and its `seq` goes on above every number the old one can have used.
    pub moved_away: Option<PathBuf>,
}

pub(super) fn open(path: &Path, now: Timestamp) -> Result<Opened, StoreError> {
    make_private(path).map_err(|error| unusable(path, &error))?;
    let (mut connection, moved_away) = match connect(path) {
        Ok(connection) => (connection, None),
        Err(StoreError::Damaged(error)) if content_is_bad(&error) => {
            let aside = move_away(path, now).map_err(|error| unusable(path, &error))?;
            make_private(path).map_err(|error| unusable(path, &error))?;
            (connect(path)?, Some(aside))
        }
        Err(error) => return Err(error),
    };
    migrate(&mut connection, path)?;
    let moved_away = start_over(&mut connection, path, moved_away, now)?;
    let connection = Arc::new(Mutex::new(connection));
    Ok(Opened { store: Store { connection, path: path.to_owned() }, moved_away })
}

/// Opens the store for reading alone: nothing is made, moved or migrated.
pub(super) fn open_read_only(path: &Path) -> Result<Store, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(|error| {
        StoreError::Unusable { path: path.to_owned(), reason: error.to_string() }
    })?;
    connection.busy_timeout(BUSY)?;
    let verdict: String = connection.pragma_query_value(None, "quick_check", |row| row.get(0))?;
    if verdict != "ok" {
        return Err(StoreError::Damaged(corrupt(verdict)));
    }
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let known = MIGRATIONS.len() as i64;
    if found > known || found < 0 {
        return Err(StoreError::Newer { path: path.to_owned(), found, known });
    }
    Ok(Store { connection: Arc::new(Mutex::new(connection)), path: path.to_owned() })
}

fn unusable(path: &Path, error: &io::Error) -> StoreError {
    StoreError::Unusable { path: path.to_owned(), reason: error.to_string() }
}

/// The file must be 0600 before SQLite sees it: its WAL takes over the same permissions.
fn make_private(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    Ok(())
}

fn connect(path: &Path) -> Result<Connection, StoreError> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "secure_delete", true)?;
    let verdict: String = connection.pragma_query_value(None, "quick_check", |row| row.get(0))?;
    if verdict == "ok" { Ok(connection) } else { Err(StoreError::Damaged(corrupt(verdict))) }
}

/// Only a damaged file is moved away: a disk that fails to read now may read again later.
fn content_is_bad(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase))
}

fn corrupt(words: String) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(
        rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT),
        Some(words),
    )
}

/// Moves the file and what belongs to it out of the way; nothing is deleted.
fn move_away(path: &Path, now: Timestamp) -> io::Result<PathBuf> {
    let beside = |suffix: &str| {
        let mut name = OsString::from(path.as_os_str());
        name.push(suffix);
        PathBuf::from(name)
    };
    let aside = beside(&format!("{DAMAGED}{}", millis(now)));
    for suffix in ["-wal", "-shm"] {
        let part = beside(suffix);
        if part.exists() {
            let mut to = OsString::from(aside.as_os_str());
            to.push(suffix);
            fs::rename(part, to)?;
        }
    }
    fs::rename(path, &aside)?;
    Ok(aside)
}

/// The damaged file beside this one that was moved away last; its WAL's name is no number.
fn newest_aside(path: &Path) -> Option<PathBuf> {
    let store = path.file_name()?.to_str()?;
    let moved_at = |name: &OsString| -> Option<i64> {
        name.to_str()?.strip_prefix(store)?.strip_prefix(DAMAGED)?.parse().ok()
    };
    let names = fs::read_dir(path.with_file_name(".")).ok()?.flatten().map(|file| file.file_name());
    let (_, newest) = names.filter_map(|name| Some((moved_at(&name)?, name))).max()?;
    Some(path.with_file_name(newest))
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let known = MIGRATIONS.len() as i64;
    let tx = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let found: i64 = tx.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found > known || found < 0 {
        return Err(StoreError::Newer { path: path.to_owned(), found, known });
    }
    for step in &MIGRATIONS[found as usize..] {
        tx.execute_batch(step)?;
    }
    tx.pragma_update(None, "user_version", known)?;
    Ok(tx.commit()?)
}

/// After a damaged store the numbers go on far above the old ones: a subscriber then sees a
/// gap, which is the truth, and never a number twice. Milliseconds since 1970 are above any
/// count of messages and below 2^53.
///
/// A store that was never begun beside a damaged one is the new one of an opening that was cut
/// short: who moved the file away may not have come this far. `boot` tells, and is set with the
/// rest.
fn start_over(
    connection: &mut Connection,
    path: &Path,
    moved_away: Option<PathBuf>,
    now: Timestamp,
) -> Result<Option<PathBuf>, StoreError> {
    let tx = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    if fact(&tx, "boot")?.is_some() {
        return Ok(moved_away);
    }
    let Some(aside) = moved_away.or_else(|| newest_aside(path)) else { return Ok(None) };
    tx.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('outbox', ?1)", [millis(now)])?;
    set_fact(&tx, "boot", &now.as_second().to_string())?;
    let name = aside.file_name().unwrap_or_default().to_string_lossy();
    let detail = serde_json::json!({ "damaged": name });
    audit::append(&tx, now, "store_replaced", &detail.to_string())?;
    tx.commit()?;
    Ok(Some(aside))
}
