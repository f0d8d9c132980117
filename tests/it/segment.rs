//! `segment` and `engine` as a person runs them, on a tiny bundle of four phases.
#![allow(clippy::unwrap_used, reason = "helpers of tests unwrap as tests do")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use hepalert_lab::phantom::{Case, Size, generate};
use hepalert_study::phase::{Phase, Setting};
use hepalert_voxels::volume::nifti::read::{read, read_labels};
use hepalert_voxels::volume::nifti::write::write_f32;
use hepalert_voxels::volume::{Grid, Volume};
use ndarray::Array3;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::hepalert;

/// A bundle with the tiny network of tests/data/segment, which takes four phases.
pub(crate) fn bundle(dir: &Path) -> PathBuf {
    let bundle = dir.join("tiny");
    fs::create_dir(&bundle).unwrap();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/segment");
    let file = |name: &str| {
        let bytes = fs::read(data.join(name)).unwrap();
        fs::write(bundle.join(name), &bytes).unwrap();
        let hash: String =
            Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        json!({"path": name, "sha256": hash, "bytes": bytes.len()})
    };
    let manifest = json!({
        "format": "hepalert-engine", "format_version": 1, "id": "tiny", "version": 1,
        "created": "2026-11-23", "intended_use": "tests only", "licence": "Apache-2.0",
        "phases": ["nc", "ap", "vp", "dp"], "fusion": "logits",
        "lesion_gain": {"base": 1.0, "high": 100.0},
        "networks": {"segment": {
            "files": [file("tiny.onnx")], "classes": ["background", "a", "b", "c"],
            "channels": 4, "patch": [8, 16, 16], "spacing_mm": [5.0, 1.0, 1.0],
            "transpose_forward": [0, 1, 2],
            "normalisation": vec![json!({"scheme": "zscore"}); 4],
            "resampling": "default", "mirror_axes": [2], "tile_step": 0.5,
            "golden": {"input": file("tiny_input.f32"), "expected": file("tiny_expected.f32"),
                "stride": [2, 2, 2]}
        }}
    });
    fs::write(bundle.join("manifest.json"), manifest.to_string()).unwrap();
    bundle
}

/// Four phases of waves on a grid that is not the network's.
pub(crate) fn phases(dir: &Path) -> Vec<String> {
    let affine = [[-0.8, 0.0, 0.0, 90.0], [0.0, -0.8, 0.0, 70.0], [0.0, 0.0, 5.0, -300.0]];
    let grid = Arc::new(Grid::new([9, 30, 26], [5.0, 0.8, 0.8], affine));
    ["nc", "ap", "vp", "dp"]
        .iter()
        .enumerate()
        .map(|(i, code)| {
            let voxels = Array3::from_shape_fn(grid.shape(), |(z, y, x)| {
                ((z * 5 + y * 2 + x) as f32 * (0.2 + 0.1 * i as f32)).sin() * 80.0 + 50.5
            });
            let path = dir.join(format!("{code}.nii.gz"));
            fs::write(&path, write_f32(&Volume::new(Arc::clone(&grid), voxels))).unwrap();
            format!("{code}={}", path.display())
        })
        .collect()
}

pub(crate) fn segment(engine: &Path, phases: &[String], out: &Path) -> Command {
    let mut command = hepalert();
    command.args(["--json", "segment", "--threads", "1", "--engine"]).arg(engine);
    for phase in phases {
        command.args(["--phase", phase]);
    }
    command.arg("--out").arg(out);
    command
}

pub(crate) fn document(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_study_becomes_a_label_map_in_its_own_geometry() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, phases) = (bundle(dir.path()), phases(dir.path()));
    let (out, margin) = (dir.path().join("labels.nii.gz"), dir.path().join("margin.nii.gz"));
    let output = segment(&engine, &phases, &out).arg("--margin").arg(&margin).output().unwrap();
    let said = document(&output);
    assert_eq!(said["engine"]["id"], "tiny");
    let study = read(&fs::read(dir.path().join("vp.nii.gz")).unwrap()).unwrap();
    let labels = read_labels(&fs::read(&out).unwrap()).unwrap();
    assert!(labels.grid().matches(study.grid()));
    let margin = read(&fs::read(&margin).unwrap()).unwrap();
    assert!(margin.voxels().iter().all(|&m| m == 1000.0), "no lesion class competes");
    let counted: u64 = said["voxels"].as_object().unwrap().values().filter_map(Value::as_u64).sum();
    assert_eq!(counted, 9 * 30 * 26);
    let kinds = labels.voxels().iter().collect::<std::collections::BTreeSet<_>>();
    assert!(kinds.len() > 1, "the waves have more than one class");
    let again = dir.path().join("again.nii.gz");
    document(&segment(&engine, &phases, &again).output().unwrap());
    assert_eq!(fs::read(&out).unwrap(), fs::read(&again).unwrap(), "same input, same bytes");
}

#[test]
fn half_an_image_is_segmented_with_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    let bundle = bundle(dir.path());
    let size = Size { pixels: 32, slices: None };
    let patient = generate(5, Case::Normal, Setting::Diagnosis, size);
    // On the network's own spacing, as if of a small patient: as few tiles as voxels.
    let small = |grid: &Grid| {
        let affine = [[-1.0, 0.0, 0.0, 16.0], [0.0, -1.0, 0.0, 16.0], [0.0, 0.0, 5.0, -300.0]];
        Arc::new(Grid::new(grid.shape(), [5.0, 1.0, 1.0], affine))
    };
    let doubts = |unfilled: Phase| {
        let mut phases = Vec::new();
        for (phase, scan) in &patient.phases {
            let mut voxels = scan.voxels().mapv(f32::from);
            if *phase == unfilled {
                voxels.slice_mut(ndarray::s![10..16, .., ..]).fill(-1024.0);
            }
            let path = dir.path().join(format!("{phase}.nii.gz"));
            fs::write(&path, write_f32(&Volume::new(small(scan.grid()), voxels))).unwrap();
            phases.push(format!("{phase}={}", path.display()));
        }
        let out = dir.path().join("labels.nii.gz");
        let ran = segment(&bundle, &phases, &out).output().unwrap();
        (document(&ran)["doubts"].clone(), String::from_utf8_lossy(&ran.stderr).into_owned())
    };
    let (found, said) = doubts(Phase::Ap);
    assert!(said.contains("warning: ap: slices_without_image"), "{said}");
    let [doubt] = &found.as_array().unwrap()[..] else { panic!("{found}") };
    assert_eq!(
        (doubt["phase"].as_str(), doubt["code"].as_str()),
        (Some("ap"), Some("slices_without_image"))
    );
    assert!(doubt["detail"].as_str().unwrap().contains("11 to 16"), "{doubt}");
}

#[test]
fn each_kind_of_failure_has_its_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, phases) = (bundle(dir.path()), phases(dir.path()));
    let out = dir.path().join("labels.nii.gz");
    let code = |command: &mut Command| {
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (exit, said) = code(segment(&engine, &phases, &out).args(["--alpha", "0"]));
    assert_eq!(exit, Some(2), "{said}");
    let (exit, said) = code(&mut segment(&engine, &phases[..3], &out));
    assert_eq!(exit, Some(3), "{said}");
    assert!(said.contains("missing_phase") && said.contains("dp"), "{said}");
    let (exit, said) = code(&mut segment(&dir.path().join("none"), &phases, &out));
    assert_eq!(exit, Some(4), "{said}");
    fs::write(engine.join("tiny.onnx"), b"altered").unwrap();
    let (exit, said) = code(&mut segment(&engine, &phases, &out));
    assert_eq!(exit, Some(4), "{said}");
    assert!(said.contains("tiny.onnx"), "{said}");
    assert!(!out.exists(), "nothing was written");
}

#[test]
fn bundles_are_listed_inspected_verified_and_tested() {
    let dir = tempfile::tempdir().unwrap();
    let engine = bundle(dir.path());
    let run = |words: &[&str], path: &Path| {
        hepalert().arg("--json").arg("engine").args(words).arg(path).output().unwrap()
    };
    let listed = document(&run(&["list"], dir.path()));
    assert_eq!((&listed[0]["id"], &listed[0]["usable"]), (&json!("tiny"), &json!(true)));
    let inspected = document(&run(&["inspect"], &engine));
    assert_eq!(inspected["setting"], "diagnosis");
    assert_eq!(document(&run(&["verify"], &engine))["files"], 3);
    let tested = document(&run(&["selftest", "--threads", "1"], &engine));
    assert_eq!(tested[0]["argmax_agreement"], 1.0);
    fs::write(engine.join("tiny_input.f32"), b"cut").unwrap();
    assert_eq!(run(&["verify"], &engine).status.code(), Some(4));
    let listed = document(&run(&["list"], dir.path()));
    assert_eq!(listed[0]["usable"], false);
}

/// The first network is loaded and sound, the second is not: there is no half a cascade.
#[test]
fn a_cascade_whose_second_network_fails_is_refused_whole() {
    let dir = tempfile::tempdir().unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/reclassify/bundle");
    let engine = dir.path().join("engine");
    fs::create_dir(&engine).unwrap();
    for file in fs::read_dir(source).unwrap() {
        let file = file.unwrap().path();
        fs::copy(&file, engine.join(file.file_name().unwrap())).unwrap();
    }
    let path = engine.join("manifest.json");
    let mut manifest: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let expected = &mut manifest["networks"]["reclassify"]["golden"]["expected"];
    let zeros = vec![0; expected["bytes"].as_u64().unwrap() as usize];
    let hash: String = Sha256::digest(&zeros).iter().map(|byte| format!("{byte:02x}")).collect();
    fs::write(engine.join(expected["path"].as_str().unwrap()), zeros).unwrap();
    expected["sha256"] = json!(hash);
    fs::write(path, manifest.to_string()).unwrap();
    let out = dir.path().join("report");
    let phase = phases(dir.path()).remove(2);
    let mut command = hepalert();
    command.args(["analyze", "--threads", "1", "--phase", &phase, "--engine"]).arg(&engine);
    let output = command.arg("--out").arg(&out).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("reclassify.onnx") && said.contains("ask for a new bundle"), "{said}");
    assert!(!out.exists(), "nothing was written");
}
