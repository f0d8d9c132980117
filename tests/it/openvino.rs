//! OpenVINO as a person chooses it. Skipped with a printed line where the library is not
//! found, but for what happens then.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use hepalert_engines::backend::{Backend, Presence};
use hepalert_voxels::volume::nifti::read::read_labels;

use crate::segment::{bundle, document, phases, segment};
use crate::support::hepalert;

const FOLDER_VARIABLE: &str = "HEPALERT_OPENVINO";

/// Where it was set up on purpose it must be found.
fn there() -> bool {
    match Backend::OpenVino.presence() {
        Presence::Present { .. } => true,
        Presence::Absent { reason } => {
            assert!(std::env::var_os(FOLDER_VARIABLE).is_none(), "{reason}");
            println!("skipped: {reason}");
            false
        }
    }
}

fn selftest(bundle: &Path, precision: &str) -> Command {
    let mut command = hepalert();
    command.args(["--json", "engine", "selftest", "--backend", "openvino"]);
    command.args(["--precision", precision]).arg(bundle);
    command
}

fn demo_bundle() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/engines/venous-demo"))
}

/// Unless the processor cannot, in which case the refusal must say so.
fn bf16_or_refused(output: &Output) -> bool {
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("does not multiply bf16") {
        assert_eq!(output.status.code(), Some(4), "{said}");
        println!("skipped: {said}");
        return false;
    }
    true
}

#[test]
fn without_the_library_the_refusal_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |folder: &Path| {
        let mut command = selftest(demo_bundle(), "f32");
        let output = command.env(FOLDER_VARIABLE, folder).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(4), "{said}");
        said
    };
    let said = refused(dir.path());
    assert!(said.contains(FOLDER_VARIABLE) && said.contains("libopenvino_c.so"), "{said}");
    fs::write(dir.path().join("libopenvino_c.so"), b"not a library").unwrap();
    let said = refused(dir.path());
    assert!(said.contains("could not be opened"), "{said}");
}

#[test]
fn a_library_of_something_else_is_refused_without_a_panic() {
    let dir = tempfile::tempdir().unwrap();
    // Any shared library that every Linux has.
    let libc = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib/aarch64-linux-gnu/libc.so.6"];
    let Some(libc) = libc.into_iter().find(|path| Path::new(path).exists()) else {
        println!("skipped: no libc.so.6 where Debian has it");
        return;
    };
    std::os::unix::fs::symlink(libc, dir.path().join("libopenvino_c.so")).unwrap();
    let mut command = selftest(demo_bundle(), "f32");
    let output = command.env(FOLDER_VARIABLE, dir.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("not a library of OpenVINO"), "{said}");
}

#[test]
fn the_demonstration_engine_passes_its_self_test_in_both_precisions() {
    if !there() {
        return;
    }
    for precision in ["f32", "bf16"] {
        let output = selftest(demo_bundle(), precision).output().unwrap();
        if !bf16_or_refused(&output) {
            continue;
        }
        let tested = document(&output);
        for network in tested.as_array().unwrap() {
            let agreement = network["argmax_agreement"].as_f64().unwrap();
            assert!(agreement >= 0.999, "{precision}: {network}");
            let third = network["network"] == "reclassify";
            assert_eq!(network["precision"], if third { "f32" } else { precision });
        }
    }
}

#[test]
fn bf16_is_refused_where_it_changes_labels() {
    if !there() {
        return;
    }
    // Random weights give near ties everywhere: bf16 flips more of them than may be.
    let dir = tempfile::tempdir().unwrap();
    let output = selftest(&bundle(dir.path()), "bf16").output().unwrap();
    if bf16_or_refused(&output) {
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(4), "{said}");
        assert!(said.contains("self-test failed"), "{said}");
    }
}

#[test]
fn labels_are_those_of_the_built_in_backend() {
    if !there() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (engine, phases) = (bundle(dir.path()), phases(dir.path()));
    let labels = |backend: &str| {
        let out = dir.path().join(format!("{backend}.nii.gz"));
        let output = segment(&engine, &phases, &out).args(["--backend", backend]).output().unwrap();
        assert_eq!(document(&output)["engine"]["backend"], backend);
        read_labels(&fs::read(&out).unwrap()).unwrap()
    };
    let (ours, theirs) = (labels("native"), labels("openvino"));
    let equal = ours.voxels().iter().zip(theirs.voxels()).filter(|(a, b)| a == b).count();
    let share = equal as f64 / ours.voxels().len() as f64;
    assert!(share > 0.998, "{share}");
}
