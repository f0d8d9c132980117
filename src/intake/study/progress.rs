//! One study in time: what was taken in of it, and what is news.
//!
//! Owns the rule of revisions: the newest content is a new revision if it is not what was
//! taken in last, also if it was there before. No clock, no file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::file_set::{Assessment, StudyFileSet};
use super::index::Index;
use super::versions::Version;
use crate::intake::events::{Arriving, Millis};
use crate::intake::facts::{FileFacts, SeriesHeld, StudyFiles, holds_all, seen};
use crate::intake::fingerprint::{Digest, Item, again};
use hepalert_study::study::StudyKey;

/// One study in time.
#[derive(Debug, Default)]
pub(super) struct StudyProgress {
    /// Its files.
    pub file_set: StudyFileSet,
    /// When the files that are not yet accounted for began to come.
    pub opened: Option<Millis>,
    /// The newest change.
    pub changed: Millis,
    /// The last revision given.
    pub revision: u32,
    /// A copy or the same file again came since the last account.
    pub copied: bool,
    /// What was in the last account came again since.
    pub resent: bool,
    /// Something came that was not in the last account.
    pub news: bool,
    /// Something that was in no account went away again.
    pub lost: bool,
    /// The fingerprint of the last account: complete, refused or a copy.
    pub account: Option<Digest>,
    /// The account was given by an earlier process.
    pub remembered: bool,
    /// What an account showed, however it was written; for as long as it is the last.
    pub shown: Option<(Digest, Digest)>,
    /// A file was written over by another that shows the same since the last account.
    pub rewritten: bool,
    /// It is to be taken in anew, because it failed or somebody asked: the same again is a new
    /// revision.
    pub failed: bool,
    /// Everything that was in the last account.
    pub accounted: BTreeSet<Item>,
    /// What of it was passed over for newer content of the same slices.
    pub outdated: BTreeSet<Item>,
}

impl StudyProgress {
    /// Something came or went.
    pub(super) fn touch(&mut self, now: Millis, news: bool) {
        self.opened.get_or_insert(now);
        self.changed = now;
        self.news |= news;
    }

    /// A file is no longer there.
    pub(super) fn let_go(&mut self, path: &Path) {
        let removed = self.file_set.remove(path);
        let taken_in = |item| self.remembered || self.accounted.contains(&item);
        self.lost |= removed.is_some_and(|item| !taken_in(item));
    }

    /// True where what is here is but a part of what `recall` says was analysed, the rest gone, and nothing
    /// in it was not seen before: then nothing follows, and what was told stands. What is here counts as
    /// seen. It is asked for only what would else be told.
    pub(super) fn is_part_again(
        &mut self,
        assessment: &Assessment,
        index: &Index,
        recall: impl FnOnce() -> Option<StudyFiles>,
    ) -> bool {
        let is_told = match assessment {
            Assessment::Refused { fingerprint, .. } => index.has(fingerprint),
            Assessment::Whole(versions) => versions.first().is_none_or(|one| self.is_same(one)),
        };
        if is_told || self.failed || self.account.is_none() {
            return false;
        }
        let Some(StudyFiles { seen: before, series, .. }) = recall() else { return false };
        let before: BTreeSet<Digest> = before.into_iter().collect();
        let was_seen =
            |item: Item| self.accounted.contains(&item) || before.contains(&seen(item.0, item.1));
        let is_part = !before.is_empty()
            && !holds_all(&self.series(std::iter::empty()), &series)
            && self.file_set.items().all(was_seen);
        if is_part {
            self.accounted.extend(self.file_set.items());
        }
        is_part
    }

    /// Whether this version is what was accounted for last.
    fn is_same(&self, version: &Version) -> bool {
        self.account.is_some_and(|account| self.shown == Some((account, version.fingerprint)))
            || self.is_version(version)
    }

    /// How much has come of what is not accounted for yet.
    pub(super) fn arriving(&self, key: &StudyKey) -> Option<Arriving> {
        let since = self.opened.filter(|_| self.news && !self.remembered && !self.failed)?;
        let files = self.file_set.files.len() + self.file_set.broken.len();
        (files > 0).then(|| Arriving {
            key: key.clone(),
            since,
            files,
            series: self.file_set.series(),
        })
    }

    /// True for the input that was taken in last, under its own fingerprint or as one that
    /// came back.
    fn is_account(&self, input: Digest) -> bool {
        self.account == Some(input)
            || (1..=self.revision).any(|n| self.account == Some(again(input, n)))
    }

    /// The version that counts and its fingerprint as a new revision; or the fingerprint that
    /// it has already, and whether under another key.
    pub(super) fn next<'a>(
        &mut self,
        key: &StudyKey,
        versions: &'a [Version],
        index: &Index,
    ) -> Result<(&'a Version, Digest), (Digest, bool)> {
        let remembered = std::mem::take(&mut self.remembered);
        let failed = std::mem::take(&mut self.failed);
        let Some((newest, others)) = versions.split_first() else {
            return Err((Digest::of(b""), false));
        };
        let Version { fingerprint: shown, of_bytes, .. } = *newest;
        // Accounts of an earlier program, and of files that were written over, are by bytes.
        let is_same = self.is_same(newest);
        let is_rewritten = std::mem::take(&mut self.rewritten) && !self.is_account(of_bytes);
        let input = if is_same && is_rewritten { of_bytes } else { shown };
        let fingerprint = match index.is_of(&input, key).or_else(|| index.is_of(&of_bytes, key)) {
            _ if failed => again(input, self.revision + 1),
            _ if is_same && !is_rewritten => {
                self.shown = self.account.map(|account| (account, shown));
                return Err((input, false));
            }
            Some(false) => {
                self.account = Some(input);
                return Err((input, true));
            }
            // Older copies lie beside what was taken in: a process that just began does not
            // know which came last, and times alone do not undo a result.
            Some(true) if remembered && others.iter().any(|one| self.is_version(one)) => {
                return Err((input, false));
            }
            Some(true) => again(input, self.revision + 1),
            None => input,
        };
        self.revision += 1;
        self.account = Some(fingerprint);
        self.shown = Some((fingerprint, shown));
        Ok((newest, fingerprint))
    }

    fn is_version(&self, version: &Version) -> bool {
        self.is_account(version.fingerprint) || self.is_account(version.of_bytes)
    }

    /// True for a slice that is not what was taken in last. An older copy is news where it was
    /// not before.
    pub(super) fn is_news(&self, item: &Item, is_here: bool) -> bool {
        !self.accounted.contains(item) || (!is_here && self.outdated.contains(item))
    }

    /// The study as it is handed on.
    pub(super) fn study(
        &mut self,
        key: &StudyKey,
        version: &Version,
        fingerprint: Digest,
        unreadable_beside: usize,
    ) -> StudyFiles {
        let Version { phases, candidates, acquired_ms, .. } = version.clone();
        let used: usize = phases.iter().map(|phase| phase.files.len()).sum();
        let read = candidates.iter().map(|candidate| &candidate.files).chain(&phases);
        let held = read.flat_map(|phase| &phase.files).filter_map(|at| self.file_set.files.get(at));
        let held: Vec<_> = held.collect();
        let read: BTreeSet<Digest> = held.iter().map(|held| held.facts.shown()).collect();
        let people: BTreeSet<_> = held.iter().map(|held| held.facts.person.as_ref()).collect();
        let patient = people.first().filter(|_| people.len() == 1).copied().flatten().cloned();
        let series = self.series(held.iter().map(|held| &held.facts));
        let counts = |item: &&Item| read.contains(&item.1);
        let slices: BTreeSet<Digest> =
            self.accounted.iter().filter(counts).map(|item| item.0).collect();
        let old = |item: &&Item| slices.contains(&item.0) && !read.contains(&item.1);
        self.outdated = self.accounted.iter().filter(old).copied().collect();
        StudyFiles {
            key: key.clone(),
            revision: self.revision,
            fingerprint,
            phases,
            candidates,
            acquired: acquired_ms.and_then(civil),
            unused: self.file_set.files.len() - used,
            unreadable_beside,
            patient,
            series,
            prior: None,
            seen: self.accounted.iter().map(|item| seen(item.0, item.1)).collect(),
        }
    }
}

impl StudyProgress {
    /// Every series that is here, and how much of it is read.
    fn series<'a>(&self, read: impl Iterator<Item = &'a FileFacts>) -> Vec<SeriesHeld> {
        let mut found: BTreeMap<Digest, [BTreeSet<Digest>; 2]> = BTreeMap::new();
        let all = self.file_set.files.values().map(|held| &held.facts);
        for (facts, at) in all.map(|facts| (facts, 0)).chain(read.map(|facts| (facts, 1))) {
            for slice in facts.part.slices() {
                found.entry(slice.series).or_default()[at].insert(slice.identity());
            }
        }
        let held = found.into_iter().map(|(series, [all, read])| SeriesHeld {
            series,
            images: all.len(),
            read: read.len(),
        });
        held.collect()
    }
}

/// `2025-01-31T10:11:12.000`, without zone: scanners do not say theirs.
fn civil(ms: i64) -> Option<String> {
    let moment = jiff::Timestamp::from_millisecond(ms).ok()?;
    Some(jiff::tz::TimeZone::UTC.to_datetime(moment).strftime("%Y-%m-%dT%H:%M:%S%.3f").to_string())
}
