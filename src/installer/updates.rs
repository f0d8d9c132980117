//! The update folder: which packed engine in it is to be installed next. Files are read and
//! never changed; a USB stick may be mounted there, or nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use jiff::Timestamp;
use log::{info, warn};
use sha2::{Digest, Sha256};

use super::{InstallPolicy, Installer, Opened};
use hepalert_bundles::package::EXTENSION;
use hepalert_bundles::refused::PackageError;
use hepalert_bundles::signature::Trust;
use hepalert_bundles::slots::{Objection, Refusal, SlotsError};
use hepalert_study::digest::hex;
use hepalert_study::phase::Setting;

/// Entries of the folder looked at: it is for updates, not an archive.
const MAX_FILES: usize = 100;

/// What is remembered from one look to the next.
#[derive(Debug, Default)]
pub(crate) struct Updates {
    before: BTreeMap<PathBuf, (u64, SystemTime)>,
}

impl Updates {
    /// Looks into the folder and stages the newest engine in it, if there is one that was not
    /// judged before for the keys of `trust`. A file counts once its length and time are the
    /// same in two looks. Refusals are noted in the slots' state. `otherwise` is for
    /// [`Installer::policy`], which only a file to be judged needs.
    ///
    /// # Errors
    /// [`SlotsError`].
    pub(crate) fn look(
        &mut self,
        folder: &Path,
        installer: &Installer,
        trust: Trust,
        otherwise: Option<Setting>,
    ) -> Result<(), SlotsError> {
        let now = files(folder);
        let still = |(path, facts): (&PathBuf, &(u64, SystemTime))| {
            (self.before.get(path) == Some(facts)).then(|| path.clone())
        };
        let settled: Vec<PathBuf> = now.iter().filter_map(still).collect();
        let state = installer.slots().state()?;
        let unseen: Vec<(String, PathBuf)> = settled
            .into_iter()
            .map(|path| (name(&path, now[&path], &trust), path))
            .filter(|(name, _)| !state.seen.contains(name))
            .collect();
        self.before = now;
        if unseen.is_empty() {
            return Ok(());
        }
        let policy = installer.policy(trust, otherwise);
        let found = unseen.into_iter();
        let found =
            found.map(|(name, path)| Found { package: policy.open(&path), path, name }).collect();
        for found in newest_first(found) {
            if stage(found, installer, &policy)? {
                break;
            }
        }
        Ok(())
    }
}

/// Packed engines in the folder. No folder, no stick: nothing.
fn files(folder: &Path) -> BTreeMap<PathBuf, (u64, SystemTime)> {
    let Ok(entries) = fs::read_dir(folder) else { return BTreeMap::new() };
    let wanted = |path: &PathBuf| {
        let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
        !hidden && path.extension().is_some_and(|extension| extension == EXTENSION)
    };
    let paths = entries.flatten().map(|entry| entry.path()).filter(wanted).take(MAX_FILES);
    paths
        .filter_map(|path| {
            let facts = fs::metadata(&path).ok().filter(fs::Metadata::is_file)?;
            Some((path, (facts.len(), facts.modified().ok()?)))
        })
        .collect()
}

/// Names the file as it is, for the keys and the program as they are: when any of them
/// changes, it is judged again.
fn name(path: &Path, (bytes, changed): (u64, SystemTime), trust: &Trust) -> String {
    let mut hash = Sha256::new();
    let mut add = |part: &[u8]| {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    };
    add(path.as_os_str().as_encoded_bytes());
    add(&bytes.to_be_bytes());
    let since = changed.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    add(&since.as_nanos().to_be_bytes());
    trust.keys().for_each(|key| add(key.as_bytes()));
    add(env!("CARGO_PKG_VERSION").as_bytes());
    hex(&hash.finalize()[..16])
}

/// A file of the folder that was not judged before, opened.
struct Found {
    path: PathBuf,
    name: String,
    package: Result<Opened, PackageError>,
}

/// Files whose front cannot be believed come last: they are only refused.
fn newest_first(mut found: Vec<Found>) -> Vec<Found> {
    let version =
        |found: &Found| found.package.as_ref().map_or(0, |package| package.bundle().version());
    found.sort_by_key(|found| std::cmp::Reverse(version(found)));
    found
}

/// Stages one file; true if nothing else is to be looked at now.
fn stage(found: Found, installer: &Installer, policy: &InstallPolicy) -> Result<bool, SlotsError> {
    let Found { path, name, package } = found;
    let now = Timestamp::now();
    let (shown, slots) = (path.display(), installer.slots());
    let staged = match package {
        Ok(package) => installer.stage(package, policy, false, now),
        Err(error) => Err(error.into()),
    };
    match staged {
        Ok(slot) => {
            info!("{shown}: staged in slot {}", slot.name());
            slots.change(|state| state.see(name))?;
            Ok(true)
        }
        Err(Refusal::Objection(Objection::OnProbation { .. }) | Refusal::UnderWay) => Ok(true),
        Err(Refusal::Objection(Objection::Installed { .. })) => {
            slots.change(|state| state.see(name))?;
            Ok(false)
        }
        Err(Refusal::Package(PackageError::Unreadable(error))) => {
            // A stick that is being pulled out; or a disk that is full.
            warn!("{shown}: cannot be taken now: {error}");
            Ok(false)
        }
        Err(Refusal::Slots(error)) => Err(error),
        Err(refusal) => {
            warn!("{shown}: refused ({}): {refusal}", refusal.code());
            slots.change(|state| {
                if !state.see(name) {
                    state.refused(None, refusal.code(), now);
                }
            })?;
            Ok(false)
        }
    }
}
