//! Which engine is used, tested or installed next, and whether studies may begin: decisions
//! alone.
//!
//! A pure state machine: [`EngineController::next`] names one [`Task`] at a time, whoever does it
//! tells how it went. Knows no file, process or clock; time comes in as the time run so far.

use std::time::Duration;

use crate::worker::RequestOutcome;
use hepalert_bundles::slots::{EngineId, Slot, State};
use hepalert_study::outcome::EngineFault;

/// The times it goes by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waits {
    /// How long a passed self-test holds.
    pub test_holds: Duration,
    /// How long after a failure an engine is tried again.
    pub retry: Duration,
    /// How often the update folder is looked at; never without.
    pub updates: Option<Duration>,
}

/// What is to be done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Task {
    /// Become the one who changes engines here; answered by [`EngineController::occupied`].
    Occupy,
    /// The first self-test of the new engine in this slot.
    FirstTest(Slot),
    /// Do what is wanted of the engine in use, or look whether its probation is over.
    Switch,
    /// Look into the update folder.
    LookForUpdates,
    /// Open this slot's bundle, or the configured one; answered by [`EngineController::opened`]
    /// or a fault.
    Open(Option<Slot>),
    /// Test the engine in use; answered by [`EngineController::passed`] or a fault.
    Test,
}

/// What a study's end says of the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It works.
    Works,
    /// It cannot be used.
    Unfit(EngineFault),
    /// The process ended over it, which may be the study's fault: so many of them count.
    Suspect(&'static str),
    /// Nothing is to be done now.
    Nothing,
}

/// The place of the next task in a round. The order is the meaning: a new engine is tested
/// before it is switched to, and what is to be used is known before it is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum At {
    Occupy,
    FirstTest,
    Switch,
    Updates,
    Open,
    Test,
    End,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct InUse {
    slot: Option<Slot>,
    engine: EngineId,
}

/// Decides between two studies, never during one.
#[derive(Debug)]
pub(super) struct EngineController {
    waits: Waits,
    at: At,
    has_place: bool,
    slots_fail: bool,
    in_use: Option<InUse>,
    /// When the engine in use last passed its self-test.
    passed: Option<Duration>,
    /// Not before this is an engine that failed tried again.
    again: Option<Duration>,
    looked: Option<Duration>,
}

impl EngineController {
    /// Knows nothing yet; the first round finds out.
    pub(super) fn new(waits: Waits) -> EngineController {
        EngineController {
            waits,
            at: At::Occupy,
            has_place: false,
            slots_fail: false,
            in_use: None,
            passed: None,
            again: None,
            looked: None,
        }
    }

    /// A round begins: whatever is due between two studies, each task at most once.
    pub(super) fn begin_round(&mut self) {
        (self.at, self.slots_fail) = (At::Occupy, false);
    }

    /// The next task of the round by the slots as they are now; nothing once all is done.
    pub(super) fn next(&mut self, slots: &State, now: Duration) -> Option<Task> {
        loop {
            let at = self.at;
            self.at = match at {
                At::Occupy => At::FirstTest,
                At::FirstTest => At::Switch,
                At::Switch => At::Updates,
                At::Updates => At::Open,
                At::Open => At::Test,
                At::Test | At::End => At::End,
            };
            let task = match at {
                At::Occupy => (!self.has_place).then_some(Task::Occupy),
                At::FirstTest => slots.untested().map(Task::FirstTest),
                At::Switch => Some(Task::Switch),
                At::Updates => self.look(now),
                At::Open => self.open(slots, now),
                At::Test => self.test(now),
                At::End => return None,
            };
            if task.is_some() {
                return task;
            }
        }
    }

    fn look(&mut self, now: Duration) -> Option<Task> {
        let every = self.waits.updates?;
        let due = self.looked.is_none_or(|at| now.saturating_sub(at) >= every);
        due.then(|| {
            self.looked = Some(now);
            Task::LookForUpdates
        })
    }

    /// Slots that cannot be read leave the configured bundle.
    fn open(&mut self, slots: &State, now: Duration) -> Option<Task> {
        let slot = slots.active.filter(|_| !self.slots_fail);
        if self.in_use.as_ref().is_some_and(|in_use| in_use.slot == slot) || self.waits(now) {
            return None;
        }
        (self.in_use, self.passed) = (None, None);
        Some(Task::Open(slot))
    }

    fn test(&self, now: Duration) -> Option<Task> {
        let holds = |at: Duration| now.saturating_sub(at) < self.waits.test_holds;
        let due = self.in_use.is_some() && !self.passed.is_some_and(holds) && !self.waits(now);
        due.then_some(Task::Test)
    }

    fn waits(&self, now: Duration) -> bool {
        self.again.is_some_and(|again| now < again)
    }

    /// Whether the place is taken now. Without it a command installs at this moment: nothing
    /// is changed beside it.
    pub(super) fn occupied(&mut self, has_place: bool) {
        self.has_place = has_place;
        if !has_place {
            self.at = self.at.max(At::Open);
        }
    }

    /// The slots cannot be read or written: this round uses the configured bundle.
    pub(super) fn slots_failed(&mut self) {
        (self.at, self.slots_fail) = (self.at.max(At::Open), true);
    }

    /// Whether they could not in this round.
    pub(super) fn slots_are_unusable(&self) -> bool {
        self.slots_fail
    }

    /// This engine is in use from here on.
    pub(super) fn opened(&mut self, slot: Option<Slot>, engine: EngineId) {
        self.in_use = Some(InUse { slot, engine });
    }

    /// The engine in use has passed its self-test.
    pub(super) fn passed(&mut self, now: Duration) {
        (self.passed, self.again) = (Some(now), None);
    }

    /// The engine before is in use again: it is opened in the next round, and nothing waits.
    pub(super) fn rolled_back(&mut self) {
        (self.in_use, self.passed, self.again) = (None, None, None);
    }

    /// The engine cannot be used, and there is none to go back to: studies wait, and it is
    /// tried again later. True the first time, when it is to be noted.
    pub(super) fn unfit(&mut self, now: Duration) -> bool {
        self.passed = None;
        self.again.replace(now + self.waits.retry).is_none()
    }

    /// The engine in use.
    pub(super) fn engine(&self) -> Option<&EngineId> {
        self.in_use.as_ref().map(|in_use| &in_use.engine)
    }

    /// Where the engine in use lies: a slot, or the configured bundle.
    pub(super) fn slot(&self) -> Option<Option<Slot>> {
        self.in_use.as_ref().map(|in_use| in_use.slot)
    }

    /// True if the next study may begin.
    pub(super) fn is_ready(&self) -> bool {
        self.passed.is_some()
    }
}

/// What the end of a study says of the engine.
pub(super) fn verdict(outcome: &RequestOutcome) -> Verdict {
    match outcome {
        RequestOutcome::Finished(_) => Verdict::Works,
        RequestOutcome::EngineUnusable(fault, _) => Verdict::Unfit(*fault),
        RequestOutcome::Refused(..)
        | RequestOutcome::NotAsAccepted(..)
        | RequestOutcome::Stopped
        | RequestOutcome::Tested(_) => Verdict::Nothing,
        RequestOutcome::Failed(_) => Verdict::Suspect("analysis_failed"),
        RequestOutcome::Died(_) => Verdict::Suspect("worker_died"),
        RequestOutcome::Stalled => Verdict::Suspect("worker_stalled"),
        RequestOutcome::OverMemory => Verdict::Suspect("worker_over_memory"),
        RequestOutcome::TooLong => Verdict::Suspect("deadline_passed"),
    }
}

/// How a self-test ended: a sentence, or what failed and how.
pub(super) fn test_result(outcome: RequestOutcome) -> Result<String, (EngineFault, String)> {
    let crashed = |how: String| Err((EngineFault::SelfTestCrashed, how));
    match outcome {
        RequestOutcome::Tested(words) => Ok(words),
        RequestOutcome::EngineUnusable(fault, reason) => Err((fault, reason)),
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

/// What the status says: it knows two of them.
pub(super) const fn in_status(fault: EngineFault) -> EngineFault {
    match fault {
        EngineFault::SelfTestFailed => EngineFault::SelfTestFailed,
        EngineFault::SelfTestCrashed | EngineFault::EngineUnusable => EngineFault::EngineUnusable,
    }
}

#[cfg(test)]
mod tests;
