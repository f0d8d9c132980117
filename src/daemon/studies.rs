//! The thread that works through the queue: one study at a time, each in the inference
//! process, each ending as done, refused, tried again or given up. Whatever the end, it is
//! published.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use log::{error, info, warn};

use super::engines::EngineController;
use super::events::{self, Moments};
use super::shared::{Part, Shared};
use super::start::sweep_drafts;
use crate::intake::StudyFiles;
use crate::publish::findings::Earlier;
use crate::publish::messages::StudyState;
use crate::report;
use crate::store::{Finished, Job, MAX_WAIT, NewEvent, OpenAlert, StoreError};
use crate::worker::{Reply, Request, RequestOutcome, Worker};
use hepalert_failpoint::failpoint;

/// Longest nap between two looks at the queue; a new job ends it sooner.
const NAP: Duration = Duration::from_secs(1);

/// Works until the daemon stops.
pub fn work(shared: &Shared, mut worker: Worker) {
    let mut controller = EngineController::new(shared);
    while !shared.stopping() {
        if !controller.round(shared, &mut worker) {
            shared.alive(Part::Studies);
            shared.nap(NAP);
            continue;
        }
        match one(shared, &mut worker, &mut controller) {
            Ok(true) => shared.set_wrong("store_failing", false),
            Ok(false) => shared.nap(NAP),
            Err(error) => {
                error!("the queue stands still: {error}");
                shared.set_wrong("store_failing", true);
                shared.nap(Duration::from_secs(5));
            }
        }
        shared.alive(Part::Studies);
    }
}

/// Takes one job to its next state; false if none waits.
fn one(
    shared: &Shared,
    worker: &mut Worker,
    controller: &mut EngineController,
) -> Result<bool, StoreError> {
    if !shared.room_on_disk() {
        return Ok(false);
    }
    let now = Timestamp::now();
    // Attempts are counted before they begin: one that took the daemon with it was one.
    let most = shared.config.worker.attempts;
    let started = |job: &Job| match job.attempts <= most {
        true => step(shared, job, StudyState::Started, None, now),
        false => Vec::new(),
    };
    let Some(mut job) = shared.store.next_job(now, started)? else {
        return Ok(false);
    };
    shared.wake_publisher();
    if job.attempts > most {
        job.attempts = most;
        give_up(shared, &job, "daemon_died")?;
        return Ok(true);
    }
    info!(STUDY_KEY = job.study_key.as_str(), JOB_ID = job.id.0; "study begun, attempt {}", job.attempts);
    failpoint("study_begun");
    let outcome = match controller.bundle().and_then(|bundle| request(shared, &job, bundle)) {
        Some(request) => infer(shared, worker, &job, &request),
        None => RequestOutcome::Refused(
            "vanished".to_owned(),
            "the study's files are no longer known".to_owned(),
        ),
    };
    controller.record_outcome(shared, &outcome);
    if !outcome.is_answer() {
        // What the process was writing when it was killed.
        sweep_drafts(&shared.results());
    }
    conclude(shared, &job, outcome)?;
    shared.wake_publisher();
    Ok(true)
}

fn request(shared: &Shared, job: &Job, bundle: &Path) -> Option<Request> {
    let mut files: StudyFiles = serde_json::from_str(&job.files_json).ok()?;
    files.revision = job.revision;
    Some(Request::Study { bundle: bundle.to_owned(), files, out: result_folder(shared, job) })
}

fn result_folder(shared: &Shared, job: &Job) -> PathBuf {
    shared.config.store.result(job.study_key.as_str(), job.revision)
}

fn infer(shared: &Shared, worker: &mut Worker, job: &Job, request: &Request) -> RequestOutcome {
    let mut stage_shown = String::new();
    worker.run(request, &mut |reply| {
        if let Some(Reply::Progress { stage, done, total }) = reply {
            // Only progress of the work feeds the watchdog, not the mere passing of time.
            shared.alive(Part::Studies);
            shared.progress(stage, *done, *total);
            if *stage != stage_shown {
                stage_shown.clone_from(stage);
                info!(STUDY_KEY = job.study_key.as_str(), JOB_ID = job.id.0; "stage {stage}");
            }
        }
        if shared.stopping() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
}

fn conclude(shared: &Shared, job: &Job, outcome: RequestOutcome) -> Result<(), StoreError> {
    shared.idle();
    match outcome {
        RequestOutcome::Finished(report) => finish(shared, job, &report),
        RequestOutcome::Refused(code, detail) => refuse(shared, job, &code, &detail),
        RequestOutcome::NotAsAccepted(code, detail) => doubt(shared, job, &code, &detail),
        // A study is never answered by a self-test.
        RequestOutcome::Stopped | RequestOutcome::Tested(_) => {
            shared.store.put_back(job.id, Timestamp::now(), None)
        }
        RequestOutcome::EngineUnusable(_, reason) => hold(shared, job, &reason),
        RequestOutcome::Failed(reason) => again(shared, job, "analysis_failed", &reason),
        RequestOutcome::Died(reason) => again(shared, job, "worker_died", &reason),
        RequestOutcome::Stalled => again(shared, job, "worker_stalled", "no progress for too long"),
        RequestOutcome::OverMemory => {
            again(shared, job, "worker_over_memory", "it took too much memory")
        }
        RequestOutcome::TooLong => again(shared, job, "deadline_passed", "the study took too long"),
    }
}

fn finish(shared: &Shared, job: &Job, path: &Path) -> Result<(), StoreError> {
    let report = match report::files::read(path) {
        Ok(report) => report,
        Err(error) => return again(shared, job, "report_unreadable", &error.to_string()),
    };
    let notified = Timestamp::now();
    let key = job.study_key.as_str();
    let earlier = Earlier {
        result: earlier(shared, "event/result", key)?,
        alert: earlier(shared, "event/alert", key)?,
    };
    let complete = job.completed_at;
    let received = match job.revision {
        1 => shared.store.first_event_at("event/study", key)?.unwrap_or(complete).min(complete),
        // When the first file of a late series came is not recorded.
        _ => complete,
    };
    let moments = Moments { received, complete, notified };
    let link = shared.link(job);
    let made = events::finished(&shared.config.device, job, &report, link, earlier, moments);
    let made = match made {
        Ok(made) => made,
        Err(error) => return again(shared, job, "report_unsayable", &error.to_string()),
    };
    let alert = made.iter().find(|event| event.topic == "event/alert");
    failpoint("report_read");
    let finished = Finished {
        pipeline_fingerprint: report.pipeline.fingerprint.clone(),
        report_json: serde_json::to_string(&report).unwrap_or_default(),
        artefacts_json: serde_json::to_string(&report.artefacts).unwrap_or_default(),
        alert: alert.map(|event| OpenAlert {
            event_id: event.id.clone(),
            verdict: report.verdict,
            raised_at: notified,
        }),
    };
    shared.store.finish(job.id, &finished, &made, notified)?;
    failpoint("study_finished");
    info!(
        STUDY_KEY = key, JOB_ID = job.id.0;
        "{}: {} lesions kept, {} discarded, {:.1} s",
        report.verdict, report.lesions.len(), report.discarded.len(), report.timing.total_s
    );
    Ok(())
}

fn earlier(shared: &Shared, topic: &str, key: &str) -> Result<Option<uuid::Uuid>, StoreError> {
    Ok(shared.store.newest_event(topic, key)?.and_then(|(id, _)| id.parse().ok()))
}

fn refuse(shared: &Shared, job: &Job, code: &str, detail: &str) -> Result<(), StoreError> {
    warn!(STUDY_KEY = job.study_key.as_str(), JOB_ID = job.id.0; "refused ({code}): {detail}");
    let now = Timestamp::now();
    super::quarantine::put(
        shared,
        job.study_key.as_str(),
        job.revision,
        code,
        detail,
        &job.files_json,
    );
    let events = step(shared, job, StudyState::Rejected, Some(code), now);
    shared.store.refuse(job.id, code, &events, now)
}

/// What lies at the study's paths is looked at anew by the intake, whoever's it is; the study
/// itself is tried again in case its own bytes come back, and is told as failed if not.
fn doubt(shared: &Shared, job: &Job, code: &str, detail: &str) -> Result<(), StoreError> {
    if let Ok(files) = serde_json::from_str::<StudyFiles>(&job.files_json) {
        shared.doubt(files.files().map(Path::to_owned).collect());
    }
    again(shared, job, code, detail)
}

/// No engine: the study waits, however long it takes, and the status says what is wrong.
fn hold(shared: &Shared, job: &Job, reason: &str) -> Result<(), StoreError> {
    error!(
        STUDY_KEY = job.study_key.as_str(), JOB_ID = job.id.0;
        "the study waits for an engine that can be used: {reason}"
    );
    shared.store.put_back(job.id, later(shared, 1), Some("engine_unusable"))
}

/// When a study is tried again: the configured wait, doubled for each further attempt, an
/// hour at most.
fn later(shared: &Shared, attempts: u32) -> Timestamp {
    let doublings = attempts.saturating_sub(1).min(12);
    let wait = Duration::from_secs(shared.config.worker.retry_s.saturating_mul(1 << doublings));
    let now = Timestamp::now();
    now.checked_add(wait.min(MAX_WAIT)).unwrap_or(now)
}

/// Another try later, or the end if there were enough.
fn again(shared: &Shared, job: &Job, code: &str, reason: &str) -> Result<(), StoreError> {
    let limits = &shared.config.worker;
    warn!(
        STUDY_KEY = job.study_key.as_str(), JOB_ID = job.id.0;
        "attempt {} of {} failed ({code}): {reason}", job.attempts, limits.attempts
    );
    if job.attempts < limits.attempts {
        return shared.store.retry(job.id, later(shared, job.attempts), code);
    }
    give_up(shared, job, code)
}

/// It was tried often enough: it is told as failed, and the queue goes on.
fn give_up(shared: &Shared, job: &Job, code: &str) -> Result<(), StoreError> {
    let now = Timestamp::now();
    error!(STUDY_KEY = job.study_key.as_str(), JOB_ID = job.id.0; "study given up ({code})");
    let events = step(shared, job, StudyState::Failed, Some(code), now);
    shared.store.dead_letter(job.id, code, &events, now)
}

/// One step of a job as an event. A step that cannot be said is logged and left out: the
/// state in the store still changes.
fn step(
    shared: &Shared,
    job: &Job,
    state: StudyState,
    code: Option<&str>,
    now: Timestamp,
) -> Vec<NewEvent> {
    let device = &shared.config.device;
    let key = job.study_key.as_str();
    let identity = events::identity(device, key, &job.input_fingerprint, job.revision);
    let event = events::step(&identity, state, code, Some(job.setting), job.attempts, now);
    event.inspect_err(|error| error!("a step cannot be published: {error}")).into_iter().collect()
}
