//! What the folder's thread puts into the store: studies taken in, refused, put back.
//!
//! Owns the rows and events of a step's outcomes. Refuses to watch.

use std::path::PathBuf;
use std::sync::PoisonError;

use jiff::{SignedDuration, Timestamp};
use log::{info, warn};

use super::super::events::{self, Step};
use super::super::inbox::QueueMail;
use super::super::quarantine::{self, Refused};
use super::Folder;
use crate::intake::folder::intake::FolderIntake;
use crate::intake::folder::stranger_kind::{Counts, StrangerKind};
use crate::intake::folder::strangers::{most, words};
use crate::intake::{CompletionRule, Digest, Millis, RefusalCode, StudyEvent, StudyFiles};
use crate::publish::Identity;
use crate::publish::messages::StudyState;
use crate::store::{
    Admission, Enqueued, Job, JobState, NO_FILES, NewEvent, NewJob, Store, StoreError,
};
use crate::ui::counted;
use hepalert_failpoint::failpoint;
use hepalert_study::phase::Setting;
use hepalert_study::study::StudyKey;

impl Folder {
    /// Puts one event into the store.
    pub(super) fn keep(
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
                match self.has_lost(study)? {
                    // What is left would be judged alone, and could take back what all of it told.
                    true => {
                        let code = RefusalCode::EarlierImagesGone;
                        let what = (code.as_str(), "late images of a study", passed_over);
                        self.refuse(setting, &study.key, (study.fingerprint, &[]), what, now)?;
                    }
                    false => self.complete(setting, study, (*why, passed_over), now)?,
                }
                failpoint("study_queued");
            }
            StudyEvent::Refused { key, fingerprint, refusal, .. } => {
                let nothing = Counts::new();
                let what = (refusal.code.as_str(), refusal.detail.as_str(), &nothing);
                self.refuse(setting, key, (*fingerprint, files), what, now)?;
            }
            StudyEvent::PassedOver { key, fingerprint, counts, said, .. } => {
                // The kind of most of them stands for all; the numbers tell the rest.
                let code =
                    most(counts).map_or(RefusalCode::UnknownFormat.as_str(), StrangerKind::as_str);
                let said = said.as_ref().map_or(String::new(), |said| format!(": {said}"));
                let detail = format!("a folder's files of no study, {}{said}", words(counts));
                let what = (code, detail.as_str(), counts);
                self.refuse(setting, key, (*fingerprint, files), what, now)?;
            }
            StudyEvent::Duplicate { key, .. } => {
                info!(STUDY_KEY = key.as_str(); "the same study again, or a part of it: nothing to do");
            }
        }
        self.monitor.wake_publisher();
        Ok(())
    }

    /// Whether images that the study's newest result was read from went away since, out of the spool or out
    /// of the export folder, and did not come again. Who puts a study back by hand wants what is there.
    fn has_lost(&self, study: &StudyFiles) -> Result<bool, StoreError> {
        let asked = self.site.store.without_files()?;
        if asked.iter().any(|job| job.study_key == study.key) {
            return Ok(false);
        }
        let read = analysed(&self.site.store, &study.key)?;
        Ok(read.is_some_and(|read| !study.holds(&read)))
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
            patient: study.patient.clone(),
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
                "study complete ({}), revision {}, {}", why.as_str(), admission.revision,
                counted(study.files().count(), "file")
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
            patient: None,
            completed_at: now,
        };
        let admitted = self.site.store.enqueue_refused(&new, code, now, |admission| {
            let (code, setting, passed_over) = (Some(code), Some(setting), passed_over.clone());
            let step = Step { code, setting, passed_over, ..Step::of(StudyState::Refused) };
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

    /// Studies that were put back by hand and whose files nobody knows are taken in anew, if they
    /// still lie here.
    pub(super) fn read_anew(
        &self,
        intake: &mut FolderIntake,
        all_seen: bool,
        at: Millis,
    ) -> Result<(), StoreError> {
        for job in self.site.store.without_files()? {
            let key = &job.study_key;
            let found = intake.try_again(key, at);
            if self.is_elsewhere(key, found, job.completed_at) || found || !all_seen {
                continue;
            }
            let (code, now) = (RefusalCode::Vanished.as_str(), Timestamp::now());
            warn!(STUDY_KEY = key.as_str(), JOB_ID = job.id.0; "queued again by hand, but none of its files is in the export folder");
            let device = &self.site.config.device;
            let said = events::step_of(device, &job, StudyState::Refused, Some(code), now);
            self.site.store.refuse(job.id, code, &said, now)?;
            self.monitor.wake_publisher();
        }
        Ok(())
    }

    /// Whether another folder may hold a study's files: one that has taken it in says so, and until
    /// it had the time to, nobody knows.
    fn is_elsewhere(&self, key: &StudyKey, found: bool, since: Timestamp) -> bool {
        let Some(claimed) = &self.root.claimed else { return false };
        let mut claimed = claimed.lock().unwrap_or_else(PoisonError::into_inner);
        if found {
            claimed.insert(key.clone());
        }
        let time = Timestamp::now().duration_since(since);
        claimed.contains(key) || !self.root.is_export || time < SignedDuration::from_secs(60)
    }

    /// Whether the newest revision of a study was given up after too many attempts.
    pub(super) fn has_failed(&self, key: &StudyKey) -> bool {
        let jobs = self.site.store.jobs_of(key).unwrap_or_default();
        jobs.last().is_some_and(|job| job.state == JobState::Dead)
    }
}

/// What the newest result of a study was made of, where there is one and its names are kept.
pub(super) fn analysed(store: &Store, key: &StudyKey) -> Result<Option<StudyFiles>, StoreError> {
    let jobs = store.jobs_of(key)?;
    let read = jobs.iter().rev().find(|job| job.state == JobState::Done);
    Ok(read.and_then(|job| serde_json::from_str(&job.files_json).ok()))
}

/// Which files a refusal is about.
pub(super) fn files_of(intake: &FolderIntake, event: &StudyEvent) -> Vec<PathBuf> {
    match event {
        StudyEvent::Refused { key, .. } | StudyEvent::PassedOver { key, .. } => {
            intake.files_of(key)
        }
        StudyEvent::Received { .. }
        | StudyEvent::Complete { .. }
        | StudyEvent::Duplicate { .. } => Vec::new(),
    }
}
