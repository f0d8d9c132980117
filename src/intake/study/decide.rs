//! The phases of a study by what its images show.
//!
//! Owns the look at every series that may be a phase: a part of its slices is read, enough for
//! a coarse volume. Refuses a series alone when it cannot be read; the study is refused when no
//! choice is left. What was chosen, and why not the others, is told in lines without any text
//! of a header.

use hepalert_phases::{Recogniser, Seen};

use super::decided::{Decided, LOOK_MM, SeriesLine, described};
use super::named_phases;
use super::phases::{self, Choice, Namer, Scan, Weighed, Witness, choose, choose_each, recon};
use crate::intake::facts::{Candidate, MAX_CHOICES, PhaseFiles, StudyFiles};
use crate::intake::reading::gate::{GateParams, Refusal};
use crate::intake::reading::thinned::thinned;
use crate::intake::refusal_codes::RefusalCode;
use hepalert_study::phase::Phase;

/// No more series than this are looked at, the best reconstructions first.
const MAX_SERIES: usize = 16;

/// Looks at every candidate and decides. Without a recogniser the headers decide alone. Where
/// nothing is to choose, what the names of files say is checked.
pub(crate) fn decide(
    files: &StudyFiles,
    expected: &[Phase],
    gate: &GateParams,
    mut recogniser: Option<&mut Recogniser>,
) -> Decided {
    if files.candidates.is_empty() {
        return named_phases::decide(files, expected, gate, recogniser);
    }
    let mut order: Vec<usize> = (0..files.candidates.len()).collect();
    order.sort_by_key(|&at| std::cmp::Reverse(recon::rank(&files.candidates[at].scan)));
    order.truncate(MAX_SERIES);
    order.sort_unstable();
    let candidates: Vec<&Candidate> = order.iter().map(|&at| &files.candidates[at]).collect();
    let looks: Vec<Result<Option<Seen>, Refusal>> = candidates
        .iter()
        .map(|candidate| match recogniser.as_deref_mut() {
            Some(recogniser) => look(candidate, gate, recogniser).map(Some),
            None => Ok(None),
        })
        .collect();
    let whole: Vec<usize> = (0..looks.len()).filter(|&at| looks[at].is_ok()).collect();
    let scans: Vec<Scan> = whole.iter().map(|&at| candidates[at].scan.clone()).collect();
    let images: Vec<Option<&Seen>> =
        whole.iter().map(|&at| looks[at].as_ref().ok().and_then(Option::as_ref)).collect();
    let weighed = choose(&scans, &images, expected);
    let told = Told {
        order: &order,
        candidates: &candidates,
        looks: &looks,
        whole: &whole,
        weighed: &weighed,
    };
    let series = (0..candidates.len()).map(|at| told.line(at)).collect();
    let refusal = weighed.choices.as_ref().err();
    let refusal = refusal.map(|code| told.refusal(*code, expected, files.files().count()));
    // Another engine may take what this one does not.
    let choices = choose_each(&scans, &images, &weighed);
    Decided { told: chosen(files, &candidates, &whole, &choices, &weighed), refusal, series }
}

/// The study with the chosen series as its phases.
fn chosen(
    files: &StudyFiles,
    candidates: &[&Candidate],
    whole: &[usize],
    choices: &[Choice],
    weighed: &Weighed,
) -> StudyFiles {
    let mut phases: Vec<PhaseFiles> = choices
        .iter()
        .map(|choice| PhaseFiles {
            phase: choice.phase,
            source: choice.source,
            confidence: choice.confidence,
            others: others(candidates, whole, weighed, choice),
            ..candidates[whole[choice.at]].files.clone()
        })
        .collect();
    phases.sort_by_key(|files| files.phase);
    StudyFiles { phases, ..files.clone() }
}

/// Other reconstructions of the chosen acquisition, best first, should it not be computable.
fn others(
    candidates: &[&Candidate],
    whole: &[usize],
    weighed: &Weighed,
    choice: &Choice,
) -> Vec<PhaseFiles> {
    let mut same: Vec<usize> = (0..whole.len())
        .filter(|&at| at != choice.at && weighed.acquisition[at] == weighed.acquisition[choice.at])
        .collect();
    same.sort_by_key(|&at| std::cmp::Reverse(recon::rank(&candidates[whole[at]].scan)));
    let files = same.into_iter().take(MAX_CHOICES - 1).map(|at| PhaseFiles {
        phase: choice.phase,
        source: choice.source,
        confidence: choice.confidence,
        ..candidates[whole[at]].files.clone()
    });
    files.collect()
}

/// Reads enough of a series to see its contrast.
fn look(
    candidate: &Candidate,
    gate: &GateParams,
    recogniser: &mut Recogniser,
) -> Result<Seen, Refusal> {
    let volume = thinned(&candidate.files, gate, LOOK_MM)?;
    recogniser
        .look(&volume)
        .map_err(|error| Refusal::new(RefusalCode::PhaseUncertain, error.to_string(), 1))
}

struct Told<'a> {
    /// Places among the study's candidates of those that were looked at.
    order: &'a [usize],
    candidates: &'a [&'a Candidate],
    looks: &'a [Result<Option<Seen>, Refusal>],
    whole: &'a [usize],
    weighed: &'a Weighed,
}

impl Told<'_> {
    fn line(&self, at: usize) -> SeriesLine {
        let scan = self.candidates[at].scan.clone();
        let Some(place) = self.whole.iter().position(|whole| *whole == at) else {
            let refusal = self.looks[at].as_ref().err();
            let outcome = refusal.map_or(String::new(), |r| format!("cannot be read: {r}"));
            return SeriesLine {
                at: self.order[at],
                scan,
                acquisition: 0,
                seen: None,
                phase: None,
                probability: 0.0,
                chosen: None,
                outcome,
                signs: Vec::new(),
            };
        };
        let (phase, probability) = self.weighed.best(place);
        let chosen = self.weighed.choices.iter().flatten().find(|choice| choice.at == place);
        let seen = self.looks[at].as_ref().ok().and_then(Clone::clone);
        let outcome = match chosen {
            Some(choice) => format!("read as {}", choice.phase),
            None => self.why_not(place, phase),
        };
        SeriesLine {
            at: self.order[at],
            acquisition: self.weighed.acquisition[place] + 1,
            phase,
            probability,
            chosen: chosen.map(|choice| choice.phase),
            outcome,
            signs: signs(&scan, seen.as_ref()),
            seen,
            scan,
        }
    }

    /// Why a series that could be read is not.
    fn why_not(&self, place: usize, phase: Option<Phase>) -> String {
        let Ok(choices) = &self.weighed.choices else { return "no phase is chosen".to_owned() };
        let Some(phase) = phase else { return "no phase of a liver".to_owned() };
        match choices.iter().find(|choice| choice.phase == phase) {
            None => "the engine does not take this phase".to_owned(),
            Some(choice) => {
                let rank = |place: usize| recon::rank(&self.candidates[self.whole[place]].scan);
                let same = self.weighed.acquisition[choice.at] == self.weighed.acquisition[place];
                let least = self.weighed.probabilities[place][phase as usize];
                if same || least >= 0.6 {
                    format!("not read: {}", recon::reason(rank(choice.at), rank(place)))
                } else {
                    "not read: another is more surely this phase".to_owned()
                }
            }
        }
    }

    /// Numbers behind a refusal, or the fault of the only series.
    fn refusal(&self, code: RefusalCode, expected: &[Phase], count: usize) -> Refusal {
        let mut faults = self.looks.iter().filter_map(|look| look.as_ref().err());
        // What is no longer as it was accepted is no verdict on the study.
        let changed = |refusal: &&Refusal| {
            matches!(refusal.code, RefusalCode::FilesChanged | RefusalCode::Unreadable)
        };
        let fault = faults
            .clone()
            .find(changed)
            .or_else(|| faults.next().filter(|_| self.whole.is_empty()));
        if let Some(refusal) = fault {
            return Refusal { file_count: count, ..refusal.clone() };
        }
        let lines: Vec<String> = self
            .whole
            .iter()
            .enumerate()
            .map(|(place, &at)| {
                let number = self.candidates[at].scan.recon.series_number;
                let number = number.map_or("?".to_owned(), |number| number.to_string());
                let p = self.weighed.probabilities[place];
                let of = |phase: &Phase| format!("{phase} {:.2}", p[*phase as usize]);
                let all: Vec<String> = expected.iter().map(of).collect();
                let seen = self.looks[at].as_ref().ok().and_then(Option::as_ref);
                let seen = seen.map_or("not looked at".to_owned(), described);
                format!("series {number}: {}, {seen}", all.join(" "))
            })
            .collect();
        Refusal::new(code, lines.join(" | "), count)
    }
}

/// What images and names say of a series.
fn signs(scan: &Scan, seen: Option<&Seen>) -> Vec<String> {
    let mut signs: Vec<String> = seen.map(described).into_iter().collect();
    let said = |witness: &Witness| format!("{} says {}", namer(witness.by), witness.phase);
    signs.extend(scan.named.iter().map(said));
    let lies = |seen: &Seen| {
        // The region of the body is no name.
        let mut named = scan.named.iter().filter(|w| w.weight > phases::REGION);
        named.any(|witness| named_phases::contradicts(seen, witness.phase))
    };
    if seen.is_some_and(lies) {
        signs.push("images and name contradict each other".to_owned());
    }
    signs
}

fn namer(by: Namer) -> String {
    match by {
        Namer::Rule(number) => format!("rule {number}"),
        Namer::SeriesDescription => "SeriesDescription".to_owned(),
        Namer::ProtocolName => "ProtocolName".to_owned(),
        Namer::Region => "the region (chest and abdomen)".to_owned(),
    }
}
