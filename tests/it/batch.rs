//! Many studies in one command, and the first stage on DICOM: whole commands on synthetic patients.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use hepalert_lab::phantom::{Case, Size, generate};
use hepalert_study::phase::Setting;
use serde_json::Value;

use crate::support::{hepalert, small_engine};

/// A folder with two studies and a file that is none.
struct Cohort(tempfile::TempDir);

impl Cohort {
    fn new() -> Cohort {
        let cohort = Cohort(tempfile::tempdir().unwrap());
        for (seed, name) in [(2, "one"), (3, "two")] {
            let size = Size { pixels: 64, slices: None };
            let patient = generate(seed, Case::Malignant, Setting::Venous, size);
            let made = cohort.at(&format!("made/{name}"));
            hepalert::cli::phantom::write_patient(&patient, &made).unwrap();
            fs::create_dir_all(cohort.at("studies")).unwrap();
            fs::rename(made.join("dicom"), cohort.at("studies").join(name)).unwrap();
        }
        fs::write(cohort.at("studies/notes.txt"), "mine").unwrap();
        cohort
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Arguments with `@` for the folder.
    fn run(&self, words: &str) -> Output {
        let place = format!("{}/", self.0.path().display());
        let words = words.split_whitespace().map(|word| word.replace('@', &place));
        let output = hepalert().args(words).current_dir(self.0.path()).output().unwrap();
        println!("{}", String::from_utf8_lossy(&output.stderr));
        output
    }

    /// `analyze` with an engine that takes no time.
    fn analyze(&self, words: &str) -> Output {
        self.run(&format!("--json analyze --engine {} {words}", small_engine().display()))
    }
}

fn document(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

fn written(path: &Path) -> std::time::SystemTime {
    fs::metadata(path).unwrap().modified().unwrap()
}

#[test]
fn a_folder_of_studies_is_analysed_once_and_listed() {
    let cohort = Cohort::new();
    let first = cohort.analyze("@studies --out @results");
    assert!(first.status.success());
    let table = fs::read_to_string(cohort.at("results/summary.csv")).unwrap();
    let cases: Vec<&str> = table.lines().map(|line| line.split(',').next().unwrap()).collect();
    assert_eq!(cases, ["case", "one", "two"], "{table}");
    assert_eq!(document(&first)["done_before"], 0);
    let report = cohort.at("results/one/report.json");
    let (before, other) = (written(&report), cohort.at("results/two/report.json"));
    // As if it had been killed in the second study.
    fs::remove_dir_all(other.parent().unwrap()).unwrap();
    let second = cohort.analyze("@studies --out @results");
    assert!(second.status.success() && other.is_file());
    assert_eq!((document(&second)["done_before"].clone(), written(&report)), (1.into(), before));
    // Another pipeline's results are none of this one's.
    let third = cohort.analyze("@studies --out @results --alpha 20");
    assert_eq!((document(&third)["done_before"].clone(), third.status.code()), (0.into(), Some(0)));
}

/// Two patients' images of one file name, each given alone: both results stay, both are listed.
#[test]
fn one_patients_result_never_takes_the_place_of_another() {
    let cohort = Cohort::new();
    for patient in ["one", "two"] {
        let ended = cohort.analyze(&format!("@made/{patient}/ct.nii.gz --each --out @results"));
        assert!(ended.status.success(), "{ended:?}");
    }
    let table = fs::read_to_string(cohort.at("results/summary.csv")).unwrap();
    let lines: Vec<&str> = table.lines().skip(1).collect();
    assert_eq!(lines.len(), 2, "{table}");
    assert!(
        lines[0].starts_with("ct,done") && lines[0].ends_with("made/one/ct.nii.gz,linear 1,100"),
        "{table}"
    );
    assert!(
        lines[1].starts_with("ct-") && lines[1].ends_with("made/two/ct.nii.gz,linear 1,100"),
        "{table}"
    );
    let reports = fs::read_dir(cohort.at("results")).unwrap().flatten();
    assert_eq!(reports.filter(|entry| entry.path().join("report.json").is_file()).count(), 2);
    let again = cohort.analyze("@made/two/ct.nii.gz --each --out @results");
    assert_eq!(document(&again)["done_before"], 1, "the same input finds its own result");
    // A second copy of a study's slices is no study, and is told.
    let copy = cohort.at("studies/copy");
    fs::create_dir(&copy).unwrap();
    for slice in fs::read_dir(cohort.at("studies/one/vp")).unwrap().flatten() {
        fs::copy(slice.path(), copy.join(slice.file_name())).unwrap();
    }
    // Nor is one of an image in a file.
    fs::copy(cohort.at("made/one/ct.nii.gz"), cohort.at("studies/image.nii.gz")).unwrap();
    fs::copy(cohort.at("made/one/ct.nii.gz"), cohort.at("studies/same.nii.gz")).unwrap();
    let told = document(&cohort.analyze("@studies --out @all"));
    let rows = told["studies"].as_array().unwrap();
    assert_eq!(rows.iter().filter(|row| row["status"] == "done").count(), 3, "{told:#}");
    let passed_over = || rows.iter().filter(|row| row["status"] == "passed_over");
    assert_eq!(passed_over().count(), 2, "{told:#}");
    for row in passed_over() {
        let said = row["message"].as_str().unwrap();
        assert!(said.ends_with(": its images are copies of those in another place"), "{said}");
    }
    fs::remove_file(cohort.at("studies/image.nii.gz")).unwrap();
    fs::remove_file(cohort.at("studies/same.nii.gz")).unwrap();
    fs::remove_dir_all(&copy).unwrap();
    fs::create_dir(&copy).unwrap();
    fs::write(copy.join("readme.txt"), "no images").unwrap();
    let told = document(&cohort.analyze("@studies --out @none"));
    let rows = told["studies"].as_array().unwrap();
    let row = rows.iter().find(|row| row["status"] == "passed_over").unwrap();
    assert!(row["message"].as_str().unwrap().ends_with(": no CT images are in it"), "{row}");
}

/// By two patterns, or by a folder and one in it; and under the name that it had before.
#[test]
fn a_study_is_analysed_once_however_often_it_is_given() {
    let cohort = Cohort::new();
    let names = |ended: &Output| -> Vec<String> {
        let told = document(ended);
        let rows = told["studies"].as_array().unwrap().iter();
        rows.map(|row| row["case"].as_str().unwrap().to_owned()).collect()
    };
    let first = cohort.analyze("@studies/* @studies/one --out @results");
    assert_eq!(names(&first), ["notes.txt", "one", "two"]);
    let inside = cohort.analyze("@studies @studies/one --out @results");
    assert_eq!(names(&inside), ["one", "two"]);
    assert_eq!(document(&inside)["done_before"], 2, "found by the names they had");
    // Another input of the same file name would have renamed it.
    fs::create_dir_all(cohort.at("others")).unwrap();
    fs::rename(cohort.at("studies/two"), cohort.at("others/one")).unwrap();
    let more = cohort.analyze("@studies/one @others/one --out @results");
    assert_eq!(document(&more)["done_before"], 1, "{:?}", names(&more));
    assert_eq!(names(&more), ["one", "others-one"]);
}

/// What people type, and what a program that reads one result asks for.
#[test]
fn slices_one_by_one_and_several_studies_for_one_are_refused_at_once() {
    let cohort = Cohort::new();
    for (words, said) in [
        ("@studies/one/vp/*.dcm --out @out", "are single DICOM slices that belong together"),
        ("@studies --one --out @out", "holds 2 studies: give one of them"),
        ("@studies/one @studies/two --one --out @out", "2 inputs are given: give one study"),
    ] {
        let refused = cohort.analyze(words);
        let told = document(&refused);
        assert_eq!((refused.status.code(), &told["error"]), (Some(2), &"usage".into()), "{words}");
        let message = told["message"].as_str().unwrap();
        assert!(message.contains(said), "{message}");
        assert!(!cohort.at("out").exists(), "{words}");
    }
    let slices = document(&cohort.analyze("@studies/one/vp/*.dcm --out @out"));
    assert!(slices["message"].as_str().unwrap().ends_with("studies/one/vp"), "{slices}");
    assert!(cohort.analyze("@studies/one --one --out @out").status.success());
}

#[test]
fn a_finding_names_its_slice_as_the_archive_does() {
    use hepalert_voxels::volume::dicom::read::read_header;
    let cohort = Cohort::new();
    let ended = cohort.analyze("@studies/one --out @result");
    assert!(ended.status.success());
    let report = document(&ended);
    let slices = report["input"]["shape"][0].as_i64().unwrap();
    let lesions = report["lesions"].as_array().unwrap();
    assert!(!lesions.is_empty());
    for lesion in lesions {
        let key = &lesion["key_slice"];
        let (index, number) = (key["index"].as_i64(), key["instance_number"].as_i64());
        let [lo, hi] = [0, 1].map(|end| lesion["bbox_zyx"][end][0].as_i64());
        assert!(lo <= index && index < hi, "{lesion:#}");
        // A phantom's slices are numbered from the head, its voxels from the feet.
        assert_eq!(index.unwrap() + number.unwrap(), slices, "{key}");
        let file = cohort.at(&format!("studies/one/vp/{:04}.dcm", number.unwrap()));
        let header = read_header(&fs::read(file).unwrap()).unwrap();
        assert_eq!(key["sop_instance_uid"].as_str(), Some(header.sop_uid.as_str()));
    }
    // A NIfTI file has no numbers, but heights.
    let ended = cohort.analyze("@made/one/ct.nii.gz --out @other");
    let key = &document(&ended)["lesions"][0]["key_slice"];
    assert!(key["z_mm"].is_f64() && key.get("instance_number").is_none(), "{key}");
}

#[test]
fn one_study_that_is_refused_holds_back_no_other() {
    let cohort = Cohort::new();
    fs::create_dir(cohort.at("empty")).unwrap();
    let ended = cohort.analyze("@empty @studies/one @made/two/ct.nii.gz @nowhere --out @results");
    assert_eq!(ended.status.code(), Some(3));
    let told = document(&ended);
    let rows: Vec<(&str, &str)> = told["studies"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["case"].as_str().unwrap(), row["code"].as_str().unwrap_or("done")))
        .collect();
    let expected =
        [("empty", "no_ct_series"), ("one", "done"), ("ct", "done"), ("nowhere", "unreadable")];
    assert_eq!(rows, expected);
    let why = told["studies"][3]["message"].as_str().unwrap();
    assert!(why.contains("nowhere: there is no such file or folder"), "{why}");
}

#[test]
fn what_lies_beside_the_only_good_study_is_told() {
    let cohort = Cohort::new();
    fs::remove_dir_all(cohort.at("studies/two")).unwrap();
    fs::write(cohort.at("studies/broken.nii.gz"), "cut off").unwrap();
    let output = cohort.analyze("@studies --out @result");
    assert!(output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("also there, and not analysed"), "{said}");
}

#[test]
fn results_of_many_studies_never_lie_among_the_inputs() {
    let cohort = Cohort::new();
    for words in
        ["@studies @made/one/ct.nii.gz --out @studies/results", "@studies --each --out @studies"]
    {
        assert_eq!(cohort.analyze(words).status.code(), Some(2), "{words}");
    }
    assert!(!cohort.at("studies/results").exists());
    fs::create_dir(cohort.at("results")).unwrap();
    fs::write(cohort.at("results/summary.csv"), "mine").unwrap();
    assert_eq!(cohort.analyze("@studies --out @results").status.code(), Some(2));
    assert_eq!(fs::read_to_string(cohort.at("results/summary.csv")).unwrap(), "mine");
}

#[test]
fn the_first_stage_reads_dicom_as_it_reads_nifti() {
    let cohort = Cohort::new();
    let segment = |words: &str| {
        let engine = small_engine();
        let ended = cohort.run(&format!("segment --engine {} {words}", engine.display()));
        assert!(ended.status.success(), "{words}");
    };
    segment("@studies/one --out @a.nii.gz");
    segment("--phase vp=@studies/one/vp --out @b.nii.gz");
    segment("@made/one/ct.nii.gz --out @c.nii.gz");
    segment("--phase vp=@made/one/ct.nii.gz --out @d.nii.gz");
    let [a, b, c, d] =
        ["a", "b", "c", "d"].map(|name| fs::read(cohort.at(&format!("{name}.nii.gz"))).unwrap());
    assert!(a == b && c == d);
    let labels = |bytes: &[u8]| hepalert_voxels::volume::nifti::read::read_labels(bytes).unwrap();
    assert!(labels(&a).voxels() == labels(&c).voxels());
}

#[test]
fn every_failure_is_one_document_with_json() {
    let cohort = Cohort::new();
    fs::write(cohort.at("bad.toml"), "[intake]\nfoldr = 1\n").unwrap();
    fs::write(cohort.at("taken.nii.gz"), "somebody else's").unwrap();
    for (words, error, code) in [
        ("--json segment --phase vp=@nowhere --out @x.nii.gz", "refused", Some("unreadable")),
        ("--json detect @studies/notes.txt --out @x.json", "refused", Some("not_nifti")),
        ("--json queue --config @bad.toml", "config", Some("config")),
        ("--json engine inspect @nowhere", "engine", Some("engine")),
        ("--json engine install @nowhere --config @bad.toml", "refused", Some("unreadable")),
        ("--json match --truth", "usage", Some("usage")),
        ("--json segment @studies/one --out @taken.nii.gz", "usage", Some("output_in_the_way")),
        ("--json segment @studies/one --out @labels.png", "usage", Some("output_other_kind")),
        ("--json segment @studies/one --out @no/x.nii.gz", "usage", Some("output_folder_missing")),
    ] {
        let ended = cohort.run(words);
        let told = document(&ended);
        let keys: Vec<&String> = told.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["code", "error", "message"], "{words}");
        assert_eq!((told["error"].as_str(), told["code"].as_str()), (Some(error), code), "{told}");
        assert!(!told["message"].as_str().unwrap().is_empty() && !ended.status.success());
    }
    // A command with a result of its own says what failed in that.
    let ended = cohort.run("--json check-config --config /nowhere/hepalert.toml");
    assert_eq!(
        (document(&ended)["error"].as_str(), ended.status.code()),
        (Some("config"), Some(6))
    );
}
