//! Where received objects lie until the intake has made a study of them.
//!
//! Owns the way of a file: filled in `incoming`, on the disk to the last byte, then renamed into a
//! folder of its association in the spool. Names are numbers of our own; nothing that a peer says
//! becomes part of a path.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// The two folders.
pub(super) struct Spool {
    incoming: PathBuf,
    spool: PathBuf,
    next: AtomicU64,
}

/// Everything that lies in a spool, in the folders of its associations.
pub fn received(spool: &Path) -> impl Iterator<Item = PathBuf> {
    let inside = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten();
    inside(spool).flat_map(move |folder| inside(&folder.path())).map(|entry| entry.path())
}

/// The folder of one association; made when its first object is whole.
pub(super) struct Batch<'a> {
    spool: &'a Spool,
    folder: PathBuf,
    count: u32,
}

/// An object that is being received; removed unless it is kept.
pub(super) struct Draft {
    file: File,
    path: PathBuf,
    pub(super) bytes: u64,
    kept: bool,
}

/// An object whose bytes are on the disk.
pub(super) struct OnDisk(Draft);

impl Spool {
    /// Makes the folders, and removes what a process that is gone had not finished.
    pub(super) fn open(incoming: &Path, spool: &Path) -> Result<Spool, (PathBuf, io::Error)> {
        for folder in [incoming, spool] {
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
            made.map_err(|error| (folder.to_owned(), error))?;
        }
        let failed = |error| (incoming.to_owned(), error);
        for left in fs::read_dir(incoming).map_err(failed)? {
            let path = left.map_err(failed)?.path();
            // A folder that was being cleaned away.
            let swept =
                if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            swept.map_err(failed)?;
        }
        // Numbers rise from run to run, also where the spool was emptied in between.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let taken = fs::read_dir(spool).map_err(|error| (spool.to_owned(), error))?;
        let taken = taken.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let next = taken.max().map_or(0, |last: u64| last + 1).max(now.as_millis() as u64);
        Ok(Spool {
            incoming: incoming.to_owned(),
            spool: spool.to_owned(),
            next: AtomicU64::new(next),
        })
    }

    /// The folder that the intake watches.
    pub(super) fn folder(&self) -> &Path {
        &self.spool
    }

    /// A folder for one association.
    pub(super) fn batch(&self) -> Batch<'_> {
        let number = self.next.fetch_add(1, Ordering::AcqRel);
        Batch { spool: self, folder: self.spool.join(format!("{number:015}")), count: 0 }
    }
}

impl Batch<'_> {
    /// Begins an object.
    pub(super) fn begin(&self) -> io::Result<Draft> {
        let number = self.spool.next.fetch_add(1, Ordering::AcqRel);
        let path = self.spool.incoming.join(format!("{number:015}"));
        let file =
            OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Draft { file, path, bytes: 0, kept: false })
    }

    /// Puts a whole object, whose bytes are on the disk, into the spool. Once this returns it survives
    /// a power cut.
    pub(super) fn keep(&mut self, OnDisk(mut draft): OnDisk) -> io::Result<()> {
        // It may have been cleaned away since: a peer that stays for hours.
        if self.count == 0 || !self.folder.is_dir() {
            fs::DirBuilder::new().mode(0o700).create(&self.folder)?;
            File::open(&self.spool.spool)?.sync_all()?;
        }
        let path = self.folder.join(format!("{:06}.dcm", self.count + 1));
        fs::rename(&draft.path, path)?;
        draft.kept = true;
        self.count += 1;
        File::open(&self.folder)?.sync_all()
    }
}

impl Draft {
    /// Adds bytes.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.bytes += bytes.len() as u64;
        self.file.write_all(bytes)
    }

    /// Waits until all bytes are on the disk; what is to be known of them is found out meanwhile, since the
    /// peer waits for both.
    pub(super) fn sync_and_check<T>(
        self,
        check: impl FnOnce(&Draft) -> T,
    ) -> io::Result<(OnDisk, T)> {
        let (synced, checked) = std::thread::scope(|scope| {
            let synced = scope.spawn(|| self.file.sync_data());
            let checked = check(&self);
            (synced.join(), checked)
        });
        synced.map_err(|_| io::Error::other("the thread that waits for the disk has died"))??;
        Ok((OnDisk(self), checked))
    }

    /// What was written so far, no more than `most` bytes of it.
    pub(super) fn read_back(&self, most: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(&self.path)?.take(most).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.kept {
            // What is left is removed at the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_kept_leaves_nothing_and_numbers_rise_over_restarts() {
        let dir = tempfile::tempdir().unwrap();
        let (incoming, folder) = (dir.path().join("incoming"), dir.path().join("spool"));
        let spool = Spool::open(&incoming, &folder).unwrap();
        let mut batch = spool.batch();
        drop(batch.begin().unwrap());
        assert_eq!(fs::read_dir(&incoming).unwrap().count(), 0);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "no folder without an object");
        let mut draft = batch.begin().unwrap();
        draft.write(b"abc").unwrap();
        let (draft, bytes) = draft.sync_and_check(|draft| draft.read_back(2).unwrap()).unwrap();
        assert_eq!(bytes, b"ab");
        batch.keep(draft).unwrap();
        let first = batch.folder.clone();
        assert_eq!(fs::read(first.join("000001.dcm")).unwrap(), b"abc");
        fs::remove_dir_all(&first).unwrap();
        let (draft, ()) = batch.begin().unwrap().sync_and_check(|_| ()).unwrap();
        batch.keep(draft).unwrap();
        assert!(first.join("000002.dcm").exists(), "cleaned away in between");
        std::mem::forget(batch.begin().unwrap());
        fs::create_dir(incoming.join("7")).unwrap();
        fs::write(incoming.join("7/000001.dcm"), b"x").unwrap();
        let again = Spool::open(&incoming, &folder).unwrap();
        assert_eq!(fs::read_dir(&incoming).unwrap().count(), 0, "swept at the start");
        assert!(again.batch().folder > first);
    }
}
