//! The network of DICOM: images come in from a scanner or an archive, results go out to archives.
//!
//! Owns associations, the spool that received images wait in, and how an object is handed to a peer.
//! Refuses to decide what is sent when (the daemon does, from the store), to know patients, and to name
//! a file by anything that a peer said.

mod dial;
pub mod dimse;
pub mod receiver;
mod scu;
pub mod sender;
pub mod services;
pub(crate) mod stow;
pub mod target;
pub mod tls;
mod wire;

pub use receiver::{Network, Receiver};
pub use target::{DeliveryOutcome, SendError, Target};
