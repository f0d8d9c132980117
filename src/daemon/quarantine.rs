//! The quarantine: what was refused, why, and which files it was. The files themselves stay
//! in the export folder, which is never changed.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use log::error;

use super::site::Site;
use hepalert_study::result::result_name;

/// Names listed of one study; of more only the number is: a person reads this.
const MAX_LISTED: usize = 1000;

/// A study that was refused.
pub(super) struct Refused<'a> {
    /// The study's key.
    pub key: &'a str,
    /// Its revision.
    pub revision: u32,
    /// The reason's code.
    pub code: &'a str,
    /// A sentence.
    pub detail: &'a str,
    /// Its files.
    pub files: &'a [PathBuf],
}

/// Writes `<store>/quarantine/<study>-r<n>.json`, readable by the daemon alone because file
/// names may name a patient. A failure is logged: the refusal itself is in the store.
pub(super) fn put(site: &Site, refused: &Refused<'_>) {
    let Refused { key, revision, code, detail, files } = *refused;
    let folder = site.quarantine();
    let listed: Vec<_> = files.iter().take(MAX_LISTED).map(|file| file.to_string_lossy()).collect();
    let document = serde_json::json!({
        "study_key": key, "revision": revision, "code": code, "detail": detail,
        "files": listed, "files_total": files.len(),
    });
    let path = folder.join(format!("{}.json", result_name(key, revision)));
    let written = fs::create_dir_all(&folder)
        .and_then(|()| {
            OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&path)
        })
        .and_then(|mut file| file.write_all(format!("{document:#}\n").as_bytes()));
    if let Err(error) = written {
        error!(STUDY_KEY = key; "the quarantine cannot be written: {error}");
    }
}
