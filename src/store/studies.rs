//! Studies as a whole, for who looks at many: each with its newest job, and what was said of one.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, params};

use hepalert_study::outcome::Opinion;
use hepalert_study::study::{PatientKey, StudyKey};

use super::job::{Job, StoredReport};
use super::{OutboxRow, Store, StoreError, instant, outbox, queue};

/// A study in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StudyRow {
    /// The job of its newest revision.
    pub job: Job,
    /// Revision of its newest report, and when that was stored.
    pub report: Option<(u32, Timestamp)>,
}

/// What somebody answered to an alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// In which role.
    pub role: String,
    /// What they think, if they said so.
    pub opinion: Option<Opinion>,
    /// When it was said.
    pub at: Timestamp,
    /// The revision that was answered.
    pub revision: u32,
}

impl Store {
    /// Every study once, newest first; without their files.
    ///
    /// # Errors
    /// Whatever SQLite refuses.
    pub fn studies(&self) -> Result<Vec<StudyRow>, StoreError> {
        let columns = queue::listed();
        let sql = format!(
            "SELECT {columns},
                (SELECT r.revision FROM reports AS r WHERE r.study_key = jobs.study_key
                 ORDER BY r.revision DESC, r.created DESC LIMIT 1) AS reported,
                (SELECT r.created FROM reports AS r WHERE r.study_key = jobs.study_key
                 ORDER BY r.revision DESC, r.created DESC LIMIT 1) AS reported_at
             FROM jobs WHERE revision = (SELECT max(j.revision) FROM jobs AS j
                                         WHERE j.study_key = jobs.study_key)
             ORDER BY received_at DESC, id DESC"
        );
        self.read(|connection| {
            let mut statement = connection.prepare_cached(&sql)?;
            let rows = statement.query_map([], |row| {
                let revision: Option<u32> = row.get("reported")?;
                let at = row.get::<_, Option<i64>>("reported_at")?.map(instant).transpose()?;
                Ok(StudyRow { job: queue::row(row)?, report: revision.zip(at) })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// The newest report of one revision of a study.
    ///
    /// # Errors
    /// Whatever SQLite refuses.
    pub fn report_of(
        &self,
        study_key: &StudyKey,
        revision: u32,
    ) -> Result<Option<StoredReport>, StoreError> {
        let sql = "SELECT revision, pipeline_fingerprint, report_json, artefacts_json, created
                   FROM reports WHERE study_key = ?1 AND revision = ?2
                   ORDER BY created DESC LIMIT 1";
        self.read(|connection| {
            let values = params![study_key.as_str(), revision];
            Ok(connection.query_row(sql, values, queue::report_row).optional()?)
        })
    }

    /// Results of other studies of this patient, the last first, at most `most`: study and revision.
    ///
    /// # Errors
    /// Whatever SQLite refuses.
    pub fn results_of(
        &self,
        patient: &PatientKey,
        but: &StudyKey,
        most: usize,
    ) -> Result<Vec<(String, u32)>, StoreError> {
        let sql = "SELECT study_key, revision FROM jobs
                   WHERE patient_key = ?1 AND study_key <> ?2 AND state = 'done'
                   ORDER BY finished_at DESC, id DESC LIMIT ?3";
        self.read(|connection| {
            let mut statement = connection.prepare_cached(sql)?;
            let values = params![patient.as_str(), but.as_str(), most as i64];
            let rows = statement.query_map(values, |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// The revisions of a study that have a report, oldest first.
    ///
    /// # Errors
    /// Whatever SQLite refuses.
    pub fn reported(&self, study_key: &StudyKey) -> Result<Vec<u32>, StoreError> {
        let sql = "SELECT DISTINCT revision FROM reports WHERE study_key = ?1 ORDER BY revision";
        self.read(|connection| {
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map([study_key.as_str()], |row| row.get(0))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// The events about a study that are still kept, oldest first, at most `most`.
    ///
    /// # Errors
    /// Whatever SQLite refuses.
    pub fn events_of(
        &self,
        study_key: &StudyKey,
        most: usize,
    ) -> Result<Vec<OutboxRow>, StoreError> {
        let columns = outbox::COLUMNS;
        let sql = format!("SELECT {columns} FROM outbox WHERE subject = ?1 ORDER BY seq LIMIT ?2");
        self.read(|connection| {
            let mut statement = connection.prepare_cached(&sql)?;
            let values = params![study_key.as_str(), most as i64];
            let rows = statement.query_map(values, outbox::row)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// What people answered to the alerts of a study, oldest first.
    ///
    /// # Errors
    /// Whatever SQLite refuses.
    pub fn answers_of(&self, study_key: &StudyKey) -> Result<Vec<Answer>, StoreError> {
        let sql = "SELECT role, opinion, at, revision FROM acknowledgements WHERE study_key = ?1
                   ORDER BY at, role";
        self.read(|connection| {
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map([study_key.as_str()], |row| {
                let opinion: Option<String> = row.get(1)?;
                let opinion = opinion.map(|name| name.parse()).transpose();
                Ok(Answer {
                    role: row.get(0)?,
                    opinion: opinion.map_err(|_| rusqlite::Error::InvalidQuery)?,
                    at: instant(row.get(2)?)?,
                    revision: row.get(3)?,
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }
}
