//! An archive that results are sent to, and what can come of it.
//!
//! Owns the words for an outcome: which are tried again, and which are told.

use std::path::PathBuf;
use std::time::Duration;

use super::tls::ClientTls;

/// Where results go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its name in the configuration, in messages and on the command line.
    pub name: String,
    /// How it is spoken to.
    pub way: Way,
    /// Longest silence.
    pub patience: Duration,
}

/// The two ways.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// C-STORE.
    Dimse {
        /// Name or address.
        host: String,
        /// Its port.
        port: u16,
        /// What it is called.
        called_ae: String,
        /// What this device calls itself.
        calling_ae: String,
        /// Encrypt.
        tls: Option<ClientTls>,
    },
    /// STOW-RS.
    Web {
        /// As `https://pacs.example/dicom-web`; `/studies` is added.
        url: String,
        /// File that holds the bearer token.
        token_file: Option<PathBuf>,
        /// For `https`.
        tls: Option<ClientTls>,
    },
}

/// An object to be sent, as it lies in a result.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'a> {
    /// The file.
    pub bytes: &'a [u8],
}

/// What the peer made of one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is kept.
    Stored,
    /// It is not, and would not be the next time: the status of DICOM or of HTTP.
    Refused(u16),
    /// It is not now.
    Busy(u16),
}

/// Why nothing could be sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// Nobody is there, or the line fails.
    #[error("{0} cannot be reached: {1}")]
    Unreachable(String, String),
    /// The peer does not let this device in.
    #[error("{0} refuses this device: {1}; let the archive know its AE title and address")]
    NotLetIn(String, String),
    /// The object itself.
    #[error("the object cannot be read: {0}")]
    Object(String),
    /// A file of the configuration.
    #[error("{0}")]
    Local(String),
}

impl SendError {
    /// A name for events and scripts.
    pub const fn code(&self) -> &'static str {
        match self {
            SendError::Unreachable(..) => "dicom_target_unreachable",
            SendError::NotLetIn(..) => "dicom_target_refuses_us",
            SendError::Object(_) => "dicom_object_unreadable",
            SendError::Local(_) => "dicom_target_misconfigured",
        }
    }
}
