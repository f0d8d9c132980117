//! Results as DICOM objects, read back by programs that nobody here wrote: highdicom, dciodvfy and
//! dcmtk. `scripts/test` sets up the Python that reads them; without it and without those programs
//! the tests are left out with a print, and fail under `CI=true`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::support::hepalert;

const PYTHON_VARIABLE: &str = "HEPALERT_DICOM_PYTHON";
/// The same with pydicom-seg, which needs an older pydicom.
const SEG_VARIABLE: &str = "HEPALERT_PYDICOM_SEG_PYTHON";
/// The same patient, lain and stored in five ways: `tests/dicom/turn.py`.
const WAYS: [&str; 5] = ["hfs", "ffs", "reversed", "oblique", "prone"];

/// Whether what is not there may be left out.
pub(crate) fn left_out(what: &str) -> bool {
    let ci = std::env::var("CI").is_ok_and(|value| value == "true");
    assert!(!ci, "CI=true, but {what} is missing: scripts/setup tests");
    println!("skipped: {what} is not there; scripts/setup tests installs it");
    true
}

/// Whether a program of Debian's is installed.
pub(crate) fn is_installed(program: &str) -> bool {
    let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).output();
    found.is_ok_and(|output| output.status.success()) || !left_out(program)
}

/// A Python with highdicom.
pub(crate) fn python() -> Option<PathBuf> {
    python_with("highdicom", PYTHON_VARIABLE, "target/dicom/bin/python")
}

/// The Python that a variable names, or the one that `scripts/test` makes.
fn python_with(what: &str, variable: &str, usual: &str) -> Option<PathBuf> {
    let set = std::env::var_os(variable).map(PathBuf::from);
    let usual = Path::new(env!("CARGO_MANIFEST_DIR")).join(usual);
    let found = set.or_else(|| usual.is_file().then_some(usual));
    if found.is_none() {
        left_out(&format!("a Python with {what}"));
    }
    found
}

pub(crate) fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dicom").join(name)
}

/// What a command prints, on both streams; it must end well.
pub(crate) fn said(command: &mut Command) -> String {
    let output = ended_well(command);
    [output.stdout, output.stderr]
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .concat()
}

/// The JSON on a command's standard output. What a Python library writes to the other stream (one
/// that is unsure of its threads warns there now and then) is no part of it.
pub(crate) fn told(command: &mut Command) -> Value {
    serde_json::from_slice(&ended_well(command).stdout).unwrap()
}

fn ended_well(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// A synthetic patient as DICOM; the folder of its one series.
pub(crate) fn patient(within: &Path) -> PathBuf {
    let folder = within.join("patient");
    said(hepalert().args(["phantom", "--seed", "7", "--malignant", "--out"]).arg(&folder));
    folder.join("dicom/vp")
}

fn analyzed(series: &Path, out: &Path) -> String {
    said(
        hepalert()
            .arg("analyze")
            .arg(series)
            .args(["--dicom", "--organs", "--pdf", "--out"])
            .arg(out),
    )
}

#[test]
fn a_segmentation_is_where_the_lesion_is_however_the_patient_lay() {
    let Some(python) = python() else { return };
    let other = python_with("pydicom-seg", SEG_VARIABLE, "target/pydicom-seg/bin/python");
    let scratch = tempfile::tempdir().unwrap();
    let (series, turned) = (patient(scratch.path()), scratch.path().join("turned"));
    said(Command::new(&python).arg(script("turn.py")).arg(&series).arg(&turned));
    for way in WAYS {
        let result = scratch.path().join(format!("result-{way}"));
        analyzed(&turned.join(way), &result);
        let mut reader = Command::new(&python);
        reader.arg(script("read_back.py")).arg(&result).arg(turned.join(way));
        let seen = said(reader.arg(turned.join(format!("{way}.nii.gz"))));
        println!("{way}: {seen}");
        if let Some(other) = &other {
            let mut reader = Command::new(other);
            let seen = said(reader.arg(script("read_seg.py")).arg(&result));
            println!("{way}, by pydicom-seg: {seen}");
        }
    }
}

#[test]
fn objects_are_valid_and_the_patient_is_named_in_them_alone() {
    if ["dciodvfy", "dsrdump", "dcm2json"].iter().any(|program| !is_installed(program)) {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let series = patient(scratch.path());
    let result = scratch.path().join("result");
    let told = analyzed(&series, &result);
    let objects = result.join("dicom");
    let mut names: Vec<PathBuf> =
        fs::read_dir(&objects).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    assert!(names.len() >= 4, "{names:?}");
    for object in &names {
        let output = Command::new("dciodvfy").arg(object).output().unwrap();
        let judged = String::from_utf8_lossy(&output.stderr).into_owned();
        let errors: Vec<&str> = judged.lines().filter(|line| line.starts_with("Error")).collect();
        assert!(errors.is_empty(), "{}: {errors:#?}", object.display());
        said(Command::new("dcm2json").arg(object).arg(scratch.path().join("object.json")));
        let bytes = fs::read(object).unwrap();
        assert!(holds(&bytes, b"PHANTOM^7"), "an archive files it by the patient");
    }
    let tree = said(Command::new("dsrdump").arg(objects.join("report.dcm")));
    for wanted in
        ["PRELIMINARY", "UNVERIFIED", "Finding Site", "Long Axis", "Suspected", "lowers the trust"]
    {
        assert!(tree.contains(wanted), "{wanted}: {tree}");
    }
    assert!(!told.contains("PHANTOM"), "{told}");
    let report = fs::read(result.join("report.json")).unwrap();
    let label_map = fs::read(result.join("lesions.nii.gz")).unwrap();
    for beside in [report, label_map] {
        assert!(!holds(&beside, b"PHANTOM"), "nothing else names the patient");
    }
}

/// The same images as another study, of whoever this patient number is.
fn another_study(series: &Path, to: &Path, patient: &str) {
    fs::create_dir(to).unwrap();
    let mut modify = Command::new("dcmodify");
    modify.args(["-nb", "-gin", "-m", "0020,000D=1.2.3.5", "-m", "0020,000E=1.2.3.5.1"]);
    modify.args(["-m", &format!("0010,0020={patient}")]);
    for entry in fs::read_dir(series).unwrap() {
        let from = entry.unwrap().path();
        let copy = to.join(from.file_name().unwrap());
        fs::copy(&from, &copy).unwrap();
        modify.arg(copy);
    }
    said(&mut modify);
}

#[test]
fn findings_are_followed_from_a_result_that_is_given_by_hand() {
    if !is_installed("dcmodify") {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let within = |name: &str| scratch.path().join(name);
    let series = patient(scratch.path());
    let first = fs::read_dir(&series).unwrap().next().unwrap().unwrap().path();
    let header =
        hepalert_voxels::volume::dicom::read::read_header(&fs::read(first).unwrap()).unwrap();
    another_study(&series, &within("later"), &header.identifiers.patient_id.unwrap());
    another_study(&series, &within("stranger"), "SOMEBODY");
    let analyze = |series: &Path, out: &Path, more: &[&str]| {
        let mut command = hepalert();
        command.arg("analyze").arg(series).arg("--out").arg(out).args(more).output().unwrap()
    };
    let prior = within("prior");
    analyzed(&series, &prior);
    let given = ["--dicom", "--prior", prior.to_str().unwrap()];
    let later = within("result");
    assert!(analyze(&within("later"), &later, &given).status.success());
    let lesions = |result: &Path| -> Value {
        let report = fs::read(result.join("report.json")).unwrap();
        serde_json::from_slice::<Value>(&report).unwrap()["lesions"].clone()
    };
    let (before, now) = (lesions(&prior), lesions(&later));
    assert!(!before.as_array().unwrap().is_empty());
    for (before, now) in before.as_array().unwrap().iter().zip(now.as_array().unwrap()) {
        assert_eq!(now["tracking_uid"], before["tracking_uid"]);
        assert_eq!(now["earlier"]["id"], before["id"]);
    }
    let refused = |series: &str, given: &[&str]| {
        let output = analyze(&within(series), &within("refused"), given);
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    let told = refused("stranger", &given);
    assert!(told.contains("another patient's") && !told.contains("SOMEBODY"), "{told}");
    fs::remove_dir_all(prior.join("dicom")).unwrap();
    assert!(refused("later", &given).contains("without --dicom"));
    assert!(refused("later", &["--dicom", "--prior", "/nowhere"]).contains("no result"));
}

#[test]
fn a_study_that_is_no_dicom_has_its_report_and_says_that_it_has_no_objects() {
    let scratch = tempfile::tempdir().unwrap();
    patient(scratch.path());
    let result = scratch.path().join("result");
    let told = analyzed(&scratch.path().join("patient/ct.nii.gz"), &result);
    assert!(told.contains("DICOM objects could not be made"), "{told}");
    let report = fs::read_to_string(result.join("report.json")).unwrap();
    assert!(report.contains("dicom_objects_not_made"));
    assert!(!result.join("dicom").exists());
}

fn holds(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}
