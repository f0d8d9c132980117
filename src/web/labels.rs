//! The labeler's part of the interface: cases, images, labels, edits, history, comparison.

use std::fmt::Write as _;
use std::sync::{Arc, PoisonError};

use axum::Json;
use axum::extract::{Extension, Path, Query, State};
use axum::response::Response;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::access::Principal;
use super::browser_volumes::{gzip, whole};
use super::download::attached;
use super::editors::{LabelEditors, Shared, told};
use super::images::{heavily, kept, sent};
use super::label_lines::{
    CaseLine, EditorState, GivenLine, Made, editor_state, line, made, seen_of,
};
use super::page_state::PageState;
use super::problem::Problem;
use hepalert_labels::Operation;
use hepalert_labels::cases::folder::image_of;
use hepalert_labels::cases::given::Senses;
use hepalert_labels::cases::order::Order;
use hepalert_labels::cases::segment::{Made as MadeOf, segmentation_of};
use hepalert_labels::cases::stored::{self, compare_labels, history_of};
use hepalert_labels::cases::{
    CaseError, ImageFile, LabelEditor, Meaning, Reader, Saved, Start, Who,
};
use hepalert_labels::labelling::Labelling;
use hepalert_study::digest::Digest;
use hepalert_voxels::volume::{Axes, nifti};

/// The cases of the folder.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Cases {
    /// In the order in which they are to be read.
    cases: Vec<CaseLine>,
    /// What looked like a case and is none.
    skipped: Vec<Passed>,
    /// Whether the order is that of the curation loop.
    order: bool,
}

/// A file that was passed over.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Passed {
    /// Below the folder.
    path: String,
    /// Why it is no case, in a sentence.
    why: String,
}

/// An edit to be made.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Edit {
    /// The revision it is made on.
    on: String,
    /// The operation, such as `{"op": "relabel", "at": [z, y, x], "label": 3}`.
    operation: Value,
}

/// The revision that undo or redo is made on.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct On {
    on: String,
}

/// How labels begin that a reader has not touched yet.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Begin {
    /// A reader's name, `labels:NAME` of the case, or `empty`; the usual ones without.
    start: Option<String>,
}

/// Whose labels to look at.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Whose {
    whose: String,
}

/// Two to compare.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pair {
    first: String,
    second: String,
}

/// How two readers' labels compare.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Compared {
    /// Over the labels that either has.
    mean_dice: Option<f64>,
    /// By label.
    labels: Vec<LabelDice>,
    /// Where they differ, the largest first.
    disagreements: Vec<Place>,
}

/// Agreement on a label.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct LabelDice {
    label: u8,
    dice: f64,
}

/// A place where two differ.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Place {
    first: u8,
    second: u8,
    volume_cm3: f64,
    centre_ras_mm: [f64; 3],
}

/// The folder of cases.
///
/// # Errors
/// [`Problem`] if there is none.
pub(super) fn bench(site: &PageState) -> Result<&LabelEditors, Problem> {
    site.bench.as_ref().ok_or_else(|| {
        let next = "set web.labels_folder, or run `hepalert web label DIR`";
        let message = "no folder of cases is open here";
        Problem::new(axum::http::StatusCode::NOT_FOUND, "no_cases", message, next)
    })
}

/// Users' names are readers' names, in small letters.
///
/// # Errors
/// [`Problem`] for a name that is none.
pub(super) fn reader_of(who: &Principal) -> Result<Reader, Problem> {
    Reader::new(&who.name.to_lowercase()).map_err(|error| told(error.into()))
}

/// `GET /api/v1/label/cases`.
pub(super) async fn cases(State(site): State<Arc<PageState>>) -> Result<Json<Cases>, Problem> {
    heavily(&site, |site| {
        let folder = bench(site)?.look_again()?;
        let order = Order::read(folder.work()).map_err(told)?;
        let known = !order.disagreement.is_empty();
        let cases = order
            .of(&folder)
            .into_iter()
            .map(|(case, disagreement)| line(&folder, case, disagreement));
        let passed = folder.skipped().iter().map(|skipped| Passed {
            path: skipped.path.display().to_string(),
            why: skipped.why.clone(),
        });
        let cases = cases.collect::<Result<_, _>>()?;
        Ok(Json(Cases { cases, skipped: passed.collect(), order: known }))
    })
    .await
}

/// `GET /api/v1/label/cases/{case}`.
pub(super) async fn case(
    State(site): State<Arc<PageState>>,
    Path(id): Path<String>,
) -> Result<Json<CaseLine>, Problem> {
    heavily(&site, move |site| {
        let folder = bench(site)?.folder()?;
        let case = folder.case(&id).map_err(told)?;
        let report = case.report.as_ref().and_then(|path| {
            let text = std::fs::read_to_string(path).ok().filter(|text| text.len() < 16 << 20)?;
            serde_json::from_str(&text).ok()
        });
        let mut line = line(&folder, case, None)?;
        line.report = report;
        Ok(Json(line))
    })
    .await
}

/// A name for what is made of a file as it is now.
fn kept_name(file: &ImageFile) -> Result<String, Problem> {
    let mut words = String::new();
    for path in file.files() {
        let facts = std::fs::metadata(path).map_err(Problem::fault)?;
        let changed = facts.modified().map_err(Problem::fault)?;
        let _ = write!(words, "{} {} {changed:?} ", path.display(), facts.len());
    }
    Ok(format!("case-{}.gz", &Digest::of(words.as_bytes()).hex()[..32]))
}

/// `GET /api/v1/label/cases/{case}/{image}/image`.
pub(super) async fn image(
    State(site): State<Arc<PageState>>,
    Path((id, name)): Path<(String, String)>,
) -> Result<Response, Problem> {
    heavily(&site, move |site| {
        let folder = bench(site)?.folder()?;
        let case = folder.case(&id).map_err(told)?;
        let file = case.image(&name).map_err(told)?;
        let bytes = kept(site, &kept_name(file)?, || {
            let volume = image_of(file).map_err(told)?;
            Ok(nifti::write::write_i16(&whole(Axes::ras(volume.grid()).turn_volume(volume))))
        })?;
        Ok(sent(bytes, 352 + 2 * file.grid.voxels()))
    })
    .await
}

/// Opens one's editor for one request.
async fn at<T: Send + 'static>(
    site: &Arc<PageState>,
    (id, name): (String, String),
    who: &Principal,
    start: Start,
    work: impl FnOnce(&mut LabelEditor, &Reader) -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let reader = reader_of(who)?;
    heavily(site, move |site| {
        let editor: Shared = bench(site)?.editor(&id, &name, &reader, &start)?;
        let mut editor = editor.lock().unwrap_or_else(PoisonError::into_inner);
        work(&mut editor, &reader)
    })
    .await
}

/// The same for who shows what is there: programs and commands may have changed it since. An edit finds
/// that out by itself.
async fn looking<T: Send + 'static>(
    site: &Arc<PageState>,
    place: (String, String),
    who: &Principal,
    start: Start,
    work: impl FnOnce(&mut LabelEditor, &Reader) -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    at(site, place, who, start, |editor, reader| {
        editor.look_again().map_err(told)?;
        work(editor, reader)
    })
    .await
}

/// `POST /api/v1/label/cases/{case}/{image}/desk`.
pub(super) async fn open(
    State(site): State<Arc<PageState>>,
    Path(place): Path<(String, String)>,
    Extension(who): Extension<Principal>,
    Json(begin): Json<Begin>,
) -> Result<Json<EditorState>, Problem> {
    let start = match begin.start.as_deref() {
        None => Start::Usual,
        Some("empty") => Start::Empty,
        Some(name) => Start::From(name.parse::<Who>().map_err(told)?),
    };
    looking(&site, place, &who, start, |editor, reader| {
        let told = editor_state(
            editor.labelling(),
            editor.meaning(),
            reader.to_string(),
            editor.revision(),
        );
        Ok(Json(told))
    })
    .await
}

/// Somebody's labels to look at, and what they mean. `none` are no labels on the image.
async fn look<T: Send + 'static>(
    site: &Arc<PageState>,
    (id, name): (String, String),
    Whose { whose }: Whose,
    tell: impl FnOnce(&Labelling, &Meaning, (String, Option<GivenLine>)) -> T + Send + 'static,
) -> Result<T, Problem> {
    heavily(site, move |site| {
        let folder = bench(site)?.folder()?;
        let case = folder.case(&id).map_err(told)?;
        let image = case.image(&name).map_err(told)?;
        if whose == "none" {
            let labelling = Labelling::empty(&image.grid);
            return Ok(tell(&labelling, folder.meaning(), (whose, None)));
        }
        match whose.parse::<Who>().map_err(told)? {
            Who::Given(given) => {
                let seen = seen_of(&Senses::of(&folder), case, image, &given).map_err(told)?;
                Ok(tell(&seen.labelling, &seen.meaning, (whose, Some(seen.line))))
            }
            who @ Who::Reader(_) => {
                let labelling = stored::labels(&folder, case, image, &who).map_err(told)?;
                Ok(tell(&labelling, folder.meaning(), (whose, None)))
            }
        }
    })
    .await
}

/// `GET /api/v1/label/cases/{case}/{image}/seen`.
pub(super) async fn seen(
    State(site): State<Arc<PageState>>,
    Path(place): Path<(String, String)>,
    Query(whose): Query<Whose>,
) -> Result<Json<EditorState>, Problem> {
    look(&site, place, whose, |labelling, meaning, (whose, given)| {
        let mut told = editor_state(labelling, meaning, whose, "");
        told.given = given;
        Json(told)
    })
    .await
}

/// `GET /api/v1/label/cases/{case}/{image}/seen/labels`.
pub(super) async fn seen_voxels(
    State(site): State<Arc<PageState>>,
    Path(place): Path<(String, String)>,
    Query(whose): Query<Whose>,
) -> Result<Response, Problem> {
    look(&site, place, whose, |labelling, _, _| plain(labelling)).await
}

fn plain(labelling: &Labelling) -> Response {
    let plain: Vec<u8> = labelling.map().voxels().iter().copied().collect();
    sent(gzip(&plain), plain.len())
}

/// `GET /api/v1/label/cases/{case}/{image}/labels`.
pub(super) async fn voxels(
    State(site): State<Arc<PageState>>,
    Path(place): Path<(String, String)>,
    Extension(who): Extension<Principal>,
) -> Result<Response, Problem> {
    looking(&site, place, &who, Start::Usual, |editor, _| Ok(plain(editor.labelling()))).await
}

/// `GET /api/v1/label/cases/{case}/{image}/labels.nii.gz`.
pub(super) async fn file(
    State(site): State<Arc<PageState>>,
    Path((id, name)): Path<(String, String)>,
    Extension(who): Extension<Principal>,
) -> Result<Response, Problem> {
    let called = format!("{id}-{name}-{}.nii.gz", who.name.to_lowercase());
    looking(&site, (id, name), &who, Start::Usual, move |editor, _| {
        attached(nifti::write::write_u8(&editor.labelling().stored()), &called)
    })
    .await
}

/// `GET /api/v1/label/cases/{case}/{image}/labels.dcm`.
pub(super) async fn segmentation(
    State(site): State<Arc<PageState>>,
    Path((id, name)): Path<(String, String)>,
    Extension(who): Extension<Principal>,
) -> Result<Response, Problem> {
    let called = format!("{id}-{name}-{}.dcm", who.name.to_lowercase());
    let shared = Arc::clone(&site);
    looking(&site, (id.clone(), name.clone()), &who, Start::Usual, move |editor, reader| {
        let folder = bench(&shared)?.folder()?;
        let image = folder.case(&id).and_then(|case| case.image(&name)).map_err(told)?;
        let made = MadeOf {
            who: reader.as_str(),
            revision: editor.revision(),
            version: env!("CARGO_PKG_VERSION"),
            when: Timestamp::now(),
        };
        let object = segmentation_of(image, editor.labelling(), editor.meaning(), &made);
        attached(object.map_err(told)?.bytes, &called)
    })
    .await
}

/// A step that changes labels, and what it changed; there may be nothing to undo or redo.
async fn step(
    site: &Arc<PageState>,
    place: (String, String),
    who: &Principal,
    step: impl FnOnce(&mut LabelEditor) -> Result<Option<Saved>, CaseError> + Send + 'static,
) -> Result<Json<Made>, Problem> {
    at(site, place, who, Start::Usual, |editor, _| {
        let saved = step(editor).map_err(told)?;
        Ok(Json(made(editor, saved.as_ref())))
    })
    .await
}

/// `POST /api/v1/label/cases/{case}/{image}/edit`.
pub(super) async fn edit(
    State(site): State<Arc<PageState>>,
    Path(place): Path<(String, String)>,
    Extension(who): Extension<Principal>,
    Json(Edit { on, operation }): Json<Edit>,
) -> Result<Json<Made>, Problem> {
    let operation: Operation =
        serde_json::from_value(operation).map_err(|error| Problem::bad(error.to_string()))?;
    let edit =
        move |editor: &mut LabelEditor| editor.edit(&operation, &on, Timestamp::now()).map(Some);
    step(&site, place, &who, edit).await
}

/// `POST /api/v1/label/cases/{case}/{image}/undo`.
pub(super) async fn undo(
    State(site): State<Arc<PageState>>,
    Path(place): Path<(String, String)>,
    Extension(who): Extension<Principal>,
    Json(On { on }): Json<On>,
) -> Result<Json<Made>, Problem> {
    step(&site, place, &who, move |editor| editor.undo(&on, Timestamp::now())).await
}

/// `POST /api/v1/label/cases/{case}/{image}/redo`.
pub(super) async fn redo(
    State(site): State<Arc<PageState>>,
    Path(place): Path<(String, String)>,
    Extension(who): Extension<Principal>,
    Json(On { on }): Json<On>,
) -> Result<Json<Made>, Problem> {
    step(&site, place, &who, move |editor| editor.redo(&on, Timestamp::now())).await
}

/// `GET /api/v1/label/cases/{case}/{image}/history`.
pub(super) async fn history(
    State(site): State<Arc<PageState>>,
    Path((id, _)): Path<(String, String)>,
) -> Result<Json<Value>, Problem> {
    heavily(&site, move |site| {
        let folder = bench(site)?.folder()?;
        let told_of = history_of(&folder, folder.case(&id).map_err(told)?).map_err(told)?;
        serde_json::to_value(told_of).map(Json).map_err(Problem::fault)
    })
    .await
}

/// `GET /api/v1/label/cases/{case}/{image}/compare`.
pub(super) async fn compare(
    State(site): State<Arc<PageState>>,
    Path((id, name)): Path<(String, String)>,
    Query(Pair { first, second }): Query<Pair>,
) -> Result<Json<Compared>, Problem> {
    let (first, second) =
        (first.parse::<Who>().map_err(told)?, second.parse::<Who>().map_err(told)?);
    heavily(&site, move |site| {
        let folder = bench(site)?.folder()?;
        let case = folder.case(&id).map_err(told)?;
        let image = case.image(&name).map_err(told)?;
        let found = compare_labels(&folder, case, image, [&first, &second]).map_err(told)?;
        let labels =
            found.overlaps.iter().map(|one| LabelDice { label: one.label, dice: one.dice });
        let place = |one: &hepalert_labels::cases::compare::Disagreement| Place {
            first: one.first,
            second: one.second,
            volume_cm3: one.region.volume_cm3,
            centre_ras_mm: one.region.centre_ras_mm,
        };
        Ok(Json(Compared {
            mean_dice: found.mean_dice(),
            labels: labels.collect(),
            disagreements: found.disagreements.iter().take(200).map(place).collect(),
        }))
    })
    .await
}
