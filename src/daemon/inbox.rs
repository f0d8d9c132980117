//! What threads of the daemon tell each other. Everything else goes by way of the store.
//!
//! Inboxes stay small: of notices one lies there at most, of doubts one per study that was begun,
//! and the queue's inbox holds one, since whatever it says is "look again".

use std::path::PathBuf;

use hepalert_study::study::Setting;

/// To the thread that looks at the export folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FolderMail {
    /// An engine is in use, for studies of this setting. The first one lets the thread begin.
    Engine(Setting),
    /// Something happened in the folder.
    Notice,
    /// These files do not hold what was accepted: they are to be read again.
    Doubt(Vec<PathBuf>),
    /// The daemon ends.
    Stop,
}

/// To the thread that works through the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueMail {
    /// A study was queued.
    Queued,
    /// The daemon ends.
    Stop,
}
