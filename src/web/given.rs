//! What a reader says of the values of labels that came with a case.
//!
//! Owns what a page is told of such a map and how it is answered. What is known of the values, and
//! where that is kept, is `hepalert-labels`'s.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, State};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::access::Principal;
use super::bench::told;
use super::images::heavily;
use super::labels::{bench, reader_of};
use super::problem::Problem;
use super::site::Site;
use hepalert_labels::cases::given::{Given, Known, Senses};
use hepalert_labels::cases::{Case, CaseError, ImageFile, Meaning};
use hepalert_labels::labelling::Labelling;

/// A map that came with a case: its values, and how they are known.
#[derive(Debug, Serialize, JsonSchema)]
pub struct GivenLine {
    /// Its name within the case.
    name: String,
    /// `as_here`, `by_name`, `said` or `not`.
    known: &'static str,
    /// The values of the file.
    values: Vec<ValueLine>,
    /// The labels that a value can mean: value and name.
    choices: Vec<(u8, String)>,
}

/// A value of the file.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ValueLine {
    value: u8,
    volume_cm3: f64,
    /// The label that it means; 0 if it is left out; none where nobody has said.
    means: Option<u8>,
}

/// What the values of a file mean.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Saying {
    /// The name of the file within its case: those of every case are meant.
    labels: String,
    /// Value and label, 0 for what is left out.
    values: Vec<(u8, u8)>,
}

/// What is seen of a map that came with a case.
pub struct Seen {
    /// Its voxels.
    pub labelling: Labelling,
    /// What they mean: labels of the folder, or nothing but values.
    pub meaning: Meaning,
    /// What is told of it.
    pub line: GivenLine,
}

/// Reads a map that came with a case, for whoever looks at it.
///
/// # Errors
/// What is wrong with it.
pub fn seen(
    senses: &Senses,
    case: &Case,
    image: &ImageFile,
    name: &str,
) -> Result<Seen, CaseError> {
    let Given { map, known, values } = senses.look(case.labels(name)?)?;
    let voxel_cm3 = map.grid().voxel_cm3();
    let folder = senses.meaning();
    let meaning = match known {
        Known::Not => Meaning::of_values(values.iter().map(|one| one.value), name),
        Known::AsHere | Known::ByName | Known::Said => folder.clone(),
    };
    let line = |one: &hepalert_labels::cases::given::Value| ValueLine {
        value: one.value,
        volume_cm3: one.voxels as f64 * voxel_cm3,
        means: one.means,
    };
    let choices = folder.names().iter().filter(|(label, _)| **label != 0);
    let line = GivenLine {
        name: name.to_owned(),
        known: match known {
            Known::AsHere => "as_here",
            Known::ByName => "by_name",
            Known::Said => "said",
            Known::Not => "not",
        },
        values: values.iter().map(line).collect(),
        choices: choices.map(|(label, name)| (*label, name.clone())).collect(),
    };
    Ok(Seen { labelling: Labelling::on(&image.grid, map)?, meaning, line })
}

/// `POST /api/v1/label/given`.
pub async fn say(
    State(site): State<Arc<Site>>,
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
