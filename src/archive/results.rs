//! The folder of results: of one list and one configuration, one folder a study.
//!
//! Owns what is in it. `archive.json` says of what it is; below `studies/` a study has a folder
//! named by its key, in it `report/` as `analyze` writes it, or `outcome.json` where it was refused or
//! failed. Everything is written under another name, synced and renamed. What is there and is not of
//! this list and configuration is told and left as it is.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::list::{Entry, Reason};
use super::{ArchiveError, Code};
use crate::analyze::{Settings, pipeline_fingerprint};
use crate::intake::Digest;
use crate::report::output::{self, BEGINNING, DRAFT, OutputError, REPORT, report_of};
use crate::report::types::Report;
use hepalert_bundles::{Bundle, MANIFEST};
use hepalert_engines::EngineError;
use hepalert_study::study::StudyKey;

const SCHEMA: &str = "urn:hepalert:v1:archive";
const BOUND: &str = "archive.json";
/// Our own records are a few KiB.
const MAX_RECORD_BYTES: u64 = 1 << 20;
const OUTCOME: &str = "outcome.json";
const FOLDER: &str = "report";
/// What a folder of results is of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Bound {
    schema: String,
    /// SHA-256 of the list.
    pub list_sha256: Digest,
    /// Studies of the list.
    pub studies: usize,
    /// SHA-256 over everything besides the studies that determines a result, refusals included.
    pub configuration: Digest,
    /// The pipelines whose reports are results here.
    pub pipelines: Vec<String>,
    /// The engines, first the one that is asked first.
    pub engines: Vec<EngineName>,
    /// Version of the program that began it.
    pub version: String,
}

/// An engine, by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EngineName {
    /// The bundle's id.
    pub id: String,
    /// Its version.
    pub version: u32,
    /// SHA-256 of its manifest.
    pub sha256: String,
}

impl std::fmt::Display for EngineName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.id, self.version)
    }
}

impl Bound {
    /// Of a list and settings; no network is loaded.
    ///
    /// # Errors
    /// [`EngineError`] of a bundle that cannot be opened.
    pub(crate) fn new(
        list: Digest,
        studies: usize,
        settings: &Settings,
    ) -> Result<Bound, EngineError> {
        let bundles: Vec<Bundle> =
            settings.bundles().map(|folder| Bundle::open(folder)).collect::<Result<_, _>>()?;
        let phases = settings.phase_bundle.as_ref().and_then(|dir| manifest_of(dir));
        let recogniser = phases.map(|manifest| manifest.hex());
        let of = |bundle| pipeline_fingerprint(settings, bundle, recogniser.as_deref());
        let pipelines: Vec<String> = bundles.iter().map(of).collect();
        let engines = bundles.iter().map(|bundle| EngineName {
            id: bundle.id().to_owned(),
            version: bundle.version(),
            sha256: bundle.fingerprint().to_owned(),
        });
        let words = format!(
            "{}\n{phases:?}\n{:?}\n{}\n{}\n",
            pipelines.join("\n"),
            settings.gate,
            settings.memory_budget_bytes,
            settings.keep_margin,
        );
        Ok(Bound {
            schema: SCHEMA.to_owned(),
            list_sha256: list,
            studies,
            configuration: Digest::of(words.as_bytes()),
            engines: engines.collect(),
            pipelines,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        })
    }

    /// Whether the engines on the disk are still those of the beginning.
    ///
    /// # Errors
    /// [`Code::EngineSwapped`].
    pub(crate) fn check_engines(&self, settings: &Settings) -> Result<(), ArchiveError> {
        for (folder, engine) in settings.bundles().zip(&self.engines) {
            if manifest_of(folder).is_none_or(|found| found.hex() != engine.sha256) {
                return Err(ArchiveError::new(Code::EngineSwapped, engine.to_string()));
            }
        }
        Ok(())
    }
}

/// SHA-256 of a bundle's manifest, which names those of its files.
fn manifest_of(folder: &Path) -> Option<Digest> {
    fs::read(folder.join(MANIFEST)).ok().map(|bytes| Digest::of(&bytes))
}

/// Why a study has no report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct StudyOutcome {
    schema: String,
    /// The study.
    pub study_key: StudyKey,
    /// A refusal is a result; what failed is tried again.
    pub refused: bool,
    /// Why there is no report.
    #[serde(flatten)]
    pub reason: Reason,
    /// Its input.
    pub input_fingerprint: Digest,
    /// [`Bound::configuration`].
    pub configuration: Digest,
}

/// What there is of a study.
#[derive(Debug)]
pub(crate) enum State {
    /// A report.
    Done(Box<Report>),
    /// A refusal.
    Refused(Reason),
    /// It failed the last time.
    Failed(Reason),
    /// Nothing yet.
    Missing,
    /// Something that cannot be read, here.
    Damaged(PathBuf),
}

/// A study as results are held against it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Brief {
    /// Its key.
    pub key: StudyKey,
    /// Its input.
    pub fingerprint: Digest,
    /// Where it lies below the archive's folder.
    pub place: Box<str>,
}

impl From<&Entry> for Brief {
    fn from(entry: &Entry) -> Brief {
        Brief {
            key: entry.key.clone(),
            fingerprint: entry.fingerprint(),
            place: entry.place.as_str().into(),
        }
    }
}

/// A folder of results.
#[derive(Debug, Clone)]
pub(crate) struct Results {
    folder: PathBuf,
}

impl Results {
    /// The folder with this name, which need not be there.
    pub(crate) fn at(folder: &Path) -> Results {
        Results { folder: folder.to_owned() }
    }

    /// Its path.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder of a study.
    pub(crate) fn study(&self, key: &StudyKey) -> PathBuf {
        self.folder.join("studies").join(&key.as_str()[..2]).join(key.as_str())
    }

    /// The folder of its report.
    pub(crate) fn report(&self, key: &StudyKey) -> PathBuf {
        self.study(key).join(FOLDER)
    }

    /// What it is of.
    ///
    /// # Errors
    /// [`Code::NoResults`].
    pub(crate) fn bound(&self) -> Result<Bound, ArchiveError> {
        let path = self.folder.join(BOUND);
        let bound: Option<Bound> = read(&path);
        bound
            .filter(|bound| bound.schema == SCHEMA)
            .ok_or_else(|| ArchiveError::at(Code::NoResults, &path))
    }

    /// What it is of, which must be this list.
    ///
    /// # Errors
    /// [`Code::NoResults`] or [`Code::OtherList`].
    pub(crate) fn bound_to(&self, list: Digest) -> Result<Bound, ArchiveError> {
        let bound = self.bound()?;
        match bound.list_sha256 == list {
            true => Ok(bound),
            false => Err(ArchiveError::at(Code::OtherList, &self.folder)),
        }
    }

    /// Begins it, or finds that it was begun for the same.
    ///
    /// # Errors
    /// [`Code::OtherList`], [`Code::OtherConfiguration`], [`Code::NoResults`] for a folder that holds
    /// something else, [`OutputError`] for one that cannot be written.
    pub(crate) fn bind(&self, bound: &Bound) -> Result<(), BindError> {
        let path = self.folder.join(BOUND);
        if !path.exists() {
            // Tasks of one array begin at once: what another has just made is no stranger.
            if holds_strangers(&self.folder) && !path.exists() {
                return Err(ArchiveError::at(Code::NoResults, &path).into());
            }
            let failed = |reason| OutputError::File { path: path.clone(), reason };
            fs::create_dir_all(&self.folder).map_err(failed)?;
            begin(&self.folder, &path, bound).map_err(failed)?;
        }
        let there = self.bound_to(bound.list_sha256)?;
        match there.configuration == bound.configuration {
            true => Ok(()),
            false => Err(ArchiveError::at(Code::OtherConfiguration, &self.folder).into()),
        }
    }

    /// What there is of a study.
    ///
    /// # Errors
    /// [`Code::OtherConfiguration`] for a result that is not of this folder's.
    pub(crate) fn state(&self, study: &Brief, bound: &Bound) -> Result<State, ArchiveError> {
        let (report, outcome) = (self.report(&study.key), self.study(&study.key).join(OUTCOME));
        let other = || Err(ArchiveError::at(Code::OtherConfiguration, &self.study(&study.key)));
        if report.exists() {
            return match report_of(&report) {
                None => Ok(State::Damaged(report.join(REPORT))),
                Some(found) if is_of(&found, study, bound) => Ok(State::Done(Box::new(found))),
                Some(_) => other(),
            };
        }
        if !outcome.exists() {
            return Ok(State::Missing);
        }
        match read::<StudyOutcome>(&outcome) {
            None => Ok(State::Damaged(outcome)),
            Some(found)
                if found.configuration != bound.configuration
                    || found.study_key != study.key
                    || found.input_fingerprint != study.fingerprint =>
            {
                other()
            }
            Some(found) if found.refused => Ok(State::Refused(found.reason)),
            Some(found) => Ok(State::Failed(found.reason)),
        }
    }

    /// Notes why a study has no report.
    ///
    /// # Errors
    /// [`OutputError`].
    pub(crate) fn note(
        &self,
        study: &Brief,
        bound: &Bound,
        refused: bool,
        reason: Reason,
    ) -> Result<(), OutputError> {
        let folder = self.study(&study.key);
        let path = folder.join(OUTCOME);
        let failed = |reason| OutputError::File { path: path.clone(), reason };
        let outcome = StudyOutcome {
            schema: format!("{SCHEMA}-outcome"),
            study_key: study.key.clone(),
            refused,
            reason,
            input_fingerprint: study.fingerprint,
            configuration: bound.configuration,
        };
        let mut bytes = serde_json::to_vec_pretty(&outcome).map_err(|e| failed(e.into()))?;
        bytes.push(b'\n');
        let written = fs::create_dir_all(&folder)
            .and_then(|()| output::place(&path, |file| file.write_all(&bytes)))
            .and_then(|()| File::open(&folder)?.sync_all());
        written.map_err(failed)
    }

    /// Sweeps away what a run that was killed left of a study: only its shard's run may.
    pub(crate) fn sweep(&self, key: &StudyKey) -> usize {
        let inside = fs::read_dir(self.study(key)).into_iter().flatten().flatten();
        let drafts = inside.filter(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            name.starts_with(DRAFT) || name.starts_with(BEGINNING)
        });
        let swept = drafts.filter(|draft| match draft.file_type() {
            Ok(kind) if kind.is_dir() => fs::remove_dir_all(draft.path()).is_ok(),
            _ => fs::remove_file(draft.path()).is_ok(),
        });
        swept.count()
    }

    /// Takes away the note of an earlier failure, once there is a report.
    pub(crate) fn forget_failure(&self, key: &StudyKey) {
        // What stays behind is not looked at beside a report.
        let _ = fs::remove_file(self.study(key).join(OUTCOME));
    }
}

fn is_of(report: &Report, study: &Brief, bound: &Bound) -> bool {
    report.study_key == study.key.as_str() && report.is_of(study.fingerprint, &bound.pipelines)
}

/// Whether a folder holds anything but the draft of a beginning.
fn holds_strangers(folder: &Path) -> bool {
    let inside = fs::read_dir(folder).into_iter().flatten().flatten();
    inside.map(|entry| entry.file_name()).any(|name| !name.to_string_lossy().starts_with(BEGINNING))
}

/// Of several that begin at once the first wins.
fn begin(folder: &Path, path: &Path, bound: &Bound) -> io::Result<()> {
    let mut draft = tempfile::Builder::new().prefix(BEGINNING).tempfile_in(folder)?;
    serde_json::to_writer_pretty(draft.as_file_mut(), bound)?;
    draft.as_file().sync_all()?;
    match draft.persist_noclobber(path) {
        Ok(_) => File::open(folder)?.sync_all(),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error.error),
    }
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Option<T> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(MAX_RECORD_BYTES).read_to_end(&mut bytes).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// Why a folder of results cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// It is of something else.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// It cannot be written.
    #[error(transparent)]
    Output(#[from] OutputError),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(list: &[u8]) -> Bound {
        Bound {
            schema: SCHEMA.to_owned(),
            list_sha256: Digest::of(list),
            studies: 1,
            configuration: Digest::of(b"c"),
            pipelines: Vec::new(),
            engines: Vec::new(),
            version: String::new(),
        }
    }

    #[test]
    fn tasks_that_begin_at_once_all_begin_and_a_strangers_folder_is_left() {
        for _ in 0..20 {
            let dir = tempfile::tempdir().unwrap();
            let begin = |list: &'static [u8]| {
                let results = Results::at(&dir.path().join("results"));
                move || {
                    results.bind(&bound(list)).map(|()| {
                        // What a run does next.
                        fs::create_dir_all(results.folder().join("locks")).unwrap();
                    })
                }
            };
            std::thread::scope(|scope| {
                let tasks: Vec<_> = (0..8).map(|_| scope.spawn(begin(b"a"))).collect();
                assert!(tasks.into_iter().all(|task| task.join().unwrap().is_ok()));
            });
            let other = begin(b"b")();
            assert!(
                matches!(other, Err(BindError::Archive(error)) if error.code == Code::OtherList)
            );
        }
        let theirs = tempfile::tempdir().unwrap();
        fs::write(theirs.path().join("notes.txt"), "mine").unwrap();
        assert!(Results::at(theirs.path()).bind(&bound(b"a")).is_err());
        assert_eq!(fs::read_dir(theirs.path()).unwrap().count(), 1);
    }
}
