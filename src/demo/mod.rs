//! The whole main job on this machine: a study, an export folder, the real daemon, a real broker,
//! the alert.
//!
//! Owns the staging only. What happens to the study is what happens in a hospital: the same
//! daemon, the same engine, the same messages.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::daemon::stop_on_signals;
use crate::publish::contract::EventKind;
use crate::report::output::{self, OutputError};
use crate::ui::{Exit, Failure, Ui};
use hepalert_study::system;
use stage::{Broker, Daemon, Subscriber};

mod stage;

/// Slices arrive one by one, as from a scanner, this far apart.
const SLICE_PAUSE: Duration = Duration::from_millis(25);
/// The folder of a demonstration holds a file of this name.
const MARK: &str = "made-by-hepalert-demo";
/// Longest wait for the result of a study.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// Where the demonstration takes place.
pub(crate) struct Places {
    out: PathBuf,
    /// Where a study is made that is to be exported.
    pub source: PathBuf,
    export: PathBuf,
    /// The daemon's own folder.
    pub state: PathBuf,
    config: PathBuf,
}

/// The folder for everything cannot be used.
fn unusable(out: &Path, error: &std::io::Error) -> Failure {
    let (place, why) = (out.display(), system::reason(error));
    Failure::new(Exit::Usage, anyhow::anyhow!("{place}: {why}; name another folder with --out"))
}

impl Places {
    /// Makes the folders; what an earlier demonstration left in them goes.
    ///
    /// # Errors
    /// Exit 2 if `out` is not ours to use, or one's own `study` lies in it.
    pub(crate) fn prepare(out: &Path, study: Option<&Path>) -> Result<Places, Failure> {
        check_out(out, study)?;
        let at = |name: &str| out.join(name);
        fs::create_dir_all(out).map_err(|error| unusable(out, &error))?;
        fs::write(at(MARK), "The next `hepalert demo` replaces what is here.\n")
            .map_err(|error| unusable(out, &error))?;
        for name in ["study", "export", "state", "broker"] {
            if at(name).exists() {
                fs::remove_dir_all(at(name)).map_err(Failure::failed)?;
            }
        }
        for name in ["study", "export", "state", "broker"] {
            fs::create_dir_all(at(name)).map_err(Failure::failed)?;
        }
        let whole = |name: &str| at(name).canonicalize().map_err(Failure::failed);
        Ok(Places {
            out: out.to_owned(),
            source: whole("study")?,
            export: whole("export")?,
            state: whole("state")?,
            config: whole("state")?.join("hepalert.toml"),
        })
    }

    /// What a demonstration that is stopped leaves, and how to go on.
    pub(crate) fn what_is_left(&self) -> String {
        let out = self.out.display();
        format!("what was made lies in {out}; the same command begins anew and replaces it")
    }

    /// What the daemon says.
    pub(crate) fn daemon_log(&self) -> PathBuf {
        self.out.join("daemon.log")
    }
}

/// What was heard over MQTT.
pub(crate) struct Heard {
    /// The result, or how the study ended without one.
    pub result: Value,
    /// The alert, where the verdict calls for one.
    pub alert: Option<Value>,
}

impl Heard {
    /// The verdict's word; `None` if the study ended without a result.
    pub(crate) fn verdict(&self) -> Option<&str> {
        self.result["data"]["verdict"].as_str()
    }
}

/// Exports the files below `source` to a daemon and hears what it says of them.
///
/// # Errors
/// Exit 5 without a broker, 1 if no result arrives.
pub(crate) fn play(
    places: &Places,
    source: &Path,
    engine: &Path,
    stop: &Stop,
    ui: &Ui,
) -> Result<Heard, Failure> {
    let broker = Broker::start(&places.out)?;
    ui.say(format!("broker:  mosquitto on 127.0.0.1:{}", broker.port));
    let mut subscriber = Subscriber::start(broker.port, stop.clone())?;
    write_config(places, engine, broker.port)?;
    let daemon = Daemon::start(&places.config, &places.daemon_log())?;
    subscriber.wait(Duration::from_secs(60), |topic, _| topic.ends_with("/info"), ui)?;
    ui.say(format!("daemon:  watching {}", places.export.display()));
    let slices = export(source, &places.export, stop)?;
    ui.say(format!("scanner: {slices} files exported one by one; waiting for the result"));
    let result = subscriber.wait(PATIENCE, is_outcome, ui)?;
    let mut heard = Heard { result, alert: None };
    if let Some("suspected" | "uncertain") = heard.verdict() {
        let is_alert = |topic: &str, _: &Value| topic.ends_with(EventKind::Alert.topic());
        heard.alert = Some(subscriber.wait(Duration::from_secs(20), is_alert, ui)?);
    }
    daemon.stop()?;
    subscriber.stop();
    broker.stop();
    Ok(heard)
}

/// Whether somebody wants the demonstration to end. Without it a signal would end this process
/// alone and leave broker and daemon running.
#[derive(Debug, Clone)]
pub(crate) struct Stop {
    flag: Arc<AtomicBool>,
    left: String,
}

impl Stop {
    /// From now on a signal ends the demonstration in order; `left` says what there is then.
    ///
    /// # Errors
    /// If the system refuses to hand signals over.
    pub(crate) fn on_signals(left: String) -> Result<Stop, Failure> {
        let flag = stop_on_signals().map_err(Failure::failed)?;
        Ok(Stop { flag, left })
    }

    fn check(&self) -> Result<(), Failure> {
        if self.flag.load(Ordering::Relaxed) {
            return Err(Failure::stopped(&self.left));
        }
        Ok(())
    }
}

/// A result, or an end without one.
fn is_outcome(topic: &str, message: &Value) -> bool {
    let state = message["data"]["state"].as_str().unwrap_or_default();
    topic.ends_with(EventKind::Result.topic())
        || (topic.ends_with(EventKind::Study.topic()) && ["rejected", "failed"].contains(&state))
}

/// A demonstration takes place in a folder of its own: a new or an empty one, or that of an
/// earlier one. One's own study is not in it.
fn check_out(out: &Path, study: Option<&Path>) -> Result<(), Failure> {
    let refuse = |what| Err(OutputError::InTheWay { path: out.to_owned(), what }.into());
    if let Some(study) = study.filter(|study| !study.exists()) {
        let error = anyhow::anyhow!("{}: there is no such file or folder", study.display());
        return Err(Failure::new(Exit::Usage, error));
    }
    let entries = match fs::read_dir(out) {
        Ok(entries) => entries.count(),
        Err(_) if out.symlink_metadata().is_err() => 0,
        Err(_) => return refuse("there is something else than a folder"),
    };
    if study.is_some_and(|study| {
        output::is_same(out, study) || output::is_within(study, out) || lies_in(out, study)
    }) {
        return refuse("the folder and the study lie in each other");
    }
    if entries > 0 && !out.join(MARK).is_file() {
        return refuse("the folder is not that of an earlier demo");
    }
    Ok(())
}

/// Also a folder that is not there yet.
fn lies_in(out: &Path, study: &Path) -> bool {
    let parent = output::folder_of(out);
    output::is_within(out, study)
        || output::is_within(parent, study)
        || output::is_same(parent, study)
}

fn write_config(places: &Places, engine: &Path, port: u16) -> Result<(), Failure> {
    let engine = engine.canonicalize().map_err(Failure::failed)?;
    let text = |path: &Path| toml::Value::String(path.display().to_string()).to_string();
    let config = format!(
        "[device]\nname = \"demo\"\nsite_key_file = {}\n\n\
         [intake]\nfolder = {}\nrescan_s = 1\nsettle_s = 1\nquiet_s = 4\nphase_quiet_s = 2\n\n\
         [engine]\nbundle = {}\n\n[store]\nfolder = {}\nmin_free_mib = 64\n\n\
         [mqtt]\nport = {port}\n",
        text(&places.state.join("site.key")),
        text(&places.export),
        text(&engine),
        text(&places.state),
    );
    fs::write(&places.config, config).map_err(Failure::failed)
}

/// Copies the study file by file, each under a temporary name first, as scanners do.
fn export(source: &Path, export: &Path, stop: &Stop) -> Result<usize, Failure> {
    let mut files = Vec::new();
    collect(source, 0, &mut files).map_err(Failure::failed)?;
    files.sort();
    for (number, file) in files.iter().enumerate() {
        stop.check()?;
        let name = match file.file_name().and_then(|name| name.to_str()) {
            Some(name) => format!("{number:04}-{name}"),
            None => format!("{number:04}"),
        };
        let part = export.join(format!("{name}.part"));
        let copied = fs::copy(file, &part).and_then(|_| fs::rename(&part, export.join(&name)));
        copied.map_err(Failure::failed)?;
        std::thread::sleep(SLICE_PAUSE);
    }
    if files.is_empty() {
        let error = anyhow::anyhow!("{}: nothing to export", source.display());
        return Err(Failure::new(Exit::Usage, error));
    }
    Ok(files.len())
}

/// The files below `path`, three folders deep at most.
fn collect(path: &Path, depth: usize, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    if path.is_file() {
        files.push(path.to_owned());
    } else if depth < 4 {
        for entry in fs::read_dir(path)? {
            collect(&entry?.path(), depth + 1, files)?;
        }
    }
    Ok(())
}
