//! Reports on storage commitment to those who hung up before they had heard them, as many scanners do.
//!
//! Owns when they are called back, each at the address that the configuration has for its AE title, and
//! when that is given up. What is told is what lies in the spool at that moment. A request is remembered
//! from before it is acknowledged until it is answered or given up, over restarts too.

use std::io;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use log::{info, warn};

use super::super::scu::tell_commitment;
use super::super::target::{Target, Way};
use super::commitment::Asked;
use super::owed_reports::{MAX_NOTES, Note, Notes};

/// What each call back waits for, from the end of the association on: the first lets the peer come round
/// to listening, the last outlasts its restart.
const WAITS: [Duration; 5] = [
    Duration::from_millis(500),
    Duration::from_secs(3),
    Duration::from_secs(30),
    Duration::from_secs(300),
    Duration::from_secs(1800),
];

/// A report that somebody has not heard.
struct Owed {
    to: Target,
    note: Note,
    due: Instant,
}

/// The thread that calls back; it ends with the receiver.
pub(super) struct Reports {
    notes: Notes,
    inbox: SyncSender<Owed>,
}

impl Reports {
    /// Goes on with what is owed from before.
    pub(super) fn start(spool: &Path, folder: &Path, peers: &[Target]) -> io::Result<Reports> {
        let (notes, found) = Notes::open(folder)?;
        // No more than this are ever remembered, so no sender waits.
        let (inbox, owed) = sync_channel(MAX_NOTES);
        let reports = Reports { notes, inbox };
        for (title, note) in found.into_iter().take(MAX_NOTES) {
            reports.owe(peers, &title, vec![note]);
        }
        let spool = spool.to_owned();
        let builder = thread::Builder::new().name("commitment".to_owned());
        builder.spawn(move || call_back(&owed, &spool))?;
        Ok(reports)
    }

    /// Remembers a request that is about to be acknowledged.
    pub(super) fn remember(&self, title: &str, asked: Asked) -> io::Result<Note> {
        self.notes.put(title, asked)
    }

    /// Takes up what the peer of this title is owed.
    pub(super) fn owe(&self, peers: &[Target], title: &str, owed: Vec<Note>) {
        if owed.is_empty() {
            return;
        }
        let is_it =
            |target: &&Target| matches!(&target.way, Way::Dimse(way) if way.called_ae == title);
        let Some(to) = peers.iter().find(is_it) else {
            warn!(
                "{title} hung up before it heard what of its images is kept, and no [[dicom.target]] has \
                 its AE title: it is not told"
            );
            return owed.into_iter().for_each(Note::forget);
        };
        let due = Instant::now() + WAITS[0];
        for note in owed {
            // Nobody takes it any more: the next run does.
            let _ = self.inbox.try_send(Owed { to: to.clone(), note, due });
        }
    }
}

/// Calls back whoever's time has come, until the receiver is gone.
fn call_back(inbox: &Receiver<Owed>, spool: &Path) {
    let mut waiting: Vec<Owed> = Vec::new();
    loop {
        let now = Instant::now();
        let next = waiting.iter().map(|owed| owed.due).min();
        let pause = next.map_or(WAITS[4], |due| due.saturating_duration_since(now));
        match inbox.recv_timeout(pause) {
            Ok(owed) => waiting.push(owed),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let now = Instant::now();
        let (due, later) = waiting.into_iter().partition(|owed: &Owed| owed.due <= now);
        waiting = later;
        waiting.extend(due.into_iter().filter_map(|owed| tell(owed, spool)));
    }
}

/// Calls back once; what is to be tried again comes back.
fn tell(mut owed: Owed, spool: &Path) -> Option<Owed> {
    let name = &owed.to.name;
    // Peers are chosen by how they are spoken to.
    let Way::Dimse(way) = &owed.to.way else { return None };
    let report = |syntax: &str| owed.note.asked.report(spool, syntax);
    let error = match tell_commitment(&owed.to, way, &report) {
        Ok(()) => {
            info!("{name} was called back and told what of its images is kept");
            owed.note.forget();
            return None;
        }
        Err(error) => error,
    };
    owed.note.tried();
    match WAITS.get(owed.note.tries) {
        Some(wait) => {
            warn!("storage commitment: {error}; it is called again in {} s", wait.as_secs());
            owed.due = Instant::now() + *wait;
            Some(owed)
        }
        None => {
            warn!("storage commitment: {error}; given up: it may ask again");
            owed.note.forget();
            None
        }
    }
}
