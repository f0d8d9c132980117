//! Folders and files: the export folder, the disk, the store, and whether the daemon's account may
//! read what it needs.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use rustix::fs::Access;

use super::account::Account;
use super::finding::Finding;
use crate::config::Config;
use crate::intake::folder::filesystem::FileSystem;
use crate::intake::folder::listing::{Degraded, WatchParams};
use crate::intake::folder::watch::FolderWatch;
use crate::store::{JobCounts, Store, StoreError};
use crate::ui::counted;
use hepalert_study::system;

/// Events that wait longer than this say that the broker does not take them.
const WAITS_LONG: SignedDuration = SignedDuration::from_mins(10);

/// What the export folder looks like.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ExportFacts {
    /// The folder.
    pub folder: PathBuf,
    /// What lies there.
    pub file_system: FileSystem,
    /// Files that may be images.
    pub files: usize,
    /// Why it is not seen whole.
    pub degraded: Vec<Degraded>,
    /// Seconds between two rescans.
    pub rescan_s: u64,
}

/// Looks at the export folder as the daemon does.
pub(crate) fn look_at_export(config: &Config) -> ExportFacts {
    // Where images come by DICOM alone the spool is the folder that is watched.
    let folder = config.intake.folder.clone().unwrap_or_else(|| config.store.spool());
    let mut watch = FolderWatch::new(WatchParams::new(&folder), Arc::new(|| {}));
    let seen = watch.look();
    ExportFacts {
        folder,
        file_system: watch.file_system(),
        files: seen.files.len(),
        degraded: seen.degraded,
        rescan_s: config.intake.rescan_s,
    }
}

/// Where studies come from.
pub(crate) fn export_folder(facts: &ExportFacts) -> Finding {
    let name = "export_folder";
    let ExportFacts { folder, file_system, files, degraded, rescan_s } = facts;
    let folder = folder.display();
    let blind = |why: &Degraded| {
        matches!(why, Degraded::Missing | Degraded::Unreadable(_) | Degraded::MountLost)
    };
    if let Some(why) = degraded.iter().find(|why| blind(why)) {
        return Finding::fail(name, format!("{folder}: {}", words(why)), advice(why));
    }
    let place = match file_system {
        FileSystem::Local => format!("{folder}: {} on a local disk", counted(*files, "file")),
        FileSystem::Network(kind) => format!(
            "{folder}: {} on a network file system ({kind}), which tells of no changes: looked at \
             every {rescan_s} s",
            counted(*files, "file")
        ),
    };
    match degraded.first() {
        Some(why) => Finding::warn(name, format!("{place}; {}", words(why)), advice(why)),
        None => Finding::ok(name, place),
    }
}

/// The finding alone; the advice stands beside it.
fn words(why: &Degraded) -> String {
    match why {
        Degraded::Missing => "there is no such folder".to_owned(),
        Degraded::Unreadable(reason) => format!("it cannot be read ({reason})"),
        Degraded::MountLost => "it is suddenly empty".to_owned(),
        Degraded::BlindSpots(count) => {
            format!("{} in it cannot be read", counted(*count, "folder"))
        }
        Degraded::TooManyFiles(most) => format!("more than {most} files and folders lie there"),
        Degraded::TooDeep(levels) => format!("its folders nest more than {levels} deep"),
        Degraded::NoHints(reason) => format!("no change notices ({reason})"),
    }
}

const fn advice(why: &Degraded) -> &'static str {
    match why {
        Degraded::Missing | Degraded::MountLost => {
            "mount the share (`findmnt`, /etc/fstab), or correct intake.folder"
        }
        Degraded::Unreadable(_) | Degraded::BlindSpots(_) => {
            "let the group hepalert read it: `sudo chgrp -R hepalert FOLDER` and \
             `sudo chmod -R g+rX FOLDER`, or the uid= and gid= of the mount"
        }
        Degraded::TooManyFiles(_) => "let the PACS or a cron job clear away what is done",
        Degraded::TooDeep(_) => "let the scanner export into fewer levels of folders",
        Degraded::NoHints(_) => {
            "raise fs.inotify.max_user_watches in /etc/sysctl.d; until then rescans find the files"
        }
    }
}

/// Free space in MiB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DiskFacts {
    /// The folder asked for, or the nearest above it that is there.
    pub folder: PathBuf,
    /// Free for the daemon, if the system tells.
    pub free_mib: Option<u64>,
    /// Below this no study is begun.
    pub min_free_mib: u64,
}

/// Asks for the free space where the store lies.
pub(crate) fn look_at_disk(config: &Config) -> DiskFacts {
    let folder = config.store.folder.ancestors().find(|folder| folder.is_dir());
    let folder = folder.unwrap_or(Path::new("/")).to_owned();
    let free_mib = crate::system::free_mib(&folder);
    DiskFacts { folder, free_mib, min_free_mib: config.store.min_free_mib }
}

/// Room for results.
pub(crate) fn disk(facts: &DiskFacts) -> Finding {
    let name = "disk";
    let DiskFacts { folder, free_mib, min_free_mib } = facts;
    let folder = folder.display();
    let Some(free) = free_mib else {
        return Finding::warn(
            name,
            format!("{folder}: the free space cannot be told"),
            "look with `df -h`",
        );
    };
    let found = format!("{folder}: {free} MiB are free, store.min_free_mib is {min_free_mib}");
    let advice = "free space on that disk, or lower store.keep_days";
    if free < min_free_mib {
        Finding::fail(name, format!("{found}: no study is begun"), advice)
    } else if *free < min_free_mib.saturating_mul(2) {
        Finding::warn(name, format!("{found}: soon no study is begun"), advice)
    } else {
        Finding::ok(name, found)
    }
}

/// What the store says.
#[derive(Debug)]
pub(crate) enum StoreFacts {
    /// No file yet.
    NotYet(PathBuf),
    /// No file, and why none can be made.
    Impossible(String),
    /// Whoever asks may not read it: that says nothing of its state.
    Closed(PathBuf),
    /// It cannot be used.
    Unusable(StoreError),
    /// It opens.
    Open(StoreCounts),
}

/// What is in the store.
#[derive(Debug, Clone)]
pub(crate) struct StoreCounts {
    /// How many studies are in each state.
    pub jobs: JobCounts,
    /// Events the broker has not taken.
    pub unsent: u64,
    /// When the oldest of them was written.
    pub oldest_unsent: Option<Timestamp>,
}

/// Why a folder that is not there yet cannot be made; nothing is changed to find that out.
pub(crate) fn cannot_be_made(folder: &Path) -> Option<String> {
    let above = folder.ancestors().find(|above| above.exists())?;
    let place = above.display();
    let facts = match std::fs::metadata(above) {
        Ok(facts) => facts,
        Err(error) => return Some(format!("{place}: {}", system::reason(&error))),
    };
    if !facts.is_dir() {
        return Some(format!("{place} is a file, where a folder is needed"));
    }
    let able = rustix::fs::access(above, Access::WRITE_OK | Access::EXEC_OK);
    // A system folder such as /proc has no blocks: nothing can be stored there, by root neither.
    let room = rustix::fs::statvfs(above).is_ok_and(|space| space.f_blocks > 0);
    (able.is_err() || !room).then(|| format!("nothing can be written in {place}"))
}

/// Opens the store for reading.
pub(crate) fn look_at_store(config: &Config) -> StoreFacts {
    let file = config.store.database();
    match std::fs::File::open(&file).map_err(|error| error.kind()) {
        Err(io::ErrorKind::NotFound) => {
            return match cannot_be_made(&config.store.folder) {
                Some(hindrance) => StoreFacts::Impossible(hindrance),
                None => StoreFacts::NotYet(file),
            };
        }
        Err(io::ErrorKind::PermissionDenied) => return StoreFacts::Closed(file),
        Ok(_) | Err(_) => {}
    }
    let counted = Store::open_read_only(&file).and_then(|store| {
        let backlog = store.backlog()?;
        let (unsent, oldest_unsent) = (backlog.unsent, backlog.oldest_unsent);
        Ok(StoreCounts { jobs: store.job_counts()?, unsent, oldest_unsent })
    });
    counted.map_or_else(StoreFacts::Unusable, StoreFacts::Open)
}

/// Jobs, messages and alerts survive only here.
pub(crate) fn store(facts: &StoreFacts, now: Timestamp) -> Finding {
    let name = "store";
    let counts = match facts {
        StoreFacts::Impossible(hindrance) => {
            let advice = "make the folder for the user hepalert, or correct store.folder";
            return Finding::fail(name, hindrance.clone(), advice);
        }
        StoreFacts::NotYet(file) => {
            let found = format!("{}: none yet, the daemon makes it", file.display());
            return Finding::ok(name, found);
        }
        StoreFacts::Closed(file) => {
            let found = format!("{}: you may not read it; it may be in order", file.display());
            return Finding::fail(name, found, "run doctor with sudo, or as the user hepalert");
        }
        StoreFacts::Unusable(error) => {
            let advice = "if it is damaged, `sudo systemctl restart hepalert` sets it aside and \
                          begins a new one; nothing is deleted";
            return Finding::fail(name, error.to_string(), advice);
        }
        StoreFacts::Open(counts) => counts,
    };
    let StoreCounts { jobs, unsent, oldest_unsent } = counts;
    let waits = oldest_unsent.map(|since| now.duration_since(since));
    if waits.is_some_and(|waits| waits > WAITS_LONG) {
        let minutes = counted(waits.unwrap_or_default().as_mins() as usize, "minute");
        let found =
            format!("messages that wait for the broker: {unsent}, the oldest for {minutes}");
        return Finding::warn(name, found, "see what the check `broker` says");
    }
    let found = format!(
        "studies: {} waiting, {} done, {} failed; messages that wait for the broker: {unsent}",
        jobs.queued + jobs.running,
        jobs.done,
        jobs.dead
    );
    match jobs.dead {
        0 => Finding::ok(name, found),
        _ => Finding::ok(name, found).with("look at the failed ones with `hepalert queue`"),
    }
}

/// What the daemon's account may not use.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct AccountFacts {
    /// Its name, if it exists and doctor may judge for it.
    pub name: Option<String>,
    /// What it may not use: the path needed, and the first folder on the way it has no access to.
    pub denied: Vec<(PathBuf, PathBuf)>,
    /// A folder that it writes into and that is another's, or holds what is.
    pub foreign: Option<PathBuf>,
}

/// Follows the permission bits to all the daemon needs. What a server of a network share
/// refuses, they do not tell.
pub(crate) fn look_at_account(
    account: Option<&Account>,
    config_file: &Path,
    config: &Config,
) -> AccountFacts {
    let Some(account) = account else { return AccountFacts::default() };
    let mut needed = vec![
        config_file.to_owned(),
        config.engine.bundle.clone(),
        config.store.folder.clone(),
        config.store.database(),
        config.device.site_key_file.clone(),
    ];
    needed.extend(config.intake.folder.clone());
    let mqtt = &config.mqtt;
    needed.extend(super::engine::files_of(&config.engine.bundle));
    let secrets = [&mqtt.password_file, &mqtt.ca_file, &mqtt.cert_file, &mqtt.key_file];
    needed.extend(secrets.into_iter().flatten().cloned());
    needed.retain(|path| path.exists());
    let denied_at = |path: &PathBuf| account.first_denied(path).map(|at| (path.clone(), at));
    let denied = needed.iter().filter_map(denied_at).collect();
    AccountFacts { name: Some(account.name.clone()), denied, foreign: foreign(account, config) }
}

/// The folder where an account may not write, or not what is there: what root made by a command
/// that should have run as this account.
fn foreign(account: &Account, config: &Config) -> Option<PathBuf> {
    let is_anothers = |path: &PathBuf| {
        let looked = std::fs::symlink_metadata(path);
        looked.is_ok_and(|meta| meta.uid() != account.uid && meta.mode() & 0o002 == 0)
    };
    let (store, slots) = (&config.store, config.slots());
    // Beside them may lie what is nobody's business here, such as `lost+found`.
    let ours = [store.folder.clone(), store.database(), store.results(), store.quarantine()];
    if ours.iter().any(is_anothers) {
        return Some(store.folder.clone());
    }
    let inside = std::fs::read_dir(&slots).into_iter().flatten().flatten();
    let held = std::iter::once(slots.clone()).chain(inside.map(|entry| entry.path()));
    held.into_iter().any(|path| is_anothers(&path)).then_some(slots)
}

/// Whether the daemon may use what doctor, run by root, can.
pub(crate) fn account(facts: &AccountFacts) -> Finding {
    let name = "permissions";
    let Some(user) = &facts.name else {
        return Finding::ok(name, "judged as the user who runs this");
    };
    if let Some(folder) = &facts.foreign {
        let folder = folder.display();
        return Finding::fail(
            name,
            format!("{folder}: it, or what lies there, belongs to another account than {user}"),
            &format!(
                "run `sudo chown -R {user}: {folder}`, and commands that change something as \
                 `sudo -u {user} hepalert ...`"
            ),
        );
    }
    match facts.denied.first() {
        None => Finding::ok(name, format!("{user} may use all it needs")),
        Some((needed, at)) => Finding::fail(
            name,
            format!("{user} may not use {} (no access to {})", needed.display(), at.display()),
            &format!(
                "give it to {user}: `sudo chown {user}` where it writes, `sudo chgrp {user}` and \
                 `sudo chmod g+rX` where it reads"
            ),
        ),
    }
}
