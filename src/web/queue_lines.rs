//! Lines of the queue, as they are sent: jobs, counts, reasons in words.
//!
//! Owns plain data. Refuses to read it.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::device::Pulse;
use crate::codes;
use crate::store::{Job, JobState};
use hepalert_study::phase::Setting;

/// The queue.
#[derive(Debug, Clone, PartialEq, Default, Serialize, JsonSchema)]
pub(super) struct QueueState {
    /// How the device is.
    pub device: Option<Pulse>,
    /// Jobs per state.
    pub counts: Counts,
    /// The newest jobs and all that wait or run, newest first.
    pub jobs: Vec<JobLine>,
    /// What a study takes here, in seconds: the median of the last ones.
    pub typical_s: Option<f64>,
}

/// How many jobs there are in each state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, JsonSchema)]
pub(super) struct Counts {
    /// Studies that wait.
    pub queued: u64,
    /// Being worked on.
    pub running: u64,
    /// With a report.
    pub done: u64,
    /// Studies that were refused.
    #[serde(rename = "rejected")]
    pub refused: u64,
    /// Failed too often.
    pub dead: u64,
    /// Overtaken by a later revision.
    pub superseded: u64,
    /// Alerts that nobody has acknowledged.
    pub open_alerts: u64,
    /// Messages that the broker has not taken yet.
    pub unsent: u64,
}

/// One job.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(super) struct JobLine {
    /// Its number on this device.
    pub job: i64,
    /// The study.
    pub study_key: String,
    /// Its revision.
    pub revision: u32,
    /// Where it stands.
    pub state: JobState,
    /// What it is read for.
    pub setting: Setting,
    /// How often it was begun.
    pub attempts: u32,
    /// When the study was complete.
    #[schemars(with = "String")]
    pub completed: Timestamp,
    /// When it was last begun.
    #[schemars(with = "Option<String>")]
    pub started: Option<Timestamp>,
    /// When it ended.
    #[schemars(with = "Option<String>")]
    pub finished: Option<Timestamp>,
    /// Why it was refused, failed or waits.
    pub reason: Option<Reason>,
    /// Seconds until it is likely done.
    pub left_s: Option<f64>,
}

/// A code, in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(super) struct Reason {
    /// As it is sent.
    pub code: String,
    /// What it means.
    pub sentence: Option<String>,
    /// What to do.
    pub advice: Option<String>,
}

impl Reason {
    /// Of a study's code.
    pub(super) fn of(code: &str) -> Reason {
        let meaning = codes::of_study(code);
        Reason {
            code: code.to_owned(),
            sentence: meaning.map(|meaning| meaning.sentence.to_owned()),
            advice: meaning.map(|meaning| meaning.advice.to_owned()),
        }
    }
}

impl JobLine {
    /// Of a job.
    pub(super) fn of(job: &Job) -> JobLine {
        JobLine {
            job: job.id.0,
            study_key: job.study_key.as_str().to_owned(),
            revision: job.revision,
            state: job.state,
            setting: job.setting,
            attempts: job.attempts,
            completed: job.completed_at,
            started: job.started_at,
            finished: job.finished_at,
            reason: job.reason_code.as_deref().map(Reason::of),
            left_s: None,
        }
    }
}
