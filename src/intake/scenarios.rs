//! Stories of files arriving, told to the assembler. Tests only.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;

use super::assemble::Assembler;
use super::events::{
    AssembleParams, Broken, CompletionRule, Event, Known, Millis, Stranger, StudyEvent,
};
use super::facts::{FileFacts, Part, SliceFacts, StudyFiles};
use super::fingerprint::{Digest, study_key};
use super::markers::Marker;
use super::names::nifti_name;
use super::reasons::RefusalCode;
use hepalert_study::study::{Phase, StudyKey};
use hepalert_voxels::volume::dicom::acquisitions::Marks;

fn digest(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

fn key(study: &str) -> StudyKey {
    study_key(b"site", study)
}

/// Slice `n` of a series of a study; the series' name is its description.
fn slice(study: &str, series: &str, n: usize) -> FileFacts {
    let instance = format!("{study}/{series}/{n}");
    FileFacts {
        study: key(study),
        content: digest(&format!("pixels of {instance}")),
        part: Part::Slice(SliceFacts {
            series: digest(&format!("{study}/{series}")),
            instance: digest(&instance),
            set_aside: (series == "scout").then_some(RefusalCode::Localiser),
            description: series.into(),
            protocol: String::new(),
            contrast: false,
            acquired_ms: None,
            position_mm: Some(5.0 * n as f64),
            recon: super::phases::Recon::default(),
            marks: Marks::default(),
            said: None,
        }),
    }
}

fn nifti(folder: &str, name: &str, content: &str) -> FileFacts {
    let name = nifti_name(name.as_ref()).unwrap();
    let study = key(&format!("{folder}/{}", name.case));
    FileFacts { study, content: digest(content), part: Part::Nifti(name) }
}

struct Story {
    machine: Assembler,
    now: u64,
    told: Vec<StudyEvent>,
}

fn params(expected: &[Phase]) -> AssembleParams {
    AssembleParams { quiet_s: 120.0, phase_quiet_s: 30.0, ..AssembleParams::new("/e", expected) }
}

impl Story {
    fn new(expected: &[Phase]) -> Story {
        Story::after(expected, Vec::new())
    }

    fn after(expected: &[Phase], known: Vec<Known>) -> Story {
        let machine = Assembler::new(params(expected), known);
        Story { machine, now: 0, told: Vec::new() }
    }

    fn event(&mut self, event: Event) -> &mut Story {
        self.told.extend(self.machine.apply(event, Millis(self.now * 1000)));
        self
    }

    fn file(&mut self, path: &str, facts: FileFacts) -> &mut Story {
        let changed_ns = i128::from(self.now) * 1_000_000_000;
        self.event(Event::Stable { path: path.into(), facts, changed_ns })
    }

    fn marker(&mut self, folder: &str, stem: &str) -> &mut Story {
        self.event(Event::Marker(Marker { folder: folder.into(), stem: stem.into() }))
    }

    fn series(&mut self, folder: &str, study: &str, series: &str, count: usize) -> &mut Story {
        for n in 0..count {
            self.file(&format!("{folder}/{series}{n}"), slice(study, series, n));
        }
        self
    }

    /// Seconds pass, one tick each.
    fn wait(&mut self, seconds: u64) -> &mut Story {
        for _ in 0..seconds {
            self.now += 1;
            self.told.extend(self.machine.tick(Millis(self.now * 1000)));
        }
        self
    }

    /// What was told since last asked, in words.
    fn told(&mut self) -> Vec<String> {
        std::mem::take(&mut self.told).iter().map(words).collect()
    }

    fn studies(&self) -> Vec<&StudyFiles> {
        let mut studies = Vec::new();
        for outcome in &self.told {
            if let StudyEvent::Complete { study, .. } = outcome {
                studies.push(study);
            }
        }
        studies
    }
}

fn words(outcome: &StudyEvent) -> String {
    match outcome {
        StudyEvent::Received { .. } => "received".into(),
        StudyEvent::Complete { study, why, .. } => {
            let count = |p: &super::PhaseFiles| format!("{} {}", p.phase, p.files.len());
            let phases: Vec<String> = study.phases.iter().map(count).collect();
            format!("complete {} ({}): {}", study.revision, why.as_str(), phases.join(", "))
        }
        StudyEvent::Refused { revision, refusal, .. } => {
            format!("refused {revision}: {} of {} files", refusal.code, refusal.file_count)
        }
        StudyEvent::Duplicate { .. } => "duplicate".into(),
        StudyEvent::PassedOver { revision, counts, .. } => {
            let kinds: Vec<String> =
                counts.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
            format!("passed over {revision}: {}", kinds.join(", "))
        }
    }
}

const VENOUS: [Phase; 1] = [Phase::Vp];
const NOTHING: [&str; 0] = [];

#[test]
fn slice_by_slice_over_minutes() {
    let mut story = Story::new(&VENOUS);
    for n in 0..40 {
        story.file(&format!("/e/{n}"), slice("a", "abdomen", n)).wait(20);
    }
    assert_eq!(story.told(), ["received"], "13 minutes and still open");
    story.wait(99);
    assert_eq!(story.told(), NOTHING);
    story.wait(1);
    assert_eq!(story.told(), ["complete 1 (quiet_period): vp 40"]);
    story.wait(5000);
    assert_eq!(story.told(), NOTHING, "told once");
}

#[test]
fn a_named_phase_without_holes_need_not_wait_long() {
    let mut story = Story::new(&VENOUS);
    story.series("/e", "a", "venous", 40).wait(29);
    assert_eq!(story.told(), ["received"]);
    story.wait(1);
    assert_eq!(story.told(), ["complete 1 (all_phases): vp 40"]);
}

#[test]
fn four_phases_wait_for_the_last() {
    let mut story = Story::new(&Phase::ALL);
    for series in ["native", "arterial", "venous"] {
        story.series("/e", "a", series, 10).wait(100);
    }
    assert_eq!(story.told(), ["received"]);
    story.series("/e", "a", "delayed", 10).wait(30);
    assert_eq!(story.told(), ["complete 1 (all_phases): nc 10, ap 10, vp 10, dp 10"]);
}

#[test]
fn a_hole_in_a_series_is_waited_for_and_then_accepted() {
    let mut story = Story::new(&VENOUS);
    for n in (0..40).filter(|n| *n != 17) {
        story.file(&format!("/e/{n}"), slice("a", "venous", n));
    }
    story.wait(300);
    assert_eq!(story.told(), ["received"]);
    story.file("/e/17", slice("a", "venous", 17)).wait(30);
    assert_eq!(story.told(), ["complete 1 (all_phases): vp 40"]);

    let mut story = Story::new(&VENOUS);
    for n in (0..40).filter(|n| *n != 17) {
        story.file(&format!("/e/{n}"), slice("a", "venous", n));
    }
    story.wait(479);
    assert_eq!(story.told(), ["received"]);
    story.wait(1);
    assert_eq!(story.told(), ["complete 1 (quiet_period): vp 39"], "the gate names the hole");
}

#[test]
fn two_studies_in_one_folder_stay_apart() {
    let mut story = Story::new(&VENOUS);
    for n in 0..20 {
        story.file(&format!("/e/I{}", 2 * n), slice("a", "venous", n));
        story.file(&format!("/e/I{}", 2 * n + 1), slice("b", "venous", n)).wait(1);
    }
    story.wait(60);
    let folders = story.studies();
    assert_eq!(folders.len(), 2);
    assert_ne!(folders[0].key, folders[1].key);
    for (at, study) in folders.iter().enumerate() {
        let odd = usize::from(study.key == key("b"));
        assert_eq!(study.phases[0].files.len(), 20, "{at}");
        let number = |path: &Path| path.to_str().unwrap()[4..].parse::<usize>().unwrap();
        assert!(study.files().all(|path| number(path) % 2 == odd));
    }
}

#[test]
fn the_same_study_exported_twice_runs_once() {
    let mut story = Story::new(&VENOUS);
    story.series("/e/x", "a", "venous", 20).wait(30);
    assert_eq!(story.told(), ["received", "complete 1 (all_phases): vp 20"]);
    story.series("/e/y", "a", "venous", 20).wait(200);
    assert_eq!(story.told(), ["duplicate"]);
    story.series("/e/x", "a", "venous", 20).wait(200);
    assert_eq!(story.told(), ["duplicate"], "overwritten with the same");
    story.wait(4000);
    assert_eq!(story.told(), NOTHING);
}

/// Slice `n` as it was sent anew: other pixels or headers, the same instance.
fn corrected(n: usize, word: &str) -> FileFacts {
    FileFacts { content: digest(&format!("{word} {n}")), ..slice("a", "venous", n) }
}

fn newest(story: &Story) -> StudyFiles {
    (*story.studies().last().unwrap()).clone()
}

#[test]
fn a_corrected_study_is_taken_in_anew_wherever_it_lies() {
    let mut story = Story::new(&VENOUS);
    story.series("/e/x", "a", "venous", 20).wait(200);
    for n in 0..20 {
        story.file(&format!("/e/y/{n}"), corrected(n, "better"));
    }
    story.wait(200);
    assert!(newest(&story).files().all(|path| path.starts_with("/e/y")), "the newest content");
    let first = ["received", "complete 1 (all_phases): vp 20"];
    assert_eq!(story.told(), [&first[..], &["complete 2 (all_phases): vp 20"]].concat());
    // Over these in place, and then some slices elsewhere.
    for n in 0..20 {
        story.file(&format!("/e/y/{n}"), corrected(n, "best"));
    }
    story.wait(200);
    assert_eq!(story.told(), ["complete 3 (all_phases): vp 20"]);
    for n in 5..8 {
        story.file(&format!("/e/z/{n}"), corrected(n, "three"));
    }
    story.wait(200);
    let study = newest(&story);
    assert_eq!(study.files().filter(|path| path.starts_with("/e/z")).count(), 3);
    assert_eq!(study.files().filter(|path| path.starts_with("/e/y")).count(), 17);
    assert_eq!(story.told(), ["complete 4 (all_phases): vp 20"]);
    // The first sent again as it was, elsewhere: it is the newest now.
    story.series("/e/w", "a", "venous", 20).wait(200);
    assert!(newest(&story).files().all(|path| path.starts_with("/e/w")));
    assert_eq!(story.told(), ["complete 5 (all_phases): vp 20"]);
    // A position put right is no further slice.
    for n in 0..20 {
        let mut facts = corrected(n, "moved");
        if let Part::Slice(slice) = &mut facts.part {
            slice.position_mm = slice.position_mm.map(|mm| mm + 1.0);
        }
        story.file(&format!("/e/v/{n}"), facts);
    }
    // Old and new positions lie side by side, as if slices were missing: not before all is quiet.
    story.wait(1000);
    assert_eq!(story.told(), ["complete 6 (quiet_period): vp 20"]);
}

#[test]
fn what_was_there_first_and_comes_back_in_place_is_news() {
    let mut story = Story::new(&VENOUS);
    let a = |story: &mut Story| {
        story.series("/e/x", "a", "venous", 20).wait(200);
    };
    a(&mut story);
    let first = newest(&story).fingerprint;
    for n in 0..20 {
        story.file(&format!("/e/x/venous{n}"), corrected(n, "b"));
    }
    story.wait(200);
    story.told();
    a(&mut story);
    let back = newest(&story).fingerprint;
    assert_ne!(back, first, "the store takes each fingerprint once");
    assert_eq!(story.told(), ["complete 3 (all_phases): vp 20"]);
    a(&mut story);
    assert_eq!(story.told(), ["duplicate"]);
    // A later process knows it too.
    let known = |fingerprint, revision| Known { key: key("a"), fingerprint, revision };
    let known = vec![known(first, 1), known(digest("b"), 2), known(back, 3)];
    let mut story = Story::after(&VENOUS, known);
    a(&mut story);
    assert_eq!(story.told(), NOTHING);
}

#[test]
fn an_older_copy_beside_the_newest_does_not_come_back_with_a_restart() {
    let mut before = Story::new(&VENOUS);
    before.series("/e/x", "a", "venous", 20).wait(200);
    let copy = |story: &mut Story| {
        for n in 0..20 {
            story.file(&format!("/e/y/{n}"), corrected(n, "better"));
        }
    };
    copy(&mut before);
    before.wait(200);
    let known: Vec<Known> = before
        .studies()
        .into_iter()
        .map(|study| {
            let StudyFiles { key, fingerprint, revision, .. } = study.clone();
            Known { key, fingerprint, revision }
        })
        .collect();
    assert_eq!(known.len(), 2);
    // As if somebody had touched the older folder since.
    let mut after = Story::after(&VENOUS, known);
    copy(&mut after);
    after.now += 10;
    after.series("/e/x", "a", "venous", 20).wait(500);
    assert!(!after.told().iter().any(|told| told.starts_with("complete")));
}

#[test]
fn a_later_revision_that_goes_away_is_heard_of() {
    let mut story = Story::new(&VENOUS);
    story.series("/e", "a", "venous", 20).wait(200).told();
    story.file("/e/late", slice("a", "venous", 20)).wait(5);
    story.event(Event::Gone { path: "/e/late".into() }).wait(500);
    assert_eq!(story.told(), ["refused 2: vanished of 20 files"]);
    story.file("/e/late", slice("a", "venous", 20)).wait(500);
    assert_eq!(story.told(), ["complete 3 (all_phases): vp 21"], "and comes again");
    for n in 0..20 {
        story.file(&format!("/e/venous{n}"), corrected(n, "c"));
    }
    for path in (0..20).map(|n| format!("/e/venous{n}")).chain(["/e/late".into()]) {
        story.event(Event::Gone { path: path.into() });
    }
    story.wait(500);
    assert_eq!(story.told(), ["refused 4: vanished of 0 files"]);
}

#[test]
fn a_study_that_failed_and_is_sent_again_is_tried_again() {
    let mut story = Story::new(&VENOUS);
    story.series("/e/x", "a", "venous", 20).wait(200).told();
    story.series("/e/y", "a", "venous", 20).wait(200);
    let resent = matches!(story.told[..], [StudyEvent::Duplicate { resent: true, .. }]);
    assert!(resent, "the store is asked whether it failed: {:?}", story.told());
    story.told();
    story.machine.try_again(&key("a"), Millis(story.now * 1000));
    story.wait(200);
    assert_eq!(story.told(), ["complete 2 (all_phases): vp 20"]);
}

#[test]
fn slices_that_share_an_instance_are_told_apart_by_position() {
    let mut story = Story::new(&VENOUS);
    for n in 0..20 {
        let mut facts = slice("a", "venous", n);
        if let Part::Slice(slice) = &mut facts.part {
            slice.instance = digest("one for all");
        }
        story.file(&format!("/e/s/{n}"), facts);
    }
    story.wait(200);
    assert_eq!(story.told(), ["received", "complete 1 (all_phases): vp 20"]);
}

/// Slice `n` of a finer series, named as another is.
fn fine(n: usize) -> FileFacts {
    let mut facts = slice("a", "venous fine", n);
    if let Part::Slice(slice) = &mut facts.part {
        slice.position_mm = Some(2.5 * n as f64);
    }
    facts
}

#[test]
fn a_broken_or_torn_series_leaves_its_place_to_a_whole_one() {
    let broken = |series: &str| {
        let series = Some(digest(&format!("a/{series}")));
        rejected_of("/e/cut", Some("a"), series)
    };
    // The finer series is read, the other stands by.
    let run = |torn: bool, cut: Option<&str>| {
        let mut story = Story::new(&VENOUS);
        story.series("/e", "a", "venous", 20);
        for n in (0..40).filter(|n| !torn || *n != 17) {
            story.file(&format!("/e/fine{n}"), fine(n));
        }
        cut.into_iter().for_each(|series| {
            story.event(broken(series));
        });
        story.wait(500);
        let study = newest(&story);
        let [phase] = &study.phases[..] else { panic!("one phase") };
        (phase.files.len(), phase.is_second, phase.others.len())
    };
    assert_eq!(run(false, None), (40, false, 1));
    assert_eq!(run(true, None), (20, true, 1), "a slice is missing");
    assert_eq!(run(false, Some("venous fine")), (20, true, 0), "a slice is cut");
    assert_eq!(run(false, Some("venous")), (40, false, 0));
    assert_eq!(run(false, Some("lung")), (40, false, 1), "of a series that nobody reads");

    let mut story = Story::new(&VENOUS);
    story.series("/e", "a", "venous", 20).event(broken("venous")).wait(500);
    assert_eq!(story.told(), ["received", "refused 1: truncated_file of 21 files"]);
    // Another phase is no second choice.
    let mut story = Story::new(&VENOUS);
    story.series("/e", "a", "venous", 20).series("/e", "a", "abdomen", 20);
    story.event(broken("venous")).wait(500);
    assert_eq!(story.told(), ["received", "refused 1: truncated_file of 41 files"]);
}

#[test]
fn a_second_choice_is_one_for_the_images_too() {
    let run = |cut: Option<&str>| {
        let mut story = Story::new(&VENOUS);
        story.series("/e", "a", "venous", 20);
        for n in 0..40 {
            story.file(&format!("/e/fine{n}"), fine(n));
        }
        cut.into_iter().for_each(|series| {
            let series = Some(digest(&format!("a/{series}")));
            story.event(rejected_of("/e/cut", Some("a"), series));
        });
        let study = newest(story.wait(500));
        let gate = super::GateParams::default();
        super::decide::decide(&study, &VENOUS, &gate, None).told.phases[0].is_second
    };
    assert!(run(Some("venous fine")), "the better one is cut");
    assert!(!run(None));
}

#[test]
fn a_sharp_kernel_is_read_where_there_is_no_other() {
    let run = |with_soft: bool| {
        let mut story = Story::new(&VENOUS);
        for n in 0..40 {
            let mut facts = fine(n);
            if let Part::Slice(slice) = &mut facts.part {
                slice.recon.fitness = super::phases::Fitness::Sharp;
            }
            story.file(&format!("/e/sharp{n}"), facts);
        }
        if with_soft {
            story.series("/e", "a", "venous", 20);
        }
        story.wait(500);
        newest(&story).phases[0].files.len()
    };
    assert_eq!((run(true), run(false)), (20, 40));
}

#[test]
fn strangers_are_told_by_folder_and_overturn_nothing() {
    let mut story = Story::new(&VENOUS);
    story.series("/e/cd", "a", "venous", 20).wait(200).told();
    for n in 0..16 {
        story.event(rejected(&format!("/e/cd/other{n}.dcm"), None)).wait(1);
    }
    story.event(stranger("/e/cd/README.txt", "/e/cd", Stranger::FOREIGN)).wait(200);
    assert_eq!(story.told(), ["passed over 1: 1 foreign, 16 truncated_file"]);
    story.event(rejected("/e/cd/other3.dcm", None)).wait(500);
    assert_eq!(story.told(), NOTHING, "told once");
    story.event(stranger("/e/cd/link", "/e/cd", Stranger::LINK)).wait(500);
    assert_eq!(story.told(), ["passed over 2: 1 foreign, 1 link, 16 truncated_file"]);
    // Notes beside a study belong to it; a folder of nothing else is heard of.
    story.series("/e/b", "b", "venous", 20);
    story.event(stranger("/e/b/README.txt", "/e/b", Stranger::FOREIGN)).wait(500);
    assert_eq!(story.told(), ["received", "complete 1 (all_phases): vp 20"]);
    story.event(stranger("/e/c/README.txt", "/e/c", Stranger::FOREIGN)).wait(500);
    assert_eq!(story.told(), ["passed over 1: 1 foreign"]);
    for n in 0..20_000 {
        story.event(stranger(&format!("/e/junk/{n}"), "/e/junk", "unknown_format"));
    }
    story.wait(500);
    assert_eq!(story.told(), ["passed over 1: 15904 more, 4096 unknown_format"]);
}

#[test]
fn a_study_tells_what_lies_beside_it() {
    let mut story = Story::new(&VENOUS);
    story.series("/e/cd/s", "a", "venous", 20).series("/e/cd/s", "a", "scout", 2);
    story.event(stranger("/e/cd/viewer.exe", "/e/cd", Stranger::FOREIGN)).wait(30);
    let Some(StudyEvent::Complete { passed_over, .. }) = story.told.last() else { panic!() };
    let words: Vec<String> = passed_over.iter().map(|(k, n)| format!("{n} {k}")).collect();
    assert_eq!(words, ["1 foreign", "2 localiser"]);
}

#[test]
fn thousands_of_markers_that_speak_for_nothing_cost_little() {
    let mut story = Story::new(&VENOUS);
    for n in 0..200 {
        story.series(&format!("/e/s{n}"), &format!("{n}"), "venous", 10);
    }
    for n in 0..5000 {
        story.marker("/e", &format!("none{n}"));
    }
    let began = std::time::Instant::now();
    story.wait(60);
    assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
    assert_eq!(story.studies().len(), 200);
}

#[test]
fn what_went_away_is_forgotten_but_for_its_fingerprint() {
    let mut story = Story::new(&VENOUS);
    for n in 0..1100 {
        let study = n.to_string();
        story.series("/e", &study, "venous", 8).wait(31);
        for at in 0..8 {
            story.event(Event::Gone { path: format!("/e/venous{at}").into() });
        }
    }
    story.wait(1).told();
    assert!(story.machine.remembered_slices() <= 1024 * 8);
    story.series("/e", "0", "venous", 8).wait(200);
    assert_eq!(story.told(), NOTHING, "the same study is still known");
}

#[test]
fn copies_that_arrive_together_are_one_study_in_any_order() {
    let copy = |n| FileFacts { content: digest(&format!("copy {n}")), ..slice("a", "venous", n) };
    let run = |folders: [&str; 2]| {
        let mut story = Story::new(&VENOUS);
        for n in 0..20 {
            story.file(&format!("{}/{n}", folders[0]), slice("a", "venous", n));
            story.file(&format!("{}/{n}", folders[1]), copy(19 - n));
        }
        story.wait(30);
        let study = story.studies()[0].clone();
        let folder = study.phases[0].files[0].parent().unwrap().to_owned();
        assert_eq!(study.phases[0].files.len(), 20);
        assert!(study.files().all(|path| path.parent() == Some(&folder)), "one copy, not a mix");
        assert_eq!(study.set_aside, 20);
        study.fingerprint
    };
    assert_eq!(run(["/e/x", "/e/y"]), run(["/e/y", "/e/x"]));
}

#[test]
fn a_changed_slice_and_a_late_series_make_a_new_revision() {
    let mut story = Story::new(&VENOUS);
    story.series("/e", "a", "venous", 20).wait(30).told();
    let other = FileFacts { content: digest("corrected"), ..slice("a", "venous", 3) };
    story.file("/e/venous3", other).wait(200);
    assert_eq!(story.told(), ["complete 2 (all_phases): vp 20"]);
    story.file("/e/venous20", slice("a", "venous", 20)).wait(200);
    assert_eq!(story.told(), ["complete 3 (all_phases): vp 21"]);
    story.series("/e", "a", "scout", 2).series("/e", "a", "delayed", 20).wait(200);
    assert_eq!(story.told(), NOTHING, "a late series of no interest changes nothing");
}

#[test]
fn a_late_phase_turns_a_refusal_into_a_study() {
    let mut story = Story::new(&Phase::ALL);
    for series in ["native", "arterial", "venous"] {
        story.series("/e", "a", series, 10);
    }
    story.wait(200);
    assert_eq!(story.told(), ["received", "refused 1: missing_phase of 30 files"]);
    story.series("/e", "a", "delayed", 10).wait(200);
    assert_eq!(story.told(), ["complete 2 (all_phases): nc 10, ap 10, vp 10, dp 10"]);
}

#[test]
fn only_scouts_are_refused_by_name() {
    let mut story = Story::new(&VENOUS);
    story.series("/e", "a", "scout", 2).wait(120);
    assert_eq!(story.told(), ["received", "refused 1: localiser of 2 files"]);
}

#[test]
fn a_marker_completes_once_everything_has_settled() {
    let mut story = Story::new(&VENOUS);
    story.series("/e/s", "a", "abdomen", 20);
    story.event(Event::Pending { path: "/e/s/abdomen20".into(), study: None });
    story.marker("/e/s", "").wait(60);
    assert_eq!(story.told(), ["received"], "a file is still being written");
    story.file("/e/s/abdomen20", slice("a", "abdomen", 20)).wait(1);
    assert_eq!(story.told(), ["complete 1 (marker): vp 21"]);
    // The marker still lies there; it counted once.
    story.file("/e/s/abdomen21", slice("a", "abdomen", 21)).wait(100);
    assert_eq!(story.told(), NOTHING);
    story.wait(20);
    assert_eq!(story.told(), ["complete 2 (quiet_period): vp 22"]);
    story.file("/e/s/abdomen22", slice("a", "abdomen", 22)).marker("/e/s", "").wait(1);
    assert_eq!(story.told(), ["complete 3 (marker): vp 23"], "written again, it counts again");
}

#[test]
fn a_marker_in_the_export_folder_does_not_reach_into_others() {
    let mut story = Story::new(&VENOUS);
    story.series("/e", "a", "abdomen", 20).series("/e/s", "b", "abdomen", 20);
    story.marker("/e", "").wait(1);
    assert_eq!(story.studies().iter().map(|s| &s.key).collect::<Vec<_>>(), [&key("a")]);
    story.told();
    story.marker("/e", "s").wait(1);
    assert_eq!(story.told(), ["complete 1 (marker): vp 20"]);
}

#[test]
fn a_trickle_ends_at_the_force_complete_time() {
    let mut story = Story::new(&VENOUS);
    for n in 0..19 {
        story.file(&format!("/e/{n}"), slice("a", "abdomen", n)).wait(100);
    }
    assert_eq!(story.told(), ["received", "complete 1 (forced): vp 18"]);
    story.wait(120);
    assert_eq!(story.told(), ["complete 2 (quiet_period): vp 19"]);
}

#[test]
fn a_clock_that_jumps_back_neither_hangs_nor_hurries() {
    let mut story = Story::new(&VENOUS);
    story.now = 1_000_000;
    story.series("/e", "a", "abdomen", 20).wait(60);
    story.now = 5;
    story.wait(59);
    assert_eq!(story.told(), ["received"]);
    story.wait(2);
    assert_eq!(story.told(), ["complete 1 (quiet_period): vp 20"]);
}

#[test]
fn a_half_written_neighbour_holds_a_study_until_it_is_given_up() {
    let mut story = Story::new(&VENOUS);
    story.series("/e/s", "a", "abdomen", 20).series("/e/t", "b", "abdomen", 20);
    story.event(Event::Unreadable { path: "/e/s/x".into() }).wait(200);
    assert_eq!(story.told(), ["received", "received", "complete 1 (quiet_period): vp 20"]);
    story.event(rejected("/e/s/x", None)).wait(200);
    let told = ["complete 1 (quiet_period): vp 20", "passed over 1: 1 truncated_file"];
    assert_eq!(story.told(), told, "whose it is, nobody can say");
    story.file("/e/s/x", slice("a", "abdomen", 20)).wait(200);
    assert_eq!(story.told(), ["complete 2 (quiet_period): vp 21"], "sent again, whole");
}

fn rejected(path: &str, study: Option<&str>) -> Event {
    rejected_of(path, study, None)
}

fn rejected_of(path: &str, study: Option<&str>, series: Option<Digest>) -> Event {
    let folder = super::strangers::top_folder(Path::new("/e"), Path::new(path));
    let broken = Broken {
        code: RefusalCode::TruncatedFile,
        said: "it ends too early".into(),
        content: digest(path),
        study: study.map(key),
        series,
        alone: key(folder.to_str().unwrap()),
    };
    Event::Refused { path: path.into(), broken }
}

fn stranger(path: &str, folder: &str, kind: &'static str) -> Event {
    let stranger = Stranger { kind, content: digest(path), alone: key(folder) };
    Event::PassedOver { path: path.into(), stranger }
}

#[test]
fn a_broken_file_is_refused_with_its_study_or_alone_never_with_a_bystander() {
    let mut story = Story::new(&VENOUS);
    story.series("/e", "a", "venous", 20).series("/e", "b", "portal", 20);
    story.event(rejected("/e/junk", None)).event(rejected("/e/x", Some("b")));
    story.wait(200);
    assert_eq!(
        story.told(),
        [
            "received",
            "received",
            "complete 1 (all_phases): vp 20",
            "refused 1: truncated_file of 21 files",
            "passed over 1: 1 truncated_file"
        ]
    );
    story.event(rejected("/e/junk", None)).wait(500);
    assert_eq!(story.told(), NOTHING, "told once");
    story.event(Event::Gone { path: "/e/x".into() }).wait(200);
    assert_eq!(story.told(), ["complete 2 (all_phases): vp 20"], "cleared away by a person");
}

#[test]
fn a_broken_file_that_says_whose_it_is_after_all_counts_once() {
    let mut story = Story::new(&VENOUS);
    story.series("/e/s", "a", "venous", 20);
    story.event(rejected("/e/s/x", None)).wait(1);
    story.event(rejected("/e/s/x", Some("a"))).wait(500);
    assert_eq!(story.told(), ["received", "refused 1: truncated_file of 21 files"]);
}

#[test]
fn unreadable_files_beside_the_images_are_counted_with_the_study() {
    let count = |paths: &[&str]| {
        let mut story = Story::new(&VENOUS);
        story.series("/e/s", "a", "venous", 20);
        for path in paths {
            story.event(rejected(path, None));
        }
        newest(story.wait(200)).unreadable_beside
    };
    assert_eq!(count(&["/e/s/021.dcm", "/e/s/22"]), 2);
    assert_eq!(count(&["/e/other/021.dcm", "/e/021.dcm"]), 0, "in another folder");
    assert_eq!(count(&[]), 0);
    let mut story = Story::new(&VENOUS);
    story.series("/e/s", "a", "venous", 20);
    for (name, kind) in
        [("a.dcm", "unknown_format"), ("b.bak", "unknown_format"), ("c.txt", "foreign")]
    {
        story.event(stranger(&format!("/e/s/{name}"), "/e/s", kind));
    }
    assert_eq!(newest(story.wait(200)).unreadable_beside, 1, "a.dcm should have been an image");
}

#[test]
fn files_that_go_away_are_not_forgotten_silently() {
    let mut story = Story::new(&VENOUS);
    story.series("/e", "a", "venous", 2);
    for n in 0..2 {
        story.event(Event::Gone { path: format!("/e/venous{n}").into() });
    }
    story.wait(120);
    assert_eq!(story.told(), ["received", "refused 1: vanished of 0 files"]);
    // A folder renamed after the study was complete: gone here, there again.
    story.series("/e/x", "a", "venous", 20).wait(30);
    assert_eq!(story.told(), ["complete 2 (all_phases): vp 20"]);
    for n in 0..20 {
        story.event(Event::Gone { path: format!("/e/x/venous{n}").into() });
    }
    story.wait(500);
    assert_eq!(story.told(), NOTHING, "a clean-up after the fact");
    story.series("/e/y", "a", "venous", 15).wait(500).series("/e/y", "a", "venous", 20).wait(500);
    assert!(!story.told().iter().any(|told| told.starts_with("complete")));
}

#[test]
fn nothing_is_repeated_after_a_restart() {
    let first = |story: &mut Story| {
        story.series("/e", "a", "venous", 20).series("/e/y", "a", "venous", 20);
        story.series("/e", "b", "scout", 2).wait(200);
    };
    let mut before = Story::new(&VENOUS);
    first(&mut before);
    let known = before.told.iter().filter_map(|outcome| match outcome {
        StudyEvent::Complete { study, .. } => Some((&study.key, study.fingerprint, study.revision)),
        StudyEvent::Refused { key, fingerprint, revision, .. } => {
            Some((key, *fingerprint, *revision))
        }
        _ => None,
    });
    let known: Vec<Known> = known
        .map(|(key, fingerprint, revision)| Known { key: key.clone(), fingerprint, revision })
        .collect();
    assert_eq!(known.len(), 2);
    let mut after = Story::after(&VENOUS, known);
    first(&mut after);
    assert_eq!(after.told(), ["duplicate"], "two copies lie there, nothing runs again");
    after.file("/e/venous20", slice("a", "venous", 20)).wait(200);
    assert_eq!(after.told(), ["complete 2 (all_phases): vp 21"], "revisions go on");
}

#[test]
fn nifti_cases_are_studies_and_copies_elsewhere_are_copies() {
    let mut story = Story::new(&VENOUS);
    story.file("/e/ct.nii.gz", nifti("/e", "ct.nii.gz", "one")).wait(30);
    assert_eq!(story.told(), ["received", "complete 1 (all_phases): vp 1"]);
    story.file("/e/x/ct.nii.gz", nifti("/e/x", "ct.nii.gz", "one")).wait(30);
    assert_eq!(story.told(), ["received", "duplicate"]);
    story.file("/e/y/ct.nii.gz", nifti("/e/y", "ct.nii.gz", "two")).wait(30);
    assert_eq!(story.told(), ["received", "complete 1 (all_phases): vp 1"]);
    let mut story = Story::new(&Phase::ALL);
    for n in 0..4 {
        let name = format!("p_000{n}.nii.gz");
        let path = format!("/e/{name}");
        let study = Some(key("/e/p"));
        story.event(Event::Pending { path: path.clone().into(), study }).wait(200);
        story.file(&path, nifti("/e", &name, &name)).wait(20);
    }
    assert_eq!(story.told(), ["received"], "a file known by name is waited for");
    story.wait(10);
    assert_eq!(story.told(), ["complete 1 (all_phases): nc 1, ap 1, vp 1, dp 1"]);
}

#[test]
fn a_path_overwritten_by_another_study_changes_hands() {
    let mut story = Story::new(&VENOUS);
    story.series("/e", "a", "venous", 20);
    story.series("/e", "b", "venous", 10).wait(200);
    let counts: BTreeMap<&StudyKey, usize> =
        story.studies().iter().map(|study| (&study.key, study.phases[0].files.len())).collect();
    assert_eq!(counts, BTreeMap::from([(&key("a"), 10), (&key("b"), 10)]));
}

#[test]
fn too_many_files_are_refused_and_held_no_longer() {
    let mut params = params(&VENOUS);
    params.max_files = 10;
    let machine = Assembler::new(params, Vec::new());
    let mut story = Story { machine, now: 0, told: Vec::new() };
    story.series("/e", "a", "venous", 11).wait(200);
    assert_eq!(story.told(), ["received", "refused 1: too_many_files of 10 files"]);
}

#[test]
fn a_backlog_of_unread_files_is_no_quiet_period() {
    let mut story = Story::new(&VENOUS);
    for n in 20..40 {
        story.event(Event::Pending { path: format!("/e/venous{n}").into(), study: None });
    }
    story.series("/e", "a", "venous", 20).wait(1000);
    assert_eq!(story.told(), ["received"], "half of it is read, the rest waits its turn");
    story.series("/e", "a", "venous", 40).wait(30);
    assert_eq!(story.told(), ["complete 1 (all_phases): vp 40"]);
}

#[test]
fn a_stream_of_others_in_the_folder_starves_nobody() {
    let mut story = Story::new(&VENOUS);
    story.series("/e", "a", "venous", 20);
    for n in 0..150 {
        // A file of somebody else is always on its way.
        story.event(Event::Pending { path: format!("/e/x{n}").into(), study: None }).wait(1);
        story.file(&format!("/e/x{n}"), slice("b", "venous", n));
        story.event(Event::Pending { path: format!("/e/y{n}").into(), study: None });
        story.event(Event::Gone { path: format!("/e/y{}", n as i64 - 1).into() });
    }
    assert_eq!(story.told(), ["received", "received", "complete 1 (quiet_period): vp 20"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any order, any pauses, any names: the same studies under the same fingerprints.
    #[test]
    fn order_and_paths_do_not_show(
        order in Just((0..60usize).collect::<Vec<_>>()).prop_shuffle(),
        pauses in proptest::collection::vec(0u64..20, 60),
        prefix in "[a-z]{1,5}",
    ) {
        let run = |order: &[usize], pauses: &[u64], prefix: &str| {
            let mut story = Story::new(&VENOUS);
            for (at, &n) in order.iter().enumerate() {
                let facts = slice(["a", "b"][n % 2], ["venous", "scout", "arterial"][n % 3], n);
                story.file(&format!("/e/{prefix}{n}"), facts).wait(pauses[at]);
            }
            story.wait(600);
            let prints = story.studies().iter().map(|s| (s.key.clone(), s.fingerprint)).collect();
            (story.machine.open_studies(), prints)
        };
        let sorted: Vec<usize> = (0..60).collect();
        let (_, expected): (usize, BTreeMap<StudyKey, Digest>) = run(&sorted, &[0; 60], "x");
        let (open, found) = run(&order, &pauses, &prefix);
        prop_assert_eq!(expected.len(), 2);
        prop_assert_eq!(found, expected);
        prop_assert_eq!(open, 0);
    }
}

#[test]
fn reasons_have_names() {
    let names: Vec<&str> = [
        CompletionRule::QuietPeriod,
        CompletionRule::AllPhases,
        CompletionRule::Marker,
        CompletionRule::Forced,
    ]
    .into_iter()
    .map(CompletionRule::as_str)
    .collect();
    assert_eq!(names, ["quiet_period", "all_phases", "marker", "forced"]);
}
