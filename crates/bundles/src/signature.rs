//! Whose word a device takes for an engine: minisign signatures of the manifest.
//!
//! Owns the folder of trusted public keys and the count of different keys that have signed.
//! The manifest names length and SHA-256 of every file, so its signature covers the bundle.
//! Refuses minisign's legacy signatures, which are not prehashed.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use minisign_verify::{PublicKey, Signature};

use super::files;
use super::refused::PackageError;

/// Beside the manifest: one or more signatures, four lines each, as minisign writes them.
pub const SIGNATURES: &str = "manifest.json.minisig";
/// Signatures of one bundle; each is about 300 bytes.
const MAX_SIGNATURES: usize = 8;
/// Lines of one signature.
const SIGNATURE_LINES: usize = 4;
/// Room for that many signatures with long comments.
pub(super) const MAX_SIGNATURES_BYTES: u64 = 16 << 10;
/// Public keys in the folder.
const MAX_KEYS: usize = 64;
/// A public key file has two lines.
const MAX_KEY_BYTES: u64 = 4 << 10;

/// The public keys in a folder, and how many of them must have signed.
#[derive(Debug, Clone)]
pub struct Trust {
    folder: PathBuf,
    keys: Vec<(String, PublicKey)>,
    needed: usize,
}

impl Trust {
    /// Reads every `*.pub` of `folder`. A folder that is not there has no keys. `needed` of
    /// the keys must have signed, at least one.
    ///
    /// # Errors
    /// [`PackageError::Key`] for a key that cannot be read: it may be the one that is meant
    /// to be trusted.
    pub fn read(folder: &Path, needed: usize) -> Result<Trust, PackageError> {
        let mut files = match std::fs::read_dir(folder) {
            Ok(entries) => entries
                .map(|entry| entry.map(|entry| entry.path()))
                .collect::<Result<Vec<PathBuf>, _>>()
                .map_err(PackageError::Unreadable)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                return Err(PackageError::Key {
                    file: folder.to_owned(),
                    reason: error.to_string(),
                });
            }
        };
        files.retain(|file| file.extension().is_some_and(|extension| extension == "pub"));
        files.sort();
        files.truncate(MAX_KEYS);
        let mut keys: Vec<(String, PublicKey)> = Vec::new();
        for file in &files {
            let (text, key) = read_key(file)?;
            // The same key in two files must not count twice.
            if keys.iter().all(|(known, _)| *known != text) {
                keys.push((text, key));
            }
        }
        Ok(Trust { folder: folder.to_owned(), keys, needed: needed.max(1) })
    }

    /// The keys in base64, as they stand in their files.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|(text, _)| text.as_str())
    }

    /// Checks that enough different keys have signed `manifest`; returns how many.
    ///
    /// # Errors
    /// [`PackageError::NoKeys`], [`PackageError::Unsigned`], [`PackageError::Untrusted`] or
    /// [`PackageError::TooFewSignatures`].
    pub fn verify(&self, manifest: &[u8], signatures: &str) -> Result<usize, PackageError> {
        if self.keys.is_empty() {
            return Err(PackageError::NoKeys { folder: self.folder.clone() });
        }
        let signatures = parse(signatures)?;
        if signatures.is_empty() {
            return Err(PackageError::Unsigned);
        }
        let signed = |key: &PublicKey| {
            signatures.iter().any(|signature| key.verify(manifest, signature, false).is_ok())
        };
        let count = self.keys.iter().filter(|(_, key)| signed(key)).count();
        match count {
            0 => Err(PackageError::Untrusted { folder: self.folder.clone() }),
            count if count < self.needed => {
                Err(PackageError::TooFewSignatures { found: count, needed: self.needed })
            }
            count => Ok(count),
        }
    }
}

impl Trust {
    /// Checks the manifest and the signatures of an unpacked bundle.
    ///
    /// # Errors
    /// As [`Trust::verify`]; [`PackageError::Manifest`] if there is no manifest.
    pub fn verify_folder(&self, dir: &Path) -> Result<usize, PackageError> {
        let manifest = files::read_manifest(dir).map_err(PackageError::Manifest)?;
        let mut signatures = String::new();
        match File::open(dir.join(SIGNATURES)) {
            Ok(file) => file
                .take(MAX_SIGNATURES_BYTES)
                .read_to_string(&mut signatures)
                .map_err(PackageError::Unreadable)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
            Err(error) => return Err(PackageError::Unreadable(error)),
        };
        self.verify(&manifest, &signatures)
    }
}

fn parse(text: &str) -> Result<Vec<Signature>, PackageError> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let malformed =
        |reason: &str| PackageError::Malformed { reason: format!("{SIGNATURES}: {reason}") };
    if !lines.len().is_multiple_of(SIGNATURE_LINES)
        || lines.len() / SIGNATURE_LINES > MAX_SIGNATURES
    {
        return Err(malformed("expected one to eight signatures of four lines each"));
    }
    lines
        .chunks(SIGNATURE_LINES)
        .map(|lines| Signature::decode(&lines.join("\n")).map_err(|e| malformed(&e.to_string())))
        .collect()
}

fn read_key(file: &Path) -> Result<(String, PublicKey), PackageError> {
    let failed = |reason: String| PackageError::Key { file: file.to_owned(), reason };
    let mut text = String::new();
    File::open(file)
        .and_then(|opened| opened.take(MAX_KEY_BYTES).read_to_string(&mut text))
        .map_err(|error| failed(error.to_string()))?;
    let key = PublicKey::decode(&text).map_err(|error| failed(error.to_string()))?;
    let base64 = text.lines().nth(1).unwrap_or_default().trim().to_owned();
    Ok((base64, key))
}
