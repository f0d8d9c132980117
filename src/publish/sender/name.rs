//! Another client under this device's name.
//!
//! Owns how that is seen. A broker closes the older of two lines of one name; it should say so,
//! and often the line is gone before its word is heard. What is seen then is a line that is taken
//! away as soon as it stands, again and again.

use std::time::{Duration, Instant};

use super::super::exchange::lock;
use super::super::link::Link;
use super::Sender;

/// A line that stood no longer than this was taken away at once.
const AT_ONCE: Duration = Duration::from_secs(3);
/// So often in a row that is no chance.
const NO_CHANCE: u32 = 3;

/// The lines of late.
#[derive(Debug, Default)]
pub(super) struct Lines {
    up: Option<Instant>,
    short: u32,
}

impl Lines {
    /// A line stands.
    pub(super) fn up(&mut self, now: Instant) {
        self.up = Some(now);
    }

    /// A line is gone, or never came to stand; true if that is no chance any more.
    fn down(&mut self, now: Instant) -> bool {
        let Some(up) = self.up.take() else { return false };
        self.short = if now.duration_since(up) < AT_ONCE { self.short + 1 } else { 0 };
        self.short >= NO_CHANCE
    }
}

impl<L: Link> Sender<L> {
    /// The line is gone.
    pub(super) fn down(&mut self, words: &str) {
        if self.lines.down(Instant::now()) {
            self.usurped(words);
        } else {
            self.lost(words);
        }
    }

    /// Another client came under this one's name.
    pub(super) fn usurped(&mut self, words: &str) {
        log::error!(
            "another client has taken this device's name at the broker ({words}): two devices \
             called {:?}, or two daemons; give each its own device.name",
            self.params.device
        );
        lock(&self.shared.state).usurped = Some(Instant::now());
        let under_way = self.schedule.shared_name(self.now());
        self.line_ended(&under_way, "another client has this device's name");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_taken_away_again_and_again_is_no_chance() {
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let mut lines = Lines::default();
        let mut play = |up, down| {
            lines.up(at(up));
            lines.down(at(down))
        };
        assert_eq!([play(0, 1), play(9, 10), play(19, 20)], [false, false, true]);
        assert_eq!([play(30, 60), play(70, 71)], [false, false], "a line that held");
        // A broker that is not there takes nothing away.
        assert!((0..9).all(|n| !lines.down(at(100 + n))));
    }
}
