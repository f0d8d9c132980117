//! The worklist: which alerts are open. Its revision counts every change, so that a
//! subscriber can tell an old snapshot from a new one.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::job::{Job, OpenAlert};
use super::{Store, StoreError, facts, instant, millis, number, word};
use hepalert_study::outcome::AlertLevel;

/// An open alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorklistEntry {
    /// Id of the alert event.
    pub event_id: String,
    /// The study.
    pub study_key: String,
    /// Suspected or uncertain.
    pub verdict: AlertLevel,
    /// The study's revision.
    pub revision: u32,
    /// When it was raised.
    pub raised_at: Timestamp,
}

/// The open alerts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorklistState {
    /// Counts changes.
    pub revision: u64,
    /// How many alerts are open, those beyond the limit included.
    pub open_total: u64,
    /// The newest of them, newest first.
    pub entries: Vec<WorklistEntry>,
}

impl Store {
    /// The open alerts, newest first, at most `most`.
    ///
    /// # Errors
    /// Whatever SQLite refuses.
    pub fn worklist(&self, most: usize) -> Result<WorklistState, StoreError> {
        self.read(|connection| {
            // One statement sequence under one lock; another process may write in between,
            // so the revision is read first: a stale revision only causes one more message.
            let revision =
                facts::fact(connection, "worklist_revision")?.map_or(Ok(0), |t| number(&t))?;
            let sql = "SELECT count(*) FROM alerts WHERE closed_at IS NULL";
            let open_total: i64 = connection.query_row(sql, [], |row| row.get(0))?;
            let sql = "SELECT event_id, study_key, verdict, revision, raised_at FROM alerts
                       WHERE closed_at IS NULL ORDER BY raised_at DESC, study_key LIMIT ?1";
            let mut statement = connection.prepare_cached(sql)?;
            let entries = statement.query_map([most as i64], |row| {
                Ok(WorklistEntry {
                    event_id: row.get(0)?,
                    study_key: row.get(1)?,
                    verdict: word(row, "verdict")?,
                    revision: row.get(3)?,
                    raised_at: instant(row.get(4)?)?,
                })
            })?;
            let entries = entries.collect::<Result<_, _>>()?;
            Ok(WorklistState { revision, open_total: open_total as u64, entries })
        })
    }
}

/// Puts the outcome of a finished study into the worklist, unless a later revision of the
/// same study has already spoken.
pub(super) fn update_alert(
    connection: &Connection,
    job: &Job,
    alert: Option<&OpenAlert>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let key = job.study_key.as_str();
    let sql = "SELECT 1 FROM reports WHERE study_key = ?1 AND revision > ?2";
    if connection.query_row(sql, params![key, job.revision], |_| Ok(())).optional()?.is_some() {
        return Ok(());
    }
    let changed = match alert {
        Some(alert) => {
            let sql = "INSERT OR REPLACE INTO alerts
                       (study_key, event_id, verdict, revision, raised_at, engine)
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
            let OpenAlert { event_id, verdict, raised_at, engine } = alert;
            let raised_at = millis(*raised_at);
            let values = params![key, event_id, verdict.name(), job.revision, raised_at, engine];
            connection.execute(sql, values)?
        }
        None => {
            let sql = "UPDATE alerts SET closed_at = ?2, revision = ?3
                       WHERE study_key = ?1 AND closed_at IS NULL";
            connection.execute(sql, params![key, millis(now), job.revision])?
        }
    };
    if changed == 0 { Ok(()) } else { turn(connection) }
}

/// The worklist has changed.
pub(super) fn turn(connection: &Connection) -> Result<(), StoreError> {
    let revision: u64 =
        facts::fact(connection, "worklist_revision")?.map_or(Ok(0), |text| number(&text))?;
    facts::set_fact(connection, "worklist_revision", &(revision + 1).to_string())
}
