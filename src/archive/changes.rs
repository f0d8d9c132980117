//! Two engines over the same studies: which verdicts change.
//!
//! Owns the comparison. Both folders of results must be of one list and whole; they are only read.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::cohort::{Ended, each};
use super::list::List;
use super::pictures;
use super::results::{Bound, Brief, EngineName, Results};
use super::{ArchiveError, Code};
use crate::intake::Digest;
use hepalert_lab::evaluate::csv::quoted;
use hepalert_lab::evaluate::markdown::table;
use hepalert_lab::evaluate::rates::Rate;
use hepalert_study::study::StudyKey;

/// The heading of the table of changes.
pub(crate) use crate::report::output::CHANGES;

/// What a study came to, as far as it is compared.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Face {
    /// The verdict, or `refused`.
    pub verdict: String,
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Patient classes of the two views.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classes: Option<[String; 2]>,
    /// Lesions kept, and malignant ones among them.
    pub lesions: [usize; 2],
}

impl Face {
    fn of(ended: &Ended) -> Face {
        match ended {
            Ok(report) => {
                let classes = [report.patient_class.base, report.patient_class.high];
                let malignant = report.lesions.iter().filter(|lesion| lesion.malignant).count();
                Face {
                    verdict: report.verdict.name().to_owned(),
                    code: None,
                    classes: Some(classes.map(|class| class.to_string())),
                    lesions: [report.lesions.len(), malignant],
                }
            }
            Err(reason) => Face {
                verdict: "refused".to_owned(),
                code: Some(reason.code.clone()),
                classes: None,
                lesions: [0, 0],
            },
        }
    }

    /// In a few words.
    pub(crate) fn words(&self) -> String {
        match &self.code {
            Some(code) => format!("refused ({code})"),
            None => self.verdict.replace('_', " "),
        }
    }
}

/// A study whose verdict changes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Change {
    /// Key of the study.
    pub study_key: StudyKey,
    /// What it was before.
    pub old: Face,
    /// What it is now.
    pub new: Face,
}

/// How two folders of results differ.
#[derive(Debug, Serialize)]
pub(crate) struct Comparison {
    /// SHA-256 of the list of both.
    pub list_sha256: Digest,
    /// The engines before.
    pub old: Vec<EngineName>,
    /// The engines after.
    pub new: Vec<EngineName>,
    /// Number of studies.
    pub studies: usize,
    /// Studies with the same verdict.
    pub same_verdict: Rate,
    /// Studies with the same verdict, classes and numbers of lesions.
    pub same: Rate,
    /// How many went from which verdict to which: old, new, studies.
    pub moves: Vec<(String, String, usize)>,
    /// The studies whose verdict changes, by key.
    pub changes: Vec<Change>,
}

/// Two folders of results, each with what it is of.
#[derive(Debug)]
pub(crate) struct Pair {
    /// What it was before.
    pub old: (Results, Bound),
    /// What it is now.
    pub new: (Results, Bound),
}

impl Pair {
    /// Two folders of one list.
    ///
    /// # Errors
    /// [`Code::OtherList`] or [`Code::NoResults`].
    pub(crate) fn of(old: Results, new: Results, list: Digest) -> Result<Pair, ArchiveError> {
        let bounds = (old.bound_to(list)?, new.bound_to(list)?);
        if bounds.0.configuration == bounds.1.configuration {
            let about = format!("{}: the same engine and configuration", new.folder().display());
            return Err(ArchiveError::new(Code::NothingToCompare, about));
        }
        Ok(Pair { old: (old, bounds.0), new: (new, bounds.1) })
    }

    /// Compares.
    ///
    /// # Errors
    /// As [`each`], of the folder before first.
    pub(crate) fn compare(&self, list: &List<Brief>) -> Result<Comparison, ArchiveError> {
        let faces = |(results, bound): &(Results, Bound)| {
            each(list, results, bound, |_, ended| Face::of(ended)).map_err(|error| ArchiveError {
                about: format!("{}: {}", results.folder().display(), error.about),
                ..error
            })
        };
        let (old, new) = (faces(&self.old)?, faces(&self.new)?);
        let studies = list.picked.len();
        let mut moves = BTreeMap::<(String, String), usize>::new();
        for (old, new) in old.iter().zip(&new) {
            *moves.entry((old.verdict.clone(), new.verdict.clone())).or_default() += 1;
        }
        let same = old.iter().zip(&new).filter(|(old, new)| old == new).count();
        let changes: Vec<Change> = list
            .picked
            .iter()
            .zip(old.into_iter().zip(new))
            .filter(|(_, (old, new))| old.verdict != new.verdict)
            .map(|(study, (old, new))| Change { study_key: study.key.clone(), old, new })
            .collect();
        Ok(Comparison {
            list_sha256: self.old.1.list_sha256,
            old: self.old.1.engines.clone(),
            new: self.new.1.engines.clone(),
            studies,
            same_verdict: Rate::new(studies - changes.len(), studies),
            same: Rate::new(same, studies),
            moves: moves.into_iter().map(|((old, new), count)| (old, new, count)).collect(),
            changes,
        })
    }

    /// The overviews of a study side by side, as PNG; `None` if neither has one.
    ///
    /// # Errors
    /// If the picture cannot be encoded.
    pub(crate) fn picture(&self, change: &Change) -> Result<Option<Vec<u8>>, png::EncodingError> {
        let side = |(results, bound): &(Results, Bound), face: &Face| pictures::Side {
            title: format!("{}: {}", first_of(&bound.engines), face.words()),
            overview: results.report(&change.study_key).join("pictures/overview.png"),
        };
        pictures::beside(&[side(&self.old, &change.old), side(&self.new, &change.new)])
    }
}

fn first_of(engines: &[EngineName]) -> String {
    engines.first().map(ToString::to_string).unwrap_or_default()
}

impl Comparison {
    /// One line per study whose verdict changes.
    pub(crate) fn csv(&self) -> String {
        let mut text = format!("{CHANGES}\n");
        for Change { study_key, old, new } in &self.changes {
            let fields = |face: &Face| {
                let [base, high] = face.classes.clone().unwrap_or_default();
                let code = face.code.clone().unwrap_or_default();
                let [all, malignant] = face.lesions;
                format!("{},{},{base},{high},{all},{malignant}", face.verdict, quoted(&code))
            };
            let _ = writeln!(text, "{study_key},{},{}", fields(old), fields(new));
        }
        text
    }

    /// For people.
    pub(crate) fn markdown(&self) -> String {
        let row = |(old, new, count): &(String, String, usize)| {
            vec![old.replace('_', " "), new.replace('_', " "), count.to_string()]
        };
        let moves = table(&["before", "after", "studies"], self.moves.iter().map(row));
        let mut text = format!(
            "# {} and {} over {} studies\n\nThe verdict is the same in {} % of them, and classes and \
             numbers of lesions too in {} %. Which of the two is right, nothing here says.\n\n{moves}\n",
            first_of(&self.old),
            first_of(&self.new),
            self.studies,
            self.same_verdict.percent_with_interval(),
            self.same.percent_with_interval(),
        );
        if !self.changes.is_empty() {
            let row = |change: &Change| {
                vec![change.study_key.to_string(), change.old.words(), change.new.words()]
            };
            let rows = table(&["study", "before", "after"], self.changes.iter().map(row));
            let _ = write!(text, "\n## Verdicts that change\n\n{rows}\n");
        }
        text
    }
}
