//! `detect`, `match` and `evaluate` on files, and real lesion shapes against flood fill.

#![allow(clippy::unwrap_used)] // helpers of tests fail by panicking, as tests do

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;

use hepalert_cascade::detect::seg2det::{DetectParams, instance_map, seg2det};
use hepalert_voxels::volume::nifti::read::{read, read_labels};
use hepalert_voxels::volume::nifti::write::{write_f32, write_u8, write_u16};
use hepalert_voxels::volume::{Grid, LabelMap, Volume};
use ndarray::{Array3, s};
use serde_json::{Value, json};

use crate::support::{hepalert, shared_data};

/// Three dimensions of nothing but what `paint` puts there.
fn map(origin_mm: f64, paint: impl FnOnce(&mut Array3<u8>)) -> LabelMap {
    let grid = Grid::axial([6, 20, 20], [5.0, 1.0, 1.0], [origin_mm, 0.0, 0.0]);
    let mut voxels = Array3::zeros(grid.shape());
    paint(&mut voxels);
    Volume::new(Arc::new(grid), voxels)
}

fn save(folder: &Path, name: &str, bytes: Vec<u8>) -> PathBuf {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, bytes).unwrap();
    path
}

fn run(command: &mut std::process::Command) -> Output {
    let output = command.output().unwrap();
    println!("{}", String::from_utf8_lossy(&output.stderr));
    output
}

fn document(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn detect_writes_lesions_and_their_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let labels = map(-10.0, |voxels| {
        voxels.slice_mut(s![1..3, 2..5, 2..6]).fill(3);
        voxels.slice_mut(s![0, 10, 10]).fill(1);
        voxels.slice_mut(s![5, 0..20, 15]).fill(7);
        voxels.slice_mut(s![5, 0, 0]).fill(200);
    });
    let file = save(folder.path(), "l.nii.gz", write_u8(&labels));
    let [out, instances] = ["lesions.json", "i.nii.gz"].map(|name| folder.path().join(name));
    let output = run(hepalert().args(["--json", "detect"]).args([
        &file,
        Path::new("--out"),
        &out,
        Path::new("--instances"),
        &instances,
    ]));
    assert!(output.status.success());
    let expected = json!({"spacing_mm": [5.0, 1.0, 1.0], "lesions": [
        {"id": 1, "class": "HCC", "label": 1, "malignant": true, "voxels": 1, "volume_cm3": 0.005,
         "bbox_zyx": [[0, 10, 10], [1, 11, 11]], "centre_ras_mm": [0.0, 10.0, 0.0],
         "max_diameter_mm": 0.0, "max_axial_diameter_mm": 0.0, "slices": [0, 1]},
        {"id": 2, "class": "Meta", "label": 3, "malignant": true, "voxels": 24, "volume_cm3": 0.12,
         "bbox_zyx": [[1, 2, 2], [3, 5, 6]], "centre_ras_mm": [-6.5, 3.0, 7.5],
         "max_diameter_mm": 38.0f64.sqrt(), "max_axial_diameter_mm": 13.0f64.sqrt(), "slices": [1, 3]},
    ]});
    assert_eq!(document(&out), expected);
    assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap(), expected);
    let map = read(&std::fs::read(&instances).unwrap()).unwrap();
    assert!(map.grid().matches(labels.grid()));
    let ids: BTreeMap<u32, usize> = map.voxels().iter().fold(BTreeMap::new(), |mut ids, id| {
        *ids.entry(*id as u32).or_default() += 1;
        ids
    });
    assert_eq!(ids, BTreeMap::from([(0, 2400 - 25), (1, 1), (2, 24)]));
}

#[test]
fn more_than_255_lesions_keep_their_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let labels = map(0.0, |voxels| voxels.slice_mut(s![.., ..;2, ..;2]).fill(6));
    let lone = map(0.0, |voxels| voxels.slice_mut(s![..;2, ..;2, ..;2]).fill(6));
    for (labels, count) in [(labels, 100), (lone, 300)] {
        let file = save(folder.path(), "l.nii.gz", write_u8(&labels));
        let [out, instances] = ["o.json", "i.nii.gz"].map(|name| folder.path().join(name));
        let output = run(hepalert().arg("detect").args([
            &file,
            Path::new("--out"),
            &out,
            Path::new("--instances"),
            &instances,
        ]));
        assert!(output.status.success());
        let map = read(&std::fs::read(&instances).unwrap()).unwrap();
        let highest = map.voxels().iter().copied().fold(0.0, f32::max);
        assert_eq!(highest, count as f32);
        assert_eq!(document(&out)["lesions"].as_array().map(Vec::len), Some(count));
    }
}

#[test]
fn match_counts_both_ways() {
    let folder = tempfile::tempdir().unwrap();
    let truth = map(0.0, |voxels| {
        voxels.slice_mut(s![1, 2..4, 2..4]).fill(1);
        voxels.slice_mut(s![1, 8..10, 8..10]).fill(3);
        voxels.slice_mut(s![4, 15, 15]).fill(6);
    });
    let predicted = map(0.0, |voxels| {
        voxels.slice_mut(s![1, 3..6, 3..6]).fill(1);
        voxels.slice_mut(s![1, 8..10, 8]).fill(4);
        voxels.slice_mut(s![0, 0, 0]).fill(2);
    });
    let [truth, predicted] = [("t.nii.gz", &truth), ("p.nii.gz", &predicted)]
        .map(|(name, labels)| save(folder.path(), name, write_u8(labels)));
    let out = folder.path().join("match.json");
    let output = run(hepalert().args(["match", "--truth"]).args([
        &truth,
        Path::new("--predicted"),
        &predicted,
        Path::new("--out"),
        &out,
    ]));
    assert!(output.status.success());
    let found = document(&out);
    assert_eq!(
        found["paper"]["per_class"]["Meta"],
        json!({"tp": 0, "fl_truth": 1, "fl_predicted": 0, "fp": 0, "fn": 0})
    );
    assert_eq!(
        found["paper"]["malignant"],
        json!({"tp": 1, "fl_truth": 1, "fl_predicted": 0, "fp": 1, "fn": 0})
    );
    assert_eq!(
        found["strict"]["per_class"]["HCC"],
        json!({"tp": 1, "tp_predicted": 1, "fl_truth": 0, "fl_predicted": 0, "fp": 0, "fn": 0})
    );
    assert_eq!(
        found["pairs"],
        json!([
            {"truth": 1, "predicted": 1, "voxels": 1, "outcome": "TP"},
            {"truth": null, "predicted": 2, "voxels": 0, "outcome": "FP"},
            {"truth": 2, "predicted": 3, "voxels": 2, "outcome": "FL"},
            {"truth": 3, "predicted": null, "voxels": 0, "outcome": "FN"},
        ])
    );
}

#[test]
fn what_is_not_comparable_or_no_label_map_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let there = save(folder.path(), "t.nii.gz", write_u8(&map(0.0, |_| {})));
    let moved = save(folder.path(), "p.nii.gz", write_u8(&map(1.0, |_| {})));
    let text = save(folder.path(), "x.nii.gz", b"not a volume".to_vec());
    let absent = folder.path().join("absent.nii.gz");
    let out = folder.path().join("match.json");
    for (predicted, code) in
        [(&moved, "geometry_mismatch"), (&text, "not_nifti"), (&absent, "unreadable")]
    {
        let output = run(hepalert().args(["match", "--truth"]).args([
            &there,
            Path::new("--predicted"),
            predicted,
            Path::new("--out"),
            &out,
        ]));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(said.contains(code) && said.contains(predicted.to_str().unwrap()), "{said}");
        assert!(!out.exists());
    }
}

/// One case as `analyze` leaves it: a metastasis in both views, whose type reclassification
/// changed, a false cyst it discarded, and a lesion that only the high view has.
fn analysed(folder: &Path, case: &str) {
    let inside = folder.join(case);
    let base = map(0.0, |voxels| {
        voxels.slice_mut(s![1, 3..5, 3..5]).fill(3);
        voxels.slice_mut(s![3, 3..5, 3..5]).fill(6);
    });
    let mut high = base.clone();
    high.voxels_mut().slice_mut(s![1, 2..5, 2..5]).fill(3);
    high.voxels_mut().slice_mut(s![5, 10..12, 10..12]).fill(2);
    let numbers = Array3::from_shape_fn([6, 20, 20], |at| match high.voxels()[at] {
        3 => 7u16,
        2 => 300,
        _ => 0,
    });
    let margin =
        Array3::from_shape_fn([6, 20, 20], |at| match (base.voxels()[at], high.voxels()[at]) {
            (1.., _) => -2.0f32,
            (0, 1..) => 3.0,
            _ => 20.0,
        });
    let report = json!({
        "schema": "hepalert.report.v1",
        "patient_class": {"base": "HCC", "high": "HCC", "joint": "HCC"},
        "pipeline": {"lesion_gain": {"base": 1.0, "high": 50.0}},
        "lesions": [
            {"id": 7, "class": "HCC", "view": "common", "volume_cm3": 0.02},
            {"id": 300, "class": "ICC", "view": "high"},
        ],
    });
    let grid = || Arc::clone(base.grid());
    save(&inside, "labels_base.nii.gz", write_u8(&base));
    save(&inside, "labels_high.nii.gz", write_u8(&high));
    save(&inside, "lesions.nii.gz", write_u16(&Volume::new(grid(), numbers)));
    save(&inside, "margin.nii.gz", write_f32(&Volume::new(grid(), margin)));
    save(&inside, "report.json", report.to_string().into_bytes());
}

#[test]
fn an_evaluation_that_was_stopped_goes_on_and_comes_to_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let [truth, predicted] = ["truth", "predicted"].map(|n| folder.path().join(n));
    for name in ["a", "b", "c"] {
        save(&truth, &format!("{name}.nii.gz"), write_u8(&map(0.0, |_| {})));
        analysed(&predicted, name);
    }
    let evaluate = |out: &str| {
        let paths = [Path::new("--truth"), &truth, Path::new("--predicted"), &predicted];
        let out = folder.path().join(out);
        run(hepalert().args(["evaluate", "--sweep", "--out"]).arg(out).args(paths))
    };
    assert!(evaluate("whole").status.success());
    // The third case cannot be read yet: two are counted.
    let labels = predicted.join("c/labels_high.nii.gz");
    let whole = std::fs::read(&labels).unwrap();
    std::fs::write(&labels, &whole[..whole.len() / 2]).unwrap();
    assert_eq!(evaluate("parts").status.code(), Some(3));
    let kept = folder.path().join("parts/counted.jsonl");
    let text = std::fs::read_to_string(&kept).unwrap();
    assert_eq!(text.lines().count(), 3);
    // What is kept is what is told: a count that is changed here is changed in the tables.
    std::fs::write(&labels, &whole).unwrap();
    assert!(evaluate("parts").status.success());
    for name in ["tables.json", "tables.md", "cases.csv", "sweep.svg"] {
        let [a, b] = ["whole", "parts"].map(|out| folder.path().join(out).join(name));
        assert_eq!(std::fs::read(a).unwrap(), std::fs::read(b).unwrap(), "{name}");
    }
    assert!(!kept.exists());
    let changed = text.replace("\"truth_class\":\"normal\"", "\"truth_class\":\"Hem\"");
    assert_ne!(changed, text);
    std::fs::write(&kept, changed).unwrap();
    assert!(evaluate("parts").status.success());
    let [a, b] = ["whole", "parts"]
        .map(|out| std::fs::read(folder.path().join(out).join("cases.csv")).unwrap());
    assert_ne!(a, b, "what is counted is not counted again");
}

#[test]
fn evaluate_counts_every_variant_of_a_cohort() {
    let folder = tempfile::tempdir().unwrap();
    let [truth, predicted, out] = ["truth", "predicted", "out"].map(|n| folder.path().join(n));
    let sick = map(0.0, |voxels| {
        voxels.slice_mut(s![1, 3..6, 3..6]).fill(1);
        voxels.slice_mut(s![5, 11, 11]).fill(2);
    });
    save(&truth, "a.nii.gz", write_u8(&sick));
    save(&truth, "b.nii.gz", write_u8(&map(0.0, |_| {})));
    analysed(&predicted, "a");
    save(&predicted, "b.nii.gz", write_u8(&map(0.0, |voxels| voxels[[0, 0, 0]] = 1)));
    let evaluate = |more: &[&str]| {
        let paths = [Path::new("--truth"), &truth, Path::new("--predicted"), &predicted];
        let out = [Path::new("--out"), &out];
        run(hepalert().args(["--json", "evaluate"]).args(paths).args(out).args(more))
    };
    let output = evaluate(&["--sweep"]);
    assert!(output.status.success());
    let tables = document(&out.join("tables.json"));
    assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap(), tables);
    let counts = |table: usize, row: usize| {
        let row = &tables["lesions"][table]["rows"][row]["paper"];
        ["tp", "fl_truth", "fl_predicted", "fp", "fn"].map(|name| row[name].as_u64().unwrap())
    };
    let names: Vec<_> = (0..3).map(|at| tables["lesions"][at]["variant"].clone()).collect();
    assert_eq!(names, ["base", "base+recls", "high+recls"]);
    // All lesions: the metastasis is an HCC, the cyst and the HCC of case b are nothing.
    assert_eq!(counts(0, 6), [0, 1, 1, 2, 1]);
    assert_eq!(counts(1, 6), [1, 0, 0, 0, 1]);
    assert_eq!(counts(2, 6), [2, 0, 0, 0, 0]);
    assert_eq!(tables["patients"][0]["specificity"]["value"], json!(0.0));
    assert_eq!(tables["joint"]["by_truth"][0], json!([1, 0, 0]));
    let misses: Vec<_> =
        tables["sweep"].as_array().unwrap().iter().map(|p| p["fn"].clone()).collect();
    assert_eq!(misses, [2, 1, 1, 1, 1, 1, 1, 1, 0], "from a gain of 0.1 to 50");
    assert_eq!(tables["lesions"][0]["false_per_patient"], json!(1.0));
    let lines = std::fs::read_to_string(out.join("cases.csv")).unwrap();
    let lines: Vec<&str> = lines.lines().skip(1).collect();
    let expected = [
        "a,base,HCC,Meta,2,2,0,1,1,1,1,0,1,0,0.4444,0.5714",
        "a,base+recls,HCC,HCC,2,1,1,0,1,0,1,0,1,0,0.5714,0.5714",
        "a,high+recls,HCC,HCC,2,2,2,0,0,0,2,0,0,0,0.4348,0.4348",
        "a,joint,HCC,HCC,2,,,,,,,,,,,",
        "b,base,normal,HCC,0,1,0,0,0,1,0,0,0,1,0.0000,0.0000",
    ];
    assert_eq!(lines, expected);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("cases.csv") && said.contains("sweep.svg"), "{said}");
    let text = std::fs::read_to_string(out.join("tables.md")).unwrap();
    assert!(text.contains("joint (uncertain as positive)"), "{text}");
    for chart in ["lesions_by_volume", "malignant_lesions", "patients", "joint", "sweep"] {
        assert!(out.join(chart).with_extension("svg").is_file(), "{chart}");
    }
    assert_eq!(evaluate(&["--variants", "base,middle"]).status.code(), Some(2));
    assert!(!out.join("counted.jsonl").exists(), "nothing is left to go on with");
    std::fs::remove_file(predicted.join("b.nii.gz")).unwrap();
    // Cases without a prediction: all of them are named, and one may say what is to become of them.
    save(&truth, "c.nii.gz", write_u8(&sick));
    let output = evaluate(&[]);
    assert_eq!(output.status.code(), Some(3));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("no_prediction") && said.contains("for 2 of 3 cases: b, c;"), "{said}");
    let listed = |how: &str| {
        assert!(evaluate(&["--missing", how]).status.success(), "{how}");
        let told = document(&out.join("tables.json"));
        let lines = std::fs::read_to_string(out.join("cases.csv")).unwrap();
        (told, lines.lines().skip(5).map(str::to_owned).collect::<Vec<_>>())
    };
    let (told, lines) = listed("leave-out");
    assert_eq!((&told["left_out"], &told["missed"]), (&json!(["b", "c"]), &json!([])));
    assert_eq!((told["cases"].as_u64(), lines.len()), (Some(1), 0));
    let (told, lines) = listed("count-missed");
    assert_eq!((&told["left_out"], &told["missed"]), (&json!([]), &json!(["b", "c"])));
    // In the variants that others have, and in no other.
    let of = |variant| format!("c,{variant},HCC,normal,2,0,0,0,2,0,0,0,2,0,0.0000,0.0000");
    let mut expected = ["base", "base+recls", "high+recls"].map(of).to_vec();
    expected.push("c,joint,HCC,normal,2,,,,,,,,,,,".to_owned());
    assert_eq!((told["cases"].as_u64(), &lines[4..]), (Some(3), &expected[..]));
    let text = std::fs::read_to_string(out.join("tables.md")).unwrap();
    assert!(text.ends_with("all of their lesions as missed: b, c\n"), "{text}");
    std::fs::remove_dir_all(predicted.join("a")).unwrap();
    assert_eq!(evaluate(&["--missing", "leave-out"]).status.code(), Some(3), "nothing to count");
}

/// The definition: flood fill of the lesion labels with the 10-neighbour element. Component
/// numbers from 1 in raster order, 0 elsewhere.
fn flood_fill(labels: &Array3<u8>) -> Array3<u16> {
    let mut found = Array3::zeros(labels.raw_dim());
    let mut count = 0;
    for ((z, y, x), &label) in labels.indexed_iter() {
        if !(1..=6).contains(&label) || found[[z, y, x]] != 0 {
            continue;
        }
        count += 1;
        found[[z, y, x]] = count;
        let mut open = vec![[z, y, x]];
        while let Some(voxel) = open.pop() {
            let plane = (-1..=1).flat_map(|dy| (-1..=1).map(move |dx| [0, dy, dx]));
            for step in plane.chain([[-1, 0, 0], [1, 0, 0]]) {
                let at: [usize; 3] =
                    std::array::from_fn(|axis| voxel[axis].wrapping_add_signed(step[axis]));
                if labels.get(at) == Some(&label) && found[at] == 0 {
                    found[at] = count;
                    open.push(at);
                }
            }
        }
    }
    found
}

#[test]
#[cfg_attr(no_real_ct, ignore = "no real CT in ../shared/data")]
fn real_lesions_are_those_of_flood_fill() {
    let Some(data) = shared_data() else { return };
    let mut masks = 0;
    for patient in std::fs::read_dir(data.join("mullet-masks")).unwrap() {
        let patient = patient.unwrap().path();
        for mask in (1..=4).map(|n| patient.join(format!("segmentation_{n}.nii.gz"))) {
            if !mask.is_file() {
                continue;
            }
            masks += 1;
            let labels = read_labels(&std::fs::read(&mask).unwrap()).unwrap();
            let found = seg2det(&labels, &DetectParams::default());
            let ids = instance_map(&found, labels.grid()).unwrap();
            let expected = flood_fill(labels.voxels());
            let both = std::iter::zip(ids.voxels(), &expected);
            let mut pairs: Vec<_> = both.filter(|(id, part)| **id + **part > 0).collect();
            pairs.sort_unstable();
            pairs.dedup();
            let components = expected.iter().copied().max().unwrap_or(0);
            assert_eq!(found.len(), usize::from(components), "{}", mask.display());
            // One pair per lesion: no lesion is two components and no component two lesions.
            assert_eq!(pairs.len(), found.len(), "{}", mask.display());
        }
    }
    assert_eq!(masks, 56);
}
