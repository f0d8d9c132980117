//! The studies as rows of a list; `study_filter` says which of them are shown.
//!
//! Owns the summary of each study, made once from its report and kept: a list of thousands is then
//! a walk through memory. Pure but for what the store hands in.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::queue_lines::Reason;
use crate::store::{Job, JobState, StudyRow};
use hepalert_study::outcome::{AlertLevel, PatientClass};
use hepalert_study::phase::Setting;

/// What is shown of a study in a list.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(super) struct Row {
    /// The study.
    pub study_key: String,
    /// Its newest revision.
    pub revision: u32,
    /// Where that stands.
    pub state: JobState,
    /// What it is read for.
    pub setting: Setting,
    /// When the study was complete.
    #[schemars(with = "String")]
    pub completed: Timestamp,
    /// Why it was refused or failed.
    pub reason: Option<Reason>,
    /// What its newest report says.
    pub result: Option<Summary>,
}

/// A report in a line.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(super) struct Summary {
    /// Revision of the report.
    pub revision: u32,
    /// What was read.
    pub setting: Option<Setting>,
    /// Whether malignancy is suspected.
    pub verdict: AlertLevel,
    /// The patient's class in the base view.
    pub base: PatientClass,
    /// And in the high view.
    pub high: PatientClass,
    /// Findings kept.
    pub lesions: usize,
    /// Of these, suspected of malignancy.
    pub suspected: usize,
    /// Longest diameter of a finding, in mm.
    pub largest_mm: Option<f64>,
    /// The first engine.
    pub engine: String,
    /// Its version.
    pub engine_version: u64,
    /// Seconds altogether.
    pub seconds: f64,
    /// What may lower trust, as codes.
    pub quality: Vec<String>,
}

/// Of a report only what the list shows; the rest is passed over unread.
#[derive(Deserialize)]
struct Brief {
    #[serde(default)]
    setting: Option<Setting>,
    verdict: AlertLevel,
    patient_class: Classes,
    #[serde(default)]
    lesions: Vec<Lesion>,
    #[serde(default)]
    quality: Vec<String>,
    engines: Vec<Engine>,
    timing: Timing,
}

#[derive(Deserialize)]
struct Classes {
    base: PatientClass,
    high: PatientClass,
}

#[derive(Deserialize)]
struct Lesion {
    malignant: bool,
    max_diameter_mm: f64,
}

#[derive(Deserialize)]
struct Engine {
    id: String,
    version: u64,
}

#[derive(Deserialize)]
struct Timing {
    total_s: f64,
}

impl Summary {
    fn read(revision: u32, report_json: &str) -> Option<Summary> {
        let brief: Brief = serde_json::from_str(report_json).ok()?;
        let largest = brief.lesions.iter().map(|lesion| lesion.max_diameter_mm);
        let engine = brief.engines.first();
        Some(Summary {
            revision,
            setting: brief.setting,
            verdict: brief.verdict,
            base: brief.patient_class.base,
            high: brief.patient_class.high,
            lesions: brief.lesions.len(),
            suspected: brief.lesions.iter().filter(|lesion| lesion.malignant).count(),
            largest_mm: largest.reduce(f64::max),
            engine: engine.map(|engine| engine.id.clone()).unwrap_or_default(),
            engine_version: engine.map_or(0, |engine| engine.version),
            seconds: brief.timing.total_s,
            quality: brief.quality,
        })
    }
}

/// A report: its study, its revision, its time of writing.
type Name = (String, u32, i64);

fn name(row: &StudyRow) -> Option<Name> {
    let (revision, created) = row.report?;
    Some((row.job.study_key.as_str().to_owned(), revision, created.as_millisecond()))
}

/// Summaries by report: 10,000 are some 5 MB.
#[derive(Debug, Default)]
pub(super) struct Summaries {
    kept: HashMap<Name, Option<Summary>>,
}

impl Summaries {
    /// The summary of a row's report; `text` reads the report where it is not known yet.
    pub(super) fn of<E>(
        &mut self,
        row: &StudyRow,
        text: impl FnOnce() -> Result<Option<String>, E>,
    ) -> Result<Option<Summary>, E> {
        let Some(name) = name(row) else { return Ok(None) };
        if let Some(known) = self.kept.get(&name) {
            return Ok(known.clone());
        }
        let made = text()?.and_then(|text| Summary::read(name.1, &text));
        self.kept.insert(name, made.clone());
        Ok(made)
    }

    /// Forgets reports that are in no row of the whole list, once there are more than rows.
    pub(super) fn forget_all_but(&mut self, rows: &[StudyRow]) {
        if self.kept.len() > rows.len() {
            let listed: HashSet<Name> = rows.iter().filter_map(name).collect();
            self.kept.retain(|name, _| listed.contains(name));
        }
    }
}

/// A row of the list.
pub(super) fn row(job: &Job, result: Option<Summary>) -> Row {
    Row {
        study_key: job.study_key.as_str().to_owned(),
        revision: job.revision,
        state: job.state,
        // What was read counts; until then, what the device's own engine would read.
        setting: result.as_ref().and_then(|result| result.setting).unwrap_or(job.setting),
        completed: job.completed_at,
        reason: job.reason_code.as_deref().map(Reason::of),
        result,
    }
}

#[cfg(test)]
mod tests {
    use hepalert_study::phase::Setting;
    use hepalert_study::study::StudyKey;

    use super::*;
    use crate::store::{JobId, JobState};

    /// A study with a report that was stored so long after the epoch.
    fn reported(number: usize, second: i64) -> StudyRow {
        let at = Timestamp::from_second(second).unwrap();
        let job = Job {
            id: JobId(number as i64),
            study_key: StudyKey::new(&format!("{number:032x}")).unwrap(),
            revision: 1,
            setting: Setting::Venous,
            input_fingerprint: String::new(),
            files_json: "[]".to_owned(),
            state: JobState::Done,
            attempts: 1,
            not_before: at,
            completed_at: at,
            started_at: None,
            finished_at: None,
            reason_code: None,
        };
        StudyRow { job, report: Some((1, at)) }
    }

    #[test]
    fn a_list_of_any_length_is_kept_and_what_left_it_is_forgotten() {
        let mut summaries = Summaries::default();
        let mut list = |rows: &[StudyRow]| {
            let mut read = 0;
            for row in rows {
                let text = || {
                    read += 1;
                    Ok::<_, std::convert::Infallible>(None)
                };
                summaries.of(row, text).unwrap();
            }
            summaries.forget_all_but(rows);
            (read, summaries.kept.len())
        };
        let mut rows: Vec<StudyRow> = (0..25_000).map(|number| reported(number, 1)).collect();
        assert_eq!(list(&rows), (25_000, 25_000));
        assert_eq!(list(&rows), (0, 25_000));
        rows[7] = reported(7, 2);
        assert_eq!(list(&rows), (1, 25_000), "the older report is listed no more");
        assert_eq!(list(&rows[..100]), (0, 100));
    }

    #[test]
    fn a_report_is_read_once() {
        let text = r#"{"verdict":"suspected","patient_class":{"base":"Meta","high":"Meta",
            "final":"Meta"},"lesions":[{"malignant":true,"max_diameter_mm":21.5,"more":1}],
            "engines":[{"id":"demo","version":3}],"timing":{"total_s":9.5,"stages":[]}}"#;
        let read = Summary::read(2, text).unwrap();
        assert_eq!((read.lesions, read.largest_mm, read.engine_version), (1, Some(21.5), 3));
        assert_eq!(Summary::read(1, "{}"), None);
    }

    #[test]
    fn a_report_in_words_nobody_knows_leaves_a_line_without_a_result() {
        let text = r#"{"verdict":"perhaps","patient_class":{"base":"Meta","high":"Meta"},
            "engines":[],"timing":{"total_s":9.5}}"#;
        let study = reported(1, 1);
        let text = || Ok::<_, std::convert::Infallible>(Some(text.to_owned()));
        let line = row(&study.job, Summaries::default().of(&study, text).unwrap());
        assert_eq!((line.setting, line.result), (Setting::Venous, None));
        let known = text().unwrap().unwrap().replace("perhaps", "suspected");
        assert!(Summary::read(1, &known).is_some());
    }
}
