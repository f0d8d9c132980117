//! Deliveries: objects of a result on their way to archives.
//!
//! Owns their order and that each is there once per archive, however often a study is finished. They
//! commit with the report ([`Store::finish`]); after that each ends as sent or refused, by what the archive
//! said. Refuses to send.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{NewEvent, Store, StoreError, instant, millis, outbox};

/// An object for an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDelivery {
    /// The archive's name in the configuration.
    pub target: String,
    /// The file below the folder of the result.
    pub path: String,
}

/// A delivery that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Its number: lower ones go first.
    pub n: i64,
    /// The archive.
    pub target: String,
    /// The study.
    pub study_key: String,
    /// Its revision.
    pub revision: u32,
    /// The file below the folder of the result.
    pub path: String,
    /// How often it was tried.
    pub attempts: u32,
    /// Not to be tried before.
    pub not_before: Timestamp,
    /// What came of the last try, if there was one.
    pub code: Option<String>,
}

/// What waits for an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// How many objects.
    pub objects: u64,
    /// The first of them: the others stand behind it.
    pub first: Delivery,
}

/// How deliveries stand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeliveryCounts {
    /// Objects that wait to be sent.
    pub waiting: u64,
    /// Kept by the archive.
    pub sent: u64,
    /// Refused by the archive.
    pub refused: u64,
}

/// Asked twice a second by every archive's thread.
const NEXT: &str = "SELECT n, target, study_key, revision, path, attempts, not_before, code FROM deliveries \
                    WHERE target = ?1 AND state = 'waiting' ORDER BY n LIMIT 1";

impl Store {
    /// The first delivery of an archive that waits, whether or not its time has come: none overtakes.
    ///
    /// # Errors
    /// Whatever SQLite refuses.
    pub fn next_delivery(&self, target: &str) -> Result<Option<Delivery>, StoreError> {
        self.read(|connection| {
            Ok(connection.prepare_cached(NEXT)?.query_row([target], row).optional()?)
        })
    }

    /// What waits for an archive; none where nothing does.
    ///
    /// # Errors
    /// Whatever SQLite refuses.
    pub fn waiting_for(&self, target: &str) -> Result<Option<Waiting>, StoreError> {
        let objects = self.delivery_counts(&[target])?.waiting;
        Ok(self.next_delivery(target)?.map(|first| Waiting { objects, first }))
    }

    /// The archive keeps it.
    ///
    /// # Errors
    /// Whatever SQLite refuses.
    pub fn delivered(&self, n: i64, now: Timestamp) -> Result<(), StoreError> {
        let sql = "UPDATE deliveries SET state = 'sent', code = NULL, attempts = attempts + 1,
                   ended_at = ?2 WHERE n = ?1";
        self.write(|tx| Ok(tx.execute(sql, params![n, millis(now)]).map(drop)?))
    }

    /// It could not be sent now, and is tried again.
    ///
    /// # Errors
    /// Whatever SQLite refuses.
    pub fn postpone_delivery(
        &self,
        n: i64,
        code: &str,
        not_before: Timestamp,
    ) -> Result<(), StoreError> {
        let sql = "UPDATE deliveries SET attempts = attempts + 1, code = ?2, not_before = ?3
                   WHERE n = ?1";
        self.write(|tx| Ok(tx.execute(sql, params![n, code, millis(not_before)]).map(drop)?))
    }

    /// The archive does not take it; the events about that commit with it.
    ///
    /// # Errors
    /// Whatever SQLite refuses.
    pub fn refuse_delivery(
        &self,
        n: i64,
        code: &str,
        events: &[NewEvent],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let sql = "UPDATE deliveries SET state = 'refused', code = ?2, attempts = attempts + 1,
                   ended_at = ?3 WHERE n = ?1";
        self.write(|tx| {
            tx.execute(sql, params![n, code, millis(now)])?;
            outbox::append(tx, events, now).map(drop)
        })
    }

    /// Puts objects of a result back into the line, whatever became of them. Returns how many.
    ///
    /// # Errors
    /// Whatever SQLite refuses.
    pub fn deliver_again(
        &self,
        study_key: &str,
        revision: u32,
        deliveries: &[NewDelivery],
        now: Timestamp,
    ) -> Result<usize, StoreError> {
        let sql = "DELETE FROM deliveries WHERE target = ?1 AND study_key = ?2 AND revision = ?3
                   AND path = ?4";
        self.write(|tx| {
            for new in deliveries {
                tx.execute(sql, params![new.target, study_key, revision, new.path])?;
            }
            append(tx, study_key, revision, deliveries, now)
        })
    }

    /// How many deliveries to these archives stand where. Those to an archive that is configured no longer
    /// are kept, as it may come back, and nobody waits for them.
    ///
    /// # Errors
    /// Whatever SQLite refuses.
    pub fn delivery_counts(&self, targets: &[&str]) -> Result<DeliveryCounts, StoreError> {
        self.read(|connection| {
            let sql = "SELECT state, target, count(*) FROM deliveries GROUP BY state, target";
            let mut statement = connection.prepare_cached(sql)?;
            let mut rows = statement.query([])?;
            let mut counts = DeliveryCounts::default();
            while let Some(row) = rows.next()? {
                if !targets.contains(&row.get::<_, String>(1)?.as_str()) {
                    continue;
                }
                let count = row.get::<_, i64>(2)? as u64;
                match row.get::<_, String>(0)?.as_str() {
                    "waiting" => counts.waiting += count,
                    "sent" => counts.sent += count,
                    "refused" => counts.refused += count,
                    other => return Err(StoreError::Nonsense(format!("state {other:?}"))),
                }
            }
            Ok(counts)
        })
    }

    /// The files of all jobs whose report was stored since then, as JSON.
    ///
    /// # Errors
    /// Whatever SQLite refuses.
    pub fn files_reported(&self, since: Timestamp) -> Result<Vec<String>, StoreError> {
        self.read(|connection| {
            let sql = "SELECT files_json FROM jobs WHERE state = 'done' AND finished_at >= ?1";
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map([millis(since)], |row| row.get(0))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// The files of all jobs that are not at their end, as JSON.
    ///
    /// # Errors
    /// Whatever SQLite refuses.
    pub fn files_in_use(&self) -> Result<Vec<String>, StoreError> {
        self.read(|connection| {
            let sql = "SELECT files_json FROM jobs WHERE state IN ('queued', 'running')";
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map([], |row| row.get(0))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }
}

/// Writes the deliveries that are not there yet.
pub(super) fn append(
    connection: &Connection,
    study_key: &str,
    revision: u32,
    deliveries: &[NewDelivery],
    now: Timestamp,
) -> Result<usize, StoreError> {
    let sql = "INSERT OR IGNORE INTO deliveries (target, study_key, revision, path, created)
               VALUES (?1, ?2, ?3, ?4, ?5)";
    let mut statement = connection.prepare_cached(sql)?;
    let mut written = 0;
    for new in deliveries {
        let values = params![new.target, study_key, revision, new.path, millis(now)];
        written += statement.execute(values)?;
    }
    Ok(written)
}

fn row(row: &Row<'_>) -> rusqlite::Result<Delivery> {
    Ok(Delivery {
        n: row.get("n")?,
        target: row.get("target")?,
        study_key: row.get("study_key")?,
        revision: row.get("revision")?,
        path: row.get("path")?,
        attempts: row.get("attempts")?,
        not_before: instant(row.get("not_before")?)?,
        code: row.get("code")?,
    })
}
