//! The daemon: wires the threads, watches their lives, and ends them in order.
//!
//! Three threads beside the main one: `folder` looks at the export folder, `studies` works
//! through the queue by way of the inference process, `publish` sends what is in the outbox.
//! Each is a struct with an inbox and a loop; beyond their mail they meet only in the store.
//! Start-up is the same code as recovery.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, channel, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use log::{error, info, warn};
use rustix::fs::Mode;
use sd_notify::NotifyState;

use crate::config::Config;
use crate::dicom::Receiver;
use crate::dicom::receiver::ReceiveError;
use crate::publish::PublisherHandle;
use crate::store::StoreError;
use hepalert_failpoint::hastened;

pub(crate) mod archives;
pub mod bridge;
mod clock;
mod controller;
mod engine_events;
mod engines;
mod events;
mod folder;
mod health;
mod inbox;
mod liveness;
mod page;
mod params;
mod prune;
mod quarantine;
mod queue;
pub(crate) mod receiving;
mod reminders;
mod sending;
mod site;
mod start;

use archives::Archive;
use folder::{Folder, roots};
use health::Monitor;
use inbox::{FolderMail, Folders, Notices, QueueMail};
use liveness::{Life, Stop};
pub use page::Page;
use params::worker;
pub use params::{analysis_settings, gate_params, phase_rules};
use prune::prune;
use queue::Queue;
pub use sending::params as broker_params;
use site::Site;
use start::Begun;
pub use start::{KeyUse, exposed, is_site_key, key_use, read_site_key};

/// How often the main thread looks after the others.
const ROUND: Duration = Duration::from_millis(250);
/// How often alerts are looked through that nobody has acknowledged.
const REMIND_EVERY: Duration = Duration::from_secs(10);
/// How often old results are removed.
const PRUNE_EVERY: Duration = Duration::from_secs(3600);
/// How often received images are looked through that are no longer needed.
const CLEAN_EVERY: Duration = Duration::from_secs(60);
/// So long after another device came under this one's name the status says so.
const NAME_TAKEN: Duration = Duration::from_secs(600);
/// Time to send the last events when stopping.
const FAREWELL: Duration = Duration::from_secs(10);

/// Why the daemon cannot start.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// A file or folder.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// The system's words.
        reason: std::io::Error,
    },
    /// Another daemon is at work here.
    #[error("{}: another daemon works with this store; stop it first (systemctl stop hepalert), or give this one a store.folder of its own", folder.display())]
    Taken {
        /// The store.
        folder: PathBuf,
    },
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The site key is not the one that the studies are named with.
    #[error("{}: the site key {what}, and the store knows studies that are named with it", path.display())]
    SiteKey {
        /// The key's file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Nothing can be received.
    #[error(transparent)]
    Receive(#[from] ReceiveError),
    /// A thread has ended before its time.
    #[error("the thread {0} has ended: a fault of this program; the log says why")]
    Thread(&'static str),
    /// The page cannot be served.
    #[error(transparent)]
    Page(#[from] crate::web::ServeError),
    /// The system refuses a thread or the signals.
    #[error("the system refuses: {0}")]
    System(std::io::Error),
}

/// A flag that SIGTERM or SIGINT sets, instead of ending the process at once; a second one does that.
///
/// # Errors
/// If the system takes no handler.
pub fn stop_on_signals() -> std::io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        // In this order: what is registered first looks at the flag before the signal sets it.
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&stop))?;
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    Ok(stop)
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// [`DaemonError`] if it cannot start; afterwards it keeps going.
pub fn run(config: Config, page: Page) -> Result<(), DaemonError> {
    // Whatever is made from here on is for the daemon's own account alone.
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    let signalled = stop_on_signals().map_err(DaemonError::System)?;
    let Some(begun) = start::begin_or_wait(&config, &signalled)? else { return Ok(()) };
    let daemon = Daemon::start(begun, page)?;
    notify(&[NotifyState::Ready]);
    info!("ready, boot {}", daemon.site.boot);
    let died = daemon.look_after(&signalled);
    notify(&[NotifyState::Stopping]);
    info!("stopping");
    daemon.end();
    // The service manager starts it again; until then the broker says that it is offline.
    died.map_or(Ok(()), |name| Err(DaemonError::Thread(name)))
}

/// A thread beside the main one, from outside.
struct Watched {
    name: &'static str,
    handle: JoinHandle<()>,
    life: Life,
}

/// The running daemon as the main thread holds it.
struct Daemon {
    site: Arc<Site>,
    monitor: Monitor,
    stop: Stop,
    publisher: PublisherHandle,
    threads: Vec<Watched>,
    /// The threads that wait for archives: what they wait for is no sign of anything.
    archives: Vec<JoinHandle<()>>,
    receiver: Option<Receiver>,
    folders: Folders,
    queue: SyncSender<QueueMail>,
    page: Option<crate::web::Handle>,
}

impl Daemon {
    fn start(begun: Begun, page: Page) -> Result<Daemon, DaemonError> {
        let (monitor, stop) = (Monitor::new(Timestamp::now()), Stop::default());
        monitor.set_wrong("store_replaced", begun.store_replaced);
        let site = Arc::new(begun.site);
        let publisher = sending::start(&site, &monitor, &stop).map_err(DaemonError::System)?;
        monitor.wakes(publisher.waker());
        let page = page::serve(&site, (&monitor, &stop), publisher.line(), page)?;
        let receiver = receiving::start(&site.config)?;
        let (queue_mail, queue_inbox) = sync_channel(1);
        let mut threads = Vec::new();
        let mut folders = Folders(Vec::new());
        for root in roots(&site.config) {
            let (mail, inbox) = channel();
            let name = if root.is_export { "folder" } else { "spool" };
            let folder = Folder {
                site: Arc::clone(&site),
                monitor: monitor.clone(),
                life: Life::new(site.began),
                stop: stop.clone(),
                inbox,
                notices: Notices::into_inbox(&mail),
                queue: queue_mail.clone(),
                site_key: begun.site_key.clone(),
                root,
            };
            folders.0.push(mail);
            threads.push(spawn(name, folder.life.clone(), move || folder.run())?);
        }
        let queue = Queue {
            site: Arc::clone(&site),
            monitor: monitor.clone(),
            life: Life::new(site.began),
            stop: stop.clone(),
            inbox: queue_inbox,
            folders: folders.clone(),
            worker: worker(&site.config)?,
        };
        threads.push(spawn("studies", queue.life.clone(), move || queue.run())?);
        let archives = archives_of(&site, &monitor, &stop)?;
        let queue = queue_mail;
        Ok(Daemon {
            site,
            monitor,
            stop,
            publisher,
            threads,
            archives,
            receiver,
            folders,
            queue,
            page,
        })
    }

    /// Ends the threads, the publisher last: it says what the others still did.
    fn end(self) {
        self.stop.set();
        // Nothing more is let in; what was acknowledged lies in the spool.
        drop(self.receiver);
        self.folders.send(&FolderMail::Stop);
        // An inbox that is full wakes its thread.
        let _ = self.queue.try_send(QueueMail::Stop);
        for thread in self.threads {
            if thread.handle.join().is_err() {
                error!("a thread had panicked");
            }
        }
        if self.page.is_some_and(|page| !page.stop()) {
            error!("the page's thread had panicked");
        }
        self.publisher.stop(FAREWELL);
    }
}

/// A thread for every archive.
fn archives_of(
    site: &Arc<Site>,
    monitor: &Monitor,
    stop: &Stop,
) -> Result<Vec<JoinHandle<()>>, DaemonError> {
    let troubles = Arc::default();
    let start = |target| {
        let archive = Archive {
            site: Arc::clone(site),
            monitor: monitor.clone(),
            stop: stop.clone(),
            target: archives::target_of(&site.config, target),
            troubles: Arc::clone(&troubles),
        };
        let builder = thread::Builder::new().name("archive".to_owned());
        builder.spawn(move || archive.run()).map_err(DaemonError::System)
    };
    site.config.dicom.archives().map(start).collect()
}

fn spawn(
    name: &'static str,
    life: Life,
    work: impl FnOnce() + Send + 'static,
) -> Result<Watched, DaemonError> {
    let handle = thread::Builder::new().name(name.to_owned()).spawn(work);
    Ok(Watched { name, handle: handle.map_err(DaemonError::System)?, life })
}

impl Daemon {
    /// Feeds the watchdog while all threads live, tells systemd what is going on, and removes
    /// what is old. Returns the name of a thread that has ended before its time, which nobody
    /// outside would see: the line to the broker would stay.
    fn look_after(&self, signalled: &AtomicBool) -> Option<&'static str> {
        let watchdog = sd_notify::watchdog_enabled();
        // A thread may be silent as long as the inference process may, and a little longer.
        let patience = Duration::from_secs(self.site.config.worker.stall_s + 30);
        let mut fed = Instant::now();
        let mut pruned: Option<Instant> = None;
        let mut told = String::new();
        let mut clock = self.site.clock();
        let prune_every = hastened(PRUNE_EVERY);
        let remind = reminders::patience(&self.site.config.mqtt);
        let (mut asked, remind_every) = (Instant::now(), hastened(REMIND_EVERY));
        let (mut cleaned, clean_every) = (Instant::now(), hastened(CLEAN_EVERY));
        while !signalled.load(Ordering::Relaxed) {
            thread::sleep(ROUND);
            if watchdog.is_some_and(|period| fed.elapsed() > period / 4) && self.all_live(patience)
            {
                notify(&[NotifyState::Watchdog]);
                fed = Instant::now();
            }
            let activity = self.monitor.now().activity();
            if activity != told {
                notify(&[NotifyState::Status(&activity)]);
                told = activity;
            }
            let good = clock.look(Timestamp::now(), self.site.ran());
            self.monitor.set_wrong("clock_doubtful", !good);
            if good && pruned.is_none_or(|at| at.elapsed() > prune_every) {
                prune(&self.site, clock.believed());
                pruned = Some(Instant::now());
            }
            // By a clock that may be wrong too: early is better than never.
            if let Some(remind) = remind.filter(|_| asked.elapsed() > remind_every) {
                asked = Instant::now();
                if reminders::tell_due(&self.site, remind, Timestamp::now()) > 0 {
                    self.monitor.wake_publisher();
                }
            }
            if cleaned.elapsed() > clean_every {
                cleaned = Instant::now();
                if let Err(error) = receiving::clean(&self.site) {
                    error!("received images cannot be cleaned away: {error}");
                }
            }
            self.tell_line();
            if let Some(name) = self.dead() {
                error!("the thread {name} has ended, and the daemon with it");
                return Some(name);
            }
        }
        None
    }

    fn all_live(&self, patience: Duration) -> bool {
        self.threads.iter().all(|thread| thread.life.silent_for() <= patience)
    }

    fn dead(&self) -> Option<&'static str> {
        let ended = self.threads.iter().find(|thread| thread.handle.is_finished());
        let published = || (!self.publisher.is_alive()).then_some("publish");
        let served = || self.page.as_ref().filter(|page| !page.is_alive()).map(|_| "web");
        let archive = self.archives.iter().any(JoinHandle::is_finished).then_some("archive");
        let received = || {
            let ended = self.receiver.as_ref().is_some_and(|receiver| !receiver.is_alive());
            ended.then_some("dicom")
        };
        let ended = ended.map(|thread| thread.name).or(archive);
        ended.or_else(received).or_else(published).or_else(served)
    }

    /// What the publisher knows of the line to the broker, as status reasons.
    fn tell_line(&self) {
        let line = self.publisher.state();
        self.monitor.set_wrong("message_too_large", line.too_large.is_some());
        let taken = line.usurped.is_some_and(|at| at.elapsed() < NAME_TAKEN);
        self.monitor.set_wrong("device_name_taken", taken);
    }
}

/// Tells systemd; elsewhere nobody listens and nothing happens.
fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        warn!("systemd cannot be told: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_ends_before_its_time_ends_the_daemon_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let mut site = Site::of_test(dir.path());
        // Nobody listens there.
        site.config.mqtt.port = 1;
        site.config.store.folder = dir.path().to_owned();
        let (site, monitor, stop) =
            (Arc::new(site), Monitor::new(Timestamp::now()), Stop::default());
        let publisher = sending::start(&site, &monitor, &stop).unwrap();
        let life = Life::new(site.began);
        let (goes_on, until) = channel::<()>();
        let lives = spawn("folder", life.clone(), move || {
            let _ = until.recv();
        })
        .unwrap();
        let dies = spawn("studies", life, || panic!("a fault of this program")).unwrap();
        let (folders, queue) = (Folders(vec![channel().0]), sync_channel(1).0);
        let threads = vec![lives, dies];
        let daemon = Daemon {
            site,
            monitor,
            stop,
            publisher,
            threads,
            archives: Vec::new(),
            receiver: None,
            folders,
            queue,
            page: None,
        };
        assert_eq!(daemon.look_after(&AtomicBool::new(false)), Some("studies"));
        drop(goes_on);
        daemon.end();
    }
}
