//! Every judgement with a broken setup, and the technician's guide held to their words.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::broker::BrokerFacts;
use super::engine::{BackendFacts, EngineFacts};
use super::filesystem::{AccountFacts, DiskFacts};
use super::finding::Level;
use super::machine::{ClockFacts, DaemonFacts, HeatFacts, ServiceFacts};
use super::*;
use crate::intake::{Degraded, FileSystem};
use crate::publish::mqtt::ProbeError;
use places::export;

use hepalert_engines::EngineError;
use hepalert_engines::backend::{Backend, Precision, Presence};

mod places;

pub(super) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A machine of files and answers.
pub(super) fn machine(
    files: &[(&str, &str)],
    answers: &[(&str, &str)],
) -> (tempfile::TempDir, Machine) {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let file = root.path().join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }
    let answers: BTreeMap<String, String> =
        answers.iter().map(|(ask, say)| ((*ask).to_owned(), (*say).to_owned())).collect();
    let ask = move |program: &str, _: &[&str]| answers.get(program).cloned();
    let machine = Machine::other(root.path(), Box::new(ask));
    (root, machine)
}

pub(super) fn level(finding: &Finding, wanted: Level, part: &str) {
    assert_eq!(finding.level, wanted, "{finding:?}");
    assert!(finding.text().contains(part), "{part:?} is not in {finding:?}");
    assert!(wanted == Level::Ok || finding.advice.is_some(), "{finding:?} says not what to do");
}

fn broker(answer: Result<(), ProbeError>) -> Finding {
    let at = "10.0.0.5:8883".to_owned();
    broker::broker(&BrokerFacts { at, tls: true, remote: true, exposed: Vec::new(), answer })
}

#[test]
fn each_way_a_broker_can_say_no_has_its_own_advice() {
    let words = || "words".to_owned();
    let said = [
        ProbeError::Setup(words()),
        ProbeError::Network(words()),
        ProbeError::Silent(5),
        ProbeError::Tls(words()),
        ProbeError::Credentials(words()),
        ProbeError::Protocol(words()),
    ];
    let advice = said.map(|why| {
        let finding = broker(Err(why));
        assert_eq!((finding.level, finding.exit), (Level::Fail, Exit::Broker));
        finding.advice.unwrap()
    });
    assert_eq!(advice.iter().collect::<std::collections::BTreeSet<_>>().len(), advice.len());
    level(&broker(Ok(())), Level::Ok, "takes the connection");
    let exposed = Vec::new();
    let open = BrokerFacts { at: words(), tls: false, remote: true, exposed, answer: Ok(()) };
    level(&broker::broker(&open), Level::Warn, "unencrypted");
}

#[test]
fn a_password_that_others_may_know_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("password");
    fs::write(&file, "x").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let mut config = Config::default();
    config.mqtt.host = "broker.hospital".to_owned();
    config.mqtt.password_file = Some(file);
    let mut facts = BrokerFacts {
        at: "broker.hospital:1883".to_owned(),
        tls: false,
        remote: config.mqtt.is_remote(),
        exposed: crate::daemon::exposed(&config),
        answer: Ok(()),
    };
    level(&broker::broker(&facts), Level::Warn, "in plain text");
    level(&broker::broker(&facts), Level::Warn, "every user of this machine");
    facts.answer = Err(ProbeError::Silent(5));
    level(&broker::broker(&facts), Level::Fail, "5 s");
}

#[test]
fn the_clock_is_asked_and_doubted() {
    let made = Some("2026-02-01".parse().unwrap());
    let judged = |now: &str, said: &[(&str, &str)]| {
        let (_root, machine) = machine(&[], said);
        machine::clock(&machine::look_at_clock(&machine, at(now), made))
    };
    let synchronised = [("timedatectl", "yes\n")];
    level(&judged("2026-03-01T10:00:00Z", &synchronised), Level::Ok, "synchronised");
    level(&judged("2026-03-01T10:00:00Z", &[("timedatectl", "no\n")]), Level::Warn, "is not");
    level(&judged("2026-03-01T10:00:00Z", &[]), Level::Warn, "cannot be told");
    level(&judged("2000-01-01T00:00:00Z", &synchronised), Level::Fail, "before the engine");
}

#[test]
fn memory_must_hold_a_study() {
    let meminfo = "MemTotal:        7820000 kB\nMemFree: 1 kB\nMemAvailable:    4096000 kB\n";
    let (_root, machine) = machine(&[("proc/meminfo", meminfo)], &[]);
    let judged = |budget| machine::memory(machine::look_at_memory(&machine, budget).as_ref());
    level(&judged(2048), Level::Ok, "4000 MiB of 7636 MiB");
    level(&judged(6000), Level::Warn, "6000");
    level(&judged(8000), Level::Fail, "8000");
    level(&machine::memory(None), Level::Ok, "does not tell");
}

#[test]
fn a_hot_jetson_and_its_power_mode_are_seen() {
    let zone = |temp| {
        let at = |file: &'static str| format!("sys/class/thermal/thermal_zone0/{file}");
        let files = [
            ("etc/nv_tegra_release".to_owned(), "# R36\n"),
            (at("type"), "gpu-thermal\n"),
            (at("temp"), temp),
            (at("trip_point_0_type"), "passive\n"),
            (at("trip_point_0_temp"), "99000\n"),
        ];
        let files: Vec<(&str, &str)> =
            files.iter().map(|(path, text)| (path.as_str(), *text)).collect();
        let (root, machine) = machine(&files, &[("nvpmodel", "NV Power Mode: 15W\n2\n")]);
        let facts = machine::look_at_heat(&machine);
        drop(root);
        machine::heat(&facts)
    };
    level(&zone("52000\n"), Level::Ok, "52 C and slows down at 99 C, power mode 15W");
    level(&zone("52000\n"), Level::Ok, "nvpmodel.conf");
    level(&zone("95500\n"), Level::Warn, "gpu-thermal");
    let none = HeatFacts { hottest: None, power_mode: None };
    level(&machine::heat(&none), Level::Ok, "no sensor");
}

#[test]
fn systemd_is_asked_for_the_service() {
    let judged = |said: &str| {
        let (_root, machine) = machine(&[], &[("systemctl", said)]);
        machine::service(&machine::look_at_service(&machine))
    };
    let unit = |active: &str, enabled: &str, restarts: u32| {
        format!(
            "NRestarts={restarts}\nLoadState=loaded\nActiveState={active}\nUnitFileState={enabled}\n"
        )
    };
    level(&judged(&unit("active", "enabled", 0)), Level::Ok, "active");
    level(&judged(&unit("active", "disabled", 0)), Level::Warn, "after a boot");
    level(&judged(&unit("active", "enabled", 4)), Level::Warn, "restarted 4 times");
    level(&judged(&unit("inactive", "disabled", 0)), Level::Warn, "does not run");
    level(&judged(&unit("failed", "enabled", 5)), Level::Fail, "failed");
    level(&judged("LoadState=not-found\nActiveState=inactive\n"), Level::Warn, "knows no");
    level(&judged(""), Level::Ok, "not in charge");
}

fn backends(used: Backend, precision: Precision, present: &[Backend], has_bf16: bool) -> Finding {
    let presence = |backend| match present.contains(&backend) {
        true => Presence::Present { version: "1".to_owned(), place: "here".to_owned() },
        false => Presence::Absent { reason: "no library".to_owned() },
    };
    let there = Backend::ALL.map(|backend| (backend, presence(backend))).to_vec();
    engine::backend(&BackendFacts { used, precision, there, has_bf16 })
}

#[test]
fn a_faster_backend_that_is_there_is_named() {
    use Backend::{Native, OpenVino, TensorRt, Tract};
    let alone = backends(Native, Precision::F32, &[Native], true);
    assert_eq!((alone.level, alone.advice), (Level::Ok, None));
    let advised = |used, precision, has_bf16| {
        backends(used, precision, &[Native, Tract, OpenVino], has_bf16).advice.unwrap_or_default()
    };
    assert!(advised(Tract, Precision::F32, true).contains("\"native\""));
    assert!(advised(OpenVino, Precision::F32, true).contains("\"bf16\""));
    assert_eq!(advised(OpenVino, Precision::F32, false), "");
    let jetson = backends(Native, Precision::F32, &[Native, TensorRt], false);
    level(&jetson, Level::Ok, "\"tensorrt\"");
    let gone = backends(OpenVino, Precision::F32, &[Native], true);
    level(&gone, Level::Fail, "no library");
    assert_eq!(gone.exit, Exit::Engine);
}

#[test]
fn an_altered_bundle_is_named() {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/reclassify/bundle");
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    let runtime = daemon::analysis_settings(&Config::default()).runtime;
    let judged = |run| engine::engine(&engine::look_at_engine(folder.path(), &runtime, run));
    level(&judged(false), Level::Ok, "every file is whole");
    level(&judged(true), Level::Ok, "golden patches right");
    let network = folder.path().join("segment.onnx");
    let mut bytes = fs::read(&network).unwrap();
    bytes[100] ^= 1;
    fs::write(&network, bytes).unwrap();
    level(&judged(false), Level::Fail, "SHA-256");
    assert_eq!(judged(false).exit, Exit::Engine);
}

#[test]
fn the_slots_tell_which_engine_is_in_use_and_what_hinders_a_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::default();
    config.store.folder = folder.path().join("state");
    config.engine.trusted_keys = folder.path().join("keys");
    let judged = |config: &Config| super::slots::slots(&super::slots::look_at_slots(config));
    level(&judged(&config), Level::Ok, "the configured bundle is in use; no key is trusted");
    assert_eq!(super::slots::bundle_in_use(&config), config.engine.bundle);
    assert!(!config.store.folder.exists(), "looking makes nothing");
    fs::create_dir(&config.engine.trusted_keys).unwrap();
    fs::write(config.engine.trusted_keys.join("maker.pub"), "no key").unwrap();
    level(&judged(&config), Level::Warn, "nothing can be installed");
    fs::create_dir_all(config.slots()).unwrap();
    let facts = super::slots::SlotFacts {
        state: Err(("not readable".to_owned(), false)),
        keys: Ok(()),
        any_key: true,
    };
    level(&super::slots::slots(&facts), Level::Fail, "not readable");
}

#[test]
fn the_report_counts_and_ends_with_the_first_failure() {
    let ok = Finding::ok("a", "fine");
    let warn = Finding::warn("b", "odd", "look");
    let fail = Finding::fail("c", "broken", "mend").ending(Exit::Broker);
    let later = Finding::fail("d", "broken too", "mend");
    let report = Report::of(vec![ok, warn, fail, later]);
    assert_eq!((report.warnings, report.failures), (1, 2));
    assert_eq!(report.first_failure().unwrap().exit, Exit::Broker);
    let text = report.text();
    assert!(text.contains("WARN  b: odd\n      -> look\nFAIL  c: broken"), "{text}");
    assert!(text.ends_with("1 checks ok, 1 to look at, 2 failed"), "{text}");
}

/// The ten things that go wrong, as the technician's guide quotes them.
fn ten() -> Vec<Finding> {
    let syntax = ConfigError::Syntax {
        file: "/etc/hepalert/conf.d/site.toml".into(),
        reason: "at line 2, column 1 (foldr = \"/srv/ct-export\"): unknown key `foldr`; \
                 expected one of `folder`, `rescan_s`, `settle_s`, `quiet_s`, `phase_quiet_s`, `force_complete_s`, \
                 `give_up_s`, `follow_links`".to_owned(),
    };
    let denied = vec![("/srv/ct-export".into(), "/srv/ct-export".into())];
    let damaged = EngineError::File {
        file: "segment.onnx".to_owned(),
        reason: "3145728 bytes, the manifest promises 5634012".to_owned(),
    };
    let bundle = "/usr/share/hepalert/engines/venous-demo".to_owned();
    let runtime = "native in f32".to_owned();
    let refused = BrokerFacts {
        at: "10.0.0.5:8883".to_owned(),
        tls: true,
        remote: true,
        exposed: Vec::new(),
        answer: Err(ProbeError::Network("I/O: Connection refused (os error 111)".to_owned())),
    };
    vec![
        configuration(&Err(syntax)),
        export(vec![Degraded::Missing], FileSystem::Local),
        filesystem::account(&AccountFacts {
            name: Some("hepalert".to_owned()),
            denied,
            foreign: None,
        }),
        broker::broker(&refused),
        broker(Err(ProbeError::Credentials("NotAuthorized".to_owned()))),
        broker(Err(ProbeError::Tls("TLS: invalid peer certificate: UnknownIssuer".to_owned()))),
        engine::engine(&EngineFacts { bundle, runtime, closed: None, found: Err(damaged) }),
        filesystem::disk(&DiskFacts {
            folder: "/var/lib/hepalert".into(),
            free_mib: Some(310),
            min_free_mib: 1024,
        }),
        machine::clock(&ClockFacts {
            now: at("2026-03-01T10:00:00Z"),
            engine_made: None,
            synchronised: Some(false),
        }),
        machine::service(&ServiceFacts {
            load: "loaded".to_owned(),
            active: "failed".to_owned(),
            enabled: "enabled".to_owned(),
            restarts: 10,
        }),
    ]
}

#[test]
fn two_daemons_on_one_machine_are_told() {
    let run = "/usr/bin/hepalert\0run\0--config\0/etc/hepalert/hepalert.toml\0";
    let other = "/usr/bin/hepalert\0doctor\0";
    let files = [("proc/7/cmdline", run), ("proc/8/cmdline", other), ("proc/12/cmdline", run)];
    let (_root, machine) = machine(&files, &[]);
    let found = machine::look_at_daemons(&machine);
    let daemon = |pid, own: [&str; 3]| DaemonFacts { pid, own: Some(own.map(str::to_owned)) };
    assert_eq!(found, [7, 12].map(|pid| DaemonFacts { pid, own: None }), "configurations unseen");
    let service = |active: &str| ServiceFacts {
        load: "loaded".to_owned(),
        active: active.to_owned(),
        ..ServiceFacts::default()
    };
    level(&machine::daemons(&found, &service("active")), Level::Warn, "7, 12");
    let [a, b] = [daemon(7, ["ct1", "/s1", ""]), daemon(12, ["ct2", "/s2", ""])];
    level(&machine::daemons(&[a.clone(), b], &service("active")), Level::Ok, "its own");
    let same_store = daemon(12, ["ct2", "/s1", "/in"]);
    level(&machine::daemons(&[a.clone(), same_store], &service("active")), Level::Warn, "7, 12");
    let alone = &[a];
    level(&machine::daemons(alone, &service("active")), Level::Ok, "process 7");
    level(&machine::daemons(alone, &service("inactive")), Level::Warn, "systemd did not start");
    level(&machine::daemons(&[], &service("active")), Level::Ok, "none");
}

#[test]
fn an_engine_that_may_not_be_read_is_not_called_damaged() {
    let error = EngineError::File { file: "a".to_owned(), reason: "permission denied".to_owned() };
    let told = engine::engine(&EngineFacts {
        bundle: "/e".to_owned(),
        runtime: String::new(),
        closed: Some("/e/segment.onnx".into()),
        found: Err(error),
    });
    level(&told, Level::Fail, "you may not read it");
    assert!(!told.text().contains("copy"), "{told:?}");
}

#[test]
fn every_fault_is_one_line_and_one_advice() {
    for finding in ten() {
        assert_eq!(finding.text().lines().count(), 2, "{finding:?}");
    }
}

#[test]
fn the_technicians_guide_quotes_the_program() {
    let guide = include_str!("../../../docs/technician.md");
    for (number, finding) in ten().iter().enumerate() {
        let text = finding.text();
        let quoted = format!("```\n{text}\n```");
        assert!(guide.contains(&quoted), "thing {} in docs/technician.md:\n{text}", number + 1);
    }
}
