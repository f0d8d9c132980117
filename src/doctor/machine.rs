//! The device itself: what the kernel and systemd say of it, and what that means.
//!
//! Owns reading `/proc`, `/sys` and the few system commands, each with a bound. Refuses to
//! change anything.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::civil::Date;

use super::finding::Finding;
use crate::config::{Config, DEFAULT_FILE};
use crate::system;

/// Most that is read of one file of the kernel or one command's answer.
const MAX_BYTES: u64 = 1 << 20;
/// Longest wait for a system command.
const PATIENCE: Duration = Duration::from_secs(5);
/// Where processors and GPUs of edge devices begin to slow down, if the kernel names no trip
/// point of its own.
const HOT_C: f64 = 85.0;
/// This close to a trip point counts as hot.
const CLOSE_C: f64 = 5.0;

/// Answers of a system command: program and arguments to standard output.
pub(crate) type Ask = dyn Fn(&str, &[&str]) -> Option<String>;

/// Where the kernel's files lie and how commands are asked: exchanged in tests.
pub(crate) struct Machine {
    root: PathBuf,
    ask: Box<Ask>,
}

impl Machine {
    /// The machine this runs on.
    pub(crate) fn this() -> Machine {
        Machine { root: PathBuf::from("/"), ask: Box::new(ask) }
    }

    /// Another one, for tests.
    #[cfg(test)]
    pub(crate) fn other(root: &Path, ask: Box<Ask>) -> Machine {
        Machine { root: root.to_owned(), ask }
    }

    /// A file of the kernel or the system, `path` without its leading slash.
    pub(crate) fn read(&self, path: impl AsRef<Path>) -> Option<String> {
        let mut text = String::new();
        let file = File::open(self.root.join(path)).ok()?;
        file.take(MAX_BYTES).read_to_string(&mut text).ok()?;
        Some(text)
    }

    /// The names in a folder, sorted.
    fn names(&self, path: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.root.join(path)).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    /// Name and folders of the daemon that a process was started as.
    fn own_of(&self, pid: u32, words: &[&str]) -> Option<[String; 3]> {
        let given = words.iter().enumerate().find_map(|(at, word)| match *word {
            "--config" => words.get(at + 1).copied(),
            word => word.strip_prefix("--config="),
        });
        let place = self.root.join(format!("proc/{pid}/cwd"));
        let file = Path::new(given.unwrap_or(DEFAULT_FILE));
        let file = match file.strip_prefix("/") {
            Ok(below) => self.root.join(below),
            Err(_) => place.join(file),
        };
        let config = Config::read(&file).ok()?;
        let intake = config.intake.folder.unwrap_or_default();
        let folders =
            [config.store.folder, intake].map(|folder| match folder.as_os_str().is_empty() {
                true => String::new(),
                // Links are followed, also that to where the process stands.
                false => place.join(&folder).canonicalize().unwrap_or(folder).display().to_string(),
            });
        let [store, intake] = folders;
        Some([config.device.name, store, intake])
    }

    /// What a system command says; nothing if it is not there, fails or hangs.
    pub(crate) fn ask(&self, program: &str, args: &[&str]) -> Option<String> {
        (self.ask)(program, args)
    }

    /// True on an NVIDIA Jetson.
    pub(crate) fn is_jetson(&self) -> bool {
        self.read("etc/nv_tegra_release").is_some()
            || self.read("proc/device-tree/model").is_some_and(|model| model.contains("Jetson"))
    }
}

fn ask(program: &str, args: &[&str]) -> Option<String> {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().ok()?;
    let began = Instant::now();
    // The answers asked for are shorter than a pipe holds: the child never waits for us.
    let ended = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status.success(),
            Ok(None) if began.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Ok(None) | Err(_) => {
                // Both fail only if it is already gone.
                let _ = child.kill();
                let _ = child.wait();
                break false;
            }
        }
    };
    let mut text = String::new();
    child.stdout?.take(MAX_BYTES).read_to_string(&mut text).ok()?;
    ended.then_some(text)
}

/// What is known of the clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClockFacts {
    /// What it shows.
    pub now: Timestamp,
    /// The day the configured engine was made: it cannot be earlier than that.
    pub engine_made: Option<Date>,
    /// What systemd says of network time; `None` if it cannot be asked.
    pub synchronised: Option<bool>,
}

/// Asks for the clock.
pub(crate) fn look_at_clock(
    machine: &Machine,
    now: Timestamp,
    engine_made: Option<Date>,
) -> ClockFacts {
    let said = machine.ask("timedatectl", &["show", "--property=NTPSynchronized", "--value"]);
    let synchronised = said.and_then(|said| match said.trim() {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    });
    ClockFacts { now, engine_made, synchronised }
}

/// Times in alerts are only as good as the clock.
pub(crate) fn clock(facts: &ClockFacts) -> Finding {
    let name = "clock";
    let today = facts.now.to_zoned(jiff::tz::TimeZone::UTC).date();
    let shows = format!("it shows {:.0}", facts.now);
    let advice = "name a time server the device can reach in /etc/systemd/timesyncd.conf and \
                  run `timedatectl set-ntp true`";
    match (facts.engine_made, facts.synchronised) {
        (Some(made), _) if today < made => {
            Finding::fail(name, format!("{shows}, a day before the engine was made"), advice)
        }
        (_, Some(false)) => {
            Finding::warn(name, format!("{shows}, but it is not synchronised"), advice)
        }
        (_, None) => Finding::warn(
            name,
            format!("{shows}; whether it is synchronised cannot be told"),
            "compare it with a clock you trust",
        ),
        (_, Some(true)) => Finding::ok(name, format!("{shows}, synchronised")),
    }
}

/// Memory in MiB.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MemoryFacts {
    /// Of the device; processor and GPU share it on a Jetson.
    pub total_mib: u64,
    /// Without pushing other programs out.
    pub available_mib: u64,
    /// What the configuration lets a study take.
    pub budget_mib: u64,
}

/// Asks for the memory.
pub(crate) fn look_at_memory(machine: &Machine, budget_mib: u64) -> Option<MemoryFacts> {
    let text = machine.read("proc/meminfo")?;
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? >> 10)
    };
    let (total_mib, available_mib) = (field("MemTotal")?, field("MemAvailable")?);
    Some(MemoryFacts { total_mib, available_mib, budget_mib })
}

/// A study that needs more than there is gets the inference process killed.
pub(crate) fn memory(facts: Option<&MemoryFacts>) -> Finding {
    let name = "memory";
    let Some(&MemoryFacts { total_mib, available_mib, budget_mib }) = facts else {
        return Finding::ok(name, "the kernel does not tell");
    };
    let found = format!(
        "{available_mib} MiB of {total_mib} MiB are available, \
         engine.memory_budget_mib is {budget_mib}"
    );
    if budget_mib >= total_mib {
        Finding::fail(name, found, "lower engine.memory_budget_mib below what the device has")
    } else if budget_mib > available_mib {
        Finding::warn(name, found, "end other programs, or lower engine.memory_budget_mib")
    } else {
        Finding::ok(name, found)
    }
}

/// Heat and power.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct HeatFacts {
    /// The hottest place: its name, its degrees, and where it begins to slow down.
    pub hottest: Option<(String, f64, f64)>,
    /// A Jetson's power mode.
    pub power_mode: Option<String>,
}

/// Asks for heat and power.
pub(crate) fn look_at_heat(machine: &Machine) -> HeatFacts {
    let zones = system::thermal_zones(&machine.root).into_iter();
    let measured = zones.map(|zone| (zone.name, zone.now_c, zone.slows_c.unwrap_or(HOT_C)));
    let room = |(_, degrees, slows): &(String, f64, f64)| slows - degrees;
    let hottest = measured.min_by(|a, b| room(a).total_cmp(&room(b)));
    let said = machine.is_jetson().then(|| machine.ask("nvpmodel", &["-q"])).flatten();
    let power_mode = said.and_then(|said| {
        let line = said.lines().find_map(|line| line.split_once("Power Mode:"))?;
        Some(line.1.trim().to_owned())
    });
    HeatFacts { hottest, power_mode }
}

/// A hot device slows down; a low power mode is slow by choice.
pub(crate) fn heat(facts: &HeatFacts) -> Finding {
    let name = "temperature";
    let mode = facts.power_mode.as_deref().map_or(String::new(), |m| format!(", power mode {m}"));
    let Some((place, degrees, slows)) = &facts.hottest else {
        return Finding::ok(name, format!("no sensor is readable{mode}"));
    };
    let found = format!("{place} has {degrees:.0} C and slows down at {slows:.0} C{mode}");
    if degrees + CLOSE_C >= *slows {
        return Finding::warn(name, found, "clear its air vents, check the fan, let it cool");
    }
    let slow = facts.power_mode.as_deref().is_some_and(|mode| !mode.contains("MAXN"));
    let finding = Finding::ok(name, found);
    match slow {
        true => finding.with("a mode with more power is faster: see /etc/nvpmodel.conf"),
        false => finding,
    }
}

/// A daemon that runs on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DaemonFacts {
    /// Its process number.
    pub pid: u32,
    /// Its `device.name`, `store.folder` and `intake.folder`; none where its configuration cannot be read.
    pub own: Option<[String; 3]>,
}

/// Daemons that run on this machine, by process number.
pub(crate) fn look_at_daemons(machine: &Machine) -> Vec<DaemonFacts> {
    let numbers = machine.names("proc").into_iter().filter_map(|name| name.parse::<u32>().ok());
    let daemon = |pid| {
        let line = machine.read(format!("proc/{pid}/cmdline"))?;
        let mut words = line.split('\0');
        let program = words.next().unwrap_or_default();
        let words: Vec<&str> = words.collect();
        let is_ours = Path::new(program).file_name().is_some_and(|name| name == "hepalert");
        let command = words.iter().find(|word| !word.starts_with('-'));
        let is_daemon = is_ours && command == Some(&"run");
        is_daemon.then(|| DaemonFacts { pid, own: machine.own_of(pid, &words) })
    };
    let mut found: Vec<DaemonFacts> = numbers.filter_map(daemon).collect();
    found.sort_unstable_by_key(|one| one.pid);
    found
}

/// Whether no two daemons have a name or a folder in common, as far as can be seen.
fn all_apart(found: &[DaemonFacts]) -> bool {
    let apart = |a: &DaemonFacts, b: &DaemonFacts| match (&a.own, &b.own) {
        (Some(a), Some(b)) => a.iter().zip(b).all(|(a, b)| a.is_empty() || a != b),
        _ => false,
    };
    found.iter().enumerate().all(|(at, a)| found[at + 1..].iter().all(|b| apart(a, b)))
}

/// Two daemons of one name push each other off the broker's line.
pub(crate) fn daemons(found: &[DaemonFacts], service: &ServiceFacts) -> Finding {
    let name = "daemons";
    let numbers: Vec<String> = found.iter().map(|one| one.pid.to_string()).collect();
    let all = format!("{} run here: processes {}", found.len(), numbers.join(", "));
    match found {
        [] => Finding::ok(name, "none runs"),
        [DaemonFacts { pid, .. }] if service.load == "loaded" && service.active != "active" => {
            Finding::warn(
                name,
                format!("process {pid} is a daemon that systemd did not start"),
                "end it before the service is started: only one may use a store",
            )
        }
        [DaemonFacts { pid, .. }] => Finding::ok(name, format!("one runs, process {pid}")),
        [..] if all_apart(found) => {
            Finding::ok(name, format!("{all}; each has its own name and folders"))
        }
        [..] if found.iter().any(|one| one.own.is_none()) => Finding::warn(
            name,
            format!("{all}; whether each has its own name and folders cannot be told"),
            "run doctor with sudo: it may read their configurations",
        ),
        [..] => Finding::warn(
            name,
            all,
            "end all but one, or give each its own device.name, store.folder and intake.folder",
        ),
    }
}

/// What systemd says of the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ServiceFacts {
    /// `LoadState`: `loaded`, `not-found`, ...; empty if systemd cannot be asked.
    pub load: String,
    /// `ActiveState`.
    pub active: String,
    /// `UnitFileState`.
    pub enabled: String,
    /// Restarts since it was started by hand.
    pub restarts: u64,
}

/// Asks systemd.
pub(crate) fn look_at_service(machine: &Machine) -> ServiceFacts {
    let properties = "--property=LoadState,ActiveState,UnitFileState,NRestarts";
    let said = machine.ask("systemctl", &["show", "hepalert.service", properties]);
    let said = said.unwrap_or_default();
    let field = |name: &str| {
        let value = said.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        value.unwrap_or_default().to_owned()
    };
    ServiceFacts {
        load: field("LoadState"),
        active: field("ActiveState"),
        enabled: field("UnitFileState"),
        restarts: field("NRestarts").parse().unwrap_or(0),
    }
}

/// Whether the daemon runs, and will after the next boot.
pub(crate) fn service(facts: &ServiceFacts) -> Finding {
    let name = "service";
    let ServiceFacts { load, active, enabled, restarts } = facts;
    let log = "read why with `journalctl -u hepalert -n 50`";
    match (load.as_str(), active.as_str()) {
        ("", _) => Finding::ok(name, "systemd is not in charge here"),
        ("not-found", _) => Finding::warn(
            name,
            "systemd knows no hepalert.service",
            "install the package, or copy systemd/hepalert.service",
        ),
        (_, "active" | "activating" | "reloading") if *restarts > 0 => Finding::warn(
            name,
            format!("{active}, restarted {restarts} times by systemd since it was started"),
            log,
        ),
        (_, "active") if enabled != "enabled" => Finding::warn(
            name,
            "active, but it will not start after a boot",
            "run `sudo systemctl enable hepalert`",
        ),
        (_, "active") => Finding::ok(name, "active, and starts after a boot"),
        (_, "failed") => Finding::fail(name, "it has failed", log),
        (_, state) => Finding::warn(
            name,
            format!("it does not run ({state})"),
            "run `sudo systemctl enable --now hepalert`",
        ),
    }
}
