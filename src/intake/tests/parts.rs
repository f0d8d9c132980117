//! Parts of a study that was analysed: the rest went away, out of the spool or under somebody's hands.

use super::*;

/// A later process, which knows of a study in whose place only a part is left.
struct Later {
    story: Story,
    study: StudyFiles,
}

impl Later {
    fn of(series: &[(&str, usize)]) -> Later {
        let mut before = Story::new(&VENOUS);
        for (name, count) in series {
            before.series("/e/1", "a", name, *count);
        }
        before.wait(500);
        let study = newest(&before);
        let StudyFiles { fingerprint, revision, .. } = study;
        let story = Story::after(&VENOUS, vec![Known { key: key("a"), fingerprint, revision }]);
        Later { story, study }
    }

    /// What is told once it is quiet, by one who asks what was analysed.
    fn told(&mut self) -> Vec<String> {
        for _ in 0..1000 {
            self.story.now += 1;
            let now = Millis(self.story.now * 1000);
            let recalled = |_: &StudyKey| Some(self.study.clone());
            self.story.told.extend(self.story.machine.tick_recalling(now, &recalled));
        }
        self.story.told()
    }

    fn slices(&mut self, folder: &str, which: std::ops::Range<usize>) -> Vec<String> {
        for n in which {
            self.story.file(&format!("{folder}/{n}"), slice("a", "venous", n));
        }
        self.told()
    }
}

#[test]
fn a_part_of_what_was_analysed_that_comes_again_alone_is_nothing_new() {
    let mut later = Later::of(&[("venous", 60), ("scout", 2)]);
    assert_eq!(later.slices("/e/2", 3..5), ["duplicate"], "too few to be read");
    assert_eq!(later.slices("/e/3", 0..40), ["duplicate"], "enough to be read, and not all");
    later.story.series("/e/4", "a", "scout", 2);
    assert_eq!(later.told(), ["duplicate"], "what was passed over was seen all the same");
    for n in 0..5 {
        later.story.event(Event::Gone { path: format!("/e/3/{n}").into() });
    }
    assert_eq!(later.told(), NOTHING, "and goes again");
    assert_eq!(later.slices("/e/5", 0..60), ["duplicate"], "all of it is the same study");
}

#[test]
fn what_is_new_among_them_is_heard_of() {
    let other = |n: usize| FileFacts { content: digest("better"), ..slice("a", "venous", n) };
    let mut later = Later::of(&[("venous", 60)]);
    later.story.file("/e/2/3", slice("a", "venous", 3)).file("/e/2/4", other(4));
    assert_eq!(later.told(), ["complete 2 (all_phases): vp 2"]);
    let mut later = Later::of(&[("venous", 60)]);
    later.slices("/e/2", 0..40);
    later.story.file("/e/2/late", slice("a", "venous", 60));
    let told = later.told();
    assert!(told[0].starts_with("complete 2"), "the daemon judges what is left: {told:?}");
    let mut later = Later::of(&[("venous", 60)]);
    later.slices("/e/2", 0..40);
    later.story.file("/e/2/3", other(3));
    for n in 40..60 {
        later.story.file(&format!("/e/2/{n}"), slice("a", "venous", n));
    }
    let told = later.told();
    assert!(told[0].starts_with("complete 2"), "all here, one of them another: {told:?}");
}

#[test]
fn who_asks_for_a_part_is_given_it_and_one_without_a_result_is_judged() {
    let mut later = Later::of(&[("venous", 60)]);
    later.slices("/e/2", 0..40);
    let now = Millis(later.story.now * 1000);
    assert!(later.story.machine.try_again(&key("a"), now));
    assert!(later.told()[0].starts_with("complete 2"));
    let mut later = Later::of(&[("venous", 60)]);
    later.study.seen.clear();
    assert_eq!(later.slices("/e/2", 3..5), ["complete 2 (all_phases): vp 2"]);
}
