//! Commands that write replace only what this program made: never an input, never a stranger's
//! file, whatever the names are.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use hepalert_lab::phantom::{Case, Size, generate};
use hepalert_study::phase::Setting;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::hepalert;

/// A folder with a synthetic patient and a file of somebody's own.
struct Fixture(tempfile::TempDir);

impl Fixture {
    fn new() -> Fixture {
        let fixture = Fixture(tempfile::tempdir().unwrap());
        let size = Size { pixels: 64, slices: None };
        let patient = generate(2, Case::Malignant, Setting::Venous, size);
        hepalert::cli::phantom::write_patient(&patient, &fixture.at("patient")).unwrap();
        fs::write(fixture.at("notes.txt"), "mine").unwrap();
        fixture
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, words: &str) -> Output {
        let words = words.split_whitespace().map(|word| {
            let name = word.replace('@', &format!("{}/", self.0.path().display()));
            name.replace("ENGINE", &engine().display().to_string())
        });
        hepalert().args(words).current_dir(self.0.path()).output().unwrap()
    }

    /// Every file and what is in it.
    fn all(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut found = Vec::new();
        let mut folders = vec![self.0.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    found.push((path.clone(), fs::read(&path).unwrap()));
                }
            }
        }
        found.sort();
        found
    }
}

fn engine() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("engines/venous-demo")
}

#[test]
fn nothing_is_destroyed() {
    let fixture = Fixture::new();
    fs::create_dir(fixture.at("full")).unwrap();
    fs::write(fixture.at("full/thesis.txt"), "mine").unwrap();
    fs::create_dir_all(fixture.at("d")).unwrap();
    fs::rename(fixture.at("patient/dicom"), fixture.at("d/study")).unwrap();
    fs::copy(fixture.at("patient/truth.nii.gz"), fixture.at("labels.nii.gz")).unwrap();
    std::os::unix::fs::symlink(fixture.at("full"), fixture.at("link")).unwrap();
    let before = fixture.all();
    for words in [
        "analyze @patient/ct.nii.gz --out @full",
        "analyze @patient/ct.nii.gz --out @patient",
        "analyze @d/study --out @d",
        "analyze @d/study --out @d/study",
        "analyze @patient/ct.nii.gz --out .",
        "analyze @patient/ct.nii.gz --out @link",
        "analyze @patient/ct.nii.gz --out @notes.txt",
        "demo --study @d/study --out @d",
        "demo --study @d --out @d/new",
        "demo --out @full",
        "detect @labels.nii.gz --out @labels.nii.gz",
        "detect @labels.nii.gz --out @notes.txt",
        "detect @labels.nii.gz --out @new.json --instances @labels.nii.gz",
        "match --truth @labels.nii.gz --predicted @patient/truth.nii.gz --out @labels.nii.gz",
        "segment --engine ENGINE --phase vp=@patient/ct.nii.gz --out @patient/ct.nii.gz",
        "segment --engine ENGINE --phase vp=@patient/ct.nii.gz --out @notes.txt",
        "shuffle --phase vp=@patient/ct.nii.gz --labels @labels.nii.gz --out @new \
         --contact-sheet @notes.txt",
        "engine pack ENGINE --out @notes.txt",
        "support-bundle --config @notes.txt --out @notes.txt",
    ] {
        let ended = fixture.run(words);
        assert!(!ended.status.success(), "{words}: {ended:?}");
        assert!(fixture.all() == before, "{words} changed something");
    }
}

#[test]
fn what_a_command_made_it_may_make_again() {
    let fixture = Fixture::new();
    for words in [
        "detect @patient/truth.nii.gz --out @lesions.json --instances @numbers.nii.gz",
        "match --truth @patient/truth.nii.gz --predicted @patient/truth.nii.gz --out @match.json",
        "shuffle --phase vp=@patient/ct.nii.gz --labels @patient/truth.nii.gz --count 1 --out @new \
         --contact-sheet @sheet.png",
        "phantom --seed 3 --out @phantom",
        "man --out @man",
        "evaluate --truth @truths --predicted @truths --out @tables",
    ] {
        fs::create_dir_all(fixture.at("truths")).unwrap();
        fs::copy(fixture.at("patient/truth.nii.gz"), fixture.at("truths/a.nii.gz")).unwrap();
        for _ in 0..2 {
            let ended = fixture.run(words);
            let said = String::from_utf8_lossy(&ended.stderr);
            assert!(ended.status.success(), "{words}: {said}");
        }
    }
}

#[test]
fn a_patients_study_is_found_again_by_its_uid() {
    use std::io::Write;
    let fixture = Fixture::new();
    let (uid, site_key) = ("1.2.840.113619.2.55.3", "0123456789abcdef".repeat(4));
    let at = |name: &str| fixture.at(name).display().to_string();
    let text = format!(
        "[device]\nsite_key_file = {:?}\n[store]\nfolder = {:?}\n",
        at("site.key"),
        at("state")
    );
    fs::write(fixture.at("hepalert.toml"), text).unwrap();
    let words = format!("--json study key --config @hepalert.toml {uid}");
    let told =
        |ended: &Output| -> serde_json::Value { serde_json::from_slice(&ended.stdout).unwrap() };
    assert_eq!(told(&fixture.run(&words))["error"], "failed", "no site key yet");
    fs::write(fixture.at("site.key"), format!("{site_key}\n")).unwrap();
    let key = hepalert::intake::study_key(site_key.as_bytes(), uid);
    let found = told(&fixture.run(&words));
    assert_eq!((found["study_key"].as_str(), &found["known"]), (Some(key.as_str()), &false.into()));
    // From standard input, so that it is in no history.
    let mut asked = hepalert()
        .args(["study", "key", "-", "--config", &at("hepalert.toml")])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    writeln!(asked.stdin.take().unwrap(), "{uid}").unwrap();
    let said = asked.wait_with_output().unwrap();
    assert!(String::from_utf8_lossy(&said.stdout).starts_with(key.as_str()));
    let wrong = fixture.run("--json study key --config @hepalert.toml DOE^JOHN");
    assert_eq!((told(&wrong)["error"].as_str(), wrong.status.code()), (Some("usage"), Some(2)));
}

/// A damaged store is moved away by the daemon alone, which tells it; who only looks, looks.
#[test]
fn who_looks_into_a_damaged_store_leaves_it_as_it_is() {
    let house = crate::daemon::House::new(1, 1);
    fs::create_dir_all(house.state()).unwrap();
    fs::write(house.database(), "junk").unwrap();
    let key = "0".repeat(32);
    let asked: [&[&str]; 5] = [
        &["queue"],
        &["status"],
        &["quality"],
        &["study", "show", &key],
        &["study", "requeue", &key],
    ];
    for words in asked {
        let ended = hepalert().args(words).arg("--config").arg(house.config()).output().unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(1), "{words:?}: {said}");
        assert!(said.contains("damaged"), "{words:?}: {said}");
        assert_eq!(fs::read(house.database()).unwrap(), b"junk", "{words:?}");
        assert_eq!(fs::read_dir(house.state()).unwrap().count(), 1, "{words:?}");
    }
}

/// Waits until a program has taken a signal into its own hands.
pub(crate) fn until_caught(pid: u32, signal: Signal) {
    let until = Instant::now() + Duration::from_secs(60);
    let bit = 1_u64 << (signal.as_raw() - 1);
    loop {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
        if u64::from_str_radix(caught.trim(), 16).unwrap() & bit != 0 {
            return;
        }
        assert!(Instant::now() < until, "never");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_long_command_that_is_stopped_says_so_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let output = hepalert()
        .args(["phantom", "--seed", "4", "--pixels", "256", "--out"])
        .arg(dir.path().join("p"))
        .output();
    assert!(output.unwrap().status.success());
    let image = dir.path().join("p/ct.nii.gz");
    let signal = Signal::INT;
    let engine = Path::new(env!("CARGO_MANIFEST_DIR")).join("engines/venous-demo");
    for words in [
        "analyze --out result INPUT",
        "segment --out labels.nii.gz INPUT",
        "register --fixed INPUT --moving INPUT --out moved.nii.gz",
        "engine selftest ENGINE",
    ] {
        let words = words.replace("INPUT", image.to_str().unwrap());
        let words = words.replace("ENGINE", engine.to_str().unwrap());
        let mut command = hepalert();
        command.arg("--json").args(words.split(' ')).current_dir(dir.path());
        let running = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        until_caught(running.id(), signal);
        kill_process(Pid::from_child(&running), signal).unwrap();
        let ended = running.wait_with_output().unwrap();
        let document: serde_json::Value = serde_json::from_slice(&ended.stdout).unwrap();
        assert_eq!(
            (ended.status.code(), &document["code"]),
            (Some(1), &"stopped".into()),
            "{words}"
        );
        let message = document["message"].as_str().unwrap();
        assert!(message.starts_with("stopped by a signal; nothing is written"), "{message}");
        let left: Vec<_> =
            fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["p"], "{words}");
    }
}

#[test]
fn a_phantom_fills_its_own_folder_or_a_new_one() {
    let fixture = Fixture::new();
    fs::create_dir(fixture.at("mine")).unwrap();
    fs::write(fixture.at("mine/ct.nii.gz"), "a patient").unwrap();
    let refused = fixture.run("phantom --pixels 64 --out @mine");
    assert!(!refused.status.success());
    assert_eq!(fs::read(fixture.at("mine/ct.nii.gz")).unwrap(), b"a patient");
    for out in ["@new", "@new", "@patient"] {
        let made = fixture.run(&format!("phantom --pixels 64 --seed 3 --out {out}"));
        assert!(made.status.success(), "{out}: {}", String::from_utf8_lossy(&made.stderr));
    }
}

#[test]
fn what_is_not_there_is_named() {
    let fixture = Fixture::new();
    fs::create_dir(fixture.at("empty")).unwrap();
    fs::create_dir(fixture.at("truth")).unwrap();
    for (words, code) in [
        ("--json demo --study @nowhere --out @demo", "\"usage\""),
        ("--json archive status --list @nowhere --results @results", "\"archive_list_missing\""),
        ("--json analyze @nowhere --out @out", "\"unreadable\""),
    ] {
        let failed = fixture.run(words);
        let said = String::from_utf8_lossy(&failed.stdout).into_owned();
        assert!(!failed.status.success(), "{words}");
        assert!(said.contains(&format!("\"code\": {code}")), "{words}: {said}");
        assert_eq!(said.matches("nowhere").count(), 1, "{words}: {said}");
        assert!(!said.contains("os error"), "{words}: {said}");
    }
}
