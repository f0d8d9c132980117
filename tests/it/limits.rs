//! Memory: what a study may take, what the first stage does take, and who is told no in time.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use hepalert::analyze::peak_memory_mib;
use hepalert::engine::bundle::{
    BundleFile, Decision, Fusion, Golden, NetworkPlan, Reader, Resampling, Sums,
};
use hepalert::engine::{Engine, EngineError, EngineSpec};
use hepalert::image::normalise::Normalisation;
use hepalert::intake::{load, study_key};
use hepalert::segment::{AirTiles, Plan, SegmentError, largest_batch, prepare, segment_prepared};
use hepalert::study::{AlignedStudy, Phase, Study};
use hepalert::volume::nifti::write::write_f32;
use hepalert::volume::{Grid, Volume};
use hepalert::worker::{Limits, Outcome, Request, Worker};
use ndarray::{Array3, ArrayView5, ArrayViewMut5};
use serde_json::{Value, json};

use crate::support::hepalert;

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
    assert!(refused.contains("(TOO_LARGE)") && refused.contains("bytes"), "{refused}");
    assert!(!out.exists(), "nothing was written");
}

/// The daemon's inference process, with the key of its configuration.
#[test]
fn the_configured_budget_reaches_the_inference_process() {
    let folder = tempfile::tempdir().unwrap();
    let (scan, bundle) = (scan(folder.path()), bundle_at(folder.path(), 1.0));
    let key = study_key(b"test", "1");
    let files = load::files_of_paths(&key, &[(Phase::Vp, scan)]).unwrap();
    let ask = |memory_budget_mib: u64| {
        let at = folder.path().display();
        let text = format!(
            "[device]\nname = \"test\"\nsite_key_file = \"{at}/site.key\"\n\
             [intake]\nfolder = \"{at}\"\n\
             [engine]\nbundle = {bundle:?}\nthreads = 1\nmemory_budget_mib = {memory_budget_mib}\n\
             [store]\nfolder = \"{at}/state\"\nmin_free_mib = 1\n"
        );
        let config = folder.path().join("hepalert.toml");
        fs::write(&config, text).unwrap();
        let command = move || {
            let mut command = hepalert();
            command.arg("worker").arg("--config").arg(&config);
            command
        };
        let limits = Limits { stall: Duration::from_secs(60), deadline: Duration::from_secs(120) };
        let request = Request::Study {
            bundle: bundle.clone(),
            files: serde_json::to_value(&files).unwrap(),
            out: folder.path().join("out"),
        };
        Worker::new(command, limits).run(&request, &mut |_| ControlFlow::Continue(()))
    };
    let over = |outcome: &Outcome| matches!(outcome, Outcome::Refused(code, _) if code == "over_memory_budget");
    // 72 x 288 x 288 voxels for the network: 24 MiB, and its class sums.
    let (little, enough) = (ask(16), ask(2048));
    assert!(over(&little), "{little:?}");
    assert!(!over(&enough), "{enough:?}");
}

const PATCH: [usize; 3] = [4, 32, 32];
const CLASSES: usize = 128;
const SIDE: usize = 96;

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

/// A first stage of many classes, so that these would show.
fn plan() -> Plan {
    let file = || BundleFile::new("none", &"0".repeat(64), 0).unwrap();
    let network = NetworkPlan {
        files: vec![file()],
        reader: Reader::SimpleItk,
        classes: (0..CLASSES).map(|class| format!("class{class}")).collect(),
        channels: 1,
        patch: PATCH,
        spacing_mm: [5.0, 1.0, 1.0],
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

/// Not a test by itself: the process whose memory is measured.
#[test]
#[ignore = "run as a child by the test below"]
fn child_segments() {
    let Ok(depth) = std::env::var("HEPALERT_TEST_SLICES") else { return };
    let grid =
        Arc::new(Grid::axial([depth.parse().unwrap(), SIDE, SIDE], [5.0, 1.0, 1.0], [0.0; 3]));
    let voxels = Array3::from_shape_fn(grid.shape(), |(z, y, x)| (z + 2 * y + 3 * x) as f32 + 1.0);
    let study = Study {
        key: study_key(b"test", "1"),
        phases: [(Phase::Vp, Volume::new(grid, voxels))].into(),
    };
    let study = AlignedStudy::from_study(study, &[Phase::Vp]).unwrap();
    let mut plan = plan();
    let Err(SegmentError::OverBudget { needed, .. }) = largest_batch(&study, &plan, 1) else {
        panic!("nothing fits into no bytes");
    };
    plan.memory_budget_bytes = needed;
    let before = peak_memory_mib();
    let prepared = prepare(&study, &plan).unwrap();
    let mut engines: Vec<Box<dyn Engine>> = vec![Box::new(Multiples(plan.network.spec(1)))];
    segment_prepared(&prepared, &plan, &mut engines, &mut |_| ControlFlow::Continue(())).unwrap();
    let needed_mib = needed as f64 / f64::from(1 << 20);
    println!("\nmeasured: {} {needed_mib}", peak_memory_mib() - before);
}

/// Of a study of so many slices: the memory that the first stage took, and what its budget says
/// it needs, both in MiB.
fn measure(slices: usize) -> (f64, f64) {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "limits::child_segments", "--ignored", "--nocapture"]);
    child.env("HEPALERT_TEST_SLICES", slices.to_string()).env("RAYON_NUM_THREADS", "2");
    let output = child.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = said.lines().find_map(|line| line.strip_prefix("measured: "));
    let words = line.unwrap_or_else(|| panic!("{said}")).split_whitespace();
    let figures: Vec<f64> = words.map(|word| word.parse().unwrap()).collect();
    (figures[0], figures[1])
}

#[test]
fn the_stack_of_classes_is_never_held_whole() {
    if peak_memory_mib() == 0.0 {
        println!("skipped: this system does not tell the memory of a process");
        return;
    }
    let (few, many) = (24, 168);
    let ((low, low_budget), (high, high_budget)) = (measure(few), measure(many));
    println!(
        "{few} slices: {low:.1} MiB of {low_budget:.1}; {many}: {high:.1} of {high_budget:.1}"
    );
    let mib =
        |slices: usize, bytes: usize| (slices * SIDE * SIDE * bytes) as f64 / f64::from(1 << 20);
    let stack = mib(many - few, CLASSES * 2);
    // A voxel more costs its image and its scores: 4 bytes, and 1 + 1 + 4.
    let image_and_scores = mib(many - few, 10);
    assert!(high - low < image_and_scores + 0.05 * stack, "grew by {:.1} MiB", high - low);
    assert!(
        (high_budget - low_budget - image_and_scores).abs() < 0.5,
        "the budget counts the same"
    );
    for (measured, budget) in [(low, low_budget), (high, high_budget)] {
        // The allocator and threads take a little on top.
        assert!(measured < budget + 8.0, "{measured:.1} MiB, the budget says {budget:.1}");
        assert!(measured > 0.3 * budget, "{measured:.1} MiB were measured of {budget:.1}");
    }
}
