//! Which engine the daemon works with, and whether it may: between two studies, never during
//! one, engines are installed, switched, tested and rolled back here.
//!
//! Lives on the thread that works through the queue. The slots' state says what is to be; the
//! controller follows it, puts the inference process on the right bundle, and tells every change
//! exactly once.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use log::{error, info, warn};

use super::installing::{self, InstallPolicy};
use super::shared::{EngineFacts, Part, Shared};
use super::updates::Updates;
use super::{ENGINE_RETRY, engine_events};
use crate::worker::{Reply, Request, RequestOutcome, Worker};
use hepalert_bundles::Bundle;
use hepalert_bundles::slots::{self, EngineId, Fault, Slot, SlotLock, Slots, SlotsError, Test};
use hepalert_engines::EngineError;

/// How often the update folder is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// What the inference process works with.
#[derive(Debug, Clone)]
struct InUse {
    slot: Option<Slot>,
    bundle: PathBuf,
    which: EngineId,
}

/// Keeps the engine.
pub struct EngineController {
    slots: Slots,
    place: Option<SlotLock>,
    in_use: Option<InUse>,
    /// When the engine in use last passed its self-test.
    passed: Option<Instant>,
    /// Not before this is an engine that failed tried again.
    again: Option<Instant>,
    /// The failure was told.
    failing: bool,
    updates: Updates,
    looked: Option<Instant>,
}

impl EngineController {
    /// Knows nothing yet; the first [`EngineController::round`] finds out.
    pub fn new(shared: &Shared) -> EngineController {
        EngineController {
            slots: installing::slots(&shared.config),
            place: None,
            in_use: None,
            passed: None,
            again: None,
            failing: false,
            updates: Updates::default(),
            looked: None,
        }
    }

    /// The bundle that studies are analysed with.
    pub fn bundle(&self) -> Option<&Path> {
        self.in_use.as_ref().map(|in_use| in_use.bundle.as_path())
    }

    /// Everything that is due between two studies. True if the next study may begin.
    pub fn round(&mut self, shared: &Shared, worker: &mut Worker) -> bool {
        let changed = self.change(shared, worker);
        shared.set_wrong("slots_unusable", changed.is_err());
        if let Err(error) = changed {
            if self.in_use.is_none() {
                error!("the slots cannot be used, the configured bundle is: {error}");
            }
            self.follow(shared, worker, None);
        }
        self.test_if_due(shared, worker);
        if let Err(error) = engine_events::publish(shared, &self.slots) {
            error!("a change of engine cannot be told yet: {error}");
        }
        self.passed.is_some() && !self.failing
    }

    /// Does what the state and the update folder want.
    fn change(&mut self, shared: &Shared, worker: &mut Worker) -> Result<(), SlotsError> {
        if self.place.is_none() {
            self.place = self.slots.occupy()?;
            if self.place.is_none() {
                // A command installs at this moment: nothing is changed beside it.
                let active = self.slots.state()?.active;
                self.follow(shared, worker, active);
                return Ok(());
            }
            self.slots.tidy()?;
        }
        let now = Timestamp::now();
        let limits = installing::limits(&shared.config);
        if let Some(slot) = self.slots.state()?.untested() {
            self.self_test(slot, shared, worker)?;
        }
        let state = self.slots.state()?;
        if state.wanted.is_some() {
            self.slots.fulfil(limits, now)?;
        } else if state.clone().review(limits, now) {
            self.slots.change(|state| state.review(limits, now))?;
        }
        self.look(shared)?;
        let state = self.slots.state()?;
        shared.set_wrong("engine_rolled_back", state.has_failed());
        self.follow(shared, worker, state.active);
        Ok(())
    }

    fn look(&mut self, shared: &Shared) -> Result<(), SlotsError> {
        let due = self.looked.is_none_or(|at| at.elapsed() >= LOOK_EVERY);
        let folder = shared.config.engine.update_folder.as_ref().filter(|_| due);
        let Some(folder) = folder else { return Ok(()) };
        self.looked = Some(Instant::now());
        match InstallPolicy::of(&shared.config, shared.engine().map(|engine| engine.setting)) {
            Ok(policy) => self.updates.look(folder, &self.slots, &policy)?,
            Err(error) => warn!("the update folder is not looked at: {error}"),
        }
        Ok(())
    }

    /// The first self-test of a new engine, in the inference process. The engine in use is
    /// unloaded for it: a small device has no room for two.
    fn self_test(
        &mut self,
        slot: Slot,
        shared: &Shared,
        worker: &mut Worker,
    ) -> Result<(), SlotsError> {
        info!("slot {}: self-test begins", slot.name());
        worker.kill();
        let mut test = |bundle: &Path| {
            let outcome = run_test(bundle, shared, worker);
            // A daemon that stops has killed the test: that is not the engine's fault.
            (outcome.is_ok() || !shared.stopping()).then_some(outcome)
        };
        let outcome = self.slots.self_test(slot, &mut test, &Timestamp::now)?;
        worker.kill();
        match outcome {
            None => info!("slot {}: the self-test waits for the next start", slot.name()),
            Some(Ok(())) => info!("slot {}: self-test passed", slot.name()),
            Some(Err((code, reason))) => warn!("slot {}: refused ({code}): {reason}", slot.name()),
        }
        Ok(())
    }

    /// Puts the inference process on the bundle that is to be in use.
    fn follow(&mut self, shared: &Shared, worker: &mut Worker, slot: Option<Slot>) {
        if self.in_use.as_ref().is_some_and(|in_use| in_use.slot == slot) || self.waits() {
            return;
        }
        worker.kill();
        self.passed = None;
        let bundle =
            slot.map_or_else(|| shared.config.engine.bundle.clone(), |slot| self.slots.dir(slot));
        match Bundle::open(&bundle) {
            Ok(opened) => {
                let which = slots::which(&opened);
                info!("engine in use: {} version {}", which.id, which.version);
                shared.set_engine(EngineFacts::of(&opened));
                self.in_use = Some(InUse { slot, bundle, which });
            }
            Err(error) => {
                self.in_use = None;
                self.unusable(shared, slot, &error);
            }
        }
    }

    /// The bundle that is to be in use cannot be opened.
    fn unusable(&mut self, shared: &Shared, slot: Option<Slot>, error: &EngineError) {
        error!("the engine cannot be used: {error}");
        let held = self.slots.state().ok().and_then(|state| {
            slot.and_then(|slot| state.slot(slot).map(|held| held.which.clone()))
        });
        match held {
            Some(which) => self.engine_fault(shared, &which, slots::engine_code(error)),
            None => self.hold(shared, slots::engine_code(error)),
        }
    }

    fn waits(&self) -> bool {
        self.again.is_some_and(|again| Instant::now() < again)
    }

    fn test_if_due(&mut self, shared: &Shared, worker: &mut Worker) {
        let every = Duration::from_secs(3600 * u64::from(shared.config.engine.selftest_hours));
        let due = self.passed.is_none_or(|at| at.elapsed() >= every);
        let Some(in_use) = self.in_use.clone().filter(|_| due && !self.waits()) else { return };
        let outcome = run_test(&in_use.bundle, shared, worker);
        if shared.stopping() {
            return;
        }
        let words = outcome.clone().unwrap_or_else(|(_, reason)| reason);
        let test = Test { at: Timestamp::now(), passed: outcome.is_ok(), words };
        shared.set_self_test(test.at, test.passed);
        self.record(|state| state.tested(&in_use.which.sha256, test));
        match outcome {
            Ok(words) => {
                info!("self-test passed: {words}");
                self.passed = Some(Instant::now());
                (self.again, self.failing) = (None, false);
                shared.set_wrong("engine_unusable", false);
                shared.set_wrong("self_test_failed", false);
            }
            Err((code, reason)) => {
                error!("self-test failed ({code}): {reason}");
                self.passed = None;
                self.engine_fault(shared, &in_use.which, code);
            }
        }
    }

    /// The engine is unfit: back to the one before, or the queue waits.
    fn engine_fault(&mut self, shared: &Shared, which: &EngineId, code: &'static str) {
        if self.blame(which, Fault::Engine, code) {
            return;
        }
        if !self.failing {
            self.record(|state| state.failing(which.clone(), code, Timestamp::now()));
        }
        self.hold(shared, code);
    }

    fn hold(&mut self, shared: &Shared, code: &'static str) {
        self.failing = true;
        self.again = Some(Instant::now() + ENGINE_RETRY);
        let reason =
            if code == "self_test_failed" { "self_test_failed" } else { "engine_unusable" };
        shared.set_wrong(reason, true);
    }

    /// True if the engine before is in use again.
    fn blame(&mut self, which: &EngineId, fault: Fault, code: &'static str) -> bool {
        let now = Timestamp::now();
        let back = self.record(|state| state.fault(&which.sha256, fault, code, now));
        if back == Some(true) {
            warn!("{} version {} is rolled back ({code})", which.id, which.version);
            (self.in_use, self.again, self.failing) = (None, None, false);
        }
        back == Some(true)
    }

    /// How a study ended says something of the engine.
    pub fn record_outcome(&mut self, shared: &Shared, outcome: &RequestOutcome) {
        let Some(which) = self.in_use.as_ref().map(|in_use| in_use.which.clone()) else { return };
        let code = match outcome {
            RequestOutcome::Finished(_) => {
                let limits = installing::limits(&shared.config);
                let now = Timestamp::now();
                self.record(|state| state.finished(&which.sha256, limits, now));
                return;
            }
            RequestOutcome::EngineUnusable(code, _) => {
                self.passed = None;
                return self.engine_fault(shared, &which, fixed(code));
            }
            RequestOutcome::Refused(..)
            | RequestOutcome::NotAsAccepted(..)
            | RequestOutcome::Stopped
            | RequestOutcome::Tested(_) => return,
            RequestOutcome::Failed(_) => "analysis_failed",
            RequestOutcome::Died(_) => "worker_died",
            RequestOutcome::Stalled => "worker_stalled",
            RequestOutcome::OverMemory => "worker_over_memory",
            RequestOutcome::TooLong => "deadline_passed",
        };
        self.blame(&which, Fault::Process, code);
    }

    fn record<T>(&self, change: impl FnOnce(&mut slots::State) -> T) -> Option<T> {
        let recorded = self.slots.change(change);
        recorded.inspect_err(|error| error!("the slots cannot be written: {error}")).ok()
    }
}

/// One self-test in the inference process. Its signs of life feed the watchdog; the
/// deadline of a study ends it.
fn run_test(
    bundle: &Path,
    shared: &Shared,
    worker: &mut Worker,
) -> Result<String, (&'static str, String)> {
    let request = Request::SelfTest { bundle: bundle.to_owned() };
    let outcome = worker.run(&request, &mut |reply| {
        if let Some(Reply::Progress { stage, .. }) = reply {
            shared.alive(Part::Studies);
            shared.progress(stage, 0, 1);
        }
        if shared.stopping() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    shared.idle();
    let crashed = |how: String| Err(("self_test_crashed", how));
    match outcome {
        RequestOutcome::Tested(words) => Ok(words),
        RequestOutcome::EngineUnusable(code, reason) => Err((fixed(&code), reason)),
        RequestOutcome::Died(how) | RequestOutcome::Failed(how) => crashed(how),
        RequestOutcome::Stalled => crashed("no sign of life for too long".to_owned()),
        RequestOutcome::TooLong => crashed("it took too long".to_owned()),
        RequestOutcome::OverMemory => crashed("it took too much memory".to_owned()),
        RequestOutcome::Stopped => crashed("the daemon is stopping".to_owned()),
        RequestOutcome::Finished(_)
        | RequestOutcome::Refused(..)
        | RequestOutcome::NotAsAccepted(..) => {
            crashed("the inference process answered something else".to_owned())
        }
    }
}

/// The inference process knows two codes.
fn fixed(code: &str) -> &'static str {
    if code == "self_test_failed" { "self_test_failed" } else { "engine_unusable" }
}
