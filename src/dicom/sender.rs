//! Hands objects to archives, by whichever way each is spoken to.
//!
//! Owns the choice between the two ways. Refuses to try twice.

use super::target::{Outcome, Outgoing, SendError, Target, Way};
use super::{scu, stow};

/// Sends one object.
///
/// # Errors
/// [`SendError`] if the peer could not say what it makes of it.
pub fn send(target: &Target, object: Outgoing<'_>) -> Result<Outcome, SendError> {
    match &target.way {
        Way::Dimse { .. } => scu::store(target, object),
        Way::Web { .. } => stow::store(target, object),
    }
}

/// Whether a target is there and lets this device in; what was seen, in a sentence.
///
/// # Errors
/// [`SendError`].
pub fn echo(target: &Target) -> Result<String, SendError> {
    match &target.way {
        Way::Dimse { .. } => scu::echo(target),
        Way::Web { .. } => stow::echo(target),
    }
}
