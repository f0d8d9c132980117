//! What is older than the configured days goes: rows, results, what was refused.
//!
//! Refuses to know what time it is: a clock that jumps ahead must not wipe the evidence.

use std::fs;

use jiff::{SignedDuration, Timestamp};
use log::{error, warn};

use super::site::Site;
use super::start::CLOCK;

/// Removes results and sent messages older than the configured days; `now` can be believed.
pub(super) fn prune(site: &Site, now: Timestamp) {
    if let Err(error) = site.store.set_fact(CLOCK, &now.to_string()) {
        error!("the time cannot be noted: {error}");
    }
    let Some(days) = site.config.store.keep_days.map(i64::from) else { return };
    let Ok(before) = now.checked_sub(SignedDuration::from_hours(24 * days)) else {
        return;
    };
    if let Err(error) = site.store.prune(before) {
        error!("old rows cannot be removed: {error}");
    }
    for folder in [site.results(), site.quarantine()] {
        let Ok(entries) = fs::read_dir(folder) else { continue };
        let old = entries.flatten().filter(|entry| {
            let changed = entry.metadata().and_then(|facts| facts.modified());
            changed.ok().and_then(|at| Timestamp::try_from(at).ok()).is_some_and(|at| at < before)
        });
        for entry in old {
            let path = entry.path();
            let removed =
                if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            if let Err(error) = removed {
                warn!("an old result cannot be removed: {error}");
            }
        }
    }
}
