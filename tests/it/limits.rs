//! Memory: what a study may take, what the first stage does take, and who is told no in time.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use hepalert::analyze::peak_memory_mib;
use hepalert::config::Config;
use hepalert::intake::{files_of_paths, study_key};
use hepalert::worker::{Request, RequestOutcome, Worker, WorkerLimits};
use hepalert_bundles::{
    BundleFile, Decision, Fusion, Golden, NetworkPlan, Reader, Resampling, Sums,
};
use hepalert_cascade::segment::{AirTiles, Plan, SegmentError, prepare, segment_prepared};
use hepalert_engines::{Engine, EngineError, EngineSpec};
use hepalert_lab::phantom::{self, Case, Size};
use hepalert_study::phase::{Phase, Setting};
use hepalert_study::study::{AlignedStudy, Study};
use hepalert_voxels::image::normalise::Normalisation;
use hepalert_voxels::volume::nifti::write::{write_f32, write_i16};
use hepalert_voxels::volume::{Grid, Volume};
use ndarray::{Array3, ArrayView5, ArrayViewMut5};
use serde_json::{Value, json};

use crate::support::{hepalert, memory_kib, small_engine};

/// The cascade's test bundle, its first network at another spacing: the finer, the more memory
/// a study needs there, though its files stay small.
fn bundle_at(folder: &Path, spacing_mm: f64) -> PathBuf {
    let bundle = folder.join(format!("bundle-{spacing_mm}"));
    fs::create_dir(&bundle).unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/reclassify/bundle");
    for file in fs::read_dir(source).unwrap() {
        let file = file.unwrap().path();
        fs::copy(&file, bundle.join(file.file_name().unwrap())).unwrap();
    }
    let path = bundle.join("manifest.json");
    let mut manifest: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    manifest["networks"]["segment"]["spacing_mm"] = json!([spacing_mm, spacing_mm, spacing_mm]);
    fs::write(path, manifest.to_string()).unwrap();
    bundle
}

/// 12 slices of 96 x 96 voxels: tissue in air.
fn scan(folder: &Path) -> PathBuf {
    let grid = Arc::new(Grid::axial([12, 96, 96], [6.0, 3.0, 3.0], [0.0; 3]));
    let voxels = Array3::from_shape_fn(grid.shape(), |(z, y, x)| {
        let (dy, dx) = (y as f32 - 48.0, x as f32 - 48.0);
        if dy.hypot(dx) < 40.0 { 50.0 + ((z * 7 + y * 3 + x) % 97) as f32 } else { -1000.0 }
    });
    let path = folder.join("vp.nii.gz");
    fs::write(&path, write_f32(&Volume::new(grid, voxels))).unwrap();
    path
}

/// Runs the program with an address space of 2 GiB.
fn in_two_gib(args: &[&str]) -> Output {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -v 2097152 && exec \"$@\"", "sh"]);
    // One pool of memory for all threads: pools reserve addresses in advance.
    command.env("MALLOC_ARENA_MAX", "1").env("RAYON_NUM_THREADS", "2");
    command.arg(hepalert().get_program()).args(args).output().unwrap()
}

/// What was said by a command that refused its input.
fn refusal(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{said}");
    said
}

#[test]
fn analyze_refuses_a_study_over_the_budget_before_it_takes_memory() {
    let folder = tempfile::tempdir().unwrap();
    let (scan, out) = (scan(folder.path()), folder.path().join("report"));
    // 720 x 2880 x 2880 voxels for the network: 22 GiB.
    let bundle = bundle_at(folder.path(), 0.1);
    let phase = format!("vp={}", scan.display());
    let analyze = |memory_mib: &str| {
        in_two_gib(&[
            "--json",
            "analyze",
            "--threads",
            "1",
            "--memory-mib",
            memory_mib,
            "--engine",
            bundle.to_str().unwrap(),
            "--phase",
            &phase,
            "--out",
            out.to_str().unwrap(),
        ])
    };
    let refused = refusal(&analyze("2048"));
    assert!(refused.contains("(over_memory_budget)"), "{refused}");
    assert!(refused.contains("raise engine.memory_budget_mib"), "{refused}");
    assert!(!out.exists(), "nothing was written");
    // With a budget that lets it pass it dies of its memory: the refusal came before.
    let died = analyze("1000000").status;
    assert!(!died.success() && died.code() != Some(3), "{died}");
}

#[test]
fn segment_refuses_a_study_over_its_budget_before_it_takes_memory() {
    let folder = tempfile::tempdir().unwrap();
    let (scan, out) = (scan(folder.path()), folder.path().join("labels.nii.gz"));
    let bundle = bundle_at(folder.path(), 0.1);
    let refused = refusal(&in_two_gib(&[
        "--json",
        "segment",
        "--threads",
        "1",
        "--engine",
        bundle.to_str().unwrap(),
        "--phase",
        &format!("vp={}", scan.display()),
        "--out",
        out.to_str().unwrap(),
    ]));
    assert!(refused.contains("(over_memory_budget)") && refused.contains("MiB"), "{refused}");
    assert!(!out.exists(), "nothing was written");
}

/// The daemon's inference process, with the key of its configuration.
#[test]
fn the_configured_budget_reaches_the_inference_process() {
    let folder = tempfile::tempdir().unwrap();
    let (scan, bundle) = (scan(folder.path()), bundle_at(folder.path(), 1.0));
    let key = study_key(b"test", "1");
    let files = files_of_paths(&key, &[(Phase::Vp, scan)]).unwrap();
    let ask = |memory_budget_mib: u64| {
        let at = folder.path().display();
        let text = format!(
            "[device]\nname = \"test\"\nsite_key_file = \"{at}/site.key\"\n\
             [intake]\nfolder = \"{at}/export\"\n\
             [engine]\nbundle = {bundle:?}\nthreads = 1\nmemory_budget_mib = {memory_budget_mib}\n\
             [store]\nfolder = \"{at}/state\"\nmin_free_mib = 1\n"
        );
        let config = folder.path().join("hepalert.toml");
        fs::write(&config, text).unwrap();
        let config = Config::read(&config).unwrap();
        let command = || {
            let mut command = hepalert();
            command.arg("worker");
            command
        };
        let limits = WorkerLimits {
            stall: Duration::from_secs(60),
            deadline: Duration::from_secs(120),
            memory_bytes: 8 << 30,
        };
        let request = Request::Study {
            bundle: bundle.clone(),
            files: files.clone(),
            out: folder.path().join("out"),
        };
        let worker = Worker::new(command, limits);
        worker.with_settings(&config).unwrap().run(&request, &mut |_| ControlFlow::Continue(()))
    };
    let over = |outcome: &RequestOutcome| matches!(outcome, RequestOutcome::Refused(code, _) if code == "over_memory_budget");
    // 72 x 288 x 288 voxels for the network: 24 MiB, and its class sums.
    let (little, enough) = (ask(16), ask(2048));
    assert!(over(&little), "{little:?}");
    assert!(!over(&enough), "{enough:?}");
}

const PATCH: [usize; 3] = [4, 32, 32];

/// Every class a multiple of the voxel.
struct Multiples(EngineSpec);

impl Engine for Multiples {
    fn spec(&self) -> &EngineSpec {
        &self.0
    }
    fn infer(
        &mut self,
        patches: ArrayView5<'_, f32>,
        mut logits: ArrayViewMut5<'_, f32>,
    ) -> Result<(), EngineError> {
        for (patch, mut logits) in patches.outer_iter().zip(logits.outer_iter_mut()) {
            let image = patch.index_axis(ndarray::Axis(0), 0);
            for (class, mut plane) in logits.outer_iter_mut().enumerate() {
                let slope = (class % 7) as f32 - 3.0;
                plane.zip_mut_with(&image, |out, &v| *out = v * slope);
            }
        }
        Ok(())
    }
}

fn plan(classes: usize, spacing_mm: [f64; 3]) -> Plan {
    let file = || BundleFile::new("none", &"0".repeat(64), 0).unwrap();
    let network = NetworkPlan {
        files: vec![file()],
        reader: Reader::SimpleItk,
        classes: (0..classes).map(|class| format!("class{class}")).collect(),
        channels: 1,
        patch: PATCH,
        spacing_mm,
        transpose_forward: [0, 1, 2],
        normalisation: vec![Normalisation::None],
        resampling: Resampling::Default,
        resampling_logits: Resampling::Default,
        mirror_axes: vec![],
        tile_step: 1.0,
        fusion: Fusion::Logits,
        sums: Sums::F16,
        decision: Decision::Argmax,
        postprocessing: vec![],
        mask_value: 0.0,
        golden: Golden { input: file(), expected: vec![file()], stride: [1, 1, 1] },
    };
    Plan { network, batch: 1, air: AirTiles::RunAll, memory_budget_bytes: 0 }
}

const CLASSES: usize = 128;
const SIDE: usize = 96;
/// A volume of 17 MiB, of which a copy more shows.
const LARGE: [usize; 3] = [68, 256, 256];

/// A plan, and shape and spacing of the study it is for.
fn case(name: &str) -> (Plan, [usize; 3], [f64; 3]) {
    let thick = [5.0, 1.0, 1.0];
    // Two classes: preparing needs more than sliding.
    let finer = |spacing_mm| (plan(2, spacing_mm), LARGE, [1.0; 3]);
    match name {
        // A first stage of many classes, so that these would show.
        "few" => (plan(CLASSES, thick), [24, SIDE, SIDE], thick),
        "many" => (plan(CLASSES, thick), [168, SIDE, SIDE], thick),
        "folds" => {
            let mut plan = plan(CLASSES, thick);
            plan.network.files = vec![plan.network.files[0].clone(); 3];
            plan.network.mirror_axes = vec![1, 2];
            plan.batch = 3;
            (plan, [24, SIDE, SIDE], thick)
        }
        "f32" => {
            let mut plan = plan(CLASSES, thick);
            plan.network.sums = Sums::F32;
            (plan, [24, SIDE, SIDE], thick)
        }
        "slices" => (plan(2, [5.0, 0.8, 0.9]), LARGE, thick),
        "resampled" => finer([1.1, 0.9, 0.9]),
        "torch" => {
            let (mut plan, shape, spacing_mm) = finer([1.1, 0.9, 0.9]);
            plan.network.resampling = Resampling::Torch;
            (plan, shape, spacing_mm)
        }
        "masked" => {
            let (mut plan, shape, spacing_mm) = finer([1.1, 0.9, 0.9]);
            plan.network.normalisation = vec![Normalisation::ZScoreOfNonzero];
            (plan, shape, spacing_mm)
        }
        other => panic!("{other}"),
    }
}

/// Not a test by itself: the process whose memory is measured.
#[test]
#[ignore = "run as a child by the tests below"]
fn child_segments() {
    let Ok(name) = std::env::var("HEPALERT_TEST_CASE") else { return };
    let (mut plan, shape, spacing_mm) = case(&name);
    let grid = Arc::new(Grid::axial(shape, spacing_mm, [0.0; 3]));
    let voxels = Array3::from_shape_fn(shape, |(z, y, x)| (z + 2 * y + 3 * x) as f32 + 1.0);
    let study = Study {
        key: study_key(b"test", "1"),
        phases: [(Phase::Vp, Volume::new(grid, voxels))].into(),
    };
    let study = AlignedStudy::from_study(study, &[Phase::Vp]).unwrap();
    let Err(SegmentError::OverBudget { needed, .. }) = prepare(&study, &plan) else {
        panic!("nothing fits into no bytes");
    };
    plan.memory_budget_bytes = needed;
    let before = peak_memory_mib();
    let prepared = prepare(&study, &plan).unwrap();
    let engine = |_| Box::new(Multiples(plan.network.spec(plan.batch))) as Box<dyn Engine>;
    let mut engines: Vec<Box<dyn Engine>> = plan.network.files.iter().map(engine).collect();
    segment_prepared(&prepared, &plan, &mut engines, &mut |_| ControlFlow::Continue(())).unwrap();
    let needed_mib = needed as f64 / f64::from(1 << 20);
    println!("\nmeasured: {} {needed_mib}", peak_memory_mib() - before);
}

/// The memory that the first stage took in a process of its own, and what its budget says it
/// needs, both in MiB. `None` where the system tells no process its memory.
fn measure(name: &str) -> Option<(f64, f64)> {
    if peak_memory_mib() == 0.0 {
        println!("skipped: this system does not tell the memory of a process");
        return None;
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "limits::child_segments", "--ignored", "--nocapture"]);
    child.env("HEPALERT_TEST_CASE", name).env("RAYON_NUM_THREADS", "2");
    let output = child.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = said.lines().find_map(|line| line.strip_prefix("measured: "));
    let words = line.unwrap_or_else(|| panic!("{said}")).split_whitespace();
    let figures: Vec<f64> = words.map(|word| word.parse().unwrap()).collect();
    println!("{name}: {:.1} MiB, budget {:.1} MiB", figures[0], figures[1]);
    Some((figures[0], figures[1]))
}

#[test]
fn the_stack_of_classes_is_never_held_whole() {
    let (Some((few, few_budget)), Some((many, many_budget))) = (measure("few"), measure("many"))
    else {
        return;
    };
    let mib = |bytes: usize| (144 * SIDE * SIDE * bytes) as f64 / f64::from(1 << 20);
    let stack = mib(CLASSES * 2);
    // A voxel more costs its image and its scores: 4 bytes, and 1 + 1 + 4.
    let image_and_scores = mib(10);
    assert!(many - few < image_and_scores + 0.05 * stack, "grew by {:.1} MiB", many - few);
    let counted = many_budget - few_budget;
    assert!((counted - image_and_scores).abs() < 0.5, "the budget counts {counted:.1} MiB");
}

/// Each kind of work within its budget: the refusal before allocation is worth no more than
/// this.
#[test]
fn no_plan_takes_more_than_its_budget_says() {
    for name in ["few", "many", "folds", "f32", "slices", "resampled", "torch", "masked"] {
        let Some((measured, budget)) = measure(name) else { return };
        // Threads, the allocator and huge pages take a little on top, less than a copy of LARGE.
        assert!(measured < budget + 10.0, "{name}: {measured:.1} MiB of {budget:.1}");
        assert!(measured > 0.3 * budget, "{name}: {measured:.1} MiB of {budget:.1}");
    }
}

/// A malignant patient in 500 slices of 256 x 256 voxels.
fn patient_of_500_slices(folder: &Path) -> PathBuf {
    let size = Size { pixels: 256, slices: Some(500) };
    let patient = phantom::generate(5, Case::Malignant, Setting::Venous, size);
    let path = folder.join("vp.nii.gz");
    fs::write(&path, write_i16(&patient.phases[0].1)).unwrap();
    path
}

/// `analyze` of a scan under these words of a shell: what it held of memory at most in MiB, and how it ended.
fn analyzed(scan: &Path, before: &str, memory_mib: u64) -> (u64, Output) {
    let out = scan.with_file_name("report");
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{before} exec \"$@\""), "sh"]).arg(hepalert().get_program());
    command.args(["--json", "analyze", "--threads", "2", "--memory-mib", &memory_mib.to_string()]);
    command.arg("--engine").arg(small_engine()).arg("--out").arg(out);
    command.arg("--phase").arg(format!("vp={}", scan.display()));
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut most = 0;
    while child.try_wait().unwrap().is_none() {
        most = most.max(memory_kib(child.id(), "VmHWM"));
        std::thread::sleep(Duration::from_millis(10));
    }
    (most >> 10, child.wait_with_output().unwrap())
}

/// From the file to the report within the usual budget, with an engine that takes the whole body for a liver.
#[test]
#[ignore = "a minute: `cargo test --test it -- --ignored limits::a_study_of_500`"]
fn a_study_of_500_slices_keeps_within_its_budget() {
    let folder = tempfile::tempdir().unwrap();
    let budget_mib = hepalert::config::Engine::default().memory_budget_mib;
    let (most, output) = analyzed(&patient_of_500_slices(folder.path()), "", budget_mib);
    println!("of {budget_mib} MiB: {most} MiB, {}", output.status);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!((100..=budget_mib).contains(&most), "{most} MiB of {budget_mib}");
}

/// Where the system gives less than the budget promises, a study ends by name, not by an abort.
#[test]
#[ignore = "a minute: `cargo test --test it -- --ignored limits::little`"]
fn little_address_space_ends_no_study_by_an_abort() {
    let folder = tempfile::tempdir().unwrap();
    let scan = patient_of_500_slices(folder.path());
    let (most, output) = analyzed(&scan, "ulimit -v 3200000;", 2048);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    println!("with 3.2 GB of addresses: {most} MiB, {}", output.status);
    assert!(!said.contains("memory allocation of"), "{said}");
    assert!(output.status.code().is_some(), "{}: {said}", output.status);
}
