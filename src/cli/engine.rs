//! Being written.
use super::{Failure, Ui};

/// Arguments.
#[derive(Debug, clap::Subcommand)]
pub enum Args {
    /// List.
    List,
}

/// Runs the command.
///
/// # Errors
/// Not built yet.
pub fn run(_args: &Args, _ui: &Ui) -> Result<(), Failure> {
    Err(Failure::failed(anyhow::anyhow!("not built yet")))
}
