//! How often somebody may try a password: per name and per address, with pauses that double.
//!
//! Pure: time comes in. Owns a bounded memory; refuses to know passwords.

use std::collections::HashMap;
use std::time::Duration;

/// Tries that cost nothing: people mistype.
const FREE: u32 = 4;
/// The first pause; each further failure doubles it.
const FIRST: Duration = Duration::from_secs(2);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(900);
/// Who is remembered at most; the oldest are forgotten first.
const MAX_KNOWN: usize = 4096;

#[derive(Debug, Clone, Copy)]
struct Record {
    failures: u32,
    until: Duration,
}

/// Remembers failures. Time is the time the server has run.
#[derive(Debug, Default)]
pub struct Throttle {
    known: HashMap<String, Record>,
}

impl Throttle {
    /// How long this one still has to wait.
    pub fn wait(&self, who: &str, now: Duration) -> Option<Duration> {
        let until = self.known.get(who)?.until;
        (until > now).then(|| until - now)
    }

    /// A try failed.
    pub fn failed(&mut self, who: &str, now: Duration) {
        if self.known.len() >= MAX_KNOWN && !self.known.contains_key(who) {
            let oldest = self.known.iter().min_by_key(|(_, record)| record.until);
            let oldest = oldest.map(|(name, _)| name.clone());
            oldest.map(|name| self.known.remove(&name));
        }
        let record = self.known.entry(who.to_owned()).or_insert(Record { failures: 0, until: now });
        record.failures = record.failures.saturating_add(1);
        let over = record.failures.saturating_sub(FREE);
        let pause = match over {
            0 => Duration::ZERO,
            over => FIRST.saturating_mul(1 << (over - 1).min(16)).min(LONGEST),
        };
        record.until = now + pause;
    }

    /// A try went well: what was before is forgotten.
    pub fn passed(&mut self, who: &str) {
        self.known.remove(who);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(100);

    #[test]
    fn pauses_double_and_end() {
        let mut throttle = Throttle::default();
        for _ in 0..FREE {
            throttle.failed("a", NOW);
            assert_eq!(throttle.wait("a", NOW), None);
        }
        throttle.failed("a", NOW);
        assert_eq!(throttle.wait("a", NOW), Some(FIRST));
        throttle.failed("a", NOW + FIRST);
        assert_eq!(throttle.wait("a", NOW + FIRST), Some(FIRST * 2));
        assert_eq!(throttle.wait("b", NOW), None, "another one is not held up");
        for _ in 0..60 {
            throttle.failed("a", NOW);
        }
        assert_eq!(throttle.wait("a", NOW), Some(LONGEST));
        throttle.passed("a");
        assert_eq!(throttle.wait("a", NOW), None);
    }

    #[test]
    fn memory_is_bounded() {
        let mut throttle = Throttle::default();
        for who in 0..2 * MAX_KNOWN {
            throttle.failed(&who.to_string(), NOW + Duration::from_millis(who as u64));
        }
        assert_eq!(throttle.known.len(), MAX_KNOWN);
        assert!(!throttle.known.contains_key("0"));
    }
}
