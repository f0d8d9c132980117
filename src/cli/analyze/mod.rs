//! `analyze`: one study, or many one after the other, now.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use clap::Args as ClapArgs;

use super::engines::{self, EngineArgs};
use super::study_files::{PhaseFile, key_of, phase_twice};
use super::{Failure, Ui, words};
use crate::analyze::objects::{NOT_MADE, ObjectSettings};
use crate::analyze::{AnalyzeError, Analyzer, Settings};
use crate::codes;
use crate::daemon::stop_on_signals;
use crate::intake::study::phases::PhaseRules;
use crate::intake::{
    Discovered, GateParams, NotTaken, Refusal, StudyFiles, discover, files_of_paths,
};
use crate::report::files::WriteError;
use crate::report::output;
use crate::report::types::{LesionRecord, Report};
use crate::ui::go_on;
use hepalert_study::outcome::KeepReason;
use hepalert_study::phase::{Phase, Setting};
use hepalert_study::result::REPORT;

mod batch;
mod given;
mod names;
mod prior;
pub(super) mod table;

/// Arguments of `analyze`.
#[derive(Debug, Clone, ClapArgs)]
pub struct Args {
    /// A folder of DICOM slices, a NIfTI file, or a folder of NIfTI files. Of several inputs, or of
    /// a folder with several studies, each study gets a folder of its own below OUT, and
    /// OUT/summary.csv lists them all; what is done already is not done again. Patterns (`*`, `?`,
    /// `[..]`) that no shell has expanded are expanded here.
    #[arg(required_unless_present = "phase")]
    pub input: Vec<PathBuf>,
    /// Folder for the report; an earlier report there is replaced, anything else is refused.
    #[arg(long)]
    pub out: PathBuf,
    /// Write a folder per study and summary.csv even if there is one study only.
    #[arg(long, conflicts_with = "phase")]
    pub each: bool,
    /// Refuse anything but one study, before any is computed: for programs that read one result.
    #[arg(long, conflicts_with = "each")]
    pub one: bool,
    /// A phase and its file or folder, as `vp=PATH`; instead of INPUT, once per phase.
    #[arg(long, value_parser = parse_phase, value_name = "PHASE=PATH", conflicts_with = "input")]
    pub phase: Vec<(Phase, PathBuf)>,
    /// Refuse unless the engine is for this setting.
    #[arg(long, value_parser = words::settings())]
    pub setting: Option<Setting>,
    /// Write margin.nii.gz too, from which `evaluate --sweep` reads every lesion gain.
    #[arg(long)]
    pub margin: bool,
    /// Write DICOM objects beside the report too: segmentation, structured report, key images. They
    /// hold the patient's name and number as the images do; nothing else of the result does.
    #[arg(long)]
    pub dicom: bool,
    /// Segment all organs in the DICOM segmentation, and not the liver alone.
    #[arg(long, requires = "dicom")]
    pub organs: bool,
    /// Write an encapsulated PDF of the report too.
    #[arg(long, requires = "dicom")]
    pub pdf: bool,
    /// Result of an earlier study of the same patient, made with --dicom: findings that are found again
    /// keep their tracking UIDs, as they do on a device.
    #[arg(long, requires = "dicom", value_name = "RESULT", conflicts_with = "each")]
    pub prior: Option<PathBuf>,
    /// Take the site's rules for phases from this configuration.
    #[arg(long)]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    engine: EngineArgs,
}

/// Reads `vp=PATH`.
///
/// # Errors
/// A sentence that names the four codes.
pub(crate) fn parse_phase(text: &str) -> Result<(Phase, PathBuf), String> {
    let PhaseFile { phase, path } = text.parse()?;
    Ok((phase, path))
}

/// Runs the command.
///
/// # Errors
/// Exit 3 for a refused input, 4 for an engine that cannot be used.
pub(crate) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    let args = &given::inputs(args, ui)?;
    for (at, (phase, _)) in args.phase.iter().enumerate() {
        if args.phase[..at].iter().any(|(before, _)| before == phase) {
            return Err(phase_twice(*phase));
        }
    }
    let objects = args.dicom.then_some(ObjectSettings {
        captures: true,
        pdf: args.pdf,
        organs: args.organs,
        device: None,
    });
    let settings = Settings { keep_margin: args.margin, objects, ..args.engine.settings()? };
    let phases = args.phase.iter().map(|(_, path)| path);
    let inputs = phases.chain(&args.input).chain(&args.prior);
    let inputs: Vec<&Path> = inputs.map(PathBuf::as_path).collect();
    if args.each || args.input.len() > 1 {
        batch::check_out(&args.out, &inputs)?;
    } else if !args.out.join(table::FILE).exists() {
        output::check_folder(&args.out, &inputs)?;
    }
    ui.note("loading and testing the engine");
    let mut analyzer = Analyzer::open(settings.clone()).map_err(engines::unusable)?;
    if let Some(wanted) = args.setting
        && wanted != analyzer.setting()
    {
        let found = analyzer.setting().name();
        return Err(Failure::new(
            super::Exit::Usage,
            anyhow::anyhow!("the engine is for {found}, not for {}", wanted.name()),
        ));
    }
    let wanted = analyzer.wanted().map_err(engines::unusable)?;
    let rules = rules(args.config.as_deref())?;
    let look = Look { wanted: &wanted, rules: &rules, gate: &settings.gate };
    match given(args, &look, ui)? {
        Given::One(mut files) => {
            let prior = args.prior.as_deref().map(|folder| prior::checked(folder, &files));
            files.prior = prior.transpose()?;
            output::check_folder(&args.out, &inputs)?;
            let stop = stop_on_signals().map_err(Failure::failed)?;
            let report = analyze(&mut analyzer, &files, &args.out, &stop, ui)?;
            if args.dicom && report.quality.iter().any(|flag| flag == NOT_MADE) {
                ui.say(
                    "the DICOM objects could not be made: they refer to the images of a DICOM study"
                        .to_owned(),
                );
            }
            ui.result(&report, summary(&report, Some(&args.out)))
        }
        Given::Many(_) if args.prior.is_some() => {
            let why = "--prior is of one patient: give one study";
            Err(Failure::new(super::Exit::Usage, anyhow::anyhow!(why)))
        }
        Given::Many(Some(found)) if args.one => {
            let (count, place) = (found.studies.len(), args.input[0].display());
            let error = anyhow::anyhow!("--one: {place} holds {count} studies: give one of them");
            Err(Failure::new(super::Exit::Usage, error))
        }
        Given::Many(found) => batch::run(args, &mut analyzer, &look, found, ui),
    }
}

/// How studies are looked for.
struct Look<'a> {
    wanted: &'a [Vec<Phase>],
    rules: &'a PhaseRules,
    gate: &'a GateParams,
}

impl Look<'_> {
    /// The studies in a file or folder.
    fn at(&self, input: &Path) -> Result<Discovered, Failure> {
        engines::require_there(input)?;
        let found = discover(input, self.wanted, self.rules, self.gate, &key_of);
        found.map_err(engines::refused_at(input))
    }
}

/// What the arguments name.
enum Given {
    /// One study.
    One(Box<StudyFiles>),
    /// Several inputs, or one with several studies, which were found already.
    Many(Option<Discovered>),
}

fn given(args: &Args, look: &Look<'_>, ui: &Ui) -> Result<Given, Failure> {
    let one = |files| Given::One(Box::new(files));
    match (args.input.as_slice(), args.each) {
        ([], _) => {
            args.phase.iter().try_for_each(|(_, path)| engines::require_there(path))?;
            let named = files_of_paths(&key_of("--phase"), &args.phase);
            named.map(one).map_err(engines::refused)
        }
        ([input], false) => {
            let mut found = look.at(input)?;
            if found.studies.len() != 1 {
                return Ok(Given::Many(Some(found)));
            }
            // One result must not look as if it were all that lies there.
            for NotTaken { place, refusal: Refusal { code, detail, .. }, .. } in &found.refused {
                let place = place.display();
                ui.say(format!("also there, and not analysed: {place} ({code}: {detail})"));
            }
            for place in batch::places_of_none(input, &found) {
                let place = place.display();
                ui.say(format!("also there, and nothing new to analyse in it: {place}"));
            }
            Ok(one(found.studies.remove(0)))
        }
        _ => Ok(Given::Many(None)),
    }
}

/// Runs the cascade with a progress line for each stage, until `stop` is set.
///
/// # Errors
/// As [`run`].
fn analyze(
    analyzer: &mut Analyzer,
    files: &StudyFiles,
    out: &Path,
    stop: &AtomicBool,
    ui: &Ui,
) -> Result<Report, Failure> {
    let mut shown = (String::new(), ui.progress(""));
    let mut watch = |stage: &str, done: usize, total: usize| {
        if shown.0 != stage {
            shown = (stage.to_owned(), ui.progress(stage));
        }
        shown.1.step(done, total);
        go_on(stop)
    };
    analyzer.study(files, out, &mut watch).map_err(failure)
}

/// The exit code of a failed analysis.
pub(crate) fn failure(error: AnalyzeError) -> Failure {
    match error {
        AnalyzeError::Refused(refusal) => engines::refused(refusal),
        AnalyzeError::Align(error) => Failure::refused(error.code(), error),
        AnalyzeError::Engine(error) => engines::unusable(error),
        AnalyzeError::Write(WriteError::Output(error)) => error.into(),
        error @ (AnalyzeError::Pipeline(_) | AnalyzeError::Write(_)) => Failure::failed(error),
        AnalyzeError::Stopped => Failure::stopped("nothing is written"),
    }
}

/// The rules of a configuration, or none.
///
/// # Errors
/// Exit 6 for a configuration that cannot be used.
pub(crate) fn rules(config: Option<&Path>) -> Result<PhaseRules, Failure> {
    match config {
        Some(file) => Ok(crate::daemon::phase_rules(&super::run::read(file)?)),
        None => Ok(PhaseRules::default()),
    }
}

/// How many lesions went, and for what.
fn discarded_line(discarded: &[LesionRecord]) -> String {
    let mut reasons = BTreeMap::<KeepReason, usize>::new();
    for lesion in discarded {
        *reasons.entry(lesion.reclassified.outcome).or_default() += 1;
    }
    let reasons: Vec<String> =
        reasons.iter().map(|(name, count)| format!("{name} {count}")).collect();
    match discarded.len() {
        0 => "discarded: none".to_owned(),
        all => format!("discarded: {all} ({})", reasons.join(", ")),
    }
}

/// What a person reads; with where report and pictures lie, if they are on the disk.
pub(crate) fn summary(report: &Report, out: Option<&Path>) -> String {
    let mut lines = vec![format!("verdict: {}", report.verdict.name().replace('_', " "))];
    lines.push(format!(
        "patient class: base {}, high sensitivity {} ({})",
        report.patient_class.base, report.patient_class.high, report.paper_status
    ));
    lines.push(format!("liver: {:.0} cm3", report.liver_cm3));
    lines.extend(report.lesions.iter().map(lesion_line));
    if report.lesions.is_empty() {
        lines.push("no lesion kept".to_owned());
    }
    lines.push(discarded_line(&report.discarded));
    lines.extend(report.quality.iter().map(|flag| format!("quality: {}", codes::told(flag))));
    let stages = report.timing.stages.iter();
    let stages: Vec<String> =
        stages.map(|stage| format!("{} {:.1} s", stage.stage, stage.seconds)).collect();
    lines.push(format!("time: {:.1} s ({})", report.timing.total_s, stages.join(", ")));
    lines.push(format!("peak memory: {:.0} MiB", report.peak_memory_mib));
    if let Some(out) = out {
        lines.push(format!("report: {}", out.join(REPORT).display()));
        lines.push(format!("pictures: {}", out.join("pictures").display()));
    }
    lines.push(report.notice.clone());
    lines.join("\n")
}

fn lesion_line(lesion: &LesionRecord) -> String {
    let what = if lesion.malignant { "suspected finding" } else { "finding" };
    let [x, y, z] = lesion.centre_ras_mm;
    format!(
        "{what} {}: {}, {:.1} cm3, longest {:.0} mm, at {x:.0} {y:.0} {z:.0} mm RAS, view {}",
        lesion.id,
        lesion.class,
        lesion.volume_cm3,
        lesion.max_diameter_mm,
        lesion.view.name()
    )
}
