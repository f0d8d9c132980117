//! The site key: whole, private, and the one that the store's studies are named with.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::finding::Finding;
use crate::config::Config;
use crate::daemon::{self, KeyUse};
use crate::store::Store;

/// Hex digits of a site key.
const SITE_KEY_DIGITS: usize = 64;

/// What the site key's file looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyFacts {
    /// The file.
    pub file: PathBuf,
    /// Its permission bits; or why it is no key. What is not as a key is written is invalid data.
    pub found: Result<u32, io::ErrorKind>,
    /// How it stands to the store's studies; `None` if the store cannot be read.
    pub used: Option<KeyUse>,
    /// Why no file can be made there, if none can.
    pub barred: Option<String>,
}

/// Looks at the site key without keeping it.
pub(crate) fn look_at_key(config: &Config) -> KeyFacts {
    let file = config.device.site_key_file.clone();
    let text = std::fs::read_to_string(&file).map(|text| text.trim().to_owned());
    let looked = std::fs::metadata(&file).and_then(|meta| match &text {
        Ok(text) if daemon::is_site_key(text) => Ok(meta.permissions().mode() & 0o777),
        Ok(_) => Err(io::ErrorKind::InvalidData.into()),
        Err(error) => Err(error.kind().into()),
    });
    let database = config.store.database();
    let used = match database.is_file() {
        true => Store::open_read_only(&database)
            .and_then(|store| daemon::key_use(text.as_deref().ok(), &store))
            .ok(),
        false => Some(KeyUse::None),
    };
    let barred = file.parent().and_then(super::filesystem::cannot_be_made);
    KeyFacts { file, found: looked.map_err(|error| error.kind()), used, barred }
}

/// Study keys are made with it.
pub(crate) fn site_key(facts: &KeyFacts) -> Finding {
    let name = "site_key";
    let KeyFacts { file, found, used, barred } = facts;
    let file = file.display();
    let restore = "restore it from its copy, or move the store away to begin anew: the daemon \
                   waits until then";
    match (found, used) {
        (Err(io::ErrorKind::NotFound), Some(KeyUse::None)) if barred.is_some() => Finding::fail(
            name,
            format!(
                "{file}: none yet, and none can be made: {}",
                barred.as_deref().unwrap_or_default()
            ),
            "make its folder for the user hepalert, or correct device.site_key_file",
        ),
        (Err(io::ErrorKind::NotFound), Some(KeyUse::None)) => {
            Finding::ok(name, format!("{file}: none yet, the daemon makes it"))
                .with("keep a copy of it: with another key a study gets another name")
        }
        (Err(io::ErrorKind::NotFound), Some(KeyUse::This | KeyUse::Another)) => Finding::fail(
            name,
            format!("{file}: it is missing, and the store knows studies that are named with it"),
            restore,
        ),
        (Err(io::ErrorKind::NotFound), None) => Finding::warn(
            name,
            format!("{file}: it is missing; whether the store needs it cannot be told"),
            "run doctor with sudo, or as the user hepalert",
        ),
        (Err(io::ErrorKind::InvalidData), _) => Finding::fail(
            name,
            format!("{file}: it is damaged: a site key is {SITE_KEY_DIGITS} hex digits"),
            "restore the right one from its copy",
        ),
        (Err(io::ErrorKind::IsADirectory), _) => Finding::fail(
            name,
            format!("{file}: it is a folder"),
            "name the file of the site key in device.site_key_file",
        ),
        (Err(kind), _) => Finding::fail(
            name,
            format!("{file}: it cannot be read ({kind})"),
            "run doctor with sudo, or as the user hepalert",
        ),
        (Ok(_), Some(KeyUse::Another)) => Finding::fail(
            name,
            format!("{file}: the store's studies are named with another key"),
            restore,
        ),
        (Ok(mode), _) if mode & 0o077 != 0 => Finding::warn(
            name,
            format!("{file}: others can read it (mode {mode:04o})"),
            "run `sudo chmod 600` on it: who has it can find out whose study is which",
        ),
        (Ok(_), _) => Finding::ok(name, format!("{file}: whole and private")),
    }
}
