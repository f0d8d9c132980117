//! Which studies of the list are asked for: searched, filtered, sorted, by page.
//!
//! Owns the words of the address and what they mean.

use std::cmp::Reverse;
use std::num::NonZeroUsize;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{EnumString, VariantNames};

use super::study_list::{Row, Summary};
use crate::store::JobState;
use hepalert_study::outcome::AlertLevel;
use hepalert_study::phase::Setting;

/// Studies of a page, where nobody says.
const SIZE: usize = 50;
/// Most studies of one page.
pub(super) const MAX_SIZE: usize = 200;

/// What is asked for, as it is written in an address; [`Filter::read`] understands it.
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
    /// `completed`, `largest` or `seconds`.
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

/// What stands for verdict and engine where there is no report.
const NONE: &str = "none";

fn verdict(row: &Row) -> &str {
    row.result.as_ref().map_or(NONE, |result| result.verdict.name())
}

fn engine(row: &Row) -> &str {
    row.result.as_ref().map_or(NONE, |result| &result.engine)
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

/// Orders of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumString, VariantNames)]
#[strum(serialize_all = "snake_case")]
enum Order {
    /// The newest first.
    Completed,
    /// The largest finding first.
    Largest,
    /// What took longest first.
    Seconds,
}

/// A [`Query`] in the program's words; an empty list holds for everything.
#[derive(Debug)]
pub(super) struct Filter {
    /// In lower case.
    search: String,
    /// `None` stands for studies without a report.
    verdict: Vec<Option<AlertLevel>>,
    state: Vec<JobState>,
    setting: Vec<Setting>,
    /// Names of engines, or `none`.
    engine: Vec<String>,
    from: Option<jiff::civil::Date>,
    to: Option<jiff::civil::Date>,
    order: Order,
    page: usize,
    size: usize,
}

/// The words of a list with commas between, each understood by `read`.
fn words<T>(
    key: &str,
    asked: &str,
    known: &[&str],
    read: impl Fn(&str) -> Option<T>,
) -> Result<Vec<T>, String> {
    if asked.is_empty() {
        return Ok(Vec::new());
    }
    let word =
        |word| read(word).ok_or_else(|| format!("{key} {word:?} is none of {}", known.join(", ")));
    asked.split(',').map(word).collect()
}

impl Filter {
    /// Refuses words that are none of their key's: ignored, they would look like an answer.
    ///
    /// # Errors
    /// A sentence.
    pub(super) fn read(query: Query) -> Result<Filter, String> {
        let verdicts: Vec<&str> =
            AlertLevel::ALL.map(AlertLevel::name).into_iter().chain([NONE]).collect();
        let verdict =
            |word: &str| if word == NONE { Some(None) } else { word.parse().ok().map(Some) };
        let settings = Setting::ALL.map(Setting::name);
        let (from, to) = (query.from, query.to);
        if let (Some(from), Some(to)) = (from, to)
            && from > to
        {
            return Err(format!("from {from} is after to {to}"));
        }
        let order = match query.sort.as_str() {
            "" => Order::Completed,
            sort => sort
                .parse()
                .map_err(|_| format!("sort {sort:?} is none of {}", Order::VARIANTS.join(", ")))?,
        };
        Ok(Filter {
            search: query.search.trim().to_lowercase(),
            verdict: words("verdict", &query.verdict, &verdicts, verdict)?,
            state: words("state", &query.state, JobState::VARIANTS, |word| word.parse().ok())?,
            setting: words("setting", &query.setting, &settings, |word| word.parse().ok())?,
            engine: words("engine", &query.engine, &[], |word| Some(word.to_owned()))?,
            from,
            to,
            order,
            page: query.page.map_or(1, NonZeroUsize::get),
            size: query.size.map_or(SIZE, |size| size.get().min(MAX_SIZE)),
        })
    }

    fn matches(&self, row: &Row) -> bool {
        fn among<T: PartialEq>(list: &[T], value: &T) -> bool {
            list.is_empty() || list.contains(value)
        }
        let day = row.completed.to_zoned(jiff::tz::TimeZone::UTC).date();
        among(&self.verdict, &row.result.as_ref().map(|result| result.verdict))
            && among(&self.state, &row.state)
            && among(&self.setting, &row.setting)
            && (self.engine.is_empty() || self.engine.iter().any(|name| name == engine(row)))
            && self.from.is_none_or(|from| day >= from)
            && self.to.is_none_or(|to| day <= to)
            && self.finds(row)
    }

    fn finds(&self, row: &Row) -> bool {
        let holds = |text: &str| text.to_lowercase().contains(&self.search);
        self.search.is_empty()
            || holds(&row.study_key)
            || row.reason.as_ref().is_some_and(|reason| holds(&reason.code))
            || row
                .result
                .as_ref()
                .is_some_and(|result| holds(result.base.name()) || holds(result.high.name()))
    }

    /// The page that is asked for; `rows` are newest first.
    pub(super) fn page(&self, mut rows: Vec<Row>) -> Page {
        let facets = Facets {
            verdict: count(&rows, verdict),
            state: count(&rows, |row| row.state.name()),
            setting: count(&rows, |row| row.setting.name()),
            engine: count(&rows, engine),
        };
        rows.retain(|row| self.matches(row));
        let result = |row: &Row, of: fn(&Summary) -> f64| row.result.as_ref().map_or(-1.0, of);
        let by = |rows: &mut Vec<Row>, of: fn(&Summary) -> f64| {
            rows.sort_by_key(|row| Reverse((result(row, of) * 1000.0) as i64));
        };
        match self.order {
            Order::Completed => {}
            Order::Largest => by(&mut rows, |summary| summary.largest_mm.unwrap_or(-1.0)),
            Order::Seconds => by(&mut rows, |summary| summary.seconds),
        }
        let total = rows.len();
        let page = self.page.min(total.div_ceil(self.size).max(1));
        let rows = rows.into_iter().skip((page - 1) * self.size).take(self.size).collect();
        Page { total, page, size: self.size, rows, facets }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use hepalert_study::outcome::PatientClass;

    fn a_row(number: usize, verdict: Option<&str>, day: i64) -> Row {
        Row {
            study_key: format!("{number:032x}"),
            revision: 1,
            state: if verdict.is_some() { JobState::Done } else { JobState::Refused },
            setting: Setting::Venous,
            completed: Timestamp::from_second(day * 86_400).unwrap(),
            reason: None,
            result: verdict.map(|verdict| Summary {
                revision: 1,
                setting: None,
                verdict: verdict.parse().unwrap(),
                base: PatientClass::Meta,
                high: PatientClass::Hcc,
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
        let page_of = |query: Query, rows: Vec<Row>| Filter::read(query).unwrap().page(rows);
        let page = page_of(query.clone(), rows.clone());
        assert_eq!((page.total, page.rows.len(), page.page), (20, 8, 1));
        assert_eq!(page.facets.verdict[0], ("none".to_owned(), 10), "facets know no filter");
        let last = page_of(Query { page: NonZeroUsize::new(99), ..query.clone() }, rows.clone());
        assert_eq!((last.page, last.rows.len()), (3, 4));
        let days = Query { from: Some(jiff::civil::date(1970, 1, 11)), ..query.clone() };
        assert_eq!(page_of(days, rows.clone()).total, 14);
        let found = page_of(Query { search: "hcc".to_owned(), ..Query::default() }, rows.clone());
        assert_eq!(found.total, 20);
        let largest = page_of(Query { sort: "largest".to_owned(), ..Query::default() }, rows);
        assert_eq!(largest.rows[0].result.as_ref().unwrap().largest_mm, Some(29.0));
    }
}
