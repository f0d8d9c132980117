//! The thread that looks at the export folder: a notice or the rescan interval makes it take
//! a step of the intake, and what that brings goes into the store.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use log::{error, info};

use super::health::{Incoming, Monitor};
use super::inbox::{FolderMail, Notices, QueueMail};
use super::liveness::{Life, Stop};
use super::site::Site;
use crate::analyze::phases_of;
use crate::config::Config;
use crate::intake::folder::intake::{FolderIntake, FolderParams, Step as FolderStep};
use crate::intake::folder::listing::{Degraded, WatchParams};
use crate::intake::folder::stability::StabilityParams;
use crate::intake::{AssembleParams, Digest, Known, Millis, StudyEvent, study_key};
use crate::store::StoreError;
use crate::ui::counted;
use hepalert_study::phase::{Phase, Setting};
use hepalert_study::study::StudyKey;

mod keep;

use keep::files_of;

/// Least time between two steps: a scanner's burst of files is one step, not hundreds.
const BREATH: Duration = Duration::from_millis(200);
/// Longest time between two steps; quiet periods end in between.
const TICK: Duration = Duration::from_secs(1);
/// How long a store that failed is left alone.
const STORE_PAUSE: Duration = Duration::from_secs(2);

/// The thread that looks at the export folder.
pub(super) struct Folder {
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
    /// What is looked at.
    pub root: Root,
}

/// A folder that is looked at.
#[derive(Debug, Clone)]
pub(super) struct Root {
    /// The folder that is watched.
    pub folder: PathBuf,
    /// Others write to it; its troubles are told.
    pub is_export: bool,
    /// Studies that one of the folders' threads takes in anew: what a thread does not find may lie in
    /// another folder. None where there is one folder only.
    pub claimed: Option<Arc<Mutex<BTreeSet<StudyKey>>>>,
}

impl Folder {
    /// Watches until the daemon stops.
    pub(super) fn run(self) {
        let Some(setting) = self.setting() else { return };
        let known = self.until_stored("the folder is not watched yet", || self.known());
        let Some(known) = known else { return };
        info!("known already: {}", counted(known.len(), "study"));
        let (key, notices) = (self.site_key.clone(), self.notices.clone());
        let intake = FolderIntake::new(
            params(&self.site.config, &self.root.folder, setting),
            known,
            Box::new(move |uid| study_key(&key, uid)),
            Arc::new(move || notices.ring()),
        );
        let store = self.site.store.clone();
        let mut intake = intake.recalling(Box::new(move |key| keep::analysed(&store, key).ok()?));
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
                error!("studies that were queued again by hand cannot be read: {error}");
            }
            self.monitor.set_incoming(&self.root.folder, incoming(&step, step_at));
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
            info!(STUDY_KEY = key.as_str(); "sent again after it had failed: it is tried again");
            intake.try_again(key, at);
            return;
        }
        let files = files_of(intake, event);
        let keep = || self.keep(setting, event, &files);
        self.until_stored("a study cannot be queued", keep);
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

    /// Asks the store again and again until it answers; nothing if the daemon is to stop.
    /// `what` says what waits for it.
    fn until_stored<T>(&self, what: &str, ask: impl Fn() -> Result<T, StoreError>) -> Option<T> {
        let mut failed = false;
        while !self.stop.is_set() {
            match ask() {
                Ok(answer) => {
                    // What the queue's thread has told is for it to take back.
                    if failed {
                        self.monitor.set_wrong("store_failing", false);
                    }
                    return Some(answer);
                }
                Err(error) => {
                    failed = true;
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
        if !self.root.is_export {
            return;
        }
        let codes: Vec<&'static str> = degraded
            .iter()
            .filter(|trouble| !matches!(trouble, Degraded::NoHints(_)))
            .map(Degraded::code)
            .collect();
        for code in Degraded::CODES {
            self.monitor.set_wrong(code, codes.contains(&code));
        }
    }
}

/// The folders that are looked at: the export folder, and that of received images.
pub(super) fn roots(config: &Config) -> Vec<Root> {
    let export = &config.intake.folder;
    let mut folders: Vec<_> = export.iter().map(|folder| (folder.clone(), true)).collect();
    if config.dicom.listen.is_some() {
        folders.push((config.store.spool(), false));
    }
    let claimed = (folders.len() > 1).then(Default::default);
    let root = |(folder, is_export)| Root { folder, is_export, claimed: claimed.clone() };
    folders.into_iter().map(root).collect()
}

/// Studies told of at once as coming in: more than that nobody reads line by line.
const MAX_INCOMING: usize = 100;

/// What comes in, with times by the clock on the wall.
fn incoming(step: &FolderStep, at: Millis) -> Incoming {
    let now = Timestamp::now();
    let began = |since: Millis| {
        let passed_ms = i64::try_from(at.0.saturating_sub(since.0)).unwrap_or(i64::MAX);
        now.checked_sub(SignedDuration::from_millis(passed_ms)).unwrap_or(now)
    };
    let newest = step.arriving.iter().take(MAX_INCOMING);
    let studies = newest.map(|one| (one.clone(), began(one.since))).collect();
    Incoming { studies, moving_files: step.moving_files }
}

/// Whether what was not seen in this step is not there.
fn is_all_seen(step: &FolderStep) -> bool {
    let is_blind = |why: &Degraded| {
        matches!(why, Degraded::Missing | Degraded::Unreadable(_) | Degraded::MountLost)
    };
    !step.more && step.moving_files == 0 && !step.degraded.iter().any(is_blind)
}

fn params(config: &Config, folder: &Path, setting: Setting) -> FolderParams {
    let intake = &config.intake;
    let gate = super::gate_params(config);
    FolderParams {
        watch: WatchParams { follow_links: intake.follow_links, ..WatchParams::new(folder) },
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
            ..AssembleParams::new(folder, setting.phases())
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
            root: Root { folder: state.to_owned(), is_export: true, claimed: None },
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
}
