//! Folders of results: a report's, which is replaced whole, and one of many studies, which one run at a
//! time fills.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::ownership::{DRAFT, REPORT, SUMMARY_FILE, is_ours, report_of};
use super::{
    OutputError, check_writable, failed, folder_of, in_the_way, is_same, is_within, standing,
};
use hepalert_failpoint::failpoint;

/// A report's folder has one level below it.
const MAX_DEPTH: usize = 2;

/// Makes a folder for several results, and those above it, unless it is there.
///
/// # Errors
/// [`OutputError`], also if nothing can be written into it.
pub(crate) fn make_folder(path: &Path) -> Result<(), OutputError> {
    if path.exists() && !path.is_dir() {
        return Err(in_the_way(path, "something else than a folder is there"));
    }
    fs::create_dir_all(path).map_err(failed(path))?;
    check_writable(path)
}

/// Keeps other runs of this program out of a folder of results until it is dropped, or the process
/// ends in whatever way.
///
/// # Errors
/// [`OutputError::InTheWay`] if another run is at work there.
pub(crate) fn alone_in(folder: &Path) -> Result<File, OutputError> {
    let held = File::open(folder).map_err(failed(folder))?;
    match held.try_lock() {
        Ok(()) => Ok(held),
        Err(TryLockError::WouldBlock) => {
            Err(in_the_way(folder, "another run of this program is filling this folder"))
        }
        // A file system without locks: as it was before there were any.
        Err(TryLockError::Error(_)) => Ok(held),
    }
}

/// Whether a report's folder may be made here.
///
/// # Errors
/// [`OutputError::InTheWay`].
pub(crate) fn check_folder(target: &Path, inputs: &[&Path]) -> Result<(), OutputError> {
    if target.file_name().is_none() {
        return Err(in_the_way(target, "this is no name of a folder"));
    }
    if inputs.iter().any(|input| is_same(target, input)) {
        return Err(in_the_way(target, "this is the input"));
    }
    if inputs.iter().any(|input| is_within(input, target)) {
        return Err(in_the_way(target, "this folder holds the input"));
    }
    let there = standing(folder_of(target))?;
    match fs::symlink_metadata(target) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => check_writable(there),
        Err(error) => Err(failed(target)(error)),
        Ok(facts) if !facts.is_dir() => {
            Err(in_the_way(target, "something else than a folder is there"))
        }
        Ok(_) => check_content(target),
    }
}

/// An empty folder, or one with a report of ours and what that lists.
fn check_content(target: &Path) -> Result<(), OutputError> {
    let mut found = BTreeSet::new();
    list(target, target, 0, &mut found).map_err(failed(target))?;
    if found.is_empty() {
        return Ok(());
    }
    let Some(report) = report_of(target) else {
        let what = match is_ours(&target.join(SUMMARY_FILE)) {
            true => "the folder holds the results of many studies: name one in it for this study",
            false => "the folder holds no report of this program",
        };
        return Err(in_the_way(target, what));
    };
    let ours: BTreeSet<PathBuf> = report
        .artefacts
        .iter()
        .map(|one| PathBuf::from(&one.path))
        .chain([REPORT.into()])
        .collect();
    match found.is_subset(&ours) {
        true => Ok(()),
        false => Err(in_the_way(target, "the folder holds files beside this program's report")),
    }
}

/// Everything that is no folder, relative; a folder deeper than a report's counts as a file.
fn list(root: &Path, folder: &Path, depth: usize, found: &mut BTreeSet<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() && depth + 1 < MAX_DEPTH {
            list(root, &path, depth + 1, found)?;
        } else {
            found.insert(path.strip_prefix(root).unwrap_or(&path).to_owned());
        }
    }
    Ok(())
}

/// Puts a whole folder in its place; what it replaces goes after that.
///
/// # Errors
/// [`OutputError`]; then what was there is as it was.
pub(crate) fn put_folder(draft: TempDir, target: &Path) -> Result<(), OutputError> {
    check_folder(target, &[])?;
    let parent = folder_of(target);
    failpoint("report_drafted");
    let placed = File::open(draft.path())
        .and_then(|folder| folder.sync_all())
        .and_then(|()| take_place(draft, target));
    // The name must be on disk before anybody is told that it exists.
    placed.and_then(|()| File::open(parent)?.sync_all()).map_err(failed(target))?;
    failpoint("report_placed");
    Ok(())
}

fn take_place(draft: TempDir, target: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    if fs::symlink_metadata(target).is_err() {
        fs::rename(draft.path(), target)?;
        // Its name is the target's now: there is nothing to remove.
        let _ = draft.keep();
        return Ok(());
    }
    match renameat_with(CWD, draft.path(), CWD, target, RenameFlags::EXCHANGE) {
        // The draft's name is the old folder's now, and goes with the draft.
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS | rustix::io::Errno::NOTSUP) => {
            let aside = tempfile::Builder::new().prefix(DRAFT).tempdir_in(folder_of(target))?;
            let old = aside.path().join("old");
            fs::rename(target, &old)?;
            if let Err(error) = fs::rename(draft.path(), target) {
                fs::rename(&old, target)?;
                return Err(error);
            }
            let _ = draft.keep();
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}
