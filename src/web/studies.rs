//! The list of studies: from the store to a page of it.

use std::sync::{Arc, PoisonError};

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query as Asked, State};

use super::page_state::{PageState, blocking};
use super::problem::Problem;
use super::study_filter::{Filter, Page, Query};
use super::study_list::{Row, row};
use crate::store::StoreError;

/// What may stand behind the question mark.
pub(super) const QUERY: &[(&str, &str)] = &[
    ("search", "part of a study key, a reason or a class"),
    ("verdict", "verdicts with commas between; `none` where there is no report"),
    ("state", "states with commas between"),
    ("setting", "settings with commas between"),
    ("engine", "engines with commas between"),
    ("from", "first day, as 2026-01-31, UTC"),
    ("to", "last day, UTC"),
    ("sort", "`completed`, `largest` or `seconds`"),
    ("page", "from 1"),
    ("size", "studies of a page, at most 200"),
];

/// `GET /api/v1/studies`.
pub(super) async fn list(
    State(site): State<Arc<PageState>>,
    asked: Result<Asked<Query>, QueryRejection>,
) -> Result<Json<Page>, Problem> {
    let Asked(query) = asked.map_err(|error| Problem::bad(plain(&error.body_text())))?;
    let filter = Filter::read(query).map_err(Problem::bad)?;
    blocking(move || {
        let rows = rows(&site)?;
        Ok(Json(filter.page(rows)))
    })
    .await
}

/// What is wrong with a query, without the words of the library that reads it.
fn plain(said: &str) -> String {
    said.strip_prefix("Failed to deserialize query string: ").unwrap_or(said).to_owned()
}

/// Every study, newest first.
fn rows(site: &PageState) -> Result<Vec<Row>, Problem> {
    let store = site.reader()?;
    let studies = store.studies()?;
    let mut summaries = site.summaries.lock().unwrap_or_else(PoisonError::into_inner);
    let made: Result<Vec<Row>, StoreError> = studies
        .iter()
        .map(|study| {
            let text = || {
                let report = store.report(&study.job.study_key)?;
                Ok::<_, StoreError>(report.map(|report| report.report_json))
            };
            Ok(row(&study.job, summaries.of(study, text)?))
        })
        .collect();
    summaries.forget_all_but(&studies);
    Ok(made?)
}
