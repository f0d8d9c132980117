//! Engines come into a running daemon, prove themselves, or are taken out again: the real
//! daemon, a real broker, the commands a technician types.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::broker::{Broker, Kind, Subscriber};
use crate::daemon::{Heart, House, export, is_state, kill_pid, phantom, wait_until};
use crate::support::hepalert;

/// Keys and packed engines beside a house.
struct Maker {
    folder: tempfile::TempDir,
}

impl Maker {
    fn new() -> Maker {
        let maker = Maker { folder: tempfile::tempdir().unwrap() };
        fs::create_dir(maker.at("keys")).unwrap();
        fs::create_dir(maker.at("stick")).unwrap();
        maker.run(&["keygen", "--no-password", "--out", "maker"]);
        fs::rename(maker.at("maker.pub"), maker.at("keys/maker.pub")).unwrap();
        maker
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, args: &[&str]) {
        let ended =
            hepalert().arg("engine").args(args).current_dir(self.folder.path()).output().unwrap();
        assert!(ended.status.success(), "{ended:?}");
    }

    /// The demo engine as another version, packed.
    fn packed(&self, version: u32) -> PathBuf {
        let source = self.at(&format!("source-{version}"));
        fs::create_dir(&source).unwrap();
        for entry in fs::read_dir(demo()).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), source.join(entry.file_name())).unwrap();
        }
        let manifest = source.join("manifest.json");
        let mut parsed: Value = serde_json::from_slice(&fs::read(&manifest).unwrap()).unwrap();
        parsed["version"] = version.into();
        fs::write(manifest, parsed.to_string()).unwrap();
        let out = format!("v{version}.hepengine");
        self.run(&["pack", source.to_str().unwrap(), "--out", &out]);
        self.at(&out)
    }

    fn signed(&self, version: u32) -> PathBuf {
        let file = self.packed(version);
        self.run(&["sign", file.to_str().unwrap(), "--key", "maker.key"]);
        file
    }

    /// Lines for the section `[engine]`.
    fn config(&self) -> String {
        format!(
            "trusted_keys = {:?}\nupdate_folder = {:?}\nprobation_studies = 1\nprobation_hours = 0\n",
            self.at("keys"),
            self.at("stick")
        )
    }
}

fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("engines/venous-demo")
}

/// Which version of the demo engine the configuration names: what is installed must be newer.
fn shipped_version() -> u32 {
    let manifest = fs::read(demo().join("manifest.json")).unwrap();
    let parsed: Value = serde_json::from_slice(&manifest).unwrap();
    parsed["version"].as_u64().unwrap().try_into().unwrap()
}

fn is_action(topic: &str, message: &Value, action: &str) -> bool {
    topic.ends_with("event/engine") && message["data"]["action"] == action
}

fn engine(house: &House, args: &[&str]) -> Value {
    let mut command = hepalert();
    command.args(["--json", "engine"]).args(args).arg("--config").arg(house.config());
    let ended = command.output().unwrap();
    assert!(ended.status.success(), "{ended:?}");
    serde_json::from_slice(&ended.stdout).unwrap()
}

fn study(house: &House, scratch: &Path, seed: u64) {
    let name = house.export().join(seed.to_string());
    fs::create_dir(&name).unwrap();
    export(&phantom(seed, scratch), &name);
}

#[test]
fn an_installed_engine_is_activated_and_proves_itself() {
    let Some(broker) = Broker::start(&Kind::default()) else { return };
    let subscriber = Subscriber::join(&broker, "dashboard", "hepalert/v1/test/#");
    let maker = Maker::new();
    let house = House::with_engine(broker.port, 3, &maker.config());
    let daemon = house.start();
    let mut heart = Heart::default();
    heart.listen(&subscriber, |topic, message| {
        topic.ends_with("/health") && message["last_self_test"]["passed"] == true
    });

    let newer = shipped_version() + 1;
    fs::copy(maker.packed(newer + 1), maker.at("stick/unsigned.hepengine")).unwrap();
    heart.listen(&subscriber, |topic, message| is_action(topic, message, "refused"));
    assert_eq!(heart.events.last().unwrap().1["data"]["code"], "unsigned");

    let done = engine(&house, &["install", maker.signed(newer).to_str().unwrap()]);
    assert_eq!(done["active"], true);
    heart.listen(&subscriber, |topic, message| is_action(topic, message, "activated"));
    let scratch = tempfile::tempdir().unwrap();
    study(&house, scratch.path(), 7);
    heart.listen(&subscriber, |_, message| is_state(message, "completed"));
    heart.listen(&subscriber, |topic, message| is_action(topic, message, "good"));

    let actions: Vec<Value> =
        heart.of("event/engine").iter().map(|event| event["data"]["action"].clone()).collect();
    assert_eq!(actions, ["refused", "staged", "activated", "good"]);
    let result = &heart.of("event/result")[0];
    assert_eq!(result["data"]["engines"][0]["version"], newer.to_string());
    let listed = engine(&house, &["list"]);
    assert_eq!(listed["a"]["condition"]["is"], "good");
    assert_eq!(listed["a"]["self_test"]["passed"], true);
    daemon.stop();

    // The technician goes back while no daemon runs; the next start tells it.
    assert_eq!(engine(&house, &["rollback"])["active"], Value::Null);
    let daemon = house.start();
    heart.listen(&subscriber, |topic, message| is_action(topic, message, "rolled_back"));
    daemon.stop();
}

#[test]
fn an_engine_that_fails_on_probation_is_rolled_back() {
    let Some(broker) = Broker::start(&Kind::default()) else { return };
    let subscriber = Subscriber::join(&broker, "dashboard", "hepalert/v1/test/#");
    let maker = Maker::new();
    let house = House::with_engine(broker.port, 3, &maker.config());
    let daemon = house.start();
    let shipped = shipped_version().to_string();
    let newer = (shipped_version() + 1).to_string();
    fs::copy(maker.signed(shipped_version() + 1), maker.at("stick/newer.hepengine")).unwrap();
    let mut heart = Heart::default();
    heart.listen(&subscriber, |topic, message| is_action(topic, message, "activated"));
    // Its self-test in use has passed too, so the process has it in memory.
    wait_until(|| house.log().contains("self-test passed").then_some(()));
    let worker = wait_until(|| daemon.worker());

    // The disk forgets a bit, and the process dies: the next one cannot load the engine.
    let network = house.state().join("engines/a/segment.onnx");
    let mut bytes = fs::read(&network).unwrap();
    bytes[5000] ^= 1;
    fs::write(&network, bytes).unwrap();
    kill_pid(worker);
    let scratch = tempfile::tempdir().unwrap();
    study(&house, scratch.path(), 5);
    heart.listen(&subscriber, |topic, message| is_action(topic, message, "rolled_back"));
    let told = &heart.events.last().unwrap().1["data"];
    assert_eq!(
        (told["engine"]["version"].as_str(), told["in_use"]["version"].as_str()),
        (Some(newer.as_str()), Some(shipped.as_str()))
    );
    // The study waits for no technician: the engine before reads it.
    heart.listen(&subscriber, |_, message| is_state(message, "completed"));
    assert_eq!(heart.of("event/result")[0]["data"]["engines"][0]["version"], shipped);
    let degraded = |(topic, message): &(String, Value)| {
        let reasons = message["reasons"].as_array();
        topic.ends_with("/status")
            && message["state"] == "degraded"
            && reasons.is_some_and(|all| all.contains(&Value::from("engine_rolled_back")))
    };
    assert!(heart.events.iter().any(degraded), "{:#?}", heart.events);
    daemon.stop();
}
