//! Labels that two windows changed: the second one's are kept under a name of their own.
//!
//! Owns that name. What is sent are the labels as the window has them, and the edit that was not
//! made. Nothing that is there is written over.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, Path, State};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::access::Principal;
use super::editors::told;
use super::images::heavily;
use super::labels::{bench, reader_of};
use super::page_state::PageState;
use super::problem::Problem;
use hepalert_labels::cases::stored::is_labelled;
use hepalert_labels::cases::{Case, CaseError, Folder, ImageFile, LabelEditor, Reader, Start};
use hepalert_labels::{Context, Labelling, Operation};

/// Names tried: nobody collides more often on one revision.
const MAX_NAMES: usize = 20;
/// Letters of a reader's name that stay beside a dot, a revision and a number.
const NAME: usize = 28;

/// Labels of a window, and what it was about to do.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Window {
    /// The revision that it had.
    on: String,
    /// All that is labelled in it.
    labels: Vec<Labelled>,
    /// The edit that was refused.
    operation: Option<Value>,
}

/// Voxels of a label.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Labelled {
    label: u8,
    /// `[z, y, x, length]`: runs along x.
    runs: Vec<[usize; 4]>,
}

/// Where they are kept.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Aside {
    /// Whose labels they are now.
    reader: String,
    /// Their revision.
    revision: String,
    /// Why the edit could not be made on them either.
    refused: Option<String>,
}

/// `POST /api/v1/label/cases/{case}/{image}/aside`.
pub(super) async fn keep(
    State(site): State<Arc<PageState>>,
    Path((id, name)): Path<(String, String)>,
    Extension(who): Extension<Principal>,
    Json(window): Json<Window>,
) -> Result<Json<Aside>, Problem> {
    let reader = reader_of(&who)?;
    if window.labels.is_empty() && window.operation.is_none() {
        return Err(Problem::bad("there are no labels to keep"));
    }
    let operation: Option<Operation> = (window.operation.clone())
        .map(serde_json::from_value)
        .transpose()
        .map_err(|error| Problem::bad(error.to_string()))?;
    heavily(&site, move |site| {
        let folder = bench(site)?.folder()?;
        let case = folder.case(&id).map_err(told)?;
        let image = case.image(&name).map_err(told)?;
        let place = Place { folder: &folder, case, image };
        place.keep(&reader, &window, operation.as_ref()).map(Json).map_err(told)
    })
    .await
}

/// An image of a case.
struct Place<'a> {
    folder: &'a Folder,
    case: &'a Case,
    image: &'a ImageFile,
}

impl Place<'_> {
    fn keep(
        &self,
        reader: &Reader,
        window: &Window,
        operation: Option<&Operation>,
    ) -> Result<Aside, CaseError> {
        let mut labelling = Labelling::empty(&self.image.grid);
        for Labelled { label, runs } in &window.labels {
            let paint = Operation::Paint { runs: runs.clone(), label: *label, over: None };
            labelling.apply(&paint, Context::default())?;
        }
        let now = Timestamp::now();
        let mut editor = self.free_editor(reader, &window.on)?;
        let from = format!("{reader}, whose labels had changed meanwhile");
        let on = editor.revision().to_owned();
        let mut revision = editor.take_in(labelling.stored(), &from, &on, now)?.revision;
        let mut refused = None;
        if let Some(operation) = operation {
            match editor.edit(operation, &revision, now) {
                Ok(saved) => revision = saved.revision,
                Err(CaseError::Refused(why)) => refused = Some(why.to_string()),
                Err(other) => return Err(other),
            }
        }
        Ok(Aside { reader: editor.reader().to_string(), revision, refused })
    }

    /// An editor of a name that nobody has used: `anna.` and the beginning of the revision.
    fn free_editor(&self, reader: &Reader, on: &str) -> Result<LabelEditor, CaseError> {
        let own = &reader.as_str()[..reader.as_str().len().min(NAME)];
        let hex = |c: &char| c.is_ascii_digit() || c.is_ascii_lowercase();
        let revision: String = on.chars().filter(hex).take(8).collect();
        let mut name = Reader::new(&format!("{own}.{revision}"))?;
        for number in 2..=MAX_NAMES {
            if !is_labelled(self.folder, self.case, self.image, &name)? {
                break;
            }
            name = Reader::new(&format!("{own}.{revision}.{number}"))?;
        }
        // Where somebody was faster, or no name is free, the labels that are there refuse these.
        LabelEditor::open(self.folder, &self.case.id, &self.image.name, &name, &Start::Empty)
    }
}
