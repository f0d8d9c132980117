//! One task's part of an archive: the engine is loaded once, what is done is not done again.
//!
//! Owns the order of things: the shard is locked, then its studies are gone through in the order of
//! the list. A study that is refused has its result in that; one that fails is noted and tried again by
//! the next run. A wish to stop is heard within a study, which is then left as it was.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::list::{Entry, List, Reason, Shard};
use super::results::{BindError, Bound, Brief, Results, State};
use super::{ArchiveError, Code, turn};
use crate::analyze::{AnalyzeError, Analyzer, Settings};
use crate::intake::{Refusal, RefusalCode};
use crate::report::files::WriteError;
use crate::report::output::OutputError;
use crate::ui::go_on;
use hepalert_engines::EngineError;
use hepalert_study::study::StudyKey;

/// What is to be done.
#[derive(Debug)]
pub(crate) struct Task<'a> {
    /// Its part of the list, see [`part`].
    pub list: &'a List<Entry>,
    /// Where results go.
    pub results: &'a Path,
    /// Which part of the list.
    pub shard: Shard,
    /// How long to wait for a run that holds the shard.
    pub patience: Duration,
    /// Where the studies are, if not where they were listed.
    pub root: Option<&'a Path>,
    /// With what.
    pub settings: &'a Settings,
    /// Whether to stop.
    pub stop: &'a AtomicBool,
}

/// What came of it.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Told {
    /// Which part of the list.
    pub shard: String,
    /// Its studies.
    pub studies: usize,
    /// Of these, with a result from before.
    pub done_before: usize,
    /// Reports written.
    pub done: usize,
    /// Refusals written.
    pub refused: usize,
    /// Noted as failed.
    pub failed: Vec<Failed>,
    /// Results from before that cannot be read, and are left as they are.
    pub damaged: Vec<String>,
    /// Not begun, or stopped in their midst.
    pub left: Vec<StudyKey>,
    /// Half-written results of killed runs that were swept away.
    pub swept: usize,
    /// Where the time went.
    pub seconds: Seconds,
}

/// A study that failed.
#[derive(Debug, Serialize)]
pub(crate) struct Failed {
    /// Key of the study.
    pub study_key: StudyKey,
    /// Why it failed.
    #[serde(flatten)]
    pub reason: Reason,
}

/// Where the time went.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Seconds {
    /// From the list, as read, to the last result.
    pub total: f64,
    /// Loading and testing the engine.
    pub engine: f64,
    /// In studies: reading, computing and writing.
    pub studies: f64,
}

/// Why a run ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    /// List or results.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The engine cannot be used.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Results cannot be written.
    #[error(transparent)]
    Output(#[from] OutputError),
}

impl From<BindError> for RunError {
    fn from(error: BindError) -> RunError {
        match error {
            BindError::Archive(error) => RunError::Archive(error),
            BindError::Output(error) => RunError::Output(error),
        }
    }
}

/// What became of a study that was tried.
enum Tried {
    Done,
    Refused(Reason),
    Failed(Reason),
    Stopped,
}

/// Reads a shard's part of a list.
///
/// # Errors
/// [`Code::ListDamaged`].
pub(crate) fn part(list: &Path, shard: Shard) -> Result<List<Entry>, ArchiveError> {
    List::open(list, |index, line| match shard.holds(index) {
        true => Entry::of(line).map(Some),
        false => Ok(None),
    })
}

/// Goes through a shard; `step` hears how many studies are gone through of how many.
///
/// # Errors
/// [`RunError`]; what is done stays.
pub(crate) fn run(task: &Task<'_>, step: &mut dyn FnMut(usize, usize)) -> Result<Told, RunError> {
    let began = Instant::now();
    let (shard, list) = (task.shard, task.list);
    let root = list.root(task.root)?;
    let results = Results::at(task.results);
    let bound = Bound::new(list.digest, list.heading.studies, task.settings)?;
    results.bind(&bound)?;
    let _turn = turn::wait_for(&results, shard, task.patience, task.stop)?;
    let total = list.picked.len();
    let told = Told { shard: shard.to_string(), studies: total, ..Told::default() };
    let mut work = Work { task, root: &root, results, bound, analyzer: None, told };
    for (done, entry) in list.picked.iter().enumerate() {
        step(done, total);
        work.take(entry)?;
    }
    step(total, total);
    work.told.seconds.total = began.elapsed().as_secs_f64();
    Ok(work.told)
}

struct Work<'a> {
    task: &'a Task<'a>,
    root: &'a Path,
    results: Results,
    bound: Bound,
    /// Loaded for the first study that needs it.
    analyzer: Option<Analyzer>,
    told: Told,
}

impl Work<'_> {
    fn take(&mut self, entry: &Entry) -> Result<(), RunError> {
        let study = Brief::from(entry);
        match self.results.state(&study, &self.bound)? {
            State::Done(_) | State::Refused(_) => {
                self.told.done_before += 1;
                return Ok(());
            }
            State::Damaged(path) => {
                self.told.damaged.push(path.display().to_string());
                return Ok(());
            }
            State::Failed(_) | State::Missing => {}
        }
        if self.task.stop.load(Ordering::Relaxed) {
            self.told.left.push(entry.key.clone());
            return Ok(());
        }
        self.told.swept += self.results.sweep(&entry.key);
        match self.tried(entry)? {
            Tried::Done => {
                self.results.forget_failure(&entry.key);
                self.told.done += 1;
            }
            Tried::Refused(reason) => {
                self.results.note(&study, &self.bound, true, reason)?;
                self.told.refused += 1;
            }
            Tried::Failed(reason) => {
                self.results.note(&study, &self.bound, false, reason.clone())?;
                self.told.failed.push(Failed { study_key: entry.key.clone(), reason });
            }
            Tried::Stopped => self.told.left.push(entry.key.clone()),
        }
        Ok(())
    }

    fn tried(&mut self, entry: &Entry) -> Result<Tried, RunError> {
        if let Some(reason) = &entry.refused {
            return Ok(Tried::Refused(reason.clone()));
        }
        let Some(files) = entry.below(self.root) else {
            return Err(ArchiveError::new(Code::ListDamaged, entry.key.as_str()).into());
        };
        self.bound.check_engines(self.task.settings)?;
        let analyzer = match &mut self.analyzer {
            Some(analyzer) => analyzer,
            none => {
                let loading = Instant::now();
                let opened = Analyzer::open(self.task.settings.clone())?;
                self.told.seconds.engine = loading.elapsed().as_secs_f64();
                none.insert(opened)
            }
        };
        let began = Instant::now();
        let stop = self.task.stop;
        let mut watch = |_: &str, _, _| go_on(stop);
        let ended = analyzer.study(&files, &self.results.report(&entry.key), &mut watch);
        self.told.seconds.studies += began.elapsed().as_secs_f64();
        match ended {
            Ok(_) => Ok(Tried::Done),
            Err(error) => became(error),
        }
    }
}

/// A study is refused for what it is; what may be otherwise tomorrow is a failure.
fn became(error: AnalyzeError) -> Result<Tried, RunError> {
    let failed =
        |code: &str, detail: String| Tried::Failed(Reason { code: code.to_owned(), detail });
    Ok(match error {
        AnalyzeError::Stopped => Tried::Stopped,
        AnalyzeError::Refused(Refusal {
            code:
                code @ (RefusalCode::Unreadable | RefusalCode::FilesChanged | RefusalCode::Vanished),
            detail,
            ..
        }) => failed(code.as_str(), detail),
        AnalyzeError::Refused(refusal) => Tried::Refused(Reason::from(&refusal)),
        AnalyzeError::Align(error) => {
            Tried::Refused(Reason { code: error.code().to_owned(), detail: error.to_string() })
        }
        AnalyzeError::Write(WriteError::Output(error)) => return Err(error.into()),
        AnalyzeError::Write(WriteError::File { path, reason }) => {
            return Err(OutputError::File { path, reason }.into());
        }
        error @ (AnalyzeError::Engine(_) | AnalyzeError::Pipeline(_) | AnalyzeError::Write(_)) => {
            failed("analysis_failed", error.to_string())
        }
    })
}
