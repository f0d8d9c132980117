//! Bundles as they come: sound, altered, incomplete, newer, and lying about themselves.

use std::fs;

use serde_json::{Value, json};

use super::*;
use hepalert_voxels::image::normalise::Normalisation;

mod constraints;
mod loading;
mod package;
mod signature;

/// A folder with the tiny network as its first stage; `edit` changes the manifest first.
pub(super) fn bundle(edit: impl FnOnce(&mut Value)) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/segment");
    let file = |name: &str| {
        let bytes = fs::read(data.join(name)).unwrap();
        fs::write(dir.path().join(name), &bytes).unwrap();
        json!({"path": name, "sha256": files::sha256_hex(&bytes), "bytes": bytes.len()})
    };
    let mut manifest = json!({
        "format": "hepalert-engine", "format_version": 1, "id": "tiny", "version": 3,
        "created": "2026-11-23", "intended_use": "tests only", "licence": "Apache-2.0",
        "phases": ["nc", "ap", "vp", "dp"], "fusion": "logits", "lesion_gain": {"base": 1.0, "high": 100.0},
        "networks": {"segment": {
            "files": [file("tiny.onnx")], "classes": ["background", "a", "b", "c"],
            "channels": 4, "patch": [8, 16, 16], "spacing_mm": [5.0, 1.5, 1.5],
            "transpose_forward": [0, 1, 2],
            "normalisation": [
                {"scheme": "ct", "mean": 90.0, "std": 40.0, "lower": -60.0, "upper": 200.0},
                {"scheme": "zscore"}, {"scheme": "none"}, {"scheme": "none"}
            ],
            "resampling": "default", "mirror_axes": [], "tile_step": 0.5,
            "golden": {"input": file("tiny_input.f32"), "expected": file("tiny_expected.f32"), "stride": [2, 2, 2]}
        }},
        "training": {"epochs": 10, "note": "kept as it is"}
    });
    edit(&mut manifest);
    fs::write(dir.path().join(MANIFEST), manifest.to_string()).unwrap();
    dir
}

fn refusal(edit: impl FnOnce(&mut Value)) -> String {
    Bundle::open(bundle(edit).path()).unwrap_err().to_string()
}

#[test]
fn a_sound_bundle_opens() {
    let dir = bundle(|_| {});
    let bundle = Bundle::open(dir.path()).unwrap();
    assert_eq!((bundle.id(), bundle.version(), bundle.setting()), ("tiny", 3, Setting::Diagnosis));
    assert_eq!(bundle.lesion_gain(), GainPair { base: 1.0, high: 100.0 });
    let plan = bundle.plan(Role::Segment).unwrap();
    assert_eq!(plan.spec(1).output_shape(), [1, 4, 8, 16, 16]);
    let ct = Normalisation::Ct { mean: 90.0, std: 40.0, lower: -60.0, upper: 200.0 };
    assert_eq!(plan.normalisation[..2], [ct, Normalisation::ZScore]);
    assert!(bundle.plan(Role::Reclassify).is_none());
    assert!(bundle.require(Role::Reclassify).unwrap_err().to_string().contains("reclassify"));
    assert_eq!(bundle.training()["epochs"], 10);
    let bytes = fs::read(dir.path().join(MANIFEST)).unwrap();
    assert_eq!(bundle.fingerprint(), files::sha256_hex(&bytes));
}

#[test]
fn a_newer_format_is_refused_by_a_sentence() {
    let said = refusal(|m| m["format_version"] = json!(4));
    assert!(said.contains("update hepalert"), "{said}");
    let said = refusal(|m| m["format"] = json!("something"));
    assert!(said.contains("hepalert-engine"), "{said}");
}

#[test]
fn altered_missing_and_cut_files_are_refused_by_name() {
    let dir = bundle(|_| {});
    let network = dir.path().join("tiny.onnx");
    let mut bytes = fs::read(&network).unwrap();
    bytes[1000] ^= 1;
    fs::write(&network, &bytes).unwrap();
    let said = Bundle::open(dir.path()).unwrap_err().to_string();
    assert!(said.contains("tiny.onnx") && said.contains("SHA-256"), "{said}");
    fs::write(&network, &bytes[..500]).unwrap();
    let said = Bundle::open(dir.path()).unwrap_err().to_string();
    assert!(said.contains("500 bytes"), "{said}");
    fs::remove_file(&network).unwrap();
    assert!(Bundle::open(dir.path()).unwrap_err().to_string().contains("tiny.onnx"));
    fs::remove_file(dir.path().join(MANIFEST)).unwrap();
    assert!(Bundle::open(dir.path()).unwrap_err().to_string().contains(MANIFEST));
}

#[test]
fn a_file_altered_after_opening_is_refused_when_loaded() {
    let dir = bundle(|_| {});
    let bundle = Bundle::open(dir.path()).unwrap();
    let input = dir.path().join("tiny_expected.f32");
    let mut bytes = fs::read(&input).unwrap();
    bytes[0] ^= 1;
    fs::write(&input, &bytes).unwrap();
    assert!(plan_file(&bundle).read(dir.path()).is_err());
}

fn plan_file(bundle: &Bundle) -> &BundleFile {
    &bundle.plan(Role::Segment).unwrap().golden.expected[0]
}

#[test]
fn paths_that_leave_the_bundle_are_refused() {
    for path in ["/etc/passwd", "../tiny.onnx", "a/../../b", "", ".", "a\\b"] {
        let said = refusal(|m| m["networks"]["segment"]["files"][0]["path"] = json!(path));
        assert!(said.contains("inside the bundle"), "{path}: {said}");
    }
}

#[test]
fn wrong_values_are_refused_by_field() {
    let cases: [(&str, Value, &str); 14] = [
        ("channels", json!(2), "channels"),
        ("patch", json!([0, 16, 16]), "patch"),
        ("patch", json!([100_000, 100_000, 100_000]), "patch"),
        ("spacing_mm", json!([5.0, 0.0, 1.5]), "spacing_mm"),
        ("transpose_forward", json!([0, 0, 2]), "transpose_forward"),
        ("mirror_axes", json!([3]), "mirror_axes"),
        ("mirror_axes", json!([1, 1]), "mirror_axes"),
        ("tile_step", json!(0.0), "tile_step"),
        ("tile_step", json!(1.5), "tile_step"),
        ("classes", json!(["background"]), "classes"),
        ("files", json!([]), "files"),
        (
            "normalisation",
            json!([{"scheme": "ct", "mean": 0.0, "std": 0.0, "lower": 0.0, "upper": 1.0}, {"scheme": "none"}, {"scheme": "none"}, {"scheme": "none"}]),
            "std",
        ),
        ("normalisation", json!([{"scheme": "rgb"}]), "rgb"),
        ("resampling", json!("cubic"), "cubic"),
    ];
    for (field, value, expected) in cases {
        let said = refusal(|m| m["networks"]["segment"][field] = value);
        assert!(said.contains(expected), "{field}: {said}");
    }
    let said = refusal(|m| m["lesion_gain"]["high"] = json!(0.5));
    assert!(said.contains("lesion_gain"), "{said}");
    assert!(refusal(|m| m["phases"] = json!(["ap"])).contains("phases"));
    assert!(refusal(|m| m["id"] = json!("../x")).contains("id"));
}

/// Sets one field of the first stage in a manifest of format version 2.
fn second(field: &str, value: Value) -> impl FnOnce(&mut Value) {
    move |m: &mut Value| {
        m["format_version"] = json!(2);
        m["networks"]["segment"][field] = value;
    }
}

#[test]
fn what_an_imported_network_needs_is_read() {
    let dir = bundle(|m| {
        second("regions_class_order", json!([1, 2, 3, 3]))(m);
        let segment = &mut m["networks"]["segment"];
        segment["reader"] = json!("NibabelIOWithReorient");
        segment["resampling_logits"] = json!("torch");
        segment["postprocessing"] = json!([{"keep_largest": [1, 2]}, {"keep_largest": [3]}]);
        segment["normalisation"][1] = json!({"scheme": "zscore", "masked": true});
        segment["normalisation"][2] = json!({"scheme": "rescale01"});
    });
    let bundle = Bundle::open(dir.path()).unwrap();
    let plan = bundle.plan(Role::Segment).unwrap();
    assert_eq!(plan.decision, Decision::Regions(vec![1, 2, 3, 3]));
    assert_eq!(plan.reader, Reader::NibabelWithReorient);
    assert_eq!((plan.resampling, plan.resampling_logits), (Resampling::Default, Resampling::Torch));
    assert_eq!(plan.postprocessing, [KeepLargest(vec![1, 2]), KeepLargest(vec![3])]);
    let schemes = [Normalisation::ZScoreOfNonzero, Normalisation::Rescale01];
    assert_eq!(plan.normalisation[1..3], schemes);
    let labels: Vec<(u8, &str)> = plan.labels().collect();
    assert_eq!(labels, [(1, "background"), (2, "a"), (3, "b"), (3, "c")]);
}

#[test]
fn what_older_programs_would_pass_over_needs_the_newer_version() {
    let cases = [
        ("reader", json!("NibabelIO")),
        ("resampling_logits", json!("torch")),
        ("regions_class_order", json!([1, 2, 3, 4])),
        ("postprocessing", json!([])),
    ];
    for (field, value) in cases {
        let said = refusal(|m| m["networks"]["segment"][field] = value);
        assert!(said.contains(field) && said.contains("format_version 2"), "{said}");
    }
    let masked = json!({"scheme": "zscore", "masked": true});
    let said = refusal(|m| m["networks"]["segment"]["normalisation"][1] = masked);
    assert!(said.contains("format_version 2"), "{said}");
}

#[test]
fn a_stated_orientation_needs_the_newest_version_and_stands_alone() {
    let stated = |version: u64, name: &'static str| {
        move |m: &mut Value| {
            m["format_version"] = json!(version);
            m["orientation"] = json!(name);
        }
    };
    let opened = Bundle::open(bundle(stated(3, "LPS")).path()).unwrap();
    let reader = opened.plan(Role::Segment).unwrap().reader;
    assert_eq!(reader, Reader::Stated(hepalert_voxels::volume::Orientation::LPS));
    let silent = Bundle::open(bundle(|_| {}).path()).unwrap();
    assert_eq!(silent.plan(Role::Segment).unwrap().reader.orientation(), None);
    let said = refusal(stated(2, "LPS"));
    assert!(said.contains("orientation needs format_version 3"), "{said}");
    let said = refusal(stated(3, "LPX"));
    assert!(said.contains("LPX") && said.contains("like LPS"), "{said}");
    let said = refusal(|m| {
        second("reader", json!("NibabelIO"))(m);
        stated(3, "LPS")(m);
    });
    assert!(said.contains("NibabelIO") && said.contains("leave one away"), "{said}");
}

#[test]
fn unknown_readers_regions_and_postprocessing_are_refused_by_name() {
    let cases = [
        ("reader", json!("Tiff3DIO"), "Tiff3DIO"),
        ("resampling_logits", json!("no_resampling_hack"), "no_resampling_hack"),
        ("regions_class_order", json!([1, 2]), "one label per region"),
        ("regions_class_order", json!([0, 1, 2, 3]), "background"),
        ("postprocessing", json!([{"keep_largest": [0]}]), "keep_largest"),
        ("postprocessing", json!([{"keep_largest": [4]}]), "keep_largest"),
        ("postprocessing", json!([{"keep_largest": []}]), "keep_largest"),
        ("postprocessing", json!([{"fill_holes": [1]}]), "fill_holes"),
    ];
    for (field, value, expected) in cases {
        let said = refusal(second(field, value));
        assert!(said.contains(expected), "{field}: {said}");
    }
    let said = refusal(|m| {
        second("regions_class_order", json!([1, 2, 3, 4]))(m);
        m["fusion"] = json!("probabilities");
    });
    assert!(said.contains("fusion"), "{said}");
}

#[test]
fn golden_logits_are_one_file_or_one_per_fold() {
    let per_fold = |m: &mut Value, count: usize| {
        let segment = &mut m["networks"]["segment"];
        let (network, expected) =
            (segment["files"][0].clone(), segment["golden"]["expected"].clone());
        segment["files"] = json!([network, network]);
        segment["golden"]["expected"] = Value::from(vec![expected; count]);
        m["format_version"] = json!(2);
    };
    let dir = bundle(|m| per_fold(m, 2));
    let opened = Bundle::open(dir.path()).unwrap();
    assert_eq!(opened.plan(Role::Segment).unwrap().golden.files().count(), 3);
    assert_eq!(opened.golden(Role::Segment, 1).unwrap().expected.dim(), (4, 4, 8, 8));
    let said = refusal(|m| per_fold(m, 3));
    assert!(said.contains("golden.expected") && said.contains("found 3"), "{said}");
}

#[test]
fn the_cascade_takes_no_regions_and_no_postprocessing() {
    let said = refusal(|m| {
        second("postprocessing", json!([{"keep_largest": [7]}]))(m);
        let names = hepalert_study::anatomy::class_names();
        let mut reclassify = m["networks"]["segment"].clone();
        m["networks"]["segment"]["classes"] = json!(names);
        reclassify["classes"] = json!(names[..8]);
        m["networks"]["reclassify"] = reclassify;
    });
    assert!(said.contains("lone first stage"), "{said}");
}

#[test]
fn a_cascade_needs_the_classes_of_the_house() {
    let said = refusal(|m| {
        let segment = m["networks"]["segment"].clone();
        m["networks"]["reclassify"] = segment;
    });
    assert!(said.contains("networks.segment") && said.contains("HCC"), "{said}");
}
