//! What is counted already, so that an evaluation that was stopped goes on where it was.
//!
//! Owns a file of JSON lines beside the tables: a heading, then one case a line under the hash of
//! all that its counts hang on. A line that is cut off, as a kill leaves it, is counted again.
//! Refuses nothing: what it does not know is counted.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::case::CaseResult;
use super::cohort::{CaseFiles, CohortError, Predicted, bytes};
use hepalert_study::digest::Digest;

/// What the heading of any version begins with.
pub const MARK: &str = "{\"schema\":\"urn:hepalert:v1:counted\"";
/// The heading. Another way of counting takes another number.
pub const HEAD: &str = "{\"schema\":\"urn:hepalert:v1:counted\",\"counting\":1}\n";
/// A million cases.
const MAX_BYTES: u64 = 1 << 30;
/// What `analyze` writes and an evaluation reads.
const OF_ANALYSIS: [&str; 5] =
    ["labels_base.nii.gz", "labels_high.nii.gz", "lesions.nii.gz", "report.json", "margin.nii.gz"];

#[derive(Serialize, Deserialize)]
struct Line {
    key: Digest,
    result: CaseResult,
}

/// The cases that are counted.
#[derive(Debug)]
pub struct Counted {
    path: PathBuf,
    file: File,
    known: BTreeMap<Digest, CaseResult>,
}

impl Counted {
    /// Whether a file holds cases that were counted as this program counts.
    pub fn is_begun(path: &Path) -> bool {
        let mut head = [0; HEAD.len()];
        File::open(path).and_then(|mut file| file.read_exact(&mut head)).is_ok()
            && head == *HEAD.as_bytes()
    }

    /// Reads what an earlier run left in a file that is begun.
    ///
    /// # Errors
    /// Whatever the disk refuses.
    pub fn open(path: &Path) -> io::Result<Counted> {
        let mut file = OpenOptions::new().read(true).append(true).open(path)?;
        let mut text = Vec::new();
        (&mut file).take(MAX_BYTES).read_to_end(&mut text)?;
        let mut known = BTreeMap::new();
        let mut whole = HEAD.len();
        for line in text.get(whole..).unwrap_or_default().split_inclusive(|byte| *byte == b'\n') {
            let Some(told) = line.strip_suffix(b"\n") else { break };
            let Ok(Line { key, result }) = serde_json::from_slice(told) else { break };
            known.insert(key, result);
            whole += line.len();
        }
        file.set_len(whole as u64)?;
        Ok(Counted { path: path.to_owned(), file, known })
    }

    /// What a case came to, if that is known.
    pub fn of(&self, key: &Digest) -> Option<&CaseResult> {
        self.known.get(key)
    }

    /// Keeps what a case came to.
    ///
    /// # Errors
    /// Whatever the disk refuses.
    pub fn keep(&mut self, key: Digest, result: CaseResult) -> io::Result<()> {
        let mut line = serde_json::to_vec(&Line { key, result })?;
        line.push(b'\n');
        self.file.write_all(&line)
    }

    /// The tables are there: nothing is left to go on with.
    ///
    /// # Errors
    /// Whatever the disk refuses.
    pub fn remove(self) -> io::Result<()> {
        std::fs::remove_file(self.path)
    }
}

/// SHA-256 of all that the counts of a case hang on: its files, by what each is, and the gain.
///
/// # Errors
/// [`CohortError::Unreadable`].
pub fn key_of(case: &CaseFiles, highest_gain: Option<f64>) -> Result<Digest, CohortError> {
    let mut text = format!("{HEAD}{} {highest_gain:?}\n", env!("CARGO_PKG_VERSION"));
    let mut add = |name: &str, path: &Path| -> Result<(), CohortError> {
        text += &format!("{name} {}\n", Digest::of(&bytes(path)?));
        Ok(())
    };
    add("truth", &case.truth)?;
    if let Predicted::Labels(path) = &case.predicted {
        add("predicted", path)?;
    }
    let folder = match &case.predicted {
        Predicted::Folder(folder) => Some(("predicted", folder)),
        Predicted::Labels(_) | Predicted::Nothing => None,
    };
    let original = case.no_shuffle.as_ref().map(|folder| ("no_shuffle", folder));
    for (what, folder) in folder.into_iter().chain(original) {
        for name in OF_ANALYSIS {
            let path = folder.join(name);
            // Counting says which file is missing, where one must be there.
            if path.is_file() {
                add(&format!("{what}/{name}"), &path)?;
            }
        }
    }
    Ok(Digest::of(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hepalert_study::anatomy::Lesion;
    use hepalert_study::outcome::PatientClass;

    fn result(volume_cm3: f64) -> CaseResult {
        CaseResult {
            truth: vec![(Lesion::Meta, volume_cm3)],
            truth_class: PatientClass::Meta,
            views: BTreeMap::new(),
            labels: Default::default(),
            sweep: Vec::new(),
        }
    }

    #[test]
    fn what_is_kept_is_found_again_and_a_line_cut_off_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("counted.jsonl");
        let keys = [0, 1, 2].map(|n| Digest::of(&[n]));
        assert!(!Counted::is_begun(&path));
        std::fs::write(&path, HEAD).unwrap();
        assert!(Counted::is_begun(&path));
        let mut counted = Counted::open(&path).unwrap();
        for (n, key) in keys.iter().enumerate() {
            counted.keep(*key, result(0.1 + n as f64)).unwrap();
        }
        let whole = std::fs::read(&path).unwrap();
        for length in HEAD.len()..=whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            let mut counted = Counted::open(&path).unwrap();
            let lines = whole[..length].iter().filter(|byte| **byte == b'\n').count();
            assert_eq!(counted.known.len(), lines - 1, "{length}");
            counted.keep(keys[2], result(2.1)).unwrap();
            let counted = Counted::open(&path).unwrap();
            assert_eq!(counted.of(&keys[2]), Some(&result(2.1)), "{length}");
        }
        counted.remove().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_case_is_known_by_all_it_is_counted_from() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        std::fs::create_dir(dir.path().join("p")).unwrap();
        put("a.nii.gz", "truth");
        put("p/report.json", "{}");
        let case = CaseFiles {
            name: "a".into(),
            truth: dir.path().join("a.nii.gz"),
            predicted: Predicted::Folder(dir.path().join("p")),
            no_shuffle: None,
        };
        let key = |case: &CaseFiles, gain| key_of(case, gain).unwrap();
        let first = key(&case, None);
        assert_eq!(key(&case, None), first);
        let original = CaseFiles { no_shuffle: Some(dir.path().join("p")), ..case.clone() };
        let mut others = vec![key(&case, Some(10.0)), key(&original, None)];
        put("p/margin.nii.gz", "m");
        others.push(key(&case, None));
        put("p/margin.nii.gz", "n");
        others.push(key(&case, None));
        put("a.nii.gz", "another");
        others.push(key(&case, None));
        others.push(first);
        let distinct: std::collections::BTreeSet<_> = others.iter().collect();
        assert_eq!(distinct.len(), others.len());
    }
}
