//! What belongs to no study, and broken files.

use super::*;
use crate::intake::folder::stranger_kind::StrangerKind;

#[test]
fn strangers_are_told_by_folder_and_overturn_nothing() {
    let mut story = Story::new(&VENOUS);
    story.series("/e/cd", "a", "venous", 20).wait(200).told();
    for n in 0..16 {
        story.event(rejected(&format!("/e/cd/other{n}.dcm"), None)).wait(1);
    }
    story.event(stranger("/e/cd/README.txt", "/e/cd", StrangerKind::Foreign)).wait(200);
    assert_eq!(story.told(), ["passed over 1: 1 foreign, 16 truncated_file"]);
    story.event(rejected("/e/cd/other3.dcm", None)).wait(500);
    assert_eq!(story.told(), NOTHING, "told once");
    story.event(stranger("/e/cd/link", "/e/cd", StrangerKind::Link)).wait(500);
    assert_eq!(story.told(), ["passed over 2: 1 foreign, 1 link, 16 truncated_file"]);
    assert_eq!(story.machine.files_of(&key("/e/cd")).len(), 18);
    assert!(story.machine.try_again(&key("/e/cd"), Millis(story.now * 1000)));
    story.wait(500);
    assert_eq!(story.told(), ["passed over 3: 1 foreign, 1 link, 16 truncated_file"], "as asked");
    // Notes beside a study belong to it; a folder of nothing else is heard of.
    story.series("/e/b", "b", "venous", 20);
    story.event(stranger("/e/b/README.txt", "/e/b", StrangerKind::Foreign)).wait(500);
    assert_eq!(story.told(), ["received", "complete 1 (all_phases): vp 20"]);
    story.event(stranger("/e/c/README.txt", "/e/c", StrangerKind::Foreign)).wait(500);
    assert_eq!(story.told(), ["passed over 1: 1 foreign"]);
    for n in 0..20_000 {
        story.event(stranger(
            &format!("/e/junk/{n}"),
            "/e/junk",
            StrangerKind::Refused(RefusalCode::UnknownFormat),
        ));
    }
    story.wait(500);
    assert_eq!(story.told(), ["passed over 1: 15904 more, 4096 unknown_format"]);
}

#[test]
fn folders_of_strangers_that_went_away_are_known_again() {
    let mut story = Story::new(&VENOUS);
    let note = |n: usize, name: &str| {
        stranger(&format!("/e/{n}/{name}"), &format!("/e/{n}"), StrangerKind::Foreign)
    };
    for n in 0..1100 {
        story.event(note(n, "a.txt"));
    }
    assert_eq!(story.wait(200).told().len(), 1100);
    for n in 0..1100 {
        story.event(Event::Gone { path: format!("/e/{n}/a.txt").into() });
    }
    assert_eq!(story.wait(200).told(), NOTHING);
    assert!(story.machine.studies_in_full() <= 1024, "{}", story.machine.studies_in_full());
    for n in 0..1100 {
        story.event(note(n, "a.txt"));
    }
    assert_eq!(story.wait(200).told(), NOTHING, "told once");
    for n in 0..1100 {
        story.event(note(n, "b.txt"));
    }
    let told = story.wait(200).told();
    assert!(told.iter().all(|words| words == "passed over 2: 2 foreign"), "{told:?}");
    assert_eq!(told.len(), 1100);
    assert!(
        (0..1100).all(|n| {
            story.machine.try_again(&key(&format!("/e/{n}")), Millis(story.now * 1000))
        })
    );
}

#[test]
fn a_study_tells_what_lies_beside_it() {
    let mut story = Story::new(&VENOUS);
    story.series("/e/cd/s", "a", "venous", 20).series("/e/cd/s", "a", "scout", 2);
    story.event(stranger("/e/cd/viewer.exe", "/e/cd", StrangerKind::Foreign)).wait(30);
    let Some(StudyEvent::Complete { passed_over, .. }) = story.told.last() else { panic!() };
    let words: Vec<String> = passed_over.iter().map(|(k, n)| format!("{n} {k}")).collect();
    assert_eq!(words, ["1 foreign", "2 localiser"]);
}

fn stranger(path: &str, folder: &str, kind: StrangerKind) -> Event {
    let stranger = Stranger { kind, said: None, content: digest(path), alone: key(folder) };
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
    let unknown = StrangerKind::Refused(RefusalCode::UnknownFormat);
    for (name, kind) in [("a.dcm", unknown), ("b.bak", unknown), ("c.txt", StrangerKind::Foreign)] {
        story.event(stranger(&format!("/e/s/{name}"), "/e/s", kind));
    }
    assert_eq!(newest(story.wait(200)).unreadable_beside, 1, "a.dcm should have been an image");
}
