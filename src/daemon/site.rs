//! What holds for a whole run of the daemon: configuration, store, which start this is.

use std::fs::File;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use super::clock::Clock;
use crate::config::Config;
use crate::store::Store;

/// Read by all threads, changed by none.
pub(crate) struct Site {
    /// As read at start.
    pub config: Config,
    /// Jobs, reports, outbox.
    pub store: Store,
    /// How often the daemon has started on this store.
    pub boot: u64,
    /// SHA-256 of the configuration as merged.
    pub config_sha256: String,
    /// The last time of an earlier run that could be believed.
    pub believed: Timestamp,
    /// When this run began.
    pub began: Instant,
    /// Held for as long as the daemon lives.
    pub _lock: File,
}

impl Site {
    /// Of a test: the configuration as shipped, and a store of its own.
    #[cfg(test)]
    pub(crate) fn of_test(state: &std::path::Path) -> Site {
        let now = Timestamp::now();
        Site {
            config: Config::default(),
            store: Store::open(&crate::config::database_in(state), now).unwrap().store,
            boot: 1,
            config_sha256: String::new(),
            believed: now,
            began: Instant::now(),
            _lock: File::create(state.join("daemon.lock")).unwrap(),
        }
    }

    /// How long this run lasts.
    pub(crate) fn ran(&self) -> Duration {
        self.began.elapsed()
    }

    /// The clock, to be looked at from now on.
    pub(crate) fn clock(&self) -> Clock {
        // Where nothing is removed nothing hangs on it, and a year is as good as any.
        let days = self.config.store.keep_days.map_or(365, i64::from);
        let kept = SignedDuration::from_hours(24 * days);
        Clock::new(self.believed, kept, Timestamp::now(), self.ran())
    }

    /// Folder of the results, one folder per study and revision.
    pub(crate) fn results(&self) -> PathBuf {
        self.config.store.results()
    }

    /// Folder of the quarantine.
    pub(crate) fn quarantine(&self) -> PathBuf {
        self.config.store.quarantine()
    }

    /// Free space where the store lies, in MiB.
    pub(crate) fn disk_free_mib(&self) -> Option<u64> {
        crate::system::free_mib(&self.config.store.folder)
    }
}
