//! Being written.
use super::{Failure, Ui};

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the command.
///
/// # Errors
/// Not built yet.
pub fn run(_args: &Args, _ui: &Ui) -> Result<(), Failure> {
    Err(Failure::failed(anyhow::anyhow!("not built yet")))
}
