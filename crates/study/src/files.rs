//! A study as files: which files are which phase, how that was found, how they are read.
//!
//! Owns [`StudyFiles`], which travels from intake through the store to the inference process,
//! and its JSON. Refuses to carry a UID or free text in clear.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr};

use crate::digest::Digest;
use crate::phase::Phase;
use crate::series::Scan;
use crate::study::{PatientKey, StudyKey};

/// Which rule named a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, EnumString, IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum PhaseSource {
    /// The site's own patterns.
    Configured,
    /// Words of the series description.
    Description,
    /// With or without contrast agent.
    Contrast,
    /// The order of acquisition.
    Order,
    /// There was no other series.
    OnlySeries,
    /// The name of a NIfTI file.
    FileName,
    /// A person said so on the command line.
    Given,
    /// What the images show.
    Images,
    /// What the images show, and names agree.
    NamesAndImages,
}

impl PhaseSource {
    /// The name in messages.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// How sure the rule is.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    EnumString,
    IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Confidence {
    /// Nothing contradicts, and little speaks for it.
    Low,
    /// One weak sign.
    Medium,
    /// The phase is named.
    High,
}

impl Confidence {
    /// The name in messages.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// A series that may be a phase.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// What its header says.
    pub scan: Scan,
    /// Its files. Phase, source and confidence are what the header proposes, and the engine's
    /// first phase where it proposes none.
    pub files: PhaseFiles,
}

/// How much of a series is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeriesHeld {
    /// Digest of its UID.
    pub series: Digest,
    /// Its images, each once.
    pub images: usize,
    /// Of these, how many may be read.
    pub read: usize,
}

/// A study that is whole: the files of each phase, ready to load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StudyFiles {
    /// Who this is, without saying who.
    pub key: StudyKey,
    /// 1, and one more each time further files change a study that was complete.
    pub revision: u32,
    /// Of the files below: equal input, equal fingerprint, wherever the files lie.
    pub fingerprint: Digest,
    /// In channel order, as far as headers say: empty where only images can tell.
    pub phases: Vec<PhaseFiles>,
    /// Every series that may be a phase; what its images show decides. None for NIfTI.
    #[serde(default)]
    pub candidates: Vec<Candidate>,
    /// When the first phase was scanned, `2025-01-31T10:11:12.000` on the scanner's clock.
    pub acquired: Option<String>,
    /// Files of the study that are no part of a phase: scouts, reports, other series.
    #[serde(rename = "set_aside")]
    pub unused: usize,
    /// Files beside the images that should be images and cannot be read: perhaps missing slices.
    #[serde(default)]
    pub unreadable_beside: usize,
    /// Whose it is, where all images name one patient.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patient: Option<PatientKey>,
    /// Every series. None for NIfTI, and of a study that was queued before this was kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub series: Vec<SeriesHeld>,
    /// Report of the study of the same patient that was read here last, if one is kept: findings are
    /// followed from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prior: Option<PathBuf>,
    /// Every file of the study when it was accepted, read or not: what it is and what it shows, as
    /// [`seen`] has it. None of a study that was accepted before this was kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seen: Vec<Digest>,
}

/// A file of a study, by who it is and what it shows.
pub fn seen(identity: Digest, shown: Digest) -> Digest {
    Digest::of(&[*identity.as_bytes(), *shown.as_bytes()].concat())
}

/// Whether all images that an earlier account may have read are here.
pub fn holds_all(here: &[SeriesHeld], earlier: &[SeriesHeld]) -> bool {
    let has = |wanted: &SeriesHeld| {
        let here = here.iter().find(|held| held.series == wanted.series);
        here.is_some_and(|held| held.images >= wanted.read)
    };
    earlier.iter().filter(|wanted| wanted.read > 0).all(has)
}

/// How an archive knows a slice.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SliceName {
    /// InstanceNumber, which viewers show.
    pub instance_number: Option<i64>,
    /// SOPInstanceUID.
    pub sop_uid: String,
}

/// Most series of one scan that are tried one after the other.
pub const MAX_CHOICES: usize = 4;

/// The folder that holds all of the files; of one file itself.
pub fn place_of<'a>(files: impl IntoIterator<Item = &'a Path>) -> PathBuf {
    let mut files = files.into_iter();
    let Some(first) = files.next() else { return PathBuf::new() };
    let mut place = first.to_owned();
    for file in files {
        while !file.starts_with(&place) {
            place.pop();
        }
    }
    place
}

impl StudyFiles {
    /// The folder that holds all files of the study, chosen or not; of one file itself.
    pub fn place(&self) -> PathBuf {
        place_of(self.files())
    }

    /// The study with the next series of each phase that has one, for a study that cannot be
    /// computed with the first. `None` if there is no other.
    pub fn next_choice(&self) -> Option<StudyFiles> {
        let next = |phase: &PhaseFiles| match phase.others.split_first() {
            None => phase.clone(),
            Some((first, rest)) => {
                PhaseFiles { is_second: true, others: rest.to_vec(), ..first.clone() }
            }
        };
        let has_other = self.phases.iter().any(|phase| !phase.others.is_empty());
        let phases = self.phases.iter().map(next).collect();
        has_other.then(|| StudyFiles { phases, ..self.clone() })
    }

    /// One of the series that may be a phase, and of a study that has no choice of them, one of
    /// its phases.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn series(&self, at: usize) -> &PhaseFiles {
        match self.candidates.as_slice() {
            [] => &self.phases[at],
            candidates => &candidates[at].files,
        }
    }

    /// Whether all that may have been read by an earlier account of the study is here.
    pub fn holds(&self, earlier: &StudyFiles) -> bool {
        holds_all(&self.series, &earlier.series)
    }

    /// All files of all phases, and of series that may be one.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let candidates = self.candidates.iter().map(|candidate| &candidate.files);
        let phases = self.phases.iter().filter(|_| self.candidates.is_empty());
        candidates.chain(phases).flat_map(|phase| phase.files.iter().map(PathBuf::as_path))
    }
}

/// The files of one phase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseFiles {
    /// Which phase.
    pub phase: Phase,
    /// Which rule said so.
    pub source: PhaseSource,
    /// How sure the rule is.
    pub confidence: Confidence,
    /// How to read the files.
    pub format: Format,
    /// One NIfTI file or the slices, in no particular order of space.
    #[serde(with = "paths")]
    pub files: Vec<PathBuf>,
    /// What was in each of them when the study was accepted. A study queued by a program that
    /// did not keep this yet has none, and is then not as accepted.
    #[serde(default)]
    pub contents: Vec<Digest>,
    /// Another series of the same scan would be read first, were it whole.
    #[serde(default)]
    pub is_second: bool,
    /// Further series of the same scan, to be read if this one cannot be; best first.
    #[serde(default)]
    pub others: Vec<PhaseFiles>,
    /// What is read of the files, if not all.
    #[serde(default, skip_serializing_if = "Pick::is_all")]
    pub pick: Pick,
}

/// What of the files of a series makes a phase.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pick {
    /// The series holds further acquisitions.
    #[serde(default)]
    pub is_split: bool,
    /// For each file that holds several images, which of them; empty if no file does.
    #[serde(default)]
    pub frames: Vec<Vec<usize>>,
}

impl Pick {
    fn is_all(&self) -> bool {
        *self == Pick::default()
    }
}

impl PhaseFiles {
    /// The file with this index as it was accepted.
    pub fn accepted(&self, at: usize) -> Accepted<'_> {
        Accepted { path: &self.files[at], content: self.contents.get(at).copied() }
    }
}

/// A file, and what was in it when its study was accepted.
#[derive(Debug, Clone, Copy)]
pub struct Accepted<'a> {
    /// Where it lies.
    pub path: &'a Path,
    /// Its SHA-256, if it was kept.
    pub content: Option<Digest>,
}

/// How the files of a phase are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// One file per slice.
    Dicom,
    /// One file.
    Nifti,
}

/// Paths as text; what is not UTF-8 as `bytes:` and hex, so that no path is lost.
mod paths {
    use std::ffi::OsString;
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    use std::path::{Path, PathBuf};

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// What a path that is not UTF-8 begins with.
    const BYTES: &str = "bytes:";

    pub(super) fn serialize<S: Serializer>(paths: &[PathBuf], s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(paths.iter().map(|path| text_of(path)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<PathBuf>, D::Error> {
        let texts = Vec::<String>::deserialize(d)?;
        let paths: Option<Vec<PathBuf>> = texts.iter().map(|text| path_of(text)).collect();
        paths.ok_or_else(|| D::Error::custom("not a path"))
    }

    fn text_of(path: &Path) -> String {
        match path.to_str() {
            Some(text) if !text.starts_with(BYTES) => text.to_owned(),
            _ => format!("{BYTES}{}", crate::digest::hex(path.as_os_str().as_bytes())),
        }
    }

    fn path_of(text: &str) -> Option<PathBuf> {
        let Some(hex) = text.strip_prefix(BYTES) else { return Some(PathBuf::from(text)) };
        let bytes = base16ct::lower::decode_vec(hex).ok()?;
        Some(PathBuf::from(OsString::from_vec(bytes)))
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn a_study_holds_what_was_read_of_it_before_or_has_lost_it() {
        let of = |held: &[(&str, usize, usize)]| {
            let series = held.iter().map(|(name, images, read)| SeriesHeld {
                series: Digest::of(name.as_bytes()),
                images: *images,
                read: *read,
            });
            StudyFiles {
                key: StudyKey::new(&"0f".repeat(16)).unwrap(),
                revision: 1,
                fingerprint: Digest::of(b"x"),
                phases: Vec::new(),
                candidates: Vec::new(),
                acquired: None,
                unused: 0,
                unreadable_beside: 0,
                patient: None,
                series: series.collect(),
                prior: None,
                seen: Vec::new(),
            }
        };
        let before = of(&[("venous", 60, 60), ("scout", 2, 0)]);
        assert!(
            of(&[("venous", 60, 0), ("late", 60, 60)]).holds(&before),
            "here, and not read now"
        );
        assert!(!of(&[("late", 60, 60), ("scout", 2, 0)]).holds(&before));
        assert!(!of(&[("venous", 59, 59)]).holds(&before));
        assert!(of(&[]).holds(&of(&[])), "nothing is known of it");
    }

    #[test]
    fn a_study_goes_over_the_wire_without_loss() {
        let odd = PathBuf::from(OsStr::from_bytes(b"/e/\xff x.dcm"));
        let study = StudyFiles {
            key: StudyKey::new(&"0f".repeat(16)).unwrap(),
            revision: 3,
            fingerprint: Digest::of(b"x"),
            phases: vec![PhaseFiles {
                phase: Phase::Vp,
                source: PhaseSource::OnlySeries,
                confidence: Confidence::Low,
                format: Format::Dicom,
                files: vec!["/e/ä.dcm".into(), odd, "bytes:zz".into()],
                contents: [b"a", b"b", b"c"].map(|bytes| Digest::of(bytes)).to_vec(),
                is_second: true,
                others: Vec::new(),
                pick: Pick { is_split: true, frames: vec![vec![], vec![3, 1], vec![]] },
            }],
            candidates: Vec::new(),
            acquired: None,
            unused: 2,
            unreadable_beside: 1,
            patient: Some(PatientKey::new(StudyKey::new(&"a0".repeat(16)).unwrap())),
            series: vec![SeriesHeld { series: Digest::of(b"s"), images: 3, read: 2 }],
            prior: Some("/r/report.json".into()),
            seen: vec![seen(Digest::of(b"who"), Digest::of(b"what"))],
        };
        let text = serde_json::to_string(&study).unwrap();
        assert!(
            text.contains(r#""phase":"vp","source":"only_series","confidence":"low""#),
            "{text}"
        );
        assert_eq!(serde_json::from_str::<StudyFiles>(&text).unwrap(), study);
        assert!(serde_json::from_str::<StudyFiles>(&text.replace("\"vp\"", "\"xx\"")).is_err());
        assert!(serde_json::from_str::<StudyFiles>(&text.replace("bytes:2f", "bytes:2")).is_err());
    }
}
