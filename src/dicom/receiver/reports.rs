//! Reports on storage commitment to those who hung up before they had heard them, as many scanners do.
//!
//! Owns when they are called back, each at the address that the configuration has for its AE title, and
//! when that is given up. What is told is what lies in the spool at that moment. Refuses to remember a
//! request beyond this run: who was told nothing asks again.

use std::io;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use log::{info, warn};

use super::super::scu::tell_commitment;
use super::super::target::{Target, Way};
use super::commitment::Asked;

/// Reports that wait to be taken up: what all associations of a busy hour may leave.
const MAX_WAITING: usize = 256;
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
    asked: Asked,
    tries: usize,
    due: Instant,
}

/// The thread that calls back; it ends with the receiver.
pub(super) struct Reports {
    inbox: SyncSender<Owed>,
}

impl Reports {
    pub(super) fn start(spool: &Path) -> io::Result<Reports> {
        let (inbox, owed) = sync_channel(MAX_WAITING);
        let spool = spool.to_owned();
        let builder = thread::Builder::new().name("commitment".to_owned());
        builder.spawn(move || call_back(&owed, &spool))?;
        Ok(Reports { inbox })
    }

    /// Takes up what the peer of this title is owed.
    pub(super) fn owe(&self, peers: &[Target], title: &str, owed: Vec<Asked>) {
        if owed.is_empty() {
            return;
        }
        let is_it =
            |target: &&Target| matches!(&target.way, Way::Dimse(way) if way.called_ae == title);
        let Some(to) = peers.iter().find(is_it) else {
            return warn!(
                "{title} hung up before it heard what of its images is kept, and no [[dicom.target]] has \
                 its AE title: it is not told"
            );
        };
        let due = Instant::now() + WAITS[0];
        for asked in owed {
            match self.inbox.try_send(Owed { to: to.clone(), asked, tries: 0, due }) {
                Ok(()) => {}
                Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                    warn!(
                        "{title} is not told what of its images is kept: too many wait to be told"
                    );
                }
            }
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
            Ok(owed) if waiting.len() < MAX_WAITING => waiting.push(owed),
            Ok(owed) => {
                warn!("{} is not told what is kept: too many wait to be told", owed.to.name)
            }
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
    let error = match tell_commitment(&owed.to, way, &|syntax| owed.asked.report(spool, syntax)) {
        Ok(()) => {
            info!("{name} was called back and told what of its images is kept");
            return None;
        }
        Err(error) => error,
    };
    owed.tries += 1;
    match WAITS.get(owed.tries) {
        Some(wait) => {
            warn!("storage commitment: {error}; it is called again in {} s", wait.as_secs());
            owed.due = Instant::now() + *wait;
            Some(owed)
        }
        None => {
            warn!("storage commitment: {error}; given up: it may ask again");
            None
        }
    }
}
