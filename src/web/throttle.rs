//! How often somebody may try a password, with pauses that double.
//!
//! Pure: time comes in. Counted are a name from an address, all names from an address, and a name
//! from all addresses. The last is what one who guesses from everywhere meets; its pauses are
//! short, and neither this machine nor an address from which that user has logged in before meets
//! them: nobody can lock out somebody else. Owns a bounded memory; refuses to know passwords.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::time::Duration;

/// The first pause; each further failure doubles it.
const FIRST: Duration = Duration::from_secs(2);
/// Failures are forgotten so long after the last pause.
const FORGOTTEN: Duration = Duration::from_secs(3600);
/// Who is remembered at most; the oldest are forgotten first.
const MAX_KNOWN: usize = 4096;

/// What failures are counted for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Of {
    /// A name from an address: people mistype.
    Pair(String, IpAddr),
    /// An address: behind one there may be a ward.
    Address(IpAddr),
    /// A name.
    Name(String),
}

impl Of {
    /// Tries that cost nothing, and the longest pause.
    const fn limits(&self) -> (u32, Duration) {
        match self {
            Of::Pair(..) => (4, Duration::from_secs(900)),
            Of::Address(_) => (20, Duration::from_secs(900)),
            Of::Name(_) => (20, Duration::from_secs(30)),
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Record {
    failures: u32,
    until: Duration,
}

/// Remembers failures. Time is the time the server has run.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    known: HashMap<Of, Record>,
    /// From where a user has logged in, and when.
    homes: HashMap<(String, IpAddr), Duration>,
}

impl Throttle {
    fn counted(&self, name: &str, from: IpAddr) -> Vec<Of> {
        let mut counted = vec![Of::Pair(name.to_owned(), from), Of::Address(from)];
        let is_home = from.is_loopback() || self.homes.contains_key(&(name.to_owned(), from));
        if !is_home {
            counted.push(Of::Name(name.to_owned()));
        }
        counted
    }

    /// How long this one still has to wait.
    pub(super) fn wait(&self, name: &str, from: IpAddr, now: Duration) -> Option<Duration> {
        let counted = self.counted(name, from);
        let until = counted.iter().filter_map(|of| self.known.get(of)).map(|record| record.until);
        until.max().filter(|until| *until > now).map(|until| until - now)
    }

    /// A try failed.
    pub(super) fn failed(&mut self, name: &str, from: IpAddr, now: Duration) {
        for of in self.counted(name, from) {
            make_room(&mut self.known, &of, |record| record.until);
            let (free, longest) = of.limits();
            let record = self.known.entry(of).or_insert(Record { failures: 0, until: now });
            if now > record.until + FORGOTTEN {
                record.failures = 0;
            }
            record.failures = record.failures.saturating_add(1);
            let pause = match record.failures.saturating_sub(free) {
                0 => Duration::ZERO,
                over => FIRST.saturating_mul(1 << (over - 1).min(16)).min(longest),
            };
            record.until = now + pause;
        }
    }

    /// A try went well: how often this user failed from there is forgotten, and no more: one's own
    /// password gives no further tries at another's.
    pub(super) fn passed(&mut self, name: &str, from: IpAddr, now: Duration) {
        self.known.remove(&Of::Pair(name.to_owned(), from));
        let home = (name.to_owned(), from);
        make_room(&mut self.homes, &home, |at| *at);
        self.homes.insert(home, now);
    }
}

/// Forgets the oldest if the map is full and this key would be one more.
fn make_room<K: Clone + Eq + Hash, V>(
    map: &mut HashMap<K, V>,
    key: &K,
    age: impl Fn(&V) -> Duration,
) {
    if map.len() >= MAX_KNOWN && !map.contains_key(key) {
        let oldest = map.iter().min_by_key(|(_, value)| age(value)).map(|(key, _)| key.clone());
        oldest.map(|key| map.remove(&key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(100);

    fn at(number: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, number])
    }

    #[test]
    fn pauses_double_and_end() {
        let mut throttle = Throttle::default();
        for _ in 0..4 {
            throttle.failed("a", at(1), NOW);
            assert_eq!(throttle.wait("a", at(1), NOW), None);
        }
        throttle.failed("a", at(1), NOW);
        assert_eq!(throttle.wait("a", at(1), NOW), Some(FIRST));
        throttle.failed("a", at(1), NOW + FIRST);
        assert_eq!(throttle.wait("a", at(1), NOW + FIRST), Some(FIRST * 2));
        assert_eq!(throttle.wait("b", at(1), NOW + FIRST), None, "another one is not held up");
        assert_eq!(throttle.wait("a", at(2), NOW + FIRST), None, "nor the same one elsewhere");
        for _ in 0..60 {
            throttle.failed("a", at(1), NOW);
        }
        let longest = Duration::from_secs(900);
        assert_eq!(throttle.wait("a", at(1), NOW), Some(longest));
        throttle.failed("a", at(1), NOW + longest + FORGOTTEN * 2);
        assert_eq!(throttle.wait("a", at(1), NOW + longest + FORGOTTEN * 2), None);
    }

    #[test]
    fn a_name_guessed_from_everywhere_waits_and_nobody_is_locked_out() {
        let mut throttle = Throttle::default();
        throttle.passed("ana", at(200), NOW);
        // Three tries from each of many addresses: none of these has to wait for itself.
        for number in 0..50 {
            (0..3).for_each(|_| throttle.failed("ana", at(number), NOW));
        }
        let stranger = throttle.wait("ana", at(99), NOW);
        assert_eq!(stranger, Some(Duration::from_secs(30)), "at most so long at a time");
        assert_eq!(throttle.wait("ana", at(200), NOW), None, "where she has logged in before");
        assert_eq!(throttle.wait("ana", IpAddr::from([127, 0, 0, 1]), NOW), None, "on the device");
        assert_eq!(throttle.wait("bert", at(99), NOW), None);
    }

    #[test]
    fn many_names_from_one_address_wait_whatever_else_goes_well_there() {
        let mut throttle = Throttle::default();
        for number in 0..30 {
            throttle.failed(&format!("user{number}"), at(1), NOW);
            throttle.passed("mallory", at(1), NOW);
        }
        assert!(throttle.wait("another", at(1), NOW).is_some());
        // Guessing between two logins of one's own gives no further tries.
        let mut throttle = Throttle::default();
        for _ in 0..5 {
            throttle.failed("ana", at(1), NOW);
            throttle.passed("mallory", at(1), NOW);
        }
        assert!(throttle.wait("ana", at(1), NOW).is_some());
        throttle.passed("ana", at(1), NOW);
        assert_eq!(throttle.wait("ana", at(1), NOW), None);
    }

    #[test]
    fn memory_is_bounded() {
        let mut throttle = Throttle::default();
        for who in 0..2 * MAX_KNOWN {
            let now = NOW + Duration::from_millis(who as u64);
            throttle.failed(&who.to_string(), at(1), now);
            throttle.passed(&who.to_string(), at(2), now);
        }
        assert_eq!((throttle.known.len(), throttle.homes.len()), (MAX_KNOWN, MAX_KNOWN));
        assert!(!throttle.known.contains_key(&Of::Name("0".to_owned())));
    }
}
