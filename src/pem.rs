//! Certificates and private keys in PEM files: of the page and of DICOM.
//!
//! Owns what is said of a file that holds none. Refuses to judge whether they fit each other.

use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A file is missing, or holds something else.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub struct PemError {
    path: PathBuf,
    reason: String,
}

impl PemError {
    /// What is wrong with which file.
    pub fn new(path: &Path, reason: impl std::fmt::Display) -> PemError {
        PemError { path: path.to_owned(), reason: reason.to_string() }
    }
}

/// All certificates of a file; at least one.
///
/// # Errors
/// [`PemError`].
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let failed = |error| PemError::new(path, error);
    let all = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let all: Vec<_> = all.map_err(failed)?;
    match all.is_empty() {
        true => Err(PemError::new(path, "no certificate in it")),
        false => Ok(all),
    }
}

/// The private key of a file.
///
/// # Errors
/// [`PemError`].
pub fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, PemError> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| PemError::new(path, error))
}
