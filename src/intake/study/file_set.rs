//! The files of one study, and what they amount to.
//!
//! Owns the judgement of a set of files: which phases, under which fingerprint. Knows no time
//! but that of each file's arrival.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::phases::{Confidence, PhaseRules};
use super::stacks::{Arrived, SliceOf, Slices, acquisitions, pick_named, pick_slices};
use super::versions::{Picked, Version, versions};
use crate::intake::events::{AssembleParams, Millis};
use crate::intake::facts::{FileFacts, Format, Part, SliceFacts};
use crate::intake::fingerprint::{Digest, Item, fingerprint};
use crate::intake::folder::names::Tag;
use crate::intake::folder::stranger_kind::{Counts, StrangerKind};
use crate::intake::reading::gate::Refusal;
use crate::intake::refusal_codes::RefusalCode;
use hepalert_study::phase::Phase;

/// A file that belongs to a study and cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Unusable {
    /// The reason's code.
    pub code: RefusalCode,
    /// The reader's own sentence.
    pub said: String,
    /// What is in it.
    pub content: Digest,
    /// Of which series it is, if that could be read.
    pub series: Option<Digest>,
}

/// Everything known of one study.
#[derive(Debug, Default)]
pub(super) struct StudyFileSet {
    /// Files that count.
    pub files: BTreeMap<PathBuf, Arrived>,
    /// Files that belong here and cannot be used.
    pub broken: BTreeMap<PathBuf, Unusable>,
    /// More files came than a study may have.
    pub too_many: bool,
    /// How many files hold each slice.
    held: BTreeMap<Digest, usize>,
}

/// What a set of files amounts to.
#[derive(Debug)]
pub(super) enum Assessment {
    /// Every expected phase; the first version counts, the others are older copies.
    Whole(Vec<Version>),
    /// Not computable.
    Refused {
        /// Of all its files.
        fingerprint: Digest,
        /// The reason, with its code and detail.
        refusal: Refusal,
    },
}

impl StudyFileSet {
    /// Takes a file in, in place of what was at its path.
    pub(super) fn insert(&mut self, path: PathBuf, arrived: Arrived) {
        self.remove(&path);
        *self.held.entry(arrived.facts.identity()).or_default() += 1;
        self.files.insert(path, arrived);
    }

    /// Lets a file go, and says what it was.
    pub(super) fn remove(&mut self, path: &Path) -> Option<Item> {
        let arrived = self.files.remove(path)?;
        let identity = arrived.facts.identity();
        if let Some(count) = self.held.get_mut(&identity) {
            *count -= 1;
            if *count == 0 {
                self.held.remove(&identity);
            }
        }
        Some((identity, arrived.facts.shown()))
    }

    /// An emptied tree keeps its last node, which is some kilobytes of a study that is remembered
    /// for ever.
    pub(super) fn shrink(&mut self) {
        if self.files.is_empty() {
            (self.files, self.held) = (BTreeMap::new(), BTreeMap::new());
        }
        if self.broken.is_empty() {
            self.broken = BTreeMap::new();
        }
    }

    /// True when a file is this slice.
    pub(super) fn holds(&self, identity: Digest) -> bool {
        self.held.contains_key(&identity)
    }

    /// True when nothing is left.
    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty() && self.broken.is_empty()
    }

    /// How many series are here; a NIfTI file is one of its own.
    pub(super) fn series(&self) -> usize {
        let of_file = |held: &Arrived| match &held.facts.part {
            Part::Nifti(_) => vec![held.facts.instance()],
            part => part.slices().iter().map(|slice| slice.series).collect(),
        };
        let broken = self.broken.values().filter_map(|broken| broken.series);
        let all: BTreeSet<Digest> = self.files.values().flat_map(of_file).chain(broken).collect();
        all.len()
    }

    /// Identity of everything that is here, and what it shows.
    pub(super) fn items(&self) -> impl Iterator<Item = Item> {
        self.items_by(FileFacts::shown)
    }

    fn items_by(&self, digest: impl Fn(&FileFacts) -> Digest) -> impl Iterator<Item = Item> {
        let held =
            self.files.values().map(move |held| (held.facts.identity(), digest(&held.facts)));
        held.chain(self.broken.values().map(|broken| (broken.content, broken.content)))
    }

    /// What these files amount to, for the first engine whose phases are all there.
    pub(super) fn assess_any(&self, params: &AssembleParams) -> Assessment {
        let AssembleParams { expected, instead, rules, .. } = params;
        let first = self.assess(expected, rules);
        let Assessment::Refused { refusal, .. } = &first else { return first };
        if refusal.code != RefusalCode::MissingPhase {
            return first;
        }
        let others = instead.iter().map(|expected| self.assess(expected, rules));
        others.into_iter().find(|other| matches!(other, Assessment::Whole(_))).unwrap_or(first)
    }

    /// What these files amount to now.
    pub(super) fn assess(&self, expected: &[Phase], rules: &PhaseRules) -> Assessment {
        let refused = |code, detail: &str| {
            let refusal = Refusal::new(code, detail, self.files.len() + self.broken.len());
            Assessment::Refused { fingerprint: self.whole_fingerprint(), refusal }
        };
        // A file that is of no series known might be of any.
        let loose =
            self.broken.values().filter(|one| one.series.is_none() || self.files.is_empty());
        if let Some(broken) = loose.min() {
            return refused(broken.code, &broken.said);
        }
        if self.too_many {
            return refused(RefusalCode::TooManyFiles, "more files than max_files");
        }
        if self.files.is_empty() {
            return refused(RefusalCode::Vanished, "no file is left");
        }
        let broken = |code| self.broken.values().find(|broken| broken.code == code);
        match self.pick(expected, rules) {
            Ok(picked) => {
                let versions = versions(&picked, expected);
                match versions.first().is_some_and(|newest| self.is_mixed(newest)) {
                    true => refused(RefusalCode::MixedPatients, "PatientID differs among slices"),
                    false => Assessment::Whole(versions),
                }
            }
            Err(code) => match broken(code) {
                Some(broken) => refused(code, &broken.said),
                None => refused(code, &self.said_of(code)),
            },
        }
    }

    /// Whether what may be read names two patients. Copies that a correction replaces are none of it.
    fn is_mixed(&self, version: &Version) -> bool {
        let phases = version.phases.iter().flat_map(|one| one.others.iter().chain([one]));
        let candidates = version.candidates.iter().map(|one| &one.files);
        let files = phases.chain(candidates).flat_map(|one| &one.files);
        let held = files.filter_map(|path| self.files.get(path));
        let slices = held.flat_map(|held| held.facts.part.slices());
        slices.filter_map(|slice| slice.patient).collect::<BTreeSet<_>>().len() > 1
    }

    /// Why nothing could be picked, in the reader's own sentence if it has one.
    fn said_of(&self, code: RefusalCode) -> String {
        let slices = || self.files.values().flat_map(|held| held.facts.part.slices());
        let of_code = |slice: &&SliceFacts| slice.refused == Some(code);
        match slices().filter(of_code).find_map(|slice| slice.said.clone()) {
            Some(said) => said,
            None if code == RefusalCode::MissingPhase => {
                "no series of this study could be told to be one of the engine's phases".to_owned()
            }
            None => "every series of the study is refused".to_owned(),
        }
    }

    /// True when every expected phase is there beyond doubt, without holes, and no image of
    /// the study came after `since`.
    pub(super) fn is_surely_whole(
        &self,
        expected: &[Phase],
        rules: &PhaseRules,
        since: Millis,
    ) -> bool {
        let images = self.files.values().filter(|held| match &held.facts.part {
            Part::Nifti(_) => true,
            part => part.slices().iter().any(|slice| slice.refused.is_none()),
        });
        let quiet = images.map(|held| held.at).max().is_some_and(|newest| newest <= since);
        if !quiet || !self.broken.is_empty() || self.too_many {
            return false;
        }
        let sure = |picked: &Picked| {
            let named = picked.choice.is_some_and(|c| c.confidence == Confidence::High);
            !picked.has_hole && picked.newest <= since && (named || picked.format == Format::Nifti)
        };
        self.pick(expected, rules).is_ok_and(|picked| {
            let first = || picked.iter().filter_map(|choices| choices.first());
            let chosen = || first().filter(|one| one.choice.is_some());
            chosen().count() == expected.len() && chosen().all(sure)
        })
    }

    /// True when a series has a hole that a slice may still fill; a slice that was given up
    /// explains its hole.
    pub(super) fn awaits_slices(&self) -> bool {
        let is_torn = |slices: &Slices<'_>| slices.refused().is_none() && slices.has_hole();
        self.broken.is_empty() && self.stacks().iter().any(is_torn)
    }

    /// Files that can be no phase, by reason, and those that cannot be used.
    pub(super) fn passed_over(&self) -> Counts {
        let mut counts = Counts::new();
        for slices in self.stacks() {
            if let Some(code) = slices.refused() {
                *counts.entry(StrangerKind::Refused(code)).or_default() += slices.files();
            }
        }
        for broken in self.broken.values() {
            *counts.entry(StrangerKind::Refused(broken.code)).or_default() += 1;
        }
        counts
    }

    /// The fingerprint of everything, used or not: names a refused study.
    pub(super) fn whole_fingerprint(&self) -> Digest {
        let items: BTreeSet<Item> = self.items_by(|facts| facts.content).collect();
        fingerprint(&[(None, items.into_iter().collect())])
    }

    fn pick(
        &self,
        expected: &[Phase],
        rules: &PhaseRules,
    ) -> Result<Vec<Vec<Picked>>, RefusalCode> {
        let names: Vec<(Tag, &PathBuf, &Arrived)> = self
            .files
            .iter()
            .filter_map(|(path, held)| match &held.facts.part {
                Part::Nifti(name) => Some((name.tag, path, held)),
                Part::Slice(_) | Part::Frames(_) => None,
            })
            .collect();
        if names.is_empty() {
            pick_slices(&self.stacks(), expected, rules)
        } else {
            pick_named(names, expected)
        }
    }

    /// The slices by series, fitness and acquisition, in an order that does not depend on arrival.
    fn stacks(&self) -> Vec<Slices<'_>> {
        let mut groups: BTreeMap<_, Vec<SliceOf<'_>>> = BTreeMap::new();
        for (path, arrived) in &self.files {
            let in_frames = matches!(arrived.facts.part, Part::Frames(_));
            for (at, slice) in arrived.facts.part.slices().iter().enumerate() {
                let frame = in_frames.then_some(at);
                let group = groups.entry((slice.series, slice.refused)).or_default();
                group.push(SliceOf { path, arrived, slice, frame });
            }
        }
        let broken = |series: Digest| {
            let of = self.broken.values().filter(|broken| broken.series == Some(series));
            of.map(|broken| broken.code).min()
        };
        let parts = |((series, _), held)| acquisitions(held, broken(series));
        groups.into_iter().flat_map(parts).collect()
    }
}
