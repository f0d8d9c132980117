//! `curate`: label what nobody has, list what disagrees, take corrections in, write the next set.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use serde_json::{Value, json};

use super::engines::{self, EngineArgs, require_there};
use super::label::failure as case_failure;
use super::study_files::Relabel;
use super::{Exit, Failure, Ui, words};
use crate::analyze::Analyzer;
use crate::curate::{CurateError, Listener, Plan, Row, Status, curate, next_set, require_experts};
use crate::daemon::stop_on_signals;
use crate::report::output;
use crate::ui::{ProgressMeter, counted, go_on};
use hepalert_labels::cases::{Folder, Who};
use hepalert_voxels::volume::LabelMap;

/// Arguments of `curate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A folder of cases, as `label` takes it.
    folder: PathBuf,
    /// Where the engine's reports, disagreement.csv and pictures go; the same folder again goes on
    /// where it ended.
    #[arg(long)]
    out: PathBuf,
    /// Where labels are kept [default: hepalert-labels in the folder of cases].
    #[arg(long)]
    work: Option<PathBuf>,
    /// Whose labels are a person's: readers, or labels that came with a case as `labels:NAME`; the
    /// first of these that a case has.
    #[arg(long, value_delimiter = ',')]
    expert: Vec<Who>,
    /// What their values mean here, as 1=7,2=3.
    #[arg(long, default_value = "", value_parser = relabel, hide_default_value = true)]
    relabel: Relabel,
    /// Which classes their set marks wherever they are [default: those it has in any case].
    #[arg(long, value_delimiter = ',', value_parser = words::number(1..=u8::MAX))]
    expert_classes: Vec<u8>,
    /// Readers whose corrected labels are taken in: the first of these that a case has.
    #[arg(long, value_delimiter = ',')]
    corrected: Vec<Who>,
    /// Write the next training set (nnU-Net raw data) into this folder.
    #[arg(long, value_name = "DIR")]
    dataset: Option<PathBuf>,
    /// Cases that get a picture, the most disputed first.
    #[arg(long, default_value_t = 20)]
    pictures: usize,
    /// Print a line of JSON per case as soon as it is through, then the document in one line.
    #[arg(long)]
    lines: bool,
    #[command(flatten)]
    engine: EngineArgs,
}

fn relabel(text: &str) -> Result<Relabel, String> {
    if text.is_empty() { Ok(Relabel::default()) } else { text.parse() }
}

/// Tells of a run as it goes on.
struct Telling<'a> {
    ui: &'a Ui,
    progress: ProgressMeter,
    lines: bool,
    /// Set by Ctrl-C: the case in hand is given up, what is done stays.
    stop: &'a AtomicBool,
    through: usize,
}

impl Listener for Telling<'_> {
    fn at(&mut self, case: usize, of: usize) -> ControlFlow<()> {
        self.progress.step(case, of);
        go_on(self.stop)
    }

    fn done(&mut self, row: &Row) {
        self.through += 1;
        if self.lines {
            self.ui.line(row);
        } else {
            self.ui.note(row.text());
        }
    }
}

/// Runs the command.
///
/// # Errors
/// Exit 3 for labels that are refused, 4 for an engine that cannot be used.
pub(crate) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    require_there(&args.folder)?;
    let folder = Folder::open(&args.folder, args.work.as_deref())
        .and_then(Folder::as_in_house)
        .map_err(case_failure)?;
    if folder.cases().is_empty() {
        let error = anyhow::anyhow!(
            "{}: no case is there; `hepalert label` tells why",
            args.folder.display()
        );
        return Err(Failure::refused("no_case", error));
    }
    require_experts(&folder, &args.expert).map_err(|error| failure(error, 0, &args.out))?;
    output::make_folder(&args.out)?;
    let stop = stop_on_signals().map_err(Failure::failed)?;
    ui.note("loading and testing the engine");
    let mut analyzer = Analyzer::open(args.engine.settings()?).map_err(engines::unusable)?;
    let marked: BTreeSet<u8> = args.expert_classes.iter().copied().collect();
    let relabel = |map: &mut LabelMap| args.relabel.apply(map);
    let plan = Plan {
        folder: &folder,
        out: &args.out,
        experts: &args.expert,
        relabel: (!args.relabel.is_empty()).then_some(&relabel as _),
        marked: Some(marked).filter(|marked| !marked.is_empty()),
        corrected: &args.corrected,
        pictures: args.pictures,
    };
    let progress = ui.meter("cases");
    let mut telling = Telling { ui, progress, lines: args.lines, stop: &stop, through: 0 };
    let rows = curate(&plan, &mut analyzer, &mut telling)
        .map_err(|error| failure(error, telling.through, &args.out))?;
    drop(telling);
    let bundle = analyzer.bundle();
    let engine = json!({"id": bundle.id(), "version": bundle.version(),
        "sha256": bundle.fingerprint(), "pipeline": analyzer.fingerprint()});
    let set = match &args.dataset {
        Some(out) => Some(
            next_set(&plan, &rows, &engine, out, &|| go_on(&stop))
                .map_err(|error| failure(error, rows.len(), &args.out))?,
        ),
        None => None,
    };
    let mut text: Vec<String> = rows.iter().map(Row::text).collect();
    let labelled = rows.iter().filter(|row| row.status == Status::Done).count();
    text.push(format!(
        "{}, {labelled} with labels of the engine; {} and pictures say where to look first",
        counted(rows.len(), "case"),
        args.out.join("disagreement.csv").display()
    ));
    if let Some(set) = &set {
        text.push(format!("{} in {}", counted(set.cases, "case"), set.out.display()));
    }
    let document: Value = json!({"folder": folder.root(), "work": folder.work(), "out": args.out,
        "engine": engine, "cases": rows, "dataset": set});
    match args.lines {
        true => {
            ui.line(&document);
            Ok(())
        }
        false => ui.result(&document, text.join("\n")),
    }
}

/// A run that ended when so many cases were through: what there is, and how to go on.
fn failure(error: CurateError, through: usize, out: &Path) -> Failure {
    match error {
        CurateError::NoExpert { .. } => Failure::new(Exit::Usage, error).with_code("unknown_name"),
        CurateError::Stopped => Failure::stopped(format!(
            "{} done, with the engine's reports in {}; the same command again goes on from there",
            counted(through, "case"),
            out.join("engine").display()
        )),
        CurateError::Case(error) => case_failure(error),
        CurateError::Output(error) => error.into(),
        CurateError::Engine(error) => engines::unusable(error),
        CurateError::Picture(_) => Failure::new(Exit::Failed, error),
    }
}
