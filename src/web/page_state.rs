//! What the whole page shares: configuration, store, users, device, caches.
//!
//! Owns how blocking work is done: on threads beside the one that serves, few at a time, so that no
//! page holds up another or takes memory without bound.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

use tokio::sync::{Semaphore, watch};

use super::accounts::{AccountError, Accounts};
use super::cache::Cache;
use super::device::{Check, Device};
use super::editors::LabelEditors;
use super::problem::Problem;
use super::queue_lines::QueueState;
use super::study_list::Summaries;
use super::throttle::Throttle;
use crate::config::Config;
use crate::store::Store;
use crate::system;

/// Volumes made ready at the same time: each may take a study's memory.
const HEAVY_AT_ONCE: usize = 2;
/// Passwords hashed at the same time, beside the volumes: nobody waits at the door for a scan.
const LOGINS_AT_ONCE: usize = 1;

/// A shorter secret of a proxy is as good as none.
pub const MIN_SECRET: usize = 16;

/// Read by every request.
pub struct PageState {
    /// As the daemon read it.
    pub config: Config,
    /// The file it was read from.
    pub config_file: PathBuf,
    /// The daemon's own store, by which changes are made.
    pub store: Store,
    /// The device.
    pub device: Arc<dyn Device>,
    pub(super) accounts: Accounts,
    pub(super) began: Instant,
    pub(super) throttle: Mutex<Throttle>,
    pub(super) summaries: Mutex<Summaries>,
    pub(super) cache: Cache,
    pub(super) bench: Option<LabelEditors>,
    pub(super) heavy: Semaphore,
    pub(super) logins: Semaphore,
    pub(super) queue: watch::Sender<Arc<QueueState>>,
    pub(super) checks: Mutex<Option<(Instant, Arc<Vec<Check>>)>>,
    pub(super) proxy_secret: Option<String>,
    pub(super) has_device: bool,
    pub(super) host_name: Option<String>,
    reader: OnceLock<Store>,
}

/// The database of users and sessions.
pub fn database(config: &Config) -> PathBuf {
    config.store.folder.join("page.sqlite")
}

/// The secret that a proxy shows; none if it is too short to be one.
///
/// # Errors
/// If the file cannot be read.
pub fn proxy_secret(file: &Path) -> std::io::Result<Option<String>> {
    let text = std::fs::read_to_string(file)?;
    Ok(Some(text.trim().to_owned()).filter(|secret| secret.len() >= MIN_SECRET))
}

impl PageState {
    /// Opens what the page needs beside the store.
    ///
    /// # Errors
    /// [`AccountError`], or the system's words for the proxy's secret.
    pub fn new(
        config: Config,
        config_file: &Path,
        store: Store,
        device: Arc<dyn Device>,
    ) -> Result<PageState, AccountError> {
        let secret = config.web.proxy_secret_file.as_deref().map(proxy_secret).transpose()?;
        let folder = config.store.folder.join("web-cache");
        Ok(PageState {
            accounts: Accounts::open(&database(&config))?,
            bench: config
                .web
                .labels_folder
                .as_deref()
                .map(|folder| LabelEditors::new(folder, None)),
            cache: Cache::new(folder, config.web.cache_mib << 20),
            config_file: config_file.to_owned(),
            store,
            device,
            began: Instant::now(),
            throttle: Mutex::default(),
            summaries: Mutex::default(),
            heavy: Semaphore::new(HEAVY_AT_ONCE),
            logins: Semaphore::new(LOGINS_AT_ONCE),
            queue: watch::Sender::new(Arc::default()),
            checks: Mutex::default(),
            proxy_secret: secret.flatten(),
            has_device: true,
            host_name: system::host_name(),
            reader: OnceLock::new(),
            config,
        })
    }

    /// Of a folder of cases alone, without a daemon: what belongs to one is not offered.
    #[must_use]
    pub fn of_cases(self, bench: LabelEditors) -> PageState {
        PageState { bench: Some(bench), has_device: false, ..self }
    }

    /// A connection of the page's own: reading does not hold up the daemon.
    pub(super) fn reader(&self) -> Result<&Store, Problem> {
        if let Some(store) = self.reader.get() {
            return Ok(store);
        }
        let opened = Store::open_read_only(self.store.path())?;
        Ok(self.reader.get_or_init(|| opened))
    }
}

/// Work that waits for a disk or computes, beside the thread that serves.
///
/// # Errors
/// Whatever the work says; a panic is a fault of this program and is told as one.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(Problem::fault(error)),
    }
}
