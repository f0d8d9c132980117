//! `segment`: the first stage alone, a label map in the input's geometry.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::anyhow;
use serde_json::{Value, json};

use super::engines::{RuntimeArgs, default_bundle};
use super::stage_timer::StageTimer;
use super::study_files::{GivenStudy, PhaseFile, find_study, read_study};
use super::{Exit, Failure, Ui, patterns};
use crate::analyze::peak_memory_mib;
use crate::daemon::stop_on_signals;
use crate::intake::RefusalCode;
use crate::report::output;
use crate::ui::{counted, go_on};
use hepalert_bundles::{Bundle, Decision, KeepLargest, NetworkPlan, Role};
use hepalert_cascade::segment::{
    LesionGain, Plan, Scores, SegmentError, largest_batch, prepare, segment_timed,
};
use hepalert_engines::backend::Runtime;
use hepalert_voxels::image::largest::keep_largest;
use hepalert_voxels::volume::nifti::write::{write_f32, write_u8};
use hepalert_voxels::volume::{LabelMap, Volume};

/// No `f32` gain reaches a margin of 89, so nothing is lost beyond.
const MAX_MARGIN: f32 = 1000.0;

/// What the voxels of no region are called.
const BACKGROUND: &str = "background";

/// Arguments of `segment`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A NIfTI file or a folder of DICOM slices, or a quoted pattern that matches one, whose series are chosen as `analyze` does.
    #[arg(required_unless_present = "phases")]
    input: Option<PathBuf>,
    /// Folder of the engine bundle [default: engines/venous-demo beside the program or here].
    #[arg(long)]
    engine: Option<PathBuf>,
    /// One phase and its NIfTI file, or a folder with one DICOM series; once per phase the engine
    /// takes, instead of INPUT.
    #[arg(long = "phase", value_name = "PHASE=PATH", conflicts_with = "input")]
    phases: Vec<PhaseFile>,
    /// Where the label map goes (.nii.gz).
    #[arg(long)]
    out: PathBuf,
    /// Lesion gain: a factor on the lesion probabilities before the argmax [default: the
    /// engine's base gain].
    #[arg(long, allow_negative_numbers = true)]
    alpha: Option<f32>,
    /// Also write the margin: its exponential is a voxel's own smallest lesion gain.
    #[arg(long = "margin-out", alias = "margin")]
    margin: Option<PathBuf>,
    /// Run the network once on a tile of air and reuse the result for every tile that is all
    /// air: the same labels, faster where the image holds much air.
    #[arg(long)]
    skip_air: bool,
    /// Memory that the first stage may take, in MiB; four phases of 512 x 512 x 200 need 4096.
    #[arg(long, default_value_t = super::engines::memory_mib())]
    memory_mib: u64,
    #[command(flatten)]
    runtime: RuntimeArgs,
}

/// Runs the command.
///
/// # Errors
/// Refused inputs, an unusable engine, and results that cannot be written.
pub(crate) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    let started = Instant::now();
    let input = args.input.as_deref().map(patterns::one).transpose()?;
    let phases = args.phases.iter().map(|file| file.path.as_path());
    let inputs: Vec<&Path> = phases.chain(input.as_deref()).collect();
    let outs: Vec<&Path> = [Some(&args.out), args.margin.as_ref()]
        .into_iter()
        .flatten()
        .map(PathBuf::as_path)
        .collect();
    output::check_distinct(&outs)?;
    outs.iter().try_for_each(|out| output::check_nifti(out, &inputs))?;
    let bundle = open_engine(args.engine.as_deref())?;
    let gain = gain_of(args, &bundle)?;
    let network = bundle.require(Role::Segment).map_err(engine_failure)?.clone();
    check_gain(args, &network)?;
    let mut timer = StageTimer::start();
    let mut runtime = args.runtime.runtime();
    let (study, doubts) = given(input.as_deref(), args, &bundle, &runtime)?.warned(ui);
    timer.lap("read");
    let air = super::engines::air_tiles(args.skip_air);
    let memory_budget_bytes = args.memory_mib.saturating_mul(1 << 20);
    let mut plan = Plan { network, batch: 1, air, memory_budget_bytes };
    plan.batch = largest_batch(&study, &plan, runtime.batch).map_err(segment_failure)?;
    runtime.batch = plan.batch;
    let prepared = prepare(&study, &plan).map_err(segment_failure)?;
    // A quarter of the memory, and not needed any more.
    drop(study);
    timer.lap("preprocess");
    let mut engines = bundle.load(Role::Segment, &runtime).map_err(engine_failure)?;
    timer.lap("load_engine");
    let stop = stop_on_signals().map_err(Failure::failed)?;
    let mut progress = ui.progress("tiles");
    let mut tiles = 0;
    let clock = || started.elapsed().as_secs_f64();
    let (scores, busy) = segment_timed(&prepared, &plan, &mut engines, &clock, &mut |at| {
        progress.step(at.tiles_done, at.tiles_total);
        tiles = at.tiles_total;
        go_on(&stop)
    })
    .map_err(segment_failure)?;
    drop((progress, prepared, engines));
    timer.lap("segment");
    let mut labels = scores.labels(gain);
    for KeepLargest(kept) in &plan.network.postprocessing {
        keep_largest(labels.voxels_mut(), kept);
    }
    output::put(&args.out, &write_u8(&labels), &inputs)?;
    timer.lap("write");
    write_margin(args, scores, &inputs)?;
    let counts = voxels_per_class(&labels, &plan.network);
    let document = json!({
        "engine": {"id": bundle.id(), "version": bundle.version(), "sha256": bundle.fingerprint(),
            "backend": args.runtime.backend.name(), "precision": args.runtime.precision.name()},
        "doubts": doubts, "alpha": gain.0, "labels": args.out, "margin": args.margin,
        "tiles": tiles, "tiles_run": busy.tiles_run, "batch": plan.batch, "voxels": counts,
        "seconds": timer.document(&busy, started.elapsed()),
        "peak_memory_mib": peak_memory_mib().round(),
    });
    let summary = format!(
        "{}: {} in {:.1} s by {} version {}",
        args.out.display(),
        counted(tiles, "tile"),
        timer.seconds("segment"),
        bundle.id(),
        bundle.version()
    );
    ui.result(&document, format!("{summary}{}", class_lines(&counts)))
}

fn gain_of(args: &Args, bundle: &Bundle) -> Result<LesionGain, Failure> {
    let gain = LesionGain(args.alpha.unwrap_or(bundle.lesion_gain().base));
    if gain.0.is_finite() && gain.0 > 0.0 {
        return Ok(gain);
    }
    let error = anyhow!("--alpha {}: give a number above 0; 1 changes nothing", gain.0);
    Err(Failure::new(Exit::Usage, error))
}

/// Regions are painted one by one: there is no argmax that a gain could tip.
fn check_gain(args: &Args, network: &NetworkPlan) -> Result<(), Failure> {
    match (&network.decision, args.alpha) {
        (Decision::Regions(_), Some(alpha)) if alpha != 1.0 => {
            let error = anyhow!(
                "--alpha {alpha}: this engine paints regions, it has no lesion gain; leave --alpha away"
            );
            Err(Failure::new(Exit::Usage, error))
        }
        (Decision::Regions(_) | Decision::Argmax, _) => Ok(()),
    }
}

/// The study that the arguments name.
fn given(
    input: Option<&Path>,
    args: &Args,
    bundle: &Bundle,
    runtime: &Runtime,
) -> Result<GivenStudy, Failure> {
    match (input, bundle.phases()) {
        (None, _) => study_for(bundle, &args.phases),
        // Whoever names one image to an engine that takes one need not say which it is.
        (Some(path), [phase]) if path.is_file() => {
            read_study(&[PhaseFile { phase: *phase, path: path.to_owned() }])
        }
        (Some(path), _) => find_study(bundle, path, runtime),
    }
}

/// The engine that is named, or the one that came with the program.
pub(super) fn open_engine(named: Option<&Path>) -> Result<Bundle, Failure> {
    match named {
        Some(folder) => open_bundle(folder),
        None => open_bundle(&default_bundle()?),
    }
}

/// Opens a bundle; exit code 4 if it cannot be used.
pub(super) fn open_bundle(dir: &Path) -> Result<Bundle, Failure> {
    if !dir.exists() {
        let error = anyhow!("engine {}: there is no such folder", dir.display());
        return Err(Failure::new(Exit::Engine, error));
    }
    Bundle::open(dir).map_err(|error| {
        let error = anyhow::Error::new(error).context(format!("engine {}", dir.display()));
        Failure::new(Exit::Engine, error)
    })
}

/// Reads the phases the bundle takes, and no other.
pub(super) fn study_for(bundle: &Bundle, files: &[PhaseFile]) -> Result<GivenStudy, Failure> {
    let wanted = bundle.phases();
    if let Some(missing) = wanted.iter().find(|phase| !files.iter().any(|f| f.phase == **phase)) {
        let error = anyhow!(
            "engine {} needs phase {missing}; give it with --phase {missing}=FILE",
            bundle.id()
        );
        return Err(Failure::refused(RefusalCode::MissingPhase.as_str(), error));
    }
    let taken = files.iter().filter(|file| wanted.contains(&file.phase));
    read_study(&taken.cloned().collect::<Vec<_>>())
}

pub(super) fn engine_failure(error: hepalert_engines::EngineError) -> Failure {
    Failure::new(Exit::Engine, error)
}

fn segment_failure(error: SegmentError) -> Failure {
    let code = match &error {
        SegmentError::OverBudget { .. } => RefusalCode::OverMemoryBudget.as_str(),
        SegmentError::TooSmall { .. } => "too_small",
        SegmentError::Engine(_) | SegmentError::EngineShape { .. } | SegmentError::NotFinite => {
            return Failure::new(Exit::Engine, error);
        }
        SegmentError::Channels { .. } => return Failure::failed(error),
        SegmentError::Cancelled => return Failure::stopped("nothing is written"),
    };
    Failure::refused(code, error)
}

/// Infinite margins (no lesion class competes there) are written as [`MAX_MARGIN`]: readers
/// of images refuse infinity.
fn write_margin(args: &Args, scores: Scores, inputs: &[&Path]) -> Result<(), Failure> {
    let Some(path) = &args.margin else { return Ok(()) };
    let mut voxels = scores.margin;
    voxels.par_mapv_inplace(|margin| margin.clamp(-MAX_MARGIN, MAX_MARGIN));
    let bytes = write_f32(&Volume::new(Arc::clone(&scores.grid), voxels));
    Ok(output::put(path, &bytes, inputs)?)
}

/// Voxels per class name, as a JSON object in the order of labels.
fn voxels_per_class(labels: &LabelMap, network: &NetworkPlan) -> Value {
    let mut counts = vec![0_u64; 256];
    for &label in labels.voxels() {
        counts[usize::from(label)] += 1;
    }
    let named: BTreeMap<u8, &str> =
        std::iter::once((0, BACKGROUND)).chain(network.labels()).collect();
    let count = |(label, name): (u8, &str)| (name.to_owned(), counts[usize::from(label)]);
    let found = named.into_iter().map(count).filter(|(_, count)| *count > 0);
    found.map(|(name, count)| (name, Value::from(count))).collect()
}

fn class_lines(counts: &Value) -> String {
    let entries = counts.as_object().into_iter().flatten();
    entries.map(|(name, count)| format!("\n  {name}: {count} voxels")).collect()
}
