//! An archive that results are sent to, and what can come of it.
//!
//! Owns the words for an outcome: which are tried again, and which are told.

use std::fmt;
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
    /// An archive that is sent to by C-STORE.
    Dimse(Dimse),
    /// An archive that is sent to by STOW-RS.
    Web(Web),
}

/// An archive that is spoken to by C-STORE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dimse {
    /// Name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// What it is called.
    pub called_ae: String,
    /// What this device calls itself.
    pub calling_ae: String,
    /// How the line is encrypted; none where it is not.
    pub tls: Option<ClientTls>,
}

/// An archive that is spoken to by STOW-RS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Web {
    /// As `https://pacs.example/dicom-web`; `/studies` is added.
    pub url: String,
    /// File that holds the bearer token.
    pub token_file: Option<PathBuf>,
    /// For `https`.
    pub tls: Option<ClientTls>,
}

/// An object to be sent, as it lies in a result.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'a> {
    /// The file.
    pub bytes: &'a [u8],
}

/// What the peer made of one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryOutcome {
    /// It is kept.
    Stored,
    /// It is not, and would not be the next time.
    Refused(Status),
    /// It is not now.
    Busy(Status),
}

/// What the peer answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// A status of DICOM (PS3.4 table B.2-1, PS3.7 annex C).
    Dimse(u16),
    /// A status of HTTP.
    Http(u16),
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (status, reason) = match self {
            Status::Dimse(status) => (format!("status {status:#06x}"), dimse_reason(*status)),
            Status::Http(status) => (format!("HTTP {status}"), http_reason(*status)),
        };
        match reason {
            "" => f.write_str(&status),
            reason => write!(f, "{status} ({reason})"),
        }
    }
}

/// In the words of the standard; nothing where it has none.
fn dimse_reason(status: u16) -> &'static str {
    match status {
        0x0105 => "no such attribute",
        0x0106 => "invalid attribute value",
        0x0110 => "processing failure",
        0x0112 => "no such SOP instance",
        0x0117 => "invalid SOP instance",
        0x0118 => "no such SOP class",
        0x0119 => "class and instance conflict",
        0x0122 => "SOP class not supported",
        0x0124 => "not authorized",
        0x0210 => "duplicate invocation",
        0x0211 => "unrecognized operation",
        0x0213 => "resource limitation",
        0xa700..=0xa7ff => "out of resources",
        0xa900..=0xa9ff => "data set does not match SOP class",
        0xc000..=0xcfff => "cannot understand",
        _ => "",
    }
}

/// In the words of RFC 9110, for those that an archive may say.
fn http_reason(status: u16) -> &'static str {
    match status {
        200..=299 => "it does not say that the object is kept",
        300..=399 => "it sends elsewhere: name that place in the configuration",
        400 => "bad request",
        401 => "unauthorized",
        403 => "forbidden",
        404 => "not found",
        405 => "method not allowed",
        406 => "not acceptable",
        408 => "request timeout",
        409 => "conflict",
        411 => "length required",
        413 => "content too large",
        415 => "unsupported media type",
        429 => "too many requests",
        500 => "internal server error",
        502 => "bad gateway",
        503 => "service unavailable",
        504 => "gateway timeout",
        507 => "insufficient storage",
        _ => "",
    }
}

/// Why nothing could be sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// Nobody is there, or the line fails.
    #[error("{0} cannot be reached: {1}")]
    Unreachable(String, String),
    /// The peer does not let this device in.
    #[error(
        "{0} refuses this device: {1}; check the ae_title of the target, and let the archive know this device's AE title and address"
    )]
    NotLetIn(String, String),
    /// The same on the web.
    #[error(
        "{0} refuses this device: {1}; put a token that it knows, and that has not expired, into its token_file"
    )]
    NoToken(String, String),
    /// The object itself.
    #[error("the object cannot be read: {0}")]
    Object(String),
    /// A file of the configuration.
    #[error("{0}")]
    Local(String),
}

impl SendError {
    /// Nobody is there, or the line fails, in plain words.
    pub(super) fn unreachable(target: &Target, reason: &dyn std::fmt::Display) -> SendError {
        let said = reason.to_string();
        SendError::Unreachable(target.name.clone(), crate::pem::plain_tls(&said).to_owned())
    }

    /// A name for events and scripts.
    pub const fn code(&self) -> &'static str {
        match self {
            SendError::Unreachable(..) => "dicom_target_unreachable",
            SendError::NotLetIn(..) | SendError::NoToken(..) => "dicom_target_refuses_us",
            SendError::Object(_) => "dicom_object_unreadable",
            SendError::Local(_) => "dicom_target_misconfigured",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_not_let_in_hears_what_would_let_it_in() {
        let said = |error: SendError| (error.code(), error.to_string());
        let (name, why) = ("web".to_owned(), Status::Http(401).to_string());
        let (code, words) = said(SendError::NoToken(name.clone(), why));
        assert_eq!(code, "dicom_target_refuses_us");
        assert!(words.contains("token_file") && !words.contains("AE title"), "{words}");
        let (_, words) = said(SendError::NotLetIn(name, "called AE title".to_owned()));
        assert!(words.contains("AE title and address") && !words.contains("token"), "{words}");
    }

    #[test]
    fn each_status_is_told_in_its_own_numbers() {
        assert_eq!(Status::Dimse(0xc123).to_string(), "status 0xc123 (cannot understand)");
        assert_eq!(Status::Dimse(0x0001).to_string(), "status 0x0001");
        assert_eq!(Status::Http(503).to_string(), "HTTP 503 (service unavailable)");
        assert_eq!(Status::Http(599).to_string(), "HTTP 599");
    }
}
