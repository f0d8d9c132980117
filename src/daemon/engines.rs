//! The hands of the engine controller: does what it says, with slots, bundles and the inference
//! process, and tells every change exactly once.
//!
//! Lives on the thread that works through the queue, between two studies. Decides nothing itself.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use log::{error, info, warn};

use super::controller::{self, EngineController, Task, Verdict, Waits};
use super::engine_events;
use super::health::Monitor;
use super::inbox::{FolderMail, Folders};
use super::liveness::{Life, Stop};
use super::site::Site;
use crate::installer::{Installer, Updates};
use crate::worker::{Reply, Request, RequestOutcome, Worker};
use hepalert_bundles::Bundle;
use hepalert_bundles::slots::{self, EngineId, Fault, Slot, SlotLock, SlotsError, State, Test};
use hepalert_engines::EngineError;
use hepalert_study::outcome::EngineFault;
use hepalert_study::phase::Setting;

/// How often the update folder is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How often an unusable engine is tried again.
const RETRY: Duration = Duration::from_secs(30);

/// The engines of the device, and what changes them.
pub(super) struct Engines {
    site: Arc<Site>,
    monitor: Monitor,
    life: Life,
    stop: Stop,
    folders: Folders,
    installer: Installer,
    controller: EngineController,
    place: Option<SlotLock>,
    updates: Updates,
    setting: Option<Setting>,
}

impl Engines {
    /// Knows nothing yet; the first [`Engines::round`] finds out.
    pub(super) fn new(
        site: &Arc<Site>,
        monitor: &Monitor,
        (life, stop): (&Life, &Stop),
        folders: &Folders,
    ) -> Engines {
        let engine = &site.config.engine;
        let waits = Waits {
            test_holds: Duration::from_secs(3600 * u64::from(engine.selftest_hours)),
            retry: RETRY,
            updates: engine.update_folder.as_ref().map(|_| LOOK_EVERY),
        };
        Engines {
            site: Arc::clone(site),
            monitor: monitor.clone(),
            life: life.clone(),
            stop: stop.clone(),
            folders: folders.clone(),
            installer: Installer::new(&site.config),
            controller: EngineController::new(waits),
            place: None,
            updates: Updates::default(),
            setting: None,
        }
    }

    /// The bundle that studies are analysed with.
    pub(super) fn bundle(&self) -> Option<PathBuf> {
        self.controller.slot().map(|slot| self.installer.bundle(slot))
    }

    /// Everything that is due between two studies. True if the next study may begin.
    pub(super) fn round(&mut self, worker: &mut Worker) -> bool {
        self.controller.begin_round();
        while let Some(task) = self.next() {
            if let Err(error) = self.perform(task, worker) {
                self.slots_failed(&error);
            }
        }
        self.monitor.set_wrong("slots_unusable", self.controller.slots_are_unusable());
        match engine_events::publish(&self.site, self.installer.slots()) {
            Ok(true) => self.monitor.wake_publisher(),
            Ok(false) => {}
            Err(error) => error!("a change of engine cannot be told yet: {error}"),
        }
        self.controller.is_ready()
    }

    fn next(&mut self) -> Option<Task> {
        let state = match self.installer.slots().state() {
            Ok(state) => {
                self.monitor.set_wrong("engine_rolled_back", state.has_failed());
                state
            }
            Err(error) => {
                self.slots_failed(&error);
                State::default()
            }
        };
        self.controller.next(&state, self.site.ran())
    }

    fn slots_failed(&mut self, error: &SlotsError) {
        if !self.controller.slots_are_unusable() && self.controller.engine().is_none() {
            error!("the slots cannot be read, so the configured bundle is used instead: {error}");
        }
        self.controller.slots_failed();
    }

    fn perform(&mut self, task: Task, worker: &mut Worker) -> Result<(), SlotsError> {
        match task {
            Task::Occupy => {
                self.place = self.installer.occupy()?;
                self.controller.occupied(self.place.is_some());
            }
            Task::FirstTest(slot) => self.first_test(slot, worker)?,
            Task::Switch => self.installer.switch(Timestamp::now())?,
            Task::LookForUpdates => self.look_for_updates()?,
            Task::Open(slot) => self.open(slot, worker),
            Task::Test => self.test(worker),
        }
        Ok(())
    }

    fn look_for_updates(&mut self) -> Result<(), SlotsError> {
        let Some(folder) = &self.site.config.engine.update_folder else { return Ok(()) };
        match self.installer.trust() {
            Ok(trust) => self.updates.look(folder, &self.installer, trust, self.setting)?,
            Err(error) => warn!("the update folder is not looked at: {error}"),
        }
        Ok(())
    }

    /// The first self-test of a new engine, in the inference process. The engine in use is
    /// unloaded for it: a small device has no room for two.
    fn first_test(&mut self, slot: Slot, worker: &mut Worker) -> Result<(), SlotsError> {
        info!("slot {}: self-test begins", slot.name());
        worker.kill();
        let mut test = |bundle: &Path| {
            let outcome = self.run_test(bundle, worker);
            // A daemon that stops has killed the test: that is not the engine's fault.
            (outcome.is_ok() || !self.stop.is_set()).then_some(outcome)
        };
        let outcome = self.installer.first_test(slot, &mut test)?;
        worker.kill();
        match outcome {
            None => info!("slot {}: the self-test waits for the next start", slot.name()),
            Some(Ok(())) => info!("slot {}: self-test passed", slot.name()),
            Some(Err((code, reason))) => warn!("slot {}: refused ({code}): {reason}", slot.name()),
        }
        Ok(())
    }

    /// Puts the inference process on the bundle that is to be in use.
    fn open(&mut self, slot: Option<Slot>, worker: &mut Worker) {
        worker.kill();
        match Bundle::open(&self.installer.bundle(slot)) {
            Ok(bundle) => {
                let engine = slots::which(&bundle);
                info!("engine in use: {} version {}", engine.id, engine.version);
                self.monitor.set_engine(&bundle);
                self.setting = Some(bundle.setting());
                self.folders.send(&FolderMail::Engine(bundle.setting()));
                self.controller.opened(slot, engine);
            }
            Err(error) => self.cannot_open(slot, &error),
        }
    }

    fn cannot_open(&mut self, slot: Option<Slot>, error: &EngineError) {
        error!("the engine cannot be used: {error}");
        let fault = slots::fault_of(error);
        let state = self.installer.slots().state().ok();
        let held = slot.zip(state).and_then(|(slot, state)| Some(state.slot(slot)?.which.clone()));
        match held {
            Some(engine) => self.unfit(&engine, fault),
            None => {
                self.controller.unfit(self.site.ran());
                self.monitor.set_wrong(controller::in_status(fault).name(), true);
            }
        }
    }

    fn test(&mut self, worker: &mut Worker) {
        let engine = self.controller.engine().cloned();
        let Some((bundle, engine)) = self.bundle().zip(engine) else { return };
        let outcome = self.run_test(&bundle, worker);
        if self.stop.is_set() {
            return;
        }
        let words = outcome.clone().unwrap_or_else(|(_, reason)| reason);
        let test = Test { at: Timestamp::now(), passed: outcome.is_ok(), words };
        self.monitor.set_self_test(test.at, test.passed);
        self.record(|state| state.tested(&engine.sha256, test));
        match outcome {
            Ok(words) => {
                info!("self-test passed: {words}");
                self.controller.passed(self.site.ran());
                self.monitor.set_wrong(EngineFault::EngineUnusable.name(), false);
                self.monitor.set_wrong(EngineFault::SelfTestFailed.name(), false);
            }
            Err((fault, reason)) => {
                error!("self-test failed ({fault}): {reason}");
                self.unfit(&engine, fault);
            }
        }
    }

    /// The engine is unfit: back to the one before, or the queue waits.
    fn unfit(&mut self, engine: &EngineId, fault: EngineFault) {
        if self.blame(engine, Fault::Engine, fault.name()) {
            return;
        }
        if self.controller.unfit(self.site.ran()) {
            self.record(|state| state.failing(engine.clone(), fault.name(), Timestamp::now()));
        }
        self.monitor.set_wrong(controller::in_status(fault).name(), true);
    }

    /// True if the engine before is in use again.
    fn blame(&mut self, engine: &EngineId, fault: Fault, code: &'static str) -> bool {
        let now = Timestamp::now();
        let back = self.record(|state| state.fault(&engine.sha256, fault, code, now));
        if back == Some(true) {
            warn!("{} version {} is rolled back ({code})", engine.id, engine.version);
            self.controller.rolled_back();
        }
        back == Some(true)
    }

    /// How a study ended says something of the engine.
    pub(super) fn record_outcome(&mut self, outcome: &RequestOutcome) {
        let Some(engine) = self.controller.engine().cloned() else { return };
        match controller::verdict(outcome) {
            Verdict::Works => {
                let (limits, now) = (self.installer.limits(), Timestamp::now());
                self.record(|state| state.finished(&engine.sha256, limits, now));
            }
            Verdict::Unfit(fault) => self.unfit(&engine, fault),
            Verdict::Suspect(code) => {
                self.blame(&engine, Fault::Process, code);
            }
            Verdict::Nothing => {}
        }
    }

    fn record<T>(&self, change: impl FnOnce(&mut State) -> T) -> Option<T> {
        let recorded = self.installer.slots().change(change);
        recorded.inspect_err(|error| error!("the slots cannot be written: {error}")).ok()
    }

    /// One self-test in the inference process. Its signs of life feed the watchdog; the
    /// deadline of a study ends it.
    fn run_test(
        &self,
        bundle: &Path,
        worker: &mut Worker,
    ) -> Result<String, (EngineFault, String)> {
        let request = Request::SelfTest { bundle: bundle.to_owned() };
        let outcome = worker.run(&request, &mut |reply| {
            if let Some(Reply::Progress { stage, .. }) = reply {
                self.life.sign();
                self.monitor.progress(stage, 0, 1);
            }
            if self.stop.is_set() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        self.monitor.idle();
        controller::test_result(outcome)
    }
}
