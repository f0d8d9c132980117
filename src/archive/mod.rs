//! A whole archive: the studies of any folder tree, listed once, analysed by as many tasks as there
//! are, put together and held against another engine.
//!
//! Owns the list (fixed and hashed), the folder of results (of one list and one configuration), whose
//! turn a shard is, and what became of each study. In reading order: [`list`] fixes what is to be
//! done, [`results`] keeps what is done, [`turn`] lets one run work on a shard, [`run`] does it,
//! [`status`] counts, [`cohort`] adds up, [`changes`] compares. Refuses to queue, to send and to
//! overwrite: what does not belong together is told by name and left as it is.

pub(crate) mod changes;
pub(crate) mod cohort;
pub(crate) mod list;
mod pictures;
pub(crate) mod results;
pub(crate) mod run;
pub(crate) mod status;
pub(crate) mod turn;

use std::fmt;
use std::path::Path;

use crate::codes;

/// What can be wrong with an archive's files and runs. The names are for scripts: never re-used for
/// anything else. What they mean and what to do is in [`codes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr, strum::VariantArray)]
pub enum Code {
    /// The list is not as it was written.
    #[strum(serialize = "archive_list_damaged")]
    ListDamaged,
    /// There is no list of this name.
    #[strum(serialize = "archive_list_missing")]
    ListMissing,
    /// There is another list under this name.
    #[strum(serialize = "archive_list_differs")]
    ListDiffers,
    /// More files than may be looked at.
    #[strum(serialize = "archive_too_many_files")]
    TooManyFiles,
    /// There is no study to list.
    #[strum(serialize = "archive_no_studies")]
    NoStudies,
    /// The folder of the studies is not there.
    #[strum(serialize = "archive_root_missing")]
    RootMissing,
    /// The list was made for other engines.
    #[strum(serialize = "archive_other_phases")]
    OtherPhases,
    /// The results are of another list.
    #[strum(serialize = "archive_other_list")]
    OtherList,
    /// The results are of another configuration.
    #[strum(serialize = "archive_other_configuration")]
    OtherConfiguration,
    /// The engine was exchanged while it was in use.
    #[strum(serialize = "archive_engine_swapped")]
    EngineSwapped,
    /// Another run works on the shard.
    #[strum(serialize = "archive_shard_taken")]
    ShardTaken,
    /// Another run divides the list otherwise.
    #[strum(serialize = "archive_other_split")]
    OtherSplit,
    /// The file system keeps no locks.
    #[strum(serialize = "archive_no_locks")]
    NoLocks,
    /// What should be a folder of results is none.
    #[strum(serialize = "archive_no_results")]
    NoResults,
    /// A result cannot be read.
    #[strum(serialize = "archive_result_damaged")]
    ResultDamaged,
    /// Two folders of results are of one configuration.
    #[strum(serialize = "archive_nothing_to_compare")]
    NothingToCompare,
    /// Studies have no result.
    #[strum(serialize = "archive_studies_missing")]
    StudiesMissing,
    /// Studies could not be analysed.
    #[strum(serialize = "archive_studies_failed")]
    StudiesFailed,
    /// Told to stop.
    #[strum(serialize = "archive_stopped")]
    Stopped,
}

impl Code {
    /// The name.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// Why an archive's work cannot go on: a code, and what it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveError {
    /// What is wrong.
    pub code: Code,
    /// A file, a study or a number; never a patient.
    pub about: String,
}

impl ArchiveError {
    /// Of something that is no path.
    pub fn new(code: Code, about: impl Into<String>) -> ArchiveError {
        ArchiveError { code, about: about.into() }
    }

    /// Of a file or folder.
    pub fn at(code: Code, path: &Path) -> ArchiveError {
        ArchiveError::new(code, path.display().to_string())
    }
}

impl fmt::Display for ArchiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match codes::of_archive(self.code.name()) {
            Some(meaning) => write!(f, "{}: {}; {}", self.about, meaning.sentence, meaning.advice),
            None => f.write_str(&self.about),
        }
    }
}

impl std::error::Error for ArchiveError {}

#[cfg(test)]
mod tests {
    use strum::VariantArray;

    use super::*;

    #[test]
    fn every_code_is_explained() {
        for code in Code::VARIANTS {
            let said = ArchiveError::new(*code, "x").to_string();
            assert!(said.starts_with("x: ") && said.contains("; "), "{said}");
        }
    }
}
