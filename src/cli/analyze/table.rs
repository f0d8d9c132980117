//! `summary.csv`: one line per study of many.
//!
//! Owns the columns, which are only added to. Written anew after every study, so that a run that
//! is interrupted leaves what it came to.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::cli::engines;
use crate::intake::Refusal;
use crate::report::output::{self, OutputError, SUMMARY};
use crate::report::types::Report;
use crate::ui::{Exit, counted};
use hepalert_lab::evaluate::csv::quoted;

/// Its name below the folder of results.
pub(in crate::cli) use crate::report::output::SUMMARY_FILE as FILE;

/// The columns that came later than those of [`SUMMARY`], each after a comma.
const LATER: &str = ",engine,alpha";
/// Where a line has the study's place.
const PLACE: usize = 15;

/// Why a folder came to nothing: no CT is in it.
pub(super) const NO_IMAGES: &str = "no CT images are in it";
/// Why a folder came to nothing: what is in it was read elsewhere.
pub(super) const COPIES: &str = "its images are copies of those in another place";

/// What became of one study.
#[derive(Debug, Default, Serialize)]
pub(in crate::cli) struct Row {
    /// Its name, and that of its folder.
    pub(in crate::cli) case: String,
    /// `done`, `refused` or `failed`.
    pub(in crate::cli) status: &'static str,
    /// Why it has no result.
    pub(in crate::cli) code: Option<String>,
    verdict: Option<&'static str>,
    class_base: Option<String>,
    class_high: Option<String>,
    findings: Option<usize>,
    suspected: Option<usize>,
    largest_mm: Option<f64>,
    liver_cm3: Option<f64>,
    quality: Vec<String>,
    seconds: Option<f64>,
    report: Option<PathBuf>,
    /// What went wrong and what to do.
    message: Option<String>,
    /// Whose result it is.
    study_key: Option<String>,
    /// Where its images lie.
    place: Option<PathBuf>,
    /// The engine that read it, with its version.
    engine: Option<String>,
    /// The lesion gain of the high-sensitivity view.
    alpha: Option<f32>,
    #[serde(skip)]
    pub(in crate::cli) exit: Option<Exit>,
}

impl Row {
    /// A study with a result.
    pub(in crate::cli) fn done(case: &str, report: &Report, folder: &Path) -> Row {
        let diameters = report.lesions.iter().map(|lesion| lesion.max_diameter_mm);
        Row {
            case: case.to_owned(),
            status: "done",
            verdict: Some(report.verdict.name()),
            class_base: Some(report.patient_class.base.to_string()),
            class_high: Some(report.patient_class.high.to_string()),
            findings: Some(report.lesions.len()),
            suspected: Some(report.lesions.iter().filter(|lesion| lesion.malignant).count()),
            largest_mm: diameters.reduce(f64::max),
            liver_cm3: Some(report.liver_cm3),
            quality: report.quality.clone(),
            seconds: Some(report.timing.total_s),
            report: Some(folder.join(output::REPORT)),
            study_key: Some(report.study_key.clone()),
            engine: report.engines.first().map(|one| format!("{} {}", one.id, one.version)),
            alpha: Some(report.pipeline.lesion_gain.high),
            ..Row::default()
        }
    }

    /// A study without one.
    pub(in crate::cli) fn failed(case: &str, failure: &crate::ui::Failure) -> Row {
        let status = if failure.exit == Exit::Refused { "refused" } else { "failed" };
        Row {
            case: case.to_owned(),
            status,
            code: Some(failure.code.unwrap_or(failure.exit.name()).to_owned()),
            message: Some(format!("{:#}", failure.error)),
            exit: Some(failure.exit),
            ..Row::default()
        }
    }

    /// A study, or files of none, that the intake refuses.
    pub(super) fn refused_at(case: &str, place: &Path, refusal: &Refusal) -> Row {
        Row::failed(case, &engines::refused(refusal.clone())).at(place)
    }

    /// The same with its place, which a message names too: a name may stand for many folders.
    pub(in crate::cli) fn at(mut self, place: &Path) -> Row {
        let told = |message: &&mut String| !message.starts_with(&*place.to_string_lossy());
        if let Some(message) = self.message.as_mut().filter(told) {
            *message = format!("{}: {message}", place.display());
        }
        Row { place: Some(place.to_owned()), ..self }
    }

    /// A folder of which nothing became a study.
    pub(super) fn passed_over(case: &str, place: &Path, why: &str) -> Row {
        Row {
            case: case.to_owned(),
            status: "passed_over",
            message: Some(why.to_owned()),
            ..Row::default()
        }
        .at(place)
    }

    /// A study that was refused before.
    pub(in crate::cli) fn refused(case: &str, code: &str, detail: &str) -> Row {
        Row {
            case: case.to_owned(),
            status: "refused",
            code: Some(code.to_owned()),
            message: Some(detail.to_owned()),
            ..Row::default()
        }
    }

    fn line(&self) -> String {
        let word = |text: &Option<String>| text.as_deref().map_or(String::new(), quoted);
        let number = |value: Option<f64>| value.map_or(String::new(), |value| value.to_string());
        let count = |value: Option<usize>| value.map_or(String::new(), |value| value.to_string());
        [
            quoted(&self.case),
            self.status.to_owned(),
            word(&self.code),
            self.verdict.unwrap_or_default().to_owned(),
            word(&self.class_base),
            word(&self.class_high),
            count(self.findings),
            count(self.suspected),
            number(self.largest_mm),
            number(self.liver_cm3),
            quoted(&self.quality.join(" ")),
            number(self.seconds),
            word(&self.report.as_ref().map(|path| path.display().to_string())),
            word(&self.message),
            word(&self.study_key),
            word(&self.place.as_ref().map(|path| path.display().to_string())),
            word(&self.engine),
            self.alpha.map_or(String::new(), |gain| gain.to_string()),
        ]
        .join(",")
    }

    /// For people.
    pub(in crate::cli) fn text(&self) -> String {
        let case = &self.case;
        match (self.verdict, self.findings, self.suspected) {
            (Some(verdict), Some(findings), Some(suspected)) => {
                let verdict = verdict.replace('_', " ");
                let findings = counted(findings, "finding");
                format!("{case}: {verdict}, {findings}, {suspected} suspected")
            }
            _ => {
                let code = self.code.as_ref().map_or(String::new(), |code| format!(" ({code})"));
                let message = self.message.as_deref().unwrap_or_default();
                format!("{case}: {}{code}: {message}", self.status.replace('_', " "))
            }
        }
    }
}

/// A line that an earlier run wrote.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Earlier {
    /// Its study's name.
    pub(super) case: String,
    /// Where the study's images lie.
    pub(super) place: PathBuf,
    line: String,
}

/// The lines of the table in a folder of results; none where there is no table.
pub(super) fn earlier(out: &Path) -> Vec<Earlier> {
    let text = std::fs::read_to_string(out.join(FILE)).unwrap_or_default();
    let Some((heading, lines)) = text.split_once('\n') else { return Vec::new() };
    let Some(later) = heading.strip_prefix(SUMMARY) else { return Vec::new() };
    // What a table of before does not say stays empty.
    let missing = LATER.strip_prefix(later).unwrap_or_default().matches(',').count();
    lines
        .lines()
        .filter_map(|line| {
            let fields = fields(line);
            let (case, place) = (fields.first()?.clone(), fields.get(PLACE)?.into());
            let line = format!("{line}{}", ",".repeat(missing));
            (!case.is_empty()).then_some(Earlier { case, place, line })
        })
        .collect()
}

/// The fields of a line as [`quoted`] writes them.
fn fields(line: &str) -> Vec<String> {
    let (mut fields, mut inside) = (vec![String::new()], false);
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        let last = fields.len() - 1;
        match letter {
            '"' if inside && letters.peek() == Some(&'"') => {
                letters.next();
                fields[last].push('"');
            }
            '"' => inside = !inside,
            ',' if !inside => fields.push(String::new()),
            other => fields[last].push(other),
        }
    }
    fields
}

/// Writes the table by case, with what earlier runs wrote of other studies in this folder: their
/// results stand beside those of this run.
///
/// # Errors
/// If something else is there, or the disk refuses.
pub(in crate::cli) fn write(
    out: &Path,
    earlier: &[Earlier],
    rows: &[Row],
) -> Result<(), OutputError> {
    let kept = earlier.iter().filter(|one| rows.iter().all(|row| row.case != one.case));
    let kept = kept.map(|one| (one.case.as_str(), one.line.clone()));
    let mut lines: Vec<_> =
        kept.chain(rows.iter().map(|row| (row.case.as_str(), row.line()))).collect();
    lines.sort();
    output::put_with(&out.join(FILE), &[], |file| {
        writeln!(file, "{SUMMARY}{LATER}")?;
        lines.iter().try_for_each(|(_, line)| writeln!(file, "{line}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::Failure;

    #[test]
    fn every_line_has_the_fields_of_the_heading() {
        let failure = Failure::refused("no_ct_series", anyhow::anyhow!("no CT, \"none\"\nat all"));
        let line = Row::failed("a", &failure).line();
        assert_eq!(line, "a,refused,no_ct_series,,,,,,,,,,,\"no CT, \"\"none\"\" at all\",,,,");
        let heading = [SUMMARY, LATER].concat();
        assert_eq!(heading.split(',').nth(PLACE), Some("place"));
        assert_eq!(fields(&line).len(), heading.split(',').count());
        assert_eq!(fields(&line)[13], "no CT, \"none\" at all");
        let other = Row::failed("b,c", &Failure::failed(anyhow::anyhow!("x"))).line();
        assert_eq!(other, "\"b,c\",failed,failed,,,,,,,,,,,x,,,,");
    }

    #[test]
    fn a_table_of_before_is_read_and_keeps_its_lines() {
        let out = tempfile::tempdir().unwrap();
        let old = format!("{SUMMARY}\nold,done,,,,,,,,,,,,,key,/there\n");
        std::fs::write(out.path().join(FILE), old).unwrap();
        for _ in 0..2 {
            let known = earlier(out.path());
            assert_eq!((known.len(), known[0].place.as_path()), (1, Path::new("/there")));
            write(out.path(), &known, &[]).unwrap();
        }
        let text = std::fs::read_to_string(out.path().join(FILE)).unwrap();
        assert_eq!(text, format!("{SUMMARY}{LATER}\nold,done,,,,,,,,,,,,,key,/there,,\n"));
    }
}
