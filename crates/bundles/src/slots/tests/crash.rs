//! The promise of the slots when the process dies: at every step of an install the engine in
//! use is whole, and the next start goes on from there.
//!
//! `abort` stands in for a power cut: what was written but not synchronised survives it, so
//! these tests show the order of the steps, not the disk's obedience.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use serde_json::json;

use super::{House, stage_at, with_admission};
use crate::slots::*;
use hepalert_study::outcome::EngineAction;

const LIMITS: ProbationLimits = ProbationLimits { studies: 1, hours: 0 };

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

/// What a start does: tidy up, go on with what waits, install the file if it is not there.
fn go_on(house: &Path, file: &str) {
    let slots = Slots::at(house.join("slots"));
    let _place = slots.occupy().unwrap().unwrap();
    slots.tidy().unwrap();
    if slots.state().unwrap().untested().is_none() {
        let staged =
            with_admission(false, |admission| stage_at(house, &house.join(file), admission));
        match staged {
            Ok(_)
            | Err(Refusal::Objection(
                Objection::Installed { .. } | Objection::OnProbation { .. },
            )) => {}
            Err(refused) => panic!("{refused}"),
        }
    }
    if let Some(slot) = slots.state().unwrap().untested() {
        slots
            .self_test(slot, &mut |_| Some(Ok("fine".to_owned())), &now)
            .unwrap()
            .unwrap()
            .unwrap();
    }
    slots.fulfil(LIMITS, now()).unwrap();
}

/// Not a test by itself: the process that dies.
#[test]
#[ignore = "run as a child by the test below"]
fn child_installs() {
    let Ok(house) = std::env::var("HEPALERT_TEST_HOUSE") else { return };
    go_on(Path::new(&house), "v2.hepengine");
}

fn in_a_child(house: &Path, failpoint: &str) -> std::process::ExitStatus {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "slots::tests::crash::child_installs", "--ignored"]);
    child.env("HEPALERT_TEST_HOUSE", house).env("HEPALERT_FAILPOINT", failpoint);
    child.output().unwrap().status
}

/// The engine in use: whole, on the disk.
fn version_in_use(house: &House) -> u32 {
    let folder = house.slots().bundle_in_use(Path::new("nowhere")).unwrap();
    Bundle::open(&folder).unwrap().version()
}

#[test]
fn a_crash_at_any_step_leaves_a_whole_engine_in_use() {
    let failpoints = [
        "unpacked",
        "slot_emptied",
        "slot_removed",
        "slot_filled",
        "slot_recorded",
        "test_begun",
        "test_recorded",
        "activated",
        "state_written",
        "state_renamed",
    ];
    for failpoint in failpoints {
        let house = House::new();
        house.packed(1, json!({}));
        go_on(house.path(), "v1.hepengine");
        let good = |state: &mut State| {
            let sha = state.in_use().unwrap().which.sha256.clone();
            state.finished(&sha, LIMITS, now());
        };
        house.slots().change(good).unwrap();
        house.packed(2, json!({}));
        let ended = in_a_child(house.path(), failpoint);
        assert!(ended.signal().is_some(), "{failpoint}: the child must die, {ended}");

        let version = version_in_use(&house);
        let activated = ["activated"].contains(&failpoint);
        assert_eq!(version, if activated { 2 } else { 1 }, "{failpoint}");
        // The next start goes on, and may die once more at the same step.
        let _ = in_a_child(house.path(), failpoint);
        assert!([1, 2].contains(&version_in_use(&house)), "{failpoint}");
        assert!(in_a_child(house.path(), "none").success(), "{failpoint}");
        assert_eq!(version_in_use(&house), 2, "{failpoint}");
        let state = house.slots().state().unwrap();
        let told = state.notices.iter().filter(|notice| {
            notice.action == EngineAction::Activated && notice.which.as_ref().unwrap().version == 2
        });
        assert_eq!(told.count(), 1, "{failpoint}: activated once");
        let left: Vec<_> = fs::read_dir(house.slots().folder())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name == INCOMING)
            .collect();
        assert!(left.is_empty(), "{failpoint}: {left:?}");
    }
}
