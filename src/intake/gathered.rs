//! The files of one study, and what they amount to.
//!
//! Owns the judgement of a set of files: which phases, which of several copies, under which
//! fingerprint. Knows no time but that of each file's arrival.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::events::{AssembleParams, Millis};
use super::facts::{Candidate, FileFacts, Format, Part, PhaseFiles, SliceFacts};
use super::fingerprint::{Digest, Item, fingerprint};
use super::gate::Refusal;
use super::names::Tag;
use super::phases::{
    Choice, Confidence, Fitness, PhaseRules, PhaseSource, Scan, Stack, candidates, choose,
    choose_named, scan,
};
use super::reasons::RejectCode;
use hepalert_study::study::Phase;

/// More folders than this with copies of one study are not told apart.
const MAX_COPIES: usize = 16;

/// A step this many times the usual one is a hole.
const HOLE: f64 = 1.5;

/// A file that counts, and when it came.
#[derive(Debug, Clone)]
pub struct Held {
    /// What it is.
    pub facts: FileFacts,
    /// When it settled.
    pub at: Millis,
}

/// Everything known of one study.
#[derive(Debug, Default)]
pub struct Gathered {
    /// Files that count.
    pub files: BTreeMap<PathBuf, Held>,
    /// Files that belong here and cannot be used, with the digest of what is in them.
    pub broken: BTreeMap<PathBuf, (RejectCode, Digest)>,
    /// More files came than a study may have.
    pub too_many: bool,
    /// How many files hold each instance.
    held: BTreeMap<Digest, usize>,
}

/// What a set of files amounts to.
#[derive(Debug)]
pub enum Judgement {
    /// Every expected phase, in several versions if slices lie in several copies.
    Whole(Vec<Version>),
    /// Not computable.
    Refused {
        /// Of all its files.
        fingerprint: Digest,
        /// Why.
        refusal: Refusal,
    },
}

/// One way to pick a copy of every slice.
#[derive(Debug, Clone)]
pub struct Version {
    /// Of the picked files.
    pub fingerprint: Digest,
    /// The picked files, as far as headers tell phases.
    pub phases: Vec<PhaseFiles>,
    /// The files of every series that may be a phase.
    pub candidates: Vec<Candidate>,
    /// When the first phase was scanned.
    pub acquired_ms: Option<i64>,
}

/// One series' copies: for each instance the files that hold it.
struct Picked {
    /// The phase that its header proposes.
    choice: Option<Choice>,
    /// What its header says; `None` for NIfTI.
    scan: Option<Scan>,
    format: Format,
    acquired_ms: Option<i64>,
    copies: BTreeMap<Digest, Vec<(PathBuf, Digest)>>,
    newest: Millis,
    has_hole: bool,
}

/// The slices of one stack.
struct Slices<'a> {
    stack: Stack,
    held: Vec<(&'a PathBuf, &'a Held, &'a SliceFacts)>,
}

impl Gathered {
    /// Takes a file in, in place of what was at its path.
    pub fn insert(&mut self, path: PathBuf, held: Held) {
        self.remove(&path);
        *self.held.entry(held.facts.identity()).or_default() += 1;
        self.files.insert(path, held);
    }

    /// Lets a file go.
    pub fn remove(&mut self, path: &Path) {
        let Some(held) = self.files.remove(path) else { return };
        let identity = held.facts.identity();
        if let Some(count) = self.held.get_mut(&identity) {
            *count -= 1;
            if *count == 0 {
                self.held.remove(&identity);
            }
        }
    }

    /// True when a file is this instance.
    pub fn holds(&self, identity: Digest) -> bool {
        self.held.contains_key(&identity)
    }

    /// True when nothing is left.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && self.broken.is_empty()
    }

    /// Identity and content of everything that is here.
    pub fn items(&self) -> impl Iterator<Item = Item> {
        let held = self.files.values().map(|held| (held.facts.identity(), held.facts.content));
        held.chain(self.broken.values().map(|(_, content)| (*content, *content)))
    }

    /// What these files amount to, for the first engine whose phases are all there.
    pub fn judge_any(&self, params: &AssembleParams) -> Judgement {
        let AssembleParams { expected, instead, rules, .. } = params;
        let first = self.judge(expected, rules);
        let Judgement::Refused { refusal, .. } = &first else { return first };
        if refusal.code != RejectCode::MissingPhase {
            return first;
        }
        let others = instead.iter().map(|expected| self.judge(expected, rules));
        others.into_iter().find(|other| matches!(other, Judgement::Whole(_))).unwrap_or(first)
    }

    /// What these files amount to now.
    pub fn judge(&self, expected: &[Phase], rules: &PhaseRules) -> Judgement {
        let refused = |code, detail: &str| {
            let refusal = Refusal::new(code, detail, self.files.len() + self.broken.len());
            Judgement::Refused { fingerprint: self.whole_fingerprint(), refusal }
        };
        if let Some((code, _)) = self.broken.values().min() {
            return refused(*code, "a file of the study cannot be used");
        }
        if self.too_many {
            return refused(RejectCode::TooManyFiles, "more files than max_files");
        }
        if self.files.is_empty() {
            return refused(RejectCode::Vanished, "no file is left");
        }
        match self.pick(expected, rules) {
            Ok(picked) => Judgement::Whole(versions(&picked, expected)),
            Err(code) => refused(code, "no choice of series fits the engine's phases"),
        }
    }

    /// True when every expected phase is there beyond doubt, without holes, and no image of
    /// the study came after `since`.
    pub fn is_surely_whole(&self, expected: &[Phase], rules: &PhaseRules, since: Millis) -> bool {
        let images = self.files.values().filter(|held| match &held.facts.part {
            Part::Slice(slice) => slice.set_aside.is_none(),
            Part::Nifti(_) => true,
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
            let chosen = || picked.iter().filter(|picked| picked.choice.is_some());
            chosen().count() == expected.len() && chosen().all(sure)
        })
    }

    /// True when a series has a hole that a slice may still fill; a slice that was given up
    /// explains its hole.
    pub fn awaits_slices(&self) -> bool {
        let is_torn = |slices: &Slices<'_>| slices.stack.set_aside.is_none() && slices.has_hole();
        self.broken.is_empty() && self.stacks().iter().any(is_torn)
    }

    /// The fingerprint of everything, used or not: names a refused study.
    fn whole_fingerprint(&self) -> Digest {
        let items: BTreeSet<Item> = self.items().collect();
        fingerprint(&[(None, items.into_iter().collect())])
    }

    fn pick(&self, expected: &[Phase], rules: &PhaseRules) -> Result<Vec<Picked>, RejectCode> {
        let names: Vec<(Tag, &PathBuf, &Held)> = self
            .files
            .iter()
            .filter_map(|(path, held)| match &held.facts.part {
                Part::Nifti(name) => Some((name.tag, path, held)),
                Part::Slice(_) => None,
            })
            .collect();
        if names.is_empty() {
            self.pick_slices(expected, rules)
        } else {
            pick_named(names, expected)
        }
    }

    fn pick_slices(
        &self,
        expected: &[Phase],
        rules: &PhaseRules,
    ) -> Result<Vec<Picked>, RejectCode> {
        let slices = self.stacks();
        let stacks: Vec<Stack> = slices.iter().map(|slices| slices.stack.clone()).collect();
        let mut at = candidates(&stacks, rules)?;
        let is_sharp = |at: &usize| stacks[*at].recon.fitness == Fitness::Sharp;
        if at.iter().any(|at| !is_sharp(at)) {
            // A kernel for lung or bone is read only if there is no other.
            at.retain(|at| !is_sharp(at));
        }
        if at.len() < expected.len() {
            return Err(RejectCode::MissingPhase);
        }
        let scans: Vec<Scan> = at.iter().map(|&at| scan(&stacks[at], rules)).collect();
        let unseen = vec![None; scans.len()];
        // What names leave open, images may tell.
        let choices = choose(&scans, &unseen, expected).choices.unwrap_or_default();
        let choice = |n: usize| choices.iter().find(|choice| choice.at == n).copied();
        let numbered = at.iter().zip(scans).enumerate();
        Ok(numbered.map(|(n, (&at, scan))| slices[at].picked(choice(n), scan)).collect())
    }

    /// The slices by series and fitness, in an order that does not depend on arrival.
    fn stacks(&self) -> Vec<Slices<'_>> {
        let mut groups: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (path, held) in &self.files {
            if let Part::Slice(slice) = &held.facts.part {
                let group = groups.entry((slice.series, slice.set_aside)).or_default();
                group.push((path, held, slice));
            }
        }
        groups.into_values().map(Slices::new).collect()
    }
}

impl<'a> Slices<'a> {
    fn new(held: Vec<(&'a PathBuf, &'a Held, &'a SliceFacts)>) -> Slices<'a> {
        let slices = || held.iter().map(|(_, _, slice)| *slice);
        let instances: BTreeSet<Digest> = slices().map(|slice| slice.instance).collect();
        let positions = || slices().filter_map(|slice| slice.position_mm);
        let low = positions().fold(f64::INFINITY, f64::min);
        let high = positions().fold(f64::NEG_INFINITY, f64::max);
        let stack = Stack {
            series: held[0].2.series,
            set_aside: held[0].2.set_aside,
            description: slices().map(|s| s.description.clone()).min().unwrap_or_default(),
            protocol: slices().map(|s| s.protocol.clone()).min().unwrap_or_default(),
            recon: held[0].2.recon.clone(),
            contrast: slices().any(|slice| slice.contrast),
            acquired_ms: slices().filter_map(|slice| slice.acquired_ms).min(),
            slices: instances.len(),
            coverage_mm: (high - low).max(0.0),
        };
        Slices { stack, held }
    }

    fn has_hole(&self) -> bool {
        let mut mm: Vec<f64> = self.held.iter().filter_map(|(_, _, s)| s.position_mm).collect();
        mm.sort_by(f64::total_cmp);
        let mut steps: Vec<f64> =
            mm.windows(2).map(|pair| pair[1] - pair[0]).filter(|step| *step > 0.01).collect();
        steps.sort_by(f64::total_cmp);
        let usual = steps.get(steps.len() / 2);
        usual.is_some_and(|usual| steps.last().is_some_and(|largest| *largest > HOLE * usual))
    }

    fn picked(&self, choice: Option<Choice>, scan: Scan) -> Picked {
        let mut copies: BTreeMap<Digest, Vec<(PathBuf, Digest)>> = BTreeMap::new();
        for (path, held, slice) in &self.held {
            let files = copies.entry(slice.instance).or_default();
            files.push(((*path).clone(), held.facts.content));
        }
        let newest = self.held.iter().map(|(_, held, _)| held.at).max().unwrap_or_default();
        let acquired_ms = self.stack.acquired_ms;
        let has_hole = self.has_hole();
        let (scan, format) = (Some(scan), Format::Dicom);
        Picked { choice, scan, format, acquired_ms, copies, newest, has_hole }
    }
}

/// NIfTI files of one case; two files with one tag (`.nii` and `.nii.gz`) are copies.
fn pick_named(
    names: Vec<(Tag, &PathBuf, &Held)>,
    expected: &[Phase],
) -> Result<Vec<Picked>, RejectCode> {
    let mut by_tag: BTreeMap<Tag, Vec<(&PathBuf, &Held)>> = BTreeMap::new();
    for (tag, path, held) in names {
        by_tag.entry(tag).or_default().push((path, held));
    }
    let tags: Vec<Tag> = by_tag.keys().copied().collect();
    let picked = |choice: Choice| {
        let files = &by_tag[&tags[choice.at]];
        let copies = files.iter().map(|(path, held)| ((*path).clone(), held.facts.content));
        let copies = BTreeMap::from([(files[0].1.facts.identity(), copies.collect())]);
        let newest = files.iter().map(|(_, held)| held.at).max().unwrap_or_default();
        let (format, acquired_ms, has_hole) = (Format::Nifti, None, false);
        let (choice, scan) = (Some(choice), None);
        Picked { choice, scan, format, acquired_ms, copies, newest, has_hole }
    };
    Ok(choose_named(&tags, expected)?.into_iter().map(picked).collect())
}

/// With copies in several folders: one version per folder, its copy preferred. The first is
/// that with the smallest fingerprint, so that neither paths nor order decide.
fn versions(picked: &[Picked], expected: &[Phase]) -> Vec<Version> {
    let several = picked.iter().flat_map(|p| p.copies.values()).filter(|files| files.len() > 1);
    let mut folders: BTreeSet<Option<&Path>> =
        several.flatten().map(|(path, _)| path.parent()).collect();
    if folders.is_empty() {
        folders.insert(None);
    }
    let mut versions: Vec<Version> =
        folders.into_iter().take(MAX_COPIES).map(|f| version(picked, f, expected)).collect();
    versions.sort_by_key(|version| version.fingerprint);
    versions.dedup_by_key(|version| version.fingerprint);
    versions
}

fn version(picked: &[Picked], preferred: Option<&Path>, expected: &[Phase]) -> Version {
    let (mut phases, mut candidates) = (Vec::new(), Vec::new());
    let mut parts: Vec<(Option<Phase>, Vec<Item>)> = Vec::new();
    for Picked { choice, scan, format, copies, .. } in picked {
        // Copies in the preferred folder first, then by content; equal content by path.
        let rank = |(path, content): &&(PathBuf, Digest)| {
            (path.parent() != preferred, *content, path.clone())
        };
        let best: Vec<(Digest, &(PathBuf, Digest))> = copies
            .iter()
            .filter_map(|(id, files)| files.iter().min_by_key(rank).map(|file| (*id, file)))
            .collect();
        let phase = choice.map(|choice| choice.phase);
        parts.push((phase, best.iter().map(|(id, file)| (*id, file.1)).collect()));
        let mut files: Vec<PathBuf> = best.iter().map(|(_, file)| file.0.clone()).collect();
        files.sort();
        let files = PhaseFiles {
            phase: phase.or(expected.first().copied()).unwrap_or(Phase::Nc),
            source: choice.map_or(PhaseSource::Order, |choice| choice.source),
            confidence: choice.map_or(Confidence::Low, |choice| choice.confidence),
            format: *format,
            files,
        };
        phases.extend(choice.map(|_| files.clone()));
        candidates.extend(scan.clone().map(|scan| Candidate { scan, files }));
    }
    phases.sort_by_key(|files| files.phase);
    Version { fingerprint: fingerprint(&parts), phases, candidates, acquired_ms: acquired(picked) }
}

/// When the first phase began; of all series where headers tell no phase.
fn acquired(picked: &[Picked]) -> Option<i64> {
    let chosen = picked.iter().filter(|p| p.choice.is_some()).filter_map(|p| p.acquired_ms).min();
    chosen.or(picked.iter().filter_map(|p| p.acquired_ms).min())
}
