//! `hepalert shuffle` and `hepalert reclassify` as commands.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;

use hepalert_voxels::volume::nifti::read::{read, read_labels};
use hepalert_voxels::volume::nifti::write::{write_f32, write_u8};
use hepalert_voxels::volume::{Grid, Volume};
use ndarray::{Array3, s};
use serde_json::Value;

use crate::support::{hepalert, shared_data};

/// A liver of 100 HU in water, with lesions that the test bundle's network knows.
struct Patient {
    dir: tempfile::TempDir,
}

impl Patient {
    fn new() -> Patient {
        let shape = [14, 40, 44];
        let grid = Arc::new(Grid::axial(shape, [5.0, 2.0, 2.0], [-30.0, 12.0, 100.0]));
        let (mut hu, mut labels) = (Array3::from_elem(shape, 10.0f32), Array3::zeros(shape));
        hu.slice_mut(s![1..13, 3..37, 3..41]).fill(100.0);
        labels.slice_mut(s![1..13, 3..37, 3..41]).fill(7u8);
        let mut lesion = |lo: [usize; 3], size: [usize; 3], value: f32, label: u8| {
            let hi: [usize; 3] = std::array::from_fn(|a| lo[a] + size[a]);
            hu.slice_mut(s![lo[0]..hi[0], lo[1]..hi[1], lo[2]..hi[2]]).fill(value);
            labels.slice_mut(s![lo[0]..hi[0], lo[1]..hi[1], lo[2]..hi[2]]).fill(label);
        };
        // One voxel is 0.02 cm3.
        lesion([2, 6, 6], [2, 6, 6], 20.0, 1); // a cyst, called HCC: 1.44 cm3
        lesion([5, 20, 8], [2, 5, 5], 60.0, 3); // a metastasis: 1 cm3
        lesion([8, 20, 25], [2, 6, 6], 100.0, 3); // nothing, called metastasis: 1.44 cm3
        lesion([10, 8, 30], [1, 4, 6], 60.0, 3); // a small metastasis: 0.48 cm3
        let dir = tempfile::tempdir().unwrap();
        let put =
            |name: &str, bytes: Vec<u8>| std::fs::write(dir.path().join(name), bytes).unwrap();
        put("ct.nii.gz", write_f32(&Volume::new(Arc::clone(&grid), hu)));
        put("labels.nii.gz", write_u8(&Volume::new(grid, labels)));
        Patient { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, name: &str) -> std::process::Command {
        let mut command = hepalert();
        command.arg(name).arg("--phase").arg(format!("vp={}", self.path("ct.nii.gz").display()));
        command.arg("--labels").arg(self.path("labels.nii.gz"));
        command
    }

    fn reclassify(&self, out: &str, more: &[&str]) -> Value {
        let mut command = self.command("reclassify");
        command.arg("--engine").arg(bundle()).arg("--out").arg(self.path(out)).args(more);
        said(&command.output().unwrap());
        let bytes = std::fs::read(self.path(out).join("reclassified.json")).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }
}

fn bundle() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/reclassify/bundle")
}

fn said(output: &Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn near(value: &Value, expected: f64) -> bool {
    value.as_f64().is_some_and(|value| (value - expected).abs() < 1e-9)
}

#[test]
fn false_positives_go_and_labels_are_corrected() {
    let patient = Patient::new();
    let report = patient.reclassify("out", &["--json"]);
    let lesions = report["lesions"].as_array().unwrap();
    let column = |key: &str| lesions.iter().map(|one| one[key].clone()).collect::<Vec<_>>();
    // Order: label, then volume.
    assert_eq!(column("class_before"), ["HCC", "Meta", "Meta", "Meta"]);
    assert_eq!(column("class_after"), ["Cyst", "Meta", "Meta", "Meta"]);
    assert_eq!(column("why"), ["kept", "low_score", "kept", "too_small"]);
    assert_eq!(column("kept"), [true, false, true, false]);
    assert!(near(&lesions[2]["score_cm3"], 1.0) && near(&lesions[2]["votes_cm3"]["Meta"], 8.0));
    assert!(near(&lesions[1]["score_cm3"], 0.0) && lesions[3]["score_cm3"].is_null());
    assert_eq!(column("patches_run")[2..], [8, 0]);
    assert!(lesions[1]["patches_run"].as_u64().unwrap() < 8);
    let after = std::fs::read(patient.path("out/labels_after.nii.gz")).unwrap();
    let after = read_labels(&after).unwrap();
    let at = |z, y, x| after.voxels()[[z, y, x]];
    assert_eq!(
        [at(2, 6, 6), at(5, 20, 8), at(8, 20, 25), at(10, 8, 30), at(0, 0, 0)],
        [6, 3, 7, 7, 0]
    );
    let again = patient.reclassify("again", &[]);
    assert_eq!(again["lesions"], report["lesions"], "a second run says the same");
    let original = patient.reclassify("original", &["--no-shuffle", "--patches", "3"]);
    assert_eq!(original["lesions"][2]["patches_run"], 3);
}

/// Every file of a folder by its path.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.path().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.insert(entry.path(), std::fs::read(entry.path()).unwrap());
        }
    }
    found
}

#[test]
fn shuffle_writes_a_raw_data_set_twice_the_same() {
    let patient = Patient::new();
    let run = |out: &str| {
        let sheet = patient.path(out).with_extension("png");
        let mut command = patient.command("shuffle");
        command.args(["--count", "2", "--seed", "5", "--case", "p1"]).arg("--engine").arg(bundle());
        command.arg("--out").arg(patient.path(out)).arg("--contact-sheet").arg(&sheet);
        said(&command.output().unwrap());
        assert!(std::fs::read(&sheet).unwrap().starts_with(b"\x89PNG"));
        files(&patient.path(out))
    };
    let (first, second) = (run("one"), run("two"));
    assert_eq!(first.len(), 1 + 2 * (4 * 4 * 2));
    assert!(first.values().eq(second.values()), "a second run is bit-identical");
    let description = &first[&patient.path("one/dataset.json")];
    let description: Value = serde_json::from_slice(description).unwrap();
    assert_eq!(
        (&description["numTraining"], &description["labels"]["liver"]),
        (&32.into(), &7.into())
    );
    assert_eq!(description["channel_names"]["0"], "CT");
    check_patches(&patient.path("one"), 100.0);
}

/// Outside the liver region every written image has the mean; sp patches hold a lesion.
fn check_patches(folder: &Path, mean: f32) {
    let mut lesions = BTreeMap::new();
    for (path, bytes) in files(&folder.join("labelsTr")) {
        let truth = read_labels(&bytes).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap().trim_end_matches(".nii.gz");
        let image = std::fs::read(folder.join(format!("imagesTr/{name}_0000.nii.gz"))).unwrap();
        let image = read(&image).unwrap();
        assert!(image.grid().matches(truth.grid()));
        let outside = image.voxels().iter().zip(truth.voxels()).filter(|(_, t)| **t == 0);
        assert!(outside.clone().all(|(&value, _)| value == mean), "{name}");
        let lesion = truth.voxels().iter().filter(|t| (1..=6).contains(*t)).count();
        let scheme = name.rsplit('_').nth(2).unwrap().to_owned();
        lesions.entry(scheme).or_insert_with(Vec::new).push(lesion);
    }
    assert!(lesions["on"].iter().all(|&count| count == 0));
    assert!(lesions["op"].iter().chain(&lesions["sp"]).all(|&count| count > 0), "{lesions:?}");
    assert_eq!(lesions["sn"].len(), lesions["op"].len());
}

#[test]
fn false_positives_and_misses_of_a_first_network_become_hard_cases() {
    let patient = Patient::new();
    let labels = read_labels(&std::fs::read(patient.path("labels.nii.gz")).unwrap()).unwrap();
    // Found: the cyst and a false alarm; the three metastases are missed.
    let mut predicted = labels.voxels().mapv(|label| if label == 3 { 7 } else { label });
    predicted.slice_mut(s![6..8, 30..33, 30..33]).fill(2);
    let predicted = Volume::new(Arc::clone(labels.grid()), predicted);
    std::fs::write(patient.path("predicted.nii.gz"), write_u8(&predicted)).unwrap();
    let mut command = patient.command("shuffle");
    command.args([
        "--count",
        "1",
        "--scheme",
        "op",
        "--spacing",
        "5,2,2",
        "--patch",
        "4,16,16",
        "--json",
    ]);
    command.arg("--predicted").arg(patient.path("predicted.nii.gz"));
    command.arg("--out").arg(patient.path("hard"));
    let summary: Value = serde_json::from_str(&said(&command.output().unwrap())).unwrap();
    assert_eq!((&summary["false_positives"], &summary["false_negatives"]), (&1.into(), &3.into()));
    assert_eq!(summary["patches_written"], 4 + 2 + 3);
    let truth = std::fs::read(patient.path("hard/labelsTr/case_fpsp_0002_0000.nii.gz")).unwrap();
    let truth = read_labels(&truth).unwrap();
    assert!(truth.voxels().iter().all(|label| [0, 7].contains(label)), "a false alarm is liver");
}

#[test]
fn failures_have_their_exit_codes_and_say_what_to_do() {
    let patient = Patient::new();
    let run = |command: &mut std::process::Command| {
        let output = command.arg("--out").arg(patient.path("x")).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = run(patient.command("shuffle").args(["--scheme", "xx"]));
    assert_eq!(code, 2, "{said}");
    let (code, said) = run(patient.command("shuffle").args(["--patch", "0,16,16"]));
    assert_eq!(code, 2, "{said}");
    let (code, said) = run(patient.command("reclassify").arg("--engine").arg(patient.path("none")));
    assert_eq!(code, 4, "{said}");
    let (code, said) =
        run(patient.command("reclassify").arg("--engine").arg(bundle()).args(["--patches", "0"]));
    assert_eq!(code, 2, "{said}");
    let small =
        Volume::new(Arc::new(Grid::axial([1, 1, 1], [1.0; 3], [0.0; 3])), Array3::zeros((1, 1, 1)));
    std::fs::write(patient.path("labels.nii.gz"), write_u8(&small)).unwrap();
    let (code, said) = run(&mut patient.command("shuffle"));
    assert!(
        code == 3 && said.contains("geometry_mismatch") && said.contains("labels.nii.gz"),
        "{said}"
    );
}

#[test]
#[cfg_attr(no_real_ct, ignore = "no real CT in ../shared/data")]
fn real_livers_give_sound_patches() {
    let Some(data) = shared_data() else { return };
    let out = tempfile::tempdir().unwrap();
    let mut command = hepalert();
    command.args(["shuffle", "--relabel", "1=7,2=3", "--count", "2"]);
    let phase = data.join("crlm-1004/ct.nii.gz");
    command.arg("--phase").arg(format!("vp={}", phase.display()));
    command.arg("--labels").arg(data.join("crlm-1004/liver_tumour_machine_c.nii.gz"));
    said(&command.arg("--out").arg(out.path()).output().unwrap());
    check_patches(out.path(), 100.0);
}
