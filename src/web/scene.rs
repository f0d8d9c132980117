//! What a viewer must know of a study before it loads a voxel: phases, grids, windows, layers,
//! lesions with their places.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use schemars::JsonSchema;
use serde::Serialize;

use super::browser_volumes::grid_hash;
use super::images::{LAYERS, grid_of, heavily, images_of, slice_numbers, windows};
use super::page_state::PageState;
use super::problem::Problem;
use super::study::key;
use super::study_images::{Images, Reading};
use crate::report::types::{LesionRecord, SeriesRecord};
use hepalert_study::phase::Phase;

/// A study to be drawn.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Scene {
    /// The study.
    study_key: String,
    /// The revision.
    revision: u32,
    /// Its phases in channel order.
    phases: Vec<ScenePhase>,
    /// Series that were not read and can be shown beside what was.
    others: Vec<SceneOther>,
    /// Phases of which the study has no series.
    absent: Vec<String>,
    /// Files of the study that are no part of a phase and of which nothing is known any more.
    set_aside: usize,
    /// The phase on whose grid the masks lie.
    reference: String,
    /// Layers of labels.
    layers: Vec<String>,
    /// Lesions kept, most urgent first.
    lesions: Vec<SceneLesion>,
    /// Lesions that the third stage discarded.
    discarded: Vec<SceneLesion>,
    /// Whether lesions can be drawn at any gain.
    has_gains: bool,
    /// Gains of the base and the high view.
    gains: [f32; 2],
    /// Stands beside every finding.
    notice: String,
}

/// A series that was not read.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct SceneOther {
    /// Its name in addresses: `series-3`.
    name: String,
    /// The phase that it most probably is; none where it is likely none of the four.
    phase: Option<String>,
    /// SeriesNumber, where known.
    series_number: Option<i64>,
    /// How many slices it has.
    slices: usize,
    /// Why it was not read.
    why: String,
}

/// A phase to be drawn.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ScenePhase {
    /// `nc`, `ap`, `vp` or `dp`; `series-3` of a series that was not read.
    phase: String,
    /// Voxels along x, y, z, in RAS order.
    shape: [usize; 3],
    /// Millimetres along x, y, z.
    spacing_mm: [f64; 3],
    /// Names the grid.
    grid: String,
    /// InstanceNumber of each slice from the feet, where it is known; else empty.
    instances: Vec<Option<i64>>,
    /// How it came onto the reference's grid, for those that were moved.
    alignment: Option<String>,
    /// Windows by name: centre and width in HU.
    windows: Vec<(String, [f32; 2])>,
}

/// A lesion's place and figures.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct SceneLesion {
    id: u32,
    class: String,
    label: u8,
    malignant: bool,
    volume_cm3: f64,
    max_diameter_mm: f64,
    centre_ras_mm: [f64; 3],
    /// InstanceNumber of the slice that shows most of it, where it is known.
    instance: Option<i64>,
    /// The same slice's number from the head, from 1.
    slice: Option<usize>,
    view: String,
    outcome: String,
    lesion_score: f64,
}

fn lesion(record: &LesionRecord) -> SceneLesion {
    SceneLesion {
        id: record.id,
        class: record.class.name().to_owned(),
        label: record.class.label(),
        malignant: record.malignant,
        volume_cm3: record.volume_cm3,
        max_diameter_mm: record.max_diameter_mm,
        centre_ras_mm: record.centre_ras_mm,
        instance: record.key_slice.as_ref().and_then(|slice| slice.instance_number),
        slice: record.key_slice.as_ref().and_then(|slice| slice.slice),
        view: record.view.name().to_owned(),
        outcome: record.reclassified.outcome.name().to_owned(),
        lesion_score: record.lesion_score[0],
    }
}

/// One of the CTs.
fn drawn(
    site: &PageState,
    reading: &Reading,
    of: Images,
    alignment: Option<String>,
) -> Result<ScenePhase, Problem> {
    let grid = grid_of(site, reading, of)?;
    let [nz, ny, nx] = grid.shape();
    let [sz, sy, sx] = grid.spacing_mm();
    Ok(ScenePhase {
        phase: of.name(),
        shape: [nx, ny, nz],
        spacing_mm: [sx, sy, sz],
        grid: grid_hash(&grid),
        instances: slice_numbers(site, reading, of)?,
        alignment,
        windows: windows(site, reading, of)?,
    })
}

fn others(reading: &Reading) -> Vec<SceneOther> {
    let other = |(place, line): (usize, &SeriesRecord)| SceneOther {
        name: Images::Series(place).name(),
        phase: line.phase.map(|phase| phase.code().to_owned()),
        series_number: line.series_number,
        slices: line.slices,
        why: line.why.clone(),
    };
    reading.not_read().map(other).collect()
}

/// Phases that are neither read nor among the other series.
fn absent(reading: &Reading, others: &[SceneOther]) -> Vec<String> {
    let is_there = |phase: &Phase| {
        reading.report.phases.iter().any(|record| record.phase == *phase)
            || others.iter().any(|other| other.phase.as_deref() == Some(phase.code()))
    };
    let absent = Phase::ALL.into_iter().filter(|phase| !is_there(phase));
    absent.map(|phase| phase.code().to_owned()).collect()
}

fn read(site: &PageState, reading: &Reading) -> Result<Scene, Problem> {
    let report = &reading.report;
    let phase = |record: &crate::report::types::PhaseRecord| {
        let method = record.alignment.as_ref().map(|found| found.method.name().to_owned());
        drawn(site, reading, Images::Phase(record.phase), method)
    };
    let others = others(reading);
    let gains = &report.pipeline.lesion_gain;
    Ok(Scene {
        study_key: reading.key.as_str().to_owned(),
        revision: reading.revision,
        phases: report.phases.iter().map(phase).collect::<Result<_, _>>()?,
        absent: absent(reading, &others),
        others,
        set_aside: reading.set_aside(),
        reference: reading.reference().map_or("vp", |phase| phase.code()).to_owned(),
        layers: LAYERS.map(str::to_owned).into(),
        lesions: report.lesions.iter().map(lesion).collect(),
        discarded: report.discarded.iter().map(lesion).collect(),
        has_gains: reading.has("gains.nii.gz"),
        gains: [gains.base, gains.high],
        notice: report.notice.clone(),
    })
}

/// `GET /api/v1/studies/{key}/{revision}/scene`.
pub(super) async fn show(
    State(site): State<Arc<PageState>>,
    Path((study, revision)): Path<(String, u32)>,
) -> Result<Json<Scene>, Problem> {
    let key = key(&study)?;
    heavily(&site, move |site| {
        let reading = Reading::open(site, key, revision)?;
        read(site, &reading).map(Json)
    })
    .await
}

/// `GET /api/v1/studies/{key}/{revision}/scene/{images}`.
pub(super) async fn one(
    State(site): State<Arc<PageState>>,
    Path((study, revision, images)): Path<(String, u32, String)>,
) -> Result<Json<ScenePhase>, Problem> {
    let (key, of) = (key(&study)?, images_of(&images)?);
    heavily(&site, move |site| {
        let reading = Reading::open(site, key, revision)?;
        drawn(site, &reading, of, None).map(Json)
    })
    .await
}
