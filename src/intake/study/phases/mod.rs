//! Which series is which phase, and which reconstruction of it is read.
//!
//! Owns the witnesses: the site's rules, words of the header ([`words`]), contrast
//! agent, time and what the images show; how they are weighed is `hepalert_phases::joint`. Owns
//! the order among reconstructions ([`recon`]). Refuses to guess: a phase that the witnesses
//! leave open is `phase_uncertain`, one that nothing speaks for is missing. Free text goes in
//! and never comes out.

use hepalert_phases::Seen;
use hepalert_phases::joint::{Acquisition, RULE, STATES, STRONG, WEAK, weigh};

use crate::intake::fingerprint::Digest;
use crate::intake::folder::names::Tag;
use crate::intake::refusal_codes::RefusalCode;
use hepalert_study::phase::Phase;

pub(crate) mod recon;
pub(crate) mod words;

pub use hepalert_phases::rules::{self, Header, Rule, Ruled};
pub use hepalert_study::files::{Confidence, PhaseSource};
pub use hepalert_study::series::{Fitness, Namer, Recon, Scan, Witness};

/// The site's rules, first match wins.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PhaseRules {
    /// In the order of the configuration.
    pub rules: Vec<Rule>,
}

/// The images of one series that belong together.
#[derive(Debug, Clone, PartialEq)]
pub struct Stack {
    /// Digest of what is in its images, not of any UID.
    pub content: Digest,
    /// Why these images cannot be a phase, if they cannot.
    pub refused: Option<RefusalCode>,
    /// SeriesDescription.
    pub description: String,
    /// ProtocolName.
    pub protocol: String,
    /// A contrast agent is named.
    pub contrast: bool,
    /// When its first slice was acquired, in ms on the scanner's clock.
    pub acquired_ms: Option<i64>,
    /// Different slices.
    pub slices: usize,
    /// Along the normal, first to last, in mm.
    pub coverage_mm: f64,
    /// How it was made.
    pub recon: Recon,
}

/// A phase, the place of its series in the list given, and how it was found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Choice {
    /// The phase.
    pub phase: Phase,
    /// Index of the series or name.
    pub at: usize,
    /// Which rule.
    pub source: PhaseSource,
    /// How sure.
    pub confidence: Confidence,
}

/// What became of every series.
#[derive(Debug, Clone, PartialEq)]
pub struct Weighed {
    /// One per expected phase, or why not.
    pub choices: Result<Vec<Choice>, RefusalCode>,
    /// Probability of nc, ap, vp, dp and none of these, per series.
    pub probabilities: Vec<[f64; STATES]>,
    /// Series of one acquisition carry one number.
    pub acquisition: Vec<usize>,
}

impl Weighed {
    /// The most probable phase of a series, `None` for none of these, and how probable it is.
    pub fn best(&self, at: usize) -> (Option<Phase>, f64) {
        let p = self.probabilities[at];
        let best = (0..p.len()).fold(0, |best, at| if p[at] > p[best] { at } else { best });
        (Phase::ALL.get(best).copied(), p[best])
    }
}

/// Stacks this short are bolus tracking or scouts and never a phase, unless alone.
const FEW_SLICES: usize = 8;
/// Reconstructions that begin within this time are of one scan: phases are at least ten
/// seconds apart, and a scan of the abdomen takes about five.
const ONE_SCAN_MS: i64 = 5_000;
/// A phase less probable than this is not read.
const LEAST: f64 = 0.6;
/// A phase less probable than this in every series is not there.
const THERE: f64 = 0.2;
/// A scan of chest and abdomen in one run is portal venous as a rule.
pub(super) const REGION: f64 = 3.0;
/// An agent is named: contrast so much more likely.
const AGENT: f64 = 4.0;

/// Stacks that can be a phase at all, by index.
///
/// # Errors
/// The most telling code: why everything was set aside.
pub fn candidates(stacks: &[Stack], rules: &PhaseRules) -> Result<Vec<usize>, RefusalCode> {
    let possible: Vec<usize> = (0..stacks.len())
        .filter(|&at| stacks[at].refused.is_none() && !is_never(&stacks[at], rules))
        .collect();
    if possible.is_empty() {
        // Most telling last: a reformat says more than a scout, a scout more than a report.
        let weight = |code: &RefusalCode| match code {
            RefusalCode::Reformatted => 3,
            RefusalCode::NotAxial => 2,
            RefusalCode::Localiser => 1,
            _ => 0,
        };
        let codes = stacks.iter().filter_map(|stack| stack.refused);
        return Err(codes.max_by_key(weight).unwrap_or(RefusalCode::NoCtSeries));
    }
    let long: Vec<usize> =
        possible.iter().copied().filter(|&at| stacks[at].slices >= FEW_SLICES).collect();
    Ok(if long.is_empty() { possible } else { long })
}

fn is_never(stack: &Stack, rules: &PhaseRules) -> bool {
    matches!(rules::first(&rules.rules, header(stack)), Some((_, Ruled::Never)))
}

fn header(stack: &Stack) -> Header<'_> {
    Header {
        series_description: &stack.description,
        protocol_name: &stack.protocol,
        acquisition_number: stack.recon.acquisition_number,
        series_number: stack.recon.series_number,
    }
}

/// What a stack's header says.
pub fn scan(stack: &Stack, rules: &PhaseRules) -> Scan {
    Scan {
        named: witnesses(stack, rules),
        contrast: stack.contrast,
        acquired_ms: stack.acquired_ms,
        slices: stack.slices,
        coverage_mm: stack.coverage_mm,
        recon: stack.recon.clone(),
    }
}

/// The site's rule alone where one matches; else every text that is clear.
fn witnesses(stack: &Stack, rules: &PhaseRules) -> Vec<Witness> {
    if let Some((number, Ruled::Phase(phase))) = rules::first(&rules.rules, header(stack)) {
        return vec![Witness { phase, by: Namer::Rule(number), weight: RULE }];
    }
    let mut found = Vec::new();
    if let Some(said) = words::said(&stack.description) {
        let weight = if said.confidence == Confidence::High { STRONG } else { WEAK };
        found.push(Witness { phase: said.phase, by: Namer::SeriesDescription, weight });
    }
    // A protocol names what is done to many series: never more than a hint.
    if let Some(said) = words::said(&stack.protocol) {
        found.push(Witness { phase: said.phase, by: Namer::ProtocolName, weight: WEAK });
    }
    let texts = [&stack.description, &stack.protocol];
    if texts.iter().any(|text| words::with_chest(text)) && found.is_empty() {
        found.push(Witness { phase: Phase::Vp, by: Namer::Region, weight: REGION });
    }
    found
}

/// Weighs all witnesses; `images` has what each series shows, where that is known.
pub fn choose(scans: &[Scan], images: &[Option<&Seen>], expected: &[Phase]) -> Weighed {
    let acquisition = acquisitions(scans, images);
    let count = acquisition.iter().max().map_or(0, |last| last + 1);
    let groups: Vec<Vec<usize>> = (0..count)
        .map(|group| (0..scans.len()).filter(|&at| acquisition[at] == group).collect())
        .collect();
    let any_agent = scans.iter().any(|scan| scan.contrast);
    let known: Vec<Acquisition> =
        groups.iter().map(|group| known(scans, images, group, any_agent)).collect();
    let weighed = weigh(&known);
    let probabilities: Vec<_> = acquisition.iter().map(|&group| weighed[group]).collect();
    let choices = expected
        .iter()
        .map(|&phase| pick(scans, images, phase, &probabilities, &acquisition))
        .collect::<Result<_, _>>();
    Weighed { choices, probabilities, acquisition }
}

/// The series of every phase that can be told, of what was weighed.
pub fn choose_each(scans: &[Scan], images: &[Option<&Seen>], weighed: &Weighed) -> Vec<Choice> {
    let Weighed { probabilities, acquisition, .. } = weighed;
    let told = |&phase: &Phase| pick(scans, images, phase, probabilities, acquisition).ok();
    Phase::ALL.iter().filter_map(told).collect()
}

/// How sure a phase of this probability is.
pub(super) fn confidence(probability: f64) -> Confidence {
    match probability {
        p if p >= 0.9 => Confidence::High,
        p if p >= 0.7 => Confidence::Medium,
        _ => Confidence::Low,
    }
}

fn pick(
    scans: &[Scan],
    images: &[Option<&Seen>],
    phase: Phase,
    probabilities: &[[f64; STATES]],
    acquisition: &[usize],
) -> Result<Choice, RefusalCode> {
    let p = |at: usize| probabilities[at][phase as usize];
    let best =
        (0..scans.len()).filter(|&at| p(at) >= LEAST).max_by_key(|&at| recon::rank(&scans[at]));
    if let Some(at) = best {
        let confidence = confidence(p(at));
        return Ok(Choice { phase, at, source: source(scans, images, at, phase), confidence });
    }
    let most = (0..scans.len()).map(p).fold(0.0, f64::max);
    let silent = images.iter().all(Option::is_none);
    if silent && acquisition.iter().all(|&at| at == 0) && most > THERE {
        // Nobody has looked yet, and there is no other.
        let at = (0..scans.len()).max_by_key(|&at| recon::rank(&scans[at])).unwrap_or(0);
        let (source, confidence) = (PhaseSource::OnlySeries, Confidence::Low);
        return Ok(Choice { phase, at, source, confidence });
    }
    Err(if most < THERE { RefusalCode::MissingPhase } else { RefusalCode::PhaseUncertain })
}

/// The strongest witness for a phase.
fn source(scans: &[Scan], images: &[Option<&Seen>], at: usize, phase: Phase) -> PhaseSource {
    let named = scans[at].named.iter().filter(|w| w.phase == phase);
    let named = named.max_by(|a, b| a.weight.total_cmp(&b.weight));
    let seen = images[at].is_some_and(|seen| {
        seen.has_evidence() && seen.phases()[phase as usize] >= 1.0 / STATES as f64
    });
    match (named.map(|w| w.by), seen) {
        (Some(Namer::Rule(_)), _) => PhaseSource::Configured,
        (Some(Namer::SeriesDescription | Namer::ProtocolName), true) => PhaseSource::NamesAndImages,
        (_, true) => PhaseSource::Images,
        (Some(Namer::SeriesDescription | Namer::ProtocolName), false) => PhaseSource::Description,
        (Some(Namer::Region) | None, false) if scans.len() == 1 => PhaseSource::OnlySeries,
        (Some(Namer::Region) | None, false) if scans[at].acquired_ms.is_some() => {
            PhaseSource::Order
        }
        (Some(Namer::Region) | None, false) => PhaseSource::Contrast,
    }
}

/// What is known of the series of one acquisition together.
fn known(
    scans: &[Scan],
    images: &[Option<&Seen>],
    group: &[usize],
    any_agent: bool,
) -> Acquisition {
    let evident = group.iter().filter(|&&at| images[at].is_some_and(Seen::has_evidence));
    let seen = evident.max_by_key(|&&at| recon::rank(&scans[at])).and_then(|&at| images[at]);
    let mut named: Vec<(Phase, f64)> = Vec::new();
    for witness in group.iter().flat_map(|&at| &scans[at].named) {
        // Two reconstructions that say the same are one witness.
        match named.iter_mut().find(|(phase, _)| *phase == witness.phase) {
            Some((_, weight)) => *weight = weight.max(witness.weight),
            None => named.push((witness.phase, witness.weight)),
        }
    }
    let agent = group.iter().any(|&at| scans[at].contrast);
    Acquisition {
        images: seen.map(Seen::phases),
        named,
        enhanced: if agent {
            AGENT
        } else if any_agent {
            1.0 / AGENT
        } else {
            1.0
        },
        at_ms: group.iter().filter_map(|&at| scans[at].acquired_ms).min(),
        aorta_hu: seen.and_then(|seen| seen.organs.aorta_hu),
    }
}

/// Numbers the acquisitions, in order of time and then of the list.
fn acquisitions(scans: &[Scan], images: &[Option<&Seen>]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scans.len()).collect();
    order.sort_by_key(|&at| (scans[at].acquired_ms.is_none(), scans[at].acquired_ms, at));
    let mut number = vec![usize::MAX; scans.len()];
    let mut firsts: Vec<usize> = Vec::new();
    for at in order {
        let same = |first: &usize| one_scan(scans, images, *first, at);
        number[at] = firsts.iter().position(same).unwrap_or_else(|| {
            firsts.push(at);
            firsts.len() - 1
        });
    }
    number
}

/// Two series of one acquisition: they began together, or show the same contrast.
fn one_scan(scans: &[Scan], images: &[Option<&Seen>], a: usize, b: usize) -> bool {
    let alike = match (images[a], images[b]) {
        (Some(a), Some(b)) if a.has_evidence() && b.has_evidence() => Some(alike(a, b)),
        _ => None,
    };
    match (scans[a].acquired_ms, scans[b].acquired_ms) {
        // The clock of a series may be that of its study: what is seen stands above it.
        (Some(a), Some(b)) if a.abs_diff(b) <= ONE_SCAN_MS as u64 => alike != Some(Likeness::Other),
        (Some(_), Some(_)) => false,
        _ => match alike {
            Some(Likeness::Same) => true,
            Some(Likeness::Other) => false,
            // Two reconstructions with the same name, and nothing against it.
            Some(Likeness::Open) | None => {
                named_surely(&scans[a]).is_some_and(|p| named_surely(&scans[b]) == Some(p))
            }
        },
    }
}

/// The phase that a header names in a word, or that a rule says.
pub fn named_surely(scan: &Scan) -> Option<Phase> {
    let sure = scan.named.iter().find(|witness| witness.weight >= STRONG);
    sure.map(|witness| witness.phase)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Likeness {
    Same,
    Open,
    Other,
}

/// Whether two series show the same moment of contrast.
fn alike(a: &Seen, b: &Seen) -> Likeness {
    let [a, b] = [&a.organs, &b.organs];
    let off = |a: Option<f32>, b: Option<f32>| match (a, b) {
        (Some(a), Some(b)) => Some((a - b).abs() / a.max(b).max(80.0)),
        _ => None,
    };
    let aorta = off(a.aorta_hu, b.aorta_hu).unwrap_or(0.0);
    let liver = off(a.liver_hu, b.liver_hu).unwrap_or(0.0);
    let spleen = off(a.spleen_hu, b.spleen_hu).unwrap_or(0.0);
    if aorta < 0.05 && liver < 0.06 && spleen < 0.09 {
        Likeness::Same
    } else if aorta > 0.2 || liver > 0.25 {
        Likeness::Other
    } else {
        Likeness::Open
    }
}

/// Picks one NIfTI file per expected phase by the tags of the files of one case.
///
/// # Errors
/// [`RefusalCode::MissingPhase`].
pub fn choose_named(tags: &[Tag], expected: &[Phase]) -> Result<Vec<Choice>, RefusalCode> {
    let channels = tags.iter().filter(|tag| matches!(tag, Tag::Channel(_))).count();
    let stands_for = |tag: Tag, phase: Phase| match (tag, expected) {
        (Tag::Phase(named), _) => (named == phase).then_some(PhaseSource::FileName),
        (Tag::Channel(0), [_]) if channels == 1 => Some(PhaseSource::OnlySeries),
        (Tag::Channel(n), _) => {
            (Phase::ALL.get(usize::from(n)) == Some(&phase)).then_some(PhaseSource::FileName)
        }
        (Tag::Sole, [_]) if tags.len() == 1 => Some(PhaseSource::OnlySeries),
        (Tag::Sole, _) => None,
    };
    let find = |&phase: &Phase| {
        // A letter code says more than a channel number, which says more than nothing.
        let rank = |at: &usize| (matches!(tags[*at], Tag::Phase(_)), std::cmp::Reverse(*at));
        let fitting = (0..tags.len()).filter(|&at| stands_for(tags[at], phase).is_some());
        let at = fitting.max_by_key(rank).ok_or(RefusalCode::MissingPhase)?;
        let source = stands_for(tags[at], phase).unwrap_or(PhaseSource::OnlySeries);
        let confidence = match source {
            PhaseSource::FileName => Confidence::High,
            _ => Confidence::Low,
        };
        Ok(Choice { phase, at, source, confidence })
    };
    expected.iter().map(find).collect()
}

#[cfg(test)]
mod tests;
