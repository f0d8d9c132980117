//! What lies in the export folder now.
//!
//! Owns the walk through folders, bounded in depth and number, and why a listing is not whole.
//! Reads names and sizes only, follows links where it is told to and never twice to one folder.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::names::{self, Ignored};
use super::stranger_kind::StrangerKind;

/// How and where to look.
#[derive(Debug, Clone, PartialEq)]
pub struct WatchParams {
    /// The export folder.
    pub folder: PathBuf,
    /// Folders within folders: PACS exports nest patient, study, series, rarely more.
    pub max_depth: usize,
    /// More files and folders than this are not looked at: the folder needs a person.
    pub max_files: usize,
    /// Do not ask for hints even on a local file system.
    pub poll_only: bool,
    /// Look behind links, also out of the folder.
    pub follow_links: bool,
}

/// A marker is empty or a line of text; a slice of that name has more bytes.
const MAX_MARKER_BYTES: u64 = 1024;

impl WatchParams {
    /// The usual bounds: 8 levels, 200 000 files and folders.
    pub fn new(folder: impl Into<PathBuf>) -> WatchParams {
        WatchParams {
            folder: folder.into(),
            max_depth: 8,
            max_files: 200_000,
            poll_only: false,
            follow_links: false,
        }
    }
}

/// What changes when a file does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Length in bytes.
    pub bytes: u64,
    /// Time of the last change of content, in ns; compared, never read as a time.
    pub mtime_ns: i128,
    /// The same of anything about the file, on its own file system's clock: it shows a change
    /// that keeps size and time, and when a copy came. Zero on network file systems.
    pub ctime_ns: i128,
    /// Zero on network file systems, where it may not be stable.
    pub inode: u64,
}

impl Stamp {
    /// Of a file on a local or a network file system.
    pub(crate) fn of(meta: &Metadata, is_network: bool) -> Stamp {
        let ns = |seconds: i64, ns: i64| i128::from(seconds) * 1_000_000_000 + i128::from(ns);
        let mtime_ns = ns(meta.mtime(), meta.mtime_nsec());
        let (inode, ctime_ns) = match is_network {
            true => (0, 0),
            false => (meta.ino(), ns(meta.ctime(), meta.ctime_nsec())),
        };
        Stamp { bytes: meta.len(), mtime_ns, ctime_ns, inode }
    }

    /// When the file was last changed or put there, in ns.
    pub(crate) fn changed_ns(&self) -> i128 {
        if self.ctime_ns == 0 { self.mtime_ns } else { self.ctime_ns }
    }
}

/// Why the folder is not seen whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Degraded {
    /// The folder is not there.
    #[error("the export folder is missing: mount it, or correct the path in the configuration")]
    Missing,
    /// The folder cannot be read.
    #[error("the export folder cannot be read ({0}): check mount and permissions")]
    Unreadable(String),
    /// The folder is suddenly empty and on another device.
    #[error("the export folder is empty and on another device: the mount was lost")]
    MountLost,
    /// Folders inside cannot be read.
    #[error("{0} folders inside the export folder cannot be read: check permissions")]
    BlindSpots(usize),
    /// Too much lies there.
    #[error("more than {0} files and folders in the export folder: clear away what is done")]
    TooManyFiles(usize),
    /// Folders nest too deeply.
    #[error("folders nest more than {0} deep: what lies deeper is not looked at")]
    TooDeep(usize),
    /// No hints, only rescans.
    #[error("no change notices ({0}): files are found by rescans only")]
    NoHints(String),
}

impl Degraded {
    /// All names.
    pub const CODES: [&'static str; 7] = [
        "export_folder_missing",
        "export_folder_unreadable",
        "export_mount_lost",
        "export_blind_spots",
        "export_too_many_files",
        "export_too_deep",
        "export_no_hints",
    ];

    /// The name in messages.
    pub const fn code(&self) -> &'static str {
        match self {
            Degraded::Missing => "export_folder_missing",
            Degraded::Unreadable(_) => "export_folder_unreadable",
            Degraded::MountLost => "export_mount_lost",
            Degraded::BlindSpots(_) => "export_blind_spots",
            Degraded::TooManyFiles(_) => "export_too_many_files",
            Degraded::TooDeep(_) => "export_too_deep",
            Degraded::NoHints(_) => "export_no_hints",
        }
    }
}

/// What lies in the folder now.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Snapshot {
    /// Files that may be images.
    pub files: BTreeMap<PathBuf, Stamp>,
    /// `.done` files.
    pub markers: BTreeMap<PathBuf, Stamp>,
    /// What is not looked into, by its name or kind.
    pub ignored: BTreeMap<PathBuf, (Stamp, StrangerKind)>,
    /// Folders that were listed.
    pub folders: BTreeSet<PathBuf>,
    /// Why this is not everything.
    pub degraded: Vec<Degraded>,
    /// Folders of which nothing is known now.
    pub blind: Vec<PathBuf>,
    /// Files written to their end or moved here since the last look.
    pub closed: BTreeSet<PathBuf>,
}

impl Snapshot {
    /// A file: a marker by its name, if it is small enough for one.
    fn take(&mut self, path: PathBuf, stamp: Stamp) {
        let name = path.file_name().and_then(names::marker_stem);
        if name.is_some() && stamp.bytes <= MAX_MARKER_BYTES {
            self.markers.insert(path, stamp);
        } else {
            self.files.insert(path, stamp);
        }
    }

    /// True when a file that is not listed is really gone.
    pub(crate) fn is_gone(&self, path: &Path) -> bool {
        !self.files.contains_key(path)
            && !self.markers.contains_key(path)
            && !self.ignored.contains_key(path)
            && !self.blind.iter().any(|folder| path.starts_with(folder))
    }
}

/// Lists a folder, bounded in depth and number.
///
/// # Errors
/// If the folder itself cannot be read; folders inside that cannot are blind spots.
pub(crate) fn list(params: &WatchParams, is_network: bool) -> io::Result<Snapshot> {
    let mut found = Snapshot::default();
    let mut folders = vec![(params.folder.clone(), 0)];
    let mut too_deep = false;
    let mut full = false;
    let mut left = params.max_files;
    let mut visited = BTreeSet::new();
    while let Some((folder, depth)) = folders.pop() {
        if params.follow_links && has_been_seen(&folder, &mut visited) {
            continue;
        }
        found.folders.insert(folder.clone());
        let listed = list_one(&folder, is_network, params, (&mut found, &mut left));
        match listed {
            Ok(Listed { inner, all }) => {
                full |= !all;
                too_deep |= depth >= params.max_depth && !inner.is_empty();
                let inner = inner.into_iter().map(|path| (path, depth + 1));
                folders.extend(inner.filter(|(_, depth)| *depth <= params.max_depth));
            }
            Err(e) if depth == 0 => return Err(e),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(_) => found.blind.push(folder),
        }
    }
    let blind_spots = (!found.blind.is_empty()).then_some(Degraded::BlindSpots(found.blind.len()));
    found.degraded.extend(blind_spots);
    if too_deep {
        found.degraded.push(Degraded::TooDeep(params.max_depth));
    }
    if full {
        found.degraded.push(Degraded::TooManyFiles(params.max_files));
        found.blind = vec![params.folder.clone()];
    }
    Ok(found)
}

/// True for a folder that another way led to: a link back into the tree, or two links to one.
fn has_been_seen(folder: &Path, visited: &mut BTreeSet<(u64, u64)>) -> bool {
    let Ok(meta) = fs::metadata(folder) else { return false };
    // Without a number a folder cannot be told from others.
    meta.ino() != 0 && !visited.insert((meta.dev(), meta.ino()))
}

struct Listed {
    inner: Vec<PathBuf>,
    all: bool,
}

fn list_one(
    folder: &Path,
    is_network: bool,
    params: &WatchParams,
    (found, left): (&mut Snapshot, &mut usize),
) -> io::Result<Listed> {
    let mut inner = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let kind = match names::ignored(&name) {
            Some(Ignored::Junk) => continue,
            Some(Ignored::Unfinished) => Some(StrangerKind::Unfinished),
            Some(Ignored::Hidden) => Some(StrangerKind::Hidden),
            None => None,
        };
        // Folders count too: a tree of empty ones is as much work as files are.
        let Some(fewer) = left.checked_sub(1) else {
            return Ok(Listed { inner, all: false });
        };
        *left = fewer;
        // Of the entry itself, not of what a link leads to.
        let meta = match entry.metadata() {
            Ok(meta) => meta,
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(e),
        };
        let stamp = Stamp::of(&meta, is_network);
        if let Some(kind) = kind {
            found.ignored.insert(entry.path(), (stamp, kind));
        } else if meta.is_symlink() {
            match followed(&entry.path(), params) {
                Some((path, meta)) if meta.is_dir() => inner.push(path),
                Some((path, meta)) if meta.is_file() => {
                    found.take(path, Stamp::of(&meta, is_network));
                }
                _ => {
                    found.ignored.insert(entry.path(), (stamp, StrangerKind::Link));
                }
            }
        } else if meta.is_dir() {
            inner.push(entry.path());
        } else if meta.is_file() {
            found.take(entry.path(), stamp);
        } else {
            // A pipe, a socket or a device: no image comes out of it, and opening one may wait for ever.
            found.ignored.insert(entry.path(), (stamp, StrangerKind::Foreign));
        }
    }
    Ok(Listed { inner, all: true })
}

/// What a link leads to, if links are followed: folders under the link's own name, files under
/// theirs, because files are opened without following links.
fn followed(link: &Path, params: &WatchParams) -> Option<(PathBuf, Metadata)> {
    if !params.follow_links {
        return None;
    }
    let meta = fs::metadata(link).ok()?;
    let path = if meta.is_file() { fs::canonicalize(link).ok()? } else { link.to_owned() };
    Some((path, meta))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn names_of(snapshot: &Snapshot, root: &Path) -> Vec<String> {
        let name = |path: &PathBuf| path.strip_prefix(root).unwrap().display().to_string();
        snapshot.files.keys().map(name).collect()
    }

    fn make_pipe(path: &Path) {
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    }

    #[test]
    fn a_listing_sees_files_and_markers_and_follows_no_link() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("export");
        let outside = dir.path().join("outside");
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::create_dir_all(&outside).unwrap();
        for path in ["x.dcm", "x.part", ".hidden", "a/b/1", "a/.done", "a/s.done"] {
            fs::write(root.join(path), "x").unwrap();
        }
        fs::write(outside.join("secret.dcm"), "x").unwrap();
        symlink(&outside, root.join("link")).unwrap();
        symlink(outside.join("secret.dcm"), root.join("file-link")).unwrap();
        symlink(&root, root.join("a/loop")).unwrap();
        fs::write(root.join("slice.done"), [0; 2000]).unwrap();
        make_pipe(&root.join("a/pipe"));
        let _socket = std::os::unix::net::UnixListener::bind(root.join("a/socket")).unwrap();
        let seen = list(&WatchParams::new(&root), false).unwrap();
        assert_eq!(names_of(&seen, &root), ["a/b/1", "slice.done", "x.dcm"]);
        assert_eq!(seen.markers.len(), 2);
        assert_eq!(seen.degraded, []);
        let mut ignored: Vec<(String, StrangerKind)> = Vec::new();
        for (path, (_, kind)) in &seen.ignored {
            ignored.push((path.strip_prefix(&root).unwrap().display().to_string(), *kind));
        }
        let named = |name: &str, kind| (name.to_owned(), kind);
        let expected = [
            named(".hidden", StrangerKind::Hidden),
            named("a/loop", StrangerKind::Link),
            named("a/pipe", StrangerKind::Foreign),
            named("a/socket", StrangerKind::Foreign),
            named("file-link", StrangerKind::Link),
            named("link", StrangerKind::Link),
            named("x.part", StrangerKind::Unfinished),
        ];
        assert_eq!(ignored, expected, "each is seen, none is opened");
        let follow = WatchParams { follow_links: true, ..WatchParams::new(&root) };
        let seen = list(&follow, false).unwrap();
        let found: Vec<&PathBuf> = seen.files.keys().collect();
        let linked = fs::canonicalize(outside.join("secret.dcm")).unwrap();
        assert!(found.contains(&&linked) && found.contains(&&root.join("link/secret.dcm")));
        assert_eq!(seen.files.len(), 5, "the loop ends where it began");
    }

    #[test]
    fn bounds_hold_and_what_is_beyond_is_not_called_gone() {
        let dir = tempfile::tempdir().unwrap();
        let mut deep = dir.path().to_owned();
        for level in 0..10 {
            deep.push(level.to_string());
        }
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("x"), "x").unwrap();
        let seen = list(&WatchParams::new(dir.path()), false).unwrap();
        assert_eq!((seen.files.len(), seen.degraded), (0, vec![Degraded::TooDeep(8)]));
        for n in 0..6 {
            fs::write(dir.path().join(format!("f{n}")), "x").unwrap();
        }
        let few = WatchParams { max_files: 5, ..WatchParams::new(dir.path()) };
        let seen = list(&few, false).unwrap();
        assert!(seen.degraded.contains(&Degraded::TooManyFiles(5)));
        assert!(!seen.is_gone(&dir.path().join("f5")));
    }

    #[test]
    fn folders_count_toward_the_bound() {
        let dir = tempfile::tempdir().unwrap();
        for n in 0..40 {
            fs::create_dir_all(dir.path().join(format!("{n}/inner"))).unwrap();
        }
        let params = |max_files| WatchParams { max_files, ..WatchParams::new(dir.path()) };
        let seen = list(&params(80), false).unwrap();
        assert_eq!((seen.folders.len(), seen.degraded), (81, Vec::new()));
        let seen = list(&params(50), false).unwrap();
        assert_eq!(seen.degraded, [Degraded::TooManyFiles(50)]);
        assert!(seen.folders.len() <= 51, "{}", seen.folders.len());
    }

    #[test]
    fn a_folder_inside_that_cannot_be_read_is_a_blind_spot() {
        let dir = tempfile::tempdir().unwrap();
        let shut = dir.path().join("shut");
        fs::create_dir(&shut).unwrap();
        fs::set_permissions(&shut, fs::Permissions::from_mode(0o000)).unwrap();
        let readable_anyway = fs::read_dir(&shut).is_ok();
        let seen = list(&WatchParams::new(dir.path()), false).unwrap();
        fs::set_permissions(&shut, fs::Permissions::from_mode(0o755)).unwrap();
        if readable_anyway {
            println!("skipped: this user reads every folder");
            return;
        }
        assert_eq!(seen.degraded, [Degraded::BlindSpots(1)]);
        assert!(!seen.is_gone(&shut.join("x")) && seen.is_gone(&dir.path().join("y")));
    }
}
