//! The quarantine: what was refused, why, and which files it was. The files themselves stay
//! in the export folder, which is never changed.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

use log::error;

use super::site::Site;
use crate::config;

/// Writes `<store>/quarantine/<study>-r<n>.json`, readable by the daemon alone because file
/// names may name a patient. A failure is logged: the refusal itself is in the store.
pub fn put(site: &Site, key: &str, revision: u32, code: &str, detail: &str, files_json: &str) {
    let folder = site.quarantine();
    let files: serde_json::Value = serde_json::from_str(files_json).unwrap_or_default();
    let document = serde_json::json!({
        "study_key": key, "revision": revision, "code": code, "detail": detail, "files": files,
    });
    let path = folder.join(format!("{}.json", config::result_name(key, revision)));
    let written = fs::create_dir_all(&folder)
        .and_then(|()| {
            OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&path)
        })
        .and_then(|mut file| file.write_all(format!("{document:#}\n").as_bytes()));
    if let Err(error) = written {
        error!(STUDY_KEY = key; "the quarantine cannot be written: {error}");
    }
}
