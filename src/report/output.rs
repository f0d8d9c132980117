//! Where results go, and what may be replaced there.
//!
//! Owns the one rule for every command that writes: a name that is free is taken; a file or a
//! folder is replaced only if this program made it, by rename, once the new one is whole; what
//! was read is never written to; everything else is refused, and no option changes that. A file
//! of ours says so itself, a report's folder by its `report.json`, which lists what belongs there.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::ui::{Exit, Failure};
use hepalert_study::system;

mod folders;
mod ownership;

pub(crate) use folders::{alone_in, check_folder, make_folder, put_folder};
#[cfg(test)]
pub(crate) use ownership::LIST;
pub(crate) use ownership::{
    BEGINNING, CHANGES, DISAGREEMENT, DRAFT, MADE_BY, PHANTOM, POINTS, REPORT, SUMMARY,
    SUMMARY_FILE, SUPPORT, report_of,
};
use ownership::{has_keys, is_ours};

const STRANGER: &str = "a file that this program did not make is there";

/// Why a result has no place.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// Something is there that is not ours.
    #[error("{}: {what}; it is left as it is: name another place, or move it away", path.display())]
    InTheWay {
        /// Where the result was to go.
        path: PathBuf,
        /// What is there.
        what: &'static str,
    },
    /// The folder that the result was to go into is missing.
    #[error("{}: there is no folder {}; make it first, or name another place", path.display(),
        folder_of(path).display())]
    NoFolder {
        /// Where the result was to go.
        path: PathBuf,
    },
    /// Two results of one name.
    #[error("{}: two outputs have this name: name them apart", path.display())]
    Twins {
        /// Their name.
        path: PathBuf,
    },
    /// The name promises another kind of file.
    #[error("{}: what is written here is {what}; end the name in {ending}", path.display())]
    OtherKind {
        /// Where the result was to go.
        path: PathBuf,
        /// The kind.
        what: &'static str,
        /// How its names end.
        ending: &'static str,
    },
    /// The system refuses.
    #[error("{}: {}; name another place, or make this one usable", path.display(), system::reason(reason))]
    File {
        /// Which file or folder.
        path: PathBuf,
        /// The system's words.
        reason: io::Error,
    },
}

impl OutputError {
    /// A name for scripts.
    pub const fn code(&self) -> &'static str {
        match self {
            OutputError::InTheWay { .. } | OutputError::Twins { .. } => "output_in_the_way",
            OutputError::NoFolder { .. } => "output_folder_missing",
            OutputError::OtherKind { .. } => "output_other_kind",
            OutputError::File { .. } => "output_failed",
        }
    }
}

impl From<OutputError> for Failure {
    /// Naming a place that cannot be is wrong usage; a disk that is full is not.
    fn from(error: OutputError) -> Failure {
        let exit = match error {
            OutputError::InTheWay { .. }
            | OutputError::Twins { .. }
            | OutputError::NoFolder { .. }
            | OutputError::OtherKind { .. } => Exit::Usage,
            OutputError::File { .. } => Exit::Failed,
        };
        let code = error.code();
        Failure::new(exit, error).with_code(code)
    }
}

fn in_the_way(path: &Path, what: &'static str) -> OutputError {
    OutputError::InTheWay { path: path.to_owned(), what }
}

fn failed(path: &Path) -> impl Fn(io::Error) -> OutputError + '_ {
    |reason| OutputError::File { path: path.to_owned(), reason }
}

/// Whether files can be made in a folder that is there: found out before hours are computed.
fn check_writable(folder: &Path) -> Result<(), OutputError> {
    let tried = tempfile::Builder::new().prefix(BEGINNING).tempfile_in(folder);
    // Its own words name the file that was tried, which is nobody's business.
    let plain = |error: io::Error| io::Error::new(error.kind(), "no file can be made here");
    match tried.map(drop).map_err(plain) {
        // Of a folder that is there: as below /proc.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(in_the_way(folder, "the system makes no files here"))
        }
        tried => tried.map_err(failed(folder)),
    }
}

/// The nearest folder on the way to a place that is there: those that are missing are made in it.
fn standing(path: &Path) -> Result<&Path, OutputError> {
    let there = path.ancestors().find(|above| above.exists()).unwrap_or(Path::new("."));
    match there.is_dir() {
        true => Ok(there),
        false => Err(in_the_way(there, "a file is where a folder would be made")),
    }
}

/// Refuses a place for results that would lie in one of the folders that are read: they would be read the
/// next time.
///
/// # Errors
/// [`OutputError::InTheWay`] with `what`.
pub(crate) fn check_apart(
    out: &Path,
    inputs: &[&Path],
    what: &'static str,
) -> Result<(), OutputError> {
    // A folder that is not there yet lies where the next one above it does.
    let there = out.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("."));
    let is_inside =
        |input: &&Path| input.is_dir() && (is_same(there, input) || is_within(there, input));
    match inputs.iter().any(is_inside) {
        true => Err(in_the_way(out, what)),
        false => Ok(()),
    }
}

/// Whether several results may be written into a folder, which need not be there yet.
///
/// # Errors
/// [`OutputError`].
pub(crate) fn check_results(path: &Path) -> Result<(), OutputError> {
    check_writable(standing(path)?)
}

/// Whether a folder may be filled: it is not there, holds nothing, or holds the file by which it is
/// known as ours.
///
/// # Errors
/// [`OutputError::InTheWay`] with `what`.
pub(crate) fn check_own_folder(
    path: &Path,
    mark: &str,
    what: &'static str,
) -> Result<(), OutputError> {
    match fs::read_dir(path).map(|mut entries| entries.next().is_some()) {
        Ok(true) if !path.join(mark).is_file() => Err(in_the_way(path, what)),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(_) => Err(in_the_way(path, "something else than a folder is there")),
    }
}

/// Whether an image, a label map or a field may be written here: all are `.nii.gz`.
///
/// # Errors
/// [`OutputError`].
pub(crate) fn check_nifti(path: &Path, inputs: &[&Path]) -> Result<(), OutputError> {
    check_kind(path, "compressed NIfTI", ".nii.gz")?;
    check_file(path, inputs)
}

/// Whether a JSON document with these keys may be written here, under a name that says so.
///
/// # Errors
/// [`OutputError`].
pub(crate) fn check_document(
    path: &Path,
    keys: &[&str],
    inputs: &[&Path],
) -> Result<(), OutputError> {
    check_kind(path, "a JSON document", ".json")?;
    check_json(path, keys, inputs)
}

/// Whether a picture may be written here.
///
/// # Errors
/// [`OutputError`].
pub(crate) fn check_picture(path: &Path, inputs: &[&Path]) -> Result<(), OutputError> {
    check_kind(path, "a PNG picture", ".png")?;
    check_file(path, inputs)
}

fn check_kind(path: &Path, what: &'static str, ending: &'static str) -> Result<(), OutputError> {
    let name = path.file_name().map(|name| name.to_string_lossy().to_ascii_lowercase());
    match name.is_some_and(|name| name.ends_with(ending)) {
        true => Ok(()),
        false => Err(OutputError::OtherKind { path: path.to_owned(), what, ending }),
    }
}

/// Whether a file may be written here.
///
/// # Errors
/// [`OutputError`].
pub(crate) fn check_file(path: &Path, inputs: &[&Path]) -> Result<(), OutputError> {
    if inputs.iter().any(|input| is_same(path, input)) {
        return Err(in_the_way(path, "this file is the input"));
    }
    let folder = folder_of(path);
    if !folder.exists() {
        return Err(OutputError::NoFolder { path: path.to_owned() });
    }
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => check_writable(folder),
        Err(error) => Err(failed(path)(error)),
        Ok(facts) if !facts.is_file() => {
            Err(in_the_way(path, "something else than a file is there"))
        }
        Ok(_) if is_ours(path) => check_writable(folder),
        Ok(_) => Err(in_the_way(path, STRANGER)),
    }
}

/// Refuses two outputs of one name.
///
/// # Errors
/// [`OutputError::InTheWay`].
pub(crate) fn check_distinct(outs: &[&Path]) -> Result<(), OutputError> {
    let is_one = |a: &Path, b: &Path| {
        a == b || (a.file_name() == b.file_name() && is_same(folder_of(a), folder_of(b)))
    };
    let twin = |(at, out): (usize, &&Path)| outs[..at].iter().any(|other| is_one(other, out));
    match outs.iter().enumerate().find(|one| twin(*one)) {
        Some((_, out)) => Err(OutputError::Twins { path: (*out).to_owned() }),
        None => Ok(()),
    }
}

/// Puts a file in its place, whole or not at all.
///
/// # Errors
/// [`OutputError`]; then what was there is as it was.
pub(crate) fn put(path: &Path, bytes: &[u8], inputs: &[&Path]) -> Result<(), OutputError> {
    put_with(path, inputs, |file| file.write_all(bytes))
}

/// As [`put`], for what is written piece by piece.
///
/// # Errors
/// [`OutputError`]; then what was there is as it was.
pub(crate) fn put_with(
    path: &Path,
    inputs: &[&Path],
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> Result<(), OutputError> {
    check_file(path, inputs)?;
    place(path, write).map_err(failed(path))
}

/// Removes a file if it is one of ours; anything else stays.
///
/// # Errors
/// [`OutputError`] if it cannot be removed.
pub(crate) fn remove(path: &Path) -> Result<(), OutputError> {
    match path.is_file() && is_ours(path) {
        true => fs::remove_file(path).map_err(failed(path)),
        false => Ok(()),
    }
}

/// Puts a file in its place, whole or not at all, readable by its owner alone. Does not look at
/// what is there.
pub(crate) fn place(
    path: &Path,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    let mut draft = tempfile::Builder::new()
        .prefix(BEGINNING)
        .permissions(fs::Permissions::from_mode(0o600))
        .tempfile_in(folder_of(path))?;
    write(draft.as_file_mut())?;
    draft.as_file().sync_all()?;
    draft.persist(path)?;
    Ok(())
}

/// Whether a JSON document with these keys may be written here: a document of ours is known by
/// its keys.
///
/// # Errors
/// [`OutputError::InTheWay`].
pub(crate) fn check_json(path: &Path, keys: &[&str], inputs: &[&Path]) -> Result<(), OutputError> {
    match check_file(path, inputs) {
        Err(OutputError::InTheWay { what: STRANGER, .. }) if has_keys(path, keys) => Ok(()),
        checked => checked,
    }
}

/// Writes a JSON document in the place of an older one of its kind, or of nothing.
///
/// # Errors
/// [`OutputError`]; then what was there is as it was.
pub(crate) fn put_json(
    path: &Path,
    document: &impl Serialize,
    inputs: &[&Path],
) -> Result<(), OutputError> {
    let unsayable = |error: serde_json::Error| failed(path)(error.into());
    let value = serde_json::to_value(document).map_err(unsayable)?;
    let keys: Vec<&str> = value.as_object().into_iter().flatten().map(|(key, _)| &**key).collect();
    check_json(path, &keys, inputs)?;
    let mut bytes = serde_json::to_vec_pretty(document).map_err(unsayable)?;
    bytes.push(b'\n');
    place(path, |file| file.write_all(&bytes)).map_err(failed(path))
}

/// The folder that a name is in.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// One file under two names counts as one.
pub(crate) fn is_same(a: &Path, b: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (fs::metadata(a), fs::metadata(b)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

/// Whether a path lies below a folder, links followed.
pub(crate) fn is_within(path: &Path, folder: &Path) -> bool {
    match (fs::canonicalize(path), fs::canonicalize(folder)) {
        (Ok(path), Ok(folder)) => path != folder && path.starts_with(folder),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hepalert_voxels::volume::{Grid, Volume, nifti};
    use tempfile::TempDir;

    fn scratch() -> TempDir {
        tempfile::tempdir().unwrap()
    }

    /// A text that has every mark in it, each somewhere.
    const MENTION: &[u8] =
        b"# Notes\n`hepalert phantom` DICM, <!-- made by hepalert -->, hepalert-support/, \
        Software\0hepalert, a page with .TH hepalert";

    #[test]
    fn two_outputs_are_two_files() {
        let dir = scratch();
        let [a, again, other] = ["a", "./a", "b"].map(|name| dir.path().join(name));
        assert!(check_distinct(&[&a, &other]).is_ok());
        assert!(check_distinct(&[&a, &other, &again]).is_err());
        assert!(check_distinct(&[Path::new("x"), Path::new("./x")]).is_err());
    }

    #[test]
    fn only_our_own_files_are_replaced() {
        let dir = scratch();
        let at = |name: &str| dir.path().join(name);
        let labels = Volume::new(
            Grid::axial([1, 2, 2], [1.0; 3], [0.0; 3]).into(),
            ndarray::Array3::<u8>::ones((1, 2, 2)),
        );
        let ours = nifti::write::write_u8(&labels);
        for _ in 0..2 {
            put(&at("a.nii.gz"), &ours, &[]).unwrap();
            put_json(&at("a.json"), &serde_json::json!({"lesions": [], "x": 1}), &[]).unwrap();
        }
        for name in ["a.nii.gz", "a.json"] {
            assert_eq!(fs::metadata(at(name)).unwrap().permissions().mode() & 0o777, 0o600);
        }
        let another = serde_json::json!({"lesions": []});
        assert!(put_json(&at("a.json"), &another, &[]).is_err(), "a document of another kind");
        assert!(put_json(&at("a.nii.gz"), &another, &[&at("a.nii.gz")]).is_err());
        for foreign in [&b"notes"[..], b"", b"\x1f\x8bxx", b"{\"hepalert\": 1}", MENTION] {
            fs::write(at("theirs"), foreign).unwrap();
            let refused = put(&at("theirs"), &ours, &[]).unwrap_err();
            assert_eq!(refused.code(), "output_in_the_way");
            assert_eq!(fs::read(at("theirs")).unwrap(), foreign);
        }
        // The input is never written to, whatever name it goes by, ours or not.
        std::os::unix::fs::symlink(at("a.nii.gz"), at("link")).unwrap();
        assert!(put(&at("a.nii.gz"), &ours, &[&at("link")]).is_err());
        assert!(put(&at("link"), &ours, &[]).is_err(), "a link is not followed");
        assert!(put(dir.path(), &ours, &[]).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 4, "no draft stays behind");
    }

    fn draft(parent: &Path, word: &str) -> TempDir {
        let draft = tempfile::Builder::new().prefix(".report-").tempdir_in(parent).unwrap();
        fs::write(draft.path().join("word"), word).unwrap();
        draft
    }

    #[test]
    fn a_folder_is_replaced_only_if_all_of_it_is_ours() {
        let dir = scratch();
        let out = dir.path().join("out");
        let word = || fs::read_to_string(out.join("word")).ok();
        put_folder(draft(dir.path(), "1"), &out).unwrap();
        assert_eq!(word().as_deref(), Some("1"));
        // Without a report it is anybody's.
        assert!(put_folder(draft(dir.path(), "2"), &out).is_err());
        fs::write(out.join(REPORT), "{}").unwrap();
        assert!(put_folder(draft(dir.path(), "2"), &out).is_err());
        assert_eq!(word().as_deref(), Some("1"));
        assert!(check_folder(Path::new("."), &[]).is_err());
        assert!(check_folder(Path::new(".."), &[]).is_err());
        assert!(check_folder(&dir.path().join("new"), &[]).is_ok());
        assert!(check_folder(dir.path(), &[&out]).is_err(), "it holds the input");
        assert!(check_folder(&out, &[&out]).is_err(), "it is the input");
        fs::create_dir(dir.path().join("empty")).unwrap();
        put_folder(draft(dir.path(), "3"), &dir.path().join("empty")).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "no draft stays behind");
    }
}
