//! Looks at the export folder: inotify as a hint, a rescan as the truth.
//!
//! Owns the notices and whether the folder is the one that was watched; [`super::listing`] lists
//! it. Refuses to conclude anything from a folder it cannot see: a lost mount is degraded, never
//! an empty folder. Writes nothing.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use notify::event::{AccessKind, AccessMode, ModifyKind, RenameMode};
use notify::{Config, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};

use super::filesystem::{FileSystem, file_system};
use super::listing::{Degraded, Snapshot, WatchParams, list};

/// Folders that are watched for hints; further ones are found by rescans. A tenth of what
/// Linux gives one user, and more than studies that come at once.
const MAX_WATCHES: usize = 4096;

/// More hints than this at once are dropped: the rescan finds the files anyway.
const MAX_HINTS: usize = 100_000;

#[derive(Debug, Default)]
struct Hints {
    closed: BTreeSet<PathBuf>,
    /// The watch is gone or notices were lost.
    failure: Option<String>,
}

/// The export folder under watch.
pub(crate) struct FolderWatch {
    params: WatchParams,
    wake: Arc<dyn Fn() + Send + Sync>,
    hints: Arc<Mutex<Hints>>,
    watcher: Option<RecommendedWatcher>,
    /// Folders that the watcher tells of.
    watched: BTreeSet<PathBuf>,
    no_hints: Option<String>,
    /// Device and inode of the folder that is watched.
    armed: Option<(u64, u64)>,
    file_system: FileSystem,
    last_count: usize,
}

impl FolderWatch {
    /// Begins to watch. `wake` is called from another thread whenever a look is worth it; it
    /// must not block. A folder that is not there yet is no error: [`FolderWatch::look`]
    /// says so each time, until it is.
    pub(crate) fn new(params: WatchParams, wake: Arc<dyn Fn() + Send + Sync>) -> FolderWatch {
        FolderWatch {
            params,
            wake,
            hints: Arc::default(),
            watcher: None,
            watched: BTreeSet::new(),
            no_hints: None,
            armed: None,
            file_system: FileSystem::Local,
            last_count: 0,
        }
    }

    /// What the folder lies on, as of the last look.
    pub(crate) fn file_system(&self) -> FileSystem {
        self.file_system
    }

    #[cfg(test)]
    fn has_hints(&self) -> bool {
        self.watcher.is_some()
    }

    /// Lists the folder.
    pub(crate) fn look(&mut self) -> Snapshot {
        let folder = self.params.folder.clone();
        let blind = |why: Degraded| {
            let (degraded, blind) = (vec![why], vec![folder.clone()]);
            Snapshot { degraded, blind, ..Snapshot::default() }
        };
        let meta = match fs::metadata(&folder) {
            Ok(meta) if meta.is_dir() => meta,
            Ok(_) => return blind(Degraded::Unreadable("not a folder".into())),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return blind(Degraded::Missing),
            Err(e) => return blind(Degraded::Unreadable(e.kind().to_string())),
        };
        let place = (meta.dev(), meta.ino());
        let moved = self.armed.is_some_and(|armed| armed != place);
        let closed = self.take_hints();
        let mut snapshot = match self.list() {
            Ok(snapshot) => snapshot,
            Err(e) => return blind(Degraded::Unreadable(e.kind().to_string())),
        };
        let found = snapshot.files.len() + snapshot.markers.len();
        if moved && found == 0 && self.last_count > 0 {
            return blind(Degraded::MountLost);
        }
        if moved || self.armed.is_none() {
            self.arm(place);
        }
        self.watch_folders(&snapshot.folders);
        snapshot.closed = closed;
        snapshot.degraded.extend(self.no_hints.clone().map(Degraded::NoHints));
        self.last_count = found;
        snapshot
    }

    fn list(&mut self) -> io::Result<Snapshot> {
        self.file_system = file_system(&self.params.folder)?;
        list(&self.params, self.file_system != FileSystem::Local)
    }

    /// Hints since the last look. Notices lost mean that the watch is set up anew.
    fn take_hints(&mut self) -> BTreeSet<PathBuf> {
        let hints = std::mem::take(&mut *lock(&self.hints));
        if hints.failure.is_some() {
            self.watcher = None;
            self.armed = None;
        }
        hints.closed
    }

    fn arm(&mut self, place: (u64, u64)) {
        self.watcher = None;
        self.watched.clear();
        self.no_hints = None;
        self.armed = Some(place);
        if self.params.poll_only || self.file_system != FileSystem::Local {
            return;
        }
        let (hints, wake) = (self.hints.clone(), self.wake.clone());
        // Links are followed by the listing, which knows where it has been.
        let config = Config::default().with_follow_symlinks(false);
        let handler = move |event| notice(event, &hints, &*wake);
        match RecommendedWatcher::new(handler, config) {
            Ok(watcher) => self.watcher = Some(watcher),
            Err(e) => self.no_hints = Some(reason(&e)),
        }
    }

    /// Watches the folders that were listed, each by itself: a deep or wide tree, or one with
    /// loops of links, costs no more than its listing. What came into a new folder before it
    /// was watched is found by the look that follows.
    fn watch_folders(&mut self, folders: &BTreeSet<PathBuf>) {
        let Some(watcher) = &mut self.watcher else { return };
        for gone in self.watched.difference(folders) {
            // The kernel let go of it with the folder.
            let _ = watcher.unwatch(gone);
        }
        self.watched.retain(|folder| folders.contains(folder));
        let mut is_new = false;
        for folder in folders {
            if self.watched.len() >= MAX_WATCHES {
                break;
            }
            if self.watched.contains(folder) {
                continue;
            }
            match watcher.watch(folder, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    is_new = self.watched.insert(folder.clone());
                }
                Err(e) if folder.exists() => {
                    self.no_hints = Some(reason(&e));
                    break;
                }
                Err(_) => {}
            }
        }
        if is_new {
            (self.wake)();
        }
    }
}

/// Without paths: a folder's name may be a patient's.
fn reason(error: &notify::Error) -> String {
    match &error.kind {
        notify::ErrorKind::MaxFilesWatch => "the limit of inotify watches is reached".into(),
        notify::ErrorKind::Io(e) => e.kind().to_string(),
        _ => "inotify refused".into(),
    }
}

fn lock(hints: &Mutex<Hints>) -> std::sync::MutexGuard<'_, Hints> {
    hints.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One notice of inotify. Reading files raises notices too: those wake nobody.
fn notice(event: notify::Result<Event>, hints: &Mutex<Hints>, wake: &(dyn Fn() + Send + Sync)) {
    let mut hints = lock(hints);
    match event {
        Err(error) => hints.failure = Some(reason(&error)),
        Ok(event) if event.need_rescan() => hints.failure = Some("notices were lost".into()),
        Ok(event) => {
            let whole = matches!(
                event.kind,
                EventKind::Access(AccessKind::Close(AccessMode::Write))
                    | EventKind::Modify(ModifyKind::Name(RenameMode::To | RenameMode::Both))
            );
            let changed = matches!(
                event.kind,
                EventKind::Create(_)
                    | EventKind::Modify(ModifyKind::Name(_))
                    | EventKind::Remove(_)
            );
            if !whole && !changed {
                return;
            }
            if whole && hints.closed.len() < MAX_HINTS {
                hints.closed.extend(event.paths);
            }
        }
    }
    drop(hints);
    wake();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use std::sync::mpsc;
    use std::time::Duration;

    fn names_of(snapshot: &Snapshot, root: &Path) -> Vec<String> {
        let name = |path: &PathBuf| path.strip_prefix(root).unwrap().display().to_string();
        snapshot.files.keys().map(name).collect()
    }

    fn silent(params: WatchParams) -> FolderWatch {
        FolderWatch::new(params, Arc::new(|| {}))
    }

    #[test]
    fn a_folder_that_is_not_there_is_degraded_and_nothing_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("mount");
        let mut watch = silent(WatchParams::new(&root));
        let seen = watch.look();
        assert_eq!(seen.degraded, [Degraded::Missing]);
        assert!(!seen.is_gone(&root.join("known.dcm")));
        fs::create_dir(&root).unwrap();
        let seen = watch.look();
        assert_eq!(seen.degraded, []);
        assert!(seen.is_gone(&root.join("known.dcm")));
        fs::write(root.join("a.dcm"), "x").unwrap();
        assert_eq!(watch.look().files.len(), 1);
        // As after a lost mount: another folder, empty, at the same path.
        fs::rename(&root, dir.path().join("elsewhere")).unwrap();
        fs::create_dir(&root).unwrap();
        let seen = watch.look();
        assert_eq!(seen.degraded, [Degraded::MountLost]);
        assert!(!seen.is_gone(&root.join("a.dcm")));
        fs::write(root.join("b.dcm"), "x").unwrap();
        assert_eq!(names_of(&watch.look(), &root), ["b.dcm"], "mounted again");
        fs::write(dir.path().join("file"), "x").unwrap();
        let seen = silent(WatchParams::new(dir.path().join("file"))).look();
        assert_eq!(seen.degraded[0].code(), "export_folder_unreadable");
    }

    #[test]
    fn inotify_wakes_and_tells_of_whole_files() {
        let dir = tempfile::tempdir().unwrap();
        let (send, woken) = mpsc::channel();
        let wake = move || send.send(()).unwrap_or_default();
        let mut watch = FolderWatch::new(WatchParams::new(dir.path()), Arc::new(wake));
        watch.look();
        if file_system(dir.path()).unwrap() != FileSystem::Local {
            println!("skipped: the temporary folder is no local file system");
            return;
        }
        assert!(watch.has_hints());
        fs::create_dir(dir.path().join("s")).unwrap();
        woken.recv_timeout(Duration::from_secs(5)).unwrap();
        // The look after the notice watches the new folder too.
        watch.look();
        let path = dir.path().join("s/1.dcm");
        fs::write(&path, "abc").unwrap();
        let mut closed = BTreeSet::new();
        while !closed.contains(&path) {
            woken.recv_timeout(Duration::from_secs(5)).unwrap();
            closed.extend(watch.look().closed);
        }
        // Reading must wake nobody, or the daemon would run in circles.
        while woken.recv_timeout(Duration::from_millis(100)).is_ok() {}
        fs::read(&path).unwrap();
        watch.look();
        assert!(woken.recv_timeout(Duration::from_millis(200)).is_err());
    }

    #[test]
    fn hints_are_asked_for_only_where_wanted() {
        let polled = WatchParams { poll_only: true, ..WatchParams::new("/") };
        assert!(!silent(polled).has_hints());
    }
}
