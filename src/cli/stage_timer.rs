//! Where the time of a command goes, for its JSON.

use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use hepalert_cascade::segment::Busy;

/// Wall time of the steps of the command.
pub(super) struct StageTimer {
    since: Instant,
    steps: Vec<(&'static str, Duration)>,
}

impl StageTimer {
    /// Starts the clock.
    pub(super) fn start() -> StageTimer {
        StageTimer { since: Instant::now(), steps: Vec::new() }
    }

    /// Ends a step and begins the next.
    pub(super) fn lap(&mut self, step: &'static str) {
        let now = Instant::now();
        self.steps.push((step, now - self.since));
        self.since = now;
    }

    /// Wall seconds of a step; 0 if there was none.
    pub(super) fn seconds(&self, step: &str) -> f64 {
        let found = self.steps.iter().find(|(name, _)| *name == step);
        found.map_or(0.0, |(_, time)| time.as_secs_f64())
    }

    /// Steps in wall seconds; within `segment`, seconds that its parts were busy, and
    /// `beside_network`: what the network did not hide.
    pub(super) fn document(&self, busy: &Busy, total: Duration) -> Value {
        let mut seconds: Map<String, Value> =
            self.steps.iter().map(|(step, time)| ((*step).to_owned(), seconds(*time))).collect();
        let beside = (self.seconds("segment") - busy.network_s).max(0.0);
        let parts = [
            ("network", busy.network_s),
            ("gather", busy.gather_s),
            ("blend", busy.blend_s),
            ("export", busy.export_s),
            ("beside_network", beside),
            ("total", total.as_secs_f64()),
        ];
        for (part, time) in parts {
            seconds.insert(part.to_owned(), Value::from((time * 1000.0).round() / 1000.0));
        }
        Value::Object(seconds)
    }
}

fn seconds(time: Duration) -> Value {
    Value::from((time.as_secs_f64() * 1000.0).round() / 1000.0)
}
