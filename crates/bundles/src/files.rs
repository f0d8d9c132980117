//! Reading the files of a bundle: only inside its folder, only what the manifest promises.

use std::fs::File;
use std::io::{ErrorKind, Read, Take};
use std::path::{Component, Path};

use hepalert_study::digest::hex;
use hepalert_study::system;
use sha2::{Digest, Sha256};

use hepalert_engines::EngineError;

use super::MANIFEST;

/// A manifest is a page of text; a training record may add some.
pub(super) const MAX_MANIFEST_BYTES: u64 = 4 << 20;
/// The largest nnU-Net (ResEnc XL) has 0.4 GB of f32 weights; ONNX itself ends at 2 GiB.
pub(super) const MAX_FILE_BYTES: u64 = 2 << 30;
/// Read buffer while hashing.
const CHUNK_BYTES: usize = 1 << 20;

/// A file that a manifest names, with the length and hash it must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleFile {
    path: String,
    sha256: String,
    bytes: u64,
}

impl BundleFile {
    /// `path` relative to the bundle, `sha256` as 64 lower-case hex digits.
    ///
    /// # Errors
    /// A sentence, if the path leaves the bundle, the hash is no hash or the file too big.
    pub fn new(path: &str, sha256: &str, bytes: u64) -> Result<BundleFile, String> {
        let plain = |part: Component<'_>| matches!(part, Component::Normal(_));
        if path.is_empty() || path.contains('\\') || !Path::new(path).components().all(plain) {
            return Err(format!("path `{path}` must stay inside the bundle"));
        }
        let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        if sha256.len() != 64 || !sha256.chars().all(hex) {
            return Err(format!("`{path}`: sha256 must be 64 lower-case hex digits"));
        }
        if bytes > MAX_FILE_BYTES {
            return Err(format!("`{path}`: {bytes} bytes are more than {MAX_FILE_BYTES}"));
        }
        Ok(BundleFile { path: path.to_owned(), sha256: sha256.to_owned(), bytes })
    }

    /// The path relative to the bundle.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The SHA-256 it must have, in hex.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// The length it must have.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// An error that names this file.
    pub(super) fn error(&self, reason: impl ToString) -> EngineError {
        EngineError::File { file: self.path.clone(), reason: reason.to_string() }
    }

    /// Checks length and hash without keeping the content.
    pub(super) fn check(&self, dir: &Path) -> Result<(), EngineError> {
        let mut file = self.open(dir)?;
        let mut hash = Sha256::new();
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let count = file.read(&mut chunk).map_err(|error| self.error(error))?;
            if count == 0 {
                break;
            }
            hash.update(&chunk[..count]);
        }
        self.compare(&hex(&hash.finalize()))
    }

    /// Reads the file and checks what was read.
    pub(super) fn read(&self, dir: &Path) -> Result<Vec<u8>, EngineError> {
        let mut bytes = Vec::new();
        self.open(dir)?.read_to_end(&mut bytes).map_err(|error| self.error(error))?;
        self.compare(&sha256_hex(&bytes))?;
        Ok(bytes)
    }

    /// Reads `count` little-endian `f32`.
    pub(super) fn read_f32(&self, dir: &Path, count: usize) -> Result<Vec<f32>, EngineError> {
        if self.bytes != count as u64 * 4 {
            let reason = format!("{} bytes, but its shape needs {} bytes", self.bytes, count * 4);
            return Err(self.error(reason));
        }
        let bytes = self.read(dir)?;
        let (words, _) = bytes.as_chunks::<4>();
        Ok(words.iter().map(|word| f32::from_le_bytes(*word)).collect())
    }

    /// Opens the file, bounded to its promised length.
    fn open(&self, dir: &Path) -> Result<Take<File>, EngineError> {
        let file = File::open(dir.join(&self.path)).map_err(|error| self.error(error))?;
        let found = file.metadata().map_err(|error| self.error(error))?.len();
        if found != self.bytes {
            let reason = format!("{found} bytes, the manifest promises {}", self.bytes);
            return Err(self.error(reason));
        }
        Ok(file.take(self.bytes))
    }

    fn compare(&self, found: &str) -> Result<(), EngineError> {
        if found == self.sha256 {
            return Ok(());
        }
        Err(self.error(format!("its SHA-256 is {found}, the manifest promises {}", self.sha256)))
    }
}

/// The manifest's bytes.
pub(super) fn read_manifest(dir: &Path) -> Result<Vec<u8>, EngineError> {
    let failed = |reason: String| EngineError::File {
        file: dir.join(MANIFEST).display().to_string(),
        reason,
    };
    let file = File::open(dir.join(MANIFEST)).map_err(|error| match error.kind() {
        ErrorKind::NotFound => EngineError::NoBundle(dir.display().to_string()),
        _ => failed(system::reason(&error)),
    })?;
    let mut bytes = Vec::new();
    let mut bounded = file.take(MAX_MANIFEST_BYTES + 1);
    bounded.read_to_end(&mut bytes).map_err(|error| failed(system::reason(&error)))?;
    if bytes.len() as u64 > MAX_MANIFEST_BYTES {
        return Err(failed(format!("larger than {MAX_MANIFEST_BYTES} bytes")));
    }
    Ok(bytes)
}

/// SHA-256 in lower-case hex.
pub(super) fn sha256_hex(bytes: &[u8]) -> String {
    hepalert_study::digest::Digest::of(bytes).hex()
}
