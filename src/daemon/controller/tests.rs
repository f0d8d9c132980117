//! The engine controller by itself: no file, no process, no clock.

use jiff::Timestamp;

use super::*;

const WAITS: Waits = Waits {
    test_holds: Duration::from_secs(24 * 3600),
    retry: Duration::from_secs(30),
    updates: Some(Duration::from_secs(10)),
};

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn engine(name: &str) -> EngineId {
    EngineId { id: name.to_owned(), version: 1, sha256: name.to_owned() }
}

fn with_new_engine(slot: Slot) -> State {
    let mut state = State::default();
    state.put(slot, engine("new"), Timestamp::UNIX_EPOCH);
    state
}

/// A controller and what it is told; tasks are answered as a healthy device would.
struct Play {
    controller: EngineController,
    slots: State,
    works: bool,
}

impl Play {
    fn new(slots: State) -> Play {
        Play { controller: EngineController::new(WAITS), slots, works: true }
    }

    /// A whole round at this second.
    fn round(&mut self, second: u64) -> Vec<Task> {
        self.controller.begin_round();
        let mut tasks = Vec::new();
        while let Some(task) = self.controller.next(&self.slots, s(second)) {
            tasks.push(task);
            self.answer(task, s(second));
        }
        tasks
    }

    fn answer(&mut self, task: Task, now: Duration) {
        match task {
            Task::Occupy => self.controller.occupied(true),
            Task::Open(slot) => self.controller.opened(slot, engine("x")),
            Task::Test if self.works => self.controller.passed(now),
            Task::Test => {
                self.controller.unfit(now);
            }
            Task::FirstTest(_) | Task::Switch | Task::LookForUpdates => {}
        }
    }
}

#[test]
fn the_first_round_opens_and_tests_and_later_ones_only_look() {
    let mut play = Play::new(State::default());
    assert!(!play.controller.is_ready());
    let first = [Task::Occupy, Task::Switch, Task::LookForUpdates, Task::Open(None), Task::Test];
    assert_eq!(play.round(0), first);
    assert!(play.controller.is_ready());
    assert_eq!(play.controller.slot(), Some(None));
    assert_eq!(play.round(1), [Task::Switch]);
    assert_eq!(play.round(10), [Task::Switch, Task::LookForUpdates]);
    assert_eq!(play.round(24 * 3600 - 1), [Task::Switch, Task::LookForUpdates]);
    assert_eq!(play.round(24 * 3600), [Task::Switch, Task::Test], "a test holds for a day");
}

#[test]
fn a_new_engine_is_tested_before_it_is_switched_to() {
    let mut play = Play::new(State::default());
    play.round(0);
    play.slots = with_new_engine(Slot::A);
    assert_eq!(play.round(1), [Task::FirstTest(Slot::A), Task::Switch]);
    // The switch made it the active one; what it was tested for holds for the slot alone.
    play.slots = State { active: Some(Slot::A), ..State::default() };
    assert_eq!(play.round(2), [Task::Switch, Task::Open(Some(Slot::A)), Task::Test]);
    assert_eq!(play.controller.slot(), Some(Some(Slot::A)));
}

#[test]
fn a_first_test_that_is_put_off_does_not_hold_the_round_for_ever() {
    let mut play = Play::new(with_new_engine(Slot::B));
    let tasks = play.round(0);
    assert_eq!(tasks.iter().filter(|task| **task == Task::FirstTest(Slot::B)).count(), 1);
    assert_eq!(tasks.last(), Some(&Task::Test));
}

#[test]
fn beside_a_command_nothing_is_changed_but_studies_go_on() {
    let mut controller = EngineController::new(WAITS);
    let slots = State { active: Some(Slot::B), ..with_new_engine(Slot::A) };
    controller.begin_round();
    assert_eq!(controller.next(&slots, s(0)), Some(Task::Occupy));
    controller.occupied(false);
    assert_eq!(controller.next(&slots, s(0)), Some(Task::Open(Some(Slot::B))));
    controller.opened(Some(Slot::B), engine("x"));
    assert_eq!(controller.next(&slots, s(0)), Some(Task::Test));
    controller.passed(s(1));
    assert_eq!(controller.next(&slots, s(1)), None);
    assert!(controller.is_ready());
    controller.begin_round();
    assert_eq!(controller.next(&slots, s(2)), Some(Task::Occupy), "the place is asked for again");
}

#[test]
fn slots_that_fail_leave_the_configured_bundle_until_they_work() {
    let mut play = Play::new(State { active: Some(Slot::A), ..State::default() });
    play.controller.begin_round();
    assert_eq!(play.controller.next(&play.slots, s(0)), Some(Task::Occupy));
    play.controller.slots_failed();
    assert_eq!(play.controller.next(&play.slots, s(0)), Some(Task::Open(None)));
    play.controller.opened(None, engine("configured"));
    assert_eq!(play.controller.next(&play.slots, s(0)), Some(Task::Test));
    play.controller.passed(s(0));
    assert_eq!(play.controller.next(&play.slots, s(0)), None);
    assert!(play.round(1).contains(&Task::Open(Some(Slot::A))));
    // Too late to matter: what failed after the engine was opened does not open another.
    play.controller.slots_failed();
    assert_eq!(play.controller.next(&play.slots, s(1)), None);
}

#[test]
fn an_engine_that_fails_holds_the_queue_and_is_tried_again_later() {
    let mut play = Play::new(State::default());
    play.works = false;
    assert_eq!(play.round(0).last(), Some(&Task::Test));
    assert!(!play.controller.is_ready());
    assert!(!play.round(29).contains(&Task::Test));
    assert!(play.round(30).contains(&Task::Test));
    play.works = true;
    assert!(play.round(60).contains(&Task::Test));
    assert!(play.controller.is_ready());
}

#[test]
fn a_failure_is_noted_once_until_the_engine_works_again() {
    let mut play = Play::new(State::default());
    play.round(0);
    assert!(play.controller.unfit(s(1)));
    assert!(!play.controller.is_ready());
    assert!(!play.controller.unfit(s(40)), "it was noted");
    play.controller.passed(s(80));
    assert!(play.controller.unfit(s(90)));
}

#[test]
fn after_a_roll_back_the_engine_before_is_opened_at_once() {
    let mut play = Play::new(State { active: Some(Slot::A), ..State::default() });
    play.round(0);
    play.controller.unfit(s(1));
    play.controller.rolled_back();
    play.slots = State::default();
    assert_eq!(play.round(2), [Task::Switch, Task::Open(None), Task::Test]);
    assert!(play.controller.is_ready());
}

#[test]
fn a_bundle_that_cannot_be_opened_is_not_tested_and_waits() {
    let mut controller = EngineController::new(Waits { updates: None, ..WAITS });
    let slots = State::default();
    controller.begin_round();
    controller.next(&slots, s(0));
    controller.occupied(true);
    assert_eq!(controller.next(&slots, s(0)), Some(Task::Switch));
    assert_eq!(controller.next(&slots, s(0)), Some(Task::Open(None)));
    controller.unfit(s(0));
    assert_eq!(controller.next(&slots, s(0)), None);
    controller.begin_round();
    assert_eq!(controller.next(&slots, s(29)), Some(Task::Switch));
    assert_eq!(controller.next(&slots, s(29)), None);
    controller.begin_round();
    controller.next(&slots, s(30));
    assert_eq!(controller.next(&slots, s(30)), Some(Task::Open(None)));
}

#[test]
fn only_faults_of_the_process_are_held_against_the_engine() {
    let words = || "words".to_owned();
    let unusable = |fault| RequestOutcome::EngineUnusable(fault, words());
    let cases = [
        (RequestOutcome::Finished("report".into()), Verdict::Works),
        (RequestOutcome::Refused(words(), words()), Verdict::Nothing),
        (RequestOutcome::NotAsAccepted(words(), words()), Verdict::Nothing),
        (RequestOutcome::Stopped, Verdict::Nothing),
        (unusable(EngineFault::SelfTestFailed), Verdict::Unfit(EngineFault::SelfTestFailed)),
        (unusable(EngineFault::EngineUnusable), Verdict::Unfit(EngineFault::EngineUnusable)),
        (RequestOutcome::Died(words()), Verdict::Suspect("worker_died")),
        (RequestOutcome::OverMemory, Verdict::Suspect("worker_over_memory")),
    ];
    for (outcome, expected) in cases {
        assert_eq!(verdict(&outcome), expected, "{outcome:?}");
    }
    assert_eq!(test_result(RequestOutcome::Tested(words())), Ok(words()));
    assert_eq!(test_result(RequestOutcome::Stalled).unwrap_err().0, EngineFault::SelfTestCrashed);
    let fault = EngineFault::EngineUnusable;
    assert_eq!(test_result(unusable(fault)).unwrap_err().0, fault);
}
