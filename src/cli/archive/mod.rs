//! `archive`: a whole archive in parts, by as many tasks as there are.

use super::{Exit, Failure, Ui, engines};
use crate::archive::results::BindError;
use crate::archive::run::RunError;
use crate::archive::{ArchiveError, Code};

mod compare;
mod list;
mod merge;
mod run;
mod status;

/// What to do with an archive.
#[derive(Debug, clap::Subcommand)]
#[command(disable_help_subcommand = true)]
pub enum Args {
    /// Find the studies of a folder tree and fix them in a list.
    List(list::Args),
    /// Analyse a part of a list; the same command again goes on where it ended.
    Run(run::Args),
    /// Count what is done, refused, failed and missing.
    Status(status::Args),
    /// Put the results together: a table of studies and one of the cohort.
    Merge(merge::Args),
    /// Hold two engines together over the same studies: which verdicts change.
    Compare(compare::Args),
}

/// Runs the command.
///
/// # Errors
/// Exit 3 with a code of an archive, 4 for the engine, 1 if something cannot be written.
pub(crate) fn run(what: &Args, ui: &Ui) -> Result<(), Failure> {
    match what {
        Args::List(args) => list::run(args, ui),
        Args::Run(args) => run::run(args, ui),
        Args::Status(args) => status::run(args, ui),
        Args::Merge(args) => merge::run(args, ui),
        Args::Compare(args) => compare::run(args, ui),
    }
}

/// What does not belong together is refused; work that is not done has failed.
fn wrong(error: ArchiveError) -> Failure {
    let exit = match error.code {
        Code::StudiesFailed | Code::Stopped => Exit::Failed,
        Code::EngineSwapped => Exit::Engine,
        Code::ListMissing
        | Code::ListDamaged
        | Code::ListDiffers
        | Code::TooManyFiles
        | Code::NoStudies
        | Code::RootMissing
        | Code::OtherPhases
        | Code::OtherList
        | Code::OtherConfiguration
        | Code::ShardTaken
        | Code::OtherSplit
        | Code::NoLocks
        | Code::NoResults
        | Code::ResultDamaged
        | Code::NothingToCompare
        | Code::StudiesMissing => Exit::Refused,
    };
    let code = error.code.name();
    Failure::new(exit, error).with_code(code)
}

fn ended(error: RunError) -> Failure {
    match error {
        RunError::Archive(error) => wrong(error),
        RunError::Engine(error) => engines::unusable(error),
        RunError::Output(error) => error.into(),
    }
}

impl From<BindError> for Failure {
    fn from(error: BindError) -> Failure {
        ended(error.into())
    }
}
