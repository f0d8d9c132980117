//! The engines: what is in the slots, what was done, and a new one from an administrator.
//!
//! Owns the way of an uploaded package onto the disk. That it is whole, signed by keys that this
//! device trusts and fit for it is the installer's to judge, by the same functions as the command
//! line and the update folder; the daemon then tests and uses it between two studies.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, Query, State};
use axum::http::StatusCode;
use jiff::Timestamp;
use log::{info, warn};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::access::Principal;
use super::page_state::{PageState, blocking};
use super::problem::Problem;
use crate::installer::{Installer, SlotTarget};
use hepalert_bundles::Bundle;
use hepalert_bundles::refused::PackageError;
use hepalert_bundles::slots::{Installed, Refusal, Slot, State as Slots};

/// Largest packed engine that is taken: the largest networks of the paper in f32, twice.
pub(super) const MAX_PACKAGE: usize = 2 << 30;
/// After so many bytes of an upload the disk is looked at again.
const LOOK_EVERY: usize = 64 << 20;

/// The engines of the device.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Engines {
    /// The configured bundle.
    configured: Configured,
    /// Both slots.
    slots: Vec<SlotLine>,
    /// The slot in use; none means the configured bundle.
    active: Option<String>,
    /// What the daemon will do between two studies.
    wanted: Option<Value>,
    /// What was done, newest first.
    history: Vec<Value>,
    /// Keys of makers that are trusted.
    trusted_keys: usize,
    /// How many different ones an engine needs.
    signatures_needed: usize,
    /// Studies and hours of a probation.
    probation: [u32; 2],
}

/// The configured bundle.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Configured {
    path: String,
    id: Option<String>,
    version: Option<u32>,
    phases: Vec<String>,
    created: Option<String>,
}

/// One slot.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct SlotLine {
    /// `a` or `b`.
    name: String,
    /// What is in it, how far it is trusted, and its last self-test.
    holds: Option<Value>,
}

/// Which engine to use from the next study on.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Wish {
    /// Which engine shall be used.
    target: SlotTarget,
}

/// An engine was taken.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Taken {
    /// The slot.
    slot: String,
    /// Which engine.
    id: String,
    /// Its version.
    version: u32,
}

/// How an upload is meant.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Upload {
    again: bool,
}

fn holds(installed: &Installed) -> Option<Value> {
    serde_json::to_value(installed).ok()
}

fn read(site: &PageState) -> Result<Engines, Problem> {
    let installer = Installer::new(&site.config);
    let state: Slots = installer.slots().state().map_err(Problem::fault)?;
    let engine = &site.config.engine;
    let bundle = Bundle::open(&engine.bundle).ok();
    let slots = Slot::ALL.map(|slot| SlotLine {
        name: slot.name().to_owned(),
        holds: state.slot(slot).and_then(holds),
    });
    let history = state.notices.iter().rev().filter_map(|n| serde_json::to_value(n).ok());
    Ok(Engines {
        configured: Configured {
            path: engine.bundle.display().to_string(),
            id: bundle.as_ref().map(|bundle| bundle.id().to_owned()),
            version: bundle.as_ref().map(Bundle::version),
            phases: bundle.iter().flat_map(|b| b.phases()).map(|p| p.code().to_owned()).collect(),
            created: bundle.as_ref().map(|bundle| bundle.created().to_owned()),
        },
        slots: slots.into(),
        active: state.active.map(|slot| slot.name().to_owned()),
        wanted: state.wanted.and_then(|wanted| serde_json::to_value(wanted).ok()),
        history: history.collect(),
        trusted_keys: installer.trust().map_or(0, |trust| trust.keys().count()),
        signatures_needed: engine.signatures_needed,
        probation: [engine.probation_studies, engine.probation_hours],
    })
}

/// `GET /api/v1/engines`.
pub(super) async fn show(State(site): State<Arc<PageState>>) -> Result<Json<Engines>, Problem> {
    blocking(move || read(&site).map(Json)).await
}

fn package_refused(error: &PackageError) -> Problem {
    let next = "see `hepalert engine verify` for the same file, and docs/codes.md for the code";
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error.code(), error.to_string(), next)
}

fn refused(refusal: Refusal) -> Problem {
    match refusal {
        Refusal::Package(error) => package_refused(&error),
        Refusal::Slots(error) => Problem::fault(error),
        refusal => {
            let next = "look at the slots; wait for the end of a probation, or roll it back";
            Problem::conflict(refusal.code(), refusal.to_string(), next)
        }
    }
}

/// `POST /api/v1/engines`.
pub(super) async fn install(
    State(site): State<Arc<PageState>>,
    Extension(who): Extension<Principal>,
    Query(Upload { again }): Query<Upload>,
    body: Body,
) -> Result<Json<Taken>, Problem> {
    let folder = site.config.store.folder.clone();
    let file = blocking(move || {
        tempfile::Builder::new()
            .prefix(".upload-")
            .suffix(".hepengine")
            .tempfile_in(folder)
            .map_err(Problem::fault)
    });
    let file = received(file.await?, body, &site).await?;
    blocking(move || {
        let staged = stage(&site, file.path(), again);
        let taken = staged.map_err(|refusal| {
            warn!("the page: an engine from {} was refused: {refusal}", who.name);
            refused(refusal)
        })?;
        let Taken { slot, id, version } = &taken;
        info!("the page: {} has put {id} version {version} into slot {slot}", who.name);
        Ok(Json(taken))
    })
    .await
}

/// Judges a package and puts it into a slot.
fn stage(site: &PageState, file: &Path, again: bool) -> Result<Taken, Refusal> {
    let installer = Installer::new(&site.config);
    let policy = installer.policy(installer.trust()?, None);
    let package = policy.open(file)?;
    let (id, version) = (package.bundle().id().to_owned(), package.bundle().version());
    let slot = installer.stage(package, &policy, again, Timestamp::now())?;
    Ok(Taken { slot: slot.name().to_owned(), id, version })
}

/// The body as a file, never more of it in memory than a piece.
async fn received(
    mut file: tempfile::NamedTempFile,
    body: Body,
    site: &PageState,
) -> Result<tempfile::NamedTempFile, Problem> {
    use axum::body::HttpBody;
    let mut body = Box::pin(body);
    let (mut size, mut next_look) = (0, 0);
    let least = site.config.store.min_free_mib;
    while let Some(frame) = std::future::poll_fn(|context| body.as_mut().poll_frame(context)).await
    {
        let frame = frame.map_err(|_| Problem::bad("the upload broke off"))?;
        let Ok(data) = frame.into_data() else { continue };
        size += data.len();
        if size > MAX_PACKAGE {
            return Err(Problem::bad("no engine is as large as this"));
        }
        file = blocking(move || {
            file.write_all(&data).map_err(Problem::fault)?;
            Ok(file)
        })
        .await?;
        if size >= next_look {
            next_look = size + LOOK_EVERY;
            if crate::system::free_mib(file.path()).is_some_and(|free| free < least) {
                return Err(Problem::fault("the disk is nearly full"));
            }
        }
    }
    Ok(file)
}

/// `POST /api/v1/engines/use`.
pub(super) async fn switch(
    State(site): State<Arc<PageState>>,
    Extension(who): Extension<Principal>,
    Json(Wish { target }): Json<Wish>,
) -> Result<Json<Engines>, Problem> {
    blocking(move || {
        let installer = Installer::new(&site.config);
        let wanted = target.wanted();
        let possible = installer.slots().change(|state| state.want(wanted));
        possible.map_err(Problem::fault)?.map_err(|objection| {
            Problem::conflict(objection.code(), objection.to_string(), "look at the slots")
        })?;
        info!("the page: {} wants another engine: {wanted:?}", who.name);
        read(&site).map(Json)
    })
    .await
}
