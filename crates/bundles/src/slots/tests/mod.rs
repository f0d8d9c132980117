//! The slots by their rules: what is taken, what is refused, what comes after what.

use jiff::civil::date;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::*;
use crate::signature::Trust;
use crate::{MANIFEST, package, signing};
use hepalert_engines::backend::Backend;
use hepalert_study::outcome::EngineAction;
use hepalert_study::phase::Setting;

mod crash;
mod state;

pub(super) const LIMITS: ProbationLimits = ProbationLimits { studies: 2, hours: 1 };

pub(super) fn at(minutes: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + 60 * minutes).unwrap()
}

/// A device with a key, and a maker who packs engines whose networks are a few bytes: whole,
/// signed and of the right classes, but not to be run.
pub(super) struct House {
    folder: tempfile::TempDir,
    secret: String,
}

impl House {
    pub(super) fn new() -> House {
        let folder = tempfile::tempdir().unwrap();
        let keys = signing::keygen(None, "a test").unwrap();
        fs::create_dir(folder.path().join("keys")).unwrap();
        fs::write(folder.path().join("keys/maker.pub"), keys.public).unwrap();
        House { folder, secret: keys.secret }
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn slots(&self) -> Slots {
        Slots::at(self.path().join("slots"))
    }

    /// A signed, packed engine.
    pub(super) fn packed(&self, version: u32, update: Value) -> PathBuf {
        self.packed_as("venous-demo", version, update)
    }

    /// A signed, packed engine of this name.
    fn packed_as(&self, id: &str, version: u32, update: Value) -> PathBuf {
        let source = self.path().join(format!("source-{version}"));
        let _ = fs::remove_dir_all(&source);
        fs::create_dir(&source).unwrap();
        let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../engines/venous-demo");
        let mut manifest: Value =
            serde_json::from_slice(&fs::read(demo.join(MANIFEST)).unwrap()).unwrap();
        manifest["id"] = json!(id);
        manifest["version"] = json!(version);
        manifest["update"] = update;
        for network in ["segment", "reclassify"] {
            let network = &mut manifest["networks"][network];
            let golden = ["input", "expected"].map(|name| network["golden"][name].clone());
            for file in [network["files"][0].clone()].into_iter().chain(golden) {
                let name = file["path"].as_str().unwrap().to_owned();
                let bytes = format!("{name} of version {version}");
                fs::write(source.join(&name), &bytes).unwrap();
                let sha256: String =
                    Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
                let entry = json!({"path": name, "sha256": sha256, "bytes": bytes.len()});
                let text = network.to_string().replace(&file.to_string(), &entry.to_string());
                *network = serde_json::from_str(&text).unwrap();
            }
        }
        fs::write(source.join(MANIFEST), manifest.to_string()).unwrap();
        let out = self.path().join(format!("v{version}.hepengine"));
        package::pack(&source, &out).unwrap();
        signing::sign(&out, &self.secret, None).unwrap();
        out
    }
}

/// What the device asks of an engine; `again` and the rest can be changed.
pub(super) fn with_admission<T>(again: bool, act: impl FnOnce(&Admission<'_>) -> T) -> T {
    let device = Device {
        today: date(2026, 11, 25),
        setting: Some(Setting::Venous),
        backend: Backend::Native,
        backend_version: None,
        memory_budget_bytes: 2 << 30,
    };
    let now = at(0);
    act(&Admission { device: &device, configured: None, again, keep_free_bytes: 0, now })
}

/// Opens a package with the house's keys and stages it.
pub(super) fn stage_at(
    house: &Path,
    file: &Path,
    admission: &Admission<'_>,
) -> Result<Slot, Refusal> {
    let trust = Trust::read(&house.join("keys"), 1).unwrap();
    Slots::at(house.join("slots")).stage(Package::open(file, &trust)?, admission)
}

fn stage(house: &House, file: &Path) -> Result<Slot, Refusal> {
    with_admission(false, |admission| stage_at(house.path(), file, admission))
}

/// Stages, tests and activates; the test is as `works` says.
fn install(house: &House, file: &Path, works: bool) -> Slot {
    let slots = house.slots();
    let slot = stage(house, file).unwrap();
    let outcome = if works {
        Ok("fine".to_owned())
    } else {
        Err((EngineFault::SelfTestFailed, "NaN".to_owned()))
    };
    let _ = slots.self_test(slot, &mut |_| Some(outcome.clone()), &|| at(0)).unwrap();
    slots.fulfil(LIMITS, at(0)).unwrap();
    slot
}

fn sha(state: &State) -> String {
    state.in_use().unwrap().which.sha256.clone()
}

/// Studies finished and hours passed: the engine in use is good.
fn prove_itself(house: &House) {
    let change = |state: &mut State| {
        let sha = sha(state);
        state.finished(&sha, LIMITS, at(30));
        state.finished(&sha, LIMITS, at(61));
    };
    house.slots().change(change).unwrap();
}

fn actions(state: &State) -> Vec<EngineAction> {
    state.notices.iter().map(|notice| notice.action).collect()
}

#[test]
fn an_engine_comes_proves_itself_and_is_good() {
    let house = House::new();
    let slots = house.slots();
    assert_eq!(slots.bundle_in_use(Path::new("configured")).unwrap(), Path::new("configured"));
    let slot = install(&house, &house.packed(1, json!({})), true);
    let state = slots.state().unwrap();
    assert_eq!(state.active, Some(slot));
    assert_eq!(slots.bundle_in_use(Path::new("configured")).unwrap(), slots.dir(slot));
    Bundle::open(&slots.dir(slot)).unwrap();
    let change = |state: &mut State| {
        let sha = sha(state);
        state.finished(&sha, LIMITS, at(30));
        state.finished(&sha, LIMITS, at(40));
    };
    slots.change(change).unwrap();
    let on_probation = |state: &State| {
        matches!(state.in_use().unwrap().condition, Condition::Probation { studies: 2, .. })
    };
    assert!(on_probation(&slots.state().unwrap()), "the hour is not over");
    assert!(slots.change(|state| state.review(LIMITS, at(60))).unwrap());
    let state = slots.state().unwrap();
    assert_eq!(state.in_use().unwrap().condition, Condition::Good);
    assert_eq!(
        actions(&state),
        [EngineAction::Staged, EngineAction::Activated, EngineAction::Good]
    );
}

#[test]
fn a_fault_of_the_engine_brings_the_one_before_back_at_once() {
    let house = House::new();
    let slots = house.slots();
    let first = install(&house, &house.packed(1, json!({})), true);
    prove_itself(&house);
    let second_file = house.packed(2, json!({}));
    let second = install(&house, &second_file, true);
    assert_ne!(first, second);
    let back = |state: &mut State| {
        let sha = sha(state);
        state.fault(&sha, Fault::Engine, "self_test_failed", at(70))
    };
    assert!(slots.change(back).unwrap());
    let state = slots.state().unwrap();
    assert_eq!(state.active, Some(first));
    assert!(state.has_failed());
    let told = state.notices.last().unwrap();
    assert_eq!(told.action, EngineAction::RolledBack);
    assert_eq!(told.which.as_ref().unwrap().version, 2);
    assert_eq!(told.in_use.as_ref().unwrap().version, 1);
    let refused = stage(&house, &second_file).unwrap_err();
    assert!(matches!(refused, Refusal::Objection(Objection::FailedBefore { .. })), "{refused}");
    with_admission(true, |admission| stage_at(house.path(), &second_file, admission)).unwrap();
    assert_eq!(slots.state().unwrap().active, Some(first), "staging touches nothing in use");
}

#[test]
fn one_crash_may_be_the_studys_two_in_a_row_are_the_engines() {
    let house = House::new();
    let slots = house.slots();
    install(&house, &house.packed(1, json!({})), true);
    let crash = |state: &mut State| {
        let sha = sha(state);
        state.fault(&sha, Fault::Process, "worker_died", at(1))
    };
    assert!(!slots.change(crash).unwrap());
    slots.change(|state| state.finished(&sha(state), LIMITS, at(2))).unwrap();
    assert!(!slots.change(crash).unwrap());
    assert!(slots.change(crash).unwrap());
    assert_eq!(slots.state().unwrap().active, None, "the configured bundle is the fallback");
}

#[test]
fn a_fault_of_a_good_engine_or_of_another_changes_nothing() {
    let house = House::new();
    let slots = house.slots();
    install(&house, &house.packed(1, json!({})), true);
    assert!(!slots.change(|state| state.fault("other", Fault::Engine, "x", at(1))).unwrap());
    prove_itself(&house);
    let fault = |state: &mut State| {
        let sha = sha(state);
        state.fault(&sha, Fault::Engine, "x", at(99))
    };
    assert!(!slots.change(fault).unwrap());
}

#[test]
fn an_engine_that_fails_its_first_test_never_comes_into_use() {
    let house = House::new();
    let slots = house.slots();
    let file = house.packed(1, json!({}));
    install(&house, &file, false);
    let state = slots.state().unwrap();
    assert_eq!((state.active, state.a.as_ref(), state.b.as_ref()), (None, None, None));
    assert_eq!(state.notices.last().unwrap().code.as_deref(), Some("self_test_failed"));
    assert!(matches!(
        stage(&house, &file),
        Err(Refusal::Objection(Objection::FailedBefore { .. }))
    ));
}

#[test]
fn older_versions_are_refused_unless_signed_to_go_back() {
    let house = House::new();
    install(&house, &house.packed(5, json!({})), true);
    prove_itself(&house);
    let older = |update| {
        let refused = stage(&house, &house.packed(4, update)).unwrap_err();
        assert_eq!(refused.code(), "older", "{refused}");
    };
    older(json!({}));
    older(json!({"downgrade_from": 4}));
    let again = stage(&house, &house.packed(5, json!({}))).unwrap_err();
    assert_eq!(again.code(), "already_installed");
    let other = stage(&house, &house.packed(5, json!({"memory_mib": 1}))).unwrap_err();
    assert_eq!(other.code(), "older", "a version is given once");
    install(&house, &house.packed(4, json!({"downgrade_from": 5})), true);
    assert_eq!(house.slots().state().unwrap().in_use().unwrap().which.version, 4);
}

#[test]
fn another_name_is_no_way_back() {
    let house = House::new();
    install(&house, &house.packed(6, json!({})), true);
    prove_itself(&house);
    let older = stage(&house, &house.packed_as("other", 1, json!({}))).unwrap_err();
    assert_eq!(older.code(), "older", "{older}");
    // Its maker may sign that it is meant, or count on.
    install(&house, &house.packed_as("other", 1, json!({"downgrade_from": 6})), true);
    prove_itself(&house);
    install(&house, &house.packed_as("third", 7, json!({})), true);
    assert_eq!(house.slots().state().unwrap().in_use().unwrap().which.id, "third");
}

#[test]
fn a_pipe_is_no_engine() {
    let house = House::new();
    let pipe = house.path().join("pipe.hepengine");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    assert_eq!(stage(&house, &pipe).unwrap_err().code(), "malformed");
}

#[test]
fn nothing_is_installed_over_the_way_back() {
    let house = House::new();
    install(&house, &house.packed(1, json!({})), true);
    let refused = stage(&house, &house.packed(2, json!({}))).unwrap_err();
    assert_eq!(refused.code(), "on_probation", "{refused}");
}

#[test]
fn bad_files_leave_the_running_engine_as_it_is() {
    let house = House::new();
    let slots = house.slots();
    install(&house, &house.packed(1, json!({})), true);
    prove_itself(&house);
    let before = fs::read(slots.folder().join(STATE)).unwrap();
    let cut = house.packed(2, json!({}));
    fs::write(&cut, &fs::read(&cut).unwrap()[..4000]).unwrap();
    let swapped = house.packed(3, json!({}));
    let mut bytes = fs::read(&swapped).unwrap();
    let content = b"segment.onnx of version 3";
    let place = bytes.windows(content.len()).position(|window| window == content).unwrap();
    bytes[place] ^= 1;
    fs::write(&swapped, bytes).unwrap();
    let unsigned = house.path().join("unsigned.hepengine");
    package::pack(&house.path().join("source-3"), &unsigned).unwrap();
    let expired = house.packed(6, json!({"expires": "2020-01-01"}));
    let elsewhere = house.packed(7, json!({"backends": ["tensorrt"]}));
    let huge = house.packed(8, json!({"memory_mib": 1_000_000}));
    let missing = house.path().join("missing.hepengine");
    for (file, code) in [
        (&cut, "truncated"),
        (&swapped, "altered_file"),
        (&unsigned, "unsigned"),
        (&expired, "expired"),
        (&elsewhere, "wrong_device"),
        (&huge, "over_budget"),
        (&missing, "unreadable"),
    ] {
        let refused = stage(&house, file).unwrap_err();
        assert_eq!(refused.code(), code, "{refused}");
    }
    assert_eq!(fs::read(slots.folder().join(STATE)).unwrap(), before);
    assert!(!slots.folder().join(INCOMING).exists());
    assert!(!slots.dir(Slot::B).exists());
}

#[test]
fn an_engine_that_does_not_fit_on_the_disk_is_refused() {
    let house = House::new();
    let file = house.packed(1, json!({}));
    let refused = with_admission(false, |admission| {
        let keep_free_bytes = u64::MAX / 2;
        let greedy = Admission { keep_free_bytes, configured: None, ..*admission };
        stage_at(house.path(), &file, &greedy)
    });
    assert_eq!(refused.unwrap_err().code(), "no_space");
}

#[test]
fn only_one_changes_the_engine_in_use() {
    let house = House::new();
    let slots = house.slots();
    let held = slots.occupy().unwrap();
    assert!(held.is_some());
    assert!(slots.occupy().unwrap().is_none());
    drop(held);
    assert!(slots.occupy().unwrap().is_some());
}

#[test]
fn a_state_that_makes_no_sense_is_named() {
    let house = House::new();
    let slots = house.slots();
    slots.change(|state| state.told(1)).unwrap();
    fs::write(slots.folder().join(STATE), "{").unwrap();
    let said = slots.state().unwrap_err().to_string();
    assert!(said.contains(STATE) && said.contains("move it away"), "{said}");
}

#[test]
fn an_interrupted_test_says_nothing_of_the_engine() {
    let house = House::new();
    let slots = house.slots();
    let slot = stage(&house, &house.packed(1, json!({}))).unwrap();
    for _ in 0..9 {
        assert!(slots.self_test(slot, &mut |_| None, &|| at(0)).unwrap().is_none());
    }
    let state = slots.state().unwrap();
    assert_eq!(state.untested(), Some(slot));
    assert!(state.failed.is_empty() && state.notices.is_empty());
    let works = Some(Ok("fine".to_owned()));
    slots.self_test(slot, &mut |_| works.clone(), &|| at(0)).unwrap().unwrap().unwrap();
}

#[test]
fn root_makes_the_folder_for_whom_it_is() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root makes what is another's");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::lchown(folder.path(), Some(64999), Some(64998)).unwrap();
    let slots = Slots::at(folder.path().join("engines"));
    assert!(slots.occupy().unwrap().is_some());
    for made in ["engines", "engines/daemon.lock"] {
        let meta = fs::metadata(folder.path().join(made)).unwrap();
        assert_eq!((meta.uid(), meta.gid()), (64999, 64998), "{made}");
    }
}

#[test]
fn an_engine_that_root_installs_is_the_folders_owners_to_the_last_file() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root makes what is another's");
        return;
    }
    fn all_below(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                all_below(&path, found);
            }
            found.push(path);
        }
    }
    let house = House::new();
    let engine = house.packed(3, json!({}));
    std::os::unix::fs::lchown(house.path(), Some(64999), Some(64998)).unwrap();
    let slot = stage(&house, &engine).unwrap();
    let slots = house.path().join("slots");
    let mut made = vec![slots.clone()];
    all_below(&slots, &mut made);
    assert!(made.contains(&slots.join(slot.name()).join(MANIFEST)) && made.len() > 8, "{made:?}");
    for path in made {
        let meta = fs::symlink_metadata(&path).unwrap();
        assert_eq!((meta.uid(), meta.gid()), (64999, 64998), "{}", path.display());
    }
}
