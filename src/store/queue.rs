//! Jobs: one per revision of a study, from the queue to its end.
//!
//! Owns the states and the steps between them:
//!
//! ```text
//! queued -> running -> done | rejected | dead      running -> queued (retry, crash)
//! queued -> superseded (a later revision came)     dead | rejected -> queued (requeue)
//! ```
//!
//! Every step takes its events with it: they commit together or not at all.

use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use serde_json::json;

use hepalert_study::study::{PatientKey, StudyKey};

use super::job::{
    Admission, Enqueued, Finished, Job, JobCounts, JobId, JobState, Known, NewJob, StoredReport,
};
use super::{
    NewEvent, Store, StoreError, audit, deliveries, instant, millis, outbox, word, worklist,
};

/// The longest that a study waits for its next try.
pub const MAX_WAIT: Duration = Duration::from_secs(3600);

/// A machine that goes down this often over one study goes down because of it.
const MAX_EXCUSES: u32 = 5;

/// In place of the files of a study that the intake refused, and of one that was pruned.
pub const NO_FILES: &str = "[]";

pub(super) const COLUMNS: &str = "id, study_key, revision, setting, fingerprint, files_json, state, \
    attempts, not_before, received_at, started_at, finished_at, reason_code";

/// The columns of a job in a list. The files of a study are long, and no list shows them: each job
/// is read as if it had none.
pub(super) fn listed() -> String {
    COLUMNS.replace("files_json", &format!("'{NO_FILES}' AS files_json"))
}

/// What waits longer than any wait is waits for a clock that was set back. What has no files waits
/// for the intake: see [`Store::without_files`].
pub(super) const NEXT: &str = "UPDATE jobs SET state = 'running', attempts = attempts + 1,
    started_at = ?1
    WHERE id = (SELECT id FROM jobs WHERE state = 'queued' AND files_json <> '[]'
                AND (not_before <= ?1 OR not_before > ?1 + ?2)
                ORDER BY id LIMIT 1)
    RETURNING id";

pub(super) const COUNTS: &str = "SELECT state, count(*) FROM jobs GROUP BY state";

impl Store {
    /// Takes a study into the queue, once per set of files. `announce` makes the events of a
    /// new job; it runs inside the transaction and must not call the store.
    ///
    /// # Errors
    /// Whatever SQLite refuses; then neither job nor event is there.
    pub fn enqueue(
        &self,
        new: &NewJob,
        now: Timestamp,
        announce: impl FnOnce(&Admission) -> Vec<NewEvent>,
    ) -> Result<Enqueued, StoreError> {
        self.write(|tx| admit(tx, new, JobState::Queued, None, now, announce))
    }

    /// Refuses a study before it ever was a job: the same files are then not brought again.
    ///
    /// # Errors
    /// Whatever SQLite refuses.
    pub fn enqueue_refused(
        &self,
        new: &NewJob,
        code: &str,
        now: Timestamp,
        announce: impl FnOnce(&Admission) -> Vec<NewEvent>,
    ) -> Result<Enqueued, StoreError> {
        self.write(|tx| admit(tx, new, JobState::Refused, Some(code), now, announce))
    }

    /// Takes the next job whose time has come: the oldest first. It counts as begun, with the
    /// events of `announce`.
    ///
    /// # Errors
    /// Whatever SQLite refuses.
    pub fn next_job(
        &self,
        now: Timestamp,
        announce: impl FnOnce(&Job) -> Vec<NewEvent>,
    ) -> Result<Option<Job>, StoreError> {
        self.write(|tx| {
            let values = params![millis(now), MAX_WAIT.as_millis() as i64];
            let id: Option<i64> = tx.query_row(NEXT, values, |row| row.get(0)).optional()?;
            let Some(id) = id else { return Ok(None) };
            let job = job(tx, JobId(id))?;
            outbox::append(tx, &announce(&job), now)?;
            Ok(Some(job))
        })
    }

    /// Puts a running job back, to be begun again at `not_before`.
    ///
    /// # Errors
    /// [`StoreError::NoSuchJob`] or [`StoreError::WrongState`].
    pub fn retry(
        &self,
        job: JobId,
        not_before: Timestamp,
        reason_code: &str,
    ) -> Result<(), StoreError> {
        self.write(|tx| {
            must_be(tx, job, &[JobState::Running], "running")?;
            let sql = "UPDATE jobs SET state = 'queued', not_before = ?2, reason_code = ?3
                       WHERE id = ?1";
            tx.execute(sql, params![job.0, millis(not_before), reason_code])?;
            Ok(())
        })
    }

    /// Puts a running job back as if it had not been begun: it was not its fault. `reason_code`
    /// says what it waits for.
    ///
    /// # Errors
    /// [`StoreError::NoSuchJob`] or [`StoreError::WrongState`].
    pub fn put_back(
        &self,
        job: JobId,
        not_before: Timestamp,
        reason_code: Option<&str>,
    ) -> Result<(), StoreError> {
        self.write(|tx| {
            must_be(tx, job, &[JobState::Running], "running")?;
            let sql = "UPDATE jobs SET state = 'queued', not_before = ?2, attempts = attempts - 1,
                       reason_code = coalesce(?3, reason_code) WHERE id = ?1";
            tx.execute(sql, params![job.0, millis(not_before), reason_code])?;
            Ok(())
        })
    }

    /// The machine went down while these jobs ran: their attempts do not count, unless it does
    /// so again and again.
    ///
    /// # Errors
    /// Whatever SQLite refuses.
    pub fn excuse(&self, jobs: &[JobId]) -> Result<(), StoreError> {
        let sql = "UPDATE jobs SET interrupted = interrupted + 1,
                   attempts = max(0, attempts - (interrupted < ?2)) WHERE id = ?1";
        self.write(|tx| {
            for job in jobs {
                tx.execute(sql, params![job.0, MAX_EXCUSES])?;
            }
            Ok(())
        })
    }

    /// Gives up a job that failed too often.
    ///
    /// # Errors
    /// [`StoreError::NoSuchJob`] or [`StoreError::WrongState`].
    pub fn dead_letter(
        &self,
        job: JobId,
        code: &str,
        events: &[NewEvent],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.write(|tx| end(tx, job, JobState::Dead, code, events, now))
    }

    /// Refuses a job's input for good.
    ///
    /// # Errors
    /// [`StoreError::NoSuchJob`] or [`StoreError::WrongState`].
    pub fn refuse(
        &self,
        job: JobId,
        code: &str,
        events: &[NewEvent],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.write(|tx| end(tx, job, JobState::Refused, code, events, now))
    }

    /// Completes a study: report, events, job and worklist in one transaction. Finishing a
    /// job that is done already changes nothing and returns false.
    ///
    /// # Errors
    /// [`StoreError::NoSuchJob`] or [`StoreError::WrongState`].
    pub fn finish(
        &self,
        id: JobId,
        finished: &Finished,
        events: &[NewEvent],
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.write(|tx| {
            let before = job(tx, id)?;
            if before.state == JobState::Done {
                return Ok(false);
            }
            must_be(tx, id, &[JobState::Running], "running")?;
            store_report(tx, &before, finished, now)?;
            outbox::append(tx, events, now)?;
            let (key, revision) = (before.study_key.as_str(), before.revision);
            deliveries::append(tx, key, revision, &finished.deliveries, now)?;
            worklist::update_alert(tx, &before, finished.alert.as_ref(), now)?;
            let sql = "UPDATE jobs SET state = 'done', finished_at = ?2, reason_code = NULL
                       WHERE id = ?1";
            tx.execute(sql, params![id.0, millis(now)])?;
            let verdict = finished.alert.as_ref().map(|alert| alert.verdict.name());
            note(tx, "job_finished", &before, verdict, now)?;
            Ok(true)
        })
    }

    /// Jobs that were put back by hand and whose files nobody knows, because the intake refused
    /// them or the names were pruned: the intake brings a new revision, or they are refused.
    ///
    /// # Errors
    /// Whatever SQLite refuses.
    pub fn without_files(&self) -> Result<Vec<Job>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM jobs WHERE state = 'queued' AND files_json = '[]' ORDER BY id"
        );
        self.read(|connection| {
            let mut statement = connection.prepare_cached(&sql)?;
            let rows = statement.query_map([], row)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// One job.
    ///
    /// # Errors
    /// [`StoreError::NoSuchJob`].
    pub fn job(&self, id: JobId) -> Result<Job, StoreError> {
        self.read(|connection| job(connection, id))
    }

    /// The newest jobs, newest first, at most `most`; without their files.
    ///
    /// # Errors
    /// Whatever SQLite refuses.
    pub fn jobs(&self, most: usize) -> Result<Vec<Job>, StoreError> {
        let sql = format!("SELECT {} FROM jobs ORDER BY id DESC LIMIT ?1", listed());
        self.read(|connection| {
            let mut statement = connection.prepare_cached(&sql)?;
            let rows = statement.query_map([most as i64], row)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// Every revision of a study, oldest first.
    ///
    /// # Errors
    /// Whatever SQLite refuses.
    pub fn jobs_of(&self, study_key: &StudyKey) -> Result<Vec<Job>, StoreError> {
        self.read(|connection| jobs_of(connection, study_key))
    }

    /// How many jobs there are in each state.
    ///
    /// # Errors
    /// Whatever SQLite refuses.
    pub fn job_counts(&self) -> Result<JobCounts, StoreError> {
        self.read(|connection| {
            let mut counts = JobCounts::default();
            let mut statement = connection.prepare_cached(COUNTS)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let count = row.get::<_, i64>(1)? as u64;
                match word(row, "state")? {
                    JobState::Queued => counts.queued = count,
                    JobState::Running => counts.running = count,
                    JobState::Done => counts.done = count,
                    JobState::Refused => counts.refused = count,
                    JobState::Dead => counts.dead = count,
                    JobState::Superseded => counts.superseded = count,
                }
            }
            Ok(counts)
        })
    }

    /// Every set of files that was ever taken or refused: the intake brings none of them
    /// again.
    ///
    /// # Errors
    /// Whatever SQLite refuses.
    pub fn known(&self) -> Result<Vec<Known>, StoreError> {
        let sql = "SELECT study_key, fingerprint, revision FROM jobs ORDER BY id";
        self.read(|connection| {
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map([], |row| {
                Ok(Known {
                    study_key: key(&row.get::<_, String>(0)?)?,
                    input_fingerprint: row.get(1)?,
                    revision: row.get(2)?,
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// The report of a study's latest revision that has one.
    ///
    /// # Errors
    /// Whatever SQLite refuses.
    pub fn report(&self, study_key: &StudyKey) -> Result<Option<StoredReport>, StoreError> {
        let sql = "SELECT revision, pipeline_fingerprint, report_json, artefacts_json, created
                   FROM reports WHERE study_key = ?1 ORDER BY revision DESC, created DESC LIMIT 1";
        self.read(|connection| {
            Ok(connection.query_row(sql, [study_key.as_str()], report_row).optional()?)
        })
    }
}

/// Of `revision, pipeline_fingerprint, report_json, artefacts_json, created`.
pub(super) fn report_row(row: &Row<'_>) -> rusqlite::Result<StoredReport> {
    Ok(StoredReport {
        revision: row.get(0)?,
        pipeline_fingerprint: row.get(1)?,
        report_json: row.get(2)?,
        artefacts_json: row.get(3)?,
        created: instant(row.get(4)?)?,
    })
}

/// Jobs that a dead process left running wait again; their attempts stay counted, so a study
/// that kills the process does not do so for ever.
pub(super) fn recover(tx: &Transaction<'_>) -> Result<Vec<JobId>, StoreError> {
    let sql = "UPDATE jobs SET state = 'queued', not_before = 0 WHERE state = 'running'
               RETURNING id";
    let mut statement = tx.prepare(sql)?;
    let ids = statement.query_map([], |row| Ok(JobId(row.get(0)?)))?;
    let mut ids: Vec<JobId> = ids.collect::<Result<_, _>>()?;
    ids.sort_unstable();
    Ok(ids)
}

fn admit(
    tx: &Transaction<'_>,
    new: &NewJob,
    state: JobState,
    code: Option<&str>,
    now: Timestamp,
    announce: impl FnOnce(&Admission) -> Vec<NewEvent>,
) -> Result<Enqueued, StoreError> {
    let earlier = jobs_of(tx, &new.study_key)?;
    if let Some(same) = earlier.iter().find(|j| j.input_fingerprint == new.input_fingerprint) {
        return Ok(Enqueued::Duplicate(same.id));
    }
    let revision = earlier.last().map_or(0, |job| job.revision) + 1;
    // A refused revision does not take an older, good one out of the queue: only one that waited
    // for the intake to read it anew.
    let superseded = supersede(tx, earlier, state, now)?;
    let id = insert(tx, new, revision, state, code, now)?;
    let admission = Admission { job: id, revision, superseded };
    outbox::append(tx, &announce(&admission), now)?;
    note(
        tx,
        if code.is_some() { "study_refused" } else { "job_queued" },
        &job(tx, id)?,
        code,
        now,
    )?;
    Ok(Enqueued::New(admission))
}

fn insert(
    tx: &Transaction<'_>,
    new: &NewJob,
    revision: u32,
    state: JobState,
    code: Option<&str>,
    now: Timestamp,
) -> Result<JobId, StoreError> {
    let sql = "INSERT INTO jobs (study_key, revision, setting, fingerprint, files_json, state,
        received_at, finished_at, reason_code, patient_key)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
    let finished_at = (state != JobState::Queued).then(|| millis(now));
    tx.execute(
        sql,
        params![
            new.study_key.as_str(),
            revision,
            new.setting.name(),
            new.input_fingerprint,
            new.files_json,
            state.name(),
            millis(new.completed_at),
            finished_at,
            code,
            new.patient.as_ref().map(PatientKey::as_str),
        ],
    )?;
    Ok(JobId(tx.last_insert_rowid()))
}

fn supersede(
    tx: &Transaction<'_>,
    earlier: Vec<Job>,
    by: JobState,
    now: Timestamp,
) -> Result<Vec<Job>, StoreError> {
    let waits = |job: &Job| {
        job.state == JobState::Queued && (by == JobState::Queued || job.files_json == NO_FILES)
    };
    let waiting: Vec<Job> = earlier.into_iter().filter(waits).collect();
    for job in &waiting {
        let sql = "UPDATE jobs SET state = 'superseded', finished_at = ?2 WHERE id = ?1";
        tx.execute(sql, params![job.id.0, millis(now)])?;
    }
    Ok(waiting)
}

fn end(
    tx: &Transaction<'_>,
    id: JobId,
    state: JobState,
    code: &str,
    events: &[NewEvent],
    now: Timestamp,
) -> Result<(), StoreError> {
    must_be(tx, id, &[JobState::Running, JobState::Queued], "queued or running")?;
    let sql = "UPDATE jobs SET state = ?2, finished_at = ?3, reason_code = ?4 WHERE id = ?1";
    tx.execute(sql, params![id.0, state.name(), millis(now), code])?;
    outbox::append(tx, events, now)?;
    let what = if state == JobState::Dead { "job_dead" } else { "job_rejected" };
    note(tx, what, &job(tx, id)?, Some(code), now)
}

fn store_report(
    tx: &Transaction<'_>,
    job: &Job,
    finished: &Finished,
    now: Timestamp,
) -> Result<(), StoreError> {
    let sql = "INSERT OR REPLACE INTO reports
        (study_key, revision, pipeline_fingerprint, report_json, artefacts_json, created)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    tx.execute(
        sql,
        params![
            job.study_key.as_str(),
            job.revision,
            finished.pipeline_fingerprint,
            finished.report_json,
            finished.artefacts_json,
            millis(now),
        ],
    )?;
    Ok(())
}

pub(super) fn must_be(
    connection: &Connection,
    id: JobId,
    allowed: &[JobState],
    wanted: &'static str,
) -> Result<(), StoreError> {
    let state = job(connection, id)?.state;
    if allowed.contains(&state) {
        Ok(())
    } else {
        Err(StoreError::WrongState { job: id, state, wanted })
    }
}

fn note(
    connection: &Connection,
    what: &str,
    job: &Job,
    outcome: Option<&str>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let detail = json!({
        "job": job.id.0,
        "study_key": job.study_key.as_str(),
        "revision": job.revision,
        "outcome": outcome,
    });
    audit::append(connection, now, what, &detail.to_string())
}

fn job(connection: &Connection, id: JobId) -> Result<Job, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM jobs WHERE id = ?1");
    let found = connection.prepare_cached(&sql)?.query_row([id.0], row).optional()?;
    found.ok_or(StoreError::NoSuchJob(id))
}

fn jobs_of(connection: &Connection, study_key: &StudyKey) -> Result<Vec<Job>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM jobs WHERE study_key = ?1 ORDER BY revision");
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map([study_key.as_str()], row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn row(row: &Row<'_>) -> rusqlite::Result<Job> {
    let at = |name| row.get::<_, Option<i64>>(name)?.map(instant).transpose();
    Ok(Job {
        id: JobId(row.get("id")?),
        study_key: key(&row.get::<_, String>("study_key")?)?,
        revision: row.get("revision")?,
        setting: word(row, "setting")?,
        input_fingerprint: row.get("fingerprint")?,
        files_json: row.get("files_json")?,
        state: word(row, "state")?,
        attempts: row.get("attempts")?,
        not_before: instant(row.get("not_before")?)?,
        completed_at: instant(row.get("received_at")?)?,
        started_at: at("started_at")?,
        finished_at: at("finished_at")?,
        reason_code: row.get("reason_code")?,
    })
}

fn key(text: &str) -> rusqlite::Result<StudyKey> {
    StudyKey::new(text).ok_or(rusqlite::Error::InvalidQuery)
}
