//! `engine build`: the plans of a bundle, made before a study needs them.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Instant;

use serde_json::{Value, json};

use crate::cli::engines::unusable;
use crate::cli::segment::open_bundle;
use crate::cli::{Exit, Failure, Ui, words};
use crate::config::Config;
use crate::daemon::analysis_settings;
use hepalert_bundles::{Bundle, Role};
use hepalert_engines::backend::{Backend, Precision, Runtime};
use hepalert_engines::conformance;
use hepalert_engines::tensorrt::{self, Origin};

/// Arguments of `engine build`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of the bundle.
    pub bundle: PathBuf,
    /// The numbers the networks are computed in; TensorRT has f32 and f16.
    #[arg(long, default_value_t = Precision::F16, value_parser = words::plan_precisions())]
    pub precision: Precision,
    /// Keep the plans where the daemon with this configuration looks, and take its precision.
    #[arg(long, conflicts_with_all = ["cache", "precision"])]
    pub config: Option<PathBuf>,
    /// Keep the plans in this folder [default: the user's cache].
    #[arg(long)]
    pub cache: Option<PathBuf>,
    /// Build again what is already there.
    #[arg(long)]
    pub force: bool,
}

/// Runs the command.
///
/// # Errors
/// Exit 4 if TensorRT is not usable, a plan cannot be built or fails its golden patch.
pub(super) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    let runtime = runtime(args)?;
    let bundle = open_bundle(&args.bundle)?;
    let total = bundle.networks().map(|(_, plan)| plan.files.len()).sum();
    let mut progress = ui.progress("building plans");
    let (mut documents, mut text) = (Vec::new(), String::new());
    for (role, plan) in bundle.networks() {
        for fold in 0..plan.files.len() {
            progress.step(documents.len(), total);
            let (document, line) = one(&bundle, role, fold, &runtime, args.force)?;
            documents.push(document);
            let _ = writeln!(text, "{}: {line}", plan.files[fold].path());
        }
    }
    progress.step(total, total);
    ui.result(&documents, text.trim_end())
}

fn runtime(args: &Args) -> Result<Runtime, Failure> {
    let runtime = match &args.config {
        Some(file) => {
            let config = Config::read(file).map_err(|error| Failure::new(Exit::Config, error))?;
            analysis_settings(&config).runtime
        }
        None => Runtime {
            precision: args.precision,
            cache: args.cache.clone().or_else(crate::cli::engines::user_cache),
            ..Runtime::default()
        },
    };
    Ok(Runtime { backend: Backend::TensorRt, batch: 1, ..runtime })
}

/// Makes one plan and sees it pass its golden patch.
fn one(
    bundle: &Bundle,
    role: Role,
    fold: usize,
    runtime: &Runtime,
    force: bool,
) -> Result<(Value, String), Failure> {
    let plan = bundle.require(role).map_err(unusable)?;
    let file = &plan.files[fold];
    let bytes = bundle.network(file).map_err(unusable)?;
    let golden = bundle.golden(role, fold).map_err(unusable)?;
    let started = Instant::now();
    if force {
        tensorrt::forget(runtime, &bytes).map_err(unusable)?;
    }
    let mut made =
        tensorrt::prepare(runtime, &bytes, file.path(), &plan.spec(1)).map_err(unusable)?;
    let tolerance = runtime.precision.tolerance();
    let found =
        conformance::self_test(made.engine.as_mut(), &golden, tolerance).map_err(unusable)?;
    let seconds = started.elapsed().as_secs_f64();
    let (built, why) = match &made.origin {
        Origin::Kept => (false, None),
        Origin::Built(why) => (true, why.as_deref()),
    };
    let document = json!({"network": role.name(), "file": file.path(), "built": built, "why": why,
        "seconds": seconds, "plan": made.place, "plan_bytes": made.plan_bytes,
        "scratch_bytes": made.scratch_bytes, "precision": runtime.precision.name(),
        "argmax_agreement": found.argmax_agreement,
        "largest_logit_difference": found.logit_difference});
    let verb = if built { "built" } else { "was there" };
    let mut line = format!(
        "{verb} in {}, {:.1} MiB, {seconds:.1} s, best class equal on {:.3} % of the golden patch",
        runtime.precision,
        made.plan_bytes as f64 / f64::from(1 << 20),
        100.0 * found.argmax_agreement
    );
    if let Some(why) = why {
        let _ = write!(line, " ({why})");
    }
    Ok((document, line))
}
