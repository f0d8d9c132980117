//! `hepalert phantom` writes a study that readers take, with its truth.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::io::Read;
use std::path::Path;

use dicom_dictionary_std::tags;

use crate::support::hepalert;

fn unpack(path: &Path) -> Vec<u8> {
    let mut out = Vec::new();
    flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap()).read_to_end(&mut out).unwrap();
    out
}

fn floats(text: &str) -> Vec<f64> {
    text.split('\\').map(|number| number.trim().parse().unwrap()).collect()
}

#[test]
fn a_phantom_is_one_study_in_two_formats() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = hepalert();
    command.args(["phantom", "--seed", "3", "--malignant", "--json", "--out"]).arg(dir.path());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let stored = std::fs::read(dir.path().join("phantom.json")).unwrap();
    assert_eq!(printed, serde_json::from_slice::<serde_json::Value>(&stored).unwrap());
    assert_eq!((&printed["seed"], &printed["case"]), (&3.into(), &"malignant".into()));
    let slices = printed["shape_zyx"][0].as_u64().unwrap() as usize;
    assert!((36..=56).contains(&slices));

    let ct = unpack(&dir.path().join("ct.nii.gz"));
    let truth = unpack(&dir.path().join("truth.nii.gz"));
    let lesions = truth[352..].iter().filter(|label| (1..=6).contains(*label)).count() as u64;
    let listed =
        printed["lesions"].as_array().unwrap().iter().map(|l| l["voxels"].as_u64().unwrap());
    assert_eq!(listed.sum::<u64>(), lesions);

    let float = |at: usize| f64::from(f32::from_le_bytes(ct[at..at + 4].try_into().unwrap()));
    for z in [0, slices / 2, slices - 1] {
        let name = format!("dicom/vp/{:04}.dcm", slices - z);
        let slice = dicom_object::open_file(dir.path().join(name)).unwrap();
        let text = |tag| slice.element(tag).unwrap().to_str().unwrap().into_owned();
        assert_eq!(text(tags::PATIENT_ID), "PHANTOM-3");
        let place = floats(&text(tags::IMAGE_POSITION_PATIENT));
        let nifti = [-float(292), -float(308), float(324) + 5.0 * z as f64];
        assert!(place.iter().zip(nifti).all(|(a, b)| (a - b).abs() < 1e-3), "{place:?} {nifti:?}");
        assert!((floats(&text(tags::PIXEL_SPACING))[0] - float(80)).abs() < 1e-6);
        let stored = slice.element(tags::PIXEL_DATA).unwrap().to_multi_int::<u16>().unwrap();
        let bytes = &ct[352 + z * 2 * 512 * 512..][..2 * 512 * 512];
        let hu = bytes.chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]]));
        assert!(hu.eq(stored.iter().map(|v| (i32::from(*v) - 1024) as i16)), "slice {z}");
    }
}

/// Shuffled patches hang on the voxels and the engine, not on names, headers or the format.
#[test]
fn the_same_voxels_give_the_same_lesions_as_nifti_and_as_dicom() {
    let dir = tempfile::tempdir().unwrap();
    let run = |words: &[&str]| {
        let output = hepalert().args(words).current_dir(dir.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    run(&["phantom", "--seed", "3", "--malignant", "--pixels", "128", "--out", "patient"]);
    let engine = concat!(env!("CARGO_MANIFEST_DIR"), "/engines/venous-demo");
    let [nifti, dicom] = ["ct.nii.gz", "dicom"].map(|input| {
        let (from, out) = (format!("patient/{input}"), format!("report-{input}"));
        run(&["analyze", &from, "--engine", engine, "--out", &out]);
        let report = std::fs::read(dir.path().join(out).join("report.json")).unwrap();
        let mut report = serde_json::from_slice::<serde_json::Value>(&report).unwrap();
        for part in ["lesions", "discarded"] {
            for lesion in report[part].as_array_mut().unwrap() {
                // How an archive knows the slice: nothing that the voxels say.
                let slice = lesion["key_slice"].as_object_mut().unwrap();
                assert_eq!(slice.remove("sop_instance_uid").is_some(), input == "dicom");
                assert_eq!(slice.remove("instance_number").is_some(), input == "dicom");
            }
        }
        report
    });
    assert!(!nifti["lesions"].as_array().unwrap().is_empty());
    for part in ["verdict", "patient_class", "lesions", "discarded"] {
        assert_eq!(nifti[part], dicom[part], "{part}");
    }
}

#[test]
fn a_diagnosis_phantom_has_four_phases_and_says_how_they_moved() {
    let dir = tempfile::tempdir().unwrap();
    let arguments = ["phantom", "--setting", "diagnosis", "--pixels", "64", "--out"];
    let output = hepalert().args(arguments).arg(dir.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for phase in ["nc", "ap", "vp", "dp"] {
        assert!(dir.path().join(format!("{phase}.nii.gz")).is_file());
        assert!(dir.path().join("dicom").join(phase).is_dir());
        let field = dir.path().join(format!("{phase}.field.nii.gz"));
        assert_eq!(field.is_file(), phase != "vp", "{phase}");
    }
    let unknown =
        hepalert().args(["phantom", "--setting", "other", "--out", "x"]).output().unwrap();
    assert_eq!(unknown.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("diagnosis"));
}
