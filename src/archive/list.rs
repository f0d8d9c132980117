//! The list of an archive: which studies there are, of which files, with which content.
//!
//! Owns the file: JSON lines, a heading first, then one study a line in the order of their keys,
//! last the SHA-256 of all that. The same tree gives the same bytes. A list is written once and
//! never replaced: results belong to it by its hash. Lines are read one at a time, so that a list of
//! any length fits. Paths stand relative to the root, which may be mounted elsewhere.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{ArchiveError, Code};
use crate::intake::by_hand::discover::Inventory;
use crate::intake::{Degraded, Digest, PhaseFiles, Refusal, StudyFiles, study_key};
use crate::report::output::{self, OutputError};
use crate::ui::counted;
use hepalert_study::phase::Phase;
use hepalert_study::study::StudyKey;

const SCHEMA: &str = "urn:hepalert:v1:archive-list";
/// A line of a study with the most files that intake takes, each under a long path.
const MAX_LINE_BYTES: u64 = 64 << 20;

/// The heading.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Heading {
    schema: String,
    /// Where the studies were.
    pub root: String,
    /// Sets of phases that were looked for, best first: those of the engines.
    pub wanted: Vec<Vec<Phase>>,
    /// Lines that follow.
    pub studies: usize,
    /// Studies that lie there once more under other names.
    pub copies: usize,
    /// Why this may not be everything: codes.
    pub not_seen: Vec<String>,
}

/// A study of the list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Its key; every line has another.
    pub key: StudyKey,
    /// The folder or file in which it lies, relative to the root, for a person.
    pub place: String,
    /// Number of its files.
    pub files: usize,
    /// What is read; absent for a study that was refused at sight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub study: Option<StudyFiles>,
    /// Why it is not read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Reason>,
}

/// A reason: a code and the numbers behind it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reason {
    /// The code.
    pub code: String,
    /// Never an identifier, never free text of a header.
    pub detail: String,
}

impl From<&Refusal> for Reason {
    fn from(refusal: &Refusal) -> Reason {
        Reason { code: refusal.code.as_str().to_owned(), detail: refusal.detail.clone() }
    }
}

impl Entry {
    /// Reads a line.
    ///
    /// # Errors
    /// [`Code::ListDamaged`].
    pub(crate) fn of(line: &str) -> Result<Entry, ArchiveError> {
        serde_json::from_str(line)
            .map_err(|error| ArchiveError::new(Code::ListDamaged, error.to_string()))
    }

    /// SHA-256 of its input, or of why it is refused: what a result is held against.
    pub(crate) fn fingerprint(&self) -> Digest {
        match (&self.study, &self.refused) {
            (Some(study), _) => study.fingerprint,
            (None, Some(Reason { code, detail })) => {
                Digest::of(format!("{code}\n{detail}\n{}", self.files).as_bytes())
            }
            (None, None) => Digest::of(b""),
        }
    }

    /// The study with its files below a root.
    pub(crate) fn below(&self, root: &Path) -> Option<StudyFiles> {
        self.study.as_ref().map(|study| moved(study, &|path| root.join(path)))
    }
}

/// Which part of a list a task does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shard {
    /// From 1.
    pub number: usize,
    /// Of how many.
    pub of: usize,
}

impl Shard {
    /// Whether the study with this index is its.
    pub(crate) fn holds(self, index: usize) -> bool {
        index % self.of == self.number - 1
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Shard, String> {
        let wrong = || format!("`{text}`: write K/N with K from 1 to N, like 3/8");
        let (number, of) = text.split_once('/').ok_or_else(wrong)?;
        let shard = Shard {
            number: number.parse().map_err(|_| wrong())?,
            of: of.parse().map_err(|_| wrong())?,
        };
        // Ten thousand tasks are more than any array of Slurm has.
        match shard.number >= 1 && shard.number <= shard.of && shard.of <= 10_000 {
            true => Ok(shard),
            false => Err(wrong()),
        }
    }
}

impl std::fmt::Display for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

/// What was found, as it will be written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Draft {
    /// The heading.
    pub heading: Heading,
    /// The studies by key.
    pub entries: Vec<Entry>,
}

impl Draft {
    /// Of everything that lies below a root.
    ///
    /// # Errors
    /// [`Code::TooManyFiles`], [`Code::NoStudies`].
    pub(crate) fn new(
        root: &Path,
        wanted: Vec<Vec<Phase>>,
        stock: Inventory,
    ) -> Result<Draft, ArchiveError> {
        if let Some(Degraded::TooManyFiles(most)) =
            stock.degraded.iter().find(|why| matches!(why, Degraded::TooManyFiles(_)))
        {
            let about = format!("{}: more than {most} files and folders", root.display());
            return Err(ArchiveError::new(Code::TooManyFiles, about));
        }
        let passed_over: usize = stock.passed_over.values().sum();
        let relative = |path: &Path| path.strip_prefix(root).unwrap_or(path).to_owned();
        let studies = stock.found.studies.into_iter().map(|study| Entry {
            key: study.key.clone(),
            place: relative(&study.place()).display().to_string(),
            files: study.files().count(),
            study: Some(moved(&study, &relative)),
            refused: None,
        });
        let refused = stock.found.refused.iter().map(|one| Entry {
            key: one.key.clone(),
            place: relative(&one.place).display().to_string(),
            files: one.refusal.file_count,
            study: None,
            refused: Some((&one.refusal).into()),
        });
        let mut entries: Vec<Entry> = studies.chain(refused).collect();
        entries
            .sort_by(|a, b| a.key.cmp(&b.key).then_with(|| a.fingerprint().cmp(&b.fingerprint())));
        if entries.is_empty() {
            let about = format!("{}: {} passed over", root.display(), counted(passed_over, "file"));
            return Err(ArchiveError::new(Code::NoStudies, about));
        }
        each_once(&mut entries);
        let copies = stock.found.copies;
        let not_seen = stock.degraded.iter().map(|why| why.code().to_owned()).collect();
        let heading = Heading {
            schema: SCHEMA.to_owned(),
            root: root.display().to_string(),
            wanted,
            studies: entries.len(),
            copies,
            not_seen,
        };
        Ok(Draft { heading, entries })
    }

    fn write(&self, to: &mut dyn Write) -> io::Result<Digest> {
        let mut to = Hashing { to: BufWriter::new(to), hash: Sha256::new() };
        to.line(&self.heading)?;
        self.entries.iter().try_for_each(|entry| to.line(entry))?;
        let digest = Digest::from(<[u8; 32]>::from(to.hash.finalize()));
        writeln!(to.to, "{{\"sha256\":\"{digest}\"}}")?;
        to.to.flush()?;
        Ok(digest)
    }

    /// Writes the list under a name that is free, or finds it there already. True if it was there.
    ///
    /// # Errors
    /// [`Code::ListDiffers`] if another one is there, [`OutputError`] if it cannot be written.
    pub(crate) fn save(&self, path: &Path) -> Result<(Digest, bool), SaveError> {
        let digest = self.write(&mut io::sink()).map_err(|reason| failed(path, reason))?;
        if fs::symlink_metadata(path).is_ok() {
            return match List::open(path, |_, _| Ok(None::<()>)) {
                Ok(there) if there.digest == digest => Ok((digest, true)),
                _ => Err(ArchiveError::at(Code::ListDiffers, path).into()),
            };
        }
        output::put_with(path, &[], |file| self.write(file).map(drop))?;
        Ok((digest, false))
    }
}

/// Why a list is not saved.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SaveError {
    /// Another is there.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// It cannot be written.
    #[error(transparent)]
    Output(#[from] OutputError),
}

fn failed(path: &Path, reason: io::Error) -> OutputError {
    OutputError::File { path: path.to_owned(), reason }
}

/// A list as it was read: of each line what the reader picked.
#[derive(Debug)]
pub(crate) struct List<T> {
    /// The heading.
    pub heading: Heading,
    /// SHA-256 of the list.
    pub digest: Digest,
    /// In the order of the list.
    pub picked: Vec<T>,
}

impl<T> List<T> {
    /// Reads a list. `pick` is given the index of each study and its line, and keeps what it needs.
    ///
    /// # Errors
    /// [`Code::ListMissing`], or [`Code::ListDamaged`] if it is not as it was written.
    pub(crate) fn open(
        path: &Path,
        mut pick: impl FnMut(usize, &str) -> Result<Option<T>, ArchiveError>,
    ) -> Result<List<T>, ArchiveError> {
        let damaged =
            |why: &str| ArchiveError::new(Code::ListDamaged, format!("{} ({why})", path.display()));
        let file = File::open(path).map_err(|_| ArchiveError::at(Code::ListMissing, path))?;
        let mut lines = Lines { from: BufReader::new(file), hash: Sha256::new() };
        let first = lines.next().map_err(damaged)?;
        let heading: Heading =
            serde_json::from_str(&first).map_err(|_| damaged("no heading of a list"))?;
        if heading.schema != SCHEMA {
            return Err(damaged("no heading of a list"));
        }
        let mut picked = Vec::new();
        for index in 0..heading.studies {
            let line = lines.next().map_err(damaged)?;
            picked.extend(pick(index, &line).map_err(|error| damaged(&error.about))?);
        }
        let digest = Digest::from(<[u8; 32]>::from(lines.hash.clone().finalize()));
        let last = lines.next().map_err(damaged)?;
        if last != format!("{{\"sha256\":\"{digest}\"}}") {
            return Err(damaged("its hash is another"));
        }
        match lines.next() {
            Err(CUT_OFF) => Ok(List { heading, digest, picked }),
            _ => Err(damaged("something follows its end")),
        }
    }

    /// The root, where it is now.
    ///
    /// # Errors
    /// [`Code::RootMissing`].
    pub(crate) fn root(&self, elsewhere: Option<&Path>) -> Result<PathBuf, ArchiveError> {
        let root = elsewhere.map_or_else(|| PathBuf::from(&self.heading.root), Path::to_owned);
        match root.is_dir() || root.is_file() {
            true => Ok(root),
            false => Err(ArchiveError::at(Code::RootMissing, &root)),
        }
    }
}

const CUT_OFF: &str = "it ends too early";

struct Lines {
    from: BufReader<File>,
    hash: Sha256,
}

impl Lines {
    fn next(&mut self) -> Result<String, &'static str> {
        let mut line = Vec::new();
        let read = (&mut self.from).take(MAX_LINE_BYTES).read_until(b'\n', &mut line);
        read.map_err(|_| "it cannot be read")?;
        self.hash.update(&line);
        match line.pop() {
            Some(b'\n') => String::from_utf8(line).map_err(|_| "it is no text"),
            _ => Err(CUT_OFF),
        }
    }
}

/// Writes and hashes.
struct Hashing<W: Write> {
    to: W,
    hash: Sha256,
}

impl<W: Write> Hashing<W> {
    fn line(&mut self, value: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(value)?;
        line.push(b'\n');
        self.hash.update(&line);
        self.to.write_all(&line)
    }
}

/// A study under other paths.
fn moved(study: &StudyFiles, to: &dyn Fn(&Path) -> PathBuf) -> StudyFiles {
    let mut study = study.clone();
    let candidates = study.candidates.iter_mut().map(|candidate| &mut candidate.files);
    study.phases.iter_mut().chain(candidates).for_each(|phase| move_phase(phase, to));
    study
}

fn move_phase(phase: &mut PhaseFiles, to: &dyn Fn(&Path) -> PathBuf) {
    phase.files.iter_mut().for_each(|path| *path = to(path));
    phase.others.iter_mut().for_each(|other| move_phase(other, to));
}

/// A key that stands twice is a study and, say, files beside it that are refused: the second gets a
/// key of its own, made of the first.
fn each_once(entries: &mut [Entry]) {
    let mut before: Option<StudyKey> = None;
    let mut count = 0;
    for entry in entries.iter_mut() {
        count = if before.as_ref() == Some(&entry.key) { count + 1 } else { 0 };
        before = Some(entry.key.clone());
        if count > 0 {
            entry.key = study_key(b"archive", &format!("{} {count}", entry.key));
        }
    }
    entries.sort_by(|a, b| a.key.cmp(&b.key));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(letter: char) -> Entry {
        Entry {
            key: StudyKey::new(&letter.to_string().repeat(32)).unwrap(),
            place: format!("year/{letter}"),
            files: 3,
            study: None,
            refused: Some(Reason { code: "no_ct_series".into(), detail: String::new() }),
        }
    }

    fn draft(letters: &str) -> Draft {
        let entries: Vec<Entry> = letters.chars().map(entry).collect();
        let heading = Heading {
            schema: SCHEMA.to_owned(),
            root: "/archive".into(),
            wanted: vec![vec![Phase::Vp]],
            studies: entries.len(),
            copies: 0,
            not_seen: Vec::new(),
        };
        Draft { heading, entries }
    }

    fn keys(path: &Path) -> Result<List<String>, ArchiveError> {
        List::open(path, |_, line| Entry::of(line).map(|entry| Some(entry.place)))
    }

    #[test]
    fn a_list_is_written_once_and_believed_only_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list.jsonl");
        let (digest, was_there) = draft("ab").save(&path).unwrap();
        assert!(!was_there);
        assert!(draft("ab").save(&path).unwrap().1, "the same again is no change");
        assert!(draft("abc").save(&path).is_err(), "another is");
        let read = keys(&path).unwrap();
        assert_eq!((read.digest, read.picked), (digest, vec!["year/a".into(), "year/b".into()]));
        let whole = fs::read(&path).unwrap();
        assert!(whole.starts_with(output::LIST.as_bytes()));
        let text = String::from_utf8(whole.clone()).unwrap();
        let mut broken: Vec<Vec<u8>> =
            (0..whole.len()).step_by(7).map(|n| whole[..n].to_vec()).collect();
        broken.push(text.replace("year/b", "year/c").into_bytes());
        broken.push(text.replace("\"files\":3", "\"files\":4").into_bytes());
        broken.push([&whole[..], b"x\n"].concat());
        for bytes in broken {
            fs::write(&path, &bytes).unwrap();
            assert_eq!(keys(&path).unwrap_err().code, Code::ListDamaged);
        }
    }

    #[test]
    fn every_study_is_in_one_shard() {
        for text in ["0/4", "5/4", "1", "1/0", "a/b", "1/20000"] {
            assert!(text.parse::<Shard>().is_err(), "{text}");
        }
        let shards: Vec<Shard> = (1..=3).map(|k| format!("{k}/3").parse().unwrap()).collect();
        for index in 0..20 {
            assert_eq!(shards.iter().filter(|shard| shard.holds(index)).count(), 1);
        }
    }

    #[test]
    fn a_key_that_stands_twice_becomes_two() {
        let mut entries = vec![entry('a'), entry('a'), entry('b')];
        each_once(&mut entries);
        let keys: std::collections::BTreeSet<_> = entries.iter().map(|e| e.key.as_str()).collect();
        assert_eq!(keys.len(), 3);
    }
}
