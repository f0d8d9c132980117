//! Reads a study's files once more, and only as they were accepted.
//!
//! Between acceptance and analysis lies a queue. An exporter that reuses its file names puts
//! another patient's slices where a waiting study's were: whatever is computed on a study is
//! computed on bytes that have the digests of its acceptance. Owns that comparison.

use std::io::{self, Read};
use std::path::Path;

use rayon::prelude::*;

use super::gate::Refusal;
use super::probe::open_regular;
use crate::intake::facts::{Accepted, PhaseFiles};
use crate::intake::fingerprint::{Digest, digest_of};
use crate::intake::refusal_codes::RefusalCode;

/// What is in a file now.
pub(in crate::intake) fn content(path: &Path) -> Result<Digest, Refusal> {
    open_regular(path).and_then(digest_of).map_err(|e| unreadable(&e))
}

/// Of the kind alone: the text of an error may hold a path.
pub(in crate::intake) fn unreadable(error: &io::Error) -> Refusal {
    let detail = match error.kind() {
        io::ErrorKind::NotFound => "there is no such file or folder".to_owned(),
        kind => kind.to_string(),
    };
    Refusal::new(RefusalCode::Unreadable, detail, 1)
}

/// A whole file, never more than `most` bytes: it may have grown since it was measured.
///
/// # Errors
/// [`RefusalCode::Unreadable`] or [`RefusalCode::FilesChanged`].
pub(crate) fn read(file: Accepted<'_>, most: u64) -> Result<Vec<u8>, Refusal> {
    let bytes = read_prefix(file.path, most)?;
    if Some(Digest::of(&bytes)) == file.content { Ok(bytes) } else { Err(changed()) }
}

/// The first bytes of a file, at most `most`, whatever they are.
///
/// # Errors
/// [`RefusalCode::Unreadable`].
pub(crate) fn read_prefix(path: &Path, most: u64) -> Result<Vec<u8>, Refusal> {
    let file = open_regular(path).map_err(|e| unreadable(&e))?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes).map_err(|e| unreadable(&e))?;
    Ok(bytes)
}

/// Whether every file is as it was accepted. A reason that was found in other bytes is no
/// reason of this study.
///
/// # Errors
/// [`RefusalCode::Unreadable`] or [`RefusalCode::FilesChanged`] of the first file that is not.
pub(crate) fn verify(phases: &[&PhaseFiles], most: u64) -> Result<(), Refusal> {
    let files: Vec<Accepted<'_>> = phases
        .iter()
        .flat_map(|phase| (0..phase.files.len()).map(|at| phase.accepted(at)))
        .collect();
    let fault = files.into_par_iter().find_map_first(|file| {
        let bytes = open_regular(file.path).map(|opened| opened.take(most));
        match bytes.and_then(digest_of) {
            Ok(content) => (Some(content) != file.content).then(changed),
            Err(error) => Some(unreadable(&error)),
        }
    });
    fault.map_or(Ok(()), Err)
}

/// What a file said when it was first looked at, to be found in it again.
pub(crate) struct Glance {
    bytes: usize,
    digest: Digest,
}

impl Glance {
    /// Remembers these first bytes of a file.
    pub(crate) fn of(prefix: &[u8]) -> Glance {
        Glance { bytes: prefix.len(), digest: Digest::of(prefix) }
    }

    /// Whether a file begins with them.
    ///
    /// # Errors
    /// [`RefusalCode::FilesChanged`].
    pub(crate) fn check(&self, whole: &[u8]) -> Result<(), Refusal> {
        let prefix = whole.get(..self.bytes).map(Digest::of);
        if prefix == Some(self.digest) { Ok(()) } else { Err(changed()) }
    }
}

fn changed() -> Refusal {
    Refusal::new(RefusalCode::FilesChanged, "other bytes than when the study was accepted", 1)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::intake::by_hand::command_line::files_of_paths;
    use crate::intake::reading::gate::GateParams;
    use crate::intake::reading::load::{identifiers, load};
    use hepalert_lab::phantom::{Case, Size, generate};
    use hepalert_study::phase::{Phase, Setting};
    use hepalert_study::study::StudyKey;

    fn series(seed: u64, folder: &Path) -> Vec<PathBuf> {
        let size = Size { pixels: 64, slices: None };
        let patient = generate(seed, Case::Normal, Setting::Venous, size);
        crate::cli::phantom::write_series(&patient, folder).unwrap()
    }

    #[test]
    fn names_that_were_used_again_are_another_study() {
        let dir = tempfile::tempdir().unwrap();
        let (ours, theirs) = (dir.path().join("a"), dir.path().join("b"));
        let (mine, others) = (series(1, &ours), series(2, &theirs));
        let key = StudyKey::new("0123456789abcdef0123456789abcdef").unwrap();
        let files = files_of_paths(&key, &[(Phase::Vp, ours)]).unwrap();
        let gate = GateParams::default();
        let code = || load(&files, &[Phase::Vp], &gate).err().map(|refusal| refusal.code);
        assert_eq!(code(), None);
        assert!(identifiers(&files).is_some());

        // All slices are another patient's: what would be computed is theirs.
        let kept: Vec<Vec<u8>> = mine.iter().map(|path| std::fs::read(path).unwrap()).collect();
        for (path, other) in mine.iter().zip(&others) {
            std::fs::copy(other, path).unwrap();
        }
        assert_eq!(code(), Some(RefusalCode::FilesChanged));
        assert_eq!(identifiers(&files), None, "nor is their number told as ours");
        // One of them, or one that would be refused for a reason of its own.
        for (path, bytes) in mine.iter().zip(&kept) {
            std::fs::write(path, bytes).unwrap();
        }
        assert_eq!(code(), None);
        std::fs::write(&mine[3], &kept[3][..kept[3].len() / 2]).unwrap();
        assert_eq!(code(), Some(RefusalCode::FilesChanged));
        std::fs::remove_file(&mine[3]).unwrap();
        assert_eq!(code(), Some(RefusalCode::Unreadable));
    }

    #[test]
    fn a_study_that_only_images_can_tell_has_its_number_too() {
        use crate::intake::facts::Candidate;
        use crate::intake::study::phases::Scan;
        let dir = tempfile::tempdir().unwrap();
        series(1, dir.path());
        let key = StudyKey::new("0123456789abcdef0123456789abcdef").unwrap();
        let folder = dir.path().join("vp");
        let mut files = files_of_paths(&key, &[(Phase::Vp, folder)]).unwrap();
        let known = identifiers(&files);
        assert!(known.is_some());
        let scan = Scan { slices: 1, ..Scan::default() };
        let phase = files.phases.remove(0);
        files.candidates.push(Candidate { scan, files: phase });
        assert_eq!(identifiers(&files), known);
    }

    #[test]
    fn a_study_without_digests_is_not_as_accepted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::fs::write(&path, "x").unwrap();
        let old = Accepted { path: &path, content: None };
        assert_eq!(read(old, 9).unwrap_err().code, RefusalCode::FilesChanged);
        let known = Accepted { content: Some(Digest::of(b"x")), ..old };
        assert_eq!(read(known, 9).unwrap(), b"x");
    }

    #[test]
    fn a_header_is_found_again_or_not() {
        let glance = Glance::of(b"head");
        assert!(glance.check(b"head and body").is_ok());
        assert!(glance.check(b"haed and body").is_err());
        assert!(glance.check(b"hea").is_err());
    }
}
