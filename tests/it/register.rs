//! `hepalert register`, and studies of several phases through `hepalert analyze`.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;

use hepalert::cli::phantom::write_series;
use hepalert_lab::phantom::{Case, Size, generate_moving};
use hepalert_study::phase::Setting;
use hepalert_voxels::volume::nifti::read::{read, read_labels};
use hepalert_voxels::volume::nifti::write::{write_f32, write_u8};
use hepalert_voxels::volume::{Grid, Volume};
use ndarray::Array3;
use serde_json::Value;

use crate::broker::{Broker, Kind, Subscriber};
use crate::daemon::{Heart, House, export, is_state};
use crate::support::hepalert;

/// What a patient is like at a place: in air a column with a spine and bumps of about 15 mm, all of them
/// liver to the test engines in the venous phase; one dark lesion of 24 mm.
fn tissue([x, y, z]: [f64; 3]) -> f32 {
    if ((x - 43.0) / 38.0).hypot((y - 47.0) / 42.0) > 1.0 {
        return AIR_HU;
    }
    if (x - 43.0).hypot(y - 14.0) < 5.0 {
        return SPINE_HU;
    }
    let wave = (x / 5.0).sin() * (y / 6.0).cos() + (z / 7.0 + x / 11.0).sin();
    let lesion = (x - 36.0).hypot(y - 44.0).hypot(z - 40.0) < 12.0;
    100.0 + 8.0 * wave as f32 - if lesion { 55.0 } else { 0.0 }
}

/// No contrast changes these.
const AIR_HU: f32 = -1000.0;
const SPINE_HU: f32 = 400.0;

struct Scan {
    shape: [usize; 3],
    slice_mm: f64,
    origin: [f64; 3],
    /// Where the patient has moved to since the venous phase.
    moved: [f64; 3],
    /// What the phase makes of the difference to 100 HU.
    gain: f32,
    level: f32,
}

const VENOUS: Scan = Scan {
    shape: [28, 48, 44],
    slice_mm: 3.0,
    origin: [0.0; 3],
    moved: [0.0; 3],
    gain: 1.0,
    level: 100.0,
};

impl Scan {
    fn volume(&self) -> Volume<f32> {
        let grid = Arc::new(Grid::axial(self.shape, [self.slice_mm, 2.0, 2.0], self.origin));
        let value = |(z, y, x): (usize, usize, usize)| {
            let p = grid.ras_mm([z as f64, y as f64, x as f64]);
            let q = [0, 1, 2].map(|c| p[c] - self.moved[c]);
            let hu = tissue(q);
            let fixed = hu == AIR_HU || hu == SPINE_HU;
            if fixed { hu } else { self.level + self.gain * (hu - 100.0) }
        };
        let voxels = Array3::from_shape_fn(self.shape, value);
        Volume::new(grid, voxels)
    }

    fn lesion(&self) -> Volume<u8> {
        let volume = self.volume();
        let dark = self.level - 30.0 * self.gain;
        let mask = volume.voxels().mapv(|hu| {
            u8::from(hu != AIR_HU && hu != SPINE_HU && (hu < dark) == (self.gain > 0.0))
        });
        Volume::new(Arc::clone(volume.grid()), mask)
    }

    fn put(&self, folder: &Path, name: &str) -> PathBuf {
        let path = folder.join(format!("{name}.nii.gz"));
        std::fs::write(&path, write_f32(&self.volume())).unwrap();
        path
    }
}

fn said(output: &Output) -> Value {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn refused(output: &Output, code: &str) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{error}");
    assert!(error.contains(&format!("({code})")), "{code}: {error}");
}

#[test]
fn images_labels_points_fields_and_a_picture() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let moving = Scan { moved: [4.0, -5.0, 7.0], gain: -0.6, level: 60.0, ..VENOUS };
    let (fixed_path, moving_path) =
        (VENOUS.put(folder.path(), "f"), moving.put(folder.path(), "m"));
    std::fs::write(at("l.nii.gz"), write_u8(&moving.lesion())).unwrap();
    std::fs::write(at("fl.nii.gz"), write_u8(&VENOUS.lesion())).unwrap();
    std::fs::write(at("p.csv"), "x,y,z\n36,44,40\n30,30,30\n").unwrap();
    let register = |more: &[(&str, &Path)]| {
        let mut command = hepalert();
        command.args(["--json", "register", "--fixed"]).arg(&fixed_path);
        command.arg("--moving").arg(&moving_path);
        more.iter().for_each(|(name, path)| {
            command.arg(name).arg(path);
        });
        command.output().unwrap()
    };
    let found = said(&register(&[
        ("--out", &at("w.nii.gz")),
        ("--field", &at("d.nii.gz")),
        ("--points", &at("p.csv")),
        ("--points-out", &at("q.csv")),
        ("--labels", &at("l.nii.gz")),
        ("--labels-out", &at("k.nii.gz")),
        ("--fixed-labels", &at("fl.nii.gz")),
        ("--picture", &at("p.png")),
    ]));
    let points = std::fs::read_to_string(at("q.csv")).unwrap();
    let lines: Vec<Vec<f64>> = points
        .lines()
        .skip(1)
        .map(|line| line.split(',').map(|v| v.parse().unwrap()).collect())
        .collect();
    for (point, truth) in lines.iter().zip([[40.0, 39.0, 47.0], [34.0, 25.0, 37.0]]) {
        let off = (0..3).map(|c| (point[c] - truth[c]).powi(2)).sum::<f64>().sqrt();
        assert!(off < 1.0, "{point:?} {truth:?} {found}");
    }
    let dice = |n: usize| found["dice"]["1"][n].as_f64().unwrap();
    assert!(dice(1) > 0.9 && dice(1) > dice(0) + 0.1, "{found}");
    let labels = read_labels(&std::fs::read(at("k.nii.gz")).unwrap()).unwrap();
    assert!(labels.grid().matches(VENOUS.volume().grid()));
    assert!(std::fs::read(at("p.png")).unwrap().starts_with(b"\x89PNG"));

    // The field alone gives the same image.
    said(&register(&[("--out", &at("w2.nii.gz")), ("--from-field", &at("d.nii.gz"))]));
    let image = |name: &str| read(&std::fs::read(at(name)).unwrap()).unwrap().into_voxels();
    let (first, again) = (image("w.nii.gz"), image("w2.nii.gz"));
    let apart = first.iter().zip(&again).filter(|(a, b)| (**a - **b).abs() > 1.0).count();
    assert!(apart * 200 < first.len(), "{apart} voxels differ");

    let other = Scan { shape: [27, 48, 44], ..VENOUS }.put(folder.path(), "other");
    let mut command = hepalert();
    command.arg("register").arg("--fixed").arg(&other).arg("--moving").arg(&moving_path);
    command.arg("--out").arg(at("no.nii.gz")).arg("--from-field").arg(at("d.nii.gz"));
    refused(&command.output().unwrap(), "field_of_another_grid");
    assert!(!at("no.nii.gz").exists());
}

#[test]
fn images_that_cannot_be_registered_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let fixed = VENOUS.put(folder.path(), "fixed");
    let cases = [
        (Scan { origin: [900.0, 0.0, 0.0], moved: [900.0, 0.0, 0.0], ..VENOUS }, "no_overlap"),
        (Scan { shape: [1, 48, 44], ..VENOUS }, "one_slice"),
        (Scan { origin: [0.0, 300.0, 0.0], ..VENOUS }, "constant_image"),
        (Scan { shape: [2, 2, 10_000], ..VENOUS }, "too_many_voxels_along_axis"),
    ];
    for (scan, code) in cases {
        let moving = scan.put(folder.path(), code);
        let mut command = hepalert();
        command.arg("register").arg("--fixed").arg(&fixed).arg("--moving").arg(&moving);
        let out = folder.path().join("out.nii.gz");
        refused(&command.arg("--out").arg(&out).output().unwrap(), code);
        assert!(!out.exists());
    }
}

fn bundle(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/phases").join(name)
}

fn analyze(phases: &[(&str, &Path)], out: &Path) -> Output {
    let mut command = hepalert();
    command.args(["--json", "analyze", "--engine"]).arg(bundle("nc_ap_vp"));
    command.arg("--other-engine").arg(bundle("nc_vp")).arg("--out").arg(out);
    for (phase, path) in phases {
        command.arg("--phase").arg(format!("{phase}={}", path.display()));
    }
    command.output().unwrap()
}

#[test]
fn three_phases_of_three_grids_are_one_study() {
    let folder = tempfile::tempdir().unwrap();
    let native = Scan { shape: [13, 48, 44], slice_mm: 6.0, gain: 0.4, level: 55.0, ..VENOUS };
    let arterial = Scan {
        moved: [3.0, -4.0, 8.0],
        origin: [-2.0, 1.0, -3.0],
        shape: [31, 48, 46],
        gain: -0.7,
        level: 80.0,
        ..VENOUS
    };
    let vp = VENOUS.put(folder.path(), "vp");
    let (nc, ap) = (native.put(folder.path(), "nc"), arterial.put(folder.path(), "ap"));
    let report = said(&analyze(&[("nc", &nc), ("ap", &ap), ("vp", &vp)], &folder.path().join("r")));
    assert_eq!(report["setting"], "nc_ap_vp");
    let method = |n: usize| report["phases"][n]["alignment"]["method"].as_str().unwrap();
    assert_eq!(method(2), "reference");
    assert!(["resampled", "deformable"].contains(&method(0)), "{}", report["phases"]);
    assert!(["rigid", "deformable"].contains(&method(1)), "{}", report["phases"]);
    let shift = report["phases"][1]["alignment"]["mean_shift_mm"].as_f64().unwrap();
    assert!((8.0..11.0).contains(&shift), "9.4 mm: {shift}");
    assert_eq!(report["engine_choice"], Value::Null);
    let lesions = report["lesions"].as_array().unwrap();
    assert_eq!(lesions[0]["class"], "Meta");
    assert!(lesions[0]["mean_hu"]["ap"].as_f64().unwrap() > 100.0, "bright in this phase");
    let stages = report["timing"]["stages"].as_array().unwrap();
    assert!(stages.iter().any(|stage| stage["stage"] == "register"));
}

#[test]
fn a_phase_that_is_missing_or_not_to_be_aligned_leaves_the_engine_for_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let vp = VENOUS.put(folder.path(), "vp");
    let nc = Scan { gain: 0.4, level: 55.0, ..VENOUS }.put(folder.path(), "nc");
    let far = Scan { origin: [0.0, 0.0, 700.0], ..VENOUS }.put(folder.path(), "ap");
    // A few slices of the reference's top.
    let little = Scan { origin: [0.0, 0.0, 66.0], ..VENOUS }.put(folder.path(), "little");
    let cases: [(&[(&str, &Path)], &str); 3] = [
        (&[("nc", &nc), ("vp", &vp)], "missing_phase"),
        (&[("nc", &nc), ("ap", &far), ("vp", &vp)], "no_overlap"),
        (&[("nc", &nc), ("ap", &little), ("vp", &vp)], "alignment_failed"),
    ];
    for (phases, code) in cases {
        let report = said(&analyze(phases, &folder.path().join(code)));
        assert_eq!(report["setting"], "nc_vp");
        assert_eq!(report["engines"][0]["id"], "linear-nc-vp");
        assert_eq!(report["engine_choice"]["code"], code);
        assert_eq!(report["engine_choice"]["left_out"], serde_json::json!(["ap"]));
        let quality = report["quality"].as_array().unwrap();
        assert!(quality.iter().any(|flag| flag == "fewer_phases_than_configured"), "{quality:?}");
        assert_eq!(report["phases"][0]["alignment"]["method"], "already_aligned");
    }
    // No engine is for the native phase alone.
    refused(&analyze(&[("nc", &nc)], &folder.path().join("none")), "missing_phase");
}

/// The phase whose grid the others come onto is the site's choice.
#[test]
fn another_phase_stays_if_the_site_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let vp = VENOUS.put(folder.path(), "vp");
    let native = Scan { shape: [26, 48, 44], gain: 0.4, level: 55.0, ..VENOUS };
    let nc = native.put(folder.path(), "nc");
    let mut command = hepalert();
    command.args(["--json", "analyze", "--reference-phase", "nc", "--engine"]).arg(bundle("nc_vp"));
    command.arg("--phase").arg(format!("nc={}", nc.display()));
    command.arg("--phase").arg(format!("vp={}", vp.display()));
    let report = said(&command.arg("--out").arg(folder.path().join("r")).output().unwrap());
    assert_eq!(report["phases"][0]["alignment"]["method"], "reference");
    assert_eq!(report["phases"][1]["alignment"]["method"], "resampled");
    let labels = std::fs::read(folder.path().join("r/labels_base.nii.gz")).unwrap();
    let labels = read_labels(&labels).unwrap();
    assert!(labels.grid().matches(native.volume().grid()), "the labels lie where that phase does");
}

/// Phases in breaths and on slices of their own through the daemon: the engine of three phases, then,
/// where one of them is missing, of the others the one for most of what is there.
#[test]
fn the_daemon_reads_several_phases_with_the_engine_for_what_is_there() {
    let Some(broker) = Broker::start(&Kind::default()) else { return };
    let subscriber = Subscriber::join(&broker, "dashboard", "hepalert/v1/test/event/#");
    let venous = Path::new(env!("CARGO_MANIFEST_DIR")).join("engines/venous-demo");
    let others = format!("others = [{venous:?}, {:?}]\n", bundle("nc_vp"));
    let house = House::with_bundle(broker.port, 2, &bundle("nc_ap_vp"), &others);
    let scratch = tempfile::tempdir().unwrap();
    let size = Size { pixels: 128, slices: Some(36) };
    let daemon = house.start();
    let mut heart = Heart::default();
    let mut analyzed = |seed: u64, left_out: &str| {
        let patient = generate_moving(seed, Case::Malignant, Setting::Diagnosis, size);
        let files = write_series(&patient, &scratch.path().join(seed.to_string())).unwrap();
        let files: Vec<PathBuf> =
            files.into_iter().filter(|file| !file.parent().unwrap().ends_with(left_out)).collect();
        let folder = house.export().join(seed.to_string());
        std::fs::create_dir(&folder).unwrap();
        export(&files, &folder);
        heart.listen(&subscriber, |_, m| is_state(m, "completed") || is_state(m, "rejected"));
        let (_, message) = heart.events.last().unwrap();
        assert!(is_state(message, "completed"), "{message}");
        let result = heart.of("event/result").pop().unwrap();
        let key = result["subject"].as_str().unwrap();
        let report = house.state().join(format!("results/{key}-r1/report.json"));
        let report: Value = serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap();
        (report, result)
    };

    let (report, _) = analyzed(11, "dp");
    assert_eq!(report["setting"], "nc_ap_vp");
    assert_eq!(report["engines"][0]["id"], "linear-nc-ap-vp");
    assert_eq!(report["engine_choice"], Value::Null);
    let method = |phase: usize| report["phases"][phase]["alignment"]["method"].clone();
    assert_eq!(method(2), "reference");
    for phase in [0, 1] {
        let moved = &report["phases"][phase]["alignment"];
        assert_eq!(method(phase), "deformable", "{moved}");
        let bits = &moved["distance_bits"];
        assert!(bits[1].as_f64().unwrap() < bits[0].as_f64().unwrap(), "{moved}");
    }

    let (report, result) = analyzed(12, "ap");
    assert_eq!(report["setting"], "nc_vp", "not the one that takes the venous phase alone");
    assert_eq!(report["engines"][0]["id"], "linear-nc-vp");
    assert_eq!(report["engine_choice"]["code"], "missing_phase");
    assert_eq!(report["engine_choice"]["left_out"], serde_json::json!(["ap"]));
    let quality = result["data"]["quality"].as_array().unwrap();
    assert!(quality.iter().any(|flag| flag == "fewer_phases_than_configured"), "{quality:?}");
    daemon.stop();
}
