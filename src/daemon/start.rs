//! The start, which is the same code as recovery, and what the daemon does while it cannot
//! begin: a full disk or a missing site key is told to the broker, not to a log alone.
//!
//! Owns the lock on the store, the site key, and what a dead process left. Refuses to make a new
//! site key beside a store whose studies are named with another.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use log::{error, info, warn};
use sd_notify::NotifyState;
use uuid::Uuid;

use super::site::Site;
use super::{DaemonError, ROUND, notify, sending};
use crate::config::Config;
use crate::publish::contract::Code;
use crate::publish::messages::{State, Status, Vitals};
use crate::publish::{Outbox, OutboxError, Publisher, PublisherHandle, Reprocess, Row, Snapshot};
use crate::report::output::{self, DRAFT};
use crate::store::{DEVICE_NAME, Store, StoreError};
use crate::ui::counted;
use hepalert_study::digest::{Digest, hex};
use hepalert_study::outcome::Opinion;

/// How often a start that failed is tried again.
const AGAIN: Duration = Duration::from_secs(10);
/// Time to tell the broker that the waiting is over.
const FAREWELL: Duration = Duration::from_secs(2);
/// Bytes of a site key.
const SITE_KEY_BYTES: usize = 32;
/// Facts in the store: the last time that could be believed, the machine's own boot, and which
/// site key the studies are named with.
pub(super) const CLOCK: &str = "clock";
const MACHINE: &str = "machine_boot";
const SITE_KEY: &str = "site_key";

/// What the threads begin with.
pub(super) struct Begun {
    pub(super) site: Site,
    pub(super) site_key: Vec<u8>,
    /// The database was damaged and a new one was begun.
    pub(super) store_replaced: bool,
}

/// Begins, however long it takes. Nothing if the daemon is to stop before it could.
///
/// # Errors
/// Only what no waiting mends.
pub(super) fn begin_or_wait(
    config: &Config,
    stop: &AtomicBool,
) -> Result<Option<Begun>, DaemonError> {
    let mut waiting: Option<Waiting> = None;
    loop {
        let error = match begin(config.clone()) {
            Ok(begun) => {
                waiting.into_iter().for_each(Waiting::end);
                return Ok(Some(begun));
            }
            Err(error) => error,
        };
        let Some(reason) = reason(&error, config) else { return Err(error) };
        let what = crate::codes::of_device(reason).map_or("", |meaning| meaning.advice);
        error!("not begun ({reason}), tried again every {} s: {error}; {what}", AGAIN.as_secs());
        let told = match &waiting {
            Some(waiting) => waiting,
            None => waiting.insert(Waiting::begin(config, reason)?),
        };
        told.tell(reason);
        for _ in 0..AGAIN.as_millis() / ROUND.as_millis() {
            thread::sleep(ROUND);
            notify(&[NotifyState::Watchdog]);
            if stop.load(Ordering::Relaxed) {
                waiting.into_iter().for_each(Waiting::end);
                return Ok(None);
            }
        }
    }
}

/// The status reason of an error that may pass by itself; nothing for the others.
fn reason(error: &DaemonError, config: &Config) -> Option<&'static str> {
    let full = crate::system::free_mib(&config.store.folder) == Some(0);
    match error {
        DaemonError::Taken { .. }
        | DaemonError::System(_)
        | DaemonError::Thread(_)
        | DaemonError::Receive(_)
        | DaemonError::Page(_) => None,
        DaemonError::SiteKey { .. } => Some("site_key_missing"),
        DaemonError::Store(StoreError::Full) => Some("disk_full"),
        DaemonError::File { reason, .. } if reason.kind() == io::ErrorKind::StorageFull => {
            Some("disk_full")
        }
        DaemonError::File { .. } | DaemonError::Store(_) if full => Some("disk_full"),
        DaemonError::File { .. } | DaemonError::Store(_) => Some("store_failing"),
    }
}

/// A daemon that waits: the broker hears of it, and nothing else happens.
struct Waiting {
    publisher: PublisherHandle,
    reason: Arc<Mutex<&'static str>>,
}

impl Waiting {
    fn begin(config: &Config, reason: &'static str) -> Result<Waiting, DaemonError> {
        let reason = Arc::new(Mutex::new(reason));
        let (said, since) = (Arc::clone(&reason), Timestamp::now());
        let snapshot = move || {
            let reason = *said.lock().unwrap_or_else(PoisonError::into_inner);
            // What is in the store is not known: what was told of it before still stands.
            Snapshot {
                info: None,
                status: Status::new(State::Degraded, vec![Code::fixed(reason)], since, 0),
                worklist: None,
                vitals: Vitals::default(),
            }
        };
        let publisher =
            Publisher::start(sending::params(config), Box::new(Nothing), Arc::new(snapshot))
                .map_err(DaemonError::System)?;
        notify(&[NotifyState::Ready]);
        Ok(Waiting { publisher, reason })
    }

    fn tell(&self, reason: &'static str) {
        *self.reason.lock().unwrap_or_else(PoisonError::into_inner) = reason;
        notify(&[NotifyState::Status(&format!("cannot begin: {reason}"))]);
        self.publisher.wake();
    }

    fn end(self) {
        self.publisher.stop(FAREWELL);
    }
}

/// The outbox of a daemon that has none.
struct Nothing;

impl Outbox for Nothing {
    fn unsent(&mut self, _: u64, _: usize) -> Result<Vec<Row>, OutboxError> {
        Ok(Vec::new())
    }

    fn row(&mut self, _: u64) -> Result<Option<Row>, OutboxError> {
        Ok(None)
    }

    fn accepted(&mut self, _: &[u64]) -> Result<(), OutboxError> {
        Ok(())
    }

    fn refused(&mut self, _: &[u64]) -> Result<(), OutboxError> {
        Ok(())
    }

    fn acknowledge(&mut self, _: Uuid, _: &str, _: Option<Opinion>) -> Result<bool, OutboxError> {
        Err(OutboxError("the store is not open".to_owned()))
    }

    fn reprocess(&mut self, _: &str) -> Result<Reprocess, OutboxError> {
        Err(OutboxError("the store is not open".to_owned()))
    }
}

/// Opens the store and takes back what a dead process left.
fn begin(config: Config) -> Result<Begun, DaemonError> {
    let folder = config.store.folder.clone();
    let failed = |reason| DaemonError::File { path: folder.clone(), reason };
    fs::create_dir_all(&folder).map_err(failed)?;
    let lock = occupy(&folder)?;
    let opened = Store::open(&config.store.database(), Timestamp::now())?;
    if let Some(aside) = &opened.moved_away {
        error!("the store was damaged and moved away: {}", aside.display());
    }
    let site_key = site_key(&config.device.site_key_file, &opened.store)?;
    let believed = believed(&opened.store)?;
    let boot = take_back(&opened.store)?;
    sweep_drafts(&config.store.results());
    // A copy of the store says whose it is.
    opened.store.set_fact(DEVICE_NAME, &config.device.name)?;
    let merged = toml::to_string(&config).unwrap_or_default();
    let config_sha256 = Digest::of(merged.as_bytes()).hex();
    warn_of_secrets(&config);
    let store_replaced = opened.moved_away.is_some();
    let (store, began) = (opened.store, Instant::now());
    let site = Site { config, store, boot, config_sha256, believed, began, _lock: lock };
    Ok(Begun { site, site_key, store_replaced })
}

/// Puts what was running back into the queue and counts the boot. An attempt that the machine
/// itself ended (a power cut) is not the study's fault; one that ended with the daemon alone is.
fn take_back(store: &Store) -> Result<u64, StoreError> {
    let machine = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let machine = machine.trim();
    let went_down = store.fact(MACHINE)?.is_some_and(|before| before != machine);
    let started = store.begin(Timestamp::now())?;
    if went_down {
        store.excuse(&started.requeued)?;
    }
    store.set_fact(MACHINE, machine)?;
    if !started.requeued.is_empty() {
        let count = counted(started.requeued.len(), "study");
        let how = if went_down { "the machine went down" } else { "the last run ended" };
        warn!("under way when {how}: {count}");
    }
    Ok(started.boot)
}

/// Two daemons on one store would take each other's line to the broker away without end, and
/// each other's studies. The system ends the lock with the process, however that ends.
fn occupy(folder: &Path) -> Result<fs::File, DaemonError> {
    let path = folder.join("daemon.lock");
    let failed = |reason| DaemonError::File { path: path.clone(), reason };
    let mut options = OpenOptions::new();
    let lock = options.create(true).append(true).mode(0o600).open(&path).map_err(failed)?;
    // One that was killed a moment ago holds it until the system has cleared up after it.
    let patience = Instant::now() + Duration::from_secs(2);
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(fs::TryLockError::WouldBlock) if Instant::now() < patience => {
                thread::sleep(Duration::from_millis(100));
            }
            Err(fs::TryLockError::WouldBlock) => {
                return Err(DaemonError::Taken { folder: folder.to_owned() });
            }
            Err(fs::TryLockError::Error(error)) => return Err(failed(error)),
        }
    }
}

/// The last time that could be believed: what a run before this one noted, else that of the
/// newest row, else that of the program's own file.
fn believed(store: &Store) -> Result<Timestamp, StoreError> {
    let noted = store.fact(CLOCK)?.and_then(|text| text.parse().ok());
    let built = || {
        let program = std::env::current_exe().and_then(fs::metadata);
        program.and_then(|facts| facts.modified()).ok().and_then(|at| Timestamp::try_from(at).ok())
    };
    let found = match noted {
        Some(noted) => Some(noted),
        None => store.newest_row_at()?.or_else(built),
    };
    Ok(found.unwrap_or_else(Timestamp::now))
}

/// Removes half-written reports of a process that was killed.
pub(super) fn sweep_drafts(results: &Path) {
    let Ok(entries) = fs::read_dir(results) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(DRAFT) {
            // A draft that stays only wastes space.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Reads the site key, making it at the first start.
fn site_key(path: &Path, store: &Store) -> Result<Vec<u8>, DaemonError> {
    let failed = |reason| DaemonError::File { path: path.to_owned(), reason };
    let wrong = |what| DaemonError::SiteKey { path: path.to_owned(), what };
    let used = store.fact(SITE_KEY)?;
    let is_new = used.is_none() && store.known()?.is_empty();
    // Bytes that are no text are damage, and no fault of the disk.
    let text = match fs::read(path) {
        Ok(bytes) => Some(String::from_utf8_lossy(&bytes).trim().to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(failed(error)),
    };
    let key = match text {
        Some(text) if is_site_key(&text) => text,
        // An empty file is what a first start on a full disk left.
        None | Some(_) if is_new && text.as_deref().is_none_or(str::is_empty) => make_key(path)?,
        None => return Err(wrong("is gone")),
        Some(_) => return Err(wrong("is damaged: it is no 64 hex digits")),
    };
    let print = key_print(&key);
    match used {
        Some(used) if used != print => Err(wrong("is another one")),
        Some(_) => Ok(key.into_bytes()),
        None => {
            store.set_fact(SITE_KEY, &print)?;
            Ok(key.into_bytes())
        }
    }
}

/// What the store knows a site key by: it tells keys apart and gives none away.
fn key_print(key: &str) -> String {
    hex(&Digest::of(format!("hepalert site key {key}").as_bytes()).as_bytes()[..8])
}

/// How a site key stands to the studies of a store, where the store names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyUse {
    /// No study is named yet.
    None,
    /// Studies are named with this key, or nothing says otherwise.
    This,
    /// Studies are named, and not with this key.
    Another,
}

/// Compares a site key, if there is one, with the one that a store's studies are named with.
///
/// # Errors
/// If the store cannot be read.
pub fn key_use(key: Option<&str>, store: &Store) -> Result<KeyUse, StoreError> {
    let used = store.fact(SITE_KEY)?;
    Ok(match (used, key) {
        (Some(used), Some(key)) if used == key_print(key) => KeyUse::This,
        (Some(_), _) => KeyUse::Another,
        (None, _) if store.known()?.is_empty() => KeyUse::None,
        (None, Some(_)) => KeyUse::This,
        (None, None) => KeyUse::Another,
    })
}

/// Reads a site key that is there already: for who asks, not for who begins.
///
/// # Errors
/// The system's words; too short a key is invalid data.
pub fn read_site_key(path: &Path) -> io::Result<String> {
    let text = fs::read_to_string(path)?.trim().to_owned();
    match is_site_key(&text) {
        true => Ok(text),
        false => Err(io::Error::new(io::ErrorKind::InvalidData, "no 64 hex digits")),
    }
}

/// Whether a text is a key as [`make_key`] writes it: a digit more or less is damage.
pub fn is_site_key(text: &str) -> bool {
    text.len() == 2 * SITE_KEY_BYTES && text.bytes().all(|digit| digit.is_ascii_hexdigit())
}

/// Appears whole or not at all.
fn make_key(path: &Path) -> Result<String, DaemonError> {
    let failed = |reason| DaemonError::File { path: path.to_owned(), reason };
    let mut bytes = [0; SITE_KEY_BYTES];
    let random = fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    random.map_err(failed)?;
    let text = hex(&bytes);
    fs::create_dir_all(output::folder_of(path)).map_err(failed)?;
    output::place(path, |file| file.write_all(text.as_bytes())).map_err(failed)?;
    info!("a new site key was made: {}", path.display());
    Ok(text)
}

/// A password that goes over the network as it is, or that anybody on this machine may read.
fn warn_of_secrets(config: &Config) {
    for words in exposed(config) {
        warn!("{words}");
    }
}

/// What is known of the broker's password by others; for the log and for `doctor`.
pub fn exposed(config: &Config) -> Vec<String> {
    use std::os::unix::fs::PermissionsExt;
    let mqtt = &config.mqtt;
    let mut found = Vec::new();
    let Some(file) = &mqtt.password_file else { return found };
    if !mqtt.tls && mqtt.is_remote() {
        found.push(format!(
            "mqtt.password_file: the password goes to {} in plain text, for everybody on the \
             network to read; set mqtt.tls",
            mqtt.host
        ));
    }
    let mode = fs::metadata(file).map_or(0, |facts| facts.permissions().mode());
    if mode & 0o004 != 0 {
        found.push(format!(
            "{}: every user of this machine may read the broker's password; `sudo chmod 640` it",
            file.display()
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn store(folder: &Path) -> Store {
        Store::open(&crate::config::database_in(folder), Timestamp::now()).unwrap().store
    }

    fn key_file(folder: &Path) -> PathBuf {
        folder.join("site.key")
    }

    #[test]
    fn a_site_key_is_made_once_and_never_instead_of_another() {
        let dir = tempfile::tempdir().unwrap();
        let (file, store) = (key_file(dir.path()), store(dir.path()));
        // What a first start on a full disk once left.
        fs::write(&file, "").unwrap();
        let key = site_key(&file, &store).unwrap();
        assert_eq!((key.len(), site_key(&file, &store).unwrap() == key), (64, true));
        fs::rename(&file, dir.path().join("kept")).unwrap();
        assert!(matches!(site_key(&file, &store), Err(DaemonError::SiteKey { .. })));
        assert!(!file.exists(), "no other one is made");
        fs::write(&file, "0".repeat(64)).unwrap();
        assert!(matches!(site_key(&file, &store), Err(DaemonError::SiteKey { .. })));
        fs::write(&file, "short").unwrap();
        assert!(matches!(site_key(&file, &store), Err(DaemonError::SiteKey { .. })));
        fs::rename(dir.path().join("kept"), &file).unwrap();
        assert_eq!(site_key(&file, &store).unwrap(), key);
    }

    #[test]
    fn an_attempt_that_the_machine_ended_is_excused_and_one_that_the_daemon_ended_is_not() {
        use crate::store::NewJob;
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        let job = NewJob {
            study_key: hepalert_study::study::StudyKey::new(&"0".repeat(32)).unwrap(),
            setting: hepalert_study::phase::Setting::Venous,
            input_fingerprint: "a".to_owned(),
            files_json: "{}".to_owned(),
            patient: None,
            completed_at: Timestamp::now(),
        };
        store.enqueue(&job, Timestamp::now(), |_| Vec::new()).unwrap();
        let begin = || store.next_job(Timestamp::now(), |_| Vec::new()).unwrap().unwrap();
        let mut begun = Vec::new();
        // The first start knows no earlier one.
        take_back(&store).unwrap();
        begun.push(begin().attempts);
        store.set_fact(MACHINE, "another").unwrap();
        take_back(&store).unwrap();
        begun.push(begin().attempts);
        take_back(&store).unwrap();
        begun.push(begin().attempts);
        assert_eq!(begun, [1, 1, 2]);
    }

    #[test]
    fn one_daemon_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let first = occupy(dir.path()).unwrap();
        let second = occupy(dir.path()).unwrap_err();
        assert!(second.to_string().contains("another daemon"), "{second}");
        drop(first);
        occupy(dir.path()).unwrap();
    }

    #[test]
    fn a_password_in_the_open_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("password");
        fs::write(&file, "x").unwrap();
        let mode = |mode| {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
            fs::set_permissions(&file, mode).unwrap();
        };
        let mut config = Config::default();
        assert_eq!(exposed(&config), [""; 0]);
        config.mqtt.password_file = Some(file.clone());
        config.mqtt.host = "broker.hospital".to_owned();
        mode(0o644);
        assert_eq!(exposed(&config).len(), 2);
        mode(0o640);
        assert_eq!(exposed(&config).len(), 1);
        config.mqtt.tls = true;
        assert_eq!(exposed(&config), [""; 0]);
        config.mqtt.tls = false;
        config.mqtt.host = "127.0.0.1".to_owned();
        assert_eq!(exposed(&config), [""; 0], "what stays on the machine is on no network");
    }
}
