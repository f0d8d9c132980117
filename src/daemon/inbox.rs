//! What threads of the daemon tell each other. Everything else goes by way of the store.
//!
//! Inboxes stay small: of notices one lies there at most, of doubts one per study that was begun,
//! and the queue's inbox holds one, since whatever it says is "look again".

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;

use hepalert_study::phase::Setting;

/// To the thread that looks at the export folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FolderMail {
    /// An engine is in use, for studies of this setting. The first one lets the thread begin.
    Engine(Setting),
    /// Something happened in the folder.
    Notice,
    /// These files do not hold what was accepted: they are to be read again.
    Doubt(Vec<PathBuf>),
    /// The daemon ends.
    Stop,
}

/// The threads that look at folders: the export folder's, and that of received images.
#[derive(Debug, Clone)]
pub(super) struct Folders(pub Vec<Sender<FolderMail>>);

impl Folders {
    /// Tells all of them. One has ended only when the daemon does.
    pub(super) fn send(&self, mail: &FolderMail) {
        for folder in &self.0 {
            let _ = folder.send(mail.clone());
        }
    }
}

/// To the thread that works through the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum QueueMail {
    /// A study was queued.
    Queued,
    /// The daemon ends.
    Stop,
}

/// Notices of the folder as mail: however many come, one lies in the inbox.
#[derive(Debug, Clone)]
pub(super) struct Notices {
    inbox: Sender<FolderMail>,
    lies_there: Arc<AtomicBool>,
}

impl Notices {
    /// Into this inbox.
    pub(super) fn into_inbox(inbox: &Sender<FolderMail>) -> Notices {
        Notices { inbox: inbox.clone(), lies_there: Arc::new(AtomicBool::new(false)) }
    }

    /// Something happened.
    pub(super) fn ring(&self) {
        if !self.lies_there.swap(true, Ordering::AcqRel) {
            // The thread has ended only when the daemon does.
            let _ = self.inbox.send(FolderMail::Notice);
        }
    }

    /// It was read: the next one is news again.
    pub(super) fn read(&self) {
        self.lies_there.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn however_many_notices_come_one_lies_in_the_inbox() {
        let (sender, inbox) = channel();
        let notices = Notices::into_inbox(&sender);
        let others = notices.clone();
        (0..5).for_each(|_| notices.ring());
        others.ring();
        assert_eq!(inbox.try_iter().collect::<Vec<_>>(), [FolderMail::Notice]);
        notices.ring();
        assert!(inbox.try_recv().is_err(), "the first one was not read yet");
        others.read();
        notices.ring();
        assert_eq!(inbox.try_recv(), Ok(FolderMail::Notice));
    }
}
