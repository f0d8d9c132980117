//! Corrections, copies and what comes back: when a study is taken in anew.

use super::*;

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

/// Slice `n` of series "a" in a transfer syntax: other bytes, the same images.
fn written(n: usize, syntax: &str) -> FileFacts {
    let images = Some(digest(&format!("images {n}")));
    FileFacts { content: digest(&format!("{syntax} {n}")), images, ..slice("a", "venous", n) }
}

fn sent(story: &mut Story, folder: &str, syntax: &str) {
    for n in 0..20 {
        story.file(&format!("{folder}/{n}"), written(n, syntax));
    }
    story.wait(200);
}

#[test]
fn a_study_that_is_sent_again_in_another_transfer_syntax_is_the_same_study() {
    let mut story = Story::new(&VENOUS);
    sent(&mut story, "/e/1", "explicit");
    let first = newest(&story).fingerprint;
    assert_eq!(story.told(), ["received", "complete 1 (all_phases): vp 20"]);
    sent(&mut story, "/e/2", "jpeg 2000");
    assert_eq!(story.told(), ["duplicate"]);
    let known = |fingerprint| vec![Known { key: key("a"), fingerprint, revision: 1 }];
    let mut later = Story::after(&VENOUS, known(first));
    sent(&mut later, "/e/2", "jpeg 2000");
    assert_eq!(later.told(), NOTHING, "a later process knows it too");
    // One image is another: that is a correction, in whatever syntax.
    let other = FileFacts { images: Some(digest("better")), ..written(3, "jpeg 2000") };
    later.file("/e/2/3", other).wait(200);
    assert_eq!(later.told(), ["complete 2 (all_phases): vp 20"]);
}

#[test]
fn what_an_earlier_program_took_in_by_its_bytes_is_not_taken_in_again() {
    let mut before = Story::new(&VENOUS);
    for n in 0..20 {
        before.file(&format!("/e/1/{n}"), FileFacts { images: None, ..written(n, "explicit") });
    }
    before.wait(200);
    let fingerprint = newest(&before).fingerprint;
    let known = vec![Known { key: key("a"), fingerprint, revision: 1 }];
    let mut after = Story::after(&VENOUS, known);
    sent(&mut after, "/e/1", "explicit");
    assert_eq!(after.told(), NOTHING);
    sent(&mut after, "/e/2", "jpeg 2000");
    assert_eq!(after.told(), ["duplicate"]);
}

#[test]
fn files_written_over_in_another_transfer_syntax_are_taken_in_once_more() {
    // The study that waits names files that are no longer what was accepted.
    let mut story = Story::new(&VENOUS);
    sent(&mut story, "/e/1", "explicit");
    let first = newest(&story).fingerprint;
    story.told();
    sent(&mut story, "/e/1", "jpeg 2000");
    let second = newest(&story).fingerprint;
    assert_eq!(story.told(), ["complete 2 (all_phases): vp 20"]);
    sent(&mut story, "/e/2", "explicit");
    assert_eq!(story.told(), ["duplicate"]);
    let known = |fingerprint, revision| Known { key: key("a"), fingerprint, revision };
    let mut later = Story::after(&VENOUS, vec![known(first, 1), known(second, 2)]);
    sent(&mut later, "/e/1", "jpeg 2000");
    assert_eq!(later.told(), NOTHING);
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
fn what_was_refused_is_judged_anew_when_somebody_asks() {
    let mut story = Story::new(&VENOUS);
    story.series("/e/a", "a", "scout", 2).wait(500).told();
    let ask = |story: &mut Story, study: &StudyKey| {
        story.machine.try_again(study, Millis(story.now * 1000))
    };
    assert_eq!(story.machine.files_of(&key("a")).len(), 2);
    assert!(ask(&mut story, &key("a")));
    // Asking again while it is judged holds nothing up.
    for _ in 0..300 {
        if !story.wait(1).told.is_empty() {
            break;
        }
        assert!(ask(&mut story, &key("a")));
    }
    assert_eq!(story.told(), ["refused 2: localiser of 2 files"]);
    story.wait(500);
    assert_eq!(story.told(), [""; 0], "once");
    // What was wrong is mended meanwhile, as by another rule.
    story.series("/e/a", "a", "venous", 20).wait(500);
    assert_eq!(story.told(), ["complete 3 (all_phases): vp 20"]);
    assert!(!ask(&mut story, &key("b")), "nothing of it is here");
    for path in story.machine.files_of(&key("a")) {
        story.event(Event::Gone { path });
    }
    assert!(!ask(&mut story, &key("a")), "nothing of it is left");
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
    assert!(story.machine.studies_in_full() <= 1024, "{}", story.machine.studies_in_full());
    story.series("/e", "0", "venous", 8).wait(200);
    assert_eq!(story.told(), NOTHING, "the same study is still known");
    // What came back stands as it stood: a correction is its second revision, and no new study.
    let corrected = FileFacts { content: digest("corrected"), ..slice("0", "venous", 3) };
    story.file("/e/venous3", corrected).wait(200);
    assert_eq!(story.told(), ["complete 2 (all_phases): vp 8"]);
}

#[test]
fn of_what_an_earlier_run_has_seen_little_is_held() {
    let known = |n: usize| Known {
        key: key(&n.to_string()),
        fingerprint: digest(&n.to_string()),
        revision: 1,
    };
    let story = Story::after(&VENOUS, (0..5000).map(known).collect());
    assert_eq!(story.machine.studies_in_full(), 0);
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
        assert_eq!(study.unused, 20);
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
