//! The paper's settings with the engines that ship: unseen synthetic patients, whole commands.

use std::path::Path;

use serde_json::Value;

use crate::support::hepalert;

/// What `analyze` makes of a synthetic patient of this seed, whose phases lie in breaths of their own.
fn report_of(setting: &str, seed: &str, case: &str, phases: &[&str]) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let made = hepalert()
        .args(["phantom", "--setting", setting, "--pixels", "256", "--seed", seed, case, "--out"])
        .arg(at("patient"))
        .status()
        .unwrap();
    assert!(made.success(), "{made}");
    let engines = Path::new(env!("CARGO_MANIFEST_DIR")).join("engines");
    let engine = engines.join(format!("phantom-{setting}"));
    let mut command = hepalert();
    command.arg("analyze").arg("--engine").arg(engine).arg("--out").arg(at("out"));
    for phase in phases {
        // A patient of one phase has one image.
        let name = if let [_] = phases { "ct" } else { phase };
        let file = at("patient").join(format!("{name}.nii.gz"));
        command.arg("--phase").arg(format!("{phase}={}", file.display()));
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&std::fs::read(at("out").join("report.json")).unwrap()).unwrap()
}

fn verdict(report: &Value) -> &str {
    report["verdict"].as_str().unwrap()
}

#[test]
fn four_phases_are_aligned_and_read_as_the_paper_does() {
    let phases = ["nc", "ap", "vp", "dp"];
    let report = report_of("diagnosis", "40001", "--malignant", &phases);
    assert_eq!(verdict(&report), "suspected", "{report:#}");
    let aligned = report["phases"].as_array().unwrap();
    let moved = |phase: &&Value| phase["alignment"]["mean_shift_mm"].as_f64() > Some(1.0);
    assert_eq!(aligned.iter().filter(moved).count(), 3, "{aligned:#?}");
    let healthy = report_of("diagnosis", "40002", "--normal", &phases);
    assert_eq!(verdict(&healthy), "not_suspected", "{:#}", healthy["lesions"]);
}

#[test]
fn one_native_phase_is_enough_for_screening() {
    let report = report_of("screening", "40001", "--malignant", &["nc"]);
    assert_eq!(verdict(&report), "suspected", "{report:#}");
    let healthy = report_of("screening", "40002", "--normal", &["nc"]);
    assert_eq!(verdict(&healthy), "not_suspected", "{:#}", healthy["lesions"]);
}
