//! The series of one study, and the order in which they are read as a phase.
//!
//! Owns the second choice: of several series of one scan the whole and suited come first, and
//! the others stand by in case the first cannot be read. Refuses to take a series of another
//! scan for one that is broken: that would be another phase.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::phases::{
    Choice, Confidence, Fitness, PhaseRules, Scan, Stack, candidates, choose, choose_named,
    named_surely, recon, scan,
};
use super::versions::{Picked, SliceCopy};
use crate::intake::events::Millis;
use crate::intake::facts::{FileFacts, Format, MAX_CHOICES, SliceFacts};
use crate::intake::fingerprint::{Digest, fingerprint};
use crate::intake::folder::names::Tag;
use crate::intake::refusal_codes::RefusalCode;
use hepalert_study::phase::Phase;
use hepalert_voxels::volume::dicom::acquisitions::{Member, split};

/// A step this many times the usual one is a hole.
const HOLE: f64 = 1.5;

/// A file that counts, and when it came.
#[derive(Debug, Clone)]
pub(super) struct Arrived {
    /// What it is.
    pub facts: FileFacts,
    /// When it settled.
    pub at: Millis,
    /// When it was last changed or put there, by its file system.
    pub changed_ns: i128,
}

/// A slice with its path and its arrival.
#[derive(Clone, Copy)]
pub(super) struct SliceOf<'a> {
    /// Where it lies.
    pub path: &'a PathBuf,
    /// When its file came.
    pub arrived: &'a Arrived,
    /// What it is.
    pub slice: &'a SliceFacts,
    /// Which of several images in its file.
    pub frame: Option<usize>,
}

/// The slices of one acquisition of a series.
pub(super) struct Slices<'a> {
    stack: Stack,
    held: Vec<SliceOf<'a>>,
    /// Why a file of this series cannot be used, if one cannot.
    broken: Option<RefusalCode>,
    /// The series holds further acquisitions.
    is_split: bool,
    has_hole: bool,
}

/// The acquisitions of one series. Copies of a slice go where the slice goes.
pub(super) fn acquisitions(held: Vec<SliceOf<'_>>, broken: Option<RefusalCode>) -> Vec<Slices<'_>> {
    if held[0].slice.refused.is_some() {
        return vec![Slices::new(held, broken, false)];
    }
    let firsts: BTreeMap<Digest, &SliceFacts> =
        held.iter().rev().map(|one| (one.slice.identity(), one.slice)).collect();
    let members: Vec<Member<'_>> = firsts
        .values()
        .map(|slice| Member {
            marks: &slice.marks,
            acquired_ms: slice.acquired_ms,
            position_mm: slice.position_mm,
        })
        .collect();
    let parts = split(&members);
    if parts.len() < 2 {
        return vec![Slices::new(held, broken, false)];
    }
    let identities: Vec<Digest> = firsts.keys().copied().collect();
    let of_part = |part: &Vec<usize>| {
        let here: BTreeSet<Digest> = part.iter().map(|place| identities[*place]).collect();
        let is_here = |one: &SliceOf<'_>| here.contains(&one.slice.identity());
        Slices::new(held.iter().copied().filter(is_here).collect(), broken, true)
    };
    parts.iter().map(of_part).collect()
}

impl<'a> Slices<'a> {
    fn new(held: Vec<SliceOf<'a>>, broken: Option<RefusalCode>, is_split: bool) -> Slices<'a> {
        let slices = || held.iter().map(|one| one.slice);
        let identities: BTreeSet<Digest> = slices().map(SliceFacts::identity).collect();
        let positions = || slices().filter_map(|slice| slice.position_mm);
        let low = positions().fold(f64::INFINITY, f64::min);
        let high = positions().fold(f64::NEG_INFINITY, f64::max);
        // Of the pixels alone: a UID decides nothing.
        let contents: BTreeSet<Digest> = held.iter().map(|one| one.arrived.facts.shown()).collect();
        let items = contents.into_iter().map(|content| (content, content)).collect();
        let stack = Stack {
            content: fingerprint(&[(None, items)]),
            refused: held[0].slice.refused,
            description: slices().map(|s| s.description.clone()).min().unwrap_or_default(),
            contrast: slices().any(|slice| slice.contrast),
            acquired_ms: slices().filter_map(|slice| slice.acquired_ms).min(),
            slices: identities.len(),
            coverage_mm: (high - low).max(0.0),
            protocol: slices().map(|s| s.protocol.clone()).min().unwrap_or_default(),
            recon: held[0].slice.recon.clone(),
        };
        let has_hole = has_hole(slices().filter_map(|slice| slice.position_mm).collect());
        Slices { stack, held, broken, is_split, has_hole }
    }

    /// Why these images cannot be a phase, if they cannot.
    pub(super) fn refused(&self) -> Option<RefusalCode> {
        self.stack.refused
    }

    /// How many files there are.
    pub(super) fn files(&self) -> usize {
        self.held.iter().map(|one| one.path).collect::<BTreeSet<_>>().len()
    }

    /// A slice is missing between others.
    pub(super) fn has_hole(&self) -> bool {
        self.has_hole
    }

    fn picked(&self, choice: Option<Choice>, scan: Scan, is_second: bool) -> Picked {
        // The series' name stands over all its acquisitions: it tells not which of them this is.
        let doubted = |choice| Choice { confidence: Confidence::Low, ..choice };
        let choice = if self.is_split { choice.map(doubted) } else { choice };
        let of = |one: &SliceOf<'_>| SliceCopy {
            instance: one.slice.instance,
            identity: one.slice.identity(),
            frame: one.frame,
            ..held(one.path, one.arrived)
        };
        Picked {
            choice,
            scan: Some(scan),
            format: Format::Dicom,
            acquired_ms: self.stack.acquired_ms,
            held: self.held.iter().map(of).collect(),
            newest: self.held.iter().map(|one| one.arrived.at).max().unwrap_or_default(),
            has_hole: self.has_hole,
            is_second,
            is_split: self.is_split,
        }
    }
}

fn has_hole(mut mm: Vec<f64>) -> bool {
    mm.sort_by(f64::total_cmp);
    let mut steps: Vec<f64> =
        mm.windows(2).map(|pair| pair[1] - pair[0]).filter(|step| *step > 0.01).collect();
    steps.sort_by(f64::total_cmp);
    let usual = steps.get(steps.len() / 2);
    usual.is_some_and(|usual| steps.last().is_some_and(|largest| *largest > HOLE * usual))
}

fn held(path: &Path, arrived: &Arrived) -> SliceCopy {
    let Arrived { facts, changed_ns, .. } = arrived;
    SliceCopy {
        path: path.to_owned(),
        content: facts.content,
        shown: facts.shown(),
        instance: facts.instance(),
        identity: facts.identity(),
        frame: None,
        changed_ns: *changed_ns,
    }
}

/// Every series that may be a phase, with the phase that its header proposes. What names leave
/// open, images may tell.
///
/// # Errors
/// Why everything was set aside; the reason of a broken file where no whole series is left;
/// [`RefusalCode::MissingPhase`] for fewer series than phases.
pub(super) fn pick_slices(
    slices: &[Slices<'_>],
    expected: &[Phase],
    rules: &PhaseRules,
) -> Result<Vec<Vec<Picked>>, RefusalCode> {
    let stacks: Vec<Stack> = slices.iter().map(|slices| slices.stack.clone()).collect();
    let mut at = candidates(&stacks, rules)?;
    let scans: Vec<Scan> = stacks.iter().map(|stack| scan(stack, rules)).collect();
    // Neither order of arrival nor a UID shows.
    at.sort_by(|&a, &b| by_name(&stacks[a]).cmp(&by_name(&stacks[b])));
    // Slices that cannot be read leave a series short, and nothing may show it.
    let lost = lost(slices, &scans, &at, expected);
    let broken = at.iter().find_map(|&at| slices[at].broken);
    let broken_ranks: Vec<_> = at
        .iter()
        .filter(|&&at| slices[at].broken.is_some())
        .map(|&at| (named_surely(&scans[at]), recon::rank(&scans[at])))
        .collect();
    at.retain(|&at| slices[at].broken.is_none());
    let is_sharp = |at: &usize| stacks[*at].recon.fitness == Fitness::Sharp;
    if at.iter().any(|at| !is_sharp(at) && !slices[*at].has_hole()) {
        // A kernel for lung or bone is read only if there is no other.
        at.retain(|at| !is_sharp(at));
    }
    if at.len() < expected.len() || lost.is_some() {
        return Err(lost.or(broken).unwrap_or(RefusalCode::MissingPhase));
    }
    let scans: Vec<Scan> = at.iter().map(|&at| scans[at].clone()).collect();
    let unseen = vec![None; scans.len()];
    let weighed = choose(&scans, &unseen, expected);
    let better_broken = |n: usize| {
        let (named, best) = (named_surely(&scans[n]), recon::rank(&scans[n]));
        broken_ranks.iter().any(|(phase, rank)| named.is_some() && *phase == named && *rank > best)
    };
    let mut left: BTreeSet<usize> = (0..at.len()).collect();
    let mut picked = Vec::new();
    for choice in weighed.choices.unwrap_or_default() {
        // Whole series of the same acquisition first; otherwise in the order of rank.
        let same = |n: &usize| weighed.acquisition[*n] == weighed.acquisition[choice.at];
        let mut order: Vec<usize> = left.iter().copied().filter(same).collect();
        let key = |&n: &usize| (slices[at[n]].has_hole(), Reverse(recon::rank(&scans[n])));
        order.sort_by_key(key);
        order.truncate(MAX_CHOICES);
        left.retain(|n| !order.contains(n));
        let is_second = order.first() != Some(&choice.at) || better_broken(choice.at);
        let read = order.into_iter().map(|n| {
            let choice = Choice { at: n, ..choice };
            slices[at[n]].picked(Some(choice), scans[n].clone(), is_second)
        });
        picked.push(read.collect());
    }
    picked.extend(
        left.into_iter().map(|n| vec![slices[at[n]].picked(None, scans[n].clone(), false)]),
    );
    Ok(picked)
}

/// The reason of a broken series that names a wanted phase, if no whole one names it: what is
/// left is another phase.
fn lost(
    slices: &[Slices<'_>],
    scans: &[Scan],
    at: &[usize],
    expected: &[Phase],
) -> Option<RefusalCode> {
    let named = |at: usize| named_surely(&scans[at]);
    let whole =
        |phase: Phase| at.iter().any(|&at| slices[at].broken.is_none() && named(at) == Some(phase));
    at.iter().find_map(|&at| {
        named(at).filter(|phase| expected.contains(phase) && !whole(*phase))?;
        slices[at].broken
    })
}

/// What orders series that are equal otherwise: acquisitions as the scanner made them.
fn by_name(stack: &Stack) -> (Option<i64>, &str, Option<i64>, Option<i64>, Digest) {
    let Stack { recon, description, acquired_ms, content, .. } = stack;
    (recon.series_number, description, recon.acquisition_number, *acquired_ms, *content)
}

/// NIfTI files of one case; two files with one tag (`.nii` and `.nii.gz`) are copies.
///
/// # Errors
/// As [`choose_named`].
pub(super) fn pick_named(
    names: Vec<(Tag, &PathBuf, &Arrived)>,
    expected: &[Phase],
) -> Result<Vec<Vec<Picked>>, RefusalCode> {
    let mut by_tag: BTreeMap<Tag, Vec<(&PathBuf, &Arrived)>> = BTreeMap::new();
    for (tag, path, arrived) in names {
        by_tag.entry(tag).or_default().push((path, arrived));
    }
    let tags: Vec<Tag> = by_tag.keys().copied().collect();
    let picked = |choice: Choice| {
        let files = &by_tag[&tags[choice.at]];
        vec![Picked {
            choice: Some(choice),
            scan: None,
            format: Format::Nifti,
            acquired_ms: None,
            held: files.iter().map(|(path, arrived)| held(path, arrived)).collect(),
            newest: files.iter().map(|(_, arrived)| arrived.at).max().unwrap_or_default(),
            has_hole: false,
            is_second: false,
            is_split: false,
        }]
    };
    Ok(choose_named(&tags, expected)?.into_iter().map(picked).collect())
}
