//! Many studies, one after the other: the engine is loaded once, what is done is not done again.
//!
//! Owns the folder of results: one folder per study, named as its input, and the table of all. A
//! study that is refused or fails is a line of the table; the others go on.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use super::table::{self, Row};
use super::{Args, Look, analyze, engines, names};
use crate::analyze::Analyzer;
use crate::cli::{Failure, Ui};
use crate::daemon::stop_on_signals;
use crate::intake::StudyFiles;
use crate::intake::{Discovered, NotTaken};
use crate::report::output::{self, OutputError, is_same, is_within, report_of};
use crate::report::types::Report;
use crate::ui::counted;

/// Files of `--margin` in a study's folder.
const MARGIN: &str = "margin.nii.gz";

/// Whether a folder of results may be made here: results among the inputs would be inputs of the
/// next run.
///
/// # Errors
/// [`OutputError::InTheWay`].
pub(super) fn check_out(out: &Path, inputs: &[&Path]) -> Result<(), OutputError> {
    let in_the_way = |what| Err(OutputError::InTheWay { path: out.to_owned(), what });
    // A folder that is not there yet lies where the next one above it does.
    let there = out.ancestors().find(|path| path.is_dir());
    let is_inside = |input: &&Path| {
        let there = there.unwrap_or(Path::new("."));
        is_same(there, input) || is_within(there, input)
    };
    if inputs.iter().any(|input| input.is_dir() && is_inside(input)) {
        return in_the_way("the results of many studies would lie among the inputs");
    }
    if out.exists() && !out.is_dir() {
        return in_the_way("something else than a folder is there");
    }
    match out.join(output::REPORT).exists() {
        true => in_the_way("the report of one study is there"),
        false => Ok(()),
    }
}

/// Analyses every study of every input.
///
/// # Errors
/// Exit code of the first study without a result, once all are through; 1 if the table cannot be
/// written.
pub(super) fn run(
    args: &Args,
    analyzer: &mut Analyzer,
    look: &Look<'_>,
    mut found: Option<Discovered>,
    ui: &Ui,
) -> Result<(), Failure> {
    let inputs: Vec<&Path> = args.input.iter().map(|input| input.as_path()).collect();
    check_out(&args.out, &inputs)?;
    output::make_folder(&args.out)?;
    let pipelines = analyzer.fingerprints().map_err(engines::unusable)?;
    // From now on the folder is known as one of results.
    table::write(&args.out, &[])?;
    let input_names = names::of_inputs(&args.input);
    let stop = stop_on_signals().map_err(Failure::failed)?;
    let mut batch = Batch { args, inputs, pipelines, stop, rows: Vec::new(), repeated: 0 };
    for (input, name) in args.input.iter().zip(&input_names) {
        ui.note(format!("looking at {}", input.display()));
        let looked = found.take().map_or_else(|| look.at(input), Ok);
        match looked {
            Ok(found) => batch.input(input, name, &found, analyzer, ui)?,
            Err(failure) => batch.take(Row::failed(name, &failure), ui)?,
        }
    }
    batch.told(ui)
}

/// What is under way.
struct Batch<'a> {
    args: &'a Args,
    inputs: Vec<&'a Path>,
    pipelines: Vec<String>,
    /// Set by Ctrl-C: the study in hand is given up, what is done stays.
    stop: Arc<AtomicBool>,
    rows: Vec<Row>,
    /// How many were done before.
    repeated: usize,
}

impl Batch<'_> {
    fn input(
        &mut self,
        input: &Path,
        name: &str,
        found: &Discovered,
        analyzer: &mut Analyzer,
        ui: &Ui,
    ) -> Result<(), Failure> {
        let mut cases = names::of_found(input, name, found);
        if self.inputs.len() > 1 && cases.len() > 1 {
            cases.iter_mut().for_each(|inside| *inside = format!("{name}-{inside}"));
        }
        let (done, refused) = cases.split_at(found.studies.len());
        for (files, case) in found.studies.iter().zip(done) {
            self.go_on()?;
            let row = self.study(case, files, analyzer, ui);
            self.go_on()?;
            self.take(row, ui)?;
        }
        for (NotTaken { place, refusal, .. }, case) in found.refused.iter().zip(refused) {
            self.take(Row::refused_at(case, place, refusal), ui)?;
        }
        Ok(())
    }

    /// # Errors
    /// Once a signal asked for the end.
    fn go_on(&self) -> Result<(), Failure> {
        if !self.stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        let done = counted(self.rows.len(), "study");
        let summary = self.args.out.join(table::FILE);
        let error = anyhow::anyhow!(
            "stopped by a signal after {done}, listed in {}; the same command again goes on from there",
            summary.display()
        );
        Err(Failure::failed(error))
    }

    fn study(&mut self, case: &str, files: &StudyFiles, analyzer: &mut Analyzer, ui: &Ui) -> Row {
        let folder = self.args.out.join(case);
        if let Some(report) = self.done_before(&folder, files) {
            self.repeated += 1;
            return Row::done(case, &report, &folder);
        }
        let checked = output::check_folder(&folder, &self.inputs).map_err(Failure::from);
        match checked.and_then(|()| analyze(analyzer, files, &folder, &self.stop, ui)) {
            Ok(report) => Row::done(case, &report, &folder),
            Err(failure) => Row::failed(case, &failure),
        }
    }

    /// The report of this very input by this very pipeline.
    fn done_before(&self, folder: &Path, files: &StudyFiles) -> Option<Report> {
        let is_whole = !self.args.margin || folder.join(MARGIN).is_file();
        report_of(folder).filter(|report| {
            is_whole
                && report.input.fingerprint == files.fingerprint.hex()
                && self.pipelines.contains(&report.pipeline.fingerprint)
        })
    }

    /// Notes a row, and writes the table as far as it is known.
    fn take(&mut self, row: Row, ui: &Ui) -> Result<(), Failure> {
        ui.note(row.text());
        self.rows.push(row);
        Ok(table::write(&self.args.out, &self.rows)?)
    }

    fn told(self, ui: &Ui) -> Result<(), Failure> {
        let Batch { args, rows, repeated, .. } = self;
        let summary = args.out.join(table::FILE);
        let mut lines: Vec<String> = rows.iter().map(Row::text).collect();
        let done = rows.iter().filter(|row| row.status == "done").count();
        lines.push(format!(
            "{done} of {} studies have a result, {repeated} of them from before: {}",
            rows.len(),
            summary.display()
        ));
        let document = json!({"out": args.out, "summary": summary, "done_before": repeated,
            "studies": rows});
        ui.result(&document, lines.join("\n"))?;
        match rows.iter().find_map(|row| row.exit) {
            Some(exit) => {
                let (without, all) = (rows.len() - done, rows.len());
                let error = anyhow::anyhow!(
                    "{without} of {all} studies have no result; {} says why, and the same command \
                     again tries those alone",
                    summary.display()
                );
                Err(Failure::new(exit, error).after_result())
            }
            None => Ok(()),
        }
    }
}
