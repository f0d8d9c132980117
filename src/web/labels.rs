//! The labeler's part of the interface: cases, images, labels, edits, history, comparison.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};

use axum::Json;
use axum::extract::{Extension, Path, Query, State};
use axum::http::HeaderValue;
use axum::http::header::CONTENT_DISPOSITION;
use axum::response::Response;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::access::Principal;
use super::bench::{Bench, Shared, told};
use super::images::{heavily, kept, sent};
use super::packed::{gzip, whole};
use super::problem::Problem;
use super::site::Site;
use hepalert_labels::Operation;
use hepalert_labels::cases::folder::image_of;
use hepalert_labels::cases::order::Order;
use hepalert_labels::cases::stored::{compare_labels, history_of, last_edit, reader_names};
use hepalert_labels::cases::{Case, CaseError, Desk, Folder, ImageFile, Reader, Saved, Start, Who};
use hepalert_labels::regions::Region;
use hepalert_study::digest::Digest;
use hepalert_voxels::volume::{Axes, nifti};

/// Most regions sent.
const MAX_REGIONS: usize = 500;

/// The cases of the folder.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Cases {
    /// In the order in which they are to be read.
    cases: Vec<CaseLine>,
    /// What looked like a case and is none.
    skipped: Vec<Passed>,
    /// Whether the order is that of the curation loop.
    order: bool,
}

/// A file that was passed over.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Passed {
    /// Below the folder.
    path: String,
    /// Why.
    why: String,
}

/// A case in the list, and on its page.
#[derive(Debug, Serialize, JsonSchema)]
pub struct CaseLine {
    /// Its name.
    id: String,
    /// Its images.
    images: Vec<ImageLine>,
    /// Labels that came with it.
    labels: Vec<String>,
    /// Who has labelled it.
    readers: Vec<String>,
    /// When it was last edited.
    #[schemars(with = "Option<String>")]
    edited: Option<Timestamp>,
    /// How much readers and network disagree about it.
    disagreement: Option<f64>,
    /// The report of an analysis, on its page alone.
    report: Option<Value>,
}

/// An image of a case.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ImageLine {
    /// Its name.
    name: String,
    /// Its phase, where the name tells it.
    phase: Option<String>,
    /// Voxels along x, y, z as stored.
    shape: [usize; 3],
}

/// Labels as they are at a desk.
#[derive(Debug, Serialize, JsonSchema)]
pub struct AtDesk {
    /// The reader.
    reader: String,
    /// What the next edit is made on.
    revision: String,
    /// Edits that can be undone, and redone.
    steps: [usize; 2],
    /// Voxels along x, y, z in RAS order.
    shape: [usize; 3],
    /// Names the grid.
    grid: String,
    /// The regions, by label and size.
    regions: Vec<RegionLine>,
}

/// A region.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RegionLine {
    label: u8,
    /// A voxel in it, z, y, x: its name in operations.
    at: [usize; 3],
    /// First voxel of its box, z, y, x.
    lo: [usize; 3],
    /// First voxel after it.
    hi: [usize; 3],
    voxels: usize,
    volume_cm3: f64,
    centre_ras_mm: [f64; 3],
}

/// An edit that was made.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Made {
    /// What the next edit is made on.
    revision: String,
    /// Edits that can be undone, and redone.
    steps: [usize; 2],
    /// What changed, three numbers a run: first voxel, how many, their label.
    runs: Vec<u32>,
    /// The regions now.
    regions: Vec<RegionLine>,
}

/// An edit to be made.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Edit {
    /// The revision it is made on.
    on: String,
    /// The operation, such as `{"op": "relabel", "at": [z, y, x], "label": 3}`.
    operation: Value,
}

/// The revision that undo or redo is made on.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct On {
    on: String,
}

/// How labels begin that a reader has not touched yet.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Begin {
    /// A reader's name, `labels:NAME` of the case, or `empty`; the usual ones without.
    start: Option<String>,
}

/// Two to compare.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pair {
    first: String,
    second: String,
}

/// How two readers' labels compare.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Compared {
    /// Over the labels that either has.
    mean_dice: Option<f64>,
    /// By label.
    labels: Vec<LabelDice>,
    /// Where they differ, the largest first.
    disagreements: Vec<Place>,
}

/// Agreement on a label.
#[derive(Debug, Serialize, JsonSchema)]
pub struct LabelDice {
    label: u8,
    dice: f64,
}

/// A place where two differ.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Place {
    first: u8,
    second: u8,
    volume_cm3: f64,
    centre_ras_mm: [f64; 3],
}

/// The folder of cases.
///
/// # Errors
/// [`Problem`] if there is none.
pub fn bench(site: &Site) -> Result<&Bench, Problem> {
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
pub fn reader_of(who: &Principal) -> Result<Reader, Problem> {
    Reader::new(&who.name.to_lowercase()).map_err(|error| told(error.into()))
}

fn line(folder: &Folder, case: &Case, disagreement: Option<f64>) -> Result<CaseLine, Problem> {
    let image = |image: &ImageFile| {
        let [z, y, x] = image.grid.shape();
        let phase = image.phase.map(|phase| phase.code().to_owned());
        ImageLine { name: image.name.clone(), phase, shape: [x, y, z] }
    };
    let mut readers: BTreeSet<Reader> = BTreeSet::new();
    for image in &case.images {
        readers.extend(reader_names(folder, case, image).map_err(told)?);
    }
    Ok(CaseLine {
        id: case.id.clone(),
        images: case.images.iter().map(image).collect(),
        labels: case.labels.iter().map(|labels| labels.name.clone()).collect(),
        readers: readers.iter().map(ToString::to_string).collect(),
        edited: last_edit(folder, case).map_err(told)?,
        disagreement,
        report: None,
    })
}

/// `GET /api/v1/label/cases`.
pub async fn cases(State(site): State<Arc<Site>>) -> Result<Json<Cases>, Problem> {
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
pub async fn case(
    State(site): State<Arc<Site>>,
    Path(id): Path<String>,
) -> Result<Json<CaseLine>, Problem> {
    heavily(&site, move |site| {
        let folder = bench(site)?.folder()?;
        let case = folder.case(&id).map_err(told)?;
        let report = case.report.as_ref().and_then(|path| {
            let text = std::fs::read_to_string(path).ok().filter(|text| text.len() < 16 << 20)?;
            serde_json::from_str(&text).ok()
        });
        Ok(Json(CaseLine { report, ..line(&folder, case, None)? }))
    })
    .await
}

/// A name for what is made of a file as it is now.
fn kept_name(file: &ImageFile) -> Result<String, Problem> {
    let facts = std::fs::metadata(&file.path).map_err(Problem::fault)?;
    let changed = facts.modified().map_err(Problem::fault)?;
    let words = format!("{} {} {changed:?}", file.path.display(), facts.len());
    Ok(format!("case-{}.gz", &Digest::of(words.as_bytes()).hex()[..32]))
}

/// `GET /api/v1/label/cases/{case}/{image}/image`.
pub async fn image(
    State(site): State<Arc<Site>>,
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

fn region(found: &Region) -> RegionLine {
    RegionLine {
        label: found.label,
        at: found.at,
        lo: found.lo,
        hi: found.hi,
        voxels: found.voxels,
        volume_cm3: found.volume_cm3,
        centre_ras_mm: found.centre_ras_mm,
    }
}

/// Lesions alone: organs are one region each, and nobody jumps to them.
fn regions(desk: &Desk) -> Vec<RegionLine> {
    let found = desk.labelling().regions();
    let lesions = found.regions.iter().filter(|found| (1..=6).contains(&found.label));
    lesions.take(MAX_REGIONS).map(region).collect()
}

fn at_desk(desk: &Desk, reader: &Reader) -> AtDesk {
    let labelling = desk.labelling();
    let [z, y, x] = labelling.map().grid().shape();
    AtDesk {
        reader: reader.to_string(),
        revision: desk.revision().to_owned(),
        steps: labelling.steps(),
        shape: [x, y, z],
        grid: labelling.grid_name(),
        regions: regions(desk),
    }
}

fn made(desk: &Desk, saved: Option<&Saved>) -> Made {
    let stretches = saved.map(|saved| saved.change.stretches()).unwrap_or_default();
    let run = |run: &hepalert_labels::Stretch| [run.start, run.length, u32::from(run.label)];
    Made {
        revision: desk.revision().to_owned(),
        steps: desk.labelling().steps(),
        runs: stretches.iter().flat_map(run).collect(),
        regions: regions(desk),
    }
}

/// Sits down at a desk for one request.
async fn at<T: Send + 'static>(
    site: &Arc<Site>,
    (id, name): (String, String),
    who: &Principal,
    start: Start,
    work: impl FnOnce(&mut Desk, &Reader) -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let reader = reader_of(who)?;
    heavily(site, move |site| {
        let desk: Shared = bench(site)?.desk(&id, &name, &reader, &start)?;
        let mut desk = desk.lock().unwrap_or_else(PoisonError::into_inner);
        work(&mut desk, &reader)
    })
    .await
}

/// `POST /api/v1/label/cases/{case}/{image}/desk`.
pub async fn open(
    State(site): State<Arc<Site>>,
    Path(place): Path<(String, String)>,
    Extension(who): Extension<Principal>,
    Json(begin): Json<Begin>,
) -> Result<Json<AtDesk>, Problem> {
    let start = match begin.start.as_deref() {
        None => Start::Usual,
        Some("empty") => Start::Empty,
        Some(name) => Start::From(name.parse::<Who>().map_err(told)?),
    };
    at(&site, place, &who, start, |desk, reader| Ok(Json(at_desk(desk, reader)))).await
}

/// `GET /api/v1/label/cases/{case}/{image}/labels`.
pub async fn voxels(
    State(site): State<Arc<Site>>,
    Path(place): Path<(String, String)>,
    Extension(who): Extension<Principal>,
) -> Result<Response, Problem> {
    at(&site, place, &who, Start::Usual, |desk, _| {
        let voxels = desk.labelling().map().voxels();
        let plain: Vec<u8> = voxels.iter().copied().collect();
        Ok(sent(gzip(&plain), plain.len()))
    })
    .await
}

/// `GET /api/v1/label/cases/{case}/{image}/labels.nii.gz`.
pub async fn file(
    State(site): State<Arc<Site>>,
    Path((id, name)): Path<(String, String)>,
    Extension(who): Extension<Principal>,
) -> Result<Response, Problem> {
    let called = format!("{id}-{name}-{}.nii.gz", who.name.to_lowercase());
    at(&site, (id, name), &who, Start::Usual, move |desk, _| {
        let bytes = nifti::write::write_u8(&desk.labelling().stored());
        let mut response = axum::response::IntoResponse::into_response(bytes);
        let text = format!("attachment; filename=\"{called}\"");
        if let Ok(text) = HeaderValue::from_str(&text) {
            response.headers_mut().insert(CONTENT_DISPOSITION, text);
        }
        Ok(response)
    })
    .await
}

/// A step that changes labels, and what it changed; there may be nothing to undo or redo.
async fn step(
    site: &Arc<Site>,
    place: (String, String),
    who: &Principal,
    step: impl FnOnce(&mut Desk) -> Result<Option<Saved>, CaseError> + Send + 'static,
) -> Result<Json<Made>, Problem> {
    at(site, place, who, Start::Usual, |desk, _| {
        let saved = step(desk).map_err(told)?;
        Ok(Json(made(desk, saved.as_ref())))
    })
    .await
}

/// `POST /api/v1/label/cases/{case}/{image}/edit`.
pub async fn edit(
    State(site): State<Arc<Site>>,
    Path(place): Path<(String, String)>,
    Extension(who): Extension<Principal>,
    Json(Edit { on, operation }): Json<Edit>,
) -> Result<Json<Made>, Problem> {
    let operation: Operation =
        serde_json::from_value(operation).map_err(|error| Problem::bad(error.to_string()))?;
    let edit = move |desk: &mut Desk| desk.edit(&operation, &on, Timestamp::now()).map(Some);
    step(&site, place, &who, edit).await
}

/// `POST /api/v1/label/cases/{case}/{image}/undo`.
pub async fn undo(
    State(site): State<Arc<Site>>,
    Path(place): Path<(String, String)>,
    Extension(who): Extension<Principal>,
    Json(On { on }): Json<On>,
) -> Result<Json<Made>, Problem> {
    step(&site, place, &who, move |desk| desk.undo(&on, Timestamp::now())).await
}

/// `POST /api/v1/label/cases/{case}/{image}/redo`.
pub async fn redo(
    State(site): State<Arc<Site>>,
    Path(place): Path<(String, String)>,
    Extension(who): Extension<Principal>,
    Json(On { on }): Json<On>,
) -> Result<Json<Made>, Problem> {
    step(&site, place, &who, move |desk| desk.redo(&on, Timestamp::now())).await
}

/// `GET /api/v1/label/cases/{case}/{image}/history`.
pub async fn history(
    State(site): State<Arc<Site>>,
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
pub async fn compare(
    State(site): State<Arc<Site>>,
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
