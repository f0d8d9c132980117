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

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn of_many_files_a_thousand_are_named_and_all_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        let mut site = Site::of_test(dir.path());
        site.config.store.folder = dir.path().to_owned();
        let files: Vec<PathBuf> = (0..1001).map(|n| format!("/export/{n:04}").into()).collect();
        let (key, code, detail) = ("0123456789abcdef", "no_liver", "no liver was found");
        put(&site, &Refused { key, revision: 2, code, detail, files: &files });
        let path = site.quarantine().join(format!("{}.json", result_name(key, 2)));
        let told: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let named = told["files"].as_array().unwrap();
        assert_eq!((named.len(), &told["files_total"]), (1000, &1001.into()));
        assert_eq!((&named[0], &named[999]), (&"/export/0000".into(), &"/export/0999".into()));
        assert_eq!((&told["code"], &told["revision"]), (&"no_liver".into(), &2.into()));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o077, 0);
    }
}
