//! TLS for associations and for DICOMweb: certificates from files, ring for the arithmetic.
//!
//! Owns which peers are believed: those that the configured authority has signed. Without an authority
//! there is no TLS; certificates are never taken unseen.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::pem::{PemError, certificates, private_key};

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
    #[error(transparent)]
    File(#[from] PemError),
    /// They do not fit each other.
    #[error("TLS: {0}")]
    Config(String),
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

fn authority(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(path)? {
        store.add(certificate).map_err(|error| PemError::new(path, error))?;
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
        let config =
            builder.with_single_cert(certificates(&self.cert_file)?, private_key(&self.key_file)?);
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
            Some((cert, secret)) => builder
                .with_client_auth_cert(certificates(cert)?, private_key(secret)?)
                .map_err(wrong)?,
        };
        Ok(Arc::new(config))
    }
}
