//! The maker's side: keys, and signatures on manifests. Never runs on a device.
//!
//! Files are minisign's own: its program reads these keys and checks these signatures, and
//! the other way round.

use std::fs;
use std::io::Cursor;
use std::path::Path;

use minisign::{KeyPair, SecretKey, SecretKeyBox};

use super::package;
use super::refused::PackageError;
use super::signature::{MAX_SIGNATURES_BYTES, SIGNATURES};
use super::{MANIFEST, files, manifest};

/// Why something cannot be signed.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// The bundle or the packed bundle.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// A file.
    #[error("{file}: {reason}")]
    File {
        /// The file, by its name in the bundle.
        file: String,
        /// The system's words.
        reason: std::io::Error,
    },
    /// The key.
    #[error("the key cannot be used: {0}")]
    Key(String),
    /// No more signatures fit.
    #[error("it carries too many signatures already; pack it again")]
    Full,
}

/// A new pair of keys as the text of two files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    /// Goes to the devices.
    pub public: String,
    /// Stays with the maker.
    pub secret: String,
}

/// Makes a pair of keys; the secret one is encrypted with the password, if there is one.
///
/// # Errors
/// [`SigningError::Key`] if the system has no random numbers.
pub fn keygen(password: Option<&str>, comment: &str) -> Result<Keys, SigningError> {
    let refused = |error: minisign::PError| SigningError::Key(error.to_string());
    let pair = match password {
        Some(password) => KeyPair::generate_encrypted_keypair(Some(password.to_owned())),
        None => KeyPair::generate_unencrypted_keypair(),
    };
    let KeyPair { pk, sk } = pair.map_err(refused)?;
    Ok(Keys {
        public: pk.to_box().map_err(refused)?.to_string(),
        secret: sk.to_box(Some(comment)).map_err(refused)?.to_string(),
    })
}

/// Signs the manifest of a packed bundle, or of the bundle in a folder; signatures that are
/// there stay. Returns the engine's name and version.
///
/// # Errors
/// [`SigningError`].
pub fn sign(
    target: &Path,
    secret: &str,
    password: Option<&str>,
) -> Result<(String, u32), SigningError> {
    let key = secret_key(secret, password)?;
    let (manifest, mut signatures) = if target.is_dir() {
        let manifest = files::read_manifest(target).map_err(PackageError::Manifest)?;
        let beside = target.join(SIGNATURES);
        let signatures = if beside.exists() { read(&beside)? } else { Vec::new() };
        (manifest, signatures)
    } else {
        package::front(target)?
    };
    let parts = manifest::parse(&manifest).map_err(PackageError::Manifest)?;
    signatures.extend_from_slice(signature(&manifest, &key, &parts)?.as_bytes());
    if signatures.len() as u64 > MAX_SIGNATURES_BYTES {
        return Err(SigningError::Full);
    }
    if target.is_dir() {
        let beside = target.join(SIGNATURES);
        fs::write(&beside, signatures).map_err(|reason| failed(&beside, reason))?;
    } else {
        package::replace_signatures(target, &signatures)?;
    }
    Ok((parts.id, parts.version))
}

fn signature(
    manifest: &[u8],
    key: &SecretKey,
    parts: &manifest::Parts,
) -> Result<String, SigningError> {
    // minisign shows this line to whoever verifies, and it is signed too.
    let comment = format!("{MANIFEST} of {} version {}", parts.id, parts.version);
    let made = minisign::sign(None, key, Cursor::new(manifest), Some(&comment), None);
    made.map(|signature| signature.to_string())
        .map_err(|error| SigningError::Key(error.to_string()))
}

fn secret_key(text: &str, password: Option<&str>) -> Result<SecretKey, SigningError> {
    let refused = |error: minisign::PError| SigningError::Key(error.to_string());
    let boxed = SecretKeyBox::from_string(text).map_err(refused)?;
    match password {
        Some(password) => boxed.into_secret_key(Some(password.to_owned())),
        None => boxed.into_unencrypted_secret_key(),
    }
    .map_err(refused)
}

fn read(file: &Path) -> Result<Vec<u8>, SigningError> {
    fs::read(file).map_err(|reason| failed(file, reason))
}

fn failed(file: &Path, reason: std::io::Error) -> SigningError {
    SigningError::File { file: file.display().to_string(), reason }
}
