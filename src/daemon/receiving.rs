//! Images that come by DICOM: the receiver as configured, and the cleaning of its spool.
//!
//! Owns when a received image may go: once it is old enough for late series to have come, or where nobody
//! waits for those once its report is stored, and no study that is still to be read needs it. Refuses to
//! look into images.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use log::{info, warn};

use super::archives::target_of;
use super::site::Site;
use crate::config::{Config, Dicom};
use crate::dicom::Receiver;
use crate::dicom::receiver::{ReceiveError, ReceiverParams};
use crate::dicom::tls::ServerTls;
use crate::intake::StudyFiles;
use crate::store::StoreError;
use hepalert_failpoint::hastened;

/// What has no report is kept so long at least: a study is taken as it is well before
/// (`intake.force_complete_s`), and one that failed can be put back.
const UNREPORTED: Duration = Duration::from_secs(3600);

/// Starts to listen, where that is configured.
///
/// # Errors
/// [`ReceiveError`].
pub(crate) fn start(config: &Config) -> Result<Option<Receiver>, ReceiveError> {
    params(config).map(Receiver::start).transpose()
}

/// Certificate and key of the receiver as configured.
pub(crate) fn server_tls(dicom: &Dicom) -> Option<ServerTls> {
    let files = dicom.server_cert_file.clone().zip(dicom.server_key_file.clone());
    let ca_file = dicom.client_ca_file.clone();
    files.map(|(cert_file, key_file)| ServerTls { cert_file, key_file, ca_file })
}

fn params(config: &Config) -> Option<ReceiverParams> {
    let dicom = &config.dicom;
    Some(ReceiverParams {
        listen: dicom.listen?,
        ae_title: dicom.ae_title.clone(),
        allow_ae: dicom.allow_ae.clone(),
        allow_address: dicom.allow_address.clone(),
        max_associations: dicom.max_associations,
        max_instance_bytes: dicom.max_instance_mib << 20,
        patience: Duration::from_secs(dicom.timeout_s),
        tls: server_tls(dicom),
        incoming: config.store.incoming(),
        spool: config.store.spool(),
        storage_commitment: dicom.storage_commitment,
        commitments: config.store.commitments(),
        min_free_bytes: config.store.min_free_mib << 20,
        peers: dicom.target.iter().map(|target| target_of(config, target)).collect(),
    })
}

/// Removes received images that are no longer needed.
///
/// # Errors
/// If the store does not say what is still needed; then nothing was removed.
pub(crate) fn clean(site: &Site) -> Result<(), StoreError> {
    let folders = folders(&site.config.store.spool());
    let Some(oldest) = folders.iter().map(|(_, changed)| *changed).min() else { return Ok(()) };
    let keep_h = site.config.dicom.spool_keep_h;
    let keep = hastened(Duration::from_secs(3600 * u64::from(keep_h)).max(UNREPORTED));
    let mut going = older(&folders, keep);
    if keep_h == 0 {
        let since = Timestamp::try_from(oldest).unwrap_or(Timestamp::UNIX_EPOCH);
        let reported = named(&site.store.files_reported(since)?);
        going.extend(wholly_in(&folders, &reported));
    }
    if going.is_empty() {
        return Ok(());
    }
    let needed = named(&site.store.files_in_use()?);
    let removed = clean_folders(&going, &site.config.store.incoming(), &needed);
    if removed > 0 {
        info!("{removed} received images were no longer needed");
    }
    Ok(())
}

/// The files of these studies.
fn named(studies: &[String]) -> BTreeSet<PathBuf> {
    let read = studies.iter().filter_map(|text| serde_json::from_str::<StudyFiles>(text).ok());
    read.flat_map(|study| study.files().map(Path::to_owned).collect::<Vec<_>>()).collect()
}

/// Each association's folder, and when something was last put into it.
fn folders(spool: &Path) -> Vec<(PathBuf, SystemTime)> {
    let entries = fs::read_dir(spool).into_iter().flatten().flatten();
    let folder = |path: PathBuf| {
        let facts = fs::metadata(&path).ok().filter(fs::Metadata::is_dir)?;
        Some((path, facts.modified().ok()?))
    };
    entries.filter_map(|entry| folder(entry.path())).collect()
}

/// Those that nothing was put into for so long.
fn older(folders: &[(PathBuf, SystemTime)], keep: Duration) -> BTreeSet<PathBuf> {
    let now = SystemTime::now();
    let is_old = |at: &SystemTime| now.duration_since(*at).is_ok_and(|age| age > keep);
    let old = folders.iter().filter(|(_, changed)| is_old(changed));
    old.map(|(path, _)| path.clone()).collect()
}

fn inside(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// Those that hold nothing but images whose report is stored: what else lies in one may be a study that is
/// still coming.
fn wholly_in<'a>(
    folders: &'a [(PathBuf, SystemTime)],
    reported: &'a BTreeSet<PathBuf>,
) -> impl Iterator<Item = PathBuf> + 'a {
    let is_reported = |path: &&PathBuf| {
        let files = inside(path);
        !files.is_empty() && files.iter().all(|file| reported.contains(file))
    };
    folders.iter().map(|(path, _)| path).filter(is_reported).cloned()
}

/// Each goes at once, out of the watched spool to `aside`: no half of one is ever seen, and none is left
/// where the device stops in between (the receiver sweeps that folder at its start).
fn clean_folders(folders: &BTreeSet<PathBuf>, aside: &Path, needed: &BTreeSet<PathBuf>) -> usize {
    let mut removed = 0;
    for folder in folders {
        let files = inside(folder);
        // An association is one study nearly always: all of it goes, or nothing.
        if files.iter().any(|path| needed.contains(path)) {
            continue;
        }
        let Some(name) = folder.file_name() else { continue };
        let going = aside.join(name);
        match fs::rename(folder, &going).and_then(|()| fs::remove_dir_all(&going)) {
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
        let [spool, aside] = ["spool", "incoming"].map(|name| dir.path().join(name));
        fs::create_dir(&aside).unwrap();
        let put = |name: &str| {
            let folder = spool.join(name);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("000001.dcm"), b"x").unwrap();
            folder.join("000001.dcm")
        };
        let (needed, done) = (put("1"), put("2"));
        let hour = Duration::from_secs(3600);
        let clean = |needed: &BTreeSet<PathBuf>, keep| {
            clean_folders(&older(&folders(&spool), keep), &aside, needed)
        };
        assert_eq!(clean(&BTreeSet::new(), hour), 0, "young");
        std::thread::sleep(Duration::from_millis(20));
        let kept = BTreeSet::from([needed.clone()]);
        assert_eq!(clean(&kept, Duration::from_millis(5)), 1);
        assert!(needed.exists() && !done.exists());
        assert_eq!(fs::read_dir(&aside).unwrap().count(), 0);
    }
    #[test]
    fn what_is_reported_goes_at_once_unless_something_else_lies_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let put = |path: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, b"x").unwrap();
            path
        };
        let reported = ["1/a", "1/b", "2/a"].map(put);
        put("2/coming");
        put("3/coming");
        let reported = BTreeSet::from(reported);
        let all = folders(dir.path());
        let going: Vec<PathBuf> = wholly_in(&all, &reported).collect();
        assert_eq!(going, [dir.path().join("1")]);
    }
}
