//! The queue as the page shows it: what waits, what runs, how long it will take.
//!
//! Owns the time left, which is what the last studies took, less what has passed. Refuses to change
//! anything.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;

use super::device::Receiving;
use super::page_state::{PageState, blocking};
use super::problem::Problem;
use super::queue_lines::{Counts, JobLine, QueueState};
use crate::store::{Job, JobState, Store};

/// Jobs shown beside those that wait or run.
const RECENT: usize = 30;
/// Finished studies that tell how long one takes.
const TIMED: usize = 20;

/// What one study took, where it is known.
fn took_s(job: &Job) -> Option<f64> {
    let (from, to) = (job.started_at?, job.finished_at?);
    let seconds = to.duration_since(from).as_secs_f64();
    (job.state == JobState::Done && seconds >= 0.0).then_some(seconds)
}

/// The median of what the newest finished studies took.
fn typical_s(jobs: &[Job]) -> Option<f64> {
    let mut took: Vec<f64> = jobs.iter().filter_map(took_s).take(TIMED).collect();
    took.sort_by(f64::total_cmp);
    took.get(took.len() / 2).copied()
}

/// Writes the time left into the lines that wait or run; `lines` are newest first, as jobs are. The step
/// that runs tells of a larger study than usual that it takes longer.
fn tell_time_left(
    lines: &mut [JobLine],
    typical_s: Option<f64>,
    step_left_s: Option<f64>,
    now: Timestamp,
) {
    let Some(typical_s) = typical_s else { return };
    let running = lines.iter_mut().find(|line| line.state == JobState::Running);
    let mut before_s = 0.0;
    if let Some(line) = running {
        let passed = line.started.map_or(0.0, |at| now.duration_since(at).as_secs_f64());
        before_s = (typical_s - passed).max(step_left_s.unwrap_or(1.0)).max(1.0);
        line.left_s = Some(before_s.round());
    }
    // The oldest comes first.
    for line in lines.iter_mut().rev().filter(|line| line.state == JobState::Queued) {
        before_s += typical_s;
        line.left_s = Some(before_s.round());
    }
}

/// Whether what came of a study is a job already.
fn is_taken_in(study: &Receiving, lines: &[JobLine]) -> bool {
    lines.iter().any(|line| line.study_key == study.study_key && line.completed >= study.since)
}

/// Counts of everything.
///
/// # Errors
/// Whatever the store says.
pub(super) fn counts(store: &Store) -> Result<Counts, Problem> {
    let jobs = store.job_counts()?;
    Ok(Counts {
        queued: jobs.queued,
        running: jobs.running,
        done: jobs.done,
        refused: jobs.refused,
        dead: jobs.dead,
        superseded: jobs.superseded,
        open_alerts: store.worklist(1)?.open_total,
        unsent: store.backlog()?.unsent,
    })
}

/// Reads the queue.
///
/// # Errors
/// Whatever the store says.
pub(super) fn read(site: &PageState, now: Timestamp) -> Result<QueueState, Problem> {
    // The device first: a study that is taken in meanwhile is in both, never in none.
    let mut pulse = site.device.pulse();
    let store = site.reader()?;
    let counts = counts(store)?;
    let open = (counts.queued + counts.running) as usize;
    let jobs = store.jobs(RECENT.saturating_add(open).min(1000))?;
    let typical_s = typical_s(&jobs);
    let mut lines: Vec<JobLine> = jobs.iter().map(JobLine::of).collect();
    let step_left_s = pulse.step.as_ref().and_then(|step| step.left_s);
    tell_time_left(&mut lines, typical_s, step_left_s, now);
    pulse.receiving.retain(|study| !is_taken_in(study, &lines));
    Ok(QueueState { device: Some(pulse), counts, jobs: lines, typical_s })
}

/// `GET /api/v1/queue`.
pub(super) async fn show(State(site): State<Arc<PageState>>) -> Result<Json<QueueState>, Problem> {
    blocking(move || read(&site, Timestamp::now()).map(Json)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn line(job: i64, state: JobState, started: Option<i64>) -> JobLine {
        JobLine {
            job,
            study_key: "0".repeat(32),
            revision: 1,
            state,
            setting: hepalert_study::phase::Setting::Venous,
            attempts: 1,
            completed: at(0),
            started: started.map(at),
            finished: None,
            reason: None,
            left_s: None,
        }
    }

    #[test]
    fn what_is_taken_in_is_no_longer_told_as_coming() {
        let coming = |since: i64| Receiving {
            study_key: "0".repeat(32),
            since: at(since),
            files: 9,
            series: 1,
        };
        let lines = [JobLine { completed: at(50), ..line(1, JobState::Queued, None) }];
        assert!(is_taken_in(&coming(40), &lines));
        assert!(!is_taken_in(&coming(60), &lines), "more of it comes");
        assert!(!is_taken_in(&coming(40), &[]));
    }

    #[test]
    fn who_waits_waits_for_those_before() {
        let mut lines = [
            line(4, JobState::Queued, None),
            line(3, JobState::Queued, None),
            line(2, JobState::Running, Some(100)),
            line(1, JobState::Done, Some(0)),
        ];
        tell_time_left(&mut lines, Some(40.0), None, at(110));
        let left: Vec<Option<f64>> = lines.iter().map(|line| line.left_s).collect();
        assert_eq!(left, [Some(110.0), Some(70.0), Some(30.0), None]);
        tell_time_left(&mut lines, Some(40.0), None, at(500));
        assert_eq!(lines[2].left_s, Some(1.0), "longer than usual: soon");
        tell_time_left(&mut lines, Some(40.0), Some(25.0), at(500));
        assert_eq!(lines[2].left_s, Some(25.0), "as its step tells");
    }
}
