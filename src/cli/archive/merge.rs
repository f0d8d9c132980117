//! `archive merge`: the results of all parts put together.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::super::analyze::table::{self, Row};
use super::super::{Failure, Ui, evaluate};
use super::wrong;
use crate::archive::cohort::{Cohort, add_up};
use crate::archive::results::Results;
use crate::archive::status::briefs;
use crate::report::output::{self, MADE_BY};
use hepalert_lab::evaluate::cohort::{self, CaseFiles, Predicted};

/// Arguments of `archive merge`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The list.
    #[arg(long)]
    list: PathBuf,
    /// Folder of the results.
    #[arg(long)]
    results: PathBuf,
    /// Folder for summary.csv, cohort.json and cohort.md.
    #[arg(long)]
    out: PathBuf,
    /// Folder of true label maps, `<study key>.nii.gz`, of some studies or all: their tables and plots as
    /// `evaluate` makes them are written too.
    #[arg(long)]
    truth: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// Exit 3 while a study has no result, with its name.
pub(super) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    output::check_results(&args.out)?;
    let list = briefs(&args.list).map_err(wrong)?;
    let results = Results::at(&args.results);
    let bound = results.bound_to(list.digest).map_err(wrong)?;
    let (cohort, rows) = add_up(&list, &results, &bound, |study, ended| {
        let key = study.key.as_str();
        let row = match ended {
            Ok(report) => Row::done(key, report, &results.report(&study.key)),
            Err(reason) => Row::refused(key, &reason.code, &reason.detail),
        };
        row.at(Path::new(&*study.place))
    })
    .map_err(wrong)?;
    output::make_folder(&args.out)?;
    table::write(&args.out, &[], &rows)?;
    let text = cohort.markdown();
    output::put(&args.out.join("cohort.md"), format!("{MADE_BY}\n{text}").as_bytes(), &[])?;
    output::put_json(&args.out.join("cohort.json"), &cohort, &[])?;
    if let Some(truth) = &args.truth {
        let known: BTreeSet<&str> =
            rows.iter().filter(|row| row.status == "done").map(|row| row.case.as_str()).collect();
        held_against(truth, &known, &results, args, ui)?;
    }
    said(&cohort, &args.out, ui)
}

fn said(cohort: &Cohort, out: &Path, ui: &Ui) -> Result<(), Failure> {
    let files = [table::FILE, "cohort.md", "cohort.json"].map(|name| out.join(name));
    let files: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    ui.say(format!("written: {}", files.join(", ")));
    ui.result(cohort, cohort.markdown().trim_end())
}

/// Writes the tables of the studies whose truth is known.
fn held_against(
    truth: &Path,
    known: &BTreeSet<&str>,
    results: &Results,
    args: &Args,
    ui: &Ui,
) -> Result<(), Failure> {
    let truths = evaluate::truths(truth)?;
    let case = |(name, path): (String, PathBuf)| {
        let key = hepalert_study::study::StudyKey::new(&name).filter(|_| known.contains(&*name));
        let key = key.ok_or_else(|| {
            let error = anyhow::anyhow!(
                "{}: no study of the list with a report has this key; name truths by study keys, or \
                 take this one away",
                path.display()
            );
            Failure::refused("no_prediction", error)
        })?;
        let predicted = Predicted::Folder(results.report(&key));
        Ok(CaseFiles { name, truth: path, predicted, no_shuffle: None })
    };
    let cases: Vec<CaseFiles> = truths.into_iter().map(case).collect::<Result<_, Failure>>()?;
    let cohort = cohort::Cohort { cases, left_out: Vec::new() };
    evaluate::write(cohort, None, &[], &args.out, ui).map(drop)
}
