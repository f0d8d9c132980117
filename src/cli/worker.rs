//! `worker`: the inference process. Not for people: the daemon starts it, writes its settings
//! and then one request a line to its standard input and reads replies from its standard output.

use std::io::{BufRead, Read, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use super::Failure;
use crate::analyze::{AnalyzeError, Analyzer, Settings};
use crate::config::Config;
use crate::daemon::analysis_settings;
use crate::intake::{Refusal, RefusalCode, StudyFiles};
use crate::worker::{Reply, Request};
use hepalert_bundles::slots::fault_of;
use hepalert_engines::EngineError;

/// A configuration is a few KiB.
const MAX_SETTINGS_BYTES: u64 = 1 << 20;
/// Progress lines are at least this far apart, so that the pipe never fills.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// While an engine is loaded or tested, so often the daemon hears that all is well.
const ALIVE_EVERY: Duration = Duration::from_secs(5);
/// But not longer: building the plans of a large bundle on a small device takes minutes, and a
/// device that hangs must be noticed.
const MAX_LOADING: Duration = Duration::from_secs(15 * 60);

/// Takes the daemon's settings from the first line, then answers requests until standard input
/// ends, which it does when the daemon is gone.
///
/// # Errors
/// Exit 6 for settings that cannot be understood.
pub(crate) fn run() -> Result<(), Failure> {
    let settings = analysis_settings(&read_settings()?);
    let requests = read_requests()?;
    let mut loaded = None;
    for request in requests {
        let reply = answer(&request, &settings, &mut loaded);
        say(&reply)?;
    }
    Ok(())
}

fn read_settings() -> Result<Config, Failure> {
    let mut line = String::new();
    let read = std::io::stdin().lock().take(MAX_SETTINGS_BYTES).read_line(&mut line);
    read.map_err(Failure::failed)?;
    serde_json::from_str(&line).map_err(|error| {
        let error = anyhow::anyhow!(
            "the first line is no configuration ({error}); the daemon starts this process"
        );
        Failure::new(super::Exit::Config, error)
    })
}

/// Reads requests on a thread of its own that ends the process with the daemon's pipe:
/// nothing may be computed for a daemon that is gone.
fn read_requests() -> Result<Receiver<Request>, Failure> {
    let (sender, requests) = sync_channel(1);
    std::thread::Builder::new()
        .name("requests".to_owned())
        .spawn(move || {
            for line in std::io::stdin().lock().lines() {
                let Ok(line) = line else { break };
                let Ok(request) = serde_json::from_str(&line) else { break };
                if sender.send(request).is_err() {
                    break;
                }
            }
            std::process::exit(0);
        })
        .map_err(Failure::failed)?;
    Ok(requests)
}

fn say(reply: &Reply) -> Result<(), Failure> {
    let mut line = serde_json::to_vec(reply).map_err(Failure::failed)?;
    line.push(b'\n');
    let mut out = std::io::stdout().lock();
    out.write_all(&line).and_then(|()| out.flush()).map_err(Failure::failed)
}

fn answer(request: &Request, settings: &Settings, loaded: &mut Option<Analyzer>) -> Reply {
    let (Request::Study { bundle, .. } | Request::SelfTest { bundle }) = request;
    // The old engine goes before the new one comes: there may be no room for two.
    if loaded.as_ref().is_some_and(|analyzer| analyzer.bundle().dir() != bundle) {
        *loaded = None;
    }
    let fresh = loaded.is_none();
    let analyzer = match loaded {
        Some(analyzer) => analyzer,
        None => match with_signs_of_life(|| {
            Analyzer::open(Settings { bundle: bundle.clone(), ..settings.clone() })
        }) {
            Ok(opened) => loaded.insert(opened),
            Err(error) => return unusable(&error),
        },
    };
    match request {
        Request::Study { files, out, .. } => study(files, out, analyzer),
        // Opening has run the golden patches already; once more shows that they repeat.
        Request::SelfTest { .. } => match with_signs_of_life(|| analyzer.self_test()) {
            Ok(words) => Reply::Tested {
                words: if fresh { format!("{words}; freshly loaded") } else { words },
            },
            Err(error) => unusable(&error),
        },
    }
}

fn unusable(error: &EngineError) -> Reply {
    Reply::EngineUnusable { fault: fault_of(error), reason: error.to_string() }
}

/// Compiling a network for a device can take minutes without a word.
fn with_signs_of_life<T>(work: impl FnOnce() -> T) -> T {
    let (done, ended) = sync_channel::<()>(0);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let started = Instant::now();
            while started.elapsed() < MAX_LOADING
                && ended.recv_timeout(ALIVE_EVERY) == Err(RecvTimeoutError::Timeout)
            {
                let line = Reply::Progress { stage: "engine".to_owned(), done: 0, total: 1 };
                // A daemon that is gone ends this process elsewhere.
                let _ = say(&line);
            }
        });
        let outcome = work();
        drop(done);
        outcome
    })
}

fn study(files: &StudyFiles, out: &Path, analyzer: &mut Analyzer) -> Reply {
    let reply = analyze(files, out, analyzer);
    reply.unwrap_or_else(|error| match error {
        AnalyzeError::Refused(Refusal {
            code: code @ (RefusalCode::FilesChanged | RefusalCode::Unreadable),
            detail,
            ..
        }) => Reply::NotAsAccepted { code: code.as_str().to_owned(), detail },
        AnalyzeError::Refused(refusal) => {
            Reply::Refused { code: refusal.code.as_str().to_owned(), detail: refusal.detail }
        }
        AnalyzeError::Align(error) => {
            Reply::Refused { code: error.code().to_owned(), detail: error.to_string() }
        }
        // An engine that was loaded and tested fails on this study: the study is tried again
        // and then given up, the queue goes on.
        error @ (AnalyzeError::Engine(_)
        | AnalyzeError::Pipeline(_)
        | AnalyzeError::Write(_)
        | AnalyzeError::Stopped) => Reply::Failed { reason: error.to_string() },
    })
}

fn analyze(files: &StudyFiles, out: &Path, analyzer: &mut Analyzer) -> Result<Reply, AnalyzeError> {
    let mut last: Option<Instant> = None;
    let mut watch = |stage: &str, done, total| {
        if last.is_none_or(|at| at.elapsed() >= PROGRESS_EVERY) {
            last = Some(Instant::now());
            let line = Reply::Progress { stage: stage.to_owned(), done, total };
            if say(&line).is_err() {
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    };
    analyzer.study(files, out, &mut watch)?;
    Ok(Reply::Finished { report: out.join(crate::report::output::REPORT) })
}
