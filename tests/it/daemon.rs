//! The real daemon against a real mosquitto: a series copied slice by slice becomes one
//! result and one alert, whatever dies on the way.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hepalert::cli::phantom::write_series;
use hepalert_lab::phantom::{Case, Size, generate};
use hepalert_study::phase::Setting;
use hepalert_voxels::volume::nifti;
use hepalert_voxels::volume::{Grid, Volume};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::broker::{Broker, Heard, Kind, Subscriber};
use crate::support::{hepalert, shared_data};

/// Longest wait for anything: a busy machine with two cores needs a minute for a study.
const PATIENCE: Duration = Duration::from_secs(240);

/// A device with its folders and its configuration.
pub(crate) struct House {
    folder: tempfile::TempDir,
}

impl House {
    pub(crate) fn new(port: u16, attempts: u32) -> House {
        House::with_engine(port, attempts, "")
    }

    /// `engine_lines` holds more lines of the section `[engine]`.
    pub(crate) fn with_engine(port: u16, attempts: u32, engine_lines: &str) -> House {
        let engine = Path::new(env!("CARGO_MANIFEST_DIR")).join("engines/venous-demo");
        House::with_bundle(port, attempts, &engine, engine_lines)
    }

    pub(crate) fn with_bundle(
        port: u16,
        attempts: u32,
        engine: &Path,
        engine_lines: &str,
    ) -> House {
        let folder = tempfile::tempdir().unwrap();
        let house = House { folder };
        fs::create_dir(house.export()).unwrap();
        let state = house.state();
        let config = format!(
            "[device]\nname = \"test\"\nsite_key_file = {:?}\n\
             [intake]\nfolder = {:?}\nrescan_s = 1\nsettle_s = 1\nquiet_s = 2\nphase_quiet_s = 2\n\
             [engine]\nbundle = {engine:?}\n{engine_lines}\
             [worker]\nattempts = {attempts}\nretry_s = 1\n\
             [store]\nfolder = {state:?}\nmin_free_mib = 1\n[mqtt]\nport = {port}\n",
            state.join("site.key"),
            house.export(),
        );
        fs::write(house.config(), config).unwrap();
        house
    }

    pub(crate) fn export(&self) -> PathBuf {
        self.folder.path().join("export")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.state().join("hepalert.sqlite")
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.folder.path().join("hepalert.toml")
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    pub(crate) fn start(&self) -> Daemon {
        self.start_with("")
    }

    /// A daemon that dies at this place.
    pub(crate) fn start_with(&self, failpoint: &str) -> Daemon {
        self.start_under("HEPALERT_FAILPOINT", failpoint)
    }

    /// A daemon with this variable in its environment.
    pub(crate) fn start_under(&self, name: &str, value: impl AsRef<OsStr>) -> Daemon {
        let mut append = fs::OpenOptions::new();
        let log = append.create(true).append(true).open(self.folder.path().join("log")).unwrap();
        let mut command = hepalert();
        command.arg("run").arg("--config").arg(self.config());
        command.env(name, value);
        self.spawn(command, log)
    }

    /// A daemon that the shell allows no more than `limit`, such as `-n 24` files.
    pub(crate) fn start_limited(&self, limit: &str) -> Daemon {
        let log = fs::File::create(self.folder.path().join("log")).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit {limit} && exec \"$@\""), "sh"]);
        command.arg(hepalert().get_program()).arg("run").arg("--config").arg(self.config());
        self.spawn(command, log)
    }

    fn spawn(&self, mut command: Command, log: fs::File) -> Daemon {
        Daemon(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap())
    }

    /// The jobs as `hepalert queue` tells them.
    fn jobs(&self) -> Vec<Value> {
        let told = hepalert().args(["--json", "queue", "--config"]).arg(self.config()).output();
        serde_json::from_slice(&told.unwrap().stdout).unwrap_or_default()
    }

    /// Waits until the newest job has been begun so often and its worker runs.
    fn wait_for_attempt(&self, daemon: &Daemon, attempt: u64) -> u32 {
        wait_until(|| {
            let jobs = self.jobs();
            let begun = jobs
                .iter()
                .any(|job| job["state"] == "running" && job["attempts"].as_u64() == Some(attempt));
            if begun { daemon.worker() } else { None }
        })
    }
}

/// The daemon; killed if the test fails.
pub(crate) struct Daemon(Child);

impl Daemon {
    /// Kills it as a power cut would; it may be dead already.
    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }

    /// Its children that ended and were not waited for.
    pub(crate) fn zombies(&self) -> usize {
        self.children().into_iter().filter(|(_, state)| state == "Z").count()
    }

    /// Asks it to stop; it must end well.
    pub(crate) fn stop(mut self) {
        kill_process(Pid::from_child(&self.0), Signal::TERM).unwrap();
        assert!(self.0.wait().unwrap().success());
    }

    /// The inference process, if there is one.
    pub(crate) fn worker(&self) -> Option<u32> {
        let children = self.children();
        children.into_iter().find(|(_, state)| state != "Z").map(|(pid, _)| pid)
    }

    /// Its child processes and their states.
    fn children(&self) -> Vec<(u32, String)> {
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        pids.filter_map(|pid| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let mut after_name = stat.rsplit(')').next()?.split_whitespace();
            let state = after_name.next()?.to_owned();
            (after_name.next()? == self.0.id().to_string()).then_some((pid, state))
        })
        .collect()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Both fail only if it is already gone.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[track_caller]
pub(crate) fn wait_until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "nothing happened");
        std::thread::sleep(Duration::from_millis(100));
    }
}

pub(crate) fn kill_pid(pid: u32) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
}

/// All messages of the device, until one is what is waited for.
#[derive(Default)]
pub(crate) struct Heart {
    pub events: Vec<(String, Value)>,
}

impl Heart {
    pub(crate) fn listen(
        &mut self,
        subscriber: &Subscriber,
        wanted: impl Fn(&str, &Value) -> bool,
    ) {
        let began = Instant::now();
        loop {
            assert!(began.elapsed() < PATIENCE, "heard only {:#?}", self.events);
            let Some(Heard { topic, body, .. }) = subscriber.next(Duration::from_secs(5)) else {
                continue;
            };
            let message = serde_json::from_slice(&body)
                .unwrap_or_else(|_| Value::String(String::from_utf8(body).unwrap()));
            let done = wanted(&topic, &message);
            self.events.push((topic, message));
            if done {
                return;
            }
        }
    }

    /// Events without the repetitions that at-least-once brings, by sequence number.
    fn once(&self) -> BTreeMap<u64, (String, Value)> {
        let events = self.events.iter().filter(|(topic, _)| topic.contains("/event/"));
        events.map(|(t, m)| (m["seq"].as_u64().unwrap(), (t.clone(), m.clone()))).collect()
    }

    pub(crate) fn of(&self, topic: &str) -> Vec<Value> {
        let events = self.once().into_values();
        events.filter(|(t, _)| t.ends_with(topic)).map(|(_, message)| message).collect()
    }
}

pub(crate) fn is_state(message: &Value, state: &str) -> bool {
    message["data"]["state"] == state
}

pub(crate) fn has_reason(topic: &str, message: &Value, reason: &str) -> bool {
    let reasons = message["reasons"].as_array();
    topic.ends_with("/status") && reasons.is_some_and(|list| list.iter().any(|word| word == reason))
}

pub(crate) fn is_online(topic: &str, message: &Value) -> bool {
    topic.ends_with("/status") && message["state"] == "online"
}

/// Copies files one by one, each under a temporary name first.
pub(crate) fn export(files: &[PathBuf], to: &Path) {
    for (number, file) in files.iter().enumerate() {
        let name = format!("{number:04}");
        fs::copy(file, to.join(format!("{name}.part"))).unwrap();
        fs::rename(to.join(format!("{name}.part")), to.join(name)).unwrap();
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Real slices where there are any, a phantom's otherwise.
fn series(scratch: &Path) -> Vec<PathBuf> {
    if let Some(data) = shared_data() {
        let slices = fs::read_dir(data.join("crlm-1004/dicom")).unwrap();
        let mut slices: Vec<PathBuf> = slices.map(|entry| entry.unwrap().path()).collect();
        slices.sort();
        return slices;
    }
    phantom(7, scratch)
}

pub(crate) fn phantom(seed: u64, scratch: &Path) -> Vec<PathBuf> {
    let size = Size { pixels: 256, slices: None };
    let patient = generate(seed, Case::Malignant, Setting::Venous, size);
    write_series(&patient, &scratch.join(seed.to_string())).unwrap()
}

#[test]
fn a_series_copied_slice_by_slice_becomes_one_alert_whatever_dies() {
    let Some(mut broker) = Broker::start(&Kind { persistent: true, ..Kind::default() }) else {
        return;
    };
    let subscriber = Subscriber::join(&broker, "dashboard", "hepalert/v1/test/#");
    let house = House::new(broker.port, 9);
    let daemon = house.start();
    let mut heart = Heart::default();
    heart.listen(&subscriber, |topic, message| {
        topic.ends_with("/availability") && message == "online"
    });

    let scratch = tempfile::tempdir().unwrap();
    let mut broken = phantom(3, scratch.path());
    broken.drain(10..13);
    fs::create_dir(house.export().join("broken")).unwrap();
    export(&broken, &house.export().join("broken"));
    heart.listen(&subscriber, |_, message| is_state(message, "rejected"));
    fs::create_dir(house.export().join("whole")).unwrap();
    export(&series(scratch.path()), &house.export().join("whole"));
    heart.listen(&subscriber, |_, message| is_state(message, "started"));

    // The inference process dies, then the daemon, then the broker.
    kill_pid(house.wait_for_attempt(&daemon, 1));
    house.wait_for_attempt(&daemon, 2);
    daemon.kill();
    broker.kill();
    let daemon = house.start();
    house.wait_for_attempt(&daemon, 3);
    broker.restart();
    heart.listen(&subscriber, |_, message| is_state(message, "completed"));

    // The same study again is nothing new.
    fs::create_dir(house.export().join("again")).unwrap();
    export(&series(scratch.path()), &house.export().join("again"));
    wait_until(|| house.log().contains("the same study again").then_some(()));
    daemon.stop();
    heart.listen(&subscriber, |topic, message| {
        topic.ends_with("/availability") && message == "offline"
    });
    check(&house, &heart);
}

fn check(house: &House, heart: &Heart) {
    let seqs: Vec<u64> = heart.once().into_keys().collect();
    let unbroken: Vec<u64> = (seqs[0]..seqs[0] + seqs.len() as u64).collect();
    assert_eq!(seqs, unbroken, "a gap means loss");
    let rejected = heart.of("event/study").into_iter().find(|m| is_state(m, "rejected")).unwrap();
    assert_eq!(rejected["data"]["code"], "missing_slices");
    let [result] = &heart.of("event/result")[..] else {
        panic!("one result: {heart:?}", heart = heart.events)
    };
    assert_eq!(result["data"]["verdict"], "suspected");
    let [alert] = &heart.of("event/alert")[..] else { panic!("one alert") };
    assert_eq!(alert["data"], result["data"]);
    let key = result["subject"].as_str().unwrap();
    let folder = house.state().join("results").join(format!("{key}-r1"));
    let report: Value =
        serde_json::from_slice(&fs::read(folder.join("report.json")).unwrap()).unwrap();
    assert_eq!(report["verdict"], "suspected");
    assert!(folder.join("pictures/overview.png").is_file());
    for private in [&folder, &folder.join("report.json"), &folder.join("pictures/overview.png")] {
        let mode = fs::metadata(private).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}: for our own account alone", private.display());
    }
    let left = fs::read_dir(house.state().join("results")).unwrap().count();
    assert_eq!(left, 1, "half-written reports were swept away");
    let mut worklists = heart.events.iter().filter(|(topic, _)| topic.ends_with("/worklist"));
    assert_eq!(worklists.next_back().unwrap().1["open"][0]["id"], alert["id"]);
    assert!(!house.log().contains("panicked"), "{}", house.log());
    let said = format!("{:?}{}", heart.events, house.log());
    for identifier in ["PHANTOM", "2.25.", "1.3.6.1", "CRLM", "crlm"] {
        assert!(!said.contains(identifier), "{identifier} left the device");
    }
}

#[test]
fn a_poisonous_study_is_put_aside_and_the_queue_goes_on() {
    let Some(broker) = Broker::start(&Kind::default()) else { return };
    let subscriber = Subscriber::join(&broker, "dashboard", "hepalert/v1/test/event/#");
    let house = House::new(broker.port, 2);
    let daemon = house.start();
    let scratch = tempfile::tempdir().unwrap();
    fs::create_dir(house.export().join("poison")).unwrap();
    export(&phantom(5, scratch.path()), &house.export().join("poison"));
    for attempt in 1..=2 {
        kill_pid(house.wait_for_attempt(&daemon, attempt));
    }
    let mut heart = Heart::default();
    heart.listen(&subscriber, |_, message| is_state(message, "failed"));
    let failed = heart.of("event/study").into_iter().find(|m| is_state(m, "failed")).unwrap();
    assert_eq!(failed["data"]["code"], "worker_died");

    // Not Hounsfield units: only the inference process can tell.
    let grid = Grid::axial([20, 64, 64], [5.0, 5.0, 5.0], [0.0; 3]);
    let flat = Volume::new(grid.into(), ndarray::Array3::<i16>::ones((20, 64, 64)));
    fs::write(house.export().join("flat.nii.gz"), nifti::write::write_i16(&flat)).unwrap();
    heart.listen(&subscriber, |_, message| is_state(message, "rejected"));
    let rejected = heart.of("event/study").into_iter().find(|m| is_state(m, "rejected")).unwrap();
    assert_eq!(rejected["data"]["code"], "not_ct_values");
    daemon.stop();
}

#[test]
fn a_daemon_that_cannot_start_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("hepalert.toml");
    fs::write(&config, "[intake]\nfoldr = \"/x\"\n").unwrap();
    let run = |args: &[&str]| {
        let mut command: Command = hepalert();
        command.args(args).arg("--config").arg(&config).output().unwrap()
    };
    let ended = run(&["run"]);
    assert_eq!(ended.status.code(), Some(6));
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(said.contains("foldr"), "{said}");
    fs::write(&config, "[mqtt]\nport = 1\n[engine]\nbundle = \"/nowhere\"\n").unwrap();
    let ended = run(&["check-config"]);
    assert!([Some(1), Some(4), Some(5)].contains(&ended.status.code()), "{ended:?}");
    let said = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert!(said.contains("FAILS  broker") && said.contains("FAILS  engine"), "{said}");
}
