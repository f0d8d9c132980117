//! `engine selftest`: every network of a bundle against its golden patch.

use std::fmt::Write as _;
use std::time::Instant;

use serde_json::json;

use crate::cli::stopping::EndsOnSignal;
use crate::cli::{Exit, Failure, Ui};
use hepalert_bundles::Bundle;
use hepalert_engines::backend::Runtime;
use hepalert_engines::conformance;

pub(super) fn selftest(bundle: &Bundle, runtime: &Runtime, ui: &Ui) -> Result<(), Failure> {
    let unusable = |error| Failure::new(Exit::Engine, anyhow::Error::from(error));
    let left = "nothing is written, and the engine stays as it is; the same command tests it again";
    let signals = EndsOnSignal::now(ui, left)?;
    let mut documents = Vec::new();
    let mut text = String::new();
    for (role, _) in bundle.networks() {
        let mut engines = bundle.load(role, runtime).map_err(unusable)?;
        for (fold, engine) in engines.iter_mut().enumerate() {
            let started = Instant::now();
            let precision = role.precision(runtime.precision);
            let found = bundle
                .self_test((role, fold), engine.as_mut(), runtime.precision)
                .map_err(unusable)?;
            let per_patch = started.elapsed().as_secs_f64() / conformance::SUITE_RUNS as f64;
            documents.push(json!({"network": role.name(), "fold": fold,
                "backend": runtime.backend.name(), "precision": precision.name(),
                "argmax_agreement": found.argmax_agreement,
                "largest_logit_difference": found.logit_difference,
                "seconds_per_patch": per_patch}));
            let _ = writeln!(
                text,
                "{} fold {fold} in {precision}: best class equal on {:.3} % of voxels, largest logit difference {:.1e}, {per_patch:.2} s per patch",
                role.name(),
                100.0 * found.argmax_agreement,
                found.logit_difference
            );
        }
    }
    drop(signals);
    ui.result(&documents, text.trim_end())
}
