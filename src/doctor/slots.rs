//! The engine in use: from a slot or from the configuration, and whether another could be
//! installed.

use std::path::{Path, PathBuf};

use rustix::fs::Access;

use super::finding::Finding;
use crate::config::Config;
use crate::installer::Installer;
use crate::ui::Exit;
use hepalert_bundles::signature::Trust;
use hepalert_bundles::slots::{SlotsError, State};

/// What the slots say.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SlotFacts {
    /// Their state, or why it cannot be read, and whether that is for permissions alone.
    pub state: Result<State, (String, bool)>,
    /// Why the trusted keys cannot be used, if they cannot.
    pub keys: Result<(), String>,
    /// Whether there is a key at all.
    pub any_key: bool,
}

/// Reads the state of the slots and the keys.
pub(super) fn look_at_slots(config: &Config) -> SlotFacts {
    let engine = &config.engine;
    let keys = Trust::read(&engine.trusted_keys, engine.signatures_needed);
    let listed = std::fs::read_dir(&engine.trusted_keys).into_iter().flatten().flatten();
    let is_key = |path: &Path| path.extension().is_some_and(|extension| extension == "pub");
    let state = Installer::new(config).slots().state().map_err(|error| {
        let is_closed = matches!(&error, SlotsError::File { reason, .. }
            if reason.kind() == std::io::ErrorKind::PermissionDenied);
        (error.to_string(), is_closed)
    });
    SlotFacts {
        state: state.and_then(|state| may_write(&config.slots()).map(|()| state)),
        keys: keys.map(drop).map_err(|error| error.to_string()),
        any_key: listed.map(|entry| entry.path()).any(|path| is_key(&path)),
    }
}

/// Whoever may only read the slots cannot lock them, and the daemon locks them to use them.
fn may_write(folder: &Path) -> Result<(), (String, bool)> {
    match rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK) {
        Err(rustix::io::Errno::ACCESS) => {
            Err((format!("{}: this account may not write there", folder.display()), true))
        }
        // Not there yet, or the state has told of it.
        _ => Ok(()),
    }
}

/// The folder of the engine that the daemon uses.
pub(super) fn bundle_in_use(config: &Config) -> PathBuf {
    Installer::new(config).bundle_in_use()
}

/// Which engine is in use, and what stands in the way of a new one.
pub(super) fn slots(facts: &SlotFacts) -> Finding {
    let name = "slots";
    let state = match &facts.state {
        Ok(state) => state,
        Err((error, true)) => {
            let advice = "run doctor with sudo; if the daemon may not read it either, give the folder \
                          engine.slots back to its account: `sudo chown -R hepalert` on it";
            return Finding::fail(name, error.clone(), advice).ending(Exit::Engine);
        }
        Err((error, false)) => {
            let advice = "restore the folder engine.slots, or empty it: the configured bundle is \
                          used then";
            return Finding::fail(name, error.clone(), advice).ending(Exit::Engine);
        }
    };
    let used = match state.in_use() {
        Some(held) => format!("{} version {} is in use", held.which.id, held.which.version),
        None => "the configured bundle is in use".to_owned(),
    };
    if state.has_failed() {
        let found = format!("{used}; an engine that failed here lies in a slot");
        return Finding::warn(name, found, "see `hepalert engine list`, then install another");
    }
    match &facts.keys {
        Err(error) => Finding::warn(
            name,
            format!("{used}; nothing can be installed: {error}"),
            "put the right keys into engine.trusted_keys",
        ),
        Ok(()) if !facts.any_key => Finding::ok(name, format!("{used}; no key is trusted"))
            .with("to install engines, copy the maker's key into engine.trusted_keys"),
        Ok(()) => Finding::ok(name, used),
    }
}
