//! Whether the clock may be believed: by it evidence is removed for good.
//!
//! Owns the judgement. A clock that is wrong for one start (an empty battery, a wrong year set by
//! hand, no time server yet) must not make every result look old. A time is believed if it goes
//! on from the last one believed, or if the clock has run without a step for a day. Holds no
//! clock itself: both times come in, that of the wall and that of this run.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// Wall and run may differ by this between two looks; a time server corrects less.
const STEP: SignedDuration = SignedDuration::from_mins(5);
/// So far back a clock may be set and still be the same one.
const BACK: SignedDuration = SignedDuration::from_hours(1);
/// A device may have been off for this long, at most a quarter of what is kept.
const OFF: SignedDuration = SignedDuration::from_hours(14 * 24);
/// What has run for so long without a step is believed, whatever it says.
const STEADY: Duration = Duration::from_secs(24 * 3600);

/// The clock, from look to look.
#[derive(Debug, Clone)]
pub(crate) struct Clock {
    believed: Timestamp,
    furthest: SignedDuration,
    anchor: (Timestamp, Duration),
    steady_since: Duration,
}

impl Clock {
    /// `believed` is the last time that could be believed; `kept` is how long rows are kept.
    pub(crate) fn new(
        believed: Timestamp,
        kept: SignedDuration,
        now: Timestamp,
        run: Duration,
    ) -> Clock {
        let furthest = OFF.min(kept / 4);
        Clock { believed, furthest, anchor: (now, run), steady_since: run }
    }

    /// Whether this time is to be believed.
    pub(crate) fn look(&mut self, now: Timestamp, run: Duration) -> bool {
        let (wall, ran) = self.anchor;
        let ran = SignedDuration::try_from(run.saturating_sub(ran)).unwrap_or(SignedDuration::MAX);
        if (now.duration_since(wall) - ran).abs() > STEP {
            self.steady_since = run;
        }
        self.anchor = (now, run);
        let gone = now.duration_since(self.believed);
        let near = -BACK <= gone && gone <= self.furthest;
        let good = near || run.saturating_sub(self.steady_since) >= STEADY;
        if good {
            self.believed = now;
        }
        good
    }

    /// The last time that could be believed.
    pub(crate) const fn believed(&self) -> Timestamp {
        self.believed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;

    /// A clock last believed on day 1000 with rows kept for 90 days, and its looks: the wall's
    /// day and the hours run.
    fn play(looks: &[(f64, u64)]) -> Vec<bool> {
        let wall = |days: f64| Timestamp::from_second((days * DAY as f64) as i64).unwrap();
        let run = |hours: u64| Duration::from_secs(hours * 3600);
        let kept = SignedDuration::from_hours(90 * 24);
        let (first, _) = looks[0];
        let mut clock = Clock::new(wall(1000.0), kept, wall(first), run(0));
        looks.iter().map(|(days, hours)| clock.look(wall(*days), run(*hours))).collect()
    }

    #[test]
    fn time_that_goes_on_is_believed() {
        assert_eq!(play(&[(1000.0, 0), (1000.5, 12), (1003.5, 84)]), [true, true, true]);
        assert_eq!(play(&[(1010.0, 0)]), [true], "it was off for ten days");
        assert_eq!(play(&[(999.98, 0)]), [true], "half an hour back");
    }

    #[test]
    fn a_clock_wrong_for_one_start_is_not() {
        // A hundred days ahead, then corrected by a time server.
        let looks = [(1100.0, 0), (1100.04, 1), (1000.05, 1), (1000.1, 2)];
        assert_eq!(play(&looks), [false, false, true, true]);
        assert_eq!(play(&[(0.0, 0), (0.5, 12)]), [false, false], "1970");
    }

    #[test]
    fn what_holds_for_a_day_is_believed() {
        let looks = [(1100.0, 0), (1100.5, 12), (1101.0, 24), (1101.5, 36)];
        assert_eq!(play(&looks), [false, false, true, true], "it was off for long");
        let looks = [(1100.0, 0), (1100.5, 12), (1300.0, 13), (1300.5, 25), (1301.0, 37)];
        assert_eq!(play(&looks), [false, false, false, false, true], "a step begins the day anew");
    }

    #[test]
    fn what_is_kept_for_days_bears_less_than_what_is_kept_for_months() {
        let week = SignedDuration::from_hours(7 * 24);
        let at = |day: i64| Timestamp::from_second(day * DAY as i64).unwrap();
        let mut clock = Clock::new(at(1000), week, at(1006), Duration::ZERO);
        assert!(!clock.look(at(1006), Duration::ZERO));
        assert_eq!(clock.believed(), at(1000));
    }
}
