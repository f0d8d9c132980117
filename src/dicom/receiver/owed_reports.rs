//! Requests for storage commitment that were acknowledged and whose report nobody has heard, on the disk.
//!
//! Owns their files, one each, named by numbers of our own and by how often the peer was called. Refuses
//! to call anybody, and to grow: what would be too much is refused before it is acknowledged.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use log::warn;
use serde::{Deserialize, Serialize};

use super::commitment::Asked;

/// Requests that are remembered: what all associations of a busy hour may leave.
pub(super) const MAX_NOTES: usize = 256;
/// What they may take on the disk together.
const MAX_BYTES: u64 = 64 << 20;
/// A file that is being written; swept at the start.
const DRAFT: &str = "draft";

/// The folder of notes.
pub(super) struct Notes {
    folder: PathBuf,
    /// The number of the next; held while a note is written.
    next: Mutex<u64>,
}

/// What is to be remembered of a request.
#[derive(Serialize, Deserialize)]
struct Line {
    title: String,
    asked: Asked,
}

/// A request that is remembered until it is settled.
pub(super) struct Note {
    pub(super) asked: Asked,
    /// How often its peer was called.
    pub(super) tries: usize,
    folder: PathBuf,
    number: u64,
}

impl Notes {
    /// Makes the folder, and reads what is still owed from before: AE titles with requests, oldest first.
    pub(super) fn open(folder: &Path) -> io::Result<(Notes, Vec<(String, Note)>)> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let mut found = Vec::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            match read(folder, &path) {
                Some(note) => found.push(note),
                None => fs::remove_file(&path)?,
            }
        }
        found.sort_by_key(|(_, note)| note.number);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let last = found.last().map_or(0, |(_, note)| note.number);
        let next = Mutex::new((last + 1).max(now.as_millis() as u64));
        Ok((Notes { folder: folder.to_owned(), next }, found))
    }

    /// Remembers a request of a peer. Once this returns it survives a power cut.
    pub(super) fn put(&self, title: &str, asked: Asked) -> io::Result<Note> {
        let line = Line { title: title.to_owned(), asked };
        let bytes = serde_json::to_vec(&line)?;
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut count, mut total) = (0, bytes.len() as u64);
        for entry in fs::read_dir(&self.folder)? {
            count += 1;
            // Gone since: answered meanwhile.
            total += entry?.metadata().map_or(0, |facts| facts.len());
        }
        if count >= MAX_NOTES || total > MAX_BYTES {
            let why = "too many requests for storage commitment wait to be answered";
            return Err(io::Error::new(io::ErrorKind::QuotaExceeded, why));
        }
        let number = *next;
        *next += 1;
        let note = Note { asked: line.asked, tries: 0, folder: self.folder.clone(), number };
        let draft = self.folder.join(DRAFT);
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(&bytes).and_then(|()| file.sync_data())?;
        fs::rename(&draft, note.path())?;
        File::open(&self.folder)?.sync_all()?;
        Ok(note)
    }
}

impl Note {
    fn path(&self) -> PathBuf {
        self.folder.join(format!("{:015}.{}", self.number, self.tries))
    }

    /// Remembers that its peer was called once more, for nothing.
    pub(super) fn tried(&mut self) {
        let before = self.path();
        self.tries += 1;
        if let Err(error) = fs::rename(before, self.path()) {
            warn!("storage commitment: a try is not remembered: {error}");
        }
    }

    /// It was answered, or is given up.
    pub(super) fn forget(self) {
        if let Err(error) = fs::remove_file(self.path()) {
            warn!("storage commitment: an answered request is not forgotten: {error}");
        }
    }
}

/// A note of an earlier run; none of what is no whole file of ours.
fn read(folder: &Path, path: &Path) -> Option<(String, Note)> {
    let (number, tries) = path.file_name()?.to_str()?.split_once('.')?;
    let (number, tries) = (number.parse().ok()?, tries.parse().ok()?);
    let line: Line = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    let note = Note { asked: line.asked, tries, folder: folder.to_owned(), number };
    Some((line.title, note))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked() -> Asked {
        let mut bytes = vec![8, 0, 0x95, 0x11, b'U', b'I', 4, 0];
        bytes.extend(b"1.2\0");
        bytes.extend([8, 0, 0x99, 0x11, b'S', b'Q', 0, 0, 0, 0, 0, 0]);
        Asked::read(&bytes, dicom_dictionary_std::uids::EXPLICIT_VR_LITTLE_ENDIAN).unwrap()
    }

    #[test]
    fn what_is_owed_is_found_again_with_its_tries_until_it_is_settled() {
        let dir = tempfile::tempdir().unwrap();
        let (notes, found) = Notes::open(dir.path()).unwrap();
        assert!(found.is_empty());
        let mut first = notes.put("CT1", asked()).unwrap();
        let second = notes.put("CT2", asked()).unwrap();
        first.tried();
        fs::write(dir.path().join(DRAFT), b"{").unwrap();
        fs::write(dir.path().join("000000000000007.0"), b"{").unwrap();
        let (_, found) = Notes::open(dir.path()).unwrap();
        let told: Vec<_> = found.iter().map(|(title, note)| (title.as_str(), note.tries)).collect();
        assert_eq!(told, [("CT1", 1), ("CT2", 0)]);
        second.forget();
        assert_eq!(Notes::open(dir.path()).unwrap().1.len(), 1);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "what is no note is swept");
    }

    #[test]
    fn more_than_can_be_answered_is_not_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let (notes, _) = Notes::open(dir.path()).unwrap();
        for n in 0..MAX_NOTES {
            fs::write(dir.path().join(format!("{n:015}.0")), b"").unwrap();
        }
        let refused = notes.put("CT1", asked()).err().unwrap();
        assert_eq!(refused.kind(), io::ErrorKind::QuotaExceeded);
        fs::remove_file(dir.path().join("000000000000000.0")).unwrap();
        notes.put("CT1", asked()).unwrap().forget();
        File::create(dir.path().join("000000000000001.0")).unwrap().set_len(MAX_BYTES).unwrap();
        assert!(notes.put("CT1", asked()).is_err());
    }
}
