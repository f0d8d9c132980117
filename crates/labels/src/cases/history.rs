//! Who did what to a case, and when.
//!
//! Owns `history.jsonl`: one line per edit, written before the labels are, so that no edit is
//! without its line. A line whose edit never reached the disk is told apart by the revisions.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::entry::Entry;
use super::error::CaseError;
use super::files::{append, read};
use super::reader::Reader;

/// A case is edited some thousand times; a line has some hundred bytes.
const MAX_BYTES: u64 = 64 << 20;

/// An edit and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Told {
    #[serde(flatten)]
    /// The edit.
    pub entry: Entry,
    /// Whether the labels that are there were made by it and what followed. False for an edit that
    /// a power cut took, and for all before a change from outside.
    pub kept: bool,
}

pub(super) fn path(folder: &Path) -> PathBuf {
    folder.join("history.jsonl")
}

pub(super) fn add(folder: &Path, entry: &Entry) -> Result<(), CaseError> {
    let path = path(folder);
    let line = serde_json::to_string(entry)
        .map_err(|error| CaseError::File { path: path.clone(), reason: error.into() })?;
    append(&path, &line)
}

/// All edits of a case's folder, in order. Lines that are none, as a power cut leaves them, are
/// passed over.
pub(super) fn entries(folder: &Path) -> Result<Vec<Entry>, CaseError> {
    let bytes = read(&path(folder), MAX_BYTES)?.unwrap_or_default();
    let lines = bytes.split(|byte| *byte == b'\n');
    Ok(lines.filter_map(|line| serde_json::from_slice(line).ok()).collect())
}

/// Tells which edits the labels that are there, by image and reader, were made by.
pub(super) fn told(
    entries: Vec<Entry>,
    mut current: BTreeMap<(String, Reader), String>,
) -> Vec<Told> {
    let mut told: Vec<Told> = Vec::with_capacity(entries.len());
    for entry in entries.into_iter().rev() {
        let key = (entry.image.clone(), entry.reader.clone());
        let kept = current.get(&key) == Some(&entry.revision);
        if kept {
            match &entry.before {
                Some(before) => current.insert(key, before.clone()),
                None => current.remove(&key),
            };
        }
        told.push(Told { entry, kept });
    }
    told.reverse();
    told
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(reader: &str, before: Option<&str>, revision: &str) -> Entry {
        Entry {
            when: "2026-01-02T03:04:05Z".parse().unwrap(),
            reader: Reader::new(reader).unwrap(),
            image: "vp".to_owned(),
            what: json!({"op": "undo"}),
            voxels: 3,
            before: before.map(str::to_owned),
            revision: revision.to_owned(),
        }
    }

    #[test]
    fn an_edit_that_never_reached_the_disk_is_told_apart() {
        let entries = vec![
            entry("a", None, "1"),
            entry("b", None, "7"),
            entry("a", Some("1"), "2"),
            entry("a", Some("1"), "3"),
        ];
        let reader = |name| ("vp".to_owned(), Reader::new(name).unwrap());
        let current =
            BTreeMap::from([(reader("a"), "3".to_owned()), (reader("b"), "8".to_owned())]);
        let kept: Vec<bool> = told(entries, current).iter().map(|told| told.kept).collect();
        assert_eq!(kept, [true, false, false, true]);
    }

    #[test]
    fn lines_come_back_and_damaged_ones_are_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let one = entry("a", None, "1");
        add(dir.path(), &one).unwrap();
        append(&path(dir.path()), "{\"when\": \"20").unwrap();
        let two = entry("a", Some("1"), "2");
        add(dir.path(), &two).unwrap();
        assert_eq!(entries(dir.path()).unwrap(), [one, two]);
    }
}
