//! What is told although no study was completed: strangers by folder, and what somebody wants
//! judged anew.
//!
//! Owns the rule that everything is told once, and again only if somebody asks.

use std::path::PathBuf;

use super::Assembler;
use crate::intake::events::{AssembleParams, Millis, StudyEvent};
use crate::intake::fingerprint::again;
use crate::intake::folder::stranger_kind::StrangerKind;
use hepalert_study::study::StudyKey;

impl Assembler {
    /// A study failed for no fault of its own and was sent again, or somebody wants it read again:
    /// it is taken in anew, once for any number of wishes. False if nothing of it is here.
    pub fn try_again(&mut self, key: &StudyKey, at: Millis) -> bool {
        self.advance(at);
        let is_heap = self.strangers.tell_again(key);
        if is_heap && self.index.knows(key) {
            self.study(key);
        }
        match self.studies.get_mut(key) {
            Some(progress) if is_heap || !progress.file_set.is_empty() => {
                if !std::mem::replace(&mut progress.failed, true) && !is_heap {
                    progress.touch(self.now, true);
                }
                true
            }
            _ => false,
        }
    }

    /// The files that a study or a heap of strangers is made of.
    pub fn files_of(&self, key: &StudyKey) -> Vec<PathBuf> {
        let set = self.studies.get(key).map(|progress| &progress.file_set);
        let own = set.into_iter().flat_map(|set| set.files.keys().chain(set.broken.keys()));
        own.chain(self.strangers.files_of(key)).cloned().collect()
    }

    /// Folders with strangers that are quiet now. What only lies beside a study, by its name no
    /// image, is told with that study.
    pub(super) fn tell_strangers(&mut self) -> Vec<StudyEvent> {
        let AssembleParams { quiet_s, force_complete_s, .. } = self.params;
        let quiet = Millis::from_s(quiet_s.min(force_complete_s));
        let mut outcomes = Vec::new();
        for told in self.strangers.due(self.now, quiet) {
            let mut owned = self.owners.range(told.folder.clone()..);
            let is_beside = owned.next().is_some_and(|(path, _)| path.starts_with(&told.folder));
            let is_plain = told.counts.keys().all(|kind| *kind == StrangerKind::Foreign);
            let is_told = self.index.is_of(&told.fingerprint, &told.key) == Some(true);
            let asked = self.studies.get_mut(&told.key).map(|one| std::mem::take(&mut one.failed));
            let anew = asked == Some(true);
            if !anew && ((is_beside && is_plain) || is_told) {
                continue;
            }
            let (progress, _) = self.study(&told.key);
            progress.revision += 1;
            let (key, revision) = (told.key, progress.revision);
            let fingerprint =
                if anew { again(told.fingerprint, revision) } else { told.fingerprint };
            self.index.note(fingerprint, &key);
            outcomes.push(StudyEvent::PassedOver {
                key,
                revision,
                fingerprint,
                counts: told.counts,
                said: told.said,
            });
        }
        outcomes
    }
}
