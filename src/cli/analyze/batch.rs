//! Many studies, one after the other: the engine is loaded once, what is done is not done again.
//!
//! Owns the folder of results: one folder per study, named as its input, and the table of all. A
//! study that is refused or fails is a line of the table; the others go on.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use super::table::{self, Earlier, Row};
use super::{Args, Look, analyze, engines, names};
use crate::analyze::Analyzer;
use crate::cli::{Failure, Ui};
use crate::daemon::stop_on_signals;
use crate::intake::{Discovered, NotTaken, RefusalCode, StudyFiles};
use crate::report::output::{self, OutputError, report_of};
use crate::report::types::Report;
use crate::ui::counted;
use hepalert_study::result::MARGIN;
use hepalert_study::study::StudyKey;

/// Whether a folder of results may be made here: results among the inputs would be inputs of the
/// next run.
///
/// # Errors
/// [`OutputError::InTheWay`].
pub(super) fn check_out(out: &Path, inputs: &[&Path]) -> Result<(), OutputError> {
    let in_the_way = |what| Err(OutputError::InTheWay { path: out.to_owned(), what });
    let among = "the results of many studies would lie among the inputs";
    output::check_apart(out, inputs, among)?;
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
    // Held until the end: two at once would compute all twice.
    let _alone = output::alone_in(&args.out)?;
    let pipelines = analyzer.fingerprints().map_err(engines::unusable)?;
    let earlier = table::earlier(&args.out);
    // From now on the folder is known as one of results.
    table::write(&args.out, &earlier, &[])?;
    let input_names = names::of_inputs(&args.input);
    let stop = stop_on_signals().map_err(Failure::failed)?;
    let (rows, seen, repeated) = (Vec::new(), BTreeSet::new(), 0);
    let mut batch = Batch { args, look, inputs, pipelines, stop, earlier, rows, seen, repeated };
    for (input, name) in args.input.iter().zip(&input_names) {
        ui.note(format!("looking at {}", input.display()));
        let looked = found.take().map_or_else(|| look.at(input), Ok);
        match looked {
            Ok(found) => batch.input(input, name, &found, analyzer, ui)?,
            Err(failure) => {
                let case = batch.free_name(name, None, input);
                batch.take(Row::failed(&case, &failure).at(input), ui)?;
            }
        }
    }
    batch.told(ui)
}

/// The folders and NIfTI files right below an input of which nothing is read and nothing is refused:
/// nobody is to wonder where a patient went.
pub(super) fn places_of_none(input: &Path, found: &Discovered) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(input).into_iter().flatten().flatten();
    let mut places: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    let read = found.studies.iter().flat_map(StudyFiles::files);
    let told = read.chain(found.refused.iter().map(|one| one.place.as_path()));
    let first =
        |path: &Path| path.strip_prefix(input).ok()?.components().next().map(|c| input.join(c));
    let told: BTreeSet<PathBuf> = told.filter_map(first).collect();
    places.retain(|place| {
        let name = place.file_name().unwrap_or_default().to_string_lossy();
        let is_volume =
            (name.ends_with(".nii") || name.ends_with(".nii.gz")) && !place.is_symlink();
        (place.is_dir() || is_volume) && !name.starts_with('.') && !told.contains(place)
    });
    places.sort();
    places
}

/// What is under way.
struct Batch<'a> {
    args: &'a Args,
    look: &'a Look<'a>,
    inputs: Vec<&'a Path>,
    pipelines: Vec<String>,
    /// Set by Ctrl-C: the study in hand is given up, what is done stays.
    stop: Arc<AtomicBool>,
    /// What runs before this one wrote of the folder's studies.
    earlier: Vec<Earlier>,
    rows: Vec<Row>,
    /// Where what was found: an input may lie in another.
    seen: BTreeSet<(PathBuf, String)>,
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
            let place = files.place();
            if !self.is_first(&place, &files.fingerprint.hex(), ui) {
                continue;
            }
            let case = self.free_name(case, Some(&files.key), &place);
            let row = self.study(&case, files, analyzer, ui);
            self.go_on()?;
            self.take(row.at(&place), ui)?;
        }
        for (NotTaken { key, place, refusal }, case) in found.refused.iter().zip(refused) {
            if !self.is_first(place, &format!("{} {}", key.as_str(), refusal.code), ui) {
                continue;
            }
            let case = self.free_name(case, Some(key), place);
            self.take(Row::refused_at(&case, place, refusal), ui)?;
        }
        for place in places_of_none(input, found) {
            if !self.is_first(&place, "passed over", ui) {
                continue;
            }
            let inside = place.strip_prefix(input).unwrap_or(&place).display().to_string();
            let case = self.free_name(&inside, None, &place);
            let is_empty = self
                .look
                .at(&place)
                .is_err_and(|failure| failure.code == Some(RefusalCode::NoCtSeries.as_str()));
            let why = if is_empty { table::NO_IMAGES } else { table::COPIES };
            self.take(Row::passed_over(&case, &place, why), ui)?;
        }
        Ok(())
    }

    /// Whether this was not found by another input, which is told.
    fn is_first(&mut self, place: &Path, what: &str, ui: &Ui) -> bool {
        let whole = place.canonicalize().unwrap_or_else(|_| place.to_owned());
        let is_first = self.seen.insert((whole, what.to_owned()));
        if !is_first {
            ui.say(format!("{}: found by another input too, taken once", place.display()));
        }
        is_first
    }

    /// What an earlier run called the study that lies there: other inputs beside it change no name.
    fn known_name(&self, key: Option<&StudyKey>, place: &Path) -> Option<String> {
        let is_of = |report: &Report| key.is_some_and(|key| report.study_key == key.as_str());
        let of_this_study = |one: &&Earlier| {
            one.place == place
                && self.rows.iter().all(|row| row.case != one.case)
                && report_of(&self.args.out.join(&one.case)).as_ref().is_none_or(is_of)
        };
        self.earlier.iter().find(of_this_study).map(|one| one.case.clone())
    }

    /// The name itself, unless it is that of another study's result, here or by an earlier run: one
    /// patient's result never takes the place of another's.
    fn free_name(&self, name: &str, key: Option<&StudyKey>, place: &Path) -> String {
        if let Some(known) = self.known_name(key, place) {
            return known;
        }
        let is_free = |name: &String| {
            let of_this_run = self.rows.iter().any(|row| row.case == *name);
            let of_another = self.earlier.iter().any(|one| one.case == *name && one.place != place);
            let report = report_of(&self.args.out.join(name));
            let holds_another =
                report.is_some_and(|report| key.is_none_or(|key| report.study_key != key.as_str()));
            !(of_this_run || of_another || holds_another)
        };
        let told_apart = key.map_or_else(|| "other".to_owned(), |key| key.as_str()[..8].to_owned());
        let names = (1..).map(|number| match number {
            1 => name.to_owned(),
            2 => format!("{name}-{told_apart}"),
            _ => format!("{name}-{told_apart}-{}", number - 1),
        });
        names.into_iter().find(is_free).unwrap_or_else(|| name.to_owned())
    }

    /// # Errors
    /// Once a signal asked for the end.
    fn go_on(&self) -> Result<(), Failure> {
        if !self.stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        let done = counted(self.rows.len(), "study");
        let summary = self.args.out.join(table::FILE);
        Err(Failure::stopped(format!(
            "{done} done, listed in {}; the same command again goes on from there",
            summary.display()
        )))
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
        report_of(folder)
            .filter(|report| is_whole && report.is_of(files.fingerprint, &self.pipelines))
    }

    /// Notes a row, and writes the table as far as it is known.
    fn take(&mut self, row: Row, ui: &Ui) -> Result<(), Failure> {
        ui.say(row.text());
        self.rows.push(row);
        Ok(table::write(&self.args.out, &self.earlier, &self.rows)?)
    }

    fn told(self, ui: &Ui) -> Result<(), Failure> {
        let Batch { args, rows, repeated, .. } = self;
        let summary = args.out.join(table::FILE);
        let done = rows.iter().filter(|row| row.status == "done").count();
        let of_none = rows.iter().filter(|row| row.status == "passed_over").count();
        let all = rows.len() - of_none;
        let text = format!(
            "{done} of {} with a result, {repeated} of them from before: {}",
            counted(all, "study"),
            summary.display()
        );
        let document = json!({"out": args.out, "summary": summary, "done_before": repeated,
            "studies": rows});
        let failure = rows.iter().find_map(|row| row.exit).map(|exit| {
            let without = all - done;
            let error = anyhow::anyhow!(
                "{without} of {} without a result; {} says why, and the same command again tries \
                 those alone",
                counted(all, "study"),
                summary.display()
            );
            Failure::new(exit, error)
        });
        ui.result_of(&document, text, failure)
    }
}
