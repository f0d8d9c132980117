//! What a process that was killed left half-written among the labels.
//!
//! Owns which files those are: drafts by their name and kind, older than who asks, in a folder that
//! nobody holds. Whatever else lies there is somebody's.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use super::files::{DRAFT, try_hold};

/// Letters and digits that the name of a draft ends with.
const RANDOM: usize = 6;

/// Removes drafts from before a moment below a folder of labels; says how many. What cannot be looked
/// at or removed stays: it is in nobody's way.
pub fn sweep(work: &Path, before: SystemTime) -> usize {
    let mut swept = of_scope(work, &[work], before);
    for case in folders(work) {
        let images = folders(&case);
        let all: Vec<&Path> =
            std::iter::once(case.as_path()).chain(images.iter().map(|one| one.as_path())).collect();
        swept += of_scope(&case, &all, before);
    }
    swept
}

/// The drafts in these folders, which are written to by whoever holds the first.
fn of_scope(held: &Path, folders: &[&Path], before: SystemTime) -> usize {
    let drafts: Vec<_> = folders.iter().flat_map(|folder| drafts(folder, before)).collect();
    if drafts.is_empty() {
        return 0;
    }
    // Somebody is writing there now.
    let Some(_hold) = try_hold(held) else { return 0 };
    drafts.iter().filter(|draft| fs::remove_file(draft).is_ok()).count()
}

fn drafts(folder: &Path, before: SystemTime) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let is_draft = |entry: &fs::DirEntry| {
        let name = entry.file_name();
        let end = name.to_str().and_then(|name| name.strip_prefix(DRAFT));
        let is_ours = end.is_some_and(|end| {
            end.len() == RANDOM && end.bytes().all(|byte| byte.is_ascii_alphanumeric())
        });
        // Of a link this is what it is, not where it leads.
        let is_old = |facts: fs::Metadata| {
            facts.is_file() && facts.modified().is_ok_and(|changed| changed < before)
        };
        is_ours && entry.metadata().is_ok_and(is_old)
    };
    entries.filter(is_draft).map(|entry| entry.path()).collect()
}

fn folders(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let is_folder = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    entries.filter(is_folder).map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::files::hold;
    use super::*;

    #[test]
    fn only_old_drafts_of_ours_go_and_none_where_somebody_writes() {
        let dir = tempfile::tempdir().unwrap();
        let images = ["a/ct", "b/ct"].map(|image| dir.path().join(image));
        let ours = [dir.path().to_owned(), images[0].clone(), images[1].clone()]
            .map(|folder| folder.join(".draft-aB3xYz"));
        for image in &images {
            fs::create_dir_all(image).unwrap();
        }
        let others = [".draft-notes", ".draft-aB3xYz.nii.gz", "anna.nii.gz", ".draft-öB3xY"];
        let others = others.map(|name| images[0].join(name));
        for path in ours.iter().chain(&others) {
            fs::write(path, b"half").unwrap();
        }
        fs::create_dir(images[0].join(".draft-folder")).unwrap();
        std::os::unix::fs::symlink(&others[2], images[0].join(".draft-linked")).unwrap();
        let now = SystemTime::now();
        assert_eq!(sweep(dir.path(), now - Duration::from_secs(60)), 0, "this process wrote them");
        let later = now + Duration::from_secs(60);
        let held = hold(&dir.path().join("b")).unwrap();
        assert_eq!(sweep(dir.path(), later), 2);
        assert!(ours[2].exists(), "somebody writes there");
        drop(held);
        assert_eq!(sweep(dir.path(), later), 1);
        assert!(others.iter().all(|path| path.exists()));
        assert!(images[0].join(".draft-folder").is_dir());
        assert!(images[0].join(".draft-linked").is_symlink());
        assert_eq!(sweep(&dir.path().join("nowhere"), later), 0);
    }
}
