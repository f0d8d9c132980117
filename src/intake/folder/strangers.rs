//! What lies in the export folder and belongs to no study.
//!
//! Owns the heaps: all strangers below one folder of the export are told once, together, by
//! kind and number, when nothing came for the quiet period. Refuses to read them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::names;
use super::stranger_kind::{Counts, StrangerKind};
use crate::intake::events::{Millis, Stranger};
use crate::intake::fingerprint::{Digest, fingerprint};
use crate::intake::refusal_codes::RefusalCode;
use hepalert_study::study::StudyKey;

/// Strangers of one heap that are told apart; of more only the number is kept, so that a
/// folder full of junk costs no memory.
const MAX_TOLD_APART: usize = 4096;

/// The kind of most of them, which stands for all.
pub(crate) fn most(counts: &Counts) -> Option<StrangerKind> {
    let kinds = counts.iter().filter(|(kind, _)| **kind != StrangerKind::More);
    kinds.max_by_key(|(_, count)| **count).map(|(kind, _)| *kind)
}

/// `36 archive, 2 foreign`.
pub(crate) fn words(counts: &Counts) -> String {
    let words: Vec<String> = counts.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    words.join(", ")
}

/// All strangers.
#[derive(Debug, Default)]
pub(crate) struct Strangers {
    heaps: BTreeMap<StudyKey, Heap>,
    whose: BTreeMap<PathBuf, StudyKey>,
}

#[derive(Debug, Default)]
struct Heap {
    /// The folder of the export whose strangers these are.
    folder: PathBuf,
    files: BTreeMap<PathBuf, (StrangerKind, Digest)>,
    /// What the reader said of the first of each kind.
    said: BTreeMap<StrangerKind, String>,
    beyond: usize,
    changed: Millis,
    news: bool,
}

/// A heap that is to be told.
#[derive(Debug)]
pub(crate) struct Told {
    /// Names the heap.
    pub key: StudyKey,
    /// Where it lies.
    pub folder: PathBuf,
    /// Of what is in it.
    pub fingerprint: Digest,
    /// What is in it.
    pub counts: Counts,
    /// What the reader said of one of the kind of most of them.
    pub said: Option<String>,
}

/// Images of scanners promise DICOM by their names, end in a number, or have no ending.
fn is_named_as_image(path: &Path) -> bool {
    let is_number = |ending: &OsStr| ending.as_encoded_bytes().iter().all(u8::is_ascii_digit);
    path.extension().is_none_or(is_number) || path.file_name().is_some_and(names::promises_dicom)
}

/// The folder below the export folder that a path lies in; the export folder itself for a
/// file directly in it.
pub(crate) fn top_folder(root: &Path, path: &Path) -> PathBuf {
    let below = path.strip_prefix(root).unwrap_or(path);
    let mut parts = below.components();
    match (parts.next(), parts.next()) {
        (Some(first), Some(_)) => root.join(first),
        _ => root.to_owned(),
    }
}

impl Strangers {
    /// Takes a stranger in.
    pub(crate) fn add(&mut self, stranger: Stranger, folder: PathBuf, path: PathBuf, now: Millis) {
        let Stranger { kind, said, content, alone: key } = stranger;
        let what = (kind, content);
        let heap = self.heaps.entry(key.clone()).or_default();
        heap.folder = folder;
        heap.changed = now;
        if heap.files.get(&path) == Some(&what) {
            return;
        }
        heap.news = true;
        if let Some(said) = said {
            heap.said.entry(kind).or_insert(said);
        }
        if heap.files.len() < MAX_TOLD_APART || heap.files.contains_key(&path) {
            self.whose.insert(path.clone(), key);
            heap.files.insert(path, what);
        } else {
            heap.beyond += 1;
        }
    }

    /// A path that went away, or turned out to be an image.
    pub(crate) fn remove(&mut self, path: &Path) {
        let Some(key) = self.whose.remove(path) else { return };
        let Some(heap) = self.heaps.get_mut(&key) else { return };
        heap.files.remove(path);
        if heap.files.is_empty() {
            self.heaps.remove(&key);
        }
    }

    /// A heap is told once more; false if there is none of this key.
    pub(crate) fn tell_again(&mut self, key: &StudyKey) -> bool {
        self.heaps.get_mut(key).map(|heap| heap.news = true).is_some()
    }

    /// What lies on a heap, as far as it is told apart.
    pub(crate) fn files_of(&self, key: &StudyKey) -> impl Iterator<Item = &PathBuf> {
        self.heaps.get(key).into_iter().flat_map(|heap| heap.files.keys())
    }

    /// Heaps not yet told.
    pub(crate) fn open(&self) -> usize {
        self.heaps.values().filter(|heap| heap.news).count()
    }

    /// Heaps with news that have been quiet for so long.
    pub(crate) fn due(&mut self, now: Millis, quiet: Millis) -> Vec<Told> {
        let mut told = Vec::new();
        for (key, heap) in &mut self.heaps {
            if heap.news && now.is_past(heap.changed, quiet) {
                heap.news = false;
                let items = heap.files.iter().map(|(path, (_, content))| {
                    (Digest::of(path.as_os_str().as_encoded_bytes()), *content)
                });
                let mut items: Vec<_> = items.collect();
                items.push((Digest::of(&heap.beyond.to_le_bytes()), Digest::of(b"beyond")));
                let counts = heap.counts();
                let said = most(&counts).and_then(|kind| heap.said.get(&kind).cloned());
                told.push(Told {
                    key: key.clone(),
                    folder: heap.folder.clone(),
                    fingerprint: fingerprint(&[(None, items)]),
                    counts,
                    said,
                });
            }
        }
        told
    }

    /// Files in these very folders that by their names are images and cannot be read: whose slices
    /// they were, nobody knows.
    pub(crate) fn unreadable_in(&self, folders: &BTreeSet<&Path>) -> usize {
        let counts = |(path, (kind, _)): &(&PathBuf, &(StrangerKind, Digest))| {
            let is_here = path.parent().is_some_and(|at| folders.contains(at));
            let should_be = |code| code != RefusalCode::UnknownFormat || is_named_as_image(path);
            is_here && kind.reason().is_some_and(should_be)
        };
        self.heaps.values().flat_map(|heap| &heap.files).filter(counts).count()
    }

    /// What lies beside files below these folders of the export.
    pub(crate) fn beside(&self, folders: &BTreeSet<PathBuf>) -> Counts {
        let mut counts = Counts::new();
        let here = self.heaps.values().filter(|heap| folders.contains(&heap.folder));
        for (kind, count) in here.flat_map(Heap::counts) {
            *counts.entry(kind).or_default() += count;
        }
        counts
    }
}

impl Heap {
    fn counts(&self) -> Counts {
        let mut counts = Counts::new();
        for (kind, _) in self.files.values() {
            *counts.entry(*kind).or_default() += 1;
        }
        if self.beyond > 0 {
            counts.insert(StrangerKind::More, self.beyond);
        }
        counts
    }
}
