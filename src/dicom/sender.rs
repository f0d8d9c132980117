//! Hands objects to archives, by whichever way each is spoken to.
//!
//! Owns the choice between the two ways. Refuses to try twice.

use super::target::{DeliveryOutcome, Outgoing, SendError, Target, Way};
use super::tls::secret;
use super::{scu, stow};

/// Sends one object.
///
/// # Errors
/// [`SendError`] if the peer could not say what it makes of it.
pub fn send(target: &Target, object: Outgoing<'_>) -> Result<DeliveryOutcome, SendError> {
    match &target.way {
        Way::Dimse(way) => scu::store(target, way, object),
        Way::Web(way) => stow::store(target, way, object),
    }
}

/// Whether a target is there and lets this device in; what was seen, in a sentence.
///
/// # Errors
/// [`SendError`].
pub fn echo(target: &Target) -> Result<String, SendError> {
    match &target.way {
        Way::Dimse(way) => scu::echo(target, way),
        Way::Web(way) => stow::echo(target, way),
    }
}

/// Whether the files that are named for a target can be used: certificates, key, token.
///
/// # Errors
/// What is wrong with which file.
pub fn check_files(target: &Target) -> Result<(), String> {
    let (tls, token_file) = match &target.way {
        Way::Dimse(way) => (&way.tls, None),
        Way::Web(way) => (&way.tls, way.token_file.as_deref()),
    };
    if let Some(tls) = tls {
        tls.check().map_err(|error| error.to_string())?;
    }
    if let Some(file) = token_file {
        stow::token(file).map_err(|error| error.to_string())?;
        secret(file)?;
    }
    Ok(())
}
