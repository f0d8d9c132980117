//! When a study is complete: pauses, holes, markers, clocks.

use super::*;

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
fn what_comes_is_told_until_it_is_complete_and_what_is_known_is_not() {
    let mut story = Story::new(&Phase::ALL);
    story.series("/e", "a", "native", 10).wait(20);
    story.series("/e", "a", "venous", 7).wait(1);
    story.series("/f", "b", "venous", 3).wait(1);
    let coming = |story: &Story| -> Vec<(usize, usize, u64)> {
        let all = story.machine.arriving();
        all.iter().map(|one| (one.files, one.series, one.since.0 / 1000)).collect()
    };
    assert_eq!(coming(&story), [(3, 1, 21), (17, 2, 0)], "the newest first");
    story.wait(500);
    assert_eq!(coming(&story), []);
    // One more phase, later.
    story.series("/e", "a", "arterial", 5).wait(1);
    assert_eq!(coming(&story), [(22, 3, 522)]);
    // A process that begins looks at all of it again.
    let mut whole = Story::new(&VENOUS);
    whole.series("/e", "a", "venous", 40).wait(30);
    let study = newest(&whole);
    let known = Known { key: study.key, fingerprint: study.fingerprint, revision: 1 };
    let mut again = Story::after(&VENOUS, vec![known]);
    again.series("/e", "a", "venous", 40).wait(1);
    assert_eq!(coming(&again), []);
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
