//! How far an archive is: what became of each study, counted.
//!
//! Owns the counts. Refuses to judge: a damaged result is named, not mended.

use std::collections::BTreeMap;

use rayon::prelude::*;
use serde::Serialize;

use super::list::{Entry, List};
use super::results::{Bound, Brief, EngineName, Results, State};
use super::{ArchiveError, turn};

/// The counts.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Tally {
    /// Studies of the list.
    pub studies: usize,
    /// With a report.
    pub done: usize,
    /// With a refusal.
    pub refused: usize,
    /// Refusals by code.
    pub refused_by_code: BTreeMap<String, usize>,
    /// Failed the last time, by code.
    pub failed_by_code: BTreeMap<String, usize>,
    /// Without a result: failed, or not tried yet.
    pub missing: Vec<String>,
    /// Results that cannot be read.
    pub damaged: Vec<String>,
    /// Shards that runs work on now.
    pub running: Vec<String>,
    /// The engines.
    pub engines: Vec<EngineName>,
}

/// Reads what results are held against of a list.
///
/// # Errors
/// [`super::Code::ListDamaged`].
pub(crate) fn briefs(list: &std::path::Path) -> Result<List<Brief>, ArchiveError> {
    List::open(list, |_, line| Entry::of(line).map(|entry| Some(Brief::from(&entry))))
}

/// The state of every study, in the order of the list.
///
/// # Errors
/// [`super::Code::OtherConfiguration`] of the first result that is of another one.
pub(crate) fn states<T: Send>(
    list: &List<Brief>,
    results: &Results,
    bound: &Bound,
    of: impl Fn(&Brief, State) -> T + Sync,
) -> Result<Vec<T>, ArchiveError> {
    let look = |study: &Brief| results.state(study, bound).map(|state| of(study, state));
    // All, then the first fault: with several always the same is named.
    let states: Vec<Result<T, ArchiveError>> = list.picked.par_iter().map(look).collect();
    states.into_iter().collect()
}

/// Counts.
///
/// # Errors
/// As [`states`].
pub(crate) fn tally(
    list: &List<Brief>,
    results: &Results,
    bound: &Bound,
) -> Result<Tally, ArchiveError> {
    let mut tally = Tally {
        studies: list.picked.len(),
        running: turn::taken(results),
        engines: bound.engines.clone(),
        ..Tally::default()
    };
    // Reports are let go one by one: only what is counted is kept.
    let light = |study: &Brief, state| match state {
        State::Done(_) => Light::Done,
        State::Refused(reason) => Light::Refused(reason.code),
        State::Failed(reason) => Light::Failed(study.key.as_str().to_owned(), reason.code),
        State::Missing => Light::Missing(study.key.as_str().to_owned()),
        State::Damaged(path) => Light::Damaged(path.display().to_string()),
    };
    for state in states(list, results, bound, light)? {
        match state {
            Light::Done => tally.done += 1,
            Light::Refused(code) => {
                tally.refused += 1;
                *tally.refused_by_code.entry(code).or_default() += 1;
            }
            Light::Failed(key, code) => {
                *tally.failed_by_code.entry(code).or_default() += 1;
                tally.missing.push(key);
            }
            Light::Missing(key) => tally.missing.push(key),
            Light::Damaged(path) => tally.damaged.push(path),
        }
    }
    Ok(tally)
}

enum Light {
    Done,
    Refused(String),
    Failed(String, String),
    Missing(String),
    Damaged(String),
}
