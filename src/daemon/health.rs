//! How the device is: what is wrong, what is being done, with which engine.
//!
//! Owns [`Health`], plain data without a thread or a clock, and [`Monitor`], by which the threads
//! tell it and the publisher reads it. Refuses to decide anything by it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use jiff::Timestamp;
use log::{info, warn};

use crate::intake::Arriving;
use crate::publish::Waker;
use crate::publish::contract::{Code, Time};
use crate::publish::findings::EngineUsed;
use crate::publish::messages::{SelfTest, State, Status};
use hepalert_bundles::Bundle;

/// What the device says of itself.
#[derive(Debug, Clone)]
pub(crate) struct Health {
    wrong: BTreeSet<&'static str>,
    since: Timestamp,
    activity: Option<Activity>,
    engines: Vec<EngineUsed>,
    self_test: Option<SelfTest>,
    incoming: BTreeMap<PathBuf, Incoming>,
}

/// What is being done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Activity {
    /// Its name.
    pub stage: String,
    /// When it was first heard of, and how much of it was done then.
    pub since: (Timestamp, usize),
    /// How much of it is done.
    pub done: usize,
    /// Of how much.
    pub total: usize,
}

impl Activity {
    /// Seconds that the rest of the stage takes at the speed of what is done of it; none at its beginning.
    pub(crate) fn left_s(&self, now: Timestamp) -> Option<f64> {
        let (began, at_first) = self.since;
        let done = self.done.checked_sub(at_first).filter(|done| *done > 0)?;
        let passed_s = now.duration_since(began).as_secs_f64();
        (passed_s > 0.0)
            .then(|| passed_s * self.total.saturating_sub(self.done) as f64 / done as f64)
    }
}

/// What comes into a folder that is looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Incoming {
    /// Studies that are not complete, the newest first, and since when they come.
    pub studies: Vec<(Arriving, Timestamp)>,
    /// Files that are still being written or not yet read.
    pub moving_files: usize,
}

impl Health {
    /// Nothing is wrong, nothing is known of an engine.
    pub(crate) fn new(now: Timestamp) -> Health {
        Health {
            wrong: BTreeSet::new(),
            since: now,
            activity: None,
            engines: Vec::new(),
            self_test: None,
            incoming: BTreeMap::new(),
        }
    }

    /// Says whether something is wrong; true if that is news.
    pub(crate) fn set_wrong(&mut self, reason: &'static str, wrong: bool, now: Timestamp) -> bool {
        let news = if wrong { self.wrong.insert(reason) } else { self.wrong.remove(reason) };
        if news {
            self.since = now;
        }
        news
    }

    /// The retained `status`.
    pub(crate) fn status(&self, stopping: bool, boot: u64) -> Status {
        let state = match self.wrong.is_empty() {
            _ if stopping => State::Draining,
            true => State::Online,
            false => State::Degraded,
        };
        let reasons = self.wrong.iter().map(|reason| Code::fixed(reason)).collect();
        Status::new(state, reasons, self.since, boot)
    }

    /// What the daemon is doing, for `systemctl status`.
    pub(crate) fn activity(&self) -> String {
        match &self.activity {
            Some(at) => format!("{}: {} of {}", at.stage, at.done, at.total),
            None => "waiting for studies".to_owned(),
        }
    }

    /// What is being done.
    pub(crate) fn step(&self) -> Option<&Activity> {
        self.activity.as_ref()
    }

    /// The engines in use, for the `info` message.
    pub(crate) fn engines(&self) -> &[EngineUsed] {
        &self.engines
    }

    /// What comes into each folder that is looked at.
    pub(crate) fn incoming(&self) -> impl Iterator<Item = &Incoming> {
        self.incoming.values()
    }

    /// The last self-test of the engine in use.
    pub(crate) fn self_test(&self) -> Option<&SelfTest> {
        self.self_test.as_ref()
    }
}

/// The health as the threads share it. A change wakes the publisher, once there is one.
#[derive(Clone)]
pub(crate) struct Monitor {
    health: Arc<Mutex<Health>>,
    publisher: Arc<OnceLock<Waker>>,
}

impl Monitor {
    /// Of a daemon that begins.
    pub(crate) fn new(now: Timestamp) -> Monitor {
        Monitor {
            health: Arc::new(Mutex::new(Health::new(now))),
            publisher: Arc::new(OnceLock::new()),
        }
    }

    /// From now on changes wake this publisher; a second one is not taken.
    pub(crate) fn wakes(&self, publisher: Waker) {
        let _ = self.publisher.set(publisher);
    }

    /// There are events to send.
    pub(crate) fn wake_publisher(&self) {
        if let Some(wake) = self.publisher.get() {
            wake();
        }
    }

    /// The health as it is now.
    pub(crate) fn now(&self) -> Health {
        self.lock().clone()
    }

    /// Says whether something is wrong. A change is logged and published.
    pub(crate) fn set_wrong(&self, reason: &'static str, wrong: bool) {
        if !self.lock().set_wrong(reason, wrong, Timestamp::now()) {
            return;
        }
        if wrong {
            warn!("degraded: {reason}");
        } else {
            info!("no longer degraded: {reason}");
        }
        self.wake_publisher();
    }

    /// How far the running study or self-test is.
    pub(crate) fn progress(&self, stage: &str, done: usize, total: usize) {
        let mut health = self.lock();
        let same = |at: &Activity| at.stage == stage && at.done <= done;
        let since = health.activity.as_ref().filter(|at| same(at)).map(|at| at.since);
        let since = since.unwrap_or((Timestamp::now(), done));
        health.activity = Some(Activity { stage: stage.to_owned(), since, done, total });
    }

    /// What comes into a folder. Nobody but the page asks, so that nothing is woken. A study keeps
    /// the time that it was first told with.
    pub(crate) fn set_incoming(&self, folder: &Path, mut incoming: Incoming) {
        let mut health = self.lock();
        let before = health.incoming.remove(folder).unwrap_or_default();
        for (study, at) in &mut incoming.studies {
            let same = |(old, _): &&(Arriving, Timestamp)| {
                (&old.key, old.since) == (&study.key, study.since)
            };
            *at = before.studies.iter().find(same).map_or(*at, |(_, told)| *told);
        }
        health.incoming.insert(folder.to_owned(), incoming);
    }

    /// Nothing is running.
    pub(crate) fn idle(&self) {
        self.lock().activity = None;
    }

    /// This bundle is in use from here on.
    pub(crate) fn set_engine(&self, bundle: &Bundle) {
        let used = bundle.networks().map(|(role, _)| EngineUsed {
            role: Code::fixed(role.name()),
            id: bundle.id().to_owned(),
            version: bundle.version().to_string(),
            sha256: bundle.fingerprint().to_owned(),
        });
        self.lock().engines = used.collect();
        self.wake_publisher();
    }

    /// The engine in use was tested.
    pub(crate) fn set_self_test(&self, at: Timestamp, passed: bool) {
        self.lock().self_test = Some(SelfTest { at: Time(at), passed });
        self.wake_publisher();
    }

    /// A thread that panicked while it held this left plain data behind.
    fn lock(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::intake::Millis;
    use hepalert_study::study::StudyKey;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[test]
    fn a_status_names_what_is_wrong_since_the_last_change() {
        let mut health = Health::new(at(0));
        let expected = Status::new(State::Online, vec![], at(0), 3);
        assert_eq!(health.status(false, 3), expected);
        assert!(health.set_wrong("disk_full", true, at(5)));
        assert!(health.set_wrong("clock_doubtful", true, at(7)));
        assert!(!health.set_wrong("disk_full", true, at(9)), "it was said");
        let reasons = vec![Code::fixed("clock_doubtful"), Code::fixed("disk_full")];
        let expected = Status::new(State::Degraded, reasons, at(7), 3);
        assert_eq!(health.status(false, 3), expected);
        assert!(health.set_wrong("disk_full", false, at(11)));
        assert!(!health.set_wrong("engine_unusable", false, at(12)), "it never was");
        let reasons = vec![Code::fixed("clock_doubtful")];
        assert_eq!(health.status(true, 3), Status::new(State::Draining, reasons, at(11), 3));
    }

    #[test]
    fn a_study_that_comes_in_keeps_the_time_it_was_first_told_with() {
        let monitor = Monitor::new(at(0));
        let tell = |files: usize, seconds: i64| {
            let key = StudyKey::new(&"0".repeat(32)).unwrap();
            let study = Arriving { key, since: Millis(5), files, series: 1 };
            let incoming = Incoming { studies: vec![(study, at(seconds))], moving_files: 0 };
            monitor.set_incoming(Path::new("/export"), incoming);
            let health = monitor.now();
            let told = health.incoming().next().unwrap().studies[0].clone();
            (told.0.files, told.1)
        };
        assert_eq!(tell(3, 10), (3, at(10)));
        assert_eq!(tell(9, 12), (9, at(10)));
    }

    #[test]
    fn the_time_left_of_a_step_is_that_of_what_was_seen_of_it() {
        let activity =
            |done| Activity { stage: "segment".to_owned(), since: (at(100), 4), done, total: 24 };
        assert_eq!(activity(4).left_s(at(105)), None, "nothing was seen yet");
        assert_eq!(activity(9).left_s(at(110)), Some(30.0), "5 took 10 s, 15 are left");
        assert_eq!(activity(24).left_s(at(140)), Some(0.0));
        let monitor = Monitor::new(at(0));
        monitor.progress("segment", 3, 20);
        monitor.progress("segment", 9, 20);
        assert_eq!(monitor.now().step().unwrap().since.1, 3);
        monitor.progress("segment", 0, 20);
        assert_eq!(monitor.now().step().unwrap().since.1, 0, "another study");
    }

    #[test]
    fn only_changes_wake_the_publisher() {
        let monitor = Monitor::new(at(0));
        monitor.set_wrong("store_replaced", true);
        let woken = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&woken);
        monitor.wakes(Arc::new(move || {
            count.fetch_add(1, Ordering::Relaxed);
        }));
        monitor.set_wrong("store_replaced", true);
        monitor.progress("segment", 3, 20);
        assert_eq!(
            (woken.load(Ordering::Relaxed), monitor.now().activity().as_str()),
            (0, "segment: 3 of 20")
        );
        monitor.clone().set_wrong("store_replaced", false);
        monitor.idle();
        assert_eq!(
            (woken.load(Ordering::Relaxed), monitor.now().activity().as_str()),
            (1, "waiting for studies")
        );
    }
}
