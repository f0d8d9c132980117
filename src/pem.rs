//! Certificates and private keys in PEM files: of the page and of DICOM.
//!
//! Owns what is said of a file that holds none, and the words for lines that TLS does not come up on. Refuses to judge whether they fit each other.

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

/// What the library's words for a failure mean.
const TLS_WORDS: [(&str, &str); 10] = [
    ("UnknownIssuer", "no authority that is trusted here has signed the other side's certificate"),
    ("certificate not valid for name", "the other side's certificate is for another host name"),
    ("certificate not valid yet", "the other side's certificate is not valid yet"),
    ("certificate expired", "the other side's certificate has expired"),
    ("certificate: Expired", "the other side's certificate has expired"),
    ("CaUsedAsEndEntity", "the other side shows the certificate of an authority as its own"),
    ("CertificateRequired", "the other side asks for a certificate of this device"),
    ("UnknownCA", "the other side does not know the authority of this device's certificate"),
    ("CertificateUnknown", "the other side does not take this device's certificate"),
    ("InvalidContentType", "the other side speaks no TLS on this port"),
];

/// A failure of TLS in plain words, where they are known.
pub(crate) fn plain_tls(said: &str) -> &str {
    let known = TLS_WORDS.iter().find(|(name, _)| said.contains(name));
    known.map_or(said, |(_, plain)| plain)
}

/// All certificates of a file; at least one.
///
/// # Errors
/// [`PemError`].
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, PemError> {
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
pub(crate) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, PemError> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| PemError::new(path, error))
}

#[cfg(test)]
mod tests {
    use rustls::CertificateError;

    use super::*;

    #[test]
    fn failures_of_tls_are_said_in_words() {
        let cases = [
            (CertificateError::UnknownIssuer, "no authority that is trusted here"),
            (CertificateError::Expired, "has expired"),
        ];
        for (error, plain) in cases {
            let said = rustls::Error::InvalidCertificate(error).to_string();
            assert!(plain_tls(&said).contains(plain), "{said}");
        }
        let name = rustls::pki_types::ServerName::try_from("broker").unwrap();
        let other = CertificateError::NotValidForNameContext { expected: name, presented: vec![] };
        let said = rustls::Error::InvalidCertificate(other).to_string();
        assert!(plain_tls(&said).ends_with("another host name"), "{said}");
        assert_eq!(plain_tls("the line broke"), "the line broke");
    }
}
