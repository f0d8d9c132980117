//! The studies as a list: searched, filtered, sorted, by page.
//!
//! Owns the summary of each study, made once from its report and kept: a list of thousands is then
//! a walk through memory. Pure but for what the store hands in.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::VariantNames;

use super::queue_lines::Reason;
use crate::store::{Job, JobState, StudyRow};
use hepalert_study::phase::Setting;

/// Studies of a page, where nobody says.
const SIZE: usize = 50;
/// Most studies of one page.
pub(super) const MAX_SIZE: usize = 200;

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
    pub setting: String,
    /// When the study was complete.
    #[schemars(with = "String")]
    pub received: Timestamp,
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
    pub setting: Option<String>,
    /// Whether malignancy is suspected.
    pub verdict: String,
    /// The patient's class in the base view.
    pub base: String,
    /// And in the high view.
    pub high: String,
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
    setting: Option<String>,
    verdict: String,
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
    base: String,
    high: String,
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
    let own = || job.setting.name().to_owned();
    Row {
        study_key: job.study_key.as_str().to_owned(),
        revision: job.revision,
        state: job.state,
        // What was read counts; until then, what the device's own engine would read.
        setting: result.as_ref().and_then(|result| result.setting.clone()).unwrap_or_else(own),
        received: job.completed_at,
        reason: job.reason_code.as_deref().map(Reason::of),
        result,
    }
}

/// What is asked for.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Query {
    /// Part of a study key, of a reason or of a finding's class.
    pub search: String,
    /// Verdicts, with commas between; `none` where there is no report.
    pub verdict: String,
    /// States, with commas between.
    pub state: String,
    /// Settings, with commas between.
    pub setting: String,
    /// Engines, with commas between.
    pub engine: String,
    /// First day, UTC.
    pub from: Option<jiff::civil::Date>,
    /// Last day, UTC.
    pub to: Option<jiff::civil::Date>,
    /// `received`, `largest` or `seconds`.
    pub sort: String,
    /// Which page, from 1.
    pub page: Option<NonZeroUsize>,
    /// Studies of a page.
    pub size: Option<NonZeroUsize>,
}

/// A page of the list.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(super) struct Page {
    /// Studies that match.
    pub total: usize,
    /// Which page this is, from 1.
    pub page: usize,
    /// Studies of a page.
    pub size: usize,
    /// The studies.
    pub rows: Vec<Row>,
    /// What can be filtered by, with how many studies each has without a filter.
    pub facets: Facets,
}

/// Values with their counts.
#[derive(Debug, Clone, PartialEq, Default, Serialize, JsonSchema)]
pub(super) struct Facets {
    /// Per verdict.
    pub verdict: Vec<(String, usize)>,
    /// Per state.
    pub state: Vec<(String, usize)>,
    /// Per setting.
    pub setting: Vec<(String, usize)>,
    /// Per engine.
    pub engine: Vec<(String, usize)>,
}

fn verdict(row: &Row) -> &str {
    row.result.as_ref().map_or("none", |result| &result.verdict)
}

fn engine(row: &Row) -> &str {
    row.result.as_ref().map_or("none", |result| &result.engine)
}

fn count<'a>(rows: &'a [Row], value: impl Fn(&'a Row) -> &'a str) -> Vec<(String, usize)> {
    let mut counts: Vec<(String, usize)> = Vec::new();
    for row in rows {
        let value = value(row);
        match counts.iter_mut().find(|(known, _)| known == value) {
            Some((_, count)) => *count += 1,
            None => counts.push((value.to_owned(), 1)),
        }
    }
    counts.sort();
    counts
}

/// Verdicts of reports, and what stands where there is none.
const VERDICTS: [&str; 4] = ["suspected", "uncertain", "not_suspected", "none"];
/// Orders of the list.
const ORDERS: [&str; 3] = ["received", "largest", "seconds"];

impl Query {
    /// Refuses words that are none of their key's: ignored, they would look like an answer.
    ///
    /// # Errors
    /// A sentence.
    pub(super) fn check(&self) -> Result<(), String> {
        let known = |key: &str, asked: &str, words: &[&str]| {
            let unknown = asked.split(',').find(|word| !asked.is_empty() && !words.contains(word));
            unknown.map_or(Ok(()), |word| {
                Err(format!("{key} {word:?} is none of {}", words.join(", ")))
            })
        };
        known("verdict", &self.verdict, &VERDICTS)?;
        known("state", &self.state, JobState::VARIANTS)?;
        known("setting", &self.setting, &Setting::ALL.map(Setting::name))?;
        if let (Some(from), Some(to)) = (self.from, self.to)
            && from > to
        {
            return Err(format!("from {from} is after to {to}"));
        }
        if ORDERS.contains(&self.sort.as_str()) || self.sort.is_empty() {
            return Ok(());
        }
        Err(format!("sort {:?} is none of {}", self.sort, ORDERS.join(", ")))
    }

    fn matches(&self, row: &Row) -> bool {
        let among = |list: &str, value: &str| {
            list.is_empty() || list.split(',').any(|wanted| wanted == value)
        };
        let day = row.received.to_zoned(jiff::tz::TimeZone::UTC).date();
        among(&self.verdict, verdict(row))
            && among(&self.state, row.state.name())
            && among(&self.setting, &row.setting)
            && among(&self.engine, engine(row))
            && self.from.is_none_or(|from| day >= from)
            && self.to.is_none_or(|to| day <= to)
            && self.finds(row)
    }

    fn finds(&self, row: &Row) -> bool {
        let wanted = self.search.trim().to_lowercase();
        let holds = |text: &str| text.to_lowercase().contains(&wanted);
        wanted.is_empty()
            || holds(&row.study_key)
            || row.reason.as_ref().is_some_and(|reason| holds(&reason.code))
            || row.result.as_ref().is_some_and(|result| holds(&result.base) || holds(&result.high))
    }

    /// The page that is asked for; `rows` are newest first.
    pub(super) fn page(&self, mut rows: Vec<Row>) -> Page {
        let facets = Facets {
            verdict: count(&rows, verdict),
            state: count(&rows, |row| row.state.name()),
            setting: count(&rows, |row| &row.setting),
            engine: count(&rows, engine),
        };
        rows.retain(|row| self.matches(row));
        let result = |row: &Row, of: fn(&Summary) -> f64| row.result.as_ref().map_or(-1.0, of);
        let by = |rows: &mut Vec<Row>, of: fn(&Summary) -> f64| {
            rows.sort_by_key(|row| Reverse((result(row, of) * 1000.0) as i64));
        };
        match self.sort.as_str() {
            "largest" => by(&mut rows, |summary| summary.largest_mm.unwrap_or(-1.0)),
            "seconds" => by(&mut rows, |summary| summary.seconds),
            _ => {}
        }
        let size = self.size.map_or(SIZE, |size| size.get().min(MAX_SIZE));
        let total = rows.len();
        let last = total.div_ceil(size).max(1);
        let page = self.page.map_or(1, |page| page.get().min(last));
        let rows = rows.into_iter().skip((page - 1) * size).take(size).collect();
        Page { total, page, size, rows, facets }
    }
}

#[cfg(test)]
mod tests {
    use hepalert_study::phase::Setting;
    use hepalert_study::study::StudyKey;

    use super::*;
    use crate::store::{JobId, JobState};

    fn a_row(number: usize, verdict: Option<&str>, day: i64) -> Row {
        Row {
            study_key: format!("{number:032x}"),
            revision: 1,
            state: if verdict.is_some() { JobState::Done } else { JobState::Refused },
            setting: "venous".to_owned(),
            received: Timestamp::from_second(day * 86_400).unwrap(),
            reason: None,
            result: verdict.map(|verdict| Summary {
                revision: 1,
                setting: None,
                verdict: verdict.to_owned(),
                base: "Meta".to_owned(),
                high: "HCC".to_owned(),
                lesions: 1,
                suspected: 1,
                largest_mm: Some(number as f64),
                engine: "demo".to_owned(),
                engine_version: 1,
                seconds: 1.0,
                quality: Vec::new(),
            }),
        }
    }

    #[test]
    fn filters_are_all_to_hold_and_pages_end() {
        let rows: Vec<Row> = (0..30)
            .map(|n| a_row(n, [None, Some("suspected"), Some("uncertain")][n % 3], n as i64))
            .collect();
        let query = Query {
            verdict: "suspected,uncertain".to_owned(),
            size: NonZeroUsize::new(8),
            ..Query::default()
        };
        let page = query.page(rows.clone());
        assert_eq!((page.total, page.rows.len(), page.page), (20, 8, 1));
        assert_eq!(page.facets.verdict[0], ("none".to_owned(), 10), "facets know no filter");
        let last = Query { page: NonZeroUsize::new(99), ..query.clone() }.page(rows.clone());
        assert_eq!((last.page, last.rows.len()), (3, 4));
        let days = Query { from: Some(jiff::civil::date(1970, 1, 11)), ..query.clone() };
        assert_eq!(days.page(rows.clone()).total, 14);
        let found = Query { search: "hcc".to_owned(), ..Query::default() }.page(rows.clone());
        assert_eq!(found.total, 20);
        let largest = Query { sort: "largest".to_owned(), ..Query::default() }.page(rows);
        assert_eq!(largest.rows[0].result.as_ref().unwrap().largest_mm, Some(29.0));
    }

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
}
