//! Studies that went away and come back.
//!
//! Owns which of them are held with all their slices, and that a study which comes back stands as
//! it stood.

use super::Assembler;
use crate::intake::events::{Millis, StudyEvent};
use crate::intake::study::index::Past;
use crate::intake::study::progress::StudyProgress;
use hepalert_study::study::StudyKey;

/// Studies whose files are all gone and whose slices are still remembered, so that some of
/// them sent again are no new study; of older ones revision and fingerprint alone are.
const MAX_REMEMBERED: usize = 1024;

impl Assembler {
    /// Studies that are held with all that is known of them.
    #[cfg(test)]
    pub fn studies_in_full(&self) -> usize {
        self.studies.len()
    }

    /// Slices remembered of studies whose files are gone.
    #[cfg(test)]
    pub fn remembered_slices(&self) -> usize {
        let gone = self.studies.values().filter(|progress| progress.file_set.is_empty());
        gone.map(|progress| progress.accounted.len()).sum()
    }

    /// Lets go of studies that went away long ago.
    pub(super) fn forget(&mut self) {
        if self.studies.len() <= MAX_REMEMBERED {
            return;
        }
        let idle = |progress: &StudyProgress| {
            progress.opened.is_none() && !progress.failed && progress.file_set.is_empty()
        };
        let gone = self.studies.iter().filter(|(_, progress)| idle(progress));
        let mut gone: Vec<(Millis, StudyKey)> =
            gone.map(|(key, progress)| (progress.changed, key.clone())).collect();
        gone.sort_unstable_by_key(|(changed, _)| std::cmp::Reverse(*changed));
        for (_, key) in gone.into_iter().skip(MAX_REMEMBERED) {
            if let Some(progress) = self.studies.remove(&key) {
                let StudyProgress { account, revision, remembered, .. } = progress;
                self.index.put_away(&key, Past { account, revision, remembered });
            }
        }
    }

    /// A study, new or come back, and whether it is new.
    pub(super) fn study(&mut self, key: &StudyKey) -> (&mut StudyProgress, bool) {
        let is_new = !self.studies.contains_key(key) && !self.index.knows(key);
        let index = &mut self.index;
        let progress = self.studies.entry(key.clone()).or_insert_with(|| {
            let Past { account, revision, remembered } = index.take(key).unwrap_or_default();
            StudyProgress { account, revision, remembered, ..StudyProgress::default() }
        });
        (progress, is_new)
    }
}

/// A study is told of with its first file.
pub(super) fn received(key: StudyKey, is_first: bool) -> Vec<StudyEvent> {
    if is_first { vec![StudyEvent::Received { key }] } else { Vec::new() }
}
