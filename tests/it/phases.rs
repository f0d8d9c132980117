//! Which series is read: the wrong choices of the field, and every real examination at hand.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::support::{hepalert, shared_data};

/// What `hepalert inspect --json` says of the only study in a folder.
fn inspect(folder: &Path) -> serde_json::Value {
    let engine = Path::new(env!("CARGO_MANIFEST_DIR")).join("engines/venous-demo");
    let output = hepalert()
        .args(["--json", "inspect"])
        .arg(folder)
        .arg("--engine")
        .arg(engine)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    document["studies"][0].clone()
}

/// The series that is read, by its description.
fn read(study: &serde_json::Value) -> Option<String> {
    let series = study["series"].as_array()?;
    let chosen = series.iter().find(|series| series["chosen"] == "vp")?;
    Some(chosen["description"].as_str()?.to_owned())
}

fn unpacked(archive: &Path) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let tar = Command::new("tar").arg("xzf").arg(archive).arg("-C").arg(folder.path()).status();
    assert!(tar.unwrap().success(), "{}", archive.display());
    folder
}

#[test]
#[cfg_attr(no_real_ct, ignore = "no real CT in ../shared/data")]
fn the_arterial_series_is_never_read_as_portal_venous() {
    let Some(data) = shared_data() else { return };
    let cases = data.join("field-cases/phase-chosen-wrong");
    for case in [
        "protocol_names_all_phases",
        "four_unnamed_by_seconds",
        "protocol_without_times_0",
        "protocol_without_times_1",
    ] {
        let folder = unpacked(&cases.join(format!("{case}.tar.gz")));
        let study = inspect(folder.path());
        // Only the portal venous series may be read; where nothing tells it, none is.
        let read = read(&study);
        let told = study["refused"]["code"].as_str();
        match read.as_deref() {
            Some(text) => assert!(
                text.contains("ortal venous") || text.contains("70s"),
                "{case}: {text} was read: {study:#}"
            ),
            None => assert!(
                matches!(told, Some("phase_uncertain" | "missing_phase")),
                "{case}: {study:#}"
            ),
        }
    }
}

#[test]
#[cfg_attr(no_real_ct, ignore = "no real CT in ../shared/data")]
fn neither_maps_nor_lung_kernels_are_read() {
    let Some(data) = shared_data() else { return };
    let cases = data.join("field-cases/series-chosen-wrong");
    for (case, right) in [
        ("vnc_beside_portal", "Abdomen PV 5.0 Qr40"),
        ("lung_kernel_0", "CAP PV 5.0 Br40"),
        ("lung_kernel_1", "CAP PV 5.0 Br40"),
    ] {
        let folder = unpacked(&cases.join(format!("{case}.tar.gz")));
        let study = inspect(folder.path());
        assert_eq!(read(&study).as_deref(), Some(right), "{case}: {study:#}");
        assert_eq!(study["set_aside"].as_array().unwrap().len(), 1, "{case}: {study:#}");
    }
}

/// Real examinations: series number to true phase.
#[test]
#[cfg_attr(no_real_ct, ignore = "no real CT in ../shared/data")]
fn every_real_series_is_told_right() {
    let Some(data) = shared_data() else { return };
    let studies: [(&str, &[(i64, &str)]); 4] = [
        ("hcc-tace-005", &[(2, "nc"), (4, "ap"), (103, "vp")]),
        ("hcc-tace-015", &[(4, "ap"), (103, "vp")]),
        ("crlm-1004/dicom", &[(2, "vp")]),
        ("chaos-ct3/dicom", &[(4, "vp")]),
    ];
    for (name, truth) in studies {
        let study = inspect(&data.join(name));
        let series = study["series"].as_array().unwrap();
        for (number, phase) in truth {
            let found = series.iter().find(|series| series["series_number"] == *number).unwrap();
            assert_eq!(found["phase"], *phase, "{name} series {number}: {study:#}");
        }
        assert!(study["refused"].is_null(), "{name}: {study:#}");
    }
}

#[test]
#[cfg_attr(no_real_ct, ignore = "no real CT in ../shared/data")]
fn a_native_scan_is_not_read_as_portal_venous() {
    let Some(data) = shared_data() else { return };
    let image = data.join("totalsegmentator-example/example_ct.nii.gz");
    let engine = Path::new(env!("CARGO_MANIFEST_DIR")).join("engines/venous-demo");
    let out: PathBuf = tempfile::tempdir().unwrap().path().join("report");
    let output = hepalert()
        .arg("analyze")
        .arg(image)
        .arg("--engine")
        .arg(engine)
        .arg("--out")
        .arg(out)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("missing_phase") && said.contains("native"), "{said}");
}
