//! Whether a folder of cases is as it was when it was last looked at.
//!
//! Owns a digest over the names, sizes and times of what lies there. No file is read: the headers of
//! ten thousand slices take seconds, their times a moment.

use std::fs;
use std::path::{Path, PathBuf};

use hepalert_study::digest::Digest;

use super::files::file_name;
use super::find::{MAX_DEPTH, MAX_ENTRIES};
use super::meaning;

/// What lies in a folder of cases whose labels go into `work`; none where that cannot be told, or where
/// there is more than is looked at.
pub(super) fn glance(root: &Path, work: &Path) -> Option<Digest> {
    let mut seen = Seen { words: Vec::new(), work: fs::canonicalize(work).ok(), left: MAX_ENTRIES };
    for file in [meaning::kept(work), root.join(meaning::DATA_SET)] {
        seen.note(&file);
    }
    seen.folder(root, 0)?;
    Some(Digest::of(&seen.words))
}

struct Seen {
    words: Vec<u8>,
    work: Option<PathBuf>,
    left: usize,
}

impl Seen {
    /// A file or folder: whether it is one to look into.
    fn note(&mut self, path: &Path) -> bool {
        let Ok(facts) = fs::metadata(path) else { return false };
        let changed = facts.modified().ok();
        let line = format!("{}\0{}\0{changed:?}\n", path.display(), facts.len());
        self.words.extend_from_slice(line.as_bytes());
        facts.is_dir()
    }

    fn folder(&mut self, folder: &Path, depth: usize) -> Option<()> {
        let mut paths: Vec<PathBuf> = Vec::new();
        for entry in fs::read_dir(folder).ok()? {
            self.left = self.left.checked_sub(1)?;
            paths.push(entry.ok()?.path());
        }
        paths.sort();
        for path in paths.iter().filter(|path| !file_name(path).starts_with('.')) {
            let is_work = || fs::canonicalize(path).ok() == self.work && self.work.is_some();
            // Labels are told of anew each time: an edit is no other folder.
            if path.is_dir() && is_work() {
                continue;
            }
            if self.note(path) && depth <= MAX_DEPTH {
                self.folder(path, depth + 1)?;
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_in_a_folder_is_seen_and_labels_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let (root, work) = (dir.path().join("cohort"), dir.path().join("cohort/labels"));
        fs::create_dir_all(root.join("p1/series")).unwrap();
        fs::write(root.join("p1/series/1.dcm"), b"one").unwrap();
        fs::create_dir_all(work.join("p1")).unwrap();
        let first = glance(&root, &work).unwrap();
        fs::write(work.join("p1/anna.nii.gz"), b"labels").unwrap();
        assert_eq!(glance(&root, &work).unwrap(), first);
        fs::write(work.join("names.json"), b"{}").unwrap();
        let named = glance(&root, &work).unwrap();
        assert_ne!(named, first, "what labels mean");
        fs::write(root.join("p1/series/2.dcm"), b"two").unwrap();
        let second = glance(&root, &work).unwrap();
        assert_ne!(second, named);
        fs::write(root.join("p1/series/2.dcm"), b"more").unwrap();
        assert_ne!(glance(&root, &work).unwrap(), second);
        assert!(glance(&root.join("none"), &work).is_none());
    }
}
