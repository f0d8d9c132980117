//! What other rooms take from the configuration: the analysis, the gate, the rules for phases, the
//! inference process.
//!
//! Owns the way from keys to parameters. Refuses to read files.

use std::process::Command;
use std::time::Duration;

use super::DaemonError;
use crate::analyze::objects::ObjectSettings;
use crate::analyze::{Settings, phases_beside};
use crate::config::Config;
use crate::intake::{GateParams, PhaseRules};
use crate::worker::{Worker, WorkerLimits};
use hepalert_cascade::align;
use hepalert_cascade::reclassify;
use hepalert_cascade::segment::AirTiles;
use hepalert_engines::backend::Runtime;

/// What analysing takes from the configuration.
pub fn analysis_settings(config: &Config) -> Settings {
    let engine = &config.engine;
    Settings {
        bundle: engine.bundle.clone(),
        others: engine.others.clone(),
        alignment: align::Rules::onto(engine.reference_phase),
        runtime: Runtime {
            backend: engine.backend,
            precision: engine.precision,
            threads: engine.threads,
            batch: engine.batch,
            cache: Some(config.store.folder.join("compiled")),
        },
        high_gain: engine.high_gain,
        reclassify: reclassify::ReclassifyParams {
            patches: engine.patches_per_lesion,
            keep_above_cm3: engine.keep_above_cm3,
            discard_below_cm3: engine.discard_below_cm3,
            ..reclassify::ReclassifyParams::default()
        },
        air: if engine.skip_air { AirTiles::RunOnce } else { AirTiles::RunAll },
        memory_budget_bytes: engine.memory_budget_bytes(),
        gate: gate_params(config),
        keep_margin: false,
        keep_gains: config.web.enabled && config.web.keep_gains,
        phase_bundle: config.phases.phase_bundle.clone().or_else(|| phases_beside(&engine.bundle)),
        objects: config.dicom.archives().next().map(|_| ObjectSettings {
            captures: config.dicom.key_images,
            pdf: config.dicom.pdf,
            organs: config.dicom.organs,
            device: Some(config.device.name.clone()),
        }),
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

/// The inference process: this program again.
pub(super) fn worker(config: &Config) -> Result<Worker, DaemonError> {
    let program = std::env::current_exe().map_err(DaemonError::System)?;
    let command = move || {
        let mut command = Command::new(&program);
        command.arg("worker");
        command
    };
    // The study itself and the engines come on top of the budget; what is far above both is
    // not to take the daemon down.
    let budget = config.engine.memory_budget_bytes();
    let limits = WorkerLimits {
        stall: Duration::from_secs(config.worker.stall_s),
        deadline: Duration::from_secs(config.worker.deadline_s),
        memory_bytes: budget.saturating_mul(2).saturating_add(2 << 30),
    };
    let worker = Worker::new(command, limits).with_settings(config);
    worker.map_err(|error| DaemonError::System(error.into()))
}
