//! What a reader says of the values of labels that came with a case.
//!
//! Owns how that is sent. What is known of the values, and where it is kept, is `hepalert-labels`'s.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, State};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Deserialize;

use super::access::Principal;
use super::editors::told;
use super::images::heavily;
use super::labels::{bench, reader_of};
use super::page_state::PageState;
use super::problem::Problem;
use hepalert_labels::cases::CaseError;
use hepalert_labels::cases::given::Senses;

/// What the values of a file mean.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Saying {
    /// The name of the file within its case: those of every case are meant.
    labels: String,
    /// Value and label, 0 for what is left out.
    values: Vec<(u8, u8)>,
}

/// `POST /api/v1/label/given`.
pub(super) async fn say(
    State(site): State<Arc<PageState>>,
    Extension(who): Extension<Principal>,
    Json(Saying { labels, values }): Json<Saying>,
) -> Result<Json<()>, Problem> {
    let reader = reader_of(&who)?;
    heavily(&site, move |site| {
        let folder = bench(site)?.folder()?;
        let is_there = folder.cases().iter().any(|case| case.labels(&labels).is_ok());
        if !is_there {
            return Err(told(CaseError::Unknown { what: "labels", name: labels }));
        }
        let values: BTreeMap<u8, u8> = values.into_iter().collect();
        let said = Senses::of(&folder).say(&labels, &values, Some(&reader), Timestamp::now());
        said.map(Json).map_err(told)
    })
    .await
}
