//! Labelling and curation as people run them: commands on a folder of synthetic patients, killed
//! and run again; 3D Slicer's calls over a real connection.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail as tests do")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use hepalert_lab::phantom::{Case, Size, generate};
use hepalert_labels::cases::{Folder, Reader};
use hepalert_labels::monai::{Model, Request, Service};
use hepalert_study::phase::Setting;
use hepalert_voxels::volume::nifti::read::{read, read_labels};
use hepalert_voxels::volume::{Axes, LabelMap, Volume};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::objects::{self, python, script};
use crate::support::{hepalert, small_engine};

/// A folder of cases: two patients, the first with its truth.
struct Cohort(tempfile::TempDir);

impl Cohort {
    fn new() -> Cohort {
        let cohort = Cohort(tempfile::tempdir().unwrap());
        for (seed, name) in [(2, "one"), (3, "two")] {
            let size = Size { pixels: 64, slices: None };
            let patient = generate(seed, Case::Malignant, Setting::Venous, size);
            let folder = cohort.at(&format!("cohort/{name}"));
            hepalert::cli::phantom::write_patient(&patient, &folder).unwrap();
            fs::remove_dir_all(folder.join("dicom")).unwrap();
        }
        fs::rename(cohort.at("cohort/two/truth.nii.gz"), cohort.at("two.nii.gz")).unwrap();
        cohort
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// `hepalert --json` with these words, in the folder above.
    fn run(&self, words: &[&str]) -> Output {
        self.run_until("", words)
    }

    /// The same, killed at a place in the program.
    fn run_until(&self, place: &str, words: &[&str]) -> Output {
        let mut command = hepalert();
        command.arg("--json").args(words).current_dir(self.0.path());
        if !place.is_empty() {
            command.env("HEPALERT_FAILPOINT", place);
        }
        let output = command.output().unwrap();
        println!("{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        output
    }

    fn told(&self, words: &[&str]) -> Value {
        let output = self.run(words);
        assert!(output.status.success(), "{words:?}");
        document(&output)
    }

    fn edit(&self, reader: &str, edit: &Value) -> Vec<String> {
        let words = ["label", "cohort", "--case", "one", "--reader", reader, "--edit"];
        words.into_iter().map(str::to_owned).chain([edit.to_string()]).collect()
    }

    fn labels(&self, reader: &str) -> LabelMap {
        labels(&self.at(&format!("cohort/hepalert-labels/one/ct/{reader}.nii.gz")))
    }
}

/// As edits speak of voxels: in RAS order, whatever order the file has.
fn labels(path: &Path) -> LabelMap {
    let stored = read_labels(&fs::read(path).unwrap()).unwrap();
    Axes::ras(stored.grid()).turn_volume(stored)
}

fn document(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

fn words(text: &[String]) -> Vec<&str> {
    text.iter().map(String::as_str).collect()
}

#[test]
fn a_folder_is_listed_edited_compared_and_exported() {
    let cohort = Cohort::new();
    let listed = cohort.told(&["label", "cohort"]);
    assert_eq!(listed["cases"][0]["images"][0]["labels"], json!(["truth"]));
    assert_eq!(listed["cases"][1]["case"], "two");
    let truth = labels(&cohort.at("cohort/one/truth.nii.gz"));
    let at = truth.voxels().indexed_iter().find(|(_, label)| (1..=6).contains(*label)).unwrap();
    let at = [at.0.0, at.0.1, at.0.2];
    let told = cohort.told(&words(&cohort.edit("anna", &json!({"op": "delete", "at": at}))));
    assert!(told["edits"][0]["voxels"].as_u64().unwrap() > 0);
    let edited = cohort.labels("anna");
    assert_eq!(edited.grid(), truth.grid());
    assert!(edited.voxels()[at] > 6, "it became what it lies in");
    let compared = cohort.told(&["label", "cohort", "--compare", "labels:truth,anna", "--order"]);
    let place = &compared["cases"][0]["disagreements"][0];
    assert_eq!((&place["voxels"], &place["at"]), (&told["edits"][0]["voxels"], &json!(at)));
    assert!(cohort.told(&["label", "cohort"])["cases"][0]["disagreement"].as_f64().unwrap() > 0.0);
    let history = cohort.told(&["label", "cohort", "--case", "one", "--history"]);
    assert_eq!(history["history"][1]["what"]["op"], "delete");
    let export = ["label", "cohort", "--export", "set", "--whose", "anna,labels:truth"];
    assert_eq!(cohort.told(&export)["left_out"][0]["case"], "two");
    assert_eq!(labels(&cohort.at("set/labelsTr/one.nii.gz")).voxels(), edited.voxels());
    let again = cohort.run(&export);
    assert_eq!(
        (again.status.code(), &document(&again)["code"]),
        (Some(3), &json!("export_refused"))
    );
    for (words, code) in [
        (&["--case", "three", "--history"][..], 2),
        (&["--case", "one", "--reader", "anna", "--edit", "{}"], 2),
        (&["--case", "one", "--reader", "../anna", "--edit", "{}"], 2),
        (&["--case", "one", "--reader", "anna", "--edit", r#"{"op":"delete","at":[0,0,99]}"#], 3),
        (&["--case", "one", "--reader", "anna", "--take-in", "two.nii.gz/x"], 3),
    ] {
        let refused = cohort.run(&[&["label", "cohort"], words].concat());
        assert_eq!(refused.status.code(), Some(code), "{words:?}");
    }
    assert_eq!(cohort.labels("anna").voxels(), edited.voxels(), "refused edits change nothing");
}

/// Killed between any two steps of an edit: the labels are those before or those after, whole, and
/// the history says which edit is in them.
#[test]
fn a_kill_in_an_edit_loses_at_most_that_edit() {
    let cohort = Cohort::new();
    let paint = |label: u8| json!({"op": "paint", "runs": [[1, 2, 3, 4]], "label": label});
    cohort.told(&words(&cohort.edit("anna", &paint(1))));
    for (place, label, is_in) in [
        ("labels_history_written", 2, false),
        ("labels_drafted", 3, false),
        ("labels_placed", 4, true),
    ] {
        let before = cohort.labels("anna");
        let killed = cohort.run_until(place, &words(&cohort.edit("anna", &paint(label))));
        assert_eq!(killed.status.code(), None, "{place}: it was killed");
        let after = cohort.labels("anna");
        assert_eq!(after.voxels() != before.voxels(), is_in, "{place}");
        let told = cohort.told(&["label", "cohort", "--case", "one", "--history"]);
        let last = told["history"].as_array().unwrap().last().unwrap();
        assert_eq!(
            (&last["what"]["label"], &last["kept"]),
            (&json!(label), &json!(is_in)),
            "{place}"
        );
        // What a kill leaves behind is in nobody's way.
        cohort.told(&words(&cohort.edit("anna", &paint(label + 5))));
        assert_eq!(cohort.labels("anna").voxels()[[1, 2, 3]], label + 5);
    }
}

fn written(path: &Path) -> std::time::SystemTime {
    fs::metadata(path).unwrap().modified().unwrap()
}

#[test]
fn the_curation_loop_goes_round() {
    let cohort = Cohort::new();
    let engine = small_engine();
    let curate = |more: &[&str]| {
        let first = ["curate", "cohort", "--engine", engine.to_str().unwrap(), "--out", "round"];
        cohort.run(&[&first, more].concat())
    };
    let expert = ["--expert", "labels:truth", "--expert-classes", "7"];
    let first = curate(&[&expert[..], &["--lines"]].concat());
    assert!(first.status.success());
    let lines: Vec<Value> = String::from_utf8_lossy(&first.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 3, "a line per case, and the document");
    let rows = lines[2]["cases"].as_array().unwrap();
    let row = |case: &str| rows.iter().find(|row| row["case"] == case).unwrap();
    assert_eq!(
        (&row("one")["against"], &row("two")["against"]),
        (&json!("labels:truth"), &json!("high view"))
    );
    let table = fs::read_to_string(cohort.at("round/disagreement.csv")).unwrap();
    assert_eq!(table.lines().count(), 3, "{table}");
    let picture = row("one")["picture"].as_str().unwrap();
    assert!(fs::read(cohort.at("round").join(picture)).unwrap().starts_with(b"\x89PNG"));
    // The person's liver is the liver, lesions inside it are the engine's.
    let truth = labels(&cohort.at("cohort/one/truth.nii.gz"));
    let curated = cohort.labels("curated");
    let fits = truth
        .voxels()
        .iter()
        .zip(curated.voxels())
        .all(|(&truth, &curated)| truth != 7 || (1..=8).contains(&curated));
    assert!(fits);
    // Readers begin with it; the engine is not run again.
    let report = cohort.at("round/engine/two/report.json");
    let (ran, report_bytes) = (written(&report), fs::read(&report).unwrap());
    cohort.told(&words(
        &cohort.edit("anna", &json!({"op": "paint", "runs": [[5, 30, 30, 2]], "label": 3})),
    ));
    let corrected = cohort.labels("anna");
    assert!(corrected.voxels() != truth.voxels(), "begun with what was curated");
    let next = [&expert[..], &["--corrected", "anna", "--dataset", "Dataset002"]].concat();
    let second = curate(&next);
    assert!(second.status.success());
    assert_eq!((written(&report), fs::read(&report).unwrap()), (ran, report_bytes));
    assert_eq!(labels(&cohort.at("Dataset002/labelsTr/one.nii.gz")).voxels(), corrected.voxels());
    let manifest = fs::read(cohort.at("Dataset002/manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let origin = |case: &str| &manifest["cases"][case]["labels"];
    assert_eq!(
        (&origin("one")["from"], &origin("two")["from"]),
        (&json!("anna"), &json!("curated"))
    );
    assert!(origin("one")["voxels"]["liver"]["expert"].as_u64().unwrap() > 0);
    assert!(origin("two")["expert"].is_null() && origin("two")["engine"]["id"].is_string());
    let listed = document(&second)["cases"].clone();
    assert_eq!(
        (&listed[1]["case"], &listed[1]["is_corrected"]),
        (&json!("one"), &json!(true)),
        "read already"
    );
    let order = cohort.told(&["label", "cohort"]);
    assert_eq!(
        (&order["cases"][0]["case"], &order["cases"][1]["disagreement"]),
        (&json!("two"), &Value::Null)
    );
}

#[test]
fn an_expert_whom_nobody_knows_is_refused_before_an_engine_is_looked_at() {
    let cohort = Cohort::new();
    for (expert, code) in [("anna", "unknown_name"), ("labels:trouth", "unknown_name")] {
        let words = ["curate", "cohort", "--engine", "nowhere", "--out", "round", "--expert"];
        let refused = cohort.run(&[&words[..], &[expert]].concat());
        assert_eq!((refused.status.code(), &document(&refused)["code"]), (Some(2), &json!(code)));
        assert!(!cohort.at("round").exists());
    }
    let known = ["curate", "cohort", "--engine", "nowhere", "--out", "round", "--expert"];
    let next = cohort.run(&[&known[..], &["labels:truth"]].concat());
    assert_eq!(next.status.code(), Some(4), "one case has it");
}

#[test]
fn a_curation_that_is_stopped_says_what_is_kept_and_goes_on() {
    let cohort = Cohort::new();
    let engine = small_engine();
    let words = ["curate", "cohort", "--out", "round", "--lines", "--engine"];
    let mut command = hepalert();
    command.args(words).arg(&engine).current_dir(cohort.0.path());
    let mut running = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(running.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("\"done\""));
    kill_process(Pid::from_child(&running), Signal::INT).unwrap();
    let ended = running.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("error (stopped)") && said.contains("goes on from there"), "{said}");
    assert!(!cohort.at("round/disagreement.csv").exists());
    let report = cohort.at("round/engine/one/report.json");
    let before = written(&report);
    let again = cohort.run(&[&words[..], &[engine.to_str().unwrap()]].concat());
    assert!(again.status.success());
    assert_eq!(written(&report), before, "what was done is not done again");
}

/// Reads one request and answers it; nothing is kept open.
fn serve(service: &Service, mut stream: TcpStream) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut head = Vec::new();
    for line in reader.by_ref().lines() {
        let line = line.unwrap();
        if line.is_empty() {
            break;
        }
        head.push(line);
    }
    let header = |name: &str| {
        let mut pairs = head.iter().skip(1).filter_map(|line| line.split_once(':'));
        pairs.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    };
    let length = header("content-length").map_or(0, |text| text.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let mut line = head[0].split(' ');
    let (method, target) = (line.next().unwrap(), line.next().unwrap());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let pair = |text: &str| {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        (key.to_owned(), value.replace("%40", "@"))
    };
    let query: Vec<(String, String)> = query.split('&').map(pair).collect();
    let content_type = header("content-type").unwrap_or_default();
    let request = Request { method, path, query: &query, content_type, body: &body };
    let answer = service.answer(&request, &mut |_, _, image| {
        let voxels = ndarray::Array3::from_elem(image.grid.shape(), 7);
        Ok(Volume::new(image.grid.clone(), voxels))
    });
    let name = answer.file_name.map_or(String::new(), |name| {
        format!("content-disposition: attachment; filename=\"{name}\"\r\n")
    });
    let head = format!(
        "HTTP/1.1 {} X\r\nconnection: close\r\ncontent-type: {}\r\n{name}content-length: {}\r\n\r\n",
        answer.status,
        answer.content_type,
        answer.body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&answer.body).unwrap();
}

/// A client written from the research's list of calls, in Python's own library as Slicer's is.
#[test]
fn a_client_of_monai_label_fetches_infers_and_puts_back() {
    let cohort = Cohort::new();
    let folder = Folder::open(&cohort.at("cohort"), None).unwrap();
    let reader = Reader::new("slicer").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/monai_client.py");
    let mut client = std::process::Command::new("python3")
        .arg(script)
        .arg(&address)
        .arg(cohort.at("fetched"))
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let models = [Model { id: "small".to_owned(), description: "a test".to_owned() }];
    let service = Service {
        folder: &folder,
        reader: &reader,
        models: &models,
        version: "0",
        now: jiff::Timestamp::now(),
    };
    // The script says how it ends; it makes nine calls.
    for _ in 0..9 {
        let (stream, _) = listener.accept().unwrap();
        serve(&service, stream);
    }
    let mut said = String::new();
    client.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(client.wait().unwrap().success(), "{said}");
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["next"], json!(["one", "two"]));
    let fetched = |name: &str| fs::read(cohort.at("fetched").join(name)).unwrap();
    assert_eq!(fetched("one.nii.gz"), fs::read(cohort.at("cohort/one/ct.nii.gz")).unwrap());
    let kept = cohort.labels("slicer");
    assert!(kept.voxels().iter().all(|label| *label == 7), "what was inferred was put back");
}

/// A folder of DICOM alone: a case per study, phases by their folders, edits, and back to the archive as
/// a segmentation that another library finds where the labels are.
#[test]
fn series_are_labelled_and_go_back_as_segmentations() {
    let cohort = Cohort::new();
    let size = Size { pixels: 64, slices: None };
    let patient = generate(5, Case::Malignant, Setting::Diagnosis, size);
    let exported = cohort.at("archive/p5");
    hepalert::cli::phantom::write_series(&patient, &exported).unwrap();
    // What is no series beside it is told; what is no DICOM is nobody's.
    fs::create_dir(cohort.at("archive/scout")).unwrap();
    fs::copy(exported.join("vp/0001.dcm"), cohort.at("archive/scout/a.dcm")).unwrap();
    fs::write(cohort.at("archive/notes.txt"), "none").unwrap();
    let listed = cohort.told(&["label", "archive"]);
    let images = |case: &Value| -> Vec<String> {
        let images = case["images"].as_array().unwrap().iter();
        images.map(|image| image["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(listed["cases"].as_array().unwrap().len(), 1, "{listed:#}");
    assert_eq!(
        (&listed["cases"][0]["case"], images(&listed["cases"][0])),
        (&json!("p5"), vec!["ap".to_owned(), "dp".to_owned(), "nc".to_owned(), "vp".to_owned()])
    );
    assert!(listed["skipped"][0]["why"].as_str().unwrap().starts_with("1 slices"), "{listed:#}");
    // Two lesions, a liver around one of them; drawn by hand and from the truth.
    let truth = patient.truth.clone();
    fs::write(cohort.at("truth.nii.gz"), hepalert_voxels::volume::nifti::write::write_u8(&truth))
        .unwrap();
    let take = ["label", "archive", "--case", "p5", "--image", "vp", "--reader", "anna"];
    cohort.told(&[&take[..], &["--take-in", "truth.nii.gz"]].concat());
    let paint = json!({"op": "paint", "runs": [[3, 20, 30, 6], [3, 21, 31, 4]], "label": 2});
    cohort.told(&[&take[..], &["--edit", &paint.to_string()]].concat());
    let export = ["label", "archive", "--export-seg", "seg", "--whose", "anna"];
    let told = cohort.told(&export);
    assert_eq!(told["left_out"].as_array().unwrap().len(), 3, "three phases are nobody's");
    let first = fs::read(cohort.at("seg/p5/vp.dcm")).unwrap();
    let uid = &told["written"][0]["sop_instance_uid"];
    assert_eq!(&cohort.told(&export)["written"][0]["sop_instance_uid"], uid, "no twins");
    assert!(first.len() > 10_000);
    // A training set has the series as NIfTI, on the labels' grid.
    let set = ["label", "archive", "--export", "set", "--whose", "anna"];
    assert_eq!(cohort.told(&set)["cases"], 1);
    let image = read(&fs::read(cohort.at("set/imagesTr/p5_0000.nii.gz")).unwrap()).unwrap();
    let vp = &patient.phases.iter().find(|(phase, _)| phase.code() == "vp").unwrap().1;
    let ours = Axes::ras(image.grid()).turn_volume(image);
    let theirs = Axes::ras(vp.grid()).turn_volume(vp.clone());
    assert!(ours.grid().matches(theirs.grid()));
    assert!(
        ours.voxels().iter().zip(theirs.voxels()).all(|(a, b)| (a - f32::from(*b)).abs() <= 0.5)
    );
    // NIfTI alone is no business of an archive.
    let refused = cohort.run(&["label", "cohort", "--export-seg", "no", "--whose", "labels:truth"]);
    assert_eq!(document(&refused)["code"], "export_refused");
    let Some(python) = python() else { return };
    let mut reader = std::process::Command::new(python);
    reader.arg(script("read_labels.py")).arg(cohort.at("seg/p5/vp.dcm")).arg(exported.join("vp"));
    let said = objects::told(reader.arg(cohort.at("archive/hepalert-labels/p5/vp/anna.nii.gz")));
    assert_eq!(said["creator"], "anna");
    assert!(said["segments"]["Liver"].as_u64().unwrap() > 1000, "{said:#}");
}
