//! Which engine is in use, which one was before, and how far a new one is trusted: the whole
//! state as one document, and the only functions that change it.
//!
//! Pure: knows neither files nor clocks. Every change leaves a [`Notice`]; the daemon tells
//! it to subscribers and to the audit trail and marks it as told, so that a change made while
//! no daemon ran, or just before a power cut, is told too.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::types::{
    Condition, EngineId, Fault, Installed, MAX_FAULTS, MAX_TRIES, Notice, Objection,
    ProbationLimits, Slot, Test, Wanted,
};
use hepalert_study::outcome::EngineAction;

/// The layout this program writes and reads.
pub const FORMAT: u32 = 1;
/// Notices kept; what was told goes first.
const MAX_NOTICES: usize = 32;
/// Engines and files remembered as refused.
const MAX_REMEMBERED: usize = 64;

/// Everything that is known of the slots.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Layout of this document.
    pub format: u32,
    /// The slot in use; nothing means the configured bundle.
    pub active: Option<Slot>,
    /// What is in slot a.
    pub a: Option<Installed>,
    /// What is in slot b.
    pub b: Option<Installed>,
    /// What is to be done between two studies.
    pub wanted: Option<Wanted>,
    /// The newest version of each engine that has proved itself here.
    pub known: BTreeMap<String, u32>,
    /// SHA-256 of engines that failed here.
    pub failed: Vec<String>,
    /// Files of the update folder that were judged.
    pub seen: Vec<String>,
    /// The last changes, oldest first.
    pub notices: Vec<Notice>,
}

impl Default for State {
    fn default() -> State {
        State {
            format: FORMAT,
            active: None,
            a: None,
            b: None,
            wanted: None,
            known: BTreeMap::new(),
            failed: Vec::new(),
            seen: Vec::new(),
            notices: Vec::new(),
        }
    }
}

impl State {
    /// What is in a slot.
    pub fn slot(&self, slot: Slot) -> Option<&Installed> {
        match slot {
            Slot::A => self.a.as_ref(),
            Slot::B => self.b.as_ref(),
        }
    }

    fn slot_mut(&mut self, slot: Slot) -> &mut Option<Installed> {
        match slot {
            Slot::A => &mut self.a,
            Slot::B => &mut self.b,
        }
    }

    /// The engine in use, if it is in a slot.
    pub fn in_use(&self) -> Option<&Installed> {
        self.active.and_then(|slot| self.slot(slot))
    }

    /// True if an engine that failed lies in a slot: until it is replaced, somebody should
    /// look.
    pub fn has_failed(&self) -> bool {
        let bad = |slot: &Slot| {
            self.slot(*slot).is_some_and(|held| matches!(held.condition, Condition::Bad { .. }))
        };
        Slot::ALL.iter().any(bad)
    }

    /// A slot whose engine waits for its self-test.
    pub fn untested(&self) -> Option<Slot> {
        let waits = |slot: &Slot| {
            let held = self.slot(*slot);
            held.is_some_and(|held| matches!(held.condition, Condition::Untested { .. }))
        };
        Slot::ALL.into_iter().find(waits)
    }

    /// Whether this engine may be installed. `running` is the configured bundle's engine
    /// while that is in use; `downgrade_from` is what the engine was signed to go back from.
    ///
    /// # Errors
    /// [`Objection`].
    pub fn admit(
        &self,
        which: &EngineId,
        downgrade_from: Option<u32>,
        running: Option<&EngineId>,
        again: bool,
    ) -> Result<(), Objection> {
        let EngineId { id, version, sha256 } = which.clone();
        let active = self.in_use();
        if let Some(Installed { which, condition: Condition::Probation { .. }, .. }) = active
            && which.sha256 != sha256
        {
            return Err(Objection::OnProbation { id: which.id.clone(), version: which.version });
        }
        let running = active.map(|held| &held.which).or(running);
        let waiting = self.untested().and_then(|slot| self.slot(slot)).map(|held| &held.which);
        if [running, waiting].into_iter().flatten().any(|known| known.sha256 == sha256) {
            return Err(Objection::Installed { id, version });
        }
        if self.failed.contains(&sha256) && !again {
            return Err(Objection::FailedBefore { id, version });
        }
        let known = self.known.get(&id).copied();
        let own = known.max(running.filter(|known| known.id == id).map(|known| known.version));
        // Another name is no way back to what is older than the engine in use.
        let known = own.max(running.map(|known| known.version));
        let held = Slot::ALL.iter().filter_map(|slot| self.slot(*slot));
        let same = held.into_iter().any(|held| held.which.sha256 == sha256);
        match known {
            // The very engine that has proved itself may come back; it is no older one.
            Some(_) if own == Some(version) && same => Ok(()),
            Some(known) if version <= known && downgrade_from.is_none_or(|from| from < known) => {
                Err(Objection::Older { id, found: version, known })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// The slot that the next engine goes into: never the one in use, and the least worth
    /// keeping of the others.
    pub fn free(&self) -> Slot {
        let worth = |slot: &Slot| match self.slot(*slot).map(|held| &held.condition) {
            _ if self.active == Some(*slot) => 9,
            None => 0,
            Some(Condition::Bad { .. }) => 1,
            Some(Condition::Untested { .. }) => 2,
            Some(Condition::Staged) => 3,
            Some(Condition::Good | Condition::Probation { .. }) => 4,
        };
        if worth(&Slot::B) < worth(&Slot::A) { Slot::B } else { Slot::A }
    }

    /// The slot holds nothing any more.
    ///
    /// # Errors
    /// [`Objection::InUse`].
    pub fn empty(&mut self, slot: Slot) -> Result<(), Objection> {
        if self.active == Some(slot) {
            return Err(Objection::InUse(slot.name()));
        }
        *self.slot_mut(slot) = None;
        if self.wanted == Some(Wanted::Activate(Some(slot))) {
            self.wanted = None;
        }
        Ok(())
    }

    /// A whole, signed engine lies in the slot; it is to be tested and used.
    pub fn put(&mut self, slot: Slot, which: EngineId, now: Timestamp) {
        let condition = Condition::Untested { tries: 0 };
        *self.slot_mut(slot) = Some(Installed { which, at: now, condition, self_test: None });
        self.wanted = Some(Wanted::Activate(Some(slot)));
    }

    /// A self-test of the slot begins; false if it was begun too often.
    pub fn try_out(&mut self, slot: Slot) -> bool {
        match self.slot_mut(slot).as_mut().map(|held| &mut held.condition) {
            Some(Condition::Untested { tries }) => {
                *tries += 1;
                *tries <= MAX_TRIES
            }
            Some(_) | None => false,
        }
    }

    /// A self-test that was begun was interrupted by somebody who stops the program.
    pub fn put_off(&mut self, slot: Slot) {
        if let Some(Condition::Untested { tries }) =
            self.slot_mut(slot).as_mut().map(|held| &mut held.condition)
        {
            *tries = tries.saturating_sub(1);
        }
    }

    /// The engine in the slot has passed its self-test.
    pub fn first_test_passed(&mut self, slot: Slot, test: Test) {
        let Some(held) = self.slot_mut(slot) else { return };
        let (at, which) = (test.at, held.which.clone());
        held.condition = Condition::Staged;
        held.self_test = Some(test);
        self.failed.retain(|failed| *failed != which.sha256);
        self.note(at, EngineAction::Staged, Some(which), None);
    }

    /// The engine in the slot has failed its first self-test: it goes.
    pub fn first_test_failed(&mut self, slot: Slot, code: &str, now: Timestamp) {
        let Some(held) = self.slot_mut(slot).take() else { return };
        if self.wanted == Some(Wanted::Activate(Some(slot))) {
            self.wanted = None;
        }
        remember(&mut self.failed, held.which.sha256.clone());
        self.refused(Some(held.which), code, now);
    }

    /// An engine was not taken.
    pub fn refused(&mut self, which: Option<EngineId>, code: &str, now: Timestamp) {
        self.note(now, EngineAction::Refused, which, Some(code));
    }

    /// Does what is wanted, as soon as that is possible. True if the engine in use changed.
    pub fn fulfil(&mut self, limits: ProbationLimits, now: Timestamp) -> bool {
        let before = self.active;
        let done = match self.wanted {
            None => return false,
            Some(Wanted::Activate(Some(slot))) if self.untested() == Some(slot) => return false,
            Some(Wanted::Activate(target)) => self.activate(target, limits, now),
            Some(Wanted::RollBack) => self.roll_back("by_hand", now),
        };
        // A wish that cannot be granted must not be tried for ever.
        self.wanted = None;
        done.is_ok() && self.active != before
    }

    /// Somebody wants another engine; it is used between two studies, see [`State::fulfil`].
    ///
    /// # Errors
    /// [`Objection`] if that is not possible as things stand.
    pub fn want(&mut self, wanted: Wanted) -> Result<(), Objection> {
        match wanted {
            Wanted::Activate(target) => self.may_activate(target)?,
            Wanted::RollBack if self.active.is_none() => return Err(Objection::NothingBefore),
            Wanted::RollBack => {}
        }
        self.wanted = Some(wanted);
        Ok(())
    }

    /// Whether a slot can be used.
    ///
    /// # Errors
    /// [`Objection`] says why not.
    pub fn may_activate(&self, target: Option<Slot>) -> Result<(), Objection> {
        if let Some(Installed { which, condition: Condition::Probation { .. }, .. }) = self.in_use()
            && self.active != target
        {
            return Err(Objection::OnProbation { id: which.id.clone(), version: which.version });
        }
        let Some(slot) = target else { return Ok(()) };
        match self.slot(slot).map(|held| &held.condition) {
            None => Err(Objection::Empty(slot.name())),
            Some(Condition::Untested { .. }) => Err(Objection::NotTested(slot.name())),
            Some(_) => Ok(()),
        }
    }

    /// Uses a slot, or the configured bundle. One that has not proved itself is on probation.
    ///
    /// # Errors
    /// As [`State::may_activate`].
    pub fn activate(
        &mut self,
        target: Option<Slot>,
        limits: ProbationLimits,
        now: Timestamp,
    ) -> Result<(), Objection> {
        self.may_activate(target)?;
        if target == self.active {
            return Ok(());
        }
        let before = self.active;
        self.active = target;
        let mut which = None;
        if let Some(held) = target.and_then(|slot| self.slot_mut(slot).as_mut()) {
            if held.condition != Condition::Good {
                held.condition = Condition::Probation { since: now, studies: 0, faults: 0, before };
            }
            which = Some(held.which.clone());
        }
        self.note(now, EngineAction::Activated, which, None);
        self.review(limits, now);
        Ok(())
    }

    /// The engine with this fingerprint has finished a study.
    pub fn finished(&mut self, sha256: &str, limits: ProbationLimits, now: Timestamp) {
        if let Some(Condition::Probation { studies, faults, .. }) = self.watched(sha256) {
            *studies = studies.saturating_add(1);
            *faults = 0;
        }
        self.review(limits, now);
    }

    /// Ends the probation if it has lasted long enough. True if something changed.
    pub fn review(&mut self, limits: ProbationLimits, now: Timestamp) -> bool {
        let Some(slot) = self.active else { return false };
        let Some(held) = self.slot_mut(slot) else { return false };
        let Condition::Probation { since, studies, faults: 0, .. } = held.condition else {
            return false;
        };
        // A clock that was set back makes it last longer, never shorter.
        let hours = now.duration_since(since).as_hours();
        if studies < limits.studies || hours < i64::from(limits.hours) {
            return false;
        }
        held.condition = Condition::Good;
        let which = held.which.clone();
        let known = self.known.entry(which.id.clone()).or_insert(0);
        // One that was signed to go back makes itself the newest known.
        *known = which.version;
        self.note(now, EngineAction::Good, Some(which), None);
        true
    }

    /// Something went wrong while the engine with this fingerprint was in use. True if the
    /// one before is in use again.
    pub fn fault(&mut self, sha256: &str, fault: Fault, code: &str, now: Timestamp) -> bool {
        let Some(Condition::Probation { faults, .. }) = self.watched(sha256) else {
            return false;
        };
        *faults += 1;
        let enough = match fault {
            Fault::Engine => true,
            Fault::Process => *faults >= MAX_FAULTS,
        };
        enough && self.roll_back(code, now).is_ok()
    }

    fn watched(&mut self, sha256: &str) -> Option<&mut Condition> {
        let held = self.active.and_then(|slot| self.slot_mut(slot).as_mut())?;
        let watched = matches!(held.condition, Condition::Probation { .. });
        (watched && held.which.sha256 == sha256).then_some(&mut held.condition)
    }

    /// A self-test of the engine in use has ended.
    pub fn tested(&mut self, sha256: &str, test: Test) {
        let Some(held) = self.active.and_then(|slot| self.slot_mut(slot).as_mut()) else { return };
        if held.which.sha256 == sha256 {
            held.self_test = Some(test);
        }
    }

    /// The engine in use, whose probation is over, fails its self-test.
    pub fn failing(&mut self, which: EngineId, code: &str, now: Timestamp) {
        self.note(now, EngineAction::Failed, Some(which), Some(code));
    }

    /// Uses what was in use before: what the probation remembers, or a good engine in the
    /// other slot, or the configured bundle. The one in use counts as bad from now on.
    ///
    /// # Errors
    /// [`Objection::NothingBefore`] if the configured bundle is in use.
    pub fn roll_back(&mut self, code: &str, now: Timestamp) -> Result<(), Objection> {
        let slot = self.active.ok_or(Objection::NothingBefore)?;
        let other = if slot == Slot::A { Slot::B } else { Slot::A };
        let other_good = self.slot(other).is_some_and(|held| held.condition == Condition::Good);
        let held = self.slot_mut(slot).as_mut().ok_or(Objection::NothingBefore)?;
        let before = match held.condition {
            Condition::Probation { before, .. } => before,
            _ => other_good.then_some(other),
        };
        held.condition = Condition::Bad { code: code.to_owned() };
        let which = held.which.clone();
        remember(&mut self.failed, which.sha256.clone());
        self.active = before.filter(|before| self.slot(*before).is_some());
        self.note(now, EngineAction::RolledBack, Some(which), Some(code));
        Ok(())
    }

    /// A file of the update folder was judged; true if it was judged before.
    pub fn see(&mut self, file: String) -> bool {
        let known = self.seen.contains(&file);
        if !known {
            remember(&mut self.seen, file);
        }
        known
    }

    /// The first `count` notices that were not told are told now.
    pub fn told(&mut self, count: usize) {
        self.notices.iter_mut().filter(|n| !n.told).take(count).for_each(|n| n.told = true);
    }

    fn note(
        &mut self,
        at: Timestamp,
        action: EngineAction,
        which: Option<EngineId>,
        code: Option<&str>,
    ) {
        let in_use = self.in_use().map(|held| held.which.clone());
        let code = code.map(str::to_owned);
        self.notices.push(Notice { at, action, which, in_use, code, told: false });
        while self.notices.len() > MAX_NOTICES {
            let oldest = self.notices.iter().position(|notice| notice.told).unwrap_or(0);
            self.notices.remove(oldest);
        }
    }
}

fn remember(list: &mut Vec<String>, item: String) {
    list.retain(|known| *known != item);
    list.push(item);
    let surplus = list.len().saturating_sub(MAX_REMEMBERED);
    list.drain(..surplus);
}
