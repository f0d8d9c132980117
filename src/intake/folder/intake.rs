//! The intake of one export folder: look, settle, assemble, as one step.
//!
//! Owns the order of the three. No thread and no clock: the daemon calls
//! [`FolderIntake::step`] after each wake and at least every rescan interval.

use std::path::PathBuf;
use std::sync::Arc;

use super::filesystem::FileSystem;
use super::listing::{Degraded, WatchParams};
use super::stability::{FileStability, StabilityParams};
use super::watch::FolderWatch;
use crate::intake::events::{Arriving, AssembleParams, Known, Millis, StudyEvent};
use crate::intake::facts::StudyFiles;
use crate::intake::reading::probe::Probe;
use crate::intake::study::assemble::Assembler;
use hepalert_study::study::StudyKey;

/// Says what the last result of a study was made of, if it has one.
pub(crate) type Recaller = Box<dyn Fn(&StudyKey) -> Option<StudyFiles> + Send>;

/// Everything that one export folder is taken in by.
#[derive(Debug, Clone, PartialEq)]
pub struct FolderParams {
    /// Where to look.
    pub watch: WatchParams,
    /// When a file is whole.
    pub stability: StabilityParams,
    /// When a study is whole.
    pub assemble: AssembleParams,
    /// Most bytes of one file.
    pub max_file_bytes: u64,
}

/// What a step brought.
#[derive(Debug, Default)]
pub struct Step {
    /// In order.
    pub outcomes: Vec<StudyEvent>,
    /// What is wrong with the folder now.
    pub degraded: Vec<Degraded>,
    /// Take the next step without waiting: files are still to be read.
    pub more: bool,
    /// Files still being written or not yet read.
    pub moving_files: usize,
    /// Studies that wait for more files.
    pub open_studies: usize,
    /// Those of them of which something new has come, the newest first.
    pub arriving: Vec<Arriving>,
}

/// The intake of one export folder.
pub struct FolderIntake {
    watch: FolderWatch,
    stability: FileStability,
    assembler: Assembler,
    key_of: Box<dyn Fn(&str) -> StudyKey + Send + Sync>,
    recall: Recaller,
    params: FolderParams,
}

impl FolderIntake {
    /// Knows what the store remembers. `wake` is called from another thread when a step is
    /// worth it, and must not block.
    pub fn new(
        params: FolderParams,
        known: Vec<Known>,
        key_of: Box<dyn Fn(&str) -> StudyKey + Send + Sync>,
        wake: Arc<dyn Fn() + Send + Sync>,
    ) -> FolderIntake {
        FolderIntake {
            watch: FolderWatch::new(params.watch.clone(), wake),
            stability: FileStability::new(params.stability.clone()),
            assembler: Assembler::new(params.assemble.clone(), known),
            key_of,
            recall: Box::new(|_| None),
            params,
        }
    }

    /// Knows what the last result of a study was made of: images of it that come again alone, the rest
    /// gone, are then nothing new.
    pub fn recalling(self, recall: Recaller) -> FolderIntake {
        FolderIntake { recall, ..self }
    }

    /// What the folder lies on, as of the last step.
    pub fn file_system(&self) -> FileSystem {
        self.watch.file_system()
    }

    /// These files did not hold what was accepted, though nothing showed that they changed:
    /// they are read again once they lie still.
    pub fn doubt(&mut self, files: &[PathBuf], now: Millis) {
        self.stability.doubt(files, now);
    }

    /// A study that failed was sent again, or somebody wants it read again: it is taken in anew.
    /// False if nothing of it lies here.
    pub fn try_again(&mut self, key: &StudyKey, now: Millis) -> bool {
        self.assembler.try_again(key, now)
    }

    /// The files that a study or a heap of strangers is made of.
    pub fn files_of(&self, key: &StudyKey) -> Vec<PathBuf> {
        self.assembler.files_of(key)
    }

    /// Looks at the folder and says what follows. `now` is best taken from a monotonic
    /// clock.
    pub fn step(&mut self, now: Millis) -> Step {
        let seen = self.watch.look();
        let probe = Probe {
            root: &self.params.watch.folder,
            key_of: &*self.key_of,
            max_file_bytes: self.params.max_file_bytes,
            is_network: self.watch.file_system() != FileSystem::Local,
        };
        let settled = self.stability.step(&seen, now, &probe);
        let mut outcomes = Vec::new();
        for event in settled.events {
            outcomes.extend(self.assembler.apply(event, now));
        }
        outcomes.extend(self.assembler.tick_recalling(now, &*self.recall));
        Step {
            outcomes,
            degraded: seen.degraded,
            more: settled.more,
            moving_files: self.stability.moving(),
            open_studies: self.assembler.open_studies(),
            arriving: self.assembler.arriving(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_intake_may_live_in_a_thread_of_its_own() {
        fn is_send<T: Send>() {}
        is_send::<FolderIntake>();
        is_send::<Step>();
    }
}
