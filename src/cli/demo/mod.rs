//! `demo`: the whole main job on this machine: a study, an export folder, the real daemon, a
//! real broker, the alert, the pictures.
//!
//! Owns the staging only. What happens to the study is what happens in a hospital: the same
//! daemon, the same engine, the same messages.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Exit, Failure, Ui, engines, phantom};
use crate::daemon::stop_on_signals;
use crate::report::output::{self, OutputError};
use hepalert_lab::phantom::{Case, LesionTruth, Size, generate_moving};
use hepalert_study::study::Setting;

mod stage;

use stage::{Broker, Daemon, Subscriber};

/// Slices arrive one by one, as from a scanner, this far apart.
const SLICE_PAUSE: Duration = Duration::from_millis(25);
/// The folder of a demonstration holds a file of this name.
const MARK: &str = "made-by-hepalert-demo";
/// Longest wait for the result of a study.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Makes the synthetic patient: every seed is another one.
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// What is read: all four phases, each in a breath of its own, one native phase, or one
    /// portal venous phase [default: diagnosis, and venous with --study].
    #[arg(long, value_parser = phantom::settings(), conflicts_with = "study")]
    setting: Option<Setting>,
    /// Use a patient without lesions: the report says so, and no alert is sent.
    #[arg(long)]
    normal: bool,
    /// One's own CT instead: a folder of DICOM slices or a NIfTI file, portal venous.
    #[arg(long)]
    study: Option<PathBuf>,
    /// Pixels along an edge of the synthetic patient's slices; fewer are faster, and worse.
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u16).range(64..=512))]
    pixels: u16,
    /// Folder for everything that is made; what an earlier demo left there is replaced.
    #[arg(long, default_value = "demo-out")]
    out: PathBuf,
    /// Folder of the engine bundle.
    #[arg(long)]
    engine: Option<PathBuf>,
}

impl Args {
    /// One's own study is read by the engine that has seen patients.
    fn setting(&self) -> Setting {
        let of_study = self.study.as_ref().map(|_| Setting::Venous);
        self.setting.or(of_study).unwrap_or(Setting::Diagnosis)
    }
}

/// Where the demonstration takes place.
struct Places {
    source: PathBuf,
    export: PathBuf,
    state: PathBuf,
    config: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// Exit 5 without a broker, 4 without an engine, 1 if no result arrives.
pub fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    let engine = match &args.engine {
        Some(engine) => engine.clone(),
        None => engines::shipped_bundle(engine_of(args.setting()))?,
    };
    check_out(&args.out, args.study.as_deref())?;
    let stop = Stop::on_signals()?;
    let places = prepare(&args.out)?;
    let truth = match &args.study {
        Some(_) => None,
        None => Some(make_study(args, &places, ui)?),
    };
    let source = args.study.as_deref().unwrap_or(&places.source);
    let broker = Broker::start(&args.out)?;
    ui.say(format!("broker:  mosquitto on 127.0.0.1:{}", broker.port));
    let mut subscriber = Subscriber::start(broker.port, stop.clone())?;
    write_config(&places, &engine, broker.port)?;
    let daemon = Daemon::start(&places.config, &args.out.join("daemon.log"))?;
    subscriber.wait(Duration::from_secs(60), |topic, _| topic.ends_with("/info"), ui)?;
    ui.say(format!("daemon:  watching {}", places.export.display()));
    let slices = export(source, &places.export, &stop)?;
    ui.say(format!("scanner: {slices} files exported one by one; waiting for the result"));
    let result = subscriber.wait(PATIENCE, is_outcome, ui)?;
    let alert = match verdict(&result) {
        Some("suspected" | "uncertain") => {
            Some(subscriber.wait(Duration::from_secs(20), |t, _| t.ends_with("event/alert"), ui)?)
        }
        _ => None,
    };
    daemon.stop()?;
    subscriber.stop();
    broker.stop();
    conclude(args, &places, &result, alert.as_ref(), truth.as_deref(), ui)
}

/// Whether somebody wants the demonstration to end. Without it a signal would end this process
/// alone and leave broker and daemon running.
#[derive(Debug, Clone)]
struct Stop(Arc<AtomicBool>);

impl Stop {
    fn on_signals() -> Result<Stop, Failure> {
        stop_on_signals().map(Stop).map_err(Failure::failed)
    }

    fn check(&self) -> Result<(), Failure> {
        if self.0.load(Ordering::Relaxed) {
            let error = anyhow::anyhow!("stopped by a signal, and daemon and broker with it");
            return Err(Failure::failed(error));
        }
        Ok(())
    }
}

/// A result, or an end without one.
fn is_outcome(topic: &str, message: &Value) -> bool {
    let state = message["data"]["state"].as_str().unwrap_or_default();
    topic.ends_with("event/result")
        || (topic.ends_with("event/study") && ["rejected", "failed"].contains(&state))
}

fn verdict(message: &Value) -> Option<&str> {
    message["data"]["verdict"].as_str()
}

/// A demonstration takes place in a folder of its own: a new or an empty one, or that of an
/// earlier one. One's own study is not in it.
fn check_out(out: &Path, study: Option<&Path>) -> Result<(), Failure> {
    let refuse = |what| Err(OutputError::InTheWay { path: out.to_owned(), what }.into());
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

/// The engine for a setting. That for screening is trained by `engines/recipe`, the others come with
/// the program.
fn engine_of(setting: Setting) -> &'static str {
    match setting {
        Setting::Screening => "phantom-screening",
        Setting::Diagnosis => "phantom-diagnosis",
        _ => "venous-demo",
    }
}

fn prepare(out: &Path) -> Result<Places, Failure> {
    let at = |name: &str| out.join(name);
    fs::create_dir_all(out).map_err(Failure::failed)?;
    fs::write(at(MARK), "The next `hepalert demo` replaces what is here.\n")
        .map_err(Failure::failed)?;
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
        source: whole("study")?,
        export: whole("export")?,
        state: whole("state")?,
        config: whole("state")?.join("hepalert.toml"),
    })
}

fn make_study(args: &Args, places: &Places, ui: &Ui) -> Result<Vec<LesionTruth>, Failure> {
    let case = if args.normal { Case::Normal } else { Case::Malignant };
    ui.say(format!("phantom: making the synthetic patient of seed {}", args.seed));
    let size = Size { pixels: usize::from(args.pixels), ..Size::FULL };
    let patient = generate_moving(args.seed, case, args.setting(), size);
    let files = phantom::write_series(&patient, &places.source)?;
    ui.say(format!(
        "phantom: {} slices of {} with {} in {}",
        files.len(),
        match patient.phases.len() {
            1 => "one phase".to_owned(),
            n => format!("{n} phases"),
        },
        crate::ui::counted(patient.lesions.len(), "lesion"),
        places.source.display()
    ));
    Ok(patient.lesions)
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

fn conclude(
    args: &Args,
    places: &Places,
    result: &Value,
    alert: Option<&Value>,
    truth: Option<&[LesionTruth]>,
    ui: &Ui,
) -> Result<(), Failure> {
    let data = &result["data"];
    if verdict(result).is_none() {
        let code = data["code"].as_str().unwrap_or("unknown");
        let error = anyhow::anyhow!(
            "the study ended as {} ({code}); the daemon's words are in {}",
            data["state"].as_str().unwrap_or("unknown"),
            args.out.join("daemon.log").display()
        );
        return Err(Failure::new(Exit::Refused, error));
    }
    let key = data["study_key"].as_str().unwrap_or_default();
    let revision = result["rev"].as_u64().and_then(|n| u32::try_from(n).ok()).unwrap_or_default();
    let folder = places.state.join("results").join(crate::config::result_name(key, revision));
    let mut lines = vec![String::new(), headline(result, alert)];
    for lesion in data["lesions"].as_array().into_iter().flatten() {
        lines.push(lesion_line(lesion));
    }
    if let Some(truth) = truth {
        lines.push(format!("  truth of the phantom: {}", truth_line(truth)));
    }
    let seconds = data["timing"]["time_to_notification_s"].as_f64().unwrap_or(0.0);
    lines.push(format!("  from complete study to notification: {seconds:.1} s"));
    lines.push(format!("  pictures: {}", folder.join("pictures").display()));
    lines.push(format!("  report:   {}", folder.join("report.json").display()));
    lines.push(format!("  {}", data["notice"].as_str().unwrap_or_default()));
    let document = serde_json::json!({
        "result": result,
        "alert": alert,
        "report": folder.join("report.json"),
        "pictures": folder.join("pictures"),
    });
    ui.result(&document, lines.join("\n"))
}

fn headline(result: &Value, alert: Option<&Value>) -> String {
    let class = &result["data"]["patient_class"];
    let classes = format!(
        "base {}, high sensitivity {}",
        class["base"].as_str().unwrap_or("?"),
        class["high"].as_str().unwrap_or("?")
    );
    let verdict = verdict(result).unwrap_or_default().replace('_', " ");
    match alert {
        Some(alert) => format!(
            "ALERT received over MQTT: {verdict} ({classes}), id {}",
            alert["id"].as_str().unwrap_or_default()
        ),
        None => format!("RESULT received over MQTT, no alert: {verdict} ({classes})"),
    }
}

fn lesion_line(lesion: &Value) -> String {
    let number = |field: &str| lesion[field].as_f64().unwrap_or(0.0);
    let centre = lesion["centre_ras_mm"].as_array().into_iter().flatten();
    let centre: Vec<String> = centre.map(|c| format!("{:.0}", c.as_f64().unwrap_or(0.0))).collect();
    format!(
        "  {} {}: {}, {:.1} cm3, {:.0} mm, at {} mm RAS, seen in {}",
        if lesion["malignant"] == true { "suspected finding" } else { "finding" },
        lesion["id"],
        lesion["class"].as_str().unwrap_or("?"),
        number("volume_cm3"),
        number("max_diameter_mm"),
        centre.join(" "),
        lesion["seen_in"].as_str().unwrap_or("?"),
    )
}

fn truth_line(truth: &[LesionTruth]) -> String {
    let one = |lesion: &LesionTruth| {
        let [x, y, z] = lesion.centre_ras_mm;
        format!("{} at {x:.0} {y:.0} {z:.0}", lesion.kind)
    };
    let all: Vec<String> = truth.iter().map(one).collect();
    if all.is_empty() { "no lesion".to_owned() } else { all.join(", ") }
}

/// Time left of a wait that began at a moment.
fn left(began: Instant, most: Duration) -> Duration {
    most.saturating_sub(began.elapsed())
}
