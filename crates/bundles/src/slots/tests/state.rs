//! The state alone, without files: what may follow what, and what is always so.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use proptest::prelude::*;

use super::{LIMITS, at};
use crate::slots::*;

#[test]
fn a_test_that_never_ends_is_given_up() {
    let mut state = State::default();
    let which = EngineId { id: "x".to_owned(), version: 1, sha256: "s".to_owned() };
    state.put(Slot::A, which, at(0));
    let tries = (0..9).take_while(|_| state.try_out(Slot::A)).count();
    assert_eq!(tries as u32, MAX_TRIES);
}

/// Anything that can happen to the slots.
#[derive(Debug, Clone, Copy)]
enum Step {
    Put(u32),
    Test(bool),
    Fulfil,
    Want(Option<Slot>),
    RollBack,
    Finish,
    Fault(bool),
    Hours(i64),
    Discard(Slot),
}

fn step() -> impl Strategy<Value = Step> {
    let slot = || prop::sample::select(Slot::ALL.to_vec());
    prop_oneof![
        4 => (1..9_u32).prop_map(Step::Put),
        4 => any::<bool>().prop_map(Step::Test),
        4 => Just(Step::Fulfil),
        1 => prop::option::of(slot()).prop_map(Step::Want),
        1 => Just(Step::RollBack),
        4 => Just(Step::Finish),
        2 => any::<bool>().prop_map(Step::Fault),
        2 => (0..3_i64).prop_map(Step::Hours),
        1 => slot().prop_map(Step::Discard),
    ]
}

fn play(state: &mut State, step: Step, now: &mut Timestamp) {
    match step {
        Step::Put(version) => {
            let which = EngineId { id: "e".to_owned(), version, sha256: version.to_string() };
            if state.admit(&which, None, None, false).is_ok() {
                let slot = state.free();
                state.empty(slot).unwrap();
                state.put(slot, which, *now);
            }
        }
        Step::Test(passes) => {
            let Some(slot) = state.untested() else { return };
            let words = String::new();
            match state.try_out(slot) && passes {
                true => state.first_test_passed(slot, Test { at: *now, passed: true, words }),
                false => state.first_test_failed(slot, "x", *now),
            }
        }
        Step::Fulfil => drop(state.fulfil(LIMITS, *now)),
        Step::Want(target) => state.wanted = Some(Wanted::Activate(target)),
        Step::RollBack => state.wanted = Some(Wanted::RollBack),
        Step::Finish | Step::Fault(_) => {
            let Some(sha) = state.in_use().map(|held| held.which.sha256.clone()) else { return };
            match step {
                Step::Fault(true) => drop(state.fault(&sha, Fault::Engine, "x", *now)),
                Step::Fault(false) => drop(state.fault(&sha, Fault::Process, "x", *now)),
                _ => state.finished(&sha, LIMITS, *now),
            }
        }
        Step::Hours(hours) => {
            *now = now.checked_add(SignedDuration::from_hours(hours)).unwrap();
            state.review(LIMITS, *now);
        }
        Step::Discard(slot) => drop(state.empty(slot)),
    }
}

proptest! {
    /// Whatever happens in whatever order: what is in use is there, has passed a self-test
    /// and has not failed; while it is on probation the way back stays open; the document
    /// survives being written and read.
    #[test]
    fn what_is_in_use_is_always_fit(steps in prop::collection::vec(step(), 0..60)) {
        let mut state = State::default();
        let mut now = at(0);
        let mut passed = BTreeSet::new();
        for step in steps {
            play(&mut state, step, &mut now);
            for slot in Slot::ALL {
                let staged = state.slot(slot).filter(|held| held.condition == Condition::Staged);
                passed.extend(staged.map(|held| held.which.sha256.clone()));
            }
            if let Some(slot) = state.active {
                let held = state.slot(slot);
                prop_assert!(held.is_some(), "{step:?}: an empty slot is in use");
                let held = held.unwrap();
                prop_assert!(passed.contains(&held.which.sha256), "{step:?}");
                let fit = matches!(held.condition, Condition::Probation { .. } | Condition::Good);
                prop_assert!(fit, "{step:?}: {held:?}");
                if let Condition::Probation { before: Some(before), .. } = held.condition {
                    prop_assert!(before != slot);
                }
            }
            prop_assert!(state.notices.len() <= 32);
            let text = serde_json::to_string(&state).unwrap();
            prop_assert_eq!(&serde_json::from_str::<State>(&text).unwrap(), &state);
        }
    }
}
