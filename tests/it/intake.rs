//! Intake from bytes on disk: a desk at a folder with real notices, the gate on made-up
//! DICOM, and real CT.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail as tests do")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hepalert::intake::{
    AssembleParams, FolderIntake, FolderParams, GateParams, Known, Millis, PhaseRules, Refusal,
    RefusalCode, StabilityParams, StudyEvent, StudyFiles, WatchParams, discover, load, load_paths,
    study_key,
};
use hepalert_study::phase::Phase;
use hepalert_study::study::StudyKey;
use hepalert_voxels::volume::nifti;

use crate::support::shared_data;

const VENOUS: [Phase; 1] = [Phase::Vp];

fn key_of(uid: &str) -> StudyKey {
    study_key(b"site", uid)
}

/// A CT slice as it may come from a scanner; tests change what they are about.
#[derive(Clone)]
struct Made {
    text: BTreeMap<(u16, u16), (&'static str, String)>,
    rows: u16,
    values: Option<i16>,
    /// No two slices of a scanner are equal.
    n: usize,
    truncate: usize,
}

const SOP_CLASS: (u16, u16) = (0x0008, 0x0016);
const SOP_UID: (u16, u16) = (0x0008, 0x0018);
const IMAGE_TYPE: (u16, u16) = (0x0008, 0x0008);
const MODALITY: (u16, u16) = (0x0008, 0x0060);
const DESCRIPTION: (u16, u16) = (0x0008, 0x103e);
const BODY_PART: (u16, u16) = (0x0018, 0x0015);
const KVP: (u16, u16) = (0x0018, 0x0060);
const STUDY: (u16, u16) = (0x0020, 0x000d);
const SERIES: (u16, u16) = (0x0020, 0x000e);
const POSITION: (u16, u16) = (0x0020, 0x0032);
const ORIENTATION: (u16, u16) = (0x0020, 0x0037);
const SPACING: (u16, u16) = (0x0028, 0x0030);

/// Slice `n` of a series of 5 mm steps.
fn made(study: &str, series: &str, n: usize) -> Made {
    let mut text = BTreeMap::new();
    let mut set = |tag, vr, value: String| text.insert(tag, (vr, value));
    set(SOP_CLASS, "UI", "1.2.840.10008.5.1.4.1.1.2".into());
    set(SOP_UID, "UI", format!("{study}.{series}.{n}"));
    set(IMAGE_TYPE, "CS", "ORIGINAL\\PRIMARY\\AXIAL".into());
    set(MODALITY, "CS", "CT".into());
    set(DESCRIPTION, "LO", "Abdomen venous".into());
    set(BODY_PART, "CS", "ABDOMEN".into());
    set(KVP, "DS", "120".into());
    set(STUDY, "UI", study.into());
    set(SERIES, "UI", format!("{study}.{series}"));
    set(POSITION, "DS", format!("-10\\-20\\{}", 5 * n));
    set(ORIENTATION, "DS", "1\\0\\0\\0\\1\\0".into());
    set(SPACING, "DS", "0.8\\0.8".into());
    set((0x0008, 0x0022), "DA", "20250131".into());
    set((0x0008, 0x0032), "TM", "101112.5".into());
    set((0x0010, 0x0010), "PN", "Secret^Name".into());
    set((0x0028, 0x0004), "CS", "MONOCHROME2".into());
    set((0x0028, 0x1052), "DS", "-1024".into());
    set((0x0028, 0x1053), "DS", "1".into());
    Made { text, rows: 32, values: None, n, truncate: 0 }
}

impl Made {
    fn with(mut self, tag: (u16, u16), value: &str) -> Made {
        self.text.get_mut(&tag).unwrap().1 = value.into();
        self
    }

    fn without(mut self, tag: (u16, u16)) -> Made {
        self.text.remove(&tag);
        self
    }

    /// Explicit VR little endian, with preamble.
    fn bytes(&self) -> Vec<u8> {
        let mut elements: BTreeMap<(u16, u16), (&str, Vec<u8>)> = BTreeMap::new();
        for (tag, (vr, value)) in &self.text {
            let mut value = value.clone().into_bytes();
            if value.len() % 2 == 1 {
                value.push(if *vr == "UI" { 0 } else { b' ' });
            }
            elements.insert(*tag, (vr, value));
        }
        for (element, number) in
            [(0x0002, 1), (0x0010, self.rows), (0x0011, self.rows), (0x0100, 16), (0x0101, 16)]
                .into_iter()
                .chain([(0x0102, 15), (0x0103, 1)])
        {
            elements.insert((0x0028, element), ("US", number.to_le_bytes().to_vec()));
        }
        let side = usize::from(self.rows.min(64));
        let pixel = |at: usize| match self.values {
            Some(value) => value,
            // Air around, fat, soft tissue and a little bone within.
            None if at % side < 8 => 24,
            None if at.is_multiple_of(61) => 1500,
            None => 900 + ((at + 37 * self.n) % 200) as i16,
        };
        let pixels = (0..side * side).flat_map(|at| pixel(at).to_le_bytes()).collect();
        elements.insert((0x7fe0, 0x0010), ("OW", pixels));
        let mut bytes = vec![0; 128];
        bytes.extend(b"DICM");
        let syntax = b"1.2.840.10008.1.2.1\0".to_vec();
        push(&mut bytes, (0x0002, 0x0010), "UI", &syntax);
        for (tag, (vr, value)) in &elements {
            push(&mut bytes, *tag, vr, value);
        }
        bytes.truncate(bytes.len() - self.truncate);
        bytes
    }
}

fn push(bytes: &mut Vec<u8>, tag: (u16, u16), vr: &str, value: &[u8]) {
    bytes.extend(tag.0.to_le_bytes());
    bytes.extend(tag.1.to_le_bytes());
    bytes.extend(vr.as_bytes());
    if vr == "OW" {
        bytes.extend([0, 0]);
        bytes.extend((value.len() as u32).to_le_bytes());
    } else {
        bytes.extend((value.len() as u16).to_le_bytes());
    }
    bytes.extend(value);
}

fn write_series(folder: &Path, study: &str, change: impl Fn(usize, Made) -> Option<Made>) {
    fs::create_dir_all(folder).unwrap();
    for n in 0..20 {
        if let Some(slice) = change(n, made(study, "1", n)) {
            fs::write(folder.join(format!("I{n:04}")), slice.bytes()).unwrap();
        }
    }
}

/// What `hepalert analyze` would say to a folder.
fn judge(folder: &Path) -> Result<StudyFiles, Refusal> {
    let gate = GateParams::default();
    let found = discover(folder, &[VENOUS.to_vec()], &PhaseRules::default(), &gate, &key_of)?;
    let study = found.studies.into_iter().next().unwrap();
    let loaded = load(&study, &VENOUS, &gate)?;
    assert_eq!(loaded.study.key, study.key);
    Ok(study)
}

#[test]
fn each_fault_of_a_series_has_its_own_name() {
    type Change = Box<dyn Fn(usize, Made) -> Option<Made>>;
    let all = |tag, value: &'static str| move |_, slice: Made| Some(slice.with(tag, value));
    let table: Vec<(&str, Change)> = vec![
        ("missing_slices", Box::new(|n, s| (n != 7).then_some(s))),
        (
            "duplicate_slice_positions",
            Box::new(|n, s| Some(if n == 7 { s.with(POSITION, "-10\\-20\\40") } else { s })),
        ),
        (
            "uneven_spacing",
            Box::new(|n, s| Some(if n == 7 { s.with(POSITION, "-10\\-20\\36.5") } else { s })),
        ),
        (
            "gantry_tilt",
            Box::new(|n, s| Some(s.with(POSITION, &format!("-10\\{}\\{}", 2 * n, 5 * n)))),
        ),
        ("localiser", Box::new(all(IMAGE_TYPE, "ORIGINAL\\PRIMARY\\LOCALIZER"))),
        ("reformatted", Box::new(all(IMAGE_TYPE, "DERIVED\\SECONDARY\\MPR"))),
        ("not_axial", Box::new(all(ORIENTATION, "1\\0\\0\\0\\0\\-1"))),
        ("not_ct", Box::new(all(SOP_CLASS, "1.2.840.10008.5.1.4.1.1.4"))),
        ("not_ct", Box::new(all(MODALITY, "PT"))),
        ("unsupported_format", Box::new(all(SOP_CLASS, "1.2.840.10008.5.1.4.1.1.2.1"))),
        ("wrong_body_region", Box::new(all(BODY_PART, "HEAD"))),
        ("kvp_out_of_range", Box::new(all(KVP, "80"))),
        ("too_short", Box::new(|n, s| (n < 9).then_some(s))),
        ("too_short", Box::new(|n, s| (n < 5).then_some(s))),
        ("non_orthonormal_axes", Box::new(all(ORIENTATION, "1\\0\\0\\0.2\\0.98\\0"))),
        ("missing_geometry", Box::new(|_, s| Some(s.without(POSITION)))),
        (
            "inconsistent_slices",
            Box::new(|n, s| Some(if n == 7 { Made { rows: 16, ..s } } else { s })),
        ),
        ("missing_phase", Box::new(all(DESCRIPTION, "Abdomen arterial"))),
        (
            "truncated_file",
            Box::new(|n, s| Some(Made { truncate: usize::from(n == 7) * 100, ..s })),
        ),
        ("not_ct_values", Box::new(|_, s| Some(Made { values: Some(1064), ..s }))),
        ("absurd_size", Box::new(|_, s| Some(Made { rows: 60_000, ..s }))),
    ];
    for (at, (code, change)) in table.iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        write_series(dir.path(), "1.2", change);
        let refusal = judge(dir.path()).expect_err(&format!("row {at} must be {code}"));
        assert_eq!(refusal.code.as_str(), *code, "row {at}: {refusal}");
        assert!(refusal.file_count > 0);
        assert!(!refusal.detail.contains("Secret") && !refusal.detail.contains("1.2."));
    }
    let dir = tempfile::tempdir().unwrap();
    write_series(dir.path(), "1.2", |_, slice| Some(slice));
    let study = judge(dir.path()).unwrap();
    assert_eq!(study.phases[0].files.len(), 20);
    assert_eq!(study.acquired.as_deref(), Some("2025-01-31T10:11:12.500"));
    let text = serde_json::to_string(&study).unwrap();
    assert!(!text.contains("\"1.2") && !text.contains("Secret"), "{text}");
}

#[test]
fn scouts_reports_and_notes_beside_a_series_are_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    write_series(dir.path(), "1.2", |_, slice| Some(slice));
    let scout = made("1.2", "9", 0).with(IMAGE_TYPE, "ORIGINAL\\PRIMARY\\LOCALIZER");
    fs::write(dir.path().join("scout"), scout.bytes()).unwrap();
    let report = made("1.2", "8", 0).with(SOP_CLASS, "1.2.840.10008.5.1.4.1.1.88.11");
    fs::write(dir.path().join("report"), report.with(MODALITY, "SR").bytes()).unwrap();
    fs::write(dir.path().join("README.txt"), "viewer").unwrap();
    let study = judge(dir.path()).unwrap();
    assert_eq!((study.phases[0].files.len(), study.unused), (20, 2));
}

#[test]
fn files_that_are_no_images_are_refused_one_by_one() {
    let dir = tempfile::tempdir().unwrap();
    let one = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        judge(&path).unwrap_err().code
    };
    assert_eq!(
        one("junk", b"what is this, which has no magic and many words?"),
        RefusalCode::UnknownFormat
    );
    assert_eq!(one("empty", b""), RefusalCode::TruncatedFile);
    assert_eq!(one("zeros", &[0; 5000]), RefusalCode::UnknownFormat);
    assert_eq!(one("x.nii", b"short"), RefusalCode::UnknownFormat);
    assert_eq!(one("notes.txt", b"short"), RefusalCode::NoCtSeries);
    assert_eq!(judge(&dir.path().join("absent")).unwrap_err().code, RefusalCode::Unreadable);
}

struct Daemon {
    intake: FolderIntake,
    now_s: u64,
}

impl Daemon {
    fn at(folder: &Path, expected: &[Phase], known: Vec<Known>) -> Daemon {
        let params = FolderParams {
            watch: WatchParams { poll_only: true, ..WatchParams::new(folder) },
            stability: StabilityParams { files_per_step: 10, ..StabilityParams::default() },
            assemble: AssembleParams::new(folder, expected),
            max_file_bytes: 1 << 30,
        };
        let intake = FolderIntake::new(params, known, Box::new(key_of), Arc::new(|| {}));
        Daemon { intake, now_s: 0 }
    }

    /// Lets time pass in steps of five seconds; what was told, in words.
    fn pass(&mut self, seconds: u64) -> Vec<String> {
        let mut told = Vec::new();
        let end = self.now_s + seconds;
        loop {
            let step = self.intake.step(Millis(self.now_s * 1000));
            told.extend(step.outcomes.iter().map(words));
            if step.more {
                continue;
            }
            if self.now_s >= end {
                return told;
            }
            self.now_s += 5;
        }
    }
}

fn words(outcome: &StudyEvent) -> String {
    match outcome {
        StudyEvent::Received { .. } => "received".into(),
        StudyEvent::Complete { study, why, .. } => {
            let files = study.files().count();
            format!("complete {} of {files} files: {}", study.revision, why.as_str())
        }
        StudyEvent::Refused { refusal, .. } => format!("refused: {}", refusal.code),
        StudyEvent::Duplicate { .. } => "duplicate".into(),
        StudyEvent::PassedOver { counts, .. } => {
            let counts: BTreeMap<&str, usize> =
                counts.iter().map(|(kind, n)| (kind.as_str(), *n)).collect();
            format!("passed over: {counts:?}")
        }
    }
}

const NOTHING: [&str; 0] = [];

#[test]
fn a_study_slice_by_slice_then_again_then_a_late_slice() {
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::at(dir.path(), &VENOUS, Vec::new());
    let slice = |n| made("1.2", "1", n).bytes();
    let folder = dir.path().join("a");
    fs::create_dir(&folder).unwrap();
    for n in 0..20 {
        // First half a file under its own name, then the rest.
        let bytes = slice(n);
        fs::write(folder.join(format!("{n}")), &bytes[..bytes.len() / 2]).unwrap();
        let told = daemon.pass(10);
        assert_eq!(told, NOTHING, "{n}");
        fs::write(folder.join(format!("{n}")), &bytes).unwrap();
        let told = daemon.pass(10);
        assert_eq!(told, if n == 0 { vec!["received"] } else { vec![] });
    }
    assert_eq!(daemon.pass(60), ["complete 1 of 20 files: all_phases"]);
    let copy = dir.path().join("b");
    write_series(&copy, "1.2", |_, slice| Some(slice));
    assert_eq!(daemon.pass(200), ["duplicate"]);
    fs::remove_dir_all(&copy).unwrap();
    assert_eq!(daemon.pass(200), NOTHING);
    fs::write(folder.join("late"), slice(20)).unwrap();
    assert_eq!(daemon.pass(60), ["complete 2 of 21 files: all_phases"]);
}

#[test]
fn every_input_is_heard_of_once_by_folder() {
    let dir = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    write_series(elsewhere.path(), "1.9", |_, slice| Some(slice));
    let put = |path: &str, bytes: &[u8]| {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    // A CD: a study, and what lies beside it.
    write_series(&dir.path().join("cd/DICOM"), "1.2", |_, slice| Some(slice));
    for n in 0..30 {
        put(&format!("cd/jre/{n}.dat"), &[n; 500]);
        put(&format!("cd/jre/{n}.class"), &[n; 500]);
    }
    put("gz/IM1.dcm.gz", &[0x1f, 0x8b]);
    put("zip/study.zip", b"PK");
    put("empty/a.dcm", b"");
    put("empty/b.dcm", b"");
    put("part/IM1.dcm.part", b"half");
    put("tmp/IM1.tmp", b"half");
    put("tilde/IM1.dcm~", b"half");
    put("fifo/note.txt", b"beside a pipe");
    let pipe = std::process::Command::new("mkfifo").arg(dir.path().join("fifo/IM1.dcm")).status();
    assert!(pipe.unwrap().success());
    put(".x/IM1", b"hidden");
    put("y/.DS_Store", b"nobody sent this");
    std::os::unix::fs::symlink(elsewhere.path(), dir.path().join("link")).unwrap();
    // Slices under names that images do not have.
    fs::create_dir(dir.path().join("odd")).unwrap();
    let endings = ["txt", "lock", "done", "zip", "log", "tif"];
    for n in 0..20 {
        let name = format!("odd/I{n}.{}", endings[n % endings.len()]);
        fs::write(dir.path().join(name), made("1.3", "1", n).bytes()).unwrap();
    }
    let mut daemon = Daemon::at(dir.path(), &VENOUS, Vec::new());
    let mut told = daemon.pass(1500);
    told.sort();
    assert_eq!(
        told,
        [
            "complete 1 of 20 files: all_phases",
            "complete 1 of 20 files: all_phases",
            "passed over: {\"archive\": 1}",
            "passed over: {\"archive\": 1}",
            "passed over: {\"foreign\": 2}",
            "passed over: {\"foreign\": 30, \"unknown_format\": 30}",
            "passed over: {\"hidden\": 1, \"link\": 1}",
            "passed over: {\"link\": 1}",
            "passed over: {\"truncated_file\": 2}",
            "passed over: {\"unfinished\": 1}",
            "passed over: {\"unfinished\": 1}",
            "passed over: {\"unfinished\": 1}",
            "received",
            "received",
        ],
        "the link and the hidden folder lie in the export folder itself, and came one by one"
    );
    assert_eq!(daemon.pass(1500), NOTHING);
}

#[test]
fn a_slice_cut_short_for_good_is_refused_with_its_study_and_mended_later() {
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::at(dir.path(), &VENOUS, Vec::new());
    write_series(dir.path(), "1.2", |n, s| Some(Made { truncate: usize::from(n == 3) * 50, ..s }));
    assert_eq!(daemon.pass(550), ["received"], "held while a neighbour lies there half");
    assert_eq!(daemon.pass(250), ["refused: truncated_file"]);
    fs::write(dir.path().join("I0003"), made("1.2", "1", 3).bytes()).unwrap();
    assert_eq!(daemon.pass(60), ["complete 2 of 20 files: all_phases"]);
}

#[test]
fn temporary_names_count_once_they_are_renamed_and_a_marker_ends_the_wait() {
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::at(dir.path(), &VENOUS, Vec::new());
    let partial = dir.path().join("s/x.part");
    write_series(&dir.path().join("s"), "1.2", |n, s| (n < 19).then(|| s.with(DESCRIPTION, "Abd")));
    let last = made("1.2", "1", 19).with(DESCRIPTION, "Abd");
    fs::write(&partial, last.bytes()).unwrap();
    assert_eq!(daemon.pass(20), ["received"]);
    fs::rename(&partial, dir.path().join("s/x")).unwrap();
    fs::write(dir.path().join("s/.done"), "").unwrap();
    assert_eq!(daemon.pass(10), ["complete 1 of 20 files: marker"]);
}

#[test]
fn nothing_is_repeated_or_lost_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    write_series(&dir.path().join("a"), "1.2", |_, s| Some(s));
    write_series(&dir.path().join("h"), "1.3", |_, s| {
        Some(s.with(SOP_CLASS, "1.2.840.10008.5.1.4.1.1.4"))
    });
    fs::write(dir.path().join("junk"), "no image, no format, nothing that could be known").unwrap();
    let mut known = Vec::new();
    let mut first = Daemon::at(dir.path(), &VENOUS, Vec::new());
    let mut told = Vec::new();
    for now_s in (0..1000).step_by(5) {
        for outcome in first.intake.step(Millis(now_s * 1000)).outcomes {
            told.push(words(&outcome));
            let (key, fingerprint, revision) = match outcome {
                StudyEvent::Complete { study, .. } => {
                    (study.key, study.fingerprint, study.revision)
                }
                StudyEvent::Refused { key, fingerprint, revision, .. }
                | StudyEvent::PassedOver { key, fingerprint, revision, .. } => {
                    (key, fingerprint, revision)
                }
                _ => continue,
            };
            known.push(Known { key, fingerprint, revision });
        }
    }
    told.sort();
    let all = [
        "complete 1 of 20 files: all_phases",
        "passed over: {\"unknown_format\": 1}",
        "received",
        "received",
        "refused: not_ct",
    ];
    assert_eq!(told, all);
    // Killed before anything was remembered: everything again.
    let mut told = Daemon::at(dir.path(), &VENOUS, Vec::new()).pass(1000);
    told.sort();
    assert_eq!(told, all);
    // Killed after: nothing again.
    let mut second = Daemon::at(dir.path(), &VENOUS, known);
    assert_eq!(second.pass(1000), NOTHING);
    fs::write(dir.path().join("a/I0020"), made("1.2", "1", 20).bytes()).unwrap();
    assert_eq!(second.pass(60), ["complete 2 of 21 files: all_phases"]);
}

#[test]
fn the_export_folder_is_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    write_series(&dir.path().join("a"), "1.2", |_, s| Some(s));
    let list = || {
        let mut found: Vec<_> = fs::read_dir(dir.path().join("a"))
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                (entry.path(), entry.metadata().unwrap().modified().unwrap())
            })
            .collect();
        found.sort();
        found
    };
    let before = list();
    assert_eq!(Daemon::at(dir.path(), &VENOUS, Vec::new()).pass(200).len(), 2);
    assert_eq!(list(), before);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
#[cfg_attr(no_real_ct, ignore = "no real CT in ../shared/data")]
fn real_series_load_with_spacing_from_positions() {
    let Some(data) = shared_data() else { return };
    for (name, slices, step_mm) in [("crlm-1004", 41, 5.0), ("chaos-ct3", 78, 2.0)] {
        let folder = data.join(name).join("dicom");
        let gate = GateParams::default();
        let found =
            discover(&folder, &[VENOUS.to_vec()], &PhaseRules::default(), &gate, &key_of).unwrap();
        assert_eq!((found.studies.len(), found.refused.len()), (1, 0), "{name}");
        let loaded = load(&found.studies[0], &VENOUS, &gate).unwrap();
        let phase = &loaded.phases[0];
        assert_eq!(phase.slices, slices, "{name}");
        assert!((phase.spacing_mm[0] - step_mm).abs() < 1e-3, "{name}: {:?}", phase.spacing_mm);
        let volume = &loaded.study.phases[&Phase::Vp];
        let bytes = fs::read(data.join(name).join("ct.nii.gz")).unwrap();
        let reference = nifti::read::read(&bytes).unwrap();
        assert!(volume.grid().matches(reference.grid()), "{name}");
        assert_eq!(volume.voxels(), reference.voxels(), "{name}");
    }
}

#[test]
#[cfg_attr(no_real_ct, ignore = "no real CT in ../shared/data")]
fn real_nifti_loads_and_real_masks_are_refused() {
    let Some(data) = shared_data() else { return };
    let gate = GateParams::default();
    let vp = |path: &str| {
        load_paths(&key_of("x"), &[(Phase::Vp, data.join(path))], &gate)
            .map(|loaded| loaded.phases[0].slices)
            .map_err(|refusal| refusal.code.as_str())
    };
    assert_eq!(vp("lits-117/ct_128_crop.nii.gz"), Ok(128));
    assert_eq!(vp("totalsegmentator-example/example_ct.nii.gz"), Ok(112));
    assert_eq!(vp("chaos-ct3/liver.nii.gz"), Err("not_ct_values"));
    assert_eq!(vp("crlm-1004/organs_machine.nii.gz"), Err("not_ct_values"));
    assert_eq!(vp("crlm-1004/dicom"), Ok(41));
}

#[test]
#[cfg_attr(no_real_ct, ignore = "no real CT in ../shared/data")]
fn a_segmentation_is_no_ct_and_three_slices_are_no_study() {
    let Some(data) = shared_data() else { return };
    let refusal = |path: PathBuf| judge(&path).unwrap_err().code.as_str();
    assert_eq!(refusal(data.join("dicom-seg/liver.dcm")), "not_ct");
    assert_eq!(refusal(data.join("dicom-seg")), "too_short");
}
