//! `doctor` as a technician runs it: on a whole setup and on broken ones, with a real broker.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::broker::{Broker, Kind, free_port, password};
use crate::support::hepalert;

/// A device's folders and configuration, whole until a test breaks them.
struct Setup {
    folder: tempfile::TempDir,
    port: u16,
    user: &'static str,
}

impl Setup {
    fn new(port: u16, user: &'static str) -> Setup {
        let setup = Setup { folder: tempfile::tempdir().unwrap(), port, user };
        for name in ["export", "state", "bundle"] {
            fs::create_dir(setup.at(name)).unwrap();
        }
        let bundle = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/reclassify/bundle");
        for entry in fs::read_dir(bundle).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), setup.at("bundle").join(entry.file_name())).unwrap();
        }
        fs::write(setup.at("password"), password(user)).unwrap();
        setup.configure("");
        setup
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn configure(&self, more: &str) {
        let at = |name: &str| self.at(name);
        let text = format!(
            "[device]\nname = \"test\"\nsite_key_file = {:?}\n[intake]\nfolder = {:?}\n\
             [engine]\nbundle = {:?}\nmemory_budget_mib = 64\n\
             [store]\nfolder = {:?}\nmin_free_mib = 1\n\
             [mqtt]\nport = {}\nusername = {:?}\npassword_file = {:?}\n{more}",
            at("state/site.key"),
            at("export"),
            at("bundle"),
            at("state"),
            self.port,
            self.user,
            at("password"),
        );
        fs::write(at("hepalert.toml"), text).unwrap();
    }

    /// The exit code and the findings.
    fn doctor(&self) -> (i32, Value) {
        let mut command = hepalert();
        let told = command.args(["--json", "doctor", "--config"]).arg(self.at("hepalert.toml"));
        let told = told.output().unwrap();
        (told.status.code().unwrap(), serde_json::from_slice(&told.stdout).unwrap())
    }

    /// Doctor must fail with this code, and this check must say so in these words.
    fn fails(&self, exit: i32, name: &str, words: &str) {
        let (code, report) = self.doctor();
        assert_eq!(code, exit, "{report:#}");
        let found = check(&report, name);
        assert_eq!(found["level"], "fail", "{report:#}");
        let finding = found["finding"].as_str().unwrap();
        assert!(finding.contains(words), "{words:?} is not in {finding:?}");
        assert!(found["advice"].is_string());
    }
}

fn check<'a>(report: &'a Value, name: &str) -> &'a Value {
    let checks = report["checks"].as_array().unwrap();
    checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("{report:#}"))
}

#[test]
fn doctor_finds_what_is_wrong_with_the_line_and_the_files() {
    let kind = Kind { users: &["ct-1"], ..Kind::default() };
    let Some(mut broker) = Broker::start(&kind) else { return };
    let setup = Setup::new(broker.port, "ct-1");
    let (code, report) = setup.doctor();
    assert_eq!(code, 0, "{report:#}");
    assert_eq!(report["failures"], 0);
    let engine = check(&report, "engine")["finding"].as_str().unwrap();
    assert!(engine.contains("golden patches right"), "{engine}");
    let left: Vec<_> = fs::read_dir(setup.at("state")).unwrap().collect();
    assert!(left.is_empty(), "doctor leaves nothing behind: {left:?}");

    fs::write(setup.at("password"), "wrong").unwrap();
    setup.fails(5, "broker", "NotAuthorized");
    fs::remove_file(setup.at("password")).unwrap();
    setup.fails(5, "broker", "mqtt.password_file cannot be read");
    fs::write(setup.at("password"), password("ct-1")).unwrap();

    fs::write(setup.at("bundle/segment.onnx"), "short").unwrap();
    setup.fails(4, "engine", "segment.onnx");
    fs::remove_dir(setup.at("export")).unwrap();
    setup.fails(1, "export_folder", "no such folder");
    broker.kill();
    setup.fails(1, "broker", "refused");
}

#[test]
fn doctor_says_when_the_other_side_speaks_no_tls() {
    let Some(broker) = Broker::start(&Kind::default()) else { return };
    let setup = Setup::new(broker.port, "ct-1");
    setup.configure(&format!("tls = true\nca_file = {:?}\n", setup.at("ca.pem")));
    setup.fails(5, "broker", "mqtt.ca_file cannot be read");
    let made = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ed25519", "-nodes", "-days", "2", "-subj", "/CN=ca"])
        .arg("-keyout")
        .arg(setup.at("ca.key"))
        .arg("-out")
        .arg(setup.at("ca.pem"))
        .output();
    if !made.is_ok_and(|made| made.status.success()) {
        println!("skipped: openssl is not installed");
        return;
    }
    let (code, report) = setup.doctor();
    assert_eq!((code, &check(&report, "broker")["level"]), (5, &Value::from("fail")));
}

#[test]
fn doctor_names_a_misspelt_key_and_goes_on_with_the_machine() {
    let setup = Setup::new(free_port(), "ct-1");
    fs::create_dir(setup.at("conf.d")).unwrap();
    fs::write(setup.at("conf.d/site.toml"), "[intake]\nfoldr = \"/x\"\n").unwrap();
    setup.fails(6, "configuration", "foldr");
    let (_, report) = setup.doctor();
    assert!(check(&report, "clock")["finding"].is_string());
    let mut command = hepalert();
    let told = command.arg("doctor").arg("--config").arg(setup.at("none.toml")).output().unwrap();
    assert_eq!(told.status.code(), Some(6));
    let said = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(said.starts_with("FAIL  configuration: "), "{said}");
}

#[test]
fn a_support_bundle_holds_no_secret() {
    let setup = Setup::new(free_port(), "secret-user");
    fs::write(setup.at("state/site.key"), "5ec7e7".repeat(11)).unwrap();
    let archive = setup.at("support.tar.gz");
    let mut command = hepalert();
    command.arg("support-bundle").arg("--config").arg(setup.at("hepalert.toml"));
    let made = command.arg("--out").arg(&archive).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let listed = std::process::Command::new("tar").arg("-tzf").arg(&archive).output().unwrap();
    let names = String::from_utf8(listed.stdout).unwrap();
    for name in ["versions.json", "configuration.toml", "doctor.json", "journal.txt"] {
        assert!(names.contains(&format!("hepalert-support/{name}")), "{names}");
    }
    let whole = std::process::Command::new("tar").arg("-xzOf").arg(&archive).output().unwrap();
    let text = String::from_utf8(whole.stdout).unwrap();
    assert!(text.contains("min_free_mib") && text.contains("export_folder"), "{text}");
    for secret in ["secret-user", &password("secret-user"), "5ec7e7"] {
        assert!(!text.contains(secret), "{secret} is in the bundle");
    }
}
