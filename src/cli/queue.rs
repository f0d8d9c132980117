//! `queue`: the newest jobs of a daemon, running or not.

use std::path::PathBuf;

use serde::Serialize;

use super::store::open;
use super::{Failure, Ui};
use crate::codes;
use crate::store::{Job, JobState};
use crate::ui::counted;

/// Most jobs listed; older ones are in the store still.
const MAX_JOBS: usize = 200;

/// Arguments of `queue` and `status`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The daemon's configuration.
    #[arg(long, default_value = crate::config::DEFAULT_FILE)]
    pub config: PathBuf,
}

/// A job as it is printed.
#[derive(Debug, Serialize)]
pub(super) struct Line {
    job: i64,
    study_key: String,
    revision: u32,
    state: &'static str,
    attempts: u32,
    received: String,
    reason: Option<String>,
    /// What the reason means, and what to do.
    sentence: Option<&'static str>,
    pub(super) next: Option<&'static str>,
}

impl Line {
    pub(super) fn of(job: &Job) -> Line {
        let meaning = job.reason_code.as_deref().and_then(codes::of_study);
        Line {
            sentence: meaning.map(|meaning| meaning.sentence),
            next: meaning.map(|meaning| meaning.advice),
            job: job.id.0,
            study_key: job.study_key.as_str().to_owned(),
            revision: job.revision,
            state: job.state.name(),
            attempts: job.attempts,
            received: format!("{:.0}", job.completed_at),
            reason: job.reason_code.clone(),
        }
    }

    pub(super) fn text(&self) -> String {
        let reason = self.reason.as_deref().map_or(String::new(), |code| {
            let meaning = self.sentence.map_or(String::new(), |said| format!(": {said}"));
            format!("  {code}{meaning}")
        });
        format!(
            "{:>6}  {}  r{}  {:<10}  {:<10}  {}{reason}",
            self.job,
            self.study_key,
            self.revision,
            word_of(self.state),
            counted(self.attempts as usize, "attempt"),
            self.received
        )
    }
}

/// A state as people read it: `status` counts a job that is given up as failed, too.
fn word_of(state: &str) -> &str {
    if state == JobState::Dead.name() { "failed" } else { state }
}

/// Lists the newest jobs.
///
/// # Errors
/// Exit 6 for the configuration, 1 for the store.
pub(crate) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    let store = open(&args.config)?;
    let jobs = store.jobs(MAX_JOBS).map_err(Failure::failed)?;
    let lines: Vec<Line> = jobs.iter().map(Line::of).collect();
    let text: Vec<String> = lines.iter().map(Line::text).collect();
    ui.result(&lines, if text.is_empty() { "no jobs".to_owned() } else { text.join("\n") })
}
