//! Two places for installed engines, one of them in use: how an engine comes into a device,
//! proves itself there, and goes again.
//!
//! Owns the folder: `a/` and `b/` hold unpacked bundles, `state.json` says which is in use.
//! The state is a file beside the engines and no row in the database, because it must be
//! readable where the database is not: a damaged database is set aside, and the inference
//! process never opens it. It is replaced whole by one rename, so a power cut leaves the old
//! state or the new one. Refuses to write outside the folder, to run while somebody else
//! changes it, and to touch the slot in use.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::constraints::Device;
use crate::package::Package;
use crate::refused::PackageError;
use crate::{Bundle, Role, TestDepth};
use hepalert_engines::EngineError;
use hepalert_engines::backend::Runtime;
use hepalert_failpoint::failpoint;
use hepalert_study::outcome::EngineFault;
use hepalert_study::system;

mod state;
#[cfg(test)]
mod tests;
mod types;

pub use state::{FORMAT, State};
pub use types::{
    Condition, EngineId, Fault, Installed, MAX_FAULTS, MAX_TRIES, Notice, Objection,
    ProbationLimits, Slot, Test, Wanted,
};

const STATE: &str = "state.json";
/// A state is a few kilobytes.
const MAX_STATE_BYTES: u64 = 1 << 20;
/// Where a packed bundle is unpacked before it has a slot.
const INCOMING: &str = "incoming";

/// Why the slots cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SlotsError {
    /// A file or folder.
    #[error("{}: {}", path.display(), system::reason(reason))]
    File {
        /// The file or folder.
        path: PathBuf,
        /// The system's words.
        reason: std::io::Error,
    },
    /// The state makes no sense to this program.
    #[error("{}: {reason}; move it away to go on with the configured bundle", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
}

/// Why an engine was not installed.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The file itself.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// What is here already.
    #[error(transparent)]
    Objection(#[from] Objection),
    /// The disk.
    #[error("it needs {needed_mib} MiB on the disk, {free_mib} are free")]
    NoSpace {
        /// What it takes.
        needed_mib: u64,
        /// What is there.
        free_mib: u64,
    },
    /// It does not run here.
    #[error("{0}")]
    Engine(EngineError),
    /// The folder.
    #[error(transparent)]
    Slots(#[from] SlotsError),
    /// Somebody else.
    #[error("another install is under way; try again when it is done")]
    UnderWay,
}

impl Refusal {
    /// The reason code, for events and `--json`.
    pub fn code(&self) -> &'static str {
        match self {
            Refusal::Package(error) => error.code(),
            Refusal::Objection(objection) => objection.code(),
            Refusal::NoSpace { .. } => "no_space",
            Refusal::Engine(error) => fault_of(error).name(),
            Refusal::Slots(_) => "slots_unusable",
            Refusal::UnderWay => "under_way",
        }
    }
}

/// What it is that an engine cannot be used for.
pub const fn fault_of(error: &EngineError) -> EngineFault {
    match error {
        EngineError::SelfTest { .. } => EngineFault::SelfTestFailed,
        EngineError::NoBundle(_)
        | EngineError::File { .. }
        | EngineError::Manifest { .. }
        | EngineError::Shape { .. }
        | EngineError::Answer { .. }
        | EngineError::Backend { .. } => EngineFault::EngineUnusable,
    }
}

/// What an engine is measured by before it is taken.
pub struct Admission<'a> {
    /// What the device offers.
    pub device: &'a Device,
    /// The configured bundle's engine, if it can be opened.
    pub configured: Option<EngineId>,
    /// Take one that has failed here before.
    pub again: bool,
    /// Bytes that must stay free on the disk.
    pub keep_free_bytes: u64,
    /// The time.
    pub now: Timestamp,
}

/// How a self-test failed: what, and a sentence.
pub type Failed = (EngineFault, String);

/// A lock on something in the folder; it ends with the value or the process.
#[derive(Debug)]
pub struct SlotLock {
    _file: File,
}

/// The folder of the slots; made when first written to.
#[derive(Debug, Clone)]
pub struct Slots {
    folder: PathBuf,
}

impl Slots {
    /// The slots in `folder`.
    pub fn at(folder: PathBuf) -> Slots {
        Slots { folder }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder of a slot's bundle.
    pub fn dir(&self, slot: Slot) -> PathBuf {
        self.folder.join(slot.name())
    }

    /// The state as it is; where there is none, the configured bundle is in use.
    ///
    /// # Errors
    /// [`SlotsError`].
    pub fn state(&self) -> Result<State, SlotsError> {
        let path = self.folder.join(STATE);
        let mut text = String::new();
        match File::open(&path) {
            Ok(file) => file
                .take(MAX_STATE_BYTES)
                .read_to_string(&mut text)
                .map_err(|reason| SlotsError::File { path: path.clone(), reason })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(State::default());
            }
            Err(reason) => return Err(SlotsError::File { path, reason }),
        };
        let senseless = |reason: String| SlotsError::State { path: path.clone(), reason };
        let state: State = serde_json::from_str(&text)
            .map_err(|error| senseless(format!("it is damaged ({error})")))?;
        match state.format {
            FORMAT => Ok(state),
            newer => Err(senseless(format!("layout {newer}, this program knows {FORMAT}"))),
        }
    }

    /// Changes the state: all of `change` is on the disk when this returns, or nothing is.
    ///
    /// # Errors
    /// [`SlotsError`]; then the state is as it was.
    pub fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> Result<T, SlotsError> {
        self.make()?;
        let lock = self.open_lock("lock")?;
        lock.lock().map_err(|reason| self.failed("lock", reason))?;
        let mut state = self.state()?;
        let before = state.clone();
        let outcome = change(&mut state);
        if state != before {
            self.write(&state)?;
        }
        Ok(outcome)
    }

    /// The folder of the engine in use; `configured` where no slot is.
    ///
    /// # Errors
    /// [`SlotsError`].
    pub fn bundle_in_use(&self, configured: &Path) -> Result<PathBuf, SlotsError> {
        Ok(self.state()?.active.map_or_else(|| configured.to_owned(), |slot| self.dir(slot)))
    }

    /// Takes the place of the one who changes the engine in use; nothing if somebody else,
    /// usually the daemon, has it.
    ///
    /// # Errors
    /// [`SlotsError`].
    pub fn occupy(&self) -> Result<Option<SlotLock>, SlotsError> {
        self.make()?;
        self.try_lock("daemon.lock")
    }

    /// Removes what an interrupted install left: only for the holder of [`Slots::occupy`].
    ///
    /// # Errors
    /// [`SlotsError`].
    pub fn tidy(&self) -> Result<(), SlotsError> {
        let Some(_installing) = self.try_lock("install.lock")? else { return Ok(()) };
        self.remove(INCOMING)?;
        let state = self.state()?;
        Slot::ALL
            .into_iter()
            .filter(|slot| state.slot(*slot).is_none())
            .try_for_each(|slot| self.remove(slot.name()))
    }

    /// Unpacks a package into the free slot, checking every file on the way; there it waits for
    /// its self-test. Nothing in use is touched, whatever the file is.
    ///
    /// # Errors
    /// [`Refusal`]; the slots are as they were, except that the free one may be empty.
    pub fn stage<R: Read>(
        &self,
        package: Package<R>,
        admission: &Admission<'_>,
    ) -> Result<Slot, Refusal> {
        let which = which(package.bundle());
        package.bundle().fits(admission.device)?;
        let downgrade_from = package.bundle().constraints().downgrade_from;
        let configured = admission.configured.as_ref();
        self.state()?.admit(&which, downgrade_from, configured, admission.again)?;
        self.make()?;
        let Some(_installing) = self.try_lock("install.lock")? else {
            return Err(Refusal::UnderWay);
        };
        self.room(package.unpacked_bytes(), admission.keep_free_bytes)?;
        self.remove(INCOMING)?;
        let incoming = self.folder.join(INCOMING);
        if let Err(error) = package.unpack(&incoming) {
            // What stays is removed by the next install.
            let _ = fs::remove_dir_all(&incoming);
            return Err(error.into());
        }
        failpoint("unpacked");
        let slot = self.change(|state| {
            let slot = state.free();
            state.empty(slot).map(|()| slot)
        })??;
        failpoint("slot_emptied");
        self.remove(slot.name())?;
        failpoint("slot_removed");
        self.adopt(&incoming)?;
        fs::rename(&incoming, self.dir(slot)).map_err(|reason| self.failed(slot.name(), reason))?;
        self.sync()?;
        failpoint("slot_filled");
        self.change(|state| state.put(slot, which, admission.now))?;
        failpoint("slot_recorded");
        Ok(slot)
    }

    /// Runs the first self-test of the engine that waits for it, by way of `test`, which gives
    /// a sentence or what failed and how; nothing if it was interrupted,
    /// which says nothing of the engine: it waits for the next start.
    ///
    /// # Errors
    /// [`SlotsError`].
    pub fn self_test(
        &self,
        slot: Slot,
        test: &mut dyn FnMut(&Path) -> Option<Result<String, Failed>>,
        now: &dyn Fn() -> Timestamp,
    ) -> Result<Option<Result<(), Failed>>, SlotsError> {
        // Counted before it begins: a test that takes the machine down is not tried for ever.
        let outcome = if self.change(|state| state.try_out(slot))? {
            failpoint("test_begun");
            test(&self.dir(slot))
        } else {
            let reason = "its self-test never came to an end".to_owned();
            Some(Err((EngineFault::SelfTestCrashed, reason)))
        };
        let Some(outcome) = outcome else {
            self.change(|state| state.put_off(slot))?;
            return Ok(None);
        };
        self.change(|state| match &outcome {
            Ok(words) => {
                state.first_test_passed(
                    slot,
                    Test { at: now(), passed: true, words: words.clone() },
                );
            }
            Err((fault, _)) => state.first_test_failed(slot, fault.name(), now()),
        })?;
        failpoint("test_recorded");
        Ok(Some(outcome.map(drop)))
    }

    /// Does what is wanted; true if another engine is in use now.
    ///
    /// # Errors
    /// [`SlotsError`].
    pub fn fulfil(&self, limits: ProbationLimits, now: Timestamp) -> Result<bool, SlotsError> {
        let changed = self.change(|state| state.fulfil(limits, now))?;
        failpoint("activated");
        Ok(changed)
    }

    fn room(&self, needed: u64, keep_free: u64) -> Result<(), Refusal> {
        let free = system::free_bytes(&self.folder).map_err(|error| self.failed("", error))?;
        let needed = needed.saturating_add(keep_free);
        if needed <= free {
            return Ok(());
        }
        Err(Refusal::NoSpace { needed_mib: needed.div_ceil(1 << 20), free_mib: free >> 20 })
    }

    fn write(&self, state: &State) -> Result<(), SlotsError> {
        let draft = self.folder.join("state.json.new");
        let written =
            serde_json::to_vec_pretty(state).map_err(std::io::Error::other).and_then(|mut text| {
                text.push(b'\n');
                let mut file = File::create(&draft)?;
                file.write_all(&text)?;
                file.sync_all()
            });
        written.map_err(|reason| self.failed("state.json.new", reason))?;
        self.adopt(&draft)?;
        failpoint("state_written");
        fs::rename(&draft, self.folder.join(STATE)).map_err(|reason| self.failed(STATE, reason))?;
        failpoint("state_renamed");
        self.sync()
    }

    /// Makes the folder. Root makes it for the owner of the one that it lies in, who must be able
    /// to write there.
    fn make(&self) -> Result<(), SlotsError> {
        if self.folder.is_dir() {
            return Ok(());
        }
        let parent = self.folder.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        let made = fs::create_dir_all(&self.folder).and_then(|()| give(&self.folder, parent));
        made.map_err(|reason| self.failed("", reason))
    }

    fn sync(&self) -> Result<(), SlotsError> {
        let synced = File::open(&self.folder).and_then(|folder| folder.sync_all());
        synced.map_err(|reason| self.failed("", reason))
    }

    fn remove(&self, name: &str) -> Result<(), SlotsError> {
        match fs::remove_dir_all(self.folder.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(self.failed(name, error))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn open_lock(&self, name: &str) -> Result<File, SlotsError> {
        let mut options = OpenOptions::new();
        let path = self.folder.join(name);
        let opened = options.create(true).truncate(false).write(true).open(&path);
        let opened = opened.map_err(|reason| self.failed(name, reason))?;
        self.adopt(&path)?;
        Ok(opened)
    }

    fn try_lock(&self, name: &str) -> Result<Option<SlotLock>, SlotsError> {
        self.make()?;
        let file = self.open_lock(name)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(SlotLock { _file: file })),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(reason)) => Err(self.failed(name, reason)),
        }
    }

    /// Gives what root has made to the owner of the folder, who must be able to replace it.
    fn adopt(&self, path: &Path) -> Result<(), SlotsError> {
        let adopted = give(path, &self.folder);
        adopted.map_err(|reason| SlotsError::File { path: path.to_owned(), reason })
    }

    fn failed(&self, name: &str, reason: std::io::Error) -> SlotsError {
        SlotsError::File { path: self.folder.join(name), reason }
    }
}

/// Gives a path to the owner of `like`.
fn give(path: &Path, like: &Path) -> std::io::Result<()> {
    let owner = fs::metadata(like)?;
    if fs::symlink_metadata(path)?.uid() == owner.uid() {
        return Ok(());
    }
    chown(path, owner.uid(), owner.gid())
}

fn chown(path: &Path, uid: u32, gid: u32) -> std::io::Result<()> {
    std::os::unix::fs::lchown(path, Some(uid), Some(gid))?;
    if fs::symlink_metadata(path)?.is_dir() {
        for entry in fs::read_dir(path)? {
            chown(&entry?.path(), uid, gid)?;
        }
    }
    Ok(())
}

/// The engine in a bundle by name.
pub fn which(bundle: &Bundle) -> EngineId {
    EngineId {
        id: bundle.id().to_owned(),
        version: bundle.version(),
        sha256: bundle.fingerprint().to_owned(),
    }
}

/// Compiles every network of the bundle in `dir` and runs its golden patch; what was seen, in
/// a sentence.
///
/// # Errors
/// [`EngineError`] of the first network that fails.
pub fn try_out(dir: &Path, runtime: &Runtime) -> Result<String, EngineError> {
    let bundle = Bundle::open(dir)?;
    // What has no first stage cannot take a slot.
    bundle.require(Role::Segment)?;
    let mut words = Vec::new();
    bundle.test_all(runtime, TestDepth::Suite, |test| {
        words.push(format!(
            "{}: best class equal on {:.3} % of voxels",
            test.role.name(),
            100.0 * test.conformity.argmax_agreement
        ));
    })?;
    Ok(words.join("; "))
}
