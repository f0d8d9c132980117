//! One study: its jobs, its report, what was sent about it, what people answered.
//!
//! Owns what of a report is shown: identifiers only as far as the privacy profile lets them out of
//! the device. A file is served if the report lists it; no path of a request is ever joined to one.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, Path, State};
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use log::info;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::access::Principal;
use super::download::disposition;
use super::page_state::{PageState, blocking};
use super::problem::Problem;
use super::queue_lines::{JobLine, Reason};
use crate::report::output::REPORT;
use crate::report::types::Report;
use crate::store::{JobState, OutboxRow, Requeued};
use hepalert_study::result::result_name;
use hepalert_study::study::{Privacy, StudyKey};

/// Events shown of one study.
const MAX_EVENTS: usize = 200;
/// Fields of a report by which an archive knows a patient's images.
const IDENTIFYING: [&str; 1] = ["sop_instance_uid"];

/// A study.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Study {
    /// Its key.
    study_key: String,
    /// One per revision, oldest first.
    jobs: Vec<JobLine>,
    /// Revisions with a report.
    reported: Vec<u32>,
    /// The newest report, as `report.json` has it.
    report: Option<Value>,
    /// Quality flags in words.
    quality: Vec<Reason>,
    /// Whether its result folder is still there.
    has_files: bool,
    /// What was sent about it, oldest first.
    events: Vec<Event>,
    /// What people answered.
    answers: Vec<Said>,
    /// Whether it can be put back into the queue now.
    can_requeue: bool,
}

/// An event.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Event {
    /// Its number.
    seq: u64,
    /// Its id.
    id: String,
    /// Its topic.
    topic: String,
    /// The study's revision.
    revision: u32,
    /// When it happened.
    #[schemars(with = "String")]
    time: Timestamp,
    /// When the broker had it.
    #[schemars(with = "Option<String>")]
    sent: Option<Timestamp>,
    /// How often sending was refused.
    attempts: u32,
    /// What it says in a word: state or verdict.
    says: Option<String>,
}

/// An answer.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Said {
    /// In which role.
    role: String,
    /// What they think.
    opinion: Option<String>,
    /// When it happened.
    #[schemars(with = "String")]
    at: Timestamp,
    /// Of which revision.
    revision: u32,
}

/// A study waits again.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Requeue {
    /// Its job.
    job: i64,
}

/// A key out of a path.
pub(super) fn key(text: &str) -> Result<StudyKey, Problem> {
    StudyKey::new(text).ok_or_else(|| Problem::not_found("study"))
}

/// Takes out what the privacy profile keeps on the device.
fn told(mut report: Value, privacy: Privacy) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(map) => {
                IDENTIFYING.iter().for_each(|name| drop(map.remove(*name)));
                map.values_mut().for_each(strip);
            }
            Value::Array(list) => list.iter_mut().for_each(strip),
            _ => {}
        }
    }
    if privacy == Privacy::Minimal {
        strip(&mut report);
    }
    report
}

fn event(row: OutboxRow) -> Event {
    let data: Value = serde_json::from_str(&row.event.data).unwrap_or_default();
    let says = ["state", "verdict"].iter().find_map(|field| data.get(field)?.as_str());
    Event {
        seq: row.seq,
        id: row.event.id,
        topic: row.event.topic,
        revision: row.event.revision,
        time: row.event.time,
        sent: row.sent_at,
        attempts: row.attempts,
        says: says.map(str::to_owned),
    }
}

fn read(site: &PageState, key: &StudyKey) -> Result<Study, Problem> {
    let store = site.reader()?;
    let jobs = store.jobs_of(key)?;
    let Some(newest) = jobs.last() else { return Err(Problem::not_found("study")) };
    let stored = store.report(key)?;
    let can_requeue = matches!(newest.state, JobState::Refused | JobState::Dead);
    let report = stored.as_ref().and_then(|stored| serde_json::from_str(&stored.report_json).ok());
    let report: Option<Value> = report.map(|report| told(report, site.config.device.privacy));
    let flags = report.as_ref().and_then(|report| report["quality"].as_array());
    let quality = flags.into_iter().flatten().filter_map(Value::as_str).map(quality).collect();
    let folder = stored.map(|s| site.config.store.result(key.as_str(), s.revision));
    let answers = store.answers_of(key)?.into_iter().map(|answer| Said {
        role: answer.role,
        opinion: answer.opinion.map(|opinion| opinion.name().to_owned()),
        at: answer.at,
        revision: answer.revision,
    });
    Ok(Study {
        study_key: key.as_str().to_owned(),
        jobs: jobs.iter().map(JobLine::of).collect(),
        reported: store.reported(key)?,
        quality,
        has_files: folder.is_some_and(|folder| folder.join(REPORT).is_file()),
        report,
        events: store.events_of(key, MAX_EVENTS)?.into_iter().map(event).collect(),
        answers: answers.collect(),
        can_requeue,
    })
}

fn quality(code: &str) -> Reason {
    let known = crate::codes::of_quality(code);
    Reason {
        code: code.to_owned(),
        sentence: known.map(|meaning| crate::codes::sentence_for(code, meaning)),
        advice: known.map(|meaning| meaning.advice.to_owned()),
    }
}

/// `GET /api/v1/studies/{key}`.
pub(super) async fn show(
    State(site): State<Arc<PageState>>,
    Path(name): Path<String>,
) -> Result<Json<Study>, Problem> {
    let key = key(&name)?;
    blocking(move || read(&site, &key).map(Json)).await
}

/// `POST /api/v1/studies/{key}/requeue`: what `hepalert study requeue` does.
pub(super) async fn requeue(
    State(site): State<Arc<PageState>>,
    Extension(who): Extension<Principal>,
    Path(name): Path<String>,
) -> Result<Json<Requeue>, Problem> {
    let key = key(&name)?;
    blocking(move || match site.store.requeue_study(&key, Timestamp::now())? {
        Requeued::Queued(job) => {
            info!(STUDY_KEY = key.as_str(); "the page: {} put the study back", who.name);
            Ok(Json(Requeue { job: job.id.0 }))
        }
        Requeued::Unknown => Err(Problem::not_found("study")),
        Requeued::Not(state) => {
            let message = format!("its newest revision is {state}");
            let next = "only a study that was refused or failed is put back";
            Err(Problem::conflict("not_possible_now", message, next))
        }
    })
    .await
}

/// The report of a revision as the store has it.
pub(super) fn report(site: &PageState, key: &StudyKey, revision: u32) -> Result<Report, Problem> {
    let stored = site.reader()?.report_of(key, revision)?;
    let stored = stored.ok_or_else(|| Problem::not_found("report"))?;
    serde_json::from_str(&stored.report_json).map_err(Problem::fault)
}

/// `GET /api/v1/studies/{key}/{revision}/files/{*path}`.
pub(super) async fn file(
    State(site): State<Arc<PageState>>,
    Path((name, revision, path)): Path<(String, u32, String)>,
) -> Result<Response, Problem> {
    let key = key(&name)?;
    let (bytes, kind, name) = blocking(move || {
        let report = report(&site, &key, revision)?;
        if path == REPORT {
            let value = serde_json::to_value(&report).map_err(Problem::fault)?;
            let text = format!("{:#}\n", told(value, site.config.device.privacy));
            return Ok((text.into_bytes(), "application/json", None));
        }
        // Only what the report lists: the name is looked up, not followed.
        let listed = report.artefacts.iter().find(|artefact| artefact.path == path);
        let listed = listed.ok_or_else(|| Problem::not_found("file"))?;
        let folder = site.config.store.result(key.as_str(), revision);
        let bytes = std::fs::read(folder.join(&listed.path));
        let bytes = bytes.map_err(|_| Problem::not_found("file"))?;
        let is_picture = listed.path.ends_with(".png");
        let name = result_name(key.as_str(), revision);
        let flat = format!("{name}-{}", listed.path.replace('/', "-"));
        let kind = if is_picture { "image/png" } else { "application/gzip" };
        Ok((bytes, kind, (!is_picture).then_some(flat)))
    })
    .await?;
    let mut response = Body::from(bytes).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    if let Some(name) = name {
        headers.insert(CONTENT_DISPOSITION, disposition(&name)?);
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_identifies_stays_on_the_device() {
        let report = serde_json::json!({"lesions": [{"id": 1, "key_slice":
            {"index": 3, "sop_instance_uid": "1.2.3"}}]});
        let minimal = told(report.clone(), Privacy::Minimal);
        assert!(!minimal.to_string().contains("1.2.3") && minimal.to_string().contains("index"));
        assert!(told(report, Privacy::Linked).to_string().contains("1.2.3"));
    }
}
