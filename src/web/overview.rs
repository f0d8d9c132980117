//! The overview: the device in one look, and what `doctor` finds.
//!
//! Owns how long findings are believed: checks try the broker and read folders, and a page that is
//! open on three screens is no reason to do so three times.

use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::Serialize;

use super::device::{Check, Pulse};
use super::page_state::{PageState, blocking};
use super::problem::Problem;
use super::queue::counts;
use super::queue_lines::Counts;
use crate::system;

/// How long findings are believed.
const BELIEVED: Duration = Duration::from_secs(20);

/// The device.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Overview {
    /// Its name.
    name: String,
    /// The program's version.
    version: String,
    /// How it is now.
    pulse: Pulse,
    /// Reasons in words.
    reasons: Vec<Meaning>,
    /// Jobs and messages.
    counts: Counts,
    /// The export folder's path.
    export_folder: String,
    /// The broker's address.
    broker: String,
    /// The store's disk.
    disk: Disk,
    /// Thermal zones, in degrees Celsius.
    temperatures_c: Vec<(String, f64)>,
    /// What this program holds in memory, in MiB.
    memory_mib: Option<f64>,
    /// Whether a time server sets the clock, where that is known.
    clock_synced: Option<bool>,
}

/// A code of the device in words.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Meaning {
    code: String,
    sentence: String,
    advice: String,
}

/// Space in the store.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Disk {
    /// Free, in MiB.
    free_mib: Option<u64>,
    /// Below this no study is begun.
    least_mib: u64,
    /// Days that results are kept.
    keep_days: Option<u32>,
}

/// What the checks of `doctor` found.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Checks {
    /// One per check, as `hepalert doctor` has them.
    checks: Vec<Check>,
    /// How old they are, in seconds.
    age_s: u64,
}

fn meaning(code: &str) -> Meaning {
    let known = crate::codes::of_device(code);
    Meaning {
        code: code.to_owned(),
        sentence: known.map_or(code, |m| m.sentence).to_owned(),
        advice: known.map_or("see docs/codes.md", |m| m.advice).to_owned(),
    }
}

fn read(site: &PageState) -> Result<Overview, Problem> {
    let pulse = site.device.pulse();
    let config = &site.config;
    Ok(Overview {
        name: config.device.name.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        reasons: pulse.reasons.iter().map(|code| meaning(code)).collect(),
        pulse,
        counts: counts(site.reader()?)?,
        export_folder: config
            .intake
            .folder
            .iter()
            .map(|folder| folder.display().to_string())
            .collect(),
        broker: format!("{}:{}", config.mqtt.host, config.mqtt.port),
        disk: Disk {
            free_mib: system::free_mib(&config.store.folder),
            least_mib: config.store.min_free_mib,
            keep_days: config.store.keep_days,
        },
        temperatures_c: system::thermal_zones(Path::new("/"))
            .into_iter()
            .map(|zone| (zone.name, zone.now_c))
            .collect(),
        memory_mib: system::memory_kib("self", "VmRSS").map(|kib| kib as f64 / 1024.0),
        clock_synced: system::clock_synced(),
    })
}

/// `GET /api/v1/overview`.
pub(super) async fn show(State(site): State<Arc<PageState>>) -> Result<Json<Overview>, Problem> {
    blocking(move || read(&site).map(Json)).await
}

/// `GET /api/v1/checks`.
pub(super) async fn checks(State(site): State<Arc<PageState>>) -> Result<Json<Checks>, Problem> {
    blocking(move || {
        // Held while checking: whoever asks meanwhile waits for the same findings.
        let mut known = site.checks.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = known.as_ref().filter(|(at, _)| at.elapsed() < BELIEVED);
        let (at, checks) = match fresh {
            Some(fresh) => fresh.clone(),
            None => {
                let found = (Instant::now(), Arc::new(site.device.checks()));
                known.insert(found).clone()
            }
        };
        Ok(Json(Checks { checks: checks.to_vec(), age_s: at.elapsed().as_secs() }))
    })
    .await
}
