//! The thread that looks at the export folder: a notice or the rescan interval makes it take
//! a step of the intake, and what that brings goes into the store.

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use log::{error, info, warn};

use super::events;
use super::shared::{Part, Shared};
use crate::analyze::phases_of;
use crate::intake::folder::{FolderIntake, FolderParams};
use crate::intake::stability::StabilityParams;
use crate::intake::strangers::Counts;
use crate::intake::watch::{Degraded, WatchParams};
use crate::intake::{
    AssembleParams, CompletionRule, Digest, Known, Millis, RefusalCode, StudyEvent, StudyFiles,
    study_key,
};
use crate::publish::contract::ContractError;
use crate::publish::messages::StudyState;
use crate::store::{Admission, Enqueued, JobState, NewEvent, NewJob, StoreError};
use hepalert_failpoint::failpoint;
use hepalert_study::study::{Phase, Setting, StudyKey};

/// Least time between two steps: a scanner's burst of files is one step, not hundreds.
const BREATH: Duration = Duration::from_millis(200);
/// Longest time between two steps; quiet periods end in between.
const TICK: Duration = Duration::from_secs(1);

/// Watches until the daemon stops.
pub fn watch(shared: &Shared, site_key: &[u8]) {
    let Some(engine) = shared.engine() else { return };
    let setting = engine.setting;
    let Some(known) = known_at_last(shared) else { return };
    info!("{} studies are known already", known.len());
    let (ring, bell) = sync_channel(1);
    let key = site_key.to_vec();
    let mut intake = FolderIntake::new(
        params(shared, setting),
        known,
        Box::new(move |uid| study_key(&key, uid)),
        wake(ring),
    );
    let began = Instant::now();
    let rescan = Duration::from_secs(shared.config.intake.rescan_s);
    while !shared.stopping() {
        let millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        intake.doubt(&shared.take_doubted(), Millis(millis));
        let step = intake.step(Millis(millis));
        shared.alive(Part::Intake);
        tell_degraded(shared, &step.degraded);
        for outcome in step.outcomes {
            if let StudyEvent::Duplicate { key, resent: true, .. } = &outcome
                && has_failed(shared, key)
            {
                info!(STUDY_KEY = key.as_str(); "sent again after it failed: it is tried again");
                intake.try_again(key, Millis(millis));
            } else {
                take(shared, setting, outcome);
            }
        }
        let open = step.more || step.moving_files > 0 || step.open_studies > 0;
        let pause = if open { TICK.min(rescan) } else { rescan };
        std::thread::sleep(BREATH);
        if !step.more {
            wait(shared, &bell, pause);
        }
    }
}

/// Whether the newest revision of a study was given up after too many attempts.
fn has_failed(shared: &Shared, key: &StudyKey) -> bool {
    let jobs = shared.store.jobs_of(key).unwrap_or_default();
    jobs.last().is_some_and(|job| job.state == JobState::Dead)
}

/// Waits for a notice, at most `pause`; looks in between whether the daemon stops.
fn wait(shared: &Shared, bell: &std::sync::mpsc::Receiver<()>, pause: Duration) {
    let until = Instant::now() + pause;
    while !shared.stopping() && !shared.has_doubts() {
        shared.alive(Part::Intake);
        let left = until.saturating_duration_since(Instant::now()).min(TICK);
        match bell.recv_timeout(left) {
            Ok(()) => return,
            Err(RecvTimeoutError::Timeout) if Instant::now() >= until => return,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                std::thread::sleep(left);
                return;
            }
        }
    }
}

/// A bell that rings once, however many notices come.
fn wake(ring: SyncSender<()>) -> Arc<dyn Fn() + Send + Sync> {
    Arc::new(move || {
        // A full bell is ringing already.
        let _ = ring.try_send(());
    })
}

fn params(shared: &Shared, setting: Setting) -> FolderParams {
    let intake = &shared.config.intake;
    let gate = super::gate_params(&shared.config);
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
            rules: super::phase_rules(&shared.config),
            instead: others(shared),
            ..AssembleParams::new(&intake.folder, setting.phases())
        },
        max_file_bytes: gate.max_file_bytes,
    }
}

/// What is known already, as soon as the store tells it; nothing if the daemon is to stop.
fn known_at_last(shared: &Shared) -> Option<Vec<Known>> {
    while !shared.stopping() {
        match known(shared) {
            Ok(known) => return Some(known),
            Err(error) => {
                error!("the folder is not watched yet: {error}");
                shared.set_wrong("store_failing", true);
                shared.alive(Part::Intake);
                std::thread::sleep(Duration::from_secs(2));
            }
        }
    }
    None
}

/// The phases of the other engines. One that cannot be opened is no reason not to watch: studies
/// for it are refused as they would be without it.
fn others(shared: &Shared) -> Vec<Vec<Phase>> {
    let opened = phases_of(&shared.config.engine.others);
    opened.unwrap_or_else(|error| {
        error!("engine.others: {error}");
        Vec::new()
    })
}

fn known(shared: &Shared) -> Result<Vec<Known>, StoreError> {
    let known = shared.store.known()?.into_iter().filter_map(|known| {
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
fn tell_degraded(shared: &Shared, degraded: &[Degraded]) {
    let codes: Vec<&'static str> = degraded
        .iter()
        .filter(|trouble| !matches!(trouble, Degraded::NoHints(_)))
        .map(Degraded::code)
        .collect();
    for code in Degraded::CODES {
        shared.set_wrong(code, codes.contains(&code));
    }
}

/// Puts one outcome into the store, again and again until the store takes it: an outcome
/// comes only once.
fn take(shared: &Shared, setting: Setting, outcome: StudyEvent) {
    while !shared.stopping() {
        match keep(shared, setting, &outcome) {
            Ok(()) => {
                shared.set_wrong("store_failing", false);
                return;
            }
            Err(error) => {
                error!("a study cannot be queued: {error}");
                shared.set_wrong("store_failing", true);
                shared.alive(Part::Intake);
                std::thread::sleep(Duration::from_secs(2));
            }
        }
    }
}

fn keep(shared: &Shared, setting: Setting, outcome: &StudyEvent) -> Result<(), StoreError> {
    let now = Timestamp::now();
    match outcome {
        StudyEvent::Received { key } => {
            info!(STUDY_KEY = key.as_str(); "first file of a study");
            let state = StudyState::Received;
            shared.store.record(&tell(shared, key, "", 1, state, None, Some(setting), now), now)?;
        }
        StudyEvent::Complete { study, why, passed_over } => {
            failpoint("study_complete");
            complete(shared, setting, study, (*why, passed_over), now)?;
            failpoint("study_queued");
        }
        StudyEvent::Refused { key, revision, fingerprint, refusal } => {
            let nothing = Counts::new();
            let what = (refusal.code.as_str(), refusal.detail.as_str(), &nothing);
            refuse(shared, setting, key, (*revision, *fingerprint), what, now)?;
        }
        StudyEvent::PassedOver { key, revision, fingerprint, counts } => {
            // The kind of most of them stands for all; the numbers tell the rest.
            let most = counts.iter().max_by_key(|(_, count)| **count);
            let code = most.map_or(RefusalCode::UnknownFormat.as_str(), |(kind, _)| kind);
            let detail = "files that belong to no study, by folder";
            let what = (code, detail, counts);
            refuse(shared, setting, key, (*revision, *fingerprint), what, now)?;
        }
        StudyEvent::Duplicate { key, .. } => {
            info!(STUDY_KEY = key.as_str(); "the same study again: nothing to do");
        }
    }
    shared.wake_publisher();
    Ok(())
}

fn complete(
    shared: &Shared,
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
        priority: 0,
        completed_at: now,
    };
    let announce = |admission: &Admission| {
        let revision = admission.revision;
        let key = study.key.as_str();
        let identity = events::identity(&shared.config.device, key, &fingerprint, revision);
        let setting = Some(setting);
        let queued = events::with_passed_over(
            &identity,
            StudyState::Queued,
            None,
            setting,
            passed_over,
            now,
        );
        let mut told = said(queued);
        for old in &admission.superseded {
            let state = StudyState::Superseded;
            let print = &old.input_fingerprint;
            let old = tell(shared, &study.key, print, old.revision, state, None, None, now);
            told.extend(old);
        }
        told
    };
    match shared.store.enqueue(&new, now, announce)? {
        Enqueued::New(admission) => info!(
            STUDY_KEY = study.key.as_str(), JOB_ID = admission.job.0;
            "study complete ({}), revision {}, {} files", why.as_str(), admission.revision,
            study.files().count()
        ),
        Enqueued::Duplicate(job) => {
            info!(STUDY_KEY = study.key.as_str(), JOB_ID = job.0; "these files are known");
        }
    }
    shared.wake_queue();
    Ok(())
}

fn refuse(
    shared: &Shared,
    setting: Setting,
    key: &StudyKey,
    (revision, fingerprint): (u32, Digest),
    (code, detail, passed_over): (&str, &str, &Counts),
    now: Timestamp,
) -> Result<(), StoreError> {
    warn!(STUDY_KEY = key.as_str(); "refused ({code}): {detail}");
    let print = fingerprint.hex();
    let new = NewJob {
        study_key: key.clone(),
        setting,
        input_fingerprint: print.clone(),
        files_json: "[]".to_owned(),
        priority: 0,
        completed_at: now,
    };
    super::quarantine::put(shared, key.as_str(), revision, code, detail, "[]");
    let state = StudyState::Rejected;
    shared.store.enqueue_refused(&new, code, now, |admission| {
        let device = &shared.config.device;
        let identity = events::identity(device, key.as_str(), &print, admission.revision);
        let setting = Some(setting);
        said(events::with_passed_over(&identity, state, Some(code), setting, passed_over, now))
    })?;
    Ok(())
}

/// One step of a study as an event.
#[allow(clippy::too_many_arguments, reason = "one call site shape, every value another type")]
fn tell(
    shared: &Shared,
    key: &StudyKey,
    fingerprint: &str,
    revision: u32,
    state: StudyState,
    code: Option<&str>,
    setting: Option<Setting>,
    now: Timestamp,
) -> Vec<NewEvent> {
    let identity = events::identity(&shared.config.device, key.as_str(), fingerprint, revision);
    said(events::step(&identity, state, code, setting, 0, now))
}

fn said(event: Result<NewEvent, ContractError>) -> Vec<NewEvent> {
    event.inspect_err(|error| error!("a step cannot be published: {error}")).into_iter().collect()
}
