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
pub(in crate::cli) const FILE: &str = "summary.csv";

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

    /// A study, or files of none, that the intake refuses. `place` is told: the name alone may stand for
    /// many folders.
    pub(super) fn refused_at(case: &str, place: &Path, refusal: &Refusal) -> Row {
        let mut row = Row::failed(case, &engines::refused(refusal.clone()));
        if let Some(message) = &mut row.message {
            *message = format!("{}: {message}", place.display());
        }
        row
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
            _ => format!(
                "{case}: {} ({}): {}",
                self.status,
                self.code.as_deref().unwrap_or_default(),
                self.message.as_deref().unwrap_or_default()
            ),
        }
    }
}

/// Writes the table.
///
/// # Errors
/// If something else is there, or the disk refuses.
pub(in crate::cli) fn write(out: &Path, rows: &[Row]) -> Result<(), OutputError> {
    output::put_with(&out.join(FILE), &[], |file| {
        writeln!(file, "{SUMMARY}")?;
        rows.iter().try_for_each(|row| writeln!(file, "{}", row.line()))
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
        assert_eq!(line, "a,refused,no_ct_series,,,,,,,,,,,\"no CT, \"\"none\"\" at all\"");
        assert_eq!(SUMMARY.split(',').count(), 14);
        let other = Row::failed("b,c", &Failure::failed(anyhow::anyhow!("x"))).line();
        assert_eq!(other, "\"b,c\",failed,failed,,,,,,,,,,,x");
    }
}
