//! Every order of events that the schedule can meet.

use proptest::prelude::*;

use super::*;

const LIMITS: ScheduleLimits = ScheduleLimits {
    window: 3,
    patience_ms: 1000,
    health_ms: 60_000,
    backoff_ms: 100,
    most_backoff_ms: 1600,
};

/// A schedule that is connected and has said its retained set.
fn greeted() -> Schedule {
    let mut schedule = Schedule::new(LIMITS, 1);
    assert_eq!(schedule.next(0), Step::Connect);
    schedule.connecting(0);
    schedule.connected(0);
    for document in Retained::ALL {
        assert_eq!(schedule.next(0), Step::SendRetained(document));
        schedule.sent(Item::Retained(document), 0);
        schedule.answered(Item::Retained(document), true, 0);
    }
    schedule
}

fn send(schedule: &mut Schedule, seqs: &[u64]) {
    for &seq in seqs {
        schedule.sent(Item::Event(seq), 0);
    }
}

#[test]
fn the_retained_set_goes_first_after_every_connect() {
    let mut schedule = greeted();
    assert_eq!(schedule.next(0), Step::Fetch { after: 0, most: 3 });
    schedule.lost(5);
    schedule.connecting(500);
    schedule.connected(600);
    assert_eq!(schedule.next(600), Step::SendRetained(Retained::Availability));
}

#[test]
fn the_window_is_kept_and_refilled_oldest_first() {
    let mut schedule = greeted();
    assert_eq!(schedule.fetched(&[4, 5, 7], 3), [4, 5, 7]);
    send(&mut schedule, &[4, 5, 7]);
    assert!(matches!(schedule.next(0), Step::Wait { .. }));
    schedule.answered(Item::Event(5), true, 1);
    assert_eq!(schedule.next(1), Step::Fetch { after: 7, most: 1 });
    assert!(schedule.fetched(&[], 1).is_empty());
    assert!(matches!(schedule.next(1), Step::Wait { .. }));
    schedule.woken();
    assert_eq!(schedule.next(1), Step::Fetch { after: 7, most: 1 });
}

#[test]
fn what_was_under_way_is_fetched_again_in_order() {
    let mut schedule = greeted();
    schedule.fetched(&[4, 5, 7], 3);
    send(&mut schedule, &[4, 5, 7]);
    schedule.answered(Item::Event(4), true, 1);
    assert_eq!(schedule.lost(2), [5, 7]);
    schedule.connecting(500);
    schedule.connected(500);
    for document in Retained::ALL {
        schedule.sent(Item::Retained(document), 500);
        schedule.answered(Item::Retained(document), true, 500);
    }
    assert_eq!(schedule.next(500), Step::Fetch { after: 0, most: 3 });
    // An answer to the connection before comes too late to matter.
    schedule.answered(Item::Event(5), true, 501);
    assert_eq!(schedule.fetched(&[5, 7, 8], 3), [5, 7, 8]);
}

#[test]
fn a_refused_event_is_postponed_for_the_others() {
    let mut schedule = greeted();
    schedule.fetched(&[1, 2, 3], 3);
    send(&mut schedule, &[1, 2, 3]);
    schedule.answered(Item::Event(1), false, 10);
    assert_eq!(schedule.next(10), Step::Fetch { after: 3, most: 1 });
    schedule.fetched(&[], 1);
    let Step::Wait { ms } = schedule.next(10) else { panic!("not waiting") };
    assert!((50..=100).contains(&ms), "{ms}");
    assert_eq!(schedule.next(10 + ms), Step::SendAgain(1));
    schedule.sent(Item::Event(1), 110);
    assert!(matches!(schedule.next(110), Step::Wait { ms: 100.. }), "it is under way");
    schedule.answered(Item::Event(1), false, 110);
    schedule.answered(Item::Event(2), true, 110);
    schedule.answered(Item::Event(3), true, 110);
    let Step::Wait { ms } = schedule.next(110) else { panic!("not waiting") };
    assert!((100..=200).contains(&ms), "the second back-off is twice the first: {ms}");
    // A new connection does not shorten it, and it is not fetched in between.
    schedule.lost(111);
    schedule.connected(112);
    assert_eq!(schedule.fetched(&[1, 4], 3), [4]);
}

#[test]
fn a_silent_broker_is_left() {
    let mut schedule = greeted();
    schedule.fetched(&[1], 3);
    send(&mut schedule, &[1]);
    assert_eq!(schedule.next(400), Step::Wait { ms: 600 });
    assert_eq!(schedule.next(1000), Step::Abandon);
    let mut schedule = Schedule::new(LIMITS, 1);
    schedule.connecting(0);
    assert_eq!(schedule.next(1000), Step::Abandon);
}

#[test]
fn back_off_doubles_to_its_cap_and_a_stable_line_resets_it() {
    let mut schedule = Schedule::new(LIMITS, 7);
    let mut now = 0;
    let mut waits = Vec::new();
    for _ in 0..8 {
        schedule.connecting(now);
        schedule.lost(now);
        let Step::Wait { ms } = schedule.next(now) else { panic!("not waiting") };
        waits.push(ms);
        now += ms;
    }
    for (n, &ms) in waits.iter().enumerate() {
        let whole = (100 << n).min(1600);
        assert!((whole / 2..=whole).contains(&ms), "{waits:?}");
    }
    // A broker that drops the line at once is no reason for hope.
    schedule.connected(now);
    schedule.lost(now + 10);
    assert!(matches!(schedule.next(now + 10), Step::Wait { ms: 800.. }));
    schedule.connected(now);
    schedule.lost(now + STABLE_MS);
    assert!(matches!(schedule.next(now + STABLE_MS), Step::Wait { ms: ..=100 }));
}

#[test]
fn health_comes_by_the_clock_and_sooner_when_hastened() {
    let mut schedule = greeted();
    schedule.fetched(&[], 3);
    assert_eq!(schedule.next(0), Step::Wait { ms: 60_000 });
    schedule.hasten_health(5000);
    assert_eq!(schedule.next(4000), Step::Wait { ms: 1000 });
    assert_eq!(schedule.next(5000), Step::SendRetained(Retained::Health));
}

#[test]
fn a_stop_says_offline_first_and_sends_what_it_can() {
    let mut schedule = greeted();
    schedule.fetched(&[], 3);
    schedule.stop(1000);
    for document in [Retained::Availability, Retained::Status] {
        assert_eq!(schedule.next(1), Step::SendRetained(document));
        schedule.sent(Item::Retained(document), 1);
    }
    assert_eq!(schedule.next(1), Step::Fetch { after: 0, most: 1 });
    schedule.fetched(&[1], 1);
    send(&mut schedule, &[1]);
    assert!(matches!(schedule.next(1), Step::Wait { .. }), "the answers are waited for");
    schedule.answered(Item::Retained(Retained::Availability), true, 2);
    schedule.answered(Item::Retained(Retained::Status), true, 2);
    schedule.answered(Item::Event(1), true, 2);
    assert_eq!(schedule.next(2), Step::Fetch { after: 1, most: 3 });
    schedule.fetched(&[], 3);
    assert_eq!(schedule.next(2), Step::Finished);
}

#[test]
fn a_stop_ends_at_its_deadline_and_without_a_broker_at_once() {
    let mut schedule = greeted();
    schedule.fetched(&[1], 3);
    send(&mut schedule, &[1]);
    schedule.stop(100);
    assert_eq!(schedule.next(100), Step::Finished);
    let mut schedule = Schedule::new(LIMITS, 1);
    schedule.connecting(0);
    schedule.stop(100);
    assert_eq!(schedule.next(1), Step::Finished);
}

#[test]
fn a_replay_comes_after_everything_else() {
    let mut schedule = greeted();
    assert!(schedule.replay(3, 4));
    assert!(!schedule.replay(1, 2), "one at a time");
    assert_eq!(schedule.next(0), Step::Fetch { after: 0, most: 3 });
    schedule.fetched(&[], 3);
    assert_eq!(schedule.next(0), Step::SendReplay(3));
    schedule.replayed(3);
    assert_eq!(schedule.next(0), Step::SendReplay(4));
    schedule.sent(Item::Replay(4), 0);
    schedule.answered(Item::Replay(4), true, 0);
    assert!(matches!(schedule.next(0), Step::Wait { .. }));
}

/// A broker and a store played by dice: what it takes, what it refuses, when it breaks.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Accept,
    Refuse,
    Break,
    Write,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        6 => Just(Fate::Accept),
        1 => Just(Fate::Refuse),
        1 => Just(Fate::Break),
        3 => Just(Fate::Write),
    ]
}

/// Runs the schedule until it waits; what it hands to the line is added to `handed`.
fn settle_down(
    schedule: &mut Schedule,
    now: &mut u64,
    unsent: &BTreeSet<u64>,
    handed: &mut Vec<Item>,
) {
    loop {
        match schedule.next(*now) {
            Step::Connect => {
                schedule.connecting(*now);
                schedule.connected(*now);
            }
            Step::SendRetained(document) => {
                schedule.sent(Item::Retained(document), *now);
                handed.push(Item::Retained(document));
            }
            Step::Fetch { after, most } => {
                let found: Vec<u64> = unsent.range(after + 1..).copied().take(most).collect();
                for seq in schedule.fetched(&found, most) {
                    schedule.sent(Item::Event(seq), *now);
                    handed.push(Item::Event(seq));
                }
            }
            Step::SendAgain(seq) => {
                assert!(unsent.contains(&seq));
                schedule.sent(Item::Event(seq), *now);
                handed.push(Item::Event(seq));
            }
            Step::Wait { ms } if !schedule.is_up() => *now += ms,
            Step::Wait { .. } => return,
            Step::Abandon => {
                handed.clear();
                schedule.lost(*now);
            }
            step => panic!("{step:?} out of place"),
        }
    }
}

proptest! {
    #[test]
    fn everything_arrives_whatever_the_broker_does(
        fates in proptest::collection::vec(fate(), 0..120)
    ) {
        let mut schedule = Schedule::new(LIMITS, 3);
        let (mut now, mut last) = (0, 0);
        let mut unsent = BTreeSet::new();
        let mut on_line: Vec<Item> = Vec::new();
        // In the end the broker behaves, and time goes on.
        let patient = std::iter::repeat_n(Fate::Accept, 400);
        for fate in fates.into_iter().chain(patient) {
            settle_down(&mut schedule, &mut now, &unsent, &mut on_line);
            let events = on_line.iter().filter(|item| matches!(item, Item::Event(_))).count();
            prop_assert!(events <= LIMITS.window);
            now += 20;
            match fate {
                Fate::Write => {
                    last += 1;
                    unsent.insert(last);
                    schedule.woken();
                }
                Fate::Break => {
                    on_line.clear();
                    schedule.lost(now);
                }
                Fate::Accept | Fate::Refuse if on_line.is_empty() => {}
                Fate::Accept => {
                    let item = on_line.remove(0);
                    schedule.answered(item, true, now);
                    if let Item::Event(seq) = item {
                        prop_assert!(unsent.remove(&seq), "{seq} was sent after it was accepted");
                    }
                }
                Fate::Refuse => schedule.answered(on_line.remove(0), false, now),
            }
        }
        prop_assert!(unsent.is_empty(), "left over: {unsent:?}");
    }
}
