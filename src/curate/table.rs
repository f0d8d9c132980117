//! `disagreement.csv`: one line per case, the most disputed first.
//!
//! Owns the columns, which are only added to.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::predict::Unpredicted;
use crate::report::output::{self, DISAGREEMENT, OutputError};
use hepalert_lab::evaluate::csv::quoted;
use hepalert_study::anatomy::class_names;

/// Its name below the folder of results.
pub(super) const FILE: &str = "disagreement.csv";

/// What became of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Status {
    /// The engine labelled it.
    #[default]
    Done,
    /// The engine took it for no study.
    Refused,
    /// The engine's work failed.
    Failed,
}

impl Status {
    const fn name(self) -> &'static str {
        match self {
            Status::Done => "done",
            Status::Refused => "refused",
            Status::Failed => "failed",
        }
    }
}

/// One case.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub(crate) struct Row {
    /// Its name.
    pub case: String,
    /// What became of it.
    pub status: Status,
    /// Why it has no labels.
    pub code: Option<String>,
    /// 0: machine and person agree; 1: in nothing.
    pub disagreement: Option<f64>,
    /// Against whose labels.
    pub against: Option<String>,
    /// Mean over the classes compared.
    pub mean_dice: Option<f64>,
    /// The class with the least overlap, and that.
    pub worst: Option<(u8, f64)>,
    /// Lesions that the machine has nothing of.
    pub missed_lesions: Option<usize>,
    /// Lesions that only the machine has.
    pub false_lesions: Option<usize>,
    /// The largest connected place of disagreement.
    pub largest_cm3: Option<f64>,
    /// What person and machine call it.
    pub largest_labels: Option<[u8; 2]>,
    /// A voxel of it, `[z, y, x]` in RAS order.
    pub largest_at: Option<[usize; 3]>,
    /// Its box, for the picture.
    #[serde(skip)]
    pub largest_box: Option<[[usize; 3]; 2]>,
    /// Whose labels the next training set takes.
    pub labels: Option<String>,
    /// Whether a person corrected them.
    pub is_corrected: bool,
    /// The picture of that place, below the folder of results.
    pub picture: Option<PathBuf>,
    /// What went wrong and what to do.
    pub message: Option<String>,
}

impl Row {
    pub(super) fn of(case: &str) -> Row {
        Row { case: case.to_owned(), ..Row::default() }
    }

    pub(super) fn without(case: &str, why: &Unpredicted) -> Row {
        let status = if why.is_refused { Status::Refused } else { Status::Failed };
        let (code, message) = (Some(why.code.clone()), Some(why.message.clone()));
        Row { status, code, message, ..Row::of(case) }
    }

    fn line(&self) -> String {
        let word = |text: Option<&str>| text.map_or(String::new(), quoted);
        let number =
            |value: Option<f64>| value.map_or(String::new(), |value| format!("{value:.4}"));
        let count = |value: Option<usize>| value.map_or(String::new(), |value| value.to_string());
        let class = |label: Option<u8>| label.map_or(String::new(), named);
        let at = self.largest_at.map(|[z, y, x]| format!("{z} {y} {x}"));
        [
            quoted(&self.case),
            self.status.name().to_owned(),
            word(self.code.as_deref()),
            number(self.disagreement),
            word(self.against.as_deref()),
            number(self.mean_dice),
            class(self.worst.map(|(label, _)| label)),
            number(self.worst.map(|(_, dice)| dice)),
            count(self.missed_lesions),
            count(self.false_lesions),
            number(self.largest_cm3),
            class(self.largest_labels.map(|labels| labels[0])),
            class(self.largest_labels.map(|labels| labels[1])),
            at.unwrap_or_default(),
            word(self.labels.as_deref()),
            word(self.picture.as_ref().map(|path| path.display().to_string()).as_deref()),
            word(self.message.as_deref()),
        ]
        .join(",")
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        let Row { case, .. } = self;
        if let (Some(code), Some(message)) = (&self.code, &self.message) {
            return format!("{case}: {} ({code}): {message}", self.status.name());
        }
        let mut text = format!("{case}: disagreement {:.3}", self.disagreement.unwrap_or(0.0));
        if let Some(against) = &self.against {
            text.push_str(&format!(" with {against}"));
        }
        if let (Some(missed), Some(extra)) = (self.missed_lesions, self.false_lesions) {
            text.push_str(&format!(", {missed} lesions missed, {extra} of the machine alone"));
        }
        if let (Some(cm3), Some([first, second])) = (self.largest_cm3, self.largest_labels) {
            let [first, second] = [first, second].map(named);
            text.push_str(&format!(", largest place {cm3:.1} cm3 ({first} against {second})"));
        }
        if self.is_corrected {
            text.push_str(&format!(
                ", corrected by {}",
                self.labels.as_deref().unwrap_or_default()
            ));
        }
        text
    }
}

/// The name of a class.
pub(super) fn named(label: u8) -> String {
    class_names().get(usize::from(label)).map_or_else(|| label.to_string(), |n| (*n).to_owned())
}

/// The most disputed first, what is corrected and what has no labels last, then by name.
pub(super) fn order(rows: &mut [Row]) {
    let rank = |row: &Row| match (row.is_corrected, row.disagreement) {
        (false, Some(score)) => score,
        (true, Some(_)) => -1.0,
        (_, None) => -2.0,
    };
    rows.sort_by(|a, b| rank(b).total_cmp(&rank(a)).then(a.case.cmp(&b.case)));
}

/// Writes the table.
pub(super) fn write(out: &Path, rows: &[Row]) -> Result<(), OutputError> {
    output::put_with(&out.join(FILE), &[], |file| {
        writeln!(file, "{DISAGREEMENT}")?;
        rows.iter().try_for_each(|row| writeln!(file, "{}", row.line()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_has_the_fields_of_the_heading() {
        let why = Unpredicted {
            code: "no_liver".to_owned(),
            message: "no liver; another case".to_owned(),
            is_refused: true,
        };
        let without = Row::without("a", &why);
        let disputed = Row {
            disagreement: Some(0.5),
            worst: Some((3, 0.25)),
            largest_labels: Some([3, 0]),
            largest_at: Some([1, 2, 3]),
            ..Row::of("b")
        };
        let corrected = Row { is_corrected: true, disagreement: Some(0.9), ..Row::of("c") };
        let fields = DISAGREEMENT.split(',').count();
        for row in [&without, &disputed, &corrected] {
            assert_eq!(row.line().split(',').count(), fields, "{}", row.line());
        }
        assert!(
            disputed.line().starts_with("b,done,,0.5000,,,Meta,0.2500,"),
            "{}",
            disputed.line()
        );
        let mut rows = [without, corrected, disputed];
        order(&mut rows);
        assert_eq!(rows.map(|row| row.case), ["b", "c", "a"]);
    }
}
