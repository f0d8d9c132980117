//! `hepalert reclassify`: the third stage alone, on a given label map.
//!
//! Writes `reclassified.json` and `labels_after.nii.gz`.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::anyhow;
use ndarray::{ArrayView5, ArrayViewMut5, s};
use serde_json::{Map, Value, json};

use super::engines::RuntimeArgs;
use super::label_file::lesions;
use super::segment::{engine_failure, open_engine, study_for};
use super::study_files::{PhaseFile, Relabel, read_label_file};
use super::{Exit, Failure, Ui};
use crate::report::output;
use crate::ui::counted;
use hepalert_bundles::{Bundle, Role};
use hepalert_cascade::detect::Detection;
use hepalert_cascade::detect::seg2det::DetectParams;
use hepalert_cascade::pipeline::candidate;
use hepalert_cascade::reclassify::{
    Cache, Candidate, LIVER_CLASS, MeanOfFolds, PatchLesion, Prepared, Reclassified,
    ReclassifyError, ReclassifyParams, Sampling, Schemes, content, reclassify, study_seed,
};
use hepalert_engines::{Engine, EngineError, EngineSpec};
use hepalert_study::anatomy::Lesion;
use hepalert_study::study::AlignedStudy;
use hepalert_voxels::volume::nifti::write::write_u8;
use hepalert_voxels::volume::{LabelMap, Volume};

/// The third stage alone, on a given label map.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of the engine bundle [default: engines/venous-demo beside the program or here].
    #[arg(long)]
    engine: Option<PathBuf>,
    /// A phase and its NIfTI file, or a folder with one DICOM series; once per phase the engine
    /// takes.
    #[arg(long = "phase", value_name = "PHASE=PATH", required = true)]
    phases: Vec<PhaseFile>,
    /// The label map whose lesions are judged.
    #[arg(long, value_name = "FILE")]
    labels: PathBuf,
    /// Read label values as others, like 1=7,2=3.
    #[arg(long, value_name = "FROM=TO,..")]
    relabel: Option<Relabel>,
    /// Where `reclassified.json` and `labels_after.nii.gz` go.
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// Patches per lesion.
    #[arg(long, default_value_t = ReclassifyParams::default().patches)]
    patches: usize,
    /// Larger lesions are kept as they are.
    #[arg(long, default_value_t = ReclassifyParams::default().keep_above_cm3, value_name = "CM3")]
    keep_above: f64,
    /// Lesions with a lower score go.
    #[arg(long, default_value_t = ReclassifyParams::default().discard_below_cm3, value_name = "CM3")]
    discard_below: f64,
    /// Judge on original patches only, none shuffled.
    #[arg(long)]
    no_shuffle: bool,
    /// The same seed gives the same patches.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    runtime: RuntimeArgs,
}

impl Args {
    fn params(&self) -> ReclassifyParams {
        ReclassifyParams {
            patches: self.patches,
            keep_above_cm3: self.keep_above,
            discard_below_cm3: self.discard_below,
            schemes: match self.no_shuffle {
                true => Schemes::OriginalOnly,
                false => Schemes::OriginalAndShuffled,
            },
            early_stop: true,
        }
    }
}

/// What the stage found and what it took.
struct StageRun {
    lesions: Vec<Reclassified>,
    /// The label that takes the place of each discarded lesion.
    instead: Vec<u8>,
    prepare: Duration,
    stage: Duration,
    network: Duration,
}

/// Runs the command.
///
/// # Errors
/// Refused inputs, an unusable engine, results that cannot be written.
pub(crate) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    let files = ["labels_after.nii.gz", "reclassified.json"].map(|name| args.out.join(name));
    let phases = args.phases.iter().map(|file| file.path.as_path());
    let inputs: Vec<&Path> = phases.chain([args.labels.as_path()]).collect();
    output::make_folder(&args.out)?;
    output::check_file(&files[0], &inputs)?;
    output::check_json(&files[1], &["engine", "parameters", "seconds", "lesions"], &inputs)?;
    let bundle = open_engine(args.engine.as_deref())?;
    let plan = bundle.require(Role::Reclassify).map_err(engine_failure)?;
    let (study, _) = study_for(&bundle, &args.phases)?.warned(ui);
    let (study, back) = study.brought_into(plan.reader.orientation());
    let relabel = args.relabel.clone().unwrap_or_default();
    let labels = read_label_file(&args.labels, &relabel, &study)?;
    let found = lesions(&args.labels, &labels, &DetectParams::default())?;
    let outcome = reclassify_lesions(args, ui, &bundle, &study, &labels, &found)?;
    let after = labels_after(&labels, &found, &outcome);
    output::put(&files[0], &write_u8(&back.volume(after)), &inputs)?;
    let document = document(args, &bundle, &found, &outcome);
    output::put_json(&files[1], &document, &inputs)?;
    ui.result(&document, sentences(&outcome))
}

/// Prepares the study and judges its lesions.
fn reclassify_lesions(
    args: &Args,
    ui: &Ui,
    bundle: &Bundle,
    study: &AlignedStudy,
    labels: &LabelMap,
    found: &[Detection],
) -> Result<StageRun, Failure> {
    let plan = bundle.require(Role::Reclassify).map_err(engine_failure)?;
    let sampling = Sampling::of_plan(plan).map_err(|error| Failure::new(Exit::Engine, error))?;
    let folds = bundle.load(Role::Reclassify, &args.runtime.runtime()).map_err(engine_failure)?;
    let folds = MeanOfFolds::new(folds)
        .ok_or_else(|| Failure::new(Exit::Engine, anyhow!("the engine's folds differ in shape")))?;
    let mut engine = Timed { engine: folds, network: Duration::ZERO };
    let started = Instant::now();
    let prepared = Prepared::new(study, labels, &sampling).map_err(Failure::failed)?;
    let prepare = started.elapsed();
    let candidates: Vec<Candidate<'_>> = found.iter().map(candidate).collect();
    let seed = study_seed(content(study), bundle.fingerprint(), args.seed);
    let mut progress = ui.progress("patches");
    let watch = &mut |done, total| {
        progress.step(done, total);
        ControlFlow::Continue(())
    };
    let cache = &mut Cache::default();
    let lesions =
        reclassify(&prepared, &candidates, &mut engine, &args.params(), seed, cache, watch)
            .map_err(stage_failure)?;
    let stage = started.elapsed();
    let instead = |one| match PatchLesion::of(one, &prepared).points.is_empty() {
        true => 0,
        false => LIVER_CLASS,
    };
    let instead = candidates.iter().map(instead).collect();
    Ok(StageRun { lesions, instead, prepare, stage, network: engine.network })
}

/// The label map with discarded lesions as liver (background outside the liver region) and
/// the others under their voted label.
fn labels_after(labels: &LabelMap, found: &[Detection], outcome: &StageRun) -> LabelMap {
    let mut voxels = labels.voxels().clone();
    for ((lesion, judged), &instead) in found.iter().zip(&outcome.lesions).zip(&outcome.instead) {
        let label = if judged.kept { judged.label_after.label() } else { instead };
        let ([z0, y0, x0], [z1, y1, x1]) = (lesion.region.lo, lesion.region.hi);
        voxels
            .slice_mut(s![z0..z1, y0..y1, x0..x1])
            .zip_mut_with(&lesion.mask, |voxel, &on| *voxel = if on { label } else { *voxel });
    }
    Volume::new(labels.grid().clone(), voxels)
}

fn document(args: &Args, bundle: &Bundle, found: &[Detection], outcome: &StageRun) -> Value {
    let lesions: Vec<Value> =
        found.iter().zip(&outcome.lesions).map(|(lesion, one)| lesion_json(lesion, one)).collect();
    json!({
        "engine": {"id": bundle.id(), "version": bundle.version(), "sha256": bundle.fingerprint(),
            "backend": args.runtime.backend.name(), "precision": Role::Reclassify.precision(args.runtime.precision).name()},
        "parameters": {
            "patches": args.patches, "keep_above_cm3": args.keep_above,
            "discard_below_cm3": args.discard_below, "shuffle": !args.no_shuffle,
            "seed": args.seed,
        },
        "seconds": {
            "prepare": outcome.prepare.as_secs_f64(), "network": outcome.network.as_secs_f64(),
            "stage": outcome.stage.as_secs_f64(),
        },
        "lesions": lesions,
    })
}

fn lesion_json(lesion: &Detection, one: &Reclassified) -> Value {
    let votes: Map<String, Value> = Lesion::ALL
        .iter()
        .zip(one.votes_cm3)
        .map(|(kind, volume)| (kind.name().to_owned(), json!(volume)))
        .collect();
    json!({
        "id": one.id, "kept": one.kept, "why": one.why.name(), "volume_cm3": lesion.volume_cm3,
        "class_before": one.label_before.name(), "class_after": one.label_after.name(),
        "score_cm3": one.score_cm3, "score_std_cm3": one.score_std_cm3, "ratio": one.ratio,
        "patch_volumes_cm3": one.patch_volumes_cm3, "votes_cm3": votes,
        "patches_run": one.patches_run,
    })
}

fn sentences(outcome: &StageRun) -> String {
    let kept = outcome.lesions.iter().filter(|one| one.kept).count();
    let renamed = outcome.lesions.iter().filter(|one| one.label_before != one.label_after).count();
    let patches: usize = outcome.lesions.iter().map(|one| one.patches_run).sum();
    format!(
        "{kept} of {} kept, {renamed} under another label; {} in {:.2} s, {:.2} s of it in the \
         network",
        counted(outcome.lesions.len(), "lesion"),
        counted(patches, "patch"),
        outcome.stage.as_secs_f64(),
        outcome.network.as_secs_f64()
    )
}

fn stage_failure(error: ReclassifyError) -> Failure {
    match &error {
        ReclassifyError::Params(_) => Failure::new(Exit::Usage, error),
        ReclassifyError::Shape(_) | ReclassifyError::Engine(_) | ReclassifyError::NotFinite(_) => {
            Failure::new(Exit::Engine, error)
        }
        ReclassifyError::Stopped => Failure::failed(error),
    }
}

/// An engine that notes how long it runs.
struct Timed<E> {
    engine: E,
    network: Duration,
}

impl<E: Engine> Engine for Timed<E> {
    fn spec(&self) -> &EngineSpec {
        self.engine.spec()
    }

    fn infer(
        &mut self,
        patches: ArrayView5<'_, f32>,
        logits: ArrayViewMut5<'_, f32>,
    ) -> Result<(), EngineError> {
        let started = Instant::now();
        let answer = self.engine.infer(patches, logits);
        self.network += started.elapsed();
        answer
    }
}
