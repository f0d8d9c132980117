//! Signs of life: which thread has done work of late, and whether all are to end.
//!
//! Owns two flags without a lock. A thread says by [`Life::sign`] that it does work; the mere
//! passing of time says nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Asks every thread to end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// From here on all end.
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// True once the daemon shall end.
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// One thread's signs, in ms since the daemon began.
#[derive(Debug, Clone)]
pub(super) struct Life {
    began: Instant,
    last_ms: Arc<AtomicU64>,
}

impl Life {
    /// Of a thread that begins; its first sign counts from `began`.
    pub(super) fn new(began: Instant) -> Life {
        Life { began, last_ms: Arc::new(AtomicU64::new(0)) }
    }

    /// A sign of life of the thread's work.
    pub(super) fn sign(&self) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_ms.store(now, Ordering::Relaxed);
    }

    /// How long the last sign is past.
    pub(super) fn silent_for(&self) -> Duration {
        let last = Duration::from_millis(self.last_ms.load(Ordering::Relaxed));
        self.began.elapsed().saturating_sub(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_sign_ends_the_silence() {
        let began = Instant::now().checked_sub(Duration::from_secs(100)).unwrap();
        let life = Life::new(began);
        assert!(life.silent_for() >= Duration::from_secs(100));
        life.clone().sign();
        assert!(life.silent_for() < Duration::from_secs(50), "a copy signs for the same thread");
    }

    #[test]
    fn a_stop_reaches_every_copy() {
        let stop = Stop::default();
        let other = stop.clone();
        assert!(!other.is_set());
        stop.set();
        assert!(other.is_set());
    }
}
