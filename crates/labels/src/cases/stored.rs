//! Whose labels of an image are on the disk, and reading them.
//!
//! Owns the name `CASE/IMAGE/READER.nii.gz`. Nothing here writes: see [`super::editor`].

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use hepalert_voxels::volume::LabelMap;
use hepalert_voxels::volume::nifti::read::read_labels;
use jiff::Timestamp;

use super::case::{Case, ImageFile};
use super::compare::{Comparison, compare};
use super::error::CaseError;
use super::files::{MAX_NIFTI_BYTES, failed, read, revision_of};
use super::folder::{Folder, damaged, labels_of};
use super::given::Senses;
use super::history::{self, Told};
use super::reader::Reader;
use crate::labelling::Labelling;

const ENDING: &str = ".nii.gz";

/// Whose labels: a reader's, or those that came with the case, as `labels:NAME`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// A reader.
    Reader(Reader),
    /// A file of the case.
    Given(String),
}

impl FromStr for Who {
    type Err = CaseError;

    fn from_str(text: &str) -> Result<Who, CaseError> {
        match text.strip_prefix("labels:") {
            Some(name) => Ok(Who::Given(name.to_owned())),
            None => Ok(Who::Reader(Reader::new(text)?)),
        }
    }
}

impl std::fmt::Display for Who {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Who::Reader(reader) => write!(f, "{reader}"),
            Who::Given(name) => write!(f, "labels:{name}"),
        }
    }
}

pub(super) fn file(work: &Path, image: &ImageFile, reader: &Reader) -> PathBuf {
    work.join(&image.name).join(format!("{reader}{ENDING}"))
}

/// A reader's labels and their revision; none if there are none.
pub(super) fn stored(
    work: &Path,
    image: &ImageFile,
    reader: &Reader,
) -> Result<Option<(LabelMap, String)>, CaseError> {
    let path = file(work, image, reader);
    let Some(bytes) = read(&path, MAX_NIFTI_BYTES)? else { return Ok(None) };
    let labels = read_labels(&bytes).map_err(damaged(&path))?;
    Ok(Some((labels, revision_of(&bytes))))
}

/// Somebody's labels, as stored, and their revision if they are a reader's.
pub(super) fn labels_by(
    (work, senses): (&Path, &Senses),
    case: &Case,
    image: &ImageFile,
    who: &Who,
) -> Result<(LabelMap, Option<String>), CaseError> {
    match who {
        Who::Given(name) => Ok((senses.read(case.labels(name)?)?, None)),
        Who::Reader(reader) => match stored(work, image, reader)? {
            Some((labels, revision)) => Ok((labels, Some(revision))),
            None => Err(CaseError::Unknown { what: "reader's labels", name: reader.to_string() }),
        },
    }
}

/// Somebody's labels of an image, laid on it, in RAS order.
///
/// # Errors
/// [`CaseError::Unknown`] if there are none, [`Refused::OpenValues`] where nobody has said what they
/// mean, and what is wrong with the file.
///
/// [`Refused::OpenValues`]: crate::Refused::OpenValues
pub fn labels(
    folder: &Folder,
    case: &Case,
    image: &ImageFile,
    who: &Who,
) -> Result<Labelling, CaseError> {
    let place = folder.work_of(case);
    let (labels, _) = labels_by((&place, &Senses::of(folder)), case, image, who)?;
    Ok(Labelling::on(&image.grid, labels)?)
}

/// The first of these people's labels that a case has, whose they are, and their revision if they
/// are a reader's.
///
/// # Errors
/// As [`labels`].
pub fn first_of(
    folder: &Folder,
    case: &Case,
    image: &ImageFile,
    whose: &[Who],
) -> Result<Option<(Who, Labelling, Option<String>)>, CaseError> {
    let (work, senses) = (folder.work_of(case), Senses::of(folder));
    first(image, whose, |who| labels_by((&work, &senses), case, image, who))
}

/// The same, what came with the case as its file has it: for whoever says himself what its values
/// mean.
///
/// # Errors
/// What is wrong with a file.
pub fn first_as_given(
    folder: &Folder,
    case: &Case,
    image: &ImageFile,
    whose: &[Who],
) -> Result<Option<(Who, Labelling, Option<String>)>, CaseError> {
    let (work, senses) = (folder.work_of(case), Senses::of(folder));
    first(image, whose, |who| match who {
        Who::Given(name) => Ok((labels_of(&case.labels(name)?.path)?, None)),
        Who::Reader(_) => labels_by((&work, &senses), case, image, who),
    })
}

fn first(
    image: &ImageFile,
    whose: &[Who],
    read: impl Fn(&Who) -> Result<(LabelMap, Option<String>), CaseError>,
) -> Result<Option<(Who, Labelling, Option<String>)>, CaseError> {
    for who in whose {
        match read(who) {
            Ok((labels, revision)) => {
                let laid = Labelling::on(&image.grid, labels)?;
                return Ok(Some((who.clone(), laid, revision)));
            }
            Err(CaseError::Unknown { .. }) => {}
            Err(other) => return Err(other),
        }
    }
    Ok(None)
}

/// Whether a reader has labelled an image. The labels are not read.
///
/// # Errors
/// [`CaseError::File`] if that cannot be told.
pub fn is_labelled(
    folder: &Folder,
    case: &Case,
    image: &ImageFile,
    reader: &Reader,
) -> Result<bool, CaseError> {
    let path = file(&folder.work_of(case), image, reader);
    path.try_exists().map_err(failed(&path))
}

/// Who has labelled an image. The labels are not read.
///
/// # Errors
/// [`CaseError::File`] if the folder cannot be read.
pub fn reader_names(
    folder: &Folder,
    case: &Case,
    image: &ImageFile,
) -> Result<BTreeSet<Reader>, CaseError> {
    let place = folder.work_of(case).join(&image.name);
    let entries = match std::fs::read_dir(&place) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        Err(error) => return Err(failed(&place)(error)),
    };
    let reader = |name: OsString| Reader::new(name.to_str()?.strip_suffix(ENDING)?).ok();
    Ok(entries.flatten().filter_map(|entry| reader(entry.file_name())).collect())
}

/// Who has labelled an image, and the revision of their labels.
///
/// # Errors
/// [`CaseError::File`] if the folder or labels cannot be read.
pub fn readers(
    folder: &Folder,
    case: &Case,
    image: &ImageFile,
) -> Result<BTreeMap<Reader, String>, CaseError> {
    let work = folder.work_of(case);
    let mut found = BTreeMap::new();
    for reader in reader_names(folder, case, image)? {
        if let Some(bytes) = read(&file(&work, image, &reader), MAX_NIFTI_BYTES)? {
            found.insert(reader, revision_of(&bytes));
        }
    }
    Ok(found)
}

/// When a case was last edited; none if it never was.
///
/// # Errors
/// [`CaseError::File`] if the history cannot be read.
pub fn last_edit(folder: &Folder, case: &Case) -> Result<Option<Timestamp>, CaseError> {
    let entries = history::entries(&folder.work_of(case))?;
    Ok(entries.iter().map(|entry| entry.when).max())
}

/// Every edit of a case, and whether the labels that are there were made by it.
///
/// # Errors
/// [`CaseError::File`] if a file cannot be read.
pub fn history_of(folder: &Folder, case: &Case) -> Result<Vec<Told>, CaseError> {
    let mut current = BTreeMap::new();
    for image in &case.images {
        for (reader, revision) in readers(folder, case, image)? {
            current.insert((image.name.clone(), reader), revision);
        }
    }
    Ok(history::told(history::entries(&folder.work_of(case))?, current))
}

/// Compares two people's labels of an image.
///
/// # Errors
/// As [`labels`].
pub fn compare_labels(
    folder: &Folder,
    case: &Case,
    image: &ImageFile,
    who: [&Who; 2],
) -> Result<Comparison, CaseError> {
    let [first, second] = who.map(|who| labels(folder, case, image, who));
    Ok(compare(first?.map(), second?.map())?)
}
