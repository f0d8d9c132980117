//! `engine selftest`: every network of a bundle against its golden patch.

use std::fmt::Write as _;

use serde_json::json;

use crate::cli::stopping::EndsOnSignal;
use crate::cli::{Exit, Failure, Ui};
use hepalert_bundles::{Bundle, NetworkTest, TestDepth};
use hepalert_engines::backend::Runtime;

pub(super) fn selftest(bundle: &Bundle, runtime: &Runtime, ui: &Ui) -> Result<(), Failure> {
    let left = "nothing is written, and the engine stays as it is; the same command tests it again";
    let signals = EndsOnSignal::now(ui, left)?;
    let mut documents = Vec::new();
    let mut text = String::new();
    let mut tell = |test: NetworkTest| {
        let NetworkTest { role, fold, conformity: found, patch_s } = test;
        let precision = role.precision(runtime.precision);
        documents.push(json!({"network": role.name(), "fold": fold,
            "backend": runtime.backend.name(), "precision": precision.name(),
            "argmax_agreement": found.argmax_agreement,
            "largest_logit_difference": found.logit_difference,
            "seconds_per_patch": patch_s}));
        let _ = writeln!(
            text,
            "{} fold {fold} in {precision}: best class equal on {:.3} % of voxels, largest logit difference {:.1e}, {patch_s:.2} s per patch",
            role.name(),
            100.0 * found.argmax_agreement,
            found.logit_difference
        );
    };
    bundle
        .test_all(runtime, TestDepth::Suite, &mut tell)
        .map_err(|error| Failure::new(Exit::Engine, anyhow::Error::from(error)))?;
    drop(signals);
    ui.result(&documents, text.trim_end())
}
