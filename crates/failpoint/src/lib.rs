//! Places where tests let the process die, as a power cut would.
//!
//! Owns the one switch; in the program itself it is nothing. Refuses to do anything else at such
//! a place.

/// In tests: ends the process on the spot where the environment names this place.
#[cfg(feature = "armed")]
pub fn failpoint(name: &str) {
    if std::env::var("HEPALERT_FAILPOINT").is_ok_and(|wanted| wanted == name) {
        std::process::abort();
    }
}

/// In the program: nothing.
#[cfg(not(feature = "armed"))]
pub const fn failpoint(_name: &str) {}
