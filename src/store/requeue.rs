//! Jobs that ended badly are put back into the queue by hand.

use jiff::Timestamp;
use serde_json::json;

use hepalert_study::study::StudyKey;

use super::job::{Job, JobId, JobState};
use super::queue::must_be;
use super::{Store, StoreError, audit};

/// What came of putting a study back into the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Requeued {
    /// It waits again; the job as it was.
    Queued(Box<Job>),
    /// There is no such study.
    Unknown,
    /// Its newest revision is neither refused nor failed.
    Not(JobState),
}

impl Store {
    /// Puts a failed or refused job back to the queue by hand, with its attempts forgotten and
    /// as the study's next revision: the ids of events hang on the revision, and what happens
    /// to it from now on is news, also if it fails in the same way again. Returns the
    /// revision.
    ///
    /// # Errors
    /// [`StoreError::NoSuchJob`] or [`StoreError::WrongState`].
    pub fn requeue(&self, job: JobId, now: Timestamp) -> Result<u32, StoreError> {
        self.write(|tx| {
            must_be(tx, job, &[JobState::Dead, JobState::Refused], "failed or refused")?;
            let sql =
                "UPDATE jobs SET state = 'queued', attempts = 0, interrupted = 0, not_before = 0,
                       finished_at = NULL, reason_code = NULL,
                       revision = (SELECT max(other.revision) + 1 FROM jobs AS other
                                   WHERE other.study_key = jobs.study_key)
                       WHERE id = ?1 RETURNING revision";
            let revision = tx.query_row(sql, [job.0], |row| row.get(0))?;
            let detail = json!({ "job": job.0, "revision": revision });
            audit::append(tx, now, "job_requeued", &detail.to_string())?;
            Ok(revision)
        })
    }

    /// [`Store::requeue`] of the newest revision of a study: an older one holds less, and its
    /// result would stand in the place of that.
    ///
    /// # Errors
    /// Whatever SQLite refuses.
    pub fn requeue_study(&self, key: &StudyKey, now: Timestamp) -> Result<Requeued, StoreError> {
        let Some(job) = self.jobs_of(key)?.pop() else { return Ok(Requeued::Unknown) };
        match self.requeue(job.id, now) {
            Ok(_) => Ok(Requeued::Queued(Box::new(job))),
            Err(StoreError::WrongState { state, .. }) => Ok(Requeued::Not(state)),
            Err(error) => Err(error),
        }
    }
}
