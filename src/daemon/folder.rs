//! The thread that looks at the export folder: a notice or the rescan interval makes it take
//! a step of the intake, and what that brings goes into the store.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use log::{error, info, warn};

use super::events::{self, Step};
use super::health::Monitor;
use super::inbox::{FolderMail, QueueMail};
use super::life::{Life, Stop};
use super::quarantine::{self, Refused};
use super::site::Site;
use crate::analyze::phases_of;
use crate::config::Config;
use crate::intake::folder::{FolderIntake, FolderParams, Step as FolderStep};
use crate::intake::listing::{Degraded, WatchParams};
use crate::intake::stability::StabilityParams;
use crate::intake::strangers::{Counts, most};
use crate::intake::{
    AssembleParams, CompletionRule, Digest, Known, Millis, RefusalCode, StudyEvent, StudyFiles,
    study_key,
};
use crate::publish::Identity;
use crate::publish::messages::StudyState;
use crate::store::{Admission, Enqueued, Job, JobState, NO_FILES, NewEvent, NewJob, StoreError};
use hepalert_failpoint::failpoint;
use hepalert_study::study::{Phase, Setting, StudyKey};

/// Least time between two steps: a scanner's burst of files is one step, not hundreds.
const BREATH: Duration = Duration::from_millis(200);
/// Longest time between two steps; quiet periods end in between.
const TICK: Duration = Duration::from_secs(1);
/// How long a store that failed is left alone.
const STORE_PAUSE: Duration = Duration::from_secs(2);

/// The thread that looks at the export folder.
pub struct Folder {
    /// What holds for the whole run.
    pub site: Arc<Site>,
    /// Told of what is wrong.
    pub monitor: Monitor,
    /// Signed by every step.
    pub life: Life,
    /// Ends the thread.
    pub stop: Stop,
    /// What the other threads and the folder's notices tell.
    pub inbox: Receiver<FolderMail>,
    /// Rings in `inbox` when something happens in the folder.
    pub notices: Notices,
    /// To the thread that works through the queue.
    pub queue: SyncSender<QueueMail>,
    /// Names studies.
    pub site_key: Vec<u8>,
}

/// Notices of the folder as mail: however many come, one lies in the inbox.
#[derive(Debug, Clone)]
pub struct Notices {
    inbox: Sender<FolderMail>,
    lies_there: Arc<AtomicBool>,
}

impl Notices {
    /// Into this inbox.
    pub fn into_inbox(inbox: &Sender<FolderMail>) -> Notices {
        Notices { inbox: inbox.clone(), lies_there: Arc::new(AtomicBool::new(false)) }
    }

    /// Something happened.
    fn ring(&self) {
        if !self.lies_there.swap(true, Ordering::AcqRel) {
            // The thread has ended only when the daemon does.
            let _ = self.inbox.send(FolderMail::Notice);
        }
    }

    /// It was read: the next one is news again.
    fn read(&self) {
        self.lies_there.store(false, Ordering::Release);
    }
}

impl Folder {
    /// Watches until the daemon stops.
    pub fn run(self) {
        let Some(setting) = self.setting() else { return };
        let known = self.until_stored("the folder is not watched yet", || self.known());
        let Some(known) = known else { return };
        info!("{} studies are known already", known.len());
        let (key, notices) = (self.site_key.clone(), self.notices.clone());
        let mut intake = FolderIntake::new(
            params(&self.site.config, setting),
            known,
            Box::new(move |uid| study_key(&key, uid)),
            Arc::new(move || notices.ring()),
        );
        let began = Instant::now();
        let now = || Millis(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX));
        let rescan = Duration::from_secs(self.site.config.intake.rescan_s);
        while !self.stop.is_set() {
            let step_at = now();
            let step = intake.step(step_at);
            self.life.sign();
            self.tell_degraded(&step.degraded);
            for event in &step.outcomes {
                self.take(setting, &mut intake, event, step_at);
            }
            if let Err(error) = self.read_anew(&mut intake, is_all_seen(&step), step_at) {
                error!("studies that were put back cannot be read anew: {error}");
            }
            let open = step.moving_files > 0 || step.open_studies > 0;
            let pause = match step.more {
                true => Duration::ZERO,
                false if open => TICK.min(rescan),
                false => rescan,
            };
            std::thread::sleep(BREATH);
            let doubted = self.wait(pause);
            intake.doubt(&doubted, now());
        }
    }

    /// Takes what a step brought: it comes only once.
    fn take(&self, setting: Setting, intake: &mut FolderIntake, event: &StudyEvent, at: Millis) {
        if let StudyEvent::Duplicate { key, resent: true, .. } = event
            && self.has_failed(key)
        {
            info!(STUDY_KEY = key.as_str(); "sent again after it failed: it is tried again");
            intake.try_again(key, at);
            return;
        }
        let files = files_of(intake, event);
        let keep = || self.keep(setting, event, &files);
        self.until_stored("a study cannot be queued", keep);
    }

    /// Studies that were put back by hand and whose files nobody knows are taken in anew, if they
    /// still lie here.
    fn read_anew(
        &self,
        intake: &mut FolderIntake,
        all_seen: bool,
        at: Millis,
    ) -> Result<(), StoreError> {
        for job in self.site.store.without_files()? {
            let key = &job.study_key;
            if intake.try_again(key, at) || !all_seen {
                continue;
            }
            let (code, now) = (Some(RefusalCode::Vanished.as_str()), Timestamp::now());
            warn!(STUDY_KEY = key.as_str(), JOB_ID = job.id.0; "put back, but nothing of it is in the export folder");
            let step = Step { code, setting: Some(job.setting), ..Step::of(StudyState::Rejected) };
            let identity = self.identity(key, &job.input_fingerprint, job.revision);
            let said = step.said(&identity, now);
            self.site.store.refuse(job.id, RefusalCode::Vanished.as_str(), &said, now)?;
            self.monitor.wake_publisher();
        }
        Ok(())
    }

    /// What studies are read for, once an engine is in use; nothing if the daemon is to stop.
    fn setting(&self) -> Option<Setting> {
        while !self.stop.is_set() {
            self.life.sign();
            match self.inbox.recv_timeout(TICK) {
                Ok(FolderMail::Engine(setting)) => return Some(setting),
                // Nothing is watched or accepted yet.
                Ok(FolderMail::Notice | FolderMail::Doubt(_) | FolderMail::Stop) => {}
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
        None
    }

    /// Waits for mail, at most `pause`; looks in between whether the daemon stops. The files
    /// that are to be read again.
    fn wait(&self, pause: Duration) -> Vec<PathBuf> {
        let until = Instant::now() + pause;
        let mut doubted = Vec::new();
        let mut first = None;
        while !self.stop.is_set() && first.is_none() {
            self.life.sign();
            let left = until.saturating_duration_since(Instant::now()).min(TICK);
            match self.inbox.recv_timeout(left) {
                // Another engine reads the same studies: the folder goes on.
                Ok(FolderMail::Engine(_)) => {}
                Ok(mail) => first = Some(mail),
                Err(RecvTimeoutError::Timeout) if Instant::now() >= until => break,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        for mail in first.into_iter().chain(self.inbox.try_iter()) {
            match mail {
                FolderMail::Doubt(mut files) => doubted.append(&mut files),
                FolderMail::Notice => self.notices.read(),
                FolderMail::Engine(_) | FolderMail::Stop => {}
            }
        }
        doubted
    }

    /// Whether the newest revision of a study was given up after too many attempts.
    fn has_failed(&self, key: &StudyKey) -> bool {
        let jobs = self.site.store.jobs_of(key).unwrap_or_default();
        jobs.last().is_some_and(|job| job.state == JobState::Dead)
    }

    /// Asks the store again and again until it answers; nothing if the daemon is to stop.
    /// `what` says what waits for it.
    fn until_stored<T>(&self, what: &str, ask: impl Fn() -> Result<T, StoreError>) -> Option<T> {
        while !self.stop.is_set() {
            match ask() {
                Ok(answer) => {
                    self.monitor.set_wrong("store_failing", false);
                    return Some(answer);
                }
                Err(error) => {
                    error!("{what}: {error}");
                    self.monitor.set_wrong("store_failing", true);
                    self.life.sign();
                    std::thread::sleep(STORE_PAUSE);
                }
            }
        }
        None
    }

    fn known(&self) -> Result<Vec<Known>, StoreError> {
        let known = self.site.store.known()?.into_iter().filter_map(|known| {
            Some(Known {
                key: known.study_key,
                fingerprint: Digest::from_hex(&known.input_fingerprint)?,
                revision: known.revision,
            })
        });
        Ok(known.collect())
    }

    /// The folder's troubles as status reasons. That there are no notices is no trouble: the
    /// rescan is the truth.
    fn tell_degraded(&self, degraded: &[Degraded]) {
        let codes: Vec<&'static str> = degraded
            .iter()
            .filter(|trouble| !matches!(trouble, Degraded::NoHints(_)))
            .map(Degraded::code)
            .collect();
        for code in Degraded::CODES {
            self.monitor.set_wrong(code, codes.contains(&code));
        }
    }

    /// Puts one event into the store.
    fn keep(
        &self,
        setting: Setting,
        event: &StudyEvent,
        files: &[PathBuf],
    ) -> Result<(), StoreError> {
        let now = Timestamp::now();
        match event {
            StudyEvent::Received { key } => {
                info!(STUDY_KEY = key.as_str(); "first file of a study");
                let step = Step { setting: Some(setting), ..Step::of(StudyState::Received) };
                self.site.store.record(&step.said(&self.identity(key, "", 1), now), now)?;
            }
            StudyEvent::Complete { study, why, passed_over } => {
                failpoint("study_complete");
                self.complete(setting, study, (*why, passed_over), now)?;
                failpoint("study_queued");
            }
            StudyEvent::Refused { key, fingerprint, refusal, .. } => {
                let nothing = Counts::new();
                let what = (refusal.code.as_str(), refusal.detail.as_str(), &nothing);
                self.refuse(setting, key, (*fingerprint, files), what, now)?;
            }
            StudyEvent::PassedOver { key, fingerprint, counts, .. } => {
                // The kind of most of them stands for all; the numbers tell the rest.
                let code = most(counts).unwrap_or(RefusalCode::UnknownFormat.as_str());
                let detail = "files that belong to no study, by folder";
                let what = (code, detail, counts);
                self.refuse(setting, key, (*fingerprint, files), what, now)?;
            }
            StudyEvent::Duplicate { key, .. } => {
                info!(STUDY_KEY = key.as_str(); "the same study again: nothing to do");
            }
        }
        self.monitor.wake_publisher();
        Ok(())
    }

    fn complete(
        &self,
        setting: Setting,
        study: &StudyFiles,
        (why, passed_over): (CompletionRule, &Counts),
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let fingerprint = study.fingerprint.hex();
        let new = NewJob {
            study_key: study.key.clone(),
            setting,
            input_fingerprint: fingerprint.clone(),
            files_json: serde_json::to_string(study).unwrap_or_default(),
            completed_at: now,
        };
        let announce = |admission: &Admission| {
            let (setting, passed_over) = (Some(setting), passed_over.clone());
            let queued = Step { setting, passed_over, ..Step::of(StudyState::Queued) };
            let identity = self.identity(&study.key, &fingerprint, admission.revision);
            let mut told = queued.said(&identity, now);
            told.extend(self.superseded(admission, now));
            told
        };
        match self.site.store.enqueue(&new, now, announce)? {
            Enqueued::New(admission) => info!(
                STUDY_KEY = study.key.as_str(), JOB_ID = admission.job.0;
                "study complete ({}), revision {}, {} files", why.as_str(), admission.revision,
                study.files().count()
            ),
            Enqueued::Duplicate(job) => {
                info!(STUDY_KEY = study.key.as_str(), JOB_ID = job.0; "these files are known");
            }
        }
        // An inbox that is full wakes it anyway.
        let _ = self.queue.try_send(QueueMail::Queued);
        Ok(())
    }

    fn refuse(
        &self,
        setting: Setting,
        key: &StudyKey,
        (fingerprint, files): (Digest, &[PathBuf]),
        (code, detail, passed_over): (&str, &str, &Counts),
        now: Timestamp,
    ) -> Result<(), StoreError> {
        warn!(STUDY_KEY = key.as_str(); "refused ({code}): {detail}");
        let print = fingerprint.hex();
        let new = NewJob {
            study_key: key.clone(),
            setting,
            input_fingerprint: print.clone(),
            files_json: NO_FILES.to_owned(),
            completed_at: now,
        };
        let admitted = self.site.store.enqueue_refused(&new, code, now, |admission| {
            let (code, setting, passed_over) = (Some(code), Some(setting), passed_over.clone());
            let step = Step { code, setting, passed_over, ..Step::of(StudyState::Rejected) };
            let mut told = step.said(&self.identity(key, &print, admission.revision), now);
            told.extend(self.superseded(admission, now));
            told
        })?;
        if let Enqueued::New(Admission { revision, .. }) = admitted {
            let key = key.as_str();
            quarantine::put(&self.site, &Refused { key, revision, code, detail, files });
        }
        Ok(())
    }

    /// What an admission took out of the queue.
    fn superseded(&self, admission: &Admission, now: Timestamp) -> Vec<NewEvent> {
        let step = Step::of(StudyState::Superseded);
        let said = |old: &Job| {
            let print = &old.input_fingerprint;
            step.said(&self.identity(&old.study_key, print, old.revision), now)
        };
        admission.superseded.iter().flat_map(said).collect()
    }

    /// Who an event is about.
    fn identity(&self, key: &StudyKey, fingerprint: &str, revision: u32) -> Identity {
        events::identity(&self.site.config.device, key.as_str(), fingerprint, revision)
    }
}

/// Whether what was not seen in this step is not there.
fn is_all_seen(step: &FolderStep) -> bool {
    let is_blind = |why: &Degraded| {
        matches!(why, Degraded::Missing | Degraded::Unreadable(_) | Degraded::MountLost)
    };
    !step.more && step.moving_files == 0 && !step.degraded.iter().any(is_blind)
}

/// Which files a refusal is about.
fn files_of(intake: &FolderIntake, event: &StudyEvent) -> Vec<PathBuf> {
    match event {
        StudyEvent::Refused { key, .. } | StudyEvent::PassedOver { key, .. } => {
            intake.files_of(key)
        }
        StudyEvent::Received { .. }
        | StudyEvent::Complete { .. }
        | StudyEvent::Duplicate { .. } => Vec::new(),
    }
}

fn params(config: &Config, setting: Setting) -> FolderParams {
    let intake = &config.intake;
    let gate = super::gate_params(config);
    FolderParams {
        watch: WatchParams {
            follow_links: intake.follow_links,
            ..WatchParams::new(&intake.folder)
        },
        stability: StabilityParams {
            settle_s: intake.settle_s as f64,
            give_up_s: intake.give_up_s as f64,
            ..StabilityParams::default()
        },
        assemble: AssembleParams {
            quiet_s: intake.quiet_s as f64,
            phase_quiet_s: intake.phase_quiet_s as f64,
            force_complete_s: intake.force_complete_s as f64,
            max_files: gate.max_files,
            rules: super::phase_rules(config),
            instead: others(config),
            ..AssembleParams::new(&intake.folder, setting.phases())
        },
        max_file_bytes: gate.max_file_bytes,
    }
}

/// The phases of the other engines. One that cannot be opened is no reason not to watch: studies
/// for it are refused as they would be without it.
fn others(config: &Config) -> Vec<Vec<Phase>> {
    let opened = phases_of(&config.engine.others);
    opened.unwrap_or_else(|error| {
        error!("engine.others: {error}");
        Vec::new()
    })
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::path::Path;
    use std::sync::mpsc::{channel, sync_channel};

    use super::*;
    use crate::publish::messages::State;

    fn folder(state: &Path) -> Folder {
        let (mail, inbox) = channel();
        let site = Site::of_test(state);
        Folder {
            life: Life::new(site.began),
            site: Arc::new(site),
            monitor: Monitor::new(Timestamp::now()),
            stop: Stop::default(),
            inbox,
            notices: Notices::into_inbox(&mail),
            queue: sync_channel(1).0,
            site_key: Vec::new(),
        }
    }

    #[test]
    fn a_store_that_answers_again_is_no_longer_told_as_failing() {
        let dir = tempfile::tempdir().unwrap();
        let folder = folder(dir.path());
        let state = || folder.monitor.now().status(false, 1).state;
        let tries = Cell::new(0);
        let answer = folder.until_stored("it waits", || match tries.replace(tries.get() + 1) {
            0 => Err(StoreError::Busy),
            failed => {
                assert_eq!(state(), State::Degraded);
                Ok(failed)
            }
        });
        assert_eq!((answer, state()), (Some(1), State::Online));
        folder.stop.set();
        assert_eq!(folder.until_stored("it ends", || Ok(0)), None);
    }

    #[test]
    fn however_many_notices_come_one_lies_in_the_inbox() {
        let (sender, inbox) = channel();
        let notices = Notices::into_inbox(&sender);
        let others = notices.clone();
        (0..5).for_each(|_| notices.ring());
        others.ring();
        assert_eq!(inbox.try_iter().collect::<Vec<_>>(), [FolderMail::Notice]);
        notices.ring();
        assert!(inbox.try_recv().is_err(), "the first one was not read yet");
        others.read();
        notices.ring();
        assert_eq!(inbox.try_recv(), Ok(FolderMail::Notice));
    }
}
