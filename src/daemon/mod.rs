//! The daemon: wires the threads, watches their lives, and ends them in order.
//!
//! Three threads beside the main one: `folder` looks at the export folder, `studies` works
//! through the queue by way of the inference process, `publish` sends what is in the outbox.
//! They meet only in the store. Start-up is the same code as recovery.

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use log::{error, info, warn};
use sd_notify::NotifyState;

use crate::analyze::{Settings, phases_beside};
use crate::config::Config;
use crate::intake::{GateParams, PhaseRules};
use crate::store::{Store, StoreError};
use crate::worker::{Limits, Worker};
use hepalert_cascade::align;
use hepalert_cascade::reclassify;
use hepalert_cascade::segment::AirTiles;
use hepalert_engines::backend::Runtime;
use hepalert_study::digest::{Digest, hex};

pub mod bridge;
mod engines;
mod events;
mod folder;
pub mod installing;
mod quarantine;
mod sending;
mod shared;
mod studies;
mod telling;
mod updates;

pub use sending::params as broker_params;
use shared::{Part, Shared};

/// How often the main thread looks after the others.
const ROUND: Duration = Duration::from_millis(250);
/// How often an unusable engine bundle is tried again.
const ENGINE_RETRY: Duration = Duration::from_secs(30);
/// How often old results are removed.
const PRUNE_EVERY: Duration = Duration::from_secs(3600);
/// Time to send the last events when stopping.
const FAREWELL: Duration = Duration::from_secs(10);
/// Bytes of a site key.
const SITE_KEY_BYTES: usize = 32;

/// Why the daemon cannot start.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// A file or folder.
    #[error("{}: {reason}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// The system's words.
        reason: std::io::Error,
    },
    /// The database.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The system refuses a thread or the signals.
    #[error("the system refuses: {0}")]
    System(std::io::Error),
}

/// What analysing takes from the configuration.
pub fn analysis_settings(config: &Config) -> Settings {
    let engine = &config.engine;
    Settings {
        bundle: engine.bundle.clone(),
        others: engine.others.clone(),
        alignment: align::Rules::default(),
        runtime: Runtime {
            backend: engine.backend,
            precision: engine.precision,
            threads: engine.threads.unwrap_or(0),
            batch: engine.batch,
            cache: Some(config.store.folder.join("compiled")),
        },
        high_gain: engine.high_gain,
        reclassify: reclassify::Params {
            patches: engine.patches_per_lesion,
            keep_above_cm3: engine.keep_above_cm3,
            discard_below_cm3: engine.discard_below_cm3,
            ..reclassify::Params::default()
        },
        air: if engine.skip_air { AirTiles::RunOnce } else { AirTiles::RunAll },
        memory_budget_bytes: engine.memory_budget_mib.saturating_mul(1 << 20),
        gate: gate_params(config),
        keep_margin: false,
        phase_bundle: match &config.phases.phase_bundle {
            unset if unset.as_os_str().is_empty() => phases_beside(&engine.bundle),
            folder => Some(folder.clone()),
        },
    }
}

/// The site's rules for phases; a configuration that was read has none that cannot be compiled.
pub fn phase_rules(config: &Config) -> PhaseRules {
    PhaseRules { rules: config.phases.rules().unwrap_or_default() }
}

/// The limits of the gate as configured.
pub fn gate_params(config: &Config) -> GateParams {
    GateParams {
        kvp: [config.gate.kvp_min, config.gate.kvp_max],
        min_coverage_mm: config.gate.min_extent_mm,
        max_files: config.gate.max_files,
        ..GateParams::default()
    }
}

/// A flag that SIGTERM or SIGINT sets, instead of ending the process at once.
///
/// # Errors
/// If the system takes no handler.
pub fn stop_on_signals() -> std::io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    Ok(stop)
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// [`DaemonError`] if it cannot start; afterwards it keeps going.
pub fn run(config: Config) -> Result<(), DaemonError> {
    let stop = stop_on_signals().map_err(DaemonError::System)?;
    let shared = Arc::new(begin(config)?);
    shared.set_publisher(sending::start(&shared).map_err(DaemonError::System)?);
    let threads = start_threads(&shared)?;
    notify(&[NotifyState::Ready]);
    info!("ready, boot {}", shared.boot);
    look_after(&shared, &stop);
    notify(&[NotifyState::Stopping]);
    info!("stopping");
    shared.stop();
    for thread in threads {
        if thread.join().is_err() {
            error!("a thread had panicked");
        }
    }
    if let Some(publisher) = shared.take_publisher() {
        publisher.stop(FAREWELL);
    }
    Ok(())
}

/// Opens the store and takes back what a dead process left.
fn begin(config: Config) -> Result<Shared, DaemonError> {
    let folder = config.store.folder.clone();
    let failed = |reason| DaemonError::File { path: folder.clone(), reason };
    fs::create_dir_all(&folder).map_err(failed)?;
    let opened = Store::open(&config.store.database(), Timestamp::now())?;
    if let Some(aside) = &opened.set_aside {
        error!("the store was damaged and set aside: {}", aside.display());
    }
    let started = opened.store.begin(Timestamp::now())?;
    if !started.requeued.is_empty() {
        warn!("{} studies were under way when the last run ended", started.requeued.len());
    }
    sweep_drafts(&config.store.results());
    let merged = toml::to_string(&config).unwrap_or_default();
    let config_sha256 = Digest::of(merged.as_bytes()).hex();
    let shared = Shared::new(config, opened.store, started.boot, config_sha256);
    shared.set_wrong("store_replaced", opened.set_aside.is_some());
    Ok(shared)
}

/// Removes half-written reports of a process that was killed.
fn sweep_drafts(results: &Path) {
    let Ok(entries) = fs::read_dir(results) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(".report-") {
            // A draft that stays only wastes space.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn start_threads(shared: &Arc<Shared>) -> Result<Vec<JoinHandle<()>>, DaemonError> {
    let site_key = site_key(&shared.config.device.site_key_file)?;
    let worker = worker(&shared.config)?;
    let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
        thread::Builder::new().name(name.to_owned()).spawn(work).map_err(DaemonError::System)
    };
    let (for_folder, for_studies) = (Arc::clone(shared), Arc::clone(shared));
    Ok(vec![
        spawn(
            "folder",
            Box::new(move || {
                if wait_for_engine(&for_folder) {
                    folder::watch(&for_folder, &site_key);
                }
            }),
        )?,
        spawn("studies", Box::new(move || studies::work(&for_studies, worker)))?,
    ])
}

/// The inference process: this program again.
fn worker(config: &Config) -> Result<Worker, DaemonError> {
    let program = std::env::current_exe().map_err(DaemonError::System)?;
    let command = move || {
        let mut command = Command::new(&program);
        command.arg("worker");
        command
    };
    let limits = Limits {
        stall: Duration::from_secs(config.worker.stall_s),
        deadline: Duration::from_secs(config.worker.deadline_s),
    };
    let worker = Worker::new(command, limits).with_settings(config);
    worker.map_err(|error| DaemonError::System(error.into()))
}

/// Waits until the keeper knows what studies are read for. False if the daemon is to stop.
fn wait_for_engine(shared: &Shared) -> bool {
    while !shared.stopping() {
        if shared.engine().is_some() {
            return true;
        }
        shared.alive(Part::Intake);
        thread::sleep(ROUND);
    }
    false
}

/// Feeds the watchdog while all threads live, tells systemd what is going on, and removes
/// what is old.
fn look_after(shared: &Shared, stop: &AtomicBool) {
    let watchdog = sd_notify::watchdog_enabled();
    // A thread may be silent as long as the inference process may, and a little longer.
    let patience = Duration::from_secs(shared.config.worker.stall_s + 30);
    let mut fed = Instant::now();
    let mut pruned: Option<Instant> = None;
    let mut told = String::new();
    while !stop.load(Ordering::Relaxed) {
        thread::sleep(ROUND);
        if watchdog.is_some_and(|period| fed.elapsed() > period / 4) && shared.all_alive(patience) {
            notify(&[NotifyState::Watchdog]);
            fed = Instant::now();
        }
        let activity = shared.activity();
        if activity != told {
            notify(&[NotifyState::Status(&activity)]);
            told = activity;
        }
        if pruned.is_none_or(|at| at.elapsed() > PRUNE_EVERY) {
            prune(shared);
            pruned = Some(Instant::now());
        }
    }
}

/// Removes results and sent messages older than the configured days.
fn prune(shared: &Shared) {
    let Some(days) = shared.config.store.keep_days.map(i64::from) else { return };
    let Ok(before) = Timestamp::now().checked_sub(SignedDuration::from_hours(24 * days)) else {
        return;
    };
    if let Err(error) = shared.store.prune(before) {
        error!("old rows cannot be removed: {error}");
    }
    for folder in [shared.results(), shared.quarantine()] {
        let Ok(entries) = fs::read_dir(folder) else { continue };
        let old = entries.flatten().filter(|entry| {
            let changed = entry.metadata().and_then(|facts| facts.modified());
            changed.ok().and_then(|at| Timestamp::try_from(at).ok()).is_some_and(|at| at < before)
        });
        for entry in old {
            let path = entry.path();
            let removed =
                if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            if let Err(error) = removed {
                warn!("an old result cannot be removed: {error}");
            }
        }
    }
}

/// Reads the site key, making it at the first start.
fn site_key(path: &Path) -> Result<Vec<u8>, DaemonError> {
    let failed = |reason| DaemonError::File { path: path.to_owned(), reason };
    match fs::read_to_string(path) {
        Ok(text) if text.trim().len() >= 2 * SITE_KEY_BYTES => {
            return Ok(text.trim().as_bytes().to_vec());
        }
        Ok(_) => {
            let reason = std::io::Error::other("too short for a site key; restore the right one");
            return Err(failed(reason));
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let mut bytes = [0; SITE_KEY_BYTES];
    let random = fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    random.map_err(failed)?;
    let text = hex(&bytes);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    let mut file =
        OpenOptions::new().create_new(true).write(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    info!("a new site key was made: {}", path.display());
    Ok(text.into_bytes())
}

/// Tells systemd; elsewhere nobody listens and nothing happens.
fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        warn!("systemd cannot be told: {error}");
    }
}
