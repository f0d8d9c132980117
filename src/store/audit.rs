//! The audit trail: append-only and hash-chained, so that a changed, removed or inserted
//! row shows. Owns the chain; refuses to judge what is worth a row. A detail is JSON written
//! by this program and names studies by key only.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use sha2::{Digest, Sha256};

use hepalert_study::digest::hex;

use super::{NewEvent, Store, StoreError, instant, millis, outbox};

/// One row of the trail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    /// Its place, from 1 without gaps.
    pub n: u64,
    /// The moment of it.
    pub at: Timestamp,
    /// What kind of thing happened, e.g. `job_finished`.
    pub what: String,
    /// Further facts, as JSON.
    pub detail: String,
    /// SHA-256 over the row before and this one, lower-case hex.
    pub hash: String,
}

/// What the first row is sealed to.
const GENESIS: &str = "hepalert audit 1";

impl Store {
    /// Writes an event and a row about it together; neither, if the event is known.
    ///
    /// # Errors
    /// Whatever SQLite refuses; then neither was written.
    pub fn record_audited(
        &self,
        event: &NewEvent,
        what: &str,
        detail: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.write(|tx| {
            let new = outbox::append(tx, std::slice::from_ref(event), now)? > 0;
            if new {
                append(tx, now, what, detail)?;
            }
            Ok(new)
        })
    }

    /// At most `most` rows after row `after`, oldest first.
    ///
    /// # Errors
    /// Whatever SQLite refuses.
    pub fn audit_rows(&self, after: u64, most: usize) -> Result<Vec<AuditRow>, StoreError> {
        let sql = "SELECT n, at, what, detail, hash FROM audit WHERE n > ?1 ORDER BY n LIMIT ?2";
        self.read(|connection| {
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map(params![after as i64, most as i64], |row| {
                Ok(AuditRow {
                    n: row.get::<_, i64>(0)? as u64,
                    at: instant(row.get(1)?)?,
                    what: row.get(2)?,
                    detail: row.get(3)?,
                    hash: row.get(4)?,
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// Follows the chain from its start. `Ok(n)` is the number of rows, all sound.
    ///
    /// # Errors
    /// [`StoreError::Nonsense`] names the first row that does not follow from the one before.
    pub fn verify_audit(&self) -> Result<u64, StoreError> {
        let (mut n, mut hash) = (0, GENESIS.to_owned());
        loop {
            // A page at a time: the trail outgrows memory before it outgrows the disk.
            let page = self.audit_rows(n, 1000)?;
            if page.is_empty() {
                let written = self.read(last_number)?;
                return if n == written { Ok(n) } else { Err(changed(n + 1)) };
            }
            for row in page {
                let sealed = seal(&hash, row.n, millis(row.at), &row.what, &row.detail);
                if row.n != n + 1 || row.hash != sealed {
                    return Err(changed(n + 1));
                }
                (n, hash) = (row.n, row.hash);
            }
        }
    }
}

fn changed(row: u64) -> StoreError {
    StoreError::Nonsense(format!("the audit trail was changed at row {row}"))
}

/// SQLite's own count of rows ever written: it shows when the last ones were cut off.
fn last_number(connection: &Connection) -> Result<u64, StoreError> {
    let sql = "SELECT seq FROM sqlite_sequence WHERE name = 'audit'";
    let last: Option<i64> = connection.query_row(sql, [], |row| row.get(0)).optional()?;
    Ok(last.unwrap_or(0) as u64)
}

pub(super) fn append(
    connection: &Connection,
    now: Timestamp,
    what: &str,
    detail: &str,
) -> Result<(), StoreError> {
    let last = connection
        .query_row("SELECT n, hash FROM audit ORDER BY n DESC LIMIT 1", [], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
        })
        .optional()?;
    let (n, previous) = last.unwrap_or_else(|| (0, GENESIS.to_owned()));
    let hash = seal(&previous, n as u64 + 1, millis(now), what, detail);
    let sql = "INSERT INTO audit (n, at, what, detail, prev_hash, hash)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let values = params![n + 1, millis(now), what, detail, previous, hash];
    connection.prepare_cached(sql)?.execute(values)?;
    Ok(())
}

/// Lengths go in before texts: two rows that differ can never be sealed alike.
fn seal(previous: &str, n: u64, at_ms: i64, what: &str, detail: &str) -> String {
    let mut sha = Sha256::new();
    sha.update(n.to_be_bytes());
    sha.update(at_ms.to_be_bytes());
    for text in [previous, what, detail] {
        sha.update((text.len() as u64).to_be_bytes());
        sha.update(text);
    }
    hex(&sha.finalize())
}
