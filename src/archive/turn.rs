//! Whose turn a shard is: locks in the folder of results, which the system lets go when a run dies.
//!
//! Owns the locks. A run holds its shard alone and, together with others, the number of shards: two
//! runs that divide a list otherwise would meet in the same studies.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::list::Shard;
use super::results::Results;
use super::{ArchiveError, Code};

/// The right to work on a shard, as long as it lives.
#[derive(Debug)]
pub(crate) struct Turn {
    _shard: File,
    _split: File,
}

/// Held while locks are tried.
const GATE: &str = "gate";
/// Between two tries to take a shard.
const AGAIN: Duration = Duration::from_millis(500);

/// Takes a shard, waiting for a run that holds it: one that was put elsewhere may still be ending.
///
/// # Errors
/// As [`take`], once patience or wish is over.
pub(crate) fn wait_for(
    results: &Results,
    shard: Shard,
    patience: Duration,
    stop: &AtomicBool,
) -> Result<Turn, ArchiveError> {
    let until = Instant::now() + patience;
    loop {
        match take(results, shard) {
            Err(error)
                if error.code == Code::ShardTaken
                    && Instant::now() < until
                    && !stop.load(Ordering::Relaxed) =>
            {
                std::thread::sleep(AGAIN);
            }
            ended => return ended,
        }
    }
}

/// Takes a shard.
///
/// # Errors
/// [`Code::ShardTaken`], [`Code::OtherSplit`] or [`Code::NoLocks`].
pub(crate) fn take(results: &Results, shard: Shard) -> Result<Turn, ArchiveError> {
    let folder = results.folder().join("locks");
    fs::create_dir_all(&folder).map_err(|_| ArchiveError::at(Code::NoLocks, &folder))?;
    // One at a time tries the locks: of two that begin at once each would take the other's try for a run.
    let gate = opened(&folder.join(GATE))?;
    gate.lock().map_err(|_| ArchiveError::at(Code::NoLocks, &folder))?;
    let split = opened(&folder.join(format!("of-{}", shard.of)))?;
    held(split.try_lock_shared(), &folder, || Code::OtherSplit)?;
    for other in splits(&folder) {
        if !other.ends_with(format!("of-{}", shard.of)) {
            held(opened(&other)?.try_lock(), &other, || Code::OtherSplit)?;
        }
    }
    let name = folder.join(format!("{}-of-{}", shard.number, shard.of));
    let own = opened(&name)?;
    held(own.try_lock(), &name, || Code::ShardTaken)?;
    Ok(Turn { _shard: own, _split: split })
}

/// The shards that runs work on now.
pub(crate) fn taken(results: &Results) -> Vec<String> {
    let folder = results.folder().join("locks");
    // Where nothing ever ran there is none, and nothing that could be disturbed.
    let gate = File::open(folder.join(GATE)).ok();
    let _held = gate.as_ref().map(File::lock);
    let names = fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut shards: Vec<String> = names
        .filter(|path| !path.ends_with(GATE))
        .filter(|path| {
            let is_held =
                |file: File| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock));
            File::open(path).is_ok_and(is_held)
        })
        .filter_map(|path| Some(path.file_name()?.to_str()?.replace("-of-", "/")))
        .collect();
    shards.sort();
    shards
}

fn splits(folder: &Path) -> Vec<PathBuf> {
    let names = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_split = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("of-"))
    };
    names.filter(is_split).collect()
}

fn opened(path: &Path) -> Result<File, ArchiveError> {
    let file = fs::OpenOptions::new().create(true).truncate(false).write(true).open(path);
    file.map_err(|_| ArchiveError::at(Code::NoLocks, path))
}

fn held(
    tried: Result<(), TryLockError>,
    path: &Path,
    busy: impl Fn() -> Code,
) -> Result<(), ArchiveError> {
    tried.map_err(|error| match error {
        TryLockError::WouldBlock => ArchiveError::at(busy(), path),
        TryLockError::Error(_) => ArchiveError::at(Code::NoLocks, path),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_is_held_by_one_and_the_split_by_all() {
        let dir = tempfile::tempdir().unwrap();
        let results = Results::at(dir.path());
        let code = |shard: &str| take(&results, shard.parse().unwrap()).map_err(|error| error.code);
        let first = code("1/2").unwrap();
        let second = code("2/2").unwrap();
        assert_eq!(code("1/2").unwrap_err(), Code::ShardTaken);
        assert_eq!(code("1/3").unwrap_err(), Code::OtherSplit);
        assert_eq!(taken(&results), ["1/2", "2/2"]);
        drop((first, second));
        assert!(taken(&results).is_empty() && code("1/3").is_ok());
    }
}
