//! Places where tests let the process die, as a power cut would, or a thread panic, and times that
//! pass sooner.
//!
//! Owns the two switches; in a release they are nothing. They are part of every build with debug
//! assertions, so that no feature has to be asked for. Refuses to do anything else at such a place.

use std::time::Duration;

/// Names a place, `report_placed`, or the third time there, `report_placed:3`. With `:panic` after
/// that the thread panics and the process goes on.
#[cfg(debug_assertions)]
const SWITCH: &str = "HEPALERT_FAILPOINT";

/// In tests: ends the process on the spot where the environment names this place.
///
/// # Panics
/// Where the environment asks for that instead.
#[cfg(debug_assertions)]
pub fn failpoint(name: &str) {
    use std::sync::atomic::{AtomicU32, Ordering};
    static PASSED: AtomicU32 = AtomicU32::new(0);
    let Ok(wanted) = std::env::var(SWITCH) else { return };
    let mut words = wanted.split(':');
    if words.next() != Some(name) {
        return;
    }
    let time = words.next().and_then(|text| text.parse().ok()).unwrap_or(1);
    if PASSED.fetch_add(1, Ordering::Relaxed) + 1 >= time {
        assert!(words.next() != Some("panic"), "a fault at {name}, as a test wants it");
        std::process::abort();
    }
}

/// By how much sooner things come round that come round every so often.
#[cfg(debug_assertions)]
const HASTE: &str = "HEPALERT_HASTE";

/// In tests: sooner by the factor that the environment names.
#[cfg(debug_assertions)]
pub fn hastened(every: Duration) -> Duration {
    let factor = std::env::var(HASTE).ok().and_then(|text| text.parse().ok());
    every / factor.unwrap_or(1).max(1)
}

/// In a release: as it is.
#[cfg(not(debug_assertions))]
pub const fn hastened(every: Duration) -> Duration {
    every
}

/// In a release: nothing.
#[cfg(not(debug_assertions))]
pub const fn failpoint(_name: &str) {}
