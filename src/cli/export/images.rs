//! The images of a study as they were accepted, wherever they lie now.
//!
//! Owns the proof that an image is one of the study's: its bytes have the digest of its acceptance. What lies
//! at a path that was kept may be another patient's by now, and what was sent once more lies at another path.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::dicom::receiver::received;
use crate::intake::fingerprint::digest_of;
use crate::intake::{Digest, Format, StudyFiles};

/// What is left of a study's images.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Images {
    /// Where each lies, and its digest; in the order of the paths that were kept.
    pub(super) here: Vec<(PathBuf, Digest)>,
    /// How many lie nowhere.
    pub(super) missing: usize,
}

/// Looks for the images of every phase where they were, and those that are not there, or are others now, among
/// the received ones.
pub(super) fn find(files: &StudyFiles, spool: &Path) -> Images {
    let accepted = accepted(files);
    let mut places: BTreeMap<Digest, PathBuf> = BTreeMap::new();
    let mut sought: BTreeSet<Digest> = BTreeSet::new();
    for (path, digest) in &accepted {
        let Some(digest) = digest else { continue };
        match digest_at(path) == Some(*digest) {
            true => drop(places.insert(*digest, path.clone())),
            false => drop(sought.insert(*digest)),
        }
    }
    sought.retain(|digest| !places.contains_key(digest));
    if !sought.is_empty() {
        for path in received(spool) {
            if let Some(digest) = digest_at(&path).filter(|digest| sought.contains(digest)) {
                places.insert(digest, path);
            }
        }
    }
    let mut images = Images::default();
    for (_, digest) in accepted {
        // A study that was accepted before digests were kept cannot be proven.
        match digest.map(|digest| (places.remove(&digest), digest)) {
            Some((Some(place), digest)) => images.here.push((place, digest)),
            Some((None, digest)) if images.here.iter().any(|(_, other)| *other == digest) => {}
            Some((None, _)) | None => images.missing += 1,
        }
    }
    images
}

/// The files of every phase, each path once.
fn accepted(files: &StudyFiles) -> BTreeMap<PathBuf, Option<Digest>> {
    let phases = files.phases.iter().chain(files.candidates.iter().map(|one| &one.files));
    let dicom = phases.filter(|phase| phase.format == Format::Dicom);
    let all = dicom.flat_map(|phase| (0..phase.files.len()).map(|at| phase.accepted(at)));
    all.map(|file| (file.path.to_owned(), file.content)).collect()
}

fn digest_at(path: &Path) -> Option<Digest> {
    digest_of(fs::File::open(path).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intake::files_of_paths;
    use hepalert_study::phase::Phase;
    use hepalert_study::study::StudyKey;

    /// A folder of one phase with files of these bytes.
    fn study(folder: &Path, contents: &[&str]) -> StudyFiles {
        fs::create_dir_all(folder).unwrap();
        for (n, bytes) in contents.iter().enumerate() {
            fs::write(folder.join(format!("{n}.dcm")), bytes).unwrap();
        }
        let key = StudyKey::new(&"0".repeat(32)).unwrap();
        let mut files = files_of_paths(&key, &[(Phase::Vp, folder.to_owned())]).unwrap();
        let phase = &mut files.phases[0];
        // They are no images: the digests alone count here.
        phase.files = (0..contents.len()).map(|n| folder.join(format!("{n}.dcm"))).collect();
        phase.contents = contents.iter().map(|text| Digest::of(text.as_bytes())).collect();
        files
    }

    fn names(images: &Images) -> Vec<String> {
        let read = |(path, _): &(PathBuf, Digest)| fs::read_to_string(path).unwrap();
        images.here.iter().map(read).collect()
    }

    #[test]
    fn what_was_sent_again_is_found_by_what_is_in_it_and_nothing_else_is() {
        let dir = tempfile::tempdir().unwrap();
        let spool = dir.path().join("spool");
        let files = study(&spool.join("1"), &["a", "b", "c"]);
        let whole = find(&files, &spool);
        assert_eq!(
            (names(&whole), whole.missing),
            (["a", "b", "c"].map(str::to_owned).to_vec(), 0)
        );
        // Cleaned; another patient's image lies under one of the old names.
        fs::remove_dir_all(spool.join("1")).unwrap();
        assert_eq!(find(&files, &spool), Images { here: Vec::new(), missing: 3 });
        fs::create_dir(spool.join("1")).unwrap();
        fs::write(spool.join("1/0.dcm"), "another's").unwrap();
        // Sent again: other names, another order, one changed on the way.
        fs::create_dir(spool.join("7")).unwrap();
        for (name, bytes) in [("x", "c"), ("y", "a"), ("z", "b changed")] {
            fs::write(spool.join("7").join(name), bytes).unwrap();
        }
        let part = find(&files, &spool);
        assert_eq!((names(&part), part.missing), (["a", "c"].map(str::to_owned).to_vec(), 1));
        fs::write(spool.join("7/z"), "b").unwrap();
        assert_eq!(names(&find(&files, &spool)), ["a", "b", "c"]);
        // Of a study whose digests nobody kept nothing can be proven.
        let mut old = files;
        old.phases[0].contents.clear();
        assert_eq!(find(&old, &spool).missing, 3);
    }
}
