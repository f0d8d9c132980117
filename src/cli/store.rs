//! The store of a daemon and the key that its studies are named with, as commands open them.

use std::io::ErrorKind;
use std::path::Path;

use jiff::Timestamp;

use super::engines::with_rights;
use super::{Exit, Failure};
use crate::config::Config;
use crate::daemon;
use crate::store::Store;
use hepalert_study::study::StudyKey;

/// A study key on the command line.
pub(super) fn parse_key(text: &str) -> Result<StudyKey, String> {
    StudyKey::new(text).ok_or_else(|| "expected 32 digits of 0-9 and a-f".to_owned())
}

/// Opens the store of a configuration for reading.
pub(super) fn open(config: &Path) -> Result<Store, Failure> {
    open_store(&super::run::read(config)?.store.database())
}

/// Opens the store to change it, once it has been read without a fault: a damaged one would be moved
/// away, which is for the daemon to do.
pub(super) fn open_to_write(file: &Path) -> Result<Store, Failure> {
    open_store(file)?;
    Ok(Store::open(file, Timestamp::now()).map_err(Failure::failed)?.store)
}

/// The key that studies are named with.
pub(super) fn site_key(config: &Config) -> Result<String, Failure> {
    let file = &config.device.site_key_file;
    daemon::read_site_key(file).map_err(|reason| {
        let advice = match reason.kind() {
            ErrorKind::NotFound if config.store.database().is_file() => {
                "restore it from its copy: the store may know studies that are named with it"
            }
            ErrorKind::NotFound => "the daemon makes it at its first start",
            ErrorKind::InvalidData => "it is damaged: restore it from its copy",
            _ => "run this with sudo, or as the user hepalert",
        };
        let what = match reason.kind() {
            ErrorKind::NotFound => "is not there".to_owned(),
            ErrorKind::PermissionDenied => "may not be read".to_owned(),
            _ => format!("cannot be read ({reason})"),
        };
        let error = anyhow::anyhow!("{}: the site key {what}; {advice}", file.display());
        let is_gone = matches!(reason.kind(), ErrorKind::NotFound | ErrorKind::InvalidData);
        Failure::failed(error).with_code(if is_gone { "site_key_missing" } else { "unreadable" })
    })
}

/// Opens a store that is there, for reading alone.
pub(super) fn open_store(file: &Path) -> Result<Store, Failure> {
    // Opened and not only looked at: who may see a file may not always read it.
    let error = match std::fs::File::open(file).and_then(|file| file.metadata()) {
        Ok(facts) if facts.is_file() => {
            return Store::open_read_only(file).map_err(Failure::failed);
        }
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            anyhow::anyhow!("{}: you may not look there{}", file.display(), with_rights(&error))
        }
        _ => anyhow::anyhow!("{}: no store yet; has the daemon run?", file.display()),
    };
    Err(Failure::new(Exit::Failed, error))
}
