//! Places where tests let the process die, as a power cut would.
//!
//! Owns the one switch; in the program itself it is nothing. Refuses to do anything else at such
//! a place.

/// Names a place, `report_placed`, or the third time there, `report_placed:3`.
#[cfg(feature = "armed")]
const SWITCH: &str = "HEPALERT_FAILPOINT";

/// In tests: ends the process on the spot where the environment names this place.
#[cfg(feature = "armed")]
pub fn failpoint(name: &str) {
    use std::sync::atomic::{AtomicU32, Ordering};
    static PASSED: AtomicU32 = AtomicU32::new(0);
    let Ok(wanted) = std::env::var(SWITCH) else { return };
    let (place, time) = wanted.split_once(':').unwrap_or((&wanted, "1"));
    if place == name && PASSED.fetch_add(1, Ordering::Relaxed) + 1 >= time.parse().unwrap_or(1) {
        std::process::abort();
    }
}

/// In the program: nothing.
#[cfg(not(feature = "armed"))]
pub const fn failpoint(_name: &str) {}
