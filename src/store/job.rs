//! The words of the queue: what a job is, where it can stand, what it ends with.

use std::fmt;

use jiff::Timestamp;

use super::deliveries::NewDelivery;
use hepalert_study::outcome::AlertLevel;
use hepalert_study::phase::Setting;
use hepalert_study::study::{PatientKey, StudyKey};

/// Names a job on this device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub i64);

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where a job stands.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    serde::Serialize,
    schemars::JsonSchema,
    strum::EnumString,
    strum::IntoStaticStr,
    strum::VariantNames,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum JobState {
    /// Waits for its turn.
    Queued,
    /// Is being worked on.
    Running,
    /// Has a report.
    Done,
    /// The input was refused; the reason code says why.
    #[serde(rename = "rejected")]
    #[strum(serialize = "rejected")]
    Refused,
    /// Failed too often; the reason code says how.
    Dead,
    /// A later revision of the same study came before its turn.
    Superseded,
}

impl JobState {
    /// The name in the file and in messages; reading it back is `parse`.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A study as the intake hands it over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewJob {
    /// Who it is.
    pub study_key: StudyKey,
    /// What it will be read for.
    pub setting: Setting,
    /// Hash over the files' content: the same files are never worked on twice.
    pub input_fingerprint: String,
    /// Which file is which phase, as JSON; only the daemon reads it.
    pub files_json: String,
    /// Whose it is, where that is known.
    pub patient: Option<PatientKey>,
    /// When the study was complete.
    pub completed_at: Timestamp,
}

/// What a newly admitted job is, known to the events that announce it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    /// The job.
    pub job: JobId,
    /// The study's revision, from 1.
    pub revision: u32,
    /// Older revisions of the same study that waited and now never run.
    pub superseded: Vec<Job>,
}

/// What [`Store::enqueue`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Enqueued {
    /// A new job.
    New(Admission),
    /// These very files are known already.
    Duplicate(JobId),
}

/// A job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Its name.
    pub id: JobId,
    /// The study.
    pub study_key: StudyKey,
    /// The study's revision, from 1.
    pub revision: u32,
    /// What it is read for.
    pub setting: Setting,
    /// Hash over the files' content.
    pub input_fingerprint: String,
    /// As in [`NewJob::files_json`]; `[]` once pruned.
    pub files_json: String,
    /// Where it stands.
    pub state: JobState,
    /// How often it was begun.
    pub attempts: u32,
    /// Not to be begun before.
    pub not_before: Timestamp,
    /// When the study was complete.
    pub completed_at: Timestamp,
    /// When it was last begun.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Why it was refused, failed or is tried again.
    pub reason_code: Option<String>,
}

/// How many jobs there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JobCounts {
    /// How many wait for their turn.
    pub queued: u64,
    /// How many are being analysed.
    pub running: u64,
    /// With a report.
    pub done: u64,
    /// How many were refused.
    pub refused: u64,
    /// Failed too often.
    pub dead: u64,
    /// Overtaken by a later revision.
    pub superseded: u64,
}

/// A study that the intake need not bring again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The study.
    pub study_key: StudyKey,
    /// Hash over the files' content.
    pub input_fingerprint: String,
    /// The revision it became.
    pub revision: u32,
}

/// The outcome of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// What the report was made with.
    pub pipeline_fingerprint: String,
    /// The whole report.
    pub report_json: String,
    /// Masks and pictures with their hashes, as JSON.
    pub artefacts_json: String,
    /// Objects that go to archives.
    pub deliveries: Vec<NewDelivery>,
    /// The alert to open; `None` closes the study's open alert, if it has one.
    pub alert: Option<OpenAlert>,
}

/// An alert for the worklist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenAlert {
    /// Id of the alert event.
    pub event_id: String,
    /// Suspected or uncertain.
    pub verdict: AlertLevel,
    /// When it was raised.
    pub raised_at: Timestamp,
    /// The engine that raised it, and its version.
    pub engine: String,
}

/// A report as it was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredReport {
    /// The study's revision.
    pub revision: u32,
    /// What it was made with.
    pub pipeline_fingerprint: String,
    /// The whole report.
    pub report_json: String,
    /// Masks and pictures with their hashes, as JSON.
    pub artefacts_json: String,
    /// When it was stored.
    pub created: Timestamp,
}
