//! `demo`: the whole main job on this machine, told in a few lines.
//!
//! Owns the arguments, the synthetic patient and the words; [`demo`] plays it.

use std::path::PathBuf;

use serde_json::Value;

use super::stopping::EndsOnSignal;
use super::{Exit, Failure, Ui, engines, phantom, segment, words};
use crate::config;
use crate::demo::{self, Heard, Places, Stop};
use crate::ui::counted;
use hepalert_lab::phantom::{Case, LesionTruth, Size, generate_moving};
use hepalert_study::phase::Setting;
use hepalert_study::result::REPORT;

/// Arguments of `demo`.
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
    #[arg(long, default_value_t = 512, value_parser = words::number::<u16>(64..=512))]
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

/// Runs the command.
///
/// # Errors
/// Exit 5 without a broker, 4 without an engine, 1 if no result arrives.
pub(crate) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    let engine = match &args.engine {
        Some(engine) => engine.clone(),
        None => engines::shipped_bundle(engine_of(args.setting()))?,
    };
    // Looked at before anything is made: the daemon would say so a minute later.
    segment::open_bundle(&engine)?;
    let places = Places::prepare(&args.out, args.study.as_deref())?;
    let again = places.what_is_left();
    let signals = EndsOnSignal::now(ui, format!("no daemon and no broker ran yet; {again}"))?;
    let truth = match &args.study {
        Some(_) => None,
        None => Some(make_study(args, &places, ui)?),
    };
    // From here on others run, which are to end too.
    let stop = Stop::on_signals(format!("daemon and broker have ended too; {again}"))?;
    drop(signals);
    let source = args.study.as_deref().unwrap_or(&places.source);
    let heard = demo::play(&places, source, &engine, &stop, ui)?;
    conclude(&places, &heard, truth.as_deref(), ui)
}

/// The engine for a setting, as it comes with the program.
fn engine_of(setting: Setting) -> &'static str {
    match setting {
        Setting::Screening => "phantom-screening",
        Setting::Diagnosis => "phantom-diagnosis",
        _ => "venous-demo",
    }
}

fn make_study(args: &Args, places: &Places, ui: &Ui) -> Result<Vec<LesionTruth>, Failure> {
    let case = if args.normal { Case::Normal } else { Case::Malignant };
    ui.say(format!("phantom: making the synthetic patient of seed {}", args.seed));
    let size = Size { pixels: usize::from(args.pixels), ..Size::FULL };
    let patient = generate_moving(args.seed, case, args.setting(), size);
    let files = phantom::write_series(&patient, &places.source)?;
    ui.say(format!(
        "phantom: {} of {} with {} in {}",
        counted(files.len(), "slice"),
        counted(patient.phases.len(), "phase"),
        counted(patient.lesions.len(), "lesion"),
        places.source.display()
    ));
    Ok(patient.lesions)
}

fn conclude(
    places: &Places,
    heard: &Heard,
    truth: Option<&[LesionTruth]>,
    ui: &Ui,
) -> Result<(), Failure> {
    let (result, alert) = (&heard.result, heard.alert.as_ref());
    let data = &result["data"];
    if heard.verdict().is_none() {
        let code = data["code"].as_str().unwrap_or("unknown");
        let error = anyhow::anyhow!(
            "the study ended as {} ({code}); the daemon's words are in {}",
            data["state"].as_str().unwrap_or("unknown"),
            places.daemon_log().display()
        );
        return Err(Failure::new(Exit::Refused, error));
    }
    let key = data["study_key"].as_str().unwrap_or_default();
    let revision = result["rev"].as_u64().and_then(|n| u32::try_from(n).ok()).unwrap_or_default();
    let store = config::Store { folder: places.state.clone(), ..config::Store::default() };
    let folder = store.result(key, revision);
    let mut lines = vec![String::new(), headline(heard)];
    for lesion in data["lesions"].as_array().into_iter().flatten() {
        lines.push(lesion_line(lesion));
    }
    if let Some(truth) = truth {
        lines.push(format!("  truth of the phantom: {}", truth_line(truth)));
    }
    let seconds = data["timing"]["time_to_notification_s"].as_f64().unwrap_or(0.0);
    lines.push(format!("  from complete study to notification: {seconds:.1} s"));
    lines.push(format!("  pictures: {}", folder.join("pictures").display()));
    lines.push(format!("  report:   {}", folder.join(REPORT).display()));
    lines.push(format!("  {}", data["notice"].as_str().unwrap_or_default()));
    let document = serde_json::json!({
        "result": result,
        "alert": alert,
        "report": folder.join(REPORT),
        "pictures": folder.join("pictures"),
    });
    ui.result(&document, lines.join("\n"))
}

fn headline(heard: &Heard) -> String {
    let class = &heard.result["data"]["patient_class"];
    let classes = format!(
        "base {}, high sensitivity {}",
        class["base"].as_str().unwrap_or("?"),
        class["high"].as_str().unwrap_or("?")
    );
    let verdict = heard.verdict().unwrap_or_default().replace('_', " ");
    match &heard.alert {
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
