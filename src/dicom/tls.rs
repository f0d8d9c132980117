//! TLS for associations and for DICOMweb: certificates from files, ring for the arithmetic.
//!
//! Owns which peers are believed: those that the configured authority has signed. Without an authority
//! there is no TLS; certificates are never taken unseen.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// The permission bits of whoever is neither owner nor of the group.
const OTHERS: u32 = 0o007;

/// Certificate and key of this device, and who signs those of its peers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerTls {
    /// PEM, the own one first.
    pub cert_file: PathBuf,
    /// PEM.
    pub key_file: PathBuf,
    /// Peers must show a certificate of this authority; anybody may come if there is none.
    pub ca_file: Option<PathBuf>,
}

/// Who signs a peer's certificate, and what is shown to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientTls {
    /// PEM.
    pub ca_file: PathBuf,
    /// Certificate and key, PEM, for peers that ask.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// Why TLS cannot be spoken.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is missing, or holds something else.
    #[error("{}: {reason}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// They do not fit each other.
    #[error("TLS: {0}")]
    Config(String),
}

fn file_error(path: &Path, error: &dyn std::fmt::Display) -> TlsError {
    TlsError::File { path: path.to_owned(), reason: error.to_string() }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |error: &dyn std::fmt::Display| file_error(path, error);
    let all = CertificateDer::pem_file_iter(path).map_err(|error| failed(&error))?;
    let all: Vec<_> = all.collect::<Result<_, _>>().map_err(|error| failed(&error))?;
    match all.is_empty() {
        true => Err(failed(&"no certificate in it")),
        false => Ok(all),
    }
}

/// A key or a token that everybody on this machine may read is no secret.
///
/// # Errors
/// If it is one.
pub fn secret(path: &Path) -> Result<(), String> {
    let mode = fs::metadata(path).map_err(|error| format!("{}: {error}", path.display()))?.mode();
    match mode & OTHERS {
        0 => Ok(()),
        _ => Err(format!("{0}: everybody may read it; `chmod o= {0}`", path.display())),
    }
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| file_error(path, &error))
}

fn authority(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(path)? {
        store.add(certificate).map_err(|error| file_error(path, &error))?;
    }
    Ok(store)
}

fn wrong(error: impl std::fmt::Display) -> TlsError {
    TlsError::Config(error.to_string())
}

impl ServerTls {
    /// Whether the files are there, fit each other, and keep the key.
    ///
    /// # Errors
    /// What is wrong with which.
    pub fn check(&self) -> Result<(), TlsError> {
        self.config()?;
        secret(&self.key_file).map_err(TlsError::Config)
    }

    pub(super) fn config(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(wrong)?;
        let builder = match &self.ca_file {
            None => builder.with_no_client_auth(),
            Some(ca) => {
                let roots = Arc::new(authority(ca)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                builder.with_client_cert_verifier(verifier.build().map_err(wrong)?)
            }
        };
        let config = builder.with_single_cert(certificates(&self.cert_file)?, key(&self.key_file)?);
        Ok(Arc::new(config.map_err(wrong)?))
    }
}

impl ClientTls {
    /// As [`ServerTls::check`].
    ///
    /// # Errors
    /// What is wrong with which file.
    pub fn check(&self) -> Result<(), TlsError> {
        self.config()?;
        self.client.iter().try_for_each(|(_, key)| secret(key).map_err(TlsError::Config))
    }

    pub(super) fn config(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(wrong)?
            .with_root_certificates(authority(&self.ca_file)?);
        let config = match &self.client {
            None => builder.with_no_client_auth(),
            Some((cert, secret)) => {
                builder.with_client_auth_cert(certificates(cert)?, key(secret)?).map_err(wrong)?
            }
        };
        Ok(Arc::new(config))
    }
}
