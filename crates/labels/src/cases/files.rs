//! Files read within bounds and written whole.
//!
//! Owns the one way in which labels reach the disk: a draft, synced, renamed over the old file.
//! After a power cut either the old or the new file is there.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use hepalert_failpoint::failpoint;
use hepalert_study::digest::Digest;

use super::error::CaseError;

/// No NIfTI file is longer: four bytes for each of the most voxels.
pub const MAX_NIFTI_BYTES: u64 = 4 << 30;

/// What the content of a file is called: who edits says which content they edited. 16 hex digits.
pub fn revision_of(bytes: &[u8]) -> String {
    let mut name = Digest::of(bytes).hex();
    name.truncate(16);
    name
}

pub(super) fn failed(path: &Path) -> impl Fn(io::Error) -> CaseError + '_ {
    |reason| CaseError::File { path: path.to_owned(), reason }
}

/// The bytes of a file that is not longer than `most`; none if there is no such file.
pub(super) fn read(path: &Path, most: u64) -> Result<Option<Vec<u8>>, CaseError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(path)(error)),
    };
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes).map_err(failed(path))?;
    if bytes.len() as u64 > most {
        return Err(CaseError::TooLong { path: path.to_owned(), most });
    }
    Ok(Some(bytes))
}

/// The bytes of a file that must be there.
pub(super) fn read_there(path: &Path, most: u64) -> Result<Vec<u8>, CaseError> {
    read(path, most)?.ok_or_else(|| failed(path)(io::ErrorKind::NotFound.into()))
}

/// Names of drafts begin so.
pub(super) const DRAFT: &str = ".draft-";

/// Replaces a file by one that is whole.
pub fn put(path: &Path, bytes: &[u8]) -> Result<(), CaseError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    make_folder(folder)?;
    let mut draft =
        tempfile::Builder::new().prefix(DRAFT).tempfile_in(folder).map_err(failed(folder))?;
    draft.write_all(bytes).and_then(|()| draft.as_file().sync_all()).map_err(failed(path))?;
    failpoint("labels_drafted");
    draft.persist(path).map_err(|error| failed(path)(error.error))?;
    failpoint("labels_placed");
    // Without this the rename itself may be lost.
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed(folder))
}

/// The last part of a path.
pub(super) fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

pub(super) fn make_folder(folder: &Path) -> Result<(), CaseError> {
    fs::create_dir_all(folder).map_err(failed(folder))
}

/// Adds a line that is on the disk when this returns. A line that a power cut tore off is ended
/// first.
pub(super) fn append(path: &Path, line: &str) -> Result<(), CaseError> {
    let mut file = File::options().read(true).append(true).create(true).open(path);
    let write = |file: &mut File| -> io::Result<()> {
        let torn = match file.metadata()?.len() {
            0 => false,
            length => {
                let mut last = [0];
                std::os::unix::fs::FileExt::read_exact_at(file, &mut last, length - 1)?;
                last != *b"\n"
            }
        };
        let before = if torn { "\n" } else { "" };
        file.write_all(format!("{before}{line}\n").as_bytes())?;
        file.sync_data()
    };
    file.as_mut()
        .map_err(|error| io::Error::new(error.kind(), error.to_string()))
        .and_then(write)
        .map_err(failed(path))
}

/// Holds a case for as long as it lives; another process waits.
pub(super) struct Hold(#[allow(dead_code)] File);

pub(super) fn hold(folder: &Path) -> Result<Hold, CaseError> {
    make_folder(folder)?;
    let path = folder.join(".lock");
    let file = File::options().write(true).create(true).truncate(false).open(&path);
    let file = file.map_err(failed(&path))?;
    // Closing the file, or the end of the process, lets go.
    file.lock().map_err(failed(&path))?;
    Ok(Hold(file))
}

/// The same where nobody holds it; none where somebody does, or it cannot be held.
pub(super) fn try_hold(folder: &Path) -> Option<Hold> {
    let path = folder.join(".lock");
    let file = File::options().write(true).create(true).truncate(false).open(&path).ok()?;
    file.try_lock().ok()?;
    Some(Hold(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_line_does_not_spoil_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history");
        append(&path, "one").unwrap();
        fs::write(&path, "one\ntw").unwrap();
        append(&path, "three").unwrap();
        append(&path, "four").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntw\nthree\nfour\n");
    }

    #[test]
    fn long_files_are_not_read_and_missing_ones_are_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        assert!(read(&path, 3).unwrap().is_none());
        put(&path, b"abc").unwrap();
        assert_eq!(read(&path, 3).unwrap().unwrap(), b"abc");
        put(&path, b"abcd").unwrap();
        assert_eq!(read(&path, 3).unwrap_err().code(), "too_long");
        assert_eq!(fs::read_dir(dir.path().join("a")).unwrap().count(), 1, "no draft stays");
    }
}
