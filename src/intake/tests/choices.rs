//! Which series of a study is read, and which stands by.

use super::*;

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
        let gate = crate::intake::GateParams::default();
        crate::intake::study::decide::decide(&study, &VENOUS, &gate, None).told.phases[0].is_second
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
                slice.recon.fitness = crate::intake::study::phases::Fitness::Sharp;
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
fn only_scouts_are_refused_by_name() {
    let mut story = Story::new(&VENOUS);
    story.series("/e", "a", "scout", 2).wait(120);
    assert_eq!(story.told(), ["received", "refused 1: localiser of 2 files"]);
}

/// Neither has a phase that the engine reads: each is heard of, and none is a copy of the other.
#[test]
fn two_patients_without_the_engines_phases_are_two() {
    let mut story = Story::new(&VENOUS);
    story.series("/e/1", "a", "native", 20).series("/e/2", "b", "native", 20).wait(500);
    let told = story.told();
    assert_eq!(told.iter().filter(|word| *word == "received").count(), 2, "{told:?}");
    assert_eq!(told.len(), 4, "{told:?}");
    assert!(told.iter().all(|word| !word.contains("copy")), "{told:?}");
}

#[test]
fn slices_of_two_patients_under_one_study_are_refused_and_a_corrected_one_is_read() {
    let of = |patient: &str, n: usize, content: &str| {
        let mut facts = slice("a", "venous", n);
        facts.content = digest(&format!("{content} {n}"));
        if let Part::Slice(slice) = &mut facts.part {
            slice.patient = Some(digest(patient));
        }
        facts
    };
    let mut story = Story::new(&VENOUS);
    for n in 0..20 {
        story.file(&format!("/e/{n}"), of(["one", "two"][n % 2], n, "first"));
    }
    story.wait(500);
    assert_eq!(story.told(), ["received", "refused 1: mixed_patients of 20 files"]);
    // The archive corrects the number of the patient and sends all again, elsewhere.
    for n in 0..20 {
        story.file(&format!("/e/again/{n}"), of("one", n, "second"));
    }
    story.wait(500);
    let told = story.told();
    assert!(told.len() == 1 && told[0].contains("vp 20"), "{told:?}");
}
