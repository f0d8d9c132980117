//! Whether somebody has seen an alert: who answered it and how, and when nobody does.
//!
//! Owns the reminders of an alert and what people think of it, by role. Holds no name of a person,
//! and closes an alert only on somebody's word.

use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{OptionalExtension, params};
use serde_json::json;

use super::worklist::turn;
use super::{NewEvent, Store, StoreError, audit, instant, millis, outbox, word};
use hepalert_study::outcome::{AlertLevel, Opinion};

/// An alert that nobody has acknowledged for long enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unanswered {
    /// Id of the alert event.
    pub event_id: String,
    /// The study.
    pub study_key: String,
    /// Its revision.
    pub revision: u32,
    /// Suspected or uncertain.
    pub verdict: AlertLevel,
    /// When it was raised.
    pub raised_at: Timestamp,
    /// Which reminder is due, from 1.
    pub reminder: u32,
}

/// When an alert is told again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// So long after the alert, and again so long after every reminder.
    pub after: Duration,
    /// Most reminders of one alert.
    pub times: u32,
}

/// An alert, and what people think of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// The engine that raised it, and its version.
    pub engine: String,
    /// When it was raised.
    pub raised_at: Timestamp,
    /// Whether anybody has acknowledged it.
    pub is_acknowledged: bool,
    /// The last opinion of anybody who had one.
    pub opinion: Option<Opinion>,
}

impl Store {
    /// Someone has seen this alert, and may think something of it. An opinion is also taken of an
    /// alert that is closed. False if no such alert is open and there is no opinion to keep.
    ///
    /// # Errors
    /// Whatever SQLite refuses.
    pub fn acknowledge(
        &self,
        event_id: &str,
        role: &str,
        opinion: Option<Opinion>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.write(|tx| {
            let sql = "SELECT closed_at IS NULL FROM alerts WHERE event_id = ?1";
            let open = tx.query_row(sql, [event_id], |row| row.get::<_, bool>(0)).optional()?;
            let Some(is_open) = open.filter(|is_open| *is_open || opinion.is_some()) else {
                return Ok(false);
            };
            let sql = "INSERT OR REPLACE INTO acknowledgements
                       SELECT event_id, ?2, coalesce(?3, (SELECT opinion FROM acknowledgements
                       WHERE event_id = ?1 AND role = ?2)), ?4, study_key, revision, verdict,
                       engine, raised_at FROM alerts WHERE event_id = ?1";
            tx.execute(sql, params![event_id, role, opinion.map(Opinion::name), millis(now)])?;
            if is_open {
                let sql = "UPDATE alerts SET closed_at = ?2, acknowledged_by = ?3
                           WHERE event_id = ?1";
                tx.execute(sql, params![event_id, millis(now), role])?;
                turn(tx)?;
            }
            let detail = json!({ "id": event_id, "by": role, "opinion": opinion });
            audit::append(tx, now, "alert_acknowledged", &detail.to_string())?;
            Ok(true)
        })
    }

    /// Writes the reminders that are due, one of every alert at most, in the words of `tell`.
    /// Returns how many.
    ///
    /// # Errors
    /// Whatever SQLite refuses; then none was written.
    pub fn remind(
        &self,
        patience: Patience,
        now: Timestamp,
        tell: impl Fn(&Unanswered) -> Vec<NewEvent>,
    ) -> Result<usize, StoreError> {
        let after_ms = i64::try_from(patience.after.as_millis()).unwrap_or(i64::MAX);
        let before = millis(now).saturating_sub(after_ms);
        let sql = "SELECT event_id, study_key, revision, verdict, raised_at, reminders + 1
                   FROM alerts WHERE closed_at IS NULL AND reminders < ?1
                   AND max(raised_at, coalesce(reminded_at, 0)) <= ?2 ORDER BY raised_at, study_key";
        let due = |connection: &rusqlite::Connection| -> Result<Vec<Unanswered>, StoreError> {
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map(params![patience.times, before], |row| {
                Ok(Unanswered {
                    event_id: row.get(0)?,
                    study_key: row.get(1)?,
                    revision: row.get(2)?,
                    verdict: word(row, "verdict")?,
                    raised_at: instant(row.get(4)?)?,
                    reminder: row.get(5)?,
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        };
        // Asked often and nearly always in vain: no transaction for that.
        if self.read(due)?.is_empty() {
            return Ok(0);
        }
        self.write(|tx| {
            let alerts = due(tx)?;
            for alert in &alerts {
                let sql = "UPDATE alerts SET reminders = ?2, reminded_at = ?3 WHERE event_id = ?1";
                tx.execute(sql, params![alert.event_id, alert.reminder, millis(now)])?;
                outbox::append(tx, &tell(alert), now)?;
                let detail = json!({ "id": alert.event_id, "reminder": alert.reminder });
                audit::append(tx, now, "alert_not_acknowledged", &detail.to_string())?;
            }
            Ok(alerts.len())
        })
    }

    /// Every alert that is known, oldest first, with what people think of it.
    ///
    /// # Errors
    /// Whatever SQLite refuses.
    pub fn answers(&self) -> Result<Vec<Answered>, StoreError> {
        let sql = "SELECT engine, raised_at, 0 AS acknowledged, NULL AS opinion FROM alerts
                   WHERE event_id NOT IN (SELECT event_id FROM acknowledgements)
                   UNION ALL
                   SELECT engine, raised_at, 1, (SELECT opinion FROM acknowledgements AS other
                   WHERE other.event_id = heard.event_id AND opinion IS NOT NULL
                   ORDER BY at DESC, role LIMIT 1) FROM acknowledgements AS heard
                   GROUP BY event_id ORDER BY raised_at";
        self.read(|connection| {
            let mut statement = connection.prepare(sql)?;
            let rows = statement.query_map([], |row| {
                let opinion: Option<String> = row.get(3)?;
                let opinion = opinion.map(|name| name.parse()).transpose();
                Ok(Answered {
                    engine: row.get(0)?,
                    raised_at: instant(row.get(1)?)?,
                    is_acknowledged: row.get(2)?,
                    opinion: opinion.map_err(|_| rusqlite::Error::InvalidQuery)?,
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }
}
