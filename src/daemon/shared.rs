//! What the daemon's threads share: configuration, store, the wish to stop, signs of life,
//! and what is wrong at the moment.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use log::{info, warn};

use super::clock::Clock;
use crate::config::Config;
use crate::intake::{StudyFiles, load};
use crate::publish::contract::{Code, Time};
use crate::publish::findings::{EngineUsed, Link};
use crate::publish::messages::{SelfTest, State, Status};
use crate::publish::{LinkState, PublisherHandle};
use crate::store::{Job, Store};
use hepalert_bundles::Bundle;
use hepalert_study::study::{Privacy, Setting};

/// A thread whose life is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Looks at the export folder.
    Intake,
    /// Works through the queue.
    Studies,
}

/// What the engine bundle says, known without loading it.
#[derive(Debug, Clone)]
pub struct EngineFacts {
    /// What studies are read for.
    pub setting: Setting,
    /// For the `info` message.
    pub used: Vec<EngineUsed>,
}

impl EngineFacts {
    /// What an opened bundle says.
    pub fn of(bundle: &Bundle) -> EngineFacts {
        let used = bundle.networks().map(|(role, _)| EngineUsed {
            role: Code::fixed(role.name()),
            id: bundle.id().to_owned(),
            version: bundle.version().to_string(),
            sha256: bundle.fingerprint().to_owned(),
        });
        EngineFacts { setting: bundle.setting(), used: used.collect() }
    }
}

/// Shared by all threads of the daemon.
pub struct Shared {
    /// As read at start.
    pub config: Config,
    /// Jobs, reports, outbox.
    pub store: Store,
    /// How often the daemon has started on this store.
    pub boot: u64,
    /// SHA-256 of the configuration as merged.
    pub config_sha256: String,
    began: Instant,
    stop: AtomicBool,
    woken: Mutex<bool>,
    bell: Condvar,
    engine: Mutex<Option<EngineFacts>>,
    publisher: Mutex<Option<PublisherHandle>>,
    pulses: [AtomicU64; 2],
    condition: Mutex<Condition>,
    doubted: Mutex<Vec<PathBuf>>,
    believed: Timestamp,
    /// Held for as long as the daemon lives.
    _lock: File,
}

/// How the device is, and since when.
struct Condition {
    reasons: BTreeMap<&'static str, bool>,
    since: Timestamp,
    activity: Option<(String, usize, usize)>,
    self_test: Option<SelfTest>,
}

/// A thread that panicked while it held one of these left plain data behind.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Nothing is wrong yet.
    pub fn new(
        config: Config,
        store: Store,
        boot: u64,
        config_sha256: String,
        believed: Timestamp,
        lock: File,
    ) -> Shared {
        let condition = Condition {
            reasons: BTreeMap::new(),
            since: Timestamp::now(),
            activity: None,
            self_test: None,
        };
        Shared {
            config,
            store,
            boot,
            config_sha256,
            began: Instant::now(),
            stop: AtomicBool::new(false),
            woken: Mutex::new(false),
            bell: Condvar::new(),
            engine: Mutex::new(None),
            publisher: Mutex::new(None),
            pulses: [AtomicU64::new(0), AtomicU64::new(0)],
            condition: Mutex::new(condition),
            doubted: Mutex::new(Vec::new()),
            believed,
            _lock: lock,
        }
    }

    /// The engine is known from here on.
    pub fn set_engine(&self, engine: EngineFacts) {
        *lock(&self.engine) = Some(engine);
        self.wake_publisher();
    }

    /// What the engine bundle says, once it could be opened.
    pub fn engine(&self) -> Option<EngineFacts> {
        lock(&self.engine).clone()
    }

    /// The engine in use was tested.
    pub fn set_self_test(&self, at: Timestamp, passed: bool) {
        lock(&self.condition).self_test = Some(SelfTest { at: Time(at), passed });
        self.wake_publisher();
    }

    /// The last self-test of the engine in use.
    pub fn self_test(&self) -> Option<SelfTest> {
        lock(&self.condition).self_test.clone()
    }

    /// Gives the publisher in; before that, waking it does nothing.
    pub fn set_publisher(&self, publisher: PublisherHandle) {
        *lock(&self.publisher) = Some(publisher);
    }

    /// Takes the publisher out, to stop it at the very end.
    pub fn take_publisher(&self) -> Option<PublisherHandle> {
        lock(&self.publisher).take()
    }

    /// False once the publishing thread has ended.
    pub fn is_publishing(&self) -> bool {
        lock(&self.publisher).as_ref().is_none_or(PublisherHandle::is_alive)
    }

    /// True once the daemon shall end.
    pub fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Asks every thread to end.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.wake_queue();
    }

    /// Sleeps until there may be work, at most so long.
    pub fn nap(&self, most: Duration) {
        let woken = lock(&self.woken);
        let waited = self.bell.wait_timeout_while(woken, most, |woken| !*woken);
        let (mut woken, _) = waited.unwrap_or_else(PoisonError::into_inner);
        *woken = false;
    }

    /// There may be work in the queue.
    pub fn wake_queue(&self) {
        *lock(&self.woken) = true;
        self.bell.notify_all();
    }

    /// These files do not hold what was accepted: the intake is to read them again.
    pub fn doubt(&self, mut files: Vec<PathBuf>) {
        lock(&self.doubted).append(&mut files);
    }

    /// The files to be read again since the last call.
    pub fn take_doubted(&self) -> Vec<PathBuf> {
        std::mem::take(&mut *lock(&self.doubted))
    }

    /// True if there are files to be read again.
    pub fn has_doubts(&self) -> bool {
        !lock(&self.doubted).is_empty()
    }

    /// There are events to send, or the retained set changed.
    pub fn wake_publisher(&self) {
        if let Some(publisher) = lock(&self.publisher).as_ref() {
            publisher.wake();
        }
    }

    /// How the line to the broker is, once there is a publisher.
    pub fn line(&self) -> Option<LinkState> {
        lock(&self.publisher).as_ref().map(PublisherHandle::state)
    }

    /// How long this run lasts.
    pub fn ran(&self) -> Duration {
        self.began.elapsed()
    }

    /// The clock, to be looked at from now on.
    pub fn clock(&self) -> Clock {
        // Where nothing is removed nothing hangs on it, and a year is as good as any.
        let days = self.config.store.keep_days.map_or(365, i64::from);
        let kept = SignedDuration::from_hours(24 * days);
        Clock::new(self.believed, kept, Timestamp::now(), self.ran())
    }

    /// A sign of life of a thread's work.
    pub fn alive(&self, part: Part) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.pulses[part as usize].store(now, Ordering::Relaxed);
    }

    /// True if every watched thread has given a sign of life within this time.
    pub fn all_alive(&self, within: Duration) -> bool {
        let now = self.began.elapsed();
        self.pulses.iter().all(|pulse| {
            let last = Duration::from_millis(pulse.load(Ordering::Relaxed));
            now.saturating_sub(last) <= within
        })
    }

    /// Remembers how far the running study is.
    pub fn progress(&self, stage: &str, done: usize, total: usize) {
        lock(&self.condition).activity = Some((stage.to_owned(), done, total));
    }

    /// What the daemon is doing, for `systemctl status`.
    pub fn activity(&self) -> String {
        match &lock(&self.condition).activity {
            Some((stage, done, total)) => format!("{stage}: {done} of {total}"),
            None => "waiting for studies".to_owned(),
        }
    }

    /// No study is running.
    pub fn idle(&self) {
        lock(&self.condition).activity = None;
    }

    /// Says whether something is wrong. A change is logged and published.
    pub fn set_wrong(&self, reason: &'static str, wrong: bool) {
        let mut condition = lock(&self.condition);
        if condition.reasons.get(reason).copied().unwrap_or(false) == wrong {
            return;
        }
        condition.reasons.insert(reason, wrong);
        condition.since = Timestamp::now();
        drop(condition);
        if wrong {
            warn!("degraded: {reason}");
        } else {
            info!("no longer degraded: {reason}");
        }
        self.wake_publisher();
    }

    /// The retained `status`.
    pub fn status(&self) -> Status {
        let condition = lock(&self.condition);
        let reasons: Vec<_> = condition
            .reasons
            .iter()
            .filter(|(_, wrong)| **wrong)
            .map(|(reason, _)| Code::fixed(reason))
            .collect();
        let state = match () {
            () if self.stopping() => State::Draining,
            () if reasons.is_empty() => State::Online,
            () => State::Degraded,
        };
        Status::new(state, reasons, condition.since, self.boot)
    }

    /// Folder of the results, one folder per study and revision.
    pub fn results(&self) -> PathBuf {
        self.config.store.results()
    }

    /// Folder of the quarantine.
    pub fn quarantine(&self) -> PathBuf {
        self.config.store.quarantine()
    }

    /// Free space where the store lies, in MiB.
    pub fn disk_free_mib(&self) -> Option<u64> {
        crate::system::free_mib(&self.config.store.folder)
    }

    /// True if there is room for one more study; otherwise the status says so.
    pub fn room_on_disk(&self) -> bool {
        let room = self.disk_free_mib().is_none_or(|free| free >= self.config.store.min_free_mib);
        self.set_wrong("disk_full", !room);
        room
    }

    /// The way back to the study as far as the privacy profile allows. Read from the files
    /// again, because no identifier is kept in the store.
    pub fn link(&self, job: &Job) -> Option<Link> {
        let privacy = self.config.device.privacy;
        if privacy == Privacy::Minimal {
            return None;
        }
        let files: StudyFiles = serde_json::from_str(&job.files_json).ok()?;
        let (uid, accession) = load::identifiers(&files)?;
        Link::under(privacy, Some(&uid), accession.as_deref())
    }
}
