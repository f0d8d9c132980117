//! The thread that works through the queue: one study at a time, each in the inference
//! process, each ending as done, refused, tried again or given up. Whatever the end, it is
//! published.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use jiff::Timestamp;
use log::{error, info, warn};

use super::archives;
use super::engines::Engines;
use super::events::{self, Moments};
use super::health::Monitor;
use super::inbox::{FolderMail, Folders, QueueMail};
use super::liveness::{Life, Stop};
use super::quarantine::{self, Refused};
use super::site::Site;
use super::start::sweep_drafts;
use crate::intake::{StudyFiles, reading};
use crate::publish::contract::EventKind;
use crate::publish::findings::{Earlier, Link};
use crate::publish::messages::StudyState;
use crate::report;
use crate::report::output::REPORT;
use crate::store::{Finished, Job, MAX_WAIT, NewEvent, OpenAlert, StoreError};
use crate::ui::counted;
use crate::worker::{Reply, Request, RequestOutcome, Worker};
use hepalert_failpoint::failpoint;
use hepalert_study::study::Privacy;

/// Longest nap between two looks at the queue; a new job ends it sooner.
const NAP: Duration = Duration::from_secs(1);
/// How long a store that failed is left alone.
const STORE_PAUSE: Duration = Duration::from_secs(5);

/// Studies of one patient that a result is looked for of: older ones are gone where these are.
const MAX_PRIORS: usize = 20;

/// The thread that works through the queue.
pub(super) struct Queue {
    /// What holds for the whole run.
    pub site: Arc<Site>,
    /// Told of what is wrong and what is being done.
    pub monitor: Monitor,
    /// Signed by progress of the work.
    pub life: Life,
    /// Ends the thread, and the study under way.
    pub stop: Stop,
    /// What the other threads tell.
    pub inbox: Receiver<QueueMail>,
    /// To the threads that look at folders.
    pub folders: Folders,
    /// The inference process.
    pub worker: Worker,
}

impl Queue {
    /// Works until the daemon stops.
    pub(super) fn run(mut self) {
        let ties = (&self.life, &self.stop);
        let mut engines = Engines::new(&self.site, &self.monitor, ties, &self.folders);
        let mut failing = false;
        while !self.stop.is_set() {
            if !engines.round(&mut self.worker) {
                self.life.sign();
                self.nap(NAP);
                continue;
            }
            let taken = self.next_study(&mut engines);
            // That the folder's thread cannot write is its own to take back.
            if taken.is_err() || failing {
                failing = taken.is_err();
                self.monitor.set_wrong("store_failing", failing);
            }
            match taken {
                Ok(true) => {}
                Ok(false) => self.nap(NAP),
                Err(error) => {
                    error!("the queue stands still: {error}");
                    self.nap(STORE_PAUSE);
                }
            }
            self.life.sign();
        }
    }

    /// Sleeps until there may be work, at most so long.
    fn nap(&self, most: Duration) {
        match self.inbox.recv_timeout(most) {
            // Either is seen by whoever looks again; so is a time that is over.
            Ok(QueueMail::Queued | QueueMail::Stop) | Err(_) => {}
        }
    }

    /// Takes one job to its next state; false if none waits.
    fn next_study(&mut self, engines: &mut Engines) -> Result<bool, StoreError> {
        if !self.has_room() {
            return Ok(false);
        }
        let now = Timestamp::now();
        // Attempts are counted before they begin: one that took the daemon with it was one.
        let most = self.site.config.worker.attempts;
        let started = |job: &Job| match job.attempts <= most {
            true => self.step(job, StudyState::Started, None, now),
            false => Vec::new(),
        };
        let Some(mut job) = self.site.store.next_job(now, started)? else {
            return Ok(false);
        };
        self.monitor.wake_publisher();
        if job.attempts > most {
            job.attempts = most;
            self.note(&job, || self.give_up(&job, "daemon_died"));
            return Ok(true);
        }
        info!(STUDY_KEY = job.study_key.as_str(), JOB_ID = job.id.0; "study begun, attempt {}", job.attempts);
        failpoint("study_begun");
        let outcome = match engines.bundle().and_then(|bundle| self.request(&job, &bundle)) {
            Some(request) => self.infer(&job, &request),
            None => RequestOutcome::Refused(
                "vanished".to_owned(),
                "the study's files are no longer known".to_owned(),
            ),
        };
        engines.record_outcome(&outcome);
        if !outcome.is_answer() {
            // What the process was writing when it was killed.
            sweep_drafts(&self.site.results());
        }
        self.note(&job, || self.conclude(&job, &outcome));
        self.monitor.wake_publisher();
        Ok(true)
    }

    /// Notes the end of a job, however long the store takes: one that stayed as running would not
    /// be begun again before the next start of the daemon. What the store never takes is given up,
    /// so that it holds back no other.
    fn note(&self, job: &Job, end: impl Fn() -> Result<(), StoreError>) {
        let mut failed = false;
        while let Err(error) = end() {
            let key = job.study_key.as_str();
            error!(STUDY_KEY = key, JOB_ID = job.id.0; "its end cannot be noted: {error}");
            if self.stop.is_set() {
                return;
            }
            if !error.may_pass() {
                if let Err(error) = self.give_up(job, "report_unsayable") {
                    error!(STUDY_KEY = key, JOB_ID = job.id.0; "nor can it be given up: {error}");
                }
                break;
            }
            failed = true;
            self.monitor.set_wrong("store_failing", true);
            self.life.sign();
            self.nap(STORE_PAUSE);
        }
        if failed {
            self.monitor.set_wrong("store_failing", false);
        }
    }

    fn request(&self, job: &Job, bundle: &Path) -> Option<Request> {
        let mut files: StudyFiles = serde_json::from_str(&job.files_json).ok()?;
        files.revision = job.revision;
        files.prior = self.prior(job, &files);
        Some(Request::Study { bundle: bundle.to_owned(), files, out: self.result_folder(job) })
    }

    /// The report of the patient's study that was read last, of those that are still kept. Without one
    /// a study has its result all the same.
    fn prior(&self, job: &Job, files: &StudyFiles) -> Option<PathBuf> {
        let store = &self.site.config.store;
        let known = self.site.store.results_of(files.patient.as_ref()?, &job.study_key, MAX_PRIORS);
        let known = known.inspect_err(|error| error!("earlier studies are not known: {error}"));
        let reports = known.ok()?.into_iter().map(|(key, n)| store.result(&key, n).join(REPORT));
        reports.into_iter().find(|report| report.is_file())
    }

    fn result_folder(&self, job: &Job) -> PathBuf {
        self.site.config.store.result(job.study_key.as_str(), job.revision)
    }

    fn infer(&mut self, job: &Job, request: &Request) -> RequestOutcome {
        let mut stage_shown = String::new();
        let (life, monitor, stop) = (&self.life, &self.monitor, &self.stop);
        self.worker.run(request, &mut |reply| {
            if let Some(Reply::Progress { stage, done, total }) = reply {
                // Only progress of the work feeds the watchdog, not the mere passing of time.
                life.sign();
                monitor.progress(stage, *done, *total);
                if *stage != stage_shown {
                    stage_shown.clone_from(stage);
                    info!(STUDY_KEY = job.study_key.as_str(), JOB_ID = job.id.0; "stage {stage}");
                }
            }
            if stop.is_set() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
    }

    fn conclude(&self, job: &Job, outcome: &RequestOutcome) -> Result<(), StoreError> {
        self.monitor.idle();
        match outcome {
            RequestOutcome::Finished(report) => self.finish(job, report),
            RequestOutcome::Refused(code, detail) => self.refuse(job, code, detail),
            RequestOutcome::NotAsAccepted(code, detail) => self.doubt(job, code, detail),
            // A study is never answered by a self-test.
            RequestOutcome::Stopped | RequestOutcome::Tested(_) => {
                self.site.store.put_back(job.id, Timestamp::now(), None)
            }
            RequestOutcome::EngineUnusable(_, reason) => self.hold(job, reason),
            RequestOutcome::Failed(reason) => self.again(job, "analysis_failed", reason),
            RequestOutcome::Died(reason) => self.again(job, "worker_died", reason),
            RequestOutcome::Stalled => {
                self.again(job, "worker_stalled", "no progress for too long")
            }
            RequestOutcome::OverMemory => {
                self.again(job, "worker_over_memory", "it took too much memory")
            }
            RequestOutcome::TooLong => {
                self.again(job, "deadline_passed", "the study took too long")
            }
        }
    }

    fn finish(&self, job: &Job, path: &Path) -> Result<(), StoreError> {
        let report = match report::files::read(path) {
            Ok(report) => report,
            Err(error) => return self.again(job, "report_unreadable", &error.to_string()),
        };
        let notified = Timestamp::now();
        let key = job.study_key.as_str();
        let earlier = Earlier {
            result: self.earlier(EventKind::Result, key)?,
            alert: self.earlier(EventKind::Alert, key)?,
        };
        let complete = job.completed_at;
        let received = match job.revision {
            1 => self.site.store.first_event_at(EventKind::Study.topic(), key)?.unwrap_or(complete),
            // When the first file of a late series came is not recorded.
            _ => complete,
        };
        let moments = Moments { received, complete, notified };
        let link = self.link(job);
        let made = events::finished(&self.site.config.device, job, &report, link, earlier, moments);
        let made = match made {
            Ok(made) => made,
            Err(error) => return self.again(job, "report_unsayable", &error.to_string()),
        };
        let alert = made.iter().find(|event| event.topic == EventKind::Alert.topic());
        failpoint("report_read");
        let finished = Finished {
            pipeline_fingerprint: report.pipeline.fingerprint.clone(),
            report_json: serde_json::to_string(&report).unwrap_or_default(),
            artefacts_json: serde_json::to_string(&report.artefacts).unwrap_or_default(),
            deliveries: archives::deliveries(self.site.config.dicom.archives(), &report.artefacts),
            alert: alert.map(|event| OpenAlert {
                event_id: event.id.clone(),
                verdict: report.verdict,
                raised_at: notified,
                engine: events::engine_name(&report),
            }),
        };
        self.site.store.finish(job.id, &finished, &made, notified)?;
        failpoint("study_finished");
        info!(
            STUDY_KEY = key, JOB_ID = job.id.0;
            "{}: {} kept, {} discarded, {:.1} s",
            report.verdict, counted(report.lesions.len(), "lesion"), report.discarded.len(), report.timing.total_s
        );
        Ok(())
    }

    fn earlier(&self, kind: EventKind, key: &str) -> Result<Option<uuid::Uuid>, StoreError> {
        Ok(self.site.store.newest_event(kind.topic(), key)?.and_then(|(id, _)| id.parse().ok()))
    }

    fn refuse(&self, job: &Job, code: &str, detail: &str) -> Result<(), StoreError> {
        warn!(STUDY_KEY = job.study_key.as_str(), JOB_ID = job.id.0; "refused ({code}): {detail}");
        let now = Timestamp::now();
        let files = files_of(job);
        let (key, revision) = (job.study_key.as_str(), job.revision);
        quarantine::put(&self.site, &Refused { key, revision, code, detail, files: &files });
        let events = self.step(job, StudyState::Refused, Some(code), now);
        self.site.store.refuse(job.id, code, &events, now)
    }

    /// What lies at the study's paths is looked at anew by the intake, whoever's it is; the study
    /// itself is tried again in case its own bytes come back, and is told as failed if not.
    fn doubt(&self, job: &Job, code: &str, detail: &str) -> Result<(), StoreError> {
        self.again(job, code, detail)?;
        // Only now: the store may be asked again.
        self.folders.send(&FolderMail::Doubt(files_of(job)));
        Ok(())
    }

    /// No engine: the study waits, however long it takes, and the status says what is wrong.
    fn hold(&self, job: &Job, reason: &str) -> Result<(), StoreError> {
        error!(
            STUDY_KEY = job.study_key.as_str(), JOB_ID = job.id.0;
            "the study waits for an engine that can be used: {reason}"
        );
        self.site.store.put_back(job.id, self.later(1), Some("engine_unusable"))
    }

    fn later(&self, attempts: u32) -> Timestamp {
        let now = Timestamp::now();
        now.checked_add(wait(self.site.config.worker.retry_s, attempts)).unwrap_or(now)
    }

    /// Another try later, or the end if there were enough.
    fn again(&self, job: &Job, code: &str, reason: &str) -> Result<(), StoreError> {
        let limits = &self.site.config.worker;
        warn!(
            STUDY_KEY = job.study_key.as_str(), JOB_ID = job.id.0;
            "attempt {} of {} failed ({code}): {reason}", job.attempts, limits.attempts
        );
        if job.attempts < limits.attempts {
            return self.site.store.retry(job.id, self.later(job.attempts), code);
        }
        self.give_up(job, code)
    }

    /// It was tried often enough: it is told as failed, and the queue goes on.
    fn give_up(&self, job: &Job, code: &str) -> Result<(), StoreError> {
        let now = Timestamp::now();
        error!(STUDY_KEY = job.study_key.as_str(), JOB_ID = job.id.0; "study given up ({code})");
        let events = self.step(job, StudyState::Failed, Some(code), now);
        self.site.store.dead_letter(job.id, code, &events, now)
    }

    /// One step of a job as an event.
    fn step(
        &self,
        job: &Job,
        state: StudyState,
        code: Option<&str>,
        now: Timestamp,
    ) -> Vec<NewEvent> {
        events::step_of(&self.site.config.device, job, state, code, now)
    }

    /// True if there is room for one more study; otherwise the status says so.
    fn has_room(&self) -> bool {
        let least = self.site.config.store.min_free_mib;
        let has_room = self.site.disk_free_mib().is_none_or(|free| free >= least);
        self.monitor.set_wrong("disk_full", !has_room);
        has_room
    }

    /// The way back to the study as far as the privacy profile allows. Read from the files
    /// again, because no identifier is kept in the store.
    fn link(&self, job: &Job) -> Option<Link> {
        let privacy = self.site.config.device.privacy;
        if privacy == Privacy::Minimal {
            return None;
        }
        let files: StudyFiles = serde_json::from_str(&job.files_json).ok()?;
        let (uid, accession) = reading::load::identifiers(&files)?;
        Link::under(privacy, Some(&uid), accession.as_deref())
    }
}

/// The files of a study, as far as they are known.
fn files_of(job: &Job) -> Vec<PathBuf> {
    let files = serde_json::from_str::<StudyFiles>(&job.files_json);
    files.map_or_else(|_| Vec::new(), |files| files.files().map(Path::to_owned).collect())
}

/// How long a study waits for another attempt: the configured wait, doubled for each further
/// one, an hour at most.
fn wait(retry_s: u64, attempts: u32) -> Duration {
    let doublings = attempts.saturating_sub(1).min(12);
    Duration::from_secs(retry_s.saturating_mul(1 << doublings)).min(MAX_WAIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_an_hour() {
        let waits = |retry_s| [0, 1, 2, 3, 7, 8, u32::MAX].map(|n| wait(retry_s, n).as_secs());
        assert_eq!(waits(30), [30, 30, 60, 120, 1920, 3600, 3600]);
        assert_eq!(waits(u64::MAX), [3600; 7]);
        assert_eq!(waits(0), [0; 7]);
    }
}
