//! An archive added up: verdicts, classes, lesions, refusals, time.
//!
//! Owns the counts, in the types of `evaluate`: rates with their intervals, lesions by type and
//! volume. Refuses while a study has no result, and names it: what is left out would flatter.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use serde::Serialize;

use super::list::{List, Reason};
use super::results::{Bound, Brief, EngineName, Results, State};
use super::status::states;
use super::{ArchiveError, Code};
use crate::intake::Digest;
use crate::report::types::Report;
use crate::ui::counted;
use hepalert_lab::evaluate::markdown::{self, table};
use hepalert_lab::evaluate::rates::{Rate, quantile};
use hepalert_lab::evaluate::tables::VolumeTable;
use hepalert_study::anatomy::Lesion;
use hepalert_study::outcome::{AlertLevel, PatientClass};

/// More names than this in a sentence are read by nobody; `archive status --json` has all.
const MAX_NAMED: usize = 20;

/// What a study came to.
pub(crate) type Ended = Result<Box<Report>, Reason>;

/// The table of an archive.
#[derive(Debug, Serialize)]
pub(crate) struct Cohort {
    /// SHA-256 of the list.
    pub list_sha256: Digest,
    /// SHA-256 of the configuration.
    pub configuration: Digest,
    /// The engines.
    pub engines: Vec<EngineName>,
    /// Studies of the list.
    pub studies: usize,
    /// Studies with a report, of all.
    pub analysed: Rate,
    /// Studies refused by code, of all.
    pub refused: Vec<Share>,
    /// Verdicts, of studies with a report.
    pub verdicts: Vec<Share>,
    /// Patient classes where both views agree, of studies with a report.
    pub classes: Vec<Share>,
    /// Lesions found, by type and volume.
    pub lesions_by_volume: VolumeTable,
    /// Studies with each quality flag, of studies with a report.
    pub quality: Vec<Share>,
    /// Studies that another engine than the first analysed.
    pub other_engine: usize,
    /// Time a study took.
    pub seconds: Spread,
}

/// So many of so many, by name.
#[derive(Debug, Serialize)]
pub(crate) struct Share {
    /// Of what.
    pub name: String,
    /// How many.
    #[serde(flatten)]
    pub rate: Rate,
}

/// How times are spread.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Spread {
    /// Their mean.
    pub mean: f64,
    /// Half take no longer.
    pub p50: f64,
    /// Nine of ten take no longer.
    pub p90: f64,
    /// The longest.
    pub max: f64,
}

/// What is kept of a report while the others are read.
struct Facts {
    verdict: AlertLevel,
    class: Option<PatientClass>,
    lesions: Vec<(Lesion, f64)>,
    quality: Vec<String>,
    is_other_engine: bool,
    seconds: f64,
}

impl Facts {
    fn of(report: &Report) -> Facts {
        let lesions = report.lesions.iter().map(|lesion| (lesion.class, lesion.volume_cm3));
        Facts {
            verdict: report.verdict,
            class: report.patient_class.joint,
            lesions: lesions.collect(),
            quality: report.quality.clone(),
            is_other_engine: report.engine_choice.is_some(),
            seconds: report.timing.total_s,
        }
    }
}

/// Every study of the list with what it came to, handed to `line` one by one.
///
/// # Errors
/// [`Code::StudiesMissing`], [`Code::ResultDamaged`] or [`Code::OtherConfiguration`].
pub(crate) fn each<T: Send>(
    list: &List<Brief>,
    results: &Results,
    bound: &Bound,
    line: impl Fn(&Brief, &Ended) -> T + Sync,
) -> Result<Vec<T>, ArchiveError> {
    let looked = states(list, results, bound, |study, state| {
        let ended = match state {
            State::Done(report) => Ok(whole(results, study, report)?),
            State::Refused(reason) => Err(reason),
            State::Damaged(path) => return Err(ArchiveError::at(Code::ResultDamaged, &path)),
            State::Failed(_) | State::Missing => {
                return Err(ArchiveError::new(Code::StudiesMissing, study.key.as_str()));
            }
        };
        Ok(line(study, &ended))
    })?;
    let missing: Vec<&str> = looked
        .iter()
        .filter_map(|one| one.as_ref().err())
        .filter(|error| error.code == Code::StudiesMissing)
        .map(|error| error.about.as_str())
        .collect();
    if !missing.is_empty() {
        return Err(ArchiveError::new(
            Code::StudiesMissing,
            format!("{} of {}: {}", missing.len(), list.picked.len(), named(&missing)),
        ));
    }
    looked.into_iter().collect()
}

/// The first names of many.
pub(crate) fn named(names: &[&str]) -> String {
    let more = names.len().saturating_sub(MAX_NAMED);
    let mut text = names[..names.len() - more].join(", ");
    if more > 0 {
        let _ = write!(text, " and {more} more");
    }
    text
}

/// A report whose files are there, as long as it says.
fn whole(
    results: &Results,
    study: &Brief,
    report: Box<Report>,
) -> Result<Box<Report>, ArchiveError> {
    let folder = results.report(&study.key);
    for file in &report.artefacts {
        let path = folder.join(&file.path);
        if fs::metadata(&path).map(|facts| facts.len()).ok() != Some(file.bytes) {
            return Err(ArchiveError::at(Code::ResultDamaged, &path));
        }
    }
    Ok(report)
}

/// Adds up an archive; `line` is asked for one line per study besides.
///
/// # Errors
/// As [`each`].
pub(crate) fn add_up<T: Send>(
    list: &List<Brief>,
    results: &Results,
    bound: &Bound,
    line: impl Fn(&Brief, &Ended) -> T + Sync,
) -> Result<(Cohort, Vec<T>), ArchiveError> {
    let facts = |study: &Brief, ended: &Ended| {
        let facts = ended.as_ref().map(|report| Facts::of(report)).map_err(|why| why.code.clone());
        (facts, line(study, ended))
    };
    let (facts, lines): (Vec<_>, Vec<T>) = each(list, results, bound, facts)?.into_iter().unzip();
    Ok((cohort(bound, &facts), lines))
}

fn cohort(bound: &Bound, studies: &[Result<Facts, String>]) -> Cohort {
    let done: Vec<&Facts> = studies.iter().filter_map(|one| one.as_ref().ok()).collect();
    let refused = studies.iter().filter_map(|one| one.as_ref().err()).map(String::as_str);
    let verdicts = [AlertLevel::Suspected, AlertLevel::Uncertain, AlertLevel::NotSuspected];
    let of_verdict = |verdict: &AlertLevel| {
        let hits = done.iter().filter(|facts| facts.verdict == *verdict).count();
        Share { name: verdict.name().to_owned(), rate: Rate::new(hits, done.len()) }
    };
    let of_class = |class: &PatientClass| {
        let hits = done.iter().filter(|facts| facts.class == Some(*class)).count();
        Share { name: class.name().to_owned(), rate: Rate::new(hits, done.len()) }
    };
    let quality = done.iter().flat_map(|facts| facts.quality.iter().map(String::as_str));
    Cohort {
        list_sha256: bound.list_sha256,
        configuration: bound.configuration,
        engines: bound.engines.clone(),
        studies: studies.len(),
        analysed: Rate::new(done.len(), studies.len()),
        refused: shares(refused, studies.len()),
        verdicts: verdicts.iter().map(of_verdict).collect(),
        classes: PatientClass::ALL.iter().map(of_class).collect(),
        lesions_by_volume: VolumeTable::of(done.iter().flat_map(|facts| &facts.lesions)),
        quality: shares(quality, done.len()),
        other_engine: done.iter().filter(|facts| facts.is_other_engine).count(),
        seconds: spread(done.iter().map(|facts| facts.seconds).collect()),
    }
}

fn shares<'a>(names: impl Iterator<Item = &'a str>, of: usize) -> Vec<Share> {
    let mut counts = BTreeMap::<&str, usize>::new();
    names.for_each(|name| *counts.entry(name).or_default() += 1);
    let share = |(name, hits): (&str, usize)| {
        // A flag stands once in a report; should it stand twice, the rate is held to one.
        Share { name: name.to_owned(), rate: Rate::new(hits.min(of), of) }
    };
    counts.into_iter().map(share).collect()
}

fn spread(mut seconds: Vec<f64>) -> Spread {
    seconds.sort_by(f64::total_cmp);
    let Some(&max) = seconds.last() else { return Spread::default() };
    let rank = |share: f64| quantile(&seconds, share);
    let mean = seconds.iter().sum::<f64>() / seconds.len() as f64;
    Spread { mean, p50: rank(0.5), p90: rank(0.9), max }
}

impl Cohort {
    /// For people.
    pub(crate) fn markdown(&self) -> String {
        let engines: Vec<String> = self.engines.iter().map(ToString::to_string).collect();
        let Spread { mean, p50, p90, max } = self.seconds;
        let mut parts = vec![format!(
            "# {} by {}\n\nWith a report: {}. Rates in per cent with 95 % Wilson intervals. \
             Triage aid: verdicts are suspicions, and nothing here says how many are right.",
            counted(self.studies, "study"),
            engines.join(", "),
            self.analysed.hits
        )];
        for (title, shares) in [
            ("Verdicts", &self.verdicts),
            ("Patient classes, where both views agree", &self.classes),
            ("Refused", &self.refused),
            ("Quality flags", &self.quality),
        ] {
            if !shares.is_empty() {
                let row = |share: &Share| {
                    vec![
                        share.name.clone(),
                        share.rate.hits.to_string(),
                        share.rate.percent_with_interval(),
                    ]
                };
                let rows = table(&["", "studies", "share, %"], shares.iter().map(row));
                parts.push(format!("## {title}\n\n{rows}"));
            }
        }
        parts.push(markdown::volumes("Lesions found, by volume", &self.lesions_by_volume));
        parts.push(format!(
            "A study took {mean:.1} s on average, half of them at most {p50:.1} s, nine of ten at \
             most {p90:.1} s, the longest {max:.1} s."
        ));
        parts.join("\n\n") + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_spread_by_rank() {
        let found = spread((1..=10).rev().map(f64::from).collect());
        assert_eq!([found.mean, found.p50, found.p90, found.max], [5.5, 5.0, 9.0, 10.0]);
        assert_eq!(spread(vec![3.0]).p50, 3.0);
        assert_eq!(spread(Vec::new()).max, 0.0);
    }

    #[test]
    fn many_names_are_cut_off_and_counted() {
        let names: Vec<String> = (0..23).map(|n| n.to_string()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert!(named(&names).ends_with("18, 19 and 3 more"));
        assert_eq!(named(&names[..2]), "0, 1");
    }
}
