//! The files of one study, and what they amount to.
//!
//! Owns the judgement of a set of files: which phases, which of several copies, under which
//! fingerprint. Knows no time but that of each file's arrival.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::events::{AssembleParams, Millis};
use super::facts::{FileFacts, Format, Part, PhaseFiles, Pick, SliceFacts};
use super::fingerprint::{Digest, Item, fingerprint};
use super::gate::Refusal;
use super::names::Tag;
use super::phases::{Choice, Confidence, PhaseRules, Stack, choose, choose_named};
use super::reasons::RejectCode;
use hepalert_study::study::Phase;
use hepalert_voxels::volume::dicom::acquisitions::{Member, split};

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

/// A file of the study that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct BrokenFile {
    /// Why.
    pub code: RejectCode,
    /// The reader's own sentence.
    pub said: String,
    /// Digest of its series, if its header could be read.
    pub series: Option<Digest>,
    /// SHA-256 of what is in it.
    pub content: Digest,
}

/// Everything known of one study.
#[derive(Debug, Default)]
pub struct Gathered {
    /// Files that count.
    pub files: BTreeMap<PathBuf, Held>,
    /// Files that belong here and cannot be used.
    pub broken: BTreeMap<PathBuf, BrokenFile>,
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
    /// The picked files.
    pub phases: Vec<PhaseFiles>,
    /// When the first phase was scanned.
    pub acquired_ms: Option<i64>,
}

/// One phase's copies: for each instance the files that hold it.
struct Picked {
    choice: Choice,
    format: Format,
    series: Option<Digest>,
    acquired_ms: Option<i64>,
    copies: BTreeMap<Identity, Vec<Holder>>,
    is_split: bool,
    newest: Millis,
    has_hole: bool,
}

/// Who a slice is: its instance, and where it lies in tenths of a millimetre, since broken
/// senders give several slices one instance UID. The instance alone goes into fingerprints.
type Identity = (Digest, Option<i64>);

/// A file that holds a slice, which of its images, and the file's content.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Holder {
    path: PathBuf,
    frame: Option<usize>,
    content: Digest,
}

/// One image in a file.
#[derive(Clone)]
struct Image<'a> {
    path: &'a PathBuf,
    held: &'a Held,
    slice: &'a SliceFacts,
    /// Which of several in the file.
    frame: Option<usize>,
}

impl Image<'_> {
    fn identity(&self) -> Identity {
        let tenths = |mm: f64| (10.0 * mm).round() as i64;
        (self.slice.instance, self.slice.position_mm.map(tenths))
    }
}

/// The slices of one stack.
struct Slices<'a> {
    stack: Stack,
    images: Vec<Image<'a>>,
    is_split: bool,
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
        held.chain(self.broken.values().map(|file| (file.content, file.content)))
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
        if self.too_many {
            return refused(RejectCode::TooManyFiles, "more files than max_files");
        }
        let worst = |files: &mut dyn Iterator<Item = &BrokenFile>| -> Option<Judgement> {
            files.min().map(|file| refused(file.code, &file.said))
        };
        if self.files.is_empty() {
            return worst(&mut self.broken.values())
                .unwrap_or_else(|| refused(RejectCode::Vanished, "no file is left"));
        }
        match self.pick(expected, rules) {
            Ok(picked) => {
                let mut missed = self.broken.values().filter(|file| Self::is_missed(file, &picked));
                worst(&mut missed).unwrap_or_else(|| Judgement::Whole(versions(&picked)))
            }
            Err(code) => worst(&mut self.broken.values())
                .unwrap_or_else(|| refused(code, &self.said_of(code))),
        }
    }

    /// Whether a broken file may be an image of what was picked: it is of that series, or
    /// nobody knows of which it is.
    fn is_missed(file: &BrokenFile, picked: &[Picked]) -> bool {
        let is_of = |series: Digest| picked.iter().any(|picked| picked.series == Some(series));
        file.series.is_none_or(is_of)
    }

    /// Why nothing could be picked, in the reader's own sentence if it has one.
    fn said_of(&self, code: RejectCode) -> String {
        let slices = || self.files.values().flat_map(|held| held.facts.part.slices());
        let of_code = |slice: &&SliceFacts| slice.set_aside == Some(code);
        if let Some(said) = slices().filter(of_code).find_map(|slice| slice.said.clone()) {
            return said;
        }
        match code {
            RejectCode::MissingPhase => "no choice of series fits the engine's phases".to_owned(),
            _ => format!("{} images", slices().count()),
        }
    }

    /// True when every expected phase is there beyond doubt, without holes, and no image of
    /// the study came after `since`.
    pub fn is_surely_whole(&self, expected: &[Phase], rules: &PhaseRules, since: Millis) -> bool {
        let images = self.files.values().filter(|held| match &held.facts.part {
            Part::Nifti(_) => true,
            part => part.slices().iter().any(|slice| slice.set_aside.is_none()),
        });
        let quiet = images.map(|held| held.at).max().is_some_and(|newest| newest <= since);
        if !quiet || !self.broken.is_empty() || self.too_many {
            return false;
        }
        let sure = |picked: &Picked| {
            let named = picked.choice.confidence == Confidence::High;
            !picked.has_hole && picked.newest <= since && (named || picked.format == Format::Nifti)
        };
        self.pick(expected, rules).is_ok_and(|picked| picked.iter().all(sure))
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
                Part::Slice(_) | Part::Frames(_) => None,
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
        let choices = choose(&stacks, expected, rules)?;
        Ok(choices.into_iter().map(|choice| slices[choice.at].picked(choice)).collect())
    }

    /// The slices by series, fitness and acquisition, in an order that does not depend on
    /// arrival.
    fn stacks(&self) -> Vec<Slices<'_>> {
        let mut groups: BTreeMap<_, Vec<Image<'_>>> = BTreeMap::new();
        for (path, held) in &self.files {
            let slices = held.facts.part.slices();
            let in_frames = matches!(held.facts.part, Part::Frames(_));
            for (at, slice) in slices.iter().enumerate() {
                let frame = in_frames.then_some(at);
                let group = groups.entry((slice.series, slice.set_aside)).or_default();
                group.push(Image { path, held, slice, frame });
            }
        }
        groups.into_values().flat_map(acquisitions).collect()
    }
}

/// The acquisitions of one series. Copies of a slice go where the slice goes.
fn acquisitions(images: Vec<Image<'_>>) -> Vec<Slices<'_>> {
    if images[0].slice.set_aside.is_some() {
        return vec![Slices::new(images, false)];
    }
    let firsts: BTreeMap<Identity, &SliceFacts> =
        images.iter().rev().map(|image| (image.identity(), image.slice)).collect();
    let member = |slice: &&'_ SliceFacts| (slice.acquired_ms, slice.position_mm);
    let members: Vec<Member<'_>> = firsts
        .values()
        .map(|slice| {
            let (acquired_ms, position_mm) = member(slice);
            Member { marks: &slice.marks, acquired_ms, position_mm }
        })
        .collect();
    let parts = split(&members);
    if parts.len() < 2 {
        return vec![Slices::new(images, false)];
    }
    let mut part_of: Vec<usize> = vec![0; members.len()];
    for (part, places) in parts.iter().enumerate() {
        places.iter().for_each(|place| part_of[*place] = part);
    }
    let places: BTreeMap<Identity, usize> = firsts.keys().copied().zip(part_of).collect();
    let of_part = |part: usize| {
        let is_here = |image: &&Image<'_>| places.get(&image.identity()) == Some(&part);
        Slices::new(images.iter().filter(is_here).cloned().collect(), true)
    };
    (0..parts.len()).map(of_part).collect()
}

impl<'a> Slices<'a> {
    fn new(images: Vec<Image<'a>>, is_split: bool) -> Slices<'a> {
        let slices = || images.iter().map(|image| image.slice);
        let identities: BTreeSet<Identity> = images.iter().map(Image::identity).collect();
        let positions = || slices().filter_map(|slice| slice.position_mm);
        let low = positions().fold(f64::INFINITY, f64::min);
        let high = positions().fold(f64::NEG_INFINITY, f64::max);
        let stack = Stack {
            series: images[0].slice.series,
            set_aside: images[0].slice.set_aside,
            description: slices().map(|s| s.description.clone()).min().unwrap_or_default(),
            contrast: slices().any(|slice| slice.contrast),
            acquired_ms: slices().filter_map(|slice| slice.acquired_ms).min(),
            slices: identities.len(),
            coverage_mm: (high - low).max(0.0),
        };
        Slices { stack, images, is_split }
    }

    fn has_hole(&self) -> bool {
        let mut mm: Vec<f64> =
            self.images.iter().filter_map(|image| image.slice.position_mm).collect();
        mm.sort_by(f64::total_cmp);
        let mut steps: Vec<f64> =
            mm.windows(2).map(|pair| pair[1] - pair[0]).filter(|step| *step > 0.01).collect();
        steps.sort_by(f64::total_cmp);
        let usual = steps.get(steps.len() / 2);
        usual.is_some_and(|usual| steps.last().is_some_and(|largest| *largest > HOLE * usual))
    }

    fn picked(&self, choice: Choice) -> Picked {
        let mut copies: BTreeMap<Identity, Vec<Holder>> = BTreeMap::new();
        for image in &self.images {
            let (path, frame) = (image.path.clone(), image.frame);
            let copy = Holder { path, frame, content: image.held.facts.content };
            copies.entry(image.identity()).or_default().push(copy);
        }
        Picked {
            choice,
            format: Format::Dicom,
            series: Some(self.stack.series),
            acquired_ms: self.stack.acquired_ms,
            copies,
            is_split: self.is_split,
            newest: self.images.iter().map(|image| image.held.at).max().unwrap_or_default(),
            has_hole: self.has_hole(),
        }
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
        let copy = |(path, held): &(&PathBuf, &Held)| Holder {
            path: (*path).clone(),
            frame: None,
            content: held.facts.content,
        };
        let identity = (files[0].1.facts.identity(), None);
        Picked {
            choice,
            format: Format::Nifti,
            series: None,
            acquired_ms: None,
            copies: BTreeMap::from([(identity, files.iter().map(copy).collect())]),
            is_split: false,
            newest: files.iter().map(|(_, held)| held.at).max().unwrap_or_default(),
            has_hole: false,
        }
    };
    Ok(choose_named(&tags, expected)?.into_iter().map(picked).collect())
}

/// With copies in several folders: one version per folder, its copy preferred. The first is
/// that with the smallest fingerprint, so that neither paths nor order decide.
fn versions(picked: &[Picked]) -> Vec<Version> {
    let several = picked.iter().flat_map(|p| p.copies.values()).filter(|files| files.len() > 1);
    let mut folders: BTreeSet<Option<&Path>> =
        several.flatten().map(|copy| copy.path.parent()).collect();
    if folders.is_empty() {
        folders.insert(None);
    }
    let mut versions: Vec<Version> =
        folders.into_iter().take(MAX_COPIES).map(|folder| version(picked, folder)).collect();
    versions.sort_by_key(|version| version.fingerprint);
    versions.dedup_by_key(|version| version.fingerprint);
    versions
}

fn version(picked: &[Picked], preferred: Option<&Path>) -> Version {
    let mut phases = Vec::new();
    let mut parts: Vec<(Option<Phase>, Vec<Item>)> = Vec::new();
    for Picked { choice, format, copies, is_split, .. } in picked {
        // Copies in the preferred folder first, then by content; equal content by path.
        let rank =
            |copy: &&Holder| (copy.path.parent() != preferred, copy.content, copy.path.clone());
        let best: Vec<(Digest, &Holder)> = copies
            .iter()
            .filter_map(|((id, _), files)| files.iter().min_by_key(rank).map(|copy| (*id, copy)))
            .collect();
        parts.push((
            Some(choice.phase),
            best.iter().map(|(id, copy)| (*id, copy.content)).collect(),
        ));
        let mut by_file: BTreeMap<&PathBuf, Vec<usize>> = BTreeMap::new();
        for (_, copy) in &best {
            by_file.entry(&copy.path).or_default().extend(copy.frame);
        }
        let files = by_file.keys().map(|path| (*path).clone()).collect();
        let mut frames: Vec<Vec<usize>> = by_file.into_values().collect();
        frames.iter_mut().for_each(|frames| frames.sort_unstable());
        if frames.iter().all(Vec::is_empty) {
            frames.clear();
        }
        let pick = Pick { is_split: *is_split, frames };
        let Choice { phase, source, confidence, .. } = *choice;
        phases.push(PhaseFiles { phase, source, confidence, format: *format, files, pick });
    }
    Version {
        fingerprint: fingerprint(&parts),
        phases,
        acquired_ms: picked.iter().filter_map(|p| p.acquired_ms).min(),
    }
}
