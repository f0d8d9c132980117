//! `evaluate`: tables and plots over a cohort.

use std::path::{Path, PathBuf};

use clap::builder::PossibleValue;
use serde::Serialize;

use super::{Failure, Ui};
use crate::report::output::{self, MADE_BY, OutputError};
use hepalert_lab::evaluate::case::CaseResult;
use hepalert_lab::evaluate::cohort::{
    CaseFiles, Cohort, CohortError, Missing, Predicted, as_the_others, evaluate_case, find,
};
use hepalert_lab::evaluate::counted::{Counted, HEAD, key_of};
use hepalert_lab::evaluate::csv::csv;
use hepalert_lab::evaluate::markdown::markdown;
use hepalert_lab::evaluate::plot::{CHARTS, charts};
use hepalert_lab::evaluate::tables::Tables;
use hepalert_lab::evaluate::{self, Variant};

/// Arguments of `evaluate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of true label maps, `<case>.nii.gz`.
    #[arg(long)]
    truth: PathBuf,
    /// Folder of predictions: per case a label map of the same name, or a folder that
    /// `analyze` wrote.
    #[arg(long)]
    predicted: PathBuf,
    /// What becomes of cases of --truth without a prediction, as an analysis leaves them that refused
    /// studies. They are named in any case.
    #[arg(long, value_parser = missing(), default_value = Missing::default().name())]
    missing: Missing,
    /// A second folder of predictions, analysed on original patches only.
    #[arg(long)]
    predicted_no_shuffle: Option<PathBuf>,
    /// Folder for tables.json, tables.md, cases.csv and the plots; made if it is not there.
    #[arg(long)]
    out: PathBuf,
    /// Which variants to count; all that are there if none is named.
    #[arg(long, value_delimiter = ',', value_parser = variants())]
    variants: Vec<Variant>,
    /// Count missed and false lesions against the lesion gain as well, where a case has a
    /// margin.nii.gz.
    #[arg(long)]
    sweep: bool,
    /// The lesion gain at which labels_high.nii.gz was read, where no report says it: a sweep
    /// goes no further.
    #[arg(long, allow_negative_numbers = true, alias = "gain-high", default_value_t = 100.0)]
    alpha: f64,
}

fn variants() -> impl clap::builder::TypedValueParser<Value = Variant> {
    super::words::one_of(Variant::ALL.map(|variant| PossibleValue::new(variant.name())))
}

fn missing() -> impl clap::builder::TypedValueParser<Value = Missing> {
    super::words::one_of(Missing::ALL.map(|missing| {
        PossibleValue::new(missing.name()).help(match missing {
            Missing::Refuse => "count nothing",
            Missing::LeaveOut => "count the others alone, which flatters",
            Missing::CountMissed => "count all their lesions as missed",
        })
    }))
}

/// `tables.json`.
#[derive(Debug, Serialize)]
pub(super) struct Document {
    /// The cases, in the order of cases.csv.
    names: Vec<String>,
    /// Those of them that have no prediction: all their lesions are missed.
    missed: Vec<String>,
    /// Those that have none and are not counted.
    left_out: Vec<String>,
    #[serde(flatten)]
    tables: Tables,
}

/// Runs the command.
///
/// # Errors
/// If a case is refused, one has no prediction, or a file cannot be written.
pub(crate) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    output::check_results(&args.out)?;
    let cohort =
        find(&args.truth, &args.predicted, args.predicted_no_shuffle.as_deref(), args.missing)
            .map_err(not_found)?;
    if let Some(folder) = &args.predicted_no_shuffle
        && cohort.cases.iter().all(|case| case.no_shuffle.is_none())
    {
        let error = anyhow::anyhow!(
            "{}: no folder of this name holds a case of --truth: each case needs its own, as in --predicted",
            folder.display()
        );
        return Err(Failure::refused("no_prediction", error));
    }
    let asked = if args.variants.is_empty() { &Variant::ALL[..] } else { &args.variants };
    let (document, text) = write(cohort, args.sweep.then_some(args.alpha), asked, &args.out, ui)?;
    ui.result(&document, text.trim_end())
}

/// With the way out, where only predictions are missing.
fn not_found(error: CohortError) -> Failure {
    match error {
        CohortError::NoPrediction { ref cases, of, .. } if cases.len() < of => {
            let advice = "predict them, leave them out (--missing leave-out) or count their lesions as \
                          missed (--missing count-missed)";
            Failure::refused(error.code(), anyhow::anyhow!("{error}; {advice}"))
        }
        error => refused(error),
    }
}

fn refused(error: CohortError) -> Failure {
    Failure::refused(error.code(), error)
}

/// The true label maps of a folder by case.
///
/// # Errors
/// If the folder cannot be read or holds none.
pub(super) fn truths(folder: &Path) -> Result<Vec<(String, PathBuf)>, Failure> {
    evaluate::cohort::truths(folder).map_err(refused)
}

/// Counts the cases and writes tables and plots; the document, and the text of it.
///
/// # Errors
/// If a case is refused or a file cannot be written.
pub(super) fn write(
    cohort: Cohort,
    highest_gain: Option<f64>,
    asked: &[Variant],
    out: &Path,
    ui: &Ui,
) -> Result<(Document, String), Failure> {
    let Cohort { cases, left_out } = cohort;
    let missed = cases.iter().filter(|case| case.predicted == Predicted::Nothing);
    let missed: Vec<String> = missed.map(|case| case.name.clone()).collect();
    output::make_folder(out)?;
    let (results, counted) = count(&cases, highest_gain, &out.join("counted.jsonl"), ui)?;
    let tables = Tables::new(&results, asked);
    if highest_gain.is_some() && results.iter().all(|result| result.sweep.is_empty()) {
        ui.say("no sweep: no case has a margin.nii.gz, which `analyze --margin` writes");
    }
    let text = markdown(&tables) + &without_prediction(&missed, &left_out);
    let mut written = Vec::new();
    let charts = charts(&tables);
    // Charts of an earlier run that this one does not draw would be taken for its own.
    let earlier = CHARTS.iter().filter(|name| charts.iter().all(|(drawn, _)| drawn != *name));
    earlier.map(|name| out.join(name)).try_for_each(|file| output::remove(&file))?;
    for (name, svg) in charts {
        let file = out.join(name);
        output::put(&file, format!("{MADE_BY}\n{svg}").as_bytes(), &[])?;
        written.push(file);
    }
    let lines = csv(cases.iter().map(|case| case.name.as_str()).zip(&results), asked);
    output::put(&out.join("cases.csv"), lines.as_bytes(), &[])?;
    let marked = format!("{MADE_BY}\n{text}");
    output::put(&out.join("tables.md"), marked.as_bytes(), &[])?;
    let names = cases.into_iter().map(|case| case.name).collect();
    let document = Document { names, missed, left_out, tables };
    output::put_json(&out.join("tables.json"), &document, &[])?;
    written.extend(["tables.md", "tables.json", "cases.csv"].map(|name| out.join(name)));
    let written: Vec<String> = written.iter().map(|file| file.display().to_string()).collect();
    ui.say(format!("written: {}", written.join(", ")));
    counted.remove().map_err(Failure::failed)?;
    Ok((document, text))
}

/// What nobody is to overlook who reads the tables.
fn without_prediction(missed: &[String], left_out: &[String]) -> String {
    let told = |names: &[String], what: &str| match names {
        [] => String::new(),
        _ => format!("\n## Cases without a prediction\n\n{what}: {}\n", names.join(", ")),
    };
    told(missed, "Counted, all of their lesions as missed")
        + &told(left_out, "Left out of every count, which flatters")
}

/// Counts what an earlier run that was stopped has not counted.
fn count(
    cases: &[CaseFiles],
    highest_gain: Option<f64>,
    kept: &Path,
    ui: &Ui,
) -> Result<(Vec<CaseResult>, Counted), Failure> {
    output::check_file(kept, &[])?;
    if !Counted::is_begun(kept) {
        output::put(kept, HEAD.as_bytes(), &[])?;
    }
    let on_disk = |error| OutputError::File { path: kept.to_owned(), reason: error };
    let mut counted = Counted::open(kept).map_err(on_disk)?;
    let mut progress = ui.meter("cases");
    let mut results = Vec::with_capacity(cases.len());
    for (done, case) in cases.iter().enumerate() {
        let key = key_of(case, highest_gain).map_err(refused)?;
        match counted.of(&key) {
            Some(known) => results.push(known.clone()),
            None => {
                let result = evaluate_case(case, highest_gain).map_err(refused)?;
                counted.keep(key, result.clone()).map_err(on_disk)?;
                results.push(result);
            }
        }
        progress.step(done + 1, cases.len());
    }
    as_the_others(cases, &mut results);
    Ok((results, counted))
}
