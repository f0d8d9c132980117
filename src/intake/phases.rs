//! Which series is which phase.
//!
//! Owns the site's patterns, the built-in words and the order of the rules: the site's
//! patterns, words of the description, contrast agent, order of acquisition. Refuses to
//! invent: a phase that no rule finds is missing. Free text goes in and never comes out.

use super::fingerprint::Digest;
use super::names::Tag;
use super::reasons::RejectCode;
pub use hepalert_study::files::{Confidence, PhaseSource};
use hepalert_study::study::Phase;

/// The site's names: case-insensitive parts of a series description, per phase.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PhaseRules {
    /// First match wins.
    pub patterns: Vec<(Phase, String)>,
}

/// The images of one series that belong together.
#[derive(Debug, Clone, PartialEq)]
pub struct Stack {
    /// SeriesNumber, where said: tells apart what nothing else does.
    pub number: Option<i64>,
    /// Digest of what is in its images, not of any UID.
    pub content: Digest,
    /// Why these images cannot be a phase, if they cannot.
    pub set_aside: Option<RejectCode>,
    /// Series description and protocol name.
    pub description: String,
    /// A contrast agent is named.
    pub contrast: bool,
    /// When its first slice was acquired, in ms on the scanner's clock.
    pub acquired_ms: Option<i64>,
    /// Different slices.
    pub slices: usize,
    /// Along the normal, first to last, in mm.
    pub coverage_mm: f64,
    /// A sharp kernel or a single energy.
    pub last_resort: bool,
}

/// A phase, the place of its stack in the list given, and how it was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// The phase.
    pub phase: Phase,
    /// Index of the stack or name.
    pub at: usize,
    /// Which rule.
    pub source: PhaseSource,
    /// How sure.
    pub confidence: Confidence,
}

/// Stacks this short are bolus tracking or scouts and never a phase, unless alone.
const FEW_SLICES: usize = 8;

/// Reconstructions that begin within this time are of one scan: phases are at least ten
/// seconds apart, and a scan of the abdomen takes about five.
const ONE_SCAN_MS: i64 = 5_000;

/// Words that name a phase whenever they stand alone in a description.
const STRONG: [(Phase, &[&str]); 4] = [
    (
        Phase::Nc,
        &[
            "native",
            "nativ",
            "unenhanced",
            "noncontrast",
            "plain",
            "precontrast",
            "ncct",
            "without",
            "ohne",
            "nonenhanced",
        ],
    ),
    (Phase::Ap, &["arterial", "arteriell", "arterielle", "artphase"]),
    (
        Phase::Vp,
        &[
            "venous",
            "venös",
            "venoes",
            "portal",
            "portalvenous",
            "portovenous",
            "portovenös",
            "portalvenös",
            "pvp",
            "veneuse",
            "venosa",
        ],
    ),
    (Phase::Dp, &["delayed", "equilibrium", "excretory", "spätphase"]),
];

/// Abbreviations, which also mean other things (AP: a scout's view): believed only when no
/// strong word stands beside them, and then with medium confidence.
const WEAK: [(Phase, &[&str]); 4] = [
    (Phase::Nc, &["nc", "wo", "w/o", "pre", "c-"]),
    (Phase::Ap, &["ap", "art", "hap"]),
    (Phase::Vp, &["vp", "pv", "ven", "port"]),
    (Phase::Dp, &["dp", "late", "delay", "spät"]),
];

/// Words of kernels and regions that a liver is not read in.
const UNSUITED: [&str; 7] = ["lung", "lunge", "bone", "knochen", "sharp", "edge", "poumon"];

/// Picks one stack per expected phase.
///
/// # Errors
/// The most telling code: why everything was set aside, or [`RejectCode::MissingPhase`].
pub fn choose(
    stacks: &[Stack],
    expected: &[Phase],
    rules: &PhaseRules,
) -> Result<Vec<Choice>, RejectCode> {
    let candidates = candidates(stacks)?;
    let hints: Vec<Option<Hint>> =
        stacks.iter().map(|stack| hint(&stack.description, rules)).collect();
    let mut chosen: Vec<Choice> =
        expected.iter().filter_map(|&phase| named(stacks, &candidates, &hints, phase)).collect();
    let missing: Vec<Phase> =
        expected.iter().copied().filter(|p| chosen.iter().all(|c| c.phase != *p)).collect();
    let unnamed: Vec<usize> = candidates.into_iter().filter(|&at| hints[at].is_none()).collect();
    match missing[..] {
        [] => {}
        [phase] if expected.len() == 1 => chosen.push(single(stacks, &unnamed, phase)?),
        _ => chosen.extend(ordered(stacks, &unnamed, &missing, &chosen)?),
    }
    chosen.sort_by_key(|choice| choice.phase);
    Ok(chosen)
}

/// Stacks that can be a phase at all.
fn candidates(stacks: &[Stack]) -> Result<Vec<usize>, RejectCode> {
    let possible: Vec<usize> =
        (0..stacks.len()).filter(|&at| stacks[at].set_aside.is_none()).collect();
    if possible.is_empty() {
        // Most telling last: a reformat says more than a scout, a scout more than a report.
        let weight = |code: &RejectCode| match code {
            RejectCode::Reformatted => 3,
            RejectCode::NotAxial => 2,
            RejectCode::Localiser => 1,
            _ => 0,
        };
        let codes = stacks.iter().filter_map(|stack| stack.set_aside);
        return Err(codes.max_by_key(weight).unwrap_or(RejectCode::NoCtSeries));
    }
    let long: Vec<usize> =
        possible.iter().copied().filter(|&at| stacks[at].slices >= FEW_SLICES).collect();
    Ok(if long.is_empty() { possible } else { long })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Hint {
    phase: Phase,
    source: PhaseSource,
    confidence: Confidence,
}

/// What a description says of the phase; `None` if nothing, or two things.
fn hint(description: &str, rules: &PhaseRules) -> Option<Hint> {
    let text = description.to_lowercase();
    let matches = |pattern: &str| !pattern.is_empty() && text.contains(&pattern.to_lowercase());
    if let Some((phase, _)) = rules.patterns.iter().find(|(_, pattern)| matches(pattern)) {
        let (source, confidence) = (PhaseSource::Configured, Confidence::High);
        return Some(Hint { phase: *phase, source, confidence });
    }
    let words = words(&text);
    if with_and_without(&words) {
        return None;
    }
    let found = |table: &[(Phase, &[&str])]| -> Vec<Phase> {
        let says = |names: &[&str]| words.iter().any(|word| names.contains(&word.as_str()));
        table.iter().filter(|(_, names)| says(names)).map(|(phase, _)| *phase).collect()
    };
    let strong = found(&STRONG);
    let (named, confidence) = match strong.is_empty() {
        false => (strong, Confidence::High),
        true => (found(&WEAK), Confidence::Medium),
    };
    let source = PhaseSource::Description;
    (named.len() == 1).then(|| Hint { phase: named[0], source, confidence })
}

/// The words of a lower-case description; pairs that mean one word are joined.
fn words(text: &str) -> Vec<String> {
    let text = text
        .replace("w/o", " wo ")
        .replace("non-contrast", " noncontrast ")
        .replace("non contrast", " noncontrast ")
        .replace("pre-contrast", " precontrast ")
        .replace("ohne km", " ohne ");
    let apart = |c: char| !(c.is_alphanumeric() || c == '-');
    let mut words: Vec<String> = Vec::new();
    for word in text.split(apart).filter(|word| !word.is_empty()) {
        match word {
            "c-" => words.push(word.to_owned()),
            _ => words.extend(word.split('-').filter(|w| !w.is_empty()).map(str::to_owned)),
        }
    }
    words
}

/// "Abdomen w/wo contrast" names an examination, not a phase.
fn with_and_without(words: &[String]) -> bool {
    let has = |list: &[&str]| words.iter().any(|word| list.contains(&word.as_str()));
    has(&["with", "w", "mit"]) && has(&["without", "wo", "ohne"])
}

/// The best of the stacks named as this phase.
fn named(
    stacks: &[Stack],
    candidates: &[usize],
    hints: &[Option<Hint>],
    phase: Phase,
) -> Option<Choice> {
    let of = |at: usize| hints[at].filter(|hint| hint.phase == phase);
    let sure = candidates.iter().filter_map(|&at| of(at)).map(|hint| hint.confidence).max()?;
    let named: Vec<usize> = candidates
        .iter()
        .copied()
        .filter(|&at| of(at).is_some_and(|hint| hint.confidence == sure))
        .collect();
    let at = best(stacks, &named)?;
    of(at).map(|hint| Choice { phase, at, source: hint.source, confidence: hint.confidence })
}

/// The stack to read: a soft kernel, the longest, the finest; ties by series number and
/// description, so that neither order of arrival nor a UID shows.
fn best(stacks: &[Stack], among: &[usize]) -> Option<usize> {
    let rank = |at: usize| {
        let stack = &stacks[at];
        let words = words(&stack.description.to_lowercase());
        let soft =
            !stack.last_resort && !words.iter().any(|word| UNSUITED.contains(&word.as_str()));
        // In steps of 50 mm: two recons of one scan differ by a slice, and are then told
        // apart by how many slices there are.
        let length = (stack.coverage_mm / 50.0).round() as i64;
        (soft, length, stack.slices, std::cmp::Reverse(by_name(stack)))
    };
    among.iter().copied().max_by_key(|&at| rank(at))
}

/// What orders stacks that are equal otherwise.
fn by_name(stack: &Stack) -> (Option<i64>, &str, Digest) {
    (stack.number, &stack.description, stack.content)
}

/// One phase wanted, and no series named as it.
fn single(stacks: &[Stack], unnamed: &[usize], phase: Phase) -> Result<Choice, RejectCode> {
    let enhanced = phase != Phase::Nc;
    let agrees: Vec<usize> =
        unnamed.iter().copied().filter(|&at| stacks[at].contrast == enhanced).collect();
    let groups = by_time(stacks, unnamed);
    let choice = |at, source, confidence| Choice { phase, at, source, confidence };
    if groups.len() == 1 {
        let at = best(stacks, unnamed).ok_or(RejectCode::MissingPhase)?;
        // A named agent speaks for an enhanced phase; no name speaks for nothing.
        let sure = enhanced && stacks[at].contrast;
        let confidence = if sure { Confidence::Medium } else { Confidence::Low };
        return Ok(choice(at, PhaseSource::OnlySeries, confidence));
    }
    let agreeing = by_time(stacks, &agrees);
    if let [group] = &agreeing[..] {
        let at = best(stacks, group).ok_or(RejectCode::MissingPhase)?;
        return Ok(choice(at, PhaseSource::Contrast, Confidence::Medium));
    }
    // Several scans: plain comes first, arterial next, delayed last.
    let groups = if agreeing.is_empty() { groups } else { agreeing };
    let group = match phase {
        Phase::Nc | Phase::Ap => groups.first(),
        Phase::Vp => groups.get(1).filter(|_| groups.len() > 2).or(groups.last()),
        Phase::Dp => groups.last(),
    };
    let at = group.and_then(|group| best(stacks, group)).ok_or(RejectCode::MissingPhase)?;
    Ok(choice(at, PhaseSource::Order, Confidence::Low))
}

/// Several phases missing names: as many scans as phases, in order of acquisition.
fn ordered(
    stacks: &[Stack],
    unnamed: &[usize],
    missing: &[Phase],
    chosen: &[Choice],
) -> Result<Vec<Choice>, RejectCode> {
    let groups = by_time(stacks, unnamed);
    let timed = unnamed.iter().all(|&at| stacks[at].acquired_ms.is_some());
    if groups.len() != missing.len() || !timed {
        return Err(RejectCode::MissingPhase);
    }
    let pairs = missing.iter().zip(&groups);
    let agrees = |phase: Phase, at: usize| stacks[at].contrast == (phase != Phase::Nc);
    let sure = pairs.clone().all(|(&phase, group)| group.iter().all(|&at| agrees(phase, at)));
    let confidence = if sure { Confidence::Medium } else { Confidence::Low };
    let found: Vec<Choice> = pairs
        .filter_map(|(&phase, group)| {
            let at = best(stacks, group)?;
            Some(Choice { phase, at, source: PhaseSource::Order, confidence })
        })
        .collect();
    let mut all: Vec<&Choice> = chosen.iter().chain(&found).collect();
    all.sort_by_key(|choice| choice.phase);
    let when = |choice: &&Choice| stacks[choice.at].acquired_ms;
    let in_order = all.windows(2).all(|pair| match (when(&pair[0]), when(&pair[1])) {
        (Some(a), Some(b)) => a <= b,
        _ => true,
    });
    if in_order { Ok(found) } else { Err(RejectCode::MissingPhase) }
}

/// Stacks of one scan together, in order of acquisition; stacks without time each alone,
/// last. Reconstructions of one scan may begin at different slices, seconds apart.
fn by_time(stacks: &[Stack], among: &[usize]) -> Vec<Vec<usize>> {
    let time = |at: usize| stacks[at].acquired_ms;
    let mut sorted = among.to_vec();
    let key = |at: usize| (time(at).is_none(), time(at), by_name(&stacks[at]));
    sorted.sort_by(|&a, &b| key(a).cmp(&key(b)));
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for at in sorted {
        let one_scan = |group: &&mut Vec<usize>| match (time(group[0]), time(at)) {
            (Some(a), Some(b)) => b.saturating_sub(a) <= ONE_SCAN_MS,
            _ => false,
        };
        match groups.last_mut().filter(one_scan) {
            Some(group) => group.push(at),
            None => groups.push(vec![at]),
        }
    }
    groups
}

/// Picks one NIfTI file per expected phase by the tags of the files of one case.
///
/// # Errors
/// [`RejectCode::MissingPhase`].
pub fn choose_named(tags: &[Tag], expected: &[Phase]) -> Result<Vec<Choice>, RejectCode> {
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
        let at = fitting.max_by_key(rank).ok_or(RejectCode::MissingPhase)?;
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
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn stack(description: &str, contrast: bool, acquired: &str, slices: usize) -> Stack {
        Stack {
            number: None,
            content: Digest::of(format!("{description}{acquired}{slices}").as_bytes()),
            set_aside: None,
            description: description.into(),
            contrast,
            acquired_ms: acquired.parse::<i64>().ok().map(|seconds| seconds * 30_000),
            slices,
            coverage_mm: 200.0,
            last_resort: false,
        }
    }

    fn check(stacks: &[Stack], expected: &[Phase], want: Expect) {
        let text = match choose(stacks, expected, &PhaseRules::default()) {
            Err(code) => format!("{code}\n"),
            Ok(chosen) => chosen
                .iter()
                .map(|c| {
                    let (source, sure) = (c.source.as_str(), c.confidence.as_str());
                    format!("{} = {} ({source}, {sure})\n", c.phase, stacks[c.at].description)
                })
                .collect(),
        };
        want.assert_eq(&text);
    }

    #[test]
    fn four_phases_by_their_words() {
        let stacks = [
            stack("Abdomen arterial 5.0", true, "1", 40),
            stack("Abd nativ 5.0", false, "0", 40),
            stack("Leber portal-venös 5,0", true, "2", 40),
            stack("Abdomen delayed 3min", true, "3", 40),
            stack("Abdomen arterial lung 1.0", true, "1", 200),
        ];
        check(
            &stacks,
            &Phase::ALL,
            expect![[r#"
            nc = Abd nativ 5.0 (description, high)
            ap = Abdomen arterial 5.0 (description, high)
            vp = Leber portal-venös 5,0 (description, high)
            dp = Abdomen delayed 3min (description, high)
        "#]],
        );
    }

    #[test]
    fn words_are_believed_only_when_clear() {
        let says = |text: &str| {
            let hint = hint(text, &PhaseRules::default());
            hint.map_or("-".to_owned(), |h| format!("{} {}", h.phase, h.confidence.as_str()))
        };
        let texts = [
            "ABD W/O",
            "Abdomen w/wo contrast",
            "Abd with and without",
            "CT AP portal",
            "Scout AP",
            "C/A/P 5mm",
            "late arterial",
            "portal venous 70s",
            "arterial / venous",
            "pre-contrast",
            "C- 3.0",
            "late",
            "Thorax",
            "non contrast",
            "PV 1.25mm",
            "art+ven",
            "delay 180s",
        ];
        let table: String = texts.iter().map(|t| format!("{t}: {}\n", says(t))).collect();
        expect![[r#"
            ABD W/O: nc medium
            Abdomen w/wo contrast: -
            Abd with and without: -
            CT AP portal: vp high
            Scout AP: ap medium
            C/A/P 5mm: -
            late arterial: ap high
            portal venous 70s: vp high
            arterial / venous: -
            pre-contrast: nc high
            C- 3.0: nc medium
            late: dp medium
            Thorax: -
            non contrast: nc high
            PV 1.25mm: vp medium
            art+ven: -
            delay 180s: dp medium
        "#]]
        .assert_eq(&table);
    }

    #[test]
    fn the_site_has_the_first_word() {
        let rules = PhaseRules { patterns: vec![(Phase::Dp, "Protokoll 7".into())] };
        let hint = hint("x PROTOKOLL 7 arterial", &rules).unwrap();
        assert_eq!((hint.phase, hint.source), (Phase::Dp, PhaseSource::Configured));
        let empty = PhaseRules { patterns: vec![(Phase::Dp, String::new())] };
        assert_eq!(super::hint("abc", &empty), None, "an empty pattern matches nothing");
    }

    #[test]
    fn a_single_phase_engine_takes_what_fits() {
        let only = [stack("Abdomen 5.0", true, "1", 40)];
        check(
            &only,
            &[Phase::Vp],
            expect![[r#"
            vp = Abdomen 5.0 (only_series, medium)
        "#]],
        );
        let recons = [stack("Abd 5.0", true, "1", 40), stack("Abd 1.0", true, "1", 200)];
        check(
            &recons,
            &[Phase::Vp],
            expect![[r#"
            vp = Abd 1.0 (only_series, medium)
        "#]],
        );
        let two = [stack("Abd", false, "1", 40), stack("Abd km", true, "2", 40)];
        check(
            &two,
            &[Phase::Vp],
            expect![[r#"
            vp = Abd km (contrast, medium)
        "#]],
        );
        check(
            &two,
            &[Phase::Nc],
            expect![[r#"
            nc = Abd (contrast, medium)
        "#]],
        );
        let other = [stack("arterial", true, "1", 40)];
        check(
            &other,
            &[Phase::Vp],
            expect![[r#"
            missing_phase
        "#]],
        );
        let three =
            [stack("a", true, "1", 40), stack("b", true, "2", 40), stack("c", true, "3", 40)];
        check(
            &three,
            &[Phase::Vp],
            expect![[r#"
            vp = b (order, low)
        "#]],
        );
    }

    #[test]
    fn unnamed_phases_go_by_order() {
        let four = [
            stack("s4", true, "900", 40),
            stack("s1", false, "0", 40),
            stack("s3", true, "20", 40),
            stack("s2", true, "10", 40),
        ];
        check(
            &four,
            &Phase::ALL,
            expect![[r#"
            nc = s1 (order, medium)
            ap = s2 (order, medium)
            vp = s3 (order, medium)
            dp = s4 (order, medium)
        "#]],
        );
        check(
            &four[..3],
            &Phase::ALL,
            expect![[r#"
            missing_phase
        "#]],
        );
        let mixed = [
            stack("x", true, "5", 40),
            stack("nativ", false, "1", 40),
            stack("y", true, "3", 40),
            stack("venous", true, "4", 40),
        ];
        check(
            &mixed,
            &Phase::ALL,
            expect![[r#"
            nc = nativ (description, high)
            ap = y (order, medium)
            vp = venous (description, high)
            dp = x (order, medium)
        "#]],
        );
        let contradiction = [
            stack("x", true, "5", 40),
            stack("nativ", false, "4", 40),
            stack("y", true, "3", 40),
            stack("venous", true, "2", 40),
        ];
        check(
            &contradiction,
            &Phase::ALL,
            expect![[r#"
            missing_phase
        "#]],
        );
    }

    #[test]
    fn what_is_no_phase_is_set_aside_and_says_why_when_nothing_remains() {
        let aside = |code| Stack { set_aside: Some(code), ..stack("x", true, "1", 40) };
        let scout = aside(RejectCode::Localiser);
        let both = [scout.clone(), stack("venous", true, "1", 40)];
        assert_eq!(choose(&both, &[Phase::Vp], &PhaseRules::default()).unwrap()[0].at, 1);
        check(
            std::slice::from_ref(&scout),
            &[Phase::Vp],
            expect![[r#"
            localiser
        "#]],
        );
        check(
            &[aside(RejectCode::NotCt), scout],
            &[Phase::Vp],
            expect![[r#"
            localiser
        "#]],
        );
        check(
            &[aside(RejectCode::NotCt)],
            &[Phase::Vp],
            expect![[r#"
            not_ct
        "#]],
        );
        check(
            &[],
            &[Phase::Vp],
            expect![[r#"
            no_ct_series
        "#]],
        );
        let tracker = [stack("venous tracker", true, "1", 3), stack("venous", true, "2", 40)];
        assert_eq!(choose(&tracker, &[Phase::Vp], &PhaseRules::default()).unwrap()[0].at, 1);
    }

    #[test]
    fn nifti_files_are_phases_by_name() {
        let pick = |tags: &[Tag], expected: &[Phase]| {
            choose_named(tags, expected).map(|c| c.iter().map(|c| c.at).collect::<Vec<_>>())
        };
        let (vp, missing) = ([Phase::Vp], Err(RejectCode::MissingPhase));
        assert_eq!(pick(&[Tag::Sole], &vp), Ok(vec![0]));
        assert_eq!(pick(&[Tag::Channel(0)], &vp), Ok(vec![0]));
        let four = [Tag::Channel(3), Tag::Channel(1), Tag::Channel(0), Tag::Channel(2)];
        assert_eq!(pick(&four, &Phase::ALL), Ok(vec![2, 1, 3, 0]));
        assert_eq!(pick(&four, &vp), Ok(vec![3]));
        assert_eq!(pick(&four[..3], &Phase::ALL), missing);
        assert_eq!(pick(&[Tag::Sole, Tag::Phase(Phase::Vp)], &vp), Ok(vec![1]));
        assert_eq!(pick(&[Tag::Phase(Phase::Ap)], &vp), missing);
        assert_eq!(pick(&[Tag::Channel(2)], &vp), Ok(vec![0]));
        assert_eq!(pick(&[Tag::Sole], &Phase::ALL), missing);
    }
}
