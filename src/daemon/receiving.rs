//! Images that come by DICOM: the receiver as configured, and the cleaning of its spool.
//!
//! Owns when a received image may go: once it is old enough for late series to have come, and no study
//! that is still to be read needs it. Refuses to look into images.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use log::{info, warn};

use super::site::Site;
use crate::config::{Config, Dicom};
use crate::dicom::Receiver;
use crate::dicom::receiver::{Params, ReceiveError};
use crate::dicom::tls::ServerTls;
use crate::intake::StudyFiles;
use crate::store::StoreError;
use hepalert_failpoint::hastened;

/// Starts to listen, where that is configured.
///
/// # Errors
/// [`ReceiveError`].
pub fn start(config: &Config) -> Result<Option<Receiver>, ReceiveError> {
    params(config).map(Receiver::start).transpose()
}

/// Certificate and key of the receiver as configured.
pub fn server_tls(dicom: &Dicom) -> Option<ServerTls> {
    let files = dicom.server_cert_file.clone().zip(dicom.server_key_file.clone());
    let ca_file = dicom.client_ca_file.clone();
    files.map(|(cert_file, key_file)| ServerTls { cert_file, key_file, ca_file })
}

fn params(config: &Config) -> Option<Params> {
    let dicom = &config.dicom;
    Some(Params {
        // A configuration that was read has none that cannot be.
        listen: dicom.listen.as_ref()?.parse().ok()?,
        ae_title: dicom.ae_title.clone(),
        allow_ae: dicom.allow_ae.clone(),
        allow_address: dicom.allow_address.iter().filter_map(|text| text.parse().ok()).collect(),
        max_associations: dicom.max_associations,
        max_instance_bytes: dicom.max_instance_mib << 20,
        patience: Duration::from_secs(dicom.timeout_s),
        tls: server_tls(dicom),
        incoming: config.store.incoming(),
        spool: config.store.spool(),
        min_free_bytes: config.store.min_free_mib << 20,
    })
}

/// Removes received images that are no longer needed.
///
/// # Errors
/// If the store does not say what is still needed; then nothing was removed.
pub fn clean(site: &Site) -> Result<(), StoreError> {
    let spool = site.config.store.spool();
    if !spool.is_dir() {
        return Ok(());
    }
    let keep = hastened(Duration::from_secs(3600 * u64::from(site.config.dicom.spool_keep_h)));
    let old = old_folders(&spool, keep);
    if old.is_empty() {
        return Ok(());
    }
    let removed = clean_folders(&old, &needed(&site.store.files_in_use()?));
    if removed > 0 {
        info!("{removed} received images were no longer needed");
    }
    Ok(())
}

/// The files of studies that are to be read.
fn needed(files: &[String]) -> BTreeSet<PathBuf> {
    let read = files.iter().filter_map(|text| serde_json::from_str::<StudyFiles>(text).ok());
    read.flat_map(|study| study.files().map(Path::to_owned).collect::<Vec<_>>()).collect()
}

/// The folders that nothing was put into for so long.
fn old_folders(spool: &Path, keep: Duration) -> Vec<PathBuf> {
    let now = SystemTime::now();
    let is_old = |path: &Path| {
        let changed = fs::metadata(path).and_then(|facts| facts.modified());
        changed.is_ok_and(|at| now.duration_since(at).is_ok_and(|age| age > keep))
    };
    let folders = fs::read_dir(spool).into_iter().flatten().flatten().map(|entry| entry.path());
    folders.filter(|path| path.is_dir() && is_old(path)).collect()
}

fn clean_folders(folders: &[PathBuf], needed: &BTreeSet<PathBuf>) -> usize {
    let mut removed = 0;
    for folder in folders {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        // An association is one study nearly always: all of it goes, or nothing.
        if files.iter().any(|path| needed.contains(path)) {
            continue;
        }
        match fs::remove_dir_all(folder) {
            Ok(()) => removed += files.len(),
            Err(error) => warn!("received images cannot be removed: {error}"),
        }
    }
    removed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_or_young_stays() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str| {
            let folder = dir.path().join(name);
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join("000001.dcm"), b"x").unwrap();
            folder.join("000001.dcm")
        };
        let (needed, done) = (put("1"), put("2"));
        let hour = Duration::from_secs(3600);
        let clean = |needed: &BTreeSet<PathBuf>, keep| {
            clean_folders(&old_folders(dir.path(), keep), needed)
        };
        assert_eq!(clean(&BTreeSet::new(), hour), 0, "young");
        std::thread::sleep(Duration::from_millis(20));
        let kept = BTreeSet::from([needed.clone()]);
        assert_eq!(clean(&kept, Duration::from_millis(5)), 1);
        assert!(needed.exists() && !done.exists());
    }
}
