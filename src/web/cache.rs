//! What was made ready for browsers, kept on the disk.
//!
//! Owns its folder: names come from keys of studies, its size is bounded, what was used longest ago
//! goes first. It can be removed at any time.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::SystemTime;

/// The folder of what was made ready.
pub(super) struct Cache {
    folder: PathBuf,
    most_bytes: u64,
}

impl Cache {
    /// In this folder, which is made when it is first needed.
    pub(super) fn new(folder: PathBuf, most_bytes: u64) -> Cache {
        Cache { folder, most_bytes }
    }

    /// Where something of this name lies, or would.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// What lies there under a name.
    pub(super) fn read(&self, name: &str) -> Option<Vec<u8>> {
        let path = self.path(name);
        let bytes = fs::read(&path).ok()?;
        // Used now: it goes last. Where that cannot be noted it goes sooner.
        let now = fs::File::options().append(true).open(&path);
        let _ = now.and_then(|file| file.set_modified(SystemTime::now()));
        Some(bytes)
    }

    /// Puts something there; a disk that is full is no reason to refuse the page.
    pub(super) fn put(&self, name: &str, bytes: &[u8]) {
        let write = || -> std::io::Result<()> {
            fs::create_dir_all(&self.folder)?;
            fs::set_permissions(&self.folder, fs::Permissions::from_mode(0o700))?;
            self.make_room(bytes.len() as u64)?;
            let mut draft = tempfile::NamedTempFile::new_in(&self.folder)?;
            draft.write_all(bytes)?;
            draft.persist(self.path(name))?;
            Ok(())
        };
        if let Err(error) = write() {
            log::warn!("the page: an image cannot be kept: {error}");
        }
    }

    fn make_room(&self, needed: u64) -> std::io::Result<()> {
        let mut kept: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let facts = entry.metadata()?;
            kept.push((facts.modified()?, facts.len(), entry.path()));
        }
        kept.sort();
        let mut total: u64 = kept.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, bytes, path) in kept {
            if total + needed <= self.most_bytes {
                break;
            }
            fs::remove_file(path)?;
            total -= bytes;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_keeps_within_its_size_and_forgets_the_oldest() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path().join("cache"), 100);
        cache.put("a", &[1; 40]);
        cache.put("b", &[2; 40]);
        let old = fs::File::options().append(true).open(cache.path("b")).unwrap();
        old.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        assert!(cache.read("a").is_some());
        cache.put("c", &[3; 40]);
        assert!(cache.read("b").is_none() && cache.read("a").is_some());
        assert_eq!(cache.read("c").unwrap(), [3; 40]);
        let mode = fs::metadata(folder.path().join("cache")).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0);
    }
}
