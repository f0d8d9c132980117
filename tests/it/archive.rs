//! A whole archive by command: listed once, done in parts, stopped, killed, put together, compared, and
//! what does not belong together refused by name.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::campaign;
use crate::support::{hepalert, small_engine};

/// A folder with studies in two folders, a file cut off and one that is none.
pub(crate) struct Archive(tempfile::TempDir);

impl Archive {
    pub(crate) fn new(studies: usize) -> Archive {
        let archive = Archive(tempfile::tempdir().unwrap());
        fs::create_dir(archive.at("root")).unwrap();
        for number in 0..studies {
            let folder = archive.at(&format!("root/{}/p{number}", 2019 + number % 2));
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("ct.nii.gz"), campaign::study(number)).unwrap();
        }
        fs::write(archive.at("root/cut.nii.gz"), &campaign::study(0)[..400]).unwrap();
        fs::write(archive.at("root/notes.txt"), "mine").unwrap();
        fs::create_dir(archive.at("root/again")).unwrap();
        fs::write(archive.at("root/again/ct.nii.gz"), campaign::study(0)).unwrap();
        archive
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// `hepalert archive`, with `@` for the folder and `ENGINE` for one that takes no time.
    fn command(&self, words: &str) -> Command {
        let place = format!("{}/", self.0.path().display());
        let engine = small_engine().display().to_string();
        let words = words.replace('@', &place).replace("ENGINE", &engine);
        let mut command = hepalert();
        command.args(["--json", "archive"]).args(words.split_whitespace());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn run(&self, words: &str) -> Output {
        self.command(words).output().unwrap()
    }

    /// The document of a command that must succeed.
    pub(crate) fn done(&self, words: &str) -> Value {
        let output = self.run(words);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words}: {said}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The code of a command that must be refused.
    fn refused(&self, words: &str) -> String {
        let output = self.run(words);
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(!output.status.success(), "{words}: {document}");
        let message = document["message"].as_str().unwrap();
        assert!(message.contains("; "), "a sentence and a next step: {message}");
        document["code"].as_str().unwrap().to_owned()
    }

    pub(crate) fn list(&self) -> Value {
        self.done("list @root --out @list.jsonl --engine ENGINE")
    }

    /// The folders of studies that have a result, and those that have two.
    pub(crate) fn results(&self, folder: &str) -> (usize, usize) {
        let counts: Vec<usize> = self
            .studies(folder)
            .iter()
            .map(|study| {
                ["report/report.json", "outcome.json"]
                    .iter()
                    .filter(|n| study.join(n).exists())
                    .count()
            })
            .collect();
        (counts.iter().filter(|n| **n > 0).count(), counts.iter().filter(|n| **n > 1).count())
    }

    fn studies(&self, folder: &str) -> Vec<PathBuf> {
        let inside = |path: &Path| -> Vec<PathBuf> {
            let entries = fs::read_dir(path).into_iter().flatten();
            entries.map(|entry| entry.unwrap().path()).collect()
        };
        let mut studies: Vec<PathBuf> =
            inside(&self.at(folder).join("studies")).iter().flat_map(|path| inside(path)).collect();
        studies.sort();
        studies
    }
}

const RUN: &str = "run --list @list.jsonl --results @results --engine ENGINE";

/// Reports, as far as they are the same each time.
fn findings(archive: &Archive, folder: &str) -> Vec<Value> {
    let read = |study: &PathBuf| {
        let bytes = fs::read(study.join("report/report.json")).ok()?;
        let mut report: Value = serde_json::from_slice(&bytes).unwrap();
        let fields = report.as_object_mut().unwrap();
        fields.retain(|name, _| !["timing", "peak_memory_mib"].contains(&name.as_str()));
        Some(report)
    };
    archive.studies(folder).iter().filter_map(read).collect()
}

#[test]
fn an_archive_is_done_in_parts_and_put_together() {
    let archive = Archive::new(6);
    let listed = archive.list();
    assert_eq!(
        (&listed["studies"], &listed["refused"], &listed["passed_over"]),
        (&7.into(), &1.into(), &1.into())
    );
    assert_eq!(listed["copies"], 1);
    let bytes = fs::read(archive.at("list.jsonl")).unwrap();
    assert_eq!(archive.list()["was_there"], true);
    assert_eq!(fs::read(archive.at("list.jsonl")).unwrap(), bytes);
    let mut done = 0;
    for shard in ["1/2", "2/2"] {
        let merge = "merge --list @list.jsonl --results @results --out @merged";
        if shard == "2/2" {
            assert_eq!(archive.refused(merge), "archive_studies_missing");
        }
        let told = archive.done(&format!("{RUN} --shard {shard}"));
        done += told["done"].as_u64().unwrap() + told["refused"].as_u64().unwrap();
    }
    assert_eq!((done, archive.results("results")), (7, (7, 0)));
    let again = archive.done(RUN);
    assert_eq!((&again["done_before"], &again["seconds"]["engine"]), (&7.into(), &0.0.into()));
    let status = archive.done("status --list @list.jsonl --results @results");
    assert_eq!(status["refused_by_code"]["truncated_file"], 1);
    let cohort = archive.done("merge --list @list.jsonl --results @results --out @merged");
    assert_eq!((&cohort["analysed"]["hits"], &cohort["analysed"]["of"]), (&6.into(), &7.into()));
    let table = fs::read_to_string(archive.at("merged/summary.csv")).unwrap();
    assert_eq!(table.lines().count(), 8, "{table}");
    // In one part, with the studies mounted elsewhere, the results are the same.
    fs::rename(archive.at("root"), archive.at("moved")).unwrap();
    assert_eq!(archive.refused(RUN), "archive_root_missing");
    let elsewhere = RUN.replace("@results", "@results-one");
    archive.done(&format!("{elsewhere} --root @moved"));
    assert_eq!(findings(&archive, "results"), findings(&archive, "results-one"));
}

#[test]
fn copies_of_a_study_are_counted_and_nothing_is_no_list() {
    let archive = Archive::new(0);
    let root = archive.at("root");
    fs::remove_dir_all(&root).unwrap();
    fs::create_dir(&root).unwrap();
    fs::write(root.join("notes.txt"), "mine").unwrap();
    let list = "list @root --out @list.jsonl --engine ENGINE";
    assert_eq!(archive.refused(list), "archive_no_studies");
    assert!(!archive.at("list.jsonl").exists());
    let made = archive.at("made");
    let phantom =
        hepalert().args(["phantom", "--seed", "3", "--pixels", "128", "--out"]).arg(&made).output();
    assert!(phantom.unwrap().status.success());
    for folder in ["2019/a", "2019/b", "2020/c"] {
        copy(&made.join("dicom/vp"), &root.join(folder));
    }
    let listed = archive.list();
    assert_eq!((&listed["studies"], &listed["copies"]), (&1.into(), &2.into()));
    // Part of it once more is no copy.
    fs::remove_file(root.join("2020/c/0001.dcm")).unwrap();
    let again = archive.done("list @root --out @again.jsonl --engine ENGINE");
    assert_eq!((&again["studies"], &again["copies"]), (&1.into(), &1.into()));
}

#[test]
fn truth_of_some_studies_gives_the_tables_of_evaluate() {
    let archive = Archive::new(2);
    archive.list();
    archive.done(RUN);
    let report =
        archive.studies("results").into_iter().find(|s| s.join("report").exists()).unwrap();
    fs::create_dir(archive.at("truth")).unwrap();
    let key = report.file_name().unwrap().to_str().unwrap().to_owned();
    let truth = archive.at(&format!("truth/{key}.nii.gz"));
    fs::copy(report.join("report/labels_base.nii.gz"), &truth).unwrap();
    let merge = "merge --list @list.jsonl --results @results --out @merged --truth @truth";
    archive.done(merge);
    let tables: Value =
        serde_json::from_slice(&fs::read(archive.at("merged/tables.json")).unwrap()).unwrap();
    assert_eq!((&tables["names"][0], &tables["cases"]), (&Value::from(key), &1.into()));
    fs::rename(truth, archive.at("truth/somebody.nii.gz")).unwrap();
    assert_eq!(archive.refused(merge), "no_prediction");
}

#[test]
fn old_and_new_engine_are_held_together() {
    let archive = Archive::new(3);
    archive.list();
    archive.done(RUN);
    let new = RUN.replace("@results", "@new");
    archive.done(&format!("{new} --alpha 1"));
    let compare = "compare --list @list.jsonl --old @results --new @new --out @changes";
    let compared = archive.done(compare);
    assert_eq!(compared["studies"], 4);
    let moves = compared["moves"].as_array().unwrap();
    let of = |row: &Value| row[2].as_u64().unwrap();
    assert_eq!(moves.iter().map(of).sum::<u64>(), 4, "{moves:?}");
    // At this gain what only the sensitive view saw is seen by neither.
    let changes = compared["changes"].as_array().unwrap();
    let stayed = moves.iter().filter(|row| row[0] == row[1]).map(of).sum::<u64>();
    assert!(!changes.is_empty() && changes.len() as u64 + stayed == 4, "{moves:?}");
    let csv = fs::read_to_string(archive.at("changes/changes.csv")).unwrap();
    assert_eq!(csv.lines().count(), 1 + changes.len(), "{csv}");
    for change in changes {
        let key = change["study_key"].as_str().unwrap();
        assert_ne!(change["old"]["verdict"], change["new"]["verdict"]);
        let picture = fs::read(archive.at(&format!("changes/pictures/{key}.png"))).unwrap();
        assert!(picture.starts_with(b"\x89PNG") && csv.contains(key));
    }
    let same = "compare --list @list.jsonl --old @results --new @results --out @changes";
    assert_eq!(archive.refused(same), "archive_nothing_to_compare");
}

#[test]
fn what_does_not_belong_together_is_refused_by_name_and_stays() {
    let archive = Archive::new(2);
    archive.list();
    archive.done(RUN);
    let before: Vec<_> = archive.studies("results").iter().map(|s| written(s)).collect();
    // Another configuration, another list, a folder of something else.
    assert_eq!(archive.refused(&format!("{RUN} --alpha 20")), "archive_other_configuration");
    assert_eq!(archive.refused(&format!("{RUN} --patches 2")), "archive_other_configuration");
    fs::write(archive.at("root/one-more.nii.gz"), campaign::study(77)).unwrap();
    assert_eq!(
        archive.refused("list @root --out @list.jsonl --engine ENGINE"),
        "archive_list_differs"
    );
    archive.done("list @root --out @other.jsonl --engine ENGINE");
    assert_eq!(archive.refused(&RUN.replace("@list", "@other")), "archive_other_list");
    let status = "status --list @other.jsonl --results @results";
    assert_eq!(archive.refused(status), "archive_other_list");
    assert_eq!(archive.refused(&RUN.replace("@results", "@root/2019")), "output_in_the_way");
    fs::create_dir(archive.at("mine")).unwrap();
    fs::write(archive.at("mine/thesis.txt"), "mine").unwrap();
    assert_eq!(archive.refused(&RUN.replace("@results", "@mine")), "archive_no_results");
    let list = fs::read(archive.at("list.jsonl")).unwrap();
    fs::write(archive.at("list.jsonl"), &list[..list.len() - 30]).unwrap();
    assert_eq!(archive.refused(RUN), "archive_list_damaged");
    fs::write(archive.at("list.jsonl"), &list).unwrap();
    assert_eq!(
        archive.refused("list @root --out @root/list.jsonl --engine ENGINE"),
        "output_in_the_way"
    );
    let after: Vec<_> = archive.studies("results").iter().map(|s| written(s)).collect();
    assert_eq!(before, after, "nothing was written");
    // A report cut off: named, left, and the others go on.
    let study = archive.studies("results").into_iter().find(|s| s.join("report").exists()).unwrap();
    let report = study.join("report/report.json");
    let whole = fs::read(&report).unwrap();
    fs::write(&report, &whole[..whole.len() / 2]).unwrap();
    let ended = archive.run(RUN);
    assert_eq!(ended.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&ended.stderr).contains("archive_result_damaged"));
    assert_eq!(fs::read(&report).unwrap().len(), whole.len() / 2, "it is left as it is");
    let status = archive.run("status --list @list.jsonl --results @results");
    let counts: Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!((status.status.code(), counts["damaged"].as_array().unwrap().len()), (Some(3), 1));
    assert!(String::from_utf8_lossy(&status.stderr).contains("archive_result_damaged"));
    let merge = "merge --list @list.jsonl --results @results --out @merged";
    assert_eq!(archive.refused(merge), "archive_result_damaged");
    fs::write(&report, &whole).unwrap();
    fs::write(study.join("report/lesions.nii.gz"), "cut off").unwrap();
    assert_eq!(archive.refused(merge), "archive_result_damaged");
}

/// When anything in a study's folder was written last.
fn written(study: &Path) -> std::time::SystemTime {
    ["report/report.json", "outcome.json"]
        .iter()
        .filter_map(|name| fs::metadata(study.join(name)).ok()?.modified().ok())
        .max()
        .unwrap()
}

#[test]
fn a_study_whose_files_changed_fails_and_is_named_as_missing() {
    let archive = Archive::new(2);
    archive.list();
    // The study is there twice; either of the two is the listed one.
    let files = ["root/2019/p0/ct.nii.gz", "root/again/ct.nii.gz"].map(|name| archive.at(name));
    let put = |bytes: &[u8]| files.iter().for_each(|file| fs::write(file, bytes).unwrap());
    put(&campaign::study(500));
    let ended = archive.run(RUN);
    let told: Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!(
        (ended.status.code(), &told["failed"][0]["code"]),
        (Some(1), &"files_changed".into())
    );
    let merge = "merge --list @list.jsonl --results @results --out @merged";
    let said = archive.run(merge);
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.contains(told["failed"][0]["study_key"].as_str().unwrap()), "{said}");
    // Put back, it is done, and nothing remembers the failure.
    put(&campaign::study(0));
    assert_eq!(archive.done(RUN)["done"], 1);
    assert_eq!(archive.results("results"), (3, 0));
}

#[test]
fn a_run_holds_its_shard_stops_when_told_and_leaves_no_half_results() {
    let archive = Archive::new(12);
    archive.list();
    let mut run = archive.command(RUN).spawn().unwrap();
    let until = Instant::now() + Duration::from_secs(60);
    while archive.results("results").0 < 2 {
        assert!(Instant::now() < until, "no study is done");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(archive.refused(RUN), "archive_shard_taken");
    assert_eq!(archive.refused(&format!("{RUN} --shard 1/3")), "archive_other_split");
    let pid = rustix::process::Pid::from_child(&run);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let ended = run.wait_with_output().unwrap();
    let told: Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!(ended.status.code(), Some(1));
    let left = told["left"].as_array().unwrap().len();
    assert!(left > 0, "{told}");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(said.contains("archive_stopped") && said.contains(told["left"][0].as_str().unwrap()));
    assert_eq!(archive.results("results").0 + left, 13);
    // Killed in the midst of a study: what it left is swept away by the next.
    let killed = archive.command(RUN).env("HEPALERT_FAILPOINT", "report_drafted").output().unwrap();
    assert!(!killed.status.success());
    let last = archive.done(RUN);
    assert_eq!((last["swept"].clone(), archive.results("results")), (1.into(), (13, 0)));
    run = archive.command(RUN).spawn().unwrap();
    assert!(run.wait().unwrap().success());
}

#[test]
fn an_engine_that_is_exchanged_in_mid_run_ends_it() {
    let archive = Archive::new(12);
    let engine = archive.at("engine");
    copy(&small_engine(), &engine);
    archive.list();
    let words = RUN.replace("ENGINE", &engine.display().to_string());
    let run = archive.command(&words).spawn().unwrap();
    let until = Instant::now() + Duration::from_secs(60);
    while archive.results("results").0 < 2 {
        assert!(Instant::now() < until, "no study is done");
        std::thread::sleep(Duration::from_millis(10));
    }
    let manifest = engine.join("manifest.json");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replace("\"version\": 1,", "\"version\": 2,")).unwrap();
    let ended = run.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(4), "{said}");
    assert!(said.contains("archive_engine_swapped"), "{said}");
    // And the exchanged engine is not taken for the one that began.
    assert_eq!(archive.refused(&words), "archive_other_configuration");
    fs::write(&manifest, text).unwrap();
    archive.done(&words);
    assert_eq!(archive.results("results"), (13, 0));
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}
