//! Being written.
use super::{Failure, Ui};
use crate::detect::Detection;
use crate::reclassify::Candidate;

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

/// A detection as the third stage takes it.
pub(super) fn candidate(detection: &Detection) -> Candidate<'_> {
    Candidate {
        id: detection.id,
        kind: detection.kind,
        lo: detection.region.lo,
        mask: &detection.mask,
        volume_cm3: detection.volume_cm3,
    }
}
