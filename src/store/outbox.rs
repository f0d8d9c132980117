//! The outbox: what was promised to subscribers and not yet acknowledged by the broker.
//!
//! Owns the numbers (`seq`: dense, never reused), the order and the rule that an event with
//! a known id is not written twice. Refuses everything that is not an event: retained state
//! and health are sent from what is true now, never from what was true once.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{Store, StoreError, facts, instant, millis};

/// An event to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    /// Deterministic: the same event has the same id after a crash or a retry.
    pub id: String,
    /// Below the device's root: `event/alert`, `event/study`, ...
    pub topic: String,
    /// The CloudEvents type.
    pub kind: String,
    /// What it is about, a study key or nothing.
    pub subject: Option<String>,
    /// Revision of the study, 0 without one.
    pub revision: u32,
    /// Id of the event that this one replaces.
    pub supersedes: Option<String>,
    /// When it happened.
    pub time: Timestamp,
    /// The body, as JSON.
    pub data: String,
}

/// An event in the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRow {
    /// Its number on this device.
    pub seq: u64,
    /// In which run of the daemon it was written.
    pub boot: u64,
    /// How often sending it was refused.
    pub attempts: u32,
    /// When the broker acknowledged it, if it did.
    pub sent_at: Option<Timestamp>,
    /// The event.
    pub event: NewEvent,
}

/// How far sending is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backlog {
    /// Rows not yet acknowledged.
    pub unsent: u64,
    /// When the oldest of them was written.
    pub oldest_unsent: Option<Timestamp>,
    /// The number that the next row will get.
    pub next_seq: u64,
}

/// What [`Store::prune`] removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pruned {
    /// Sent events.
    pub events: usize,
    /// How many reports there are.
    pub reports: usize,
}

pub(super) const COLUMNS: &str = "seq, boot, attempts, sent_at, id, topic, kind, subject, revision, \
                       supersedes, time, data";

impl Store {
    /// Writes events that belong to no change of a job. Returns how many were new.
    ///
    /// # Errors
    /// [`StoreError::NotAnEvent`], or whatever SQLite refuses; then none was written.
    pub fn record(&self, events: &[NewEvent], now: Timestamp) -> Result<usize, StoreError> {
        self.write(|tx| append(tx, events, now))
    }

    /// At most `most` unsent rows with a number above `after`, oldest first.
    ///
    /// # Errors
    /// Whatever SQLite refuses.
    pub fn unsent(&self, after: u64, most: usize) -> Result<Vec<OutboxRow>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM outbox WHERE sent_at IS NULL AND seq > ?1 ORDER BY seq LIMIT ?2"
        );
        self.rows(&sql, after as i64, most as i64)
    }

    /// The rows `from..=to` that are still kept, sent or not, at most 1000: for replay.
    ///
    /// # Errors
    /// Whatever SQLite refuses.
    pub fn outbox_range(&self, from: u64, to: u64) -> Result<Vec<OutboxRow>, StoreError> {
        let to = to.min(from.saturating_add(999)).min(i64::MAX as u64);
        let sql = format!("SELECT {COLUMNS} FROM outbox WHERE seq BETWEEN ?1 AND ?2 ORDER BY seq");
        self.rows(&sql, from.min(to) as i64, to as i64)
    }

    fn rows(&self, sql: &str, a: i64, b: i64) -> Result<Vec<OutboxRow>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map([a, b], row)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// The broker acknowledged these rows. Doing it twice is harmless.
    ///
    /// # Errors
    /// Whatever SQLite refuses.
    pub fn mark_sent(&self, seqs: &[u64], now: Timestamp) -> Result<(), StoreError> {
        let sql = "UPDATE outbox SET sent_at = ?2 WHERE seq = ?1 AND sent_at IS NULL";
        self.write(|tx| {
            let mut statement = tx.prepare_cached(sql)?;
            for &seq in seqs {
                statement.execute(params![seq as i64, millis(now)])?;
            }
            Ok(())
        })
    }

    /// The broker refused these rows, or the connection was lost over them.
    ///
    /// # Errors
    /// Whatever SQLite refuses.
    pub fn mark_attempt(&self, seqs: &[u64]) -> Result<(), StoreError> {
        let sql = "UPDATE outbox SET attempts = attempts + 1 WHERE seq = ?1";
        self.write(|tx| {
            let mut statement = tx.prepare_cached(sql)?;
            for &seq in seqs {
                statement.execute([seq as i64])?;
            }
            Ok(())
        })
    }

    /// How far sending is behind.
    ///
    /// # Errors
    /// Whatever SQLite refuses.
    pub fn backlog(&self) -> Result<Backlog, StoreError> {
        self.read(|connection| {
            let sql = "SELECT count(*), min(created) FROM outbox WHERE sent_at IS NULL";
            let (unsent, oldest): (i64, Option<i64>) =
                connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let sql = "SELECT seq FROM sqlite_sequence WHERE name = 'outbox'";
            let last: Option<i64> = connection.query_row(sql, [], |row| row.get(0)).optional()?;
            Ok(Backlog {
                unsent: unsent as u64,
                oldest_unsent: oldest.map(instant).transpose()?,
                next_seq: last.unwrap_or(0) as u64 + 1,
            })
        })
    }

    /// The newest event about a study on a topic: its id and revision. What a later revision
    /// names as `supersedes`.
    ///
    /// # Errors
    /// Whatever SQLite refuses.
    pub fn newest_event(
        &self,
        topic: &str,
        subject: &str,
    ) -> Result<Option<(String, u32)>, StoreError> {
        let sql = "SELECT id, revision FROM outbox WHERE subject = ?1 AND topic = ?2
                   ORDER BY revision DESC, seq DESC LIMIT 1";
        self.read(|connection| {
            let row =
                connection.query_row(sql, [subject, topic], |row| Ok((row.get(0)?, row.get(1)?)));
            Ok(row.optional()?)
        })
    }

    /// When the first event about a study on a topic happened.
    ///
    /// # Errors
    /// Whatever SQLite refuses.
    pub fn first_event_at(
        &self,
        topic: &str,
        subject: &str,
    ) -> Result<Option<Timestamp>, StoreError> {
        let sql = "SELECT min(time) FROM outbox WHERE subject = ?1 AND topic = ?2";
        self.read(|connection| {
            let at: Option<i64> = connection.query_row(sql, [subject, topic], |row| row.get(0))?;
            Ok(at.map(instant).transpose()?)
        })
    }

    /// Removes sent events and reports from before `before`, and the file names and patients of
    /// studies that ended before it. Unsent events stay whatever their age; so do jobs, by which a
    /// study is known again; so does the audit.
    ///
    /// # Errors
    /// Whatever SQLite refuses.
    pub fn prune(&self, before: Timestamp) -> Result<Pruned, StoreError> {
        let before = millis(before);
        self.write(|tx| {
            let events = tx.execute("DELETE FROM outbox WHERE sent_at < ?1", [before])?;
            let reports = tx.execute("DELETE FROM reports WHERE created < ?1", [before])?;
            let sql = "UPDATE jobs SET files_json = '[]', patient_key = NULL WHERE finished_at < ?1
                       AND (files_json <> '[]' OR patient_key IS NOT NULL)";
            tx.execute(sql, [before])?;
            tx.execute("DELETE FROM deliveries WHERE ended_at < ?1", [before])?;
            Ok(Pruned { events, reports })
        })
    }
}

/// Writes the events whose id is not known yet; returns how many those were.
pub(super) fn append(
    connection: &Connection,
    events: &[NewEvent],
    now: Timestamp,
) -> Result<usize, StoreError> {
    if let Some(stray) = events.iter().find(|event| !event.topic.starts_with("event/")) {
        return Err(StoreError::NotAnEvent(stray.topic.clone()));
    }
    let boot = facts::fact(connection, "boot")?.unwrap_or_else(|| "0".to_owned());
    // Not `INSERT OR IGNORE`: an ignored insert may use up a number, and a gap means loss.
    let sql = "INSERT INTO outbox
        (id, topic, kind, subject, revision, supersedes, boot, time, data, created)
        SELECT ?1, ?2, ?3, ?4, ?5, ?6, CAST(?7 AS INTEGER), ?8, ?9, ?10
        WHERE NOT EXISTS (SELECT 1 FROM outbox WHERE id = ?1)";
    let mut statement = connection.prepare_cached(sql)?;
    let mut written = 0;
    for event in events {
        written += statement.execute(params![
            event.id,
            event.topic,
            event.kind,
            event.subject,
            event.revision,
            event.supersedes,
            boot,
            millis(event.time),
            event.data,
            millis(now),
        ])?;
    }
    Ok(written)
}

pub(super) fn row(row: &Row<'_>) -> rusqlite::Result<OutboxRow> {
    Ok(OutboxRow {
        seq: row.get::<_, i64>("seq")? as u64,
        boot: row.get::<_, i64>("boot")? as u64,
        attempts: row.get("attempts")?,
        sent_at: row.get::<_, Option<i64>>("sent_at")?.map(instant).transpose()?,
        event: NewEvent {
            id: row.get("id")?,
            topic: row.get("topic")?,
            kind: row.get("kind")?,
            subject: row.get("subject")?,
            revision: row.get("revision")?,
            supersedes: row.get("supersedes")?,
            time: instant(row.get("time")?)?,
            data: row.get("data")?,
        },
    })
}
