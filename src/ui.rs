//! How a command speaks: exit codes, failures, results and progress.

use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;

/// Exit codes of every command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// The work failed.
    Failed = 1,
    /// Wrong usage.
    Usage = 2,
    /// The input was refused; the failure carries the reason code.
    Refused = 3,
    /// No engine, or one that cannot be used.
    Engine = 4,
    /// The broker cannot be reached.
    Broker = 5,
    /// The configuration is invalid.
    Config = 6,
}

impl Exit {
    /// All of them, by number.
    pub const ALL: [Exit; 6] =
        [Exit::Failed, Exit::Usage, Exit::Refused, Exit::Engine, Exit::Broker, Exit::Config];

    /// The `error` of a failure's JSON document.
    pub const fn name(self) -> &'static str {
        match self {
            Exit::Failed => "failed",
            Exit::Usage => "usage",
            Exit::Refused => "refused",
            Exit::Engine => "engine",
            Exit::Broker => "broker",
            Exit::Config => "config",
        }
    }

    /// What it means, for help and manual pages.
    pub const fn sentence(self) -> &'static str {
        match self {
            Exit::Failed => "failed",
            Exit::Usage => "wrong usage",
            Exit::Refused => "input refused, with a reason code",
            Exit::Engine => "engine unusable",
            Exit::Broker => "broker unreachable",
            Exit::Config => "configuration invalid",
        }
    }
}

/// Why a command ends with something other than 0.
#[derive(Debug)]
pub struct Failure {
    /// The process exit code.
    pub exit: Exit,
    /// The reason code, where there is one.
    pub code: Option<&'static str>,
    /// What went wrong and what to do.
    pub error: anyhow::Error,
    /// Whether the command has printed its one document already: of several checks or studies
    /// the failed ones are in it.
    is_told: bool,
}

impl Failure {
    /// The work failed.
    pub fn failed(error: impl Into<anyhow::Error>) -> Failure {
        Failure::new(Exit::Failed, error)
    }

    /// A failure with this exit code.
    pub fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Failure {
        Failure { exit, code: None, error: error.into(), is_told: false }
    }

    /// The input was refused for a named reason.
    pub fn refused(code: &'static str, error: impl Into<anyhow::Error>) -> Failure {
        Failure::new(Exit::Refused, error).with_code(code)
    }

    /// A signal asked for the end; `left` says what there is now.
    pub fn stopped(left: impl std::fmt::Display) -> Failure {
        Failure::failed(anyhow::anyhow!("stopped by a signal; {left}")).with_code("stopped")
    }

    /// With a name for scripts.
    pub fn with_code(self, code: &'static str) -> Failure {
        Failure { code: Some(code), ..self }
    }

    /// After the command's result has been printed.
    fn after_result(self) -> Failure {
        Failure { is_told: true, ..self }
    }

    /// Says it: a sentence on standard error, and with `json` the one document on standard
    /// output.
    pub fn tell(&self, json: bool) {
        let sentence = format!("{:#}", self.error);
        match (self.exit, self.code) {
            (Exit::Refused, Some(code)) => say(format_args!("refused ({code}): {sentence}\n")),
            (_, Some(code)) => say(format_args!("error ({code}): {sentence}\n")),
            (_, None) => say(format_args!("error: {sentence}\n")),
        }
        if json && !self.is_told {
            print(&failure_document(self.exit, self.code, &sentence));
        }
    }
}

/// What a command that failed prints with `--json`; its code is the name of its exit code where
/// nothing finer is known.
pub fn failure_document(exit: Exit, code: Option<&str>, message: &str) -> serde_json::Value {
    serde_json::json!({"error": exit.name(), "code": code.unwrap_or(exit.name()), "message": message})
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Failure {
        Failure::failed(error)
    }
}

/// Whether the reader of standard output has gone.
fn is_gone(error: &anyhow::Error) -> bool {
    let kind = |error: &(dyn std::error::Error + 'static)| {
        let of_json =
            error.downcast_ref::<serde_json::Error>().and_then(|error| error.io_error_kind());
        of_json.or(error.downcast_ref::<std::io::Error>().map(std::io::Error::kind))
    };
    error.chain().filter_map(kind).any(|kind| kind == std::io::ErrorKind::BrokenPipe)
}

/// To the person at the terminal. Who no longer reads (`2>&1 | head`) ends no work.
pub(crate) fn say(text: std::fmt::Arguments<'_>) {
    let _ = std::io::stderr().write_fmt(text);
}

/// Whether work goes on, by the flag that a signal sets.
pub(crate) fn go_on(stop: &AtomicBool) -> ControlFlow<()> {
    match stop.load(Ordering::Relaxed) {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    }
}

/// So many of something: `1 lesion`, `2 lesions`.
pub(crate) fn counted(count: usize, one: &str) -> String {
    match (count, one.strip_suffix('y')) {
        (1, _) => format!("1 {one}"),
        (_, Some(stem)) => format!("{count} {stem}ies"),
        (_, None) if one.ends_with("ch") => format!("{count} {one}es"),
        (_, None) => format!("{count} {one}s"),
    }
}

/// The voice of a command.
#[derive(Debug)]
pub struct Ui {
    json: bool,
}

impl Ui {
    /// `json`: print one JSON document instead of sentences.
    pub fn new(json: bool) -> Ui {
        Ui { json }
    }

    /// Whether programs read what is said.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// The command's result: `document` with `--json`, otherwise `text`.
    ///
    /// # Errors
    /// If standard output is closed.
    pub fn result(&self, document: &impl Serialize, text: impl Display) -> Result<(), Failure> {
        let mut out = std::io::stdout().lock();
        let written = if self.json {
            serde_json::to_writer_pretty(&mut out, document)
                .map_err(anyhow::Error::from)
                .and_then(|()| writeln!(out).map_err(anyhow::Error::from))
        } else {
            writeln!(out, "{text}").map_err(anyhow::Error::from)
        };
        match written {
            // Who reads no further (`| head`) has what they wanted.
            Err(error) if is_gone(&error) => Ok(()),
            written => written.map_err(|error| {
                Failure::failed(anyhow::anyhow!("standard output cannot be written: {error}"))
            }),
        }
    }

    /// The result of a command that did all it was asked and may have failed for what it found: with
    /// `--json` the document then holds `error`, `code` and `message` as well.
    ///
    /// # Errors
    /// The failure, told already; and if standard output is closed.
    pub fn result_of(
        &self,
        document: &impl Serialize,
        text: impl Display,
        failure: Option<Failure>,
    ) -> Result<(), Failure> {
        let Some(failure) = failure else { return self.result(document, text) };
        let mut document = serde_json::to_value(document).map_err(Failure::failed)?;
        let message = format!("{:#}", failure.error);
        let told = failure_document(failure.exit, failure.code, &message);
        if let (Some(document), serde_json::Value::Object(told)) = (document.as_object_mut(), told)
        {
            document.extend(told);
        }
        self.result(&document, text)?;
        Err(failure.after_result())
    }

    /// One document in one line, for what is told while work goes on; a reader that has gone is no
    /// fault.
    pub fn line(&self, document: &impl Serialize) {
        if let Ok(line) = serde_json::to_string(document) {
            let _ = writeln!(std::io::stdout(), "{line}");
        }
    }

    /// A sentence for the person at the terminal, on standard error.
    pub fn say(&self, text: impl Display) {
        say(format_args!("{text}\n"));
    }

    /// A passing remark, for people only.
    pub fn note(&self, text: impl Display) {
        if !self.json && std::io::stderr().is_terminal() {
            say(format_args!("{text}\n"));
        }
    }

    /// A progress line on standard error, silent unless that is a terminal and the work
    /// takes more than two seconds.
    pub fn progress(&self, what: &str) -> Progress {
        Progress {
            what: what.to_owned(),
            started: Instant::now(),
            shown: None,
            terminal: std::io::stderr().is_terminal(),
        }
    }
}

/// A line that shows how far long work has come.
#[derive(Debug)]
pub struct Progress {
    what: String,
    started: Instant,
    shown: Option<Instant>,
    terminal: bool,
}

impl Progress {
    /// Shows `done` of `total`, with the time left, at most five times a second.
    pub fn step(&mut self, done: usize, total: usize) {
        let elapsed = self.started.elapsed();
        let due = self.shown.is_none_or(|at| at.elapsed() > Duration::from_millis(200));
        if !self.terminal || elapsed < Duration::from_secs(2) || !due || total == 0 {
            return;
        }
        self.shown = Some(Instant::now());
        let left = elapsed.as_secs_f64() / done.max(1) as f64 * total.saturating_sub(done) as f64;
        say(format_args!("\r{}: {done} of {total}, about {left:.0} s left   ", self.what));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown.is_some() {
            say(format_args!("\r\x1b[K"));
        }
    }
}

/// How bad what a check found is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// The daemon works, but a person should look.
    Warn,
    /// The daemon cannot do its work.
    Fail,
}

impl Level {
    /// As it is written for people.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Level::Ok => "ok",
            Level::Warn => "WARN",
            Level::Fail => "FAIL",
        }
    }
}

/// Seconds between the lines of a log, and of JSON.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// Width of a bar in letters.
const BAR: usize = 24;

/// How far the work of minutes or days has come: a bar for people, lines for logs, JSON lines for
/// programs; all on standard error, since standard output is for the result.
#[derive(Debug)]
pub struct ProgressMeter {
    what: &'static str,
    began: Instant,
    told: Option<Instant>,
    /// Steps that took no time, done before.
    skipped: usize,
    json: bool,
    terminal: bool,
    /// A bar stands on a line that is not ended.
    open: bool,
}

impl Drop for ProgressMeter {
    fn drop(&mut self) {
        if self.open {
            say(format_args!("\n"));
        }
    }
}

impl Ui {
    /// Of work that takes minutes; `what` is counted.
    pub fn meter(&self, what: &'static str) -> ProgressMeter {
        ProgressMeter {
            what,
            began: Instant::now(),
            told: None,
            skipped: 0,
            json: self.json,
            terminal: std::io::stderr().is_terminal(),
            open: false,
        }
    }
}

impl ProgressMeter {
    /// Tells that `done` of `total` are gone through, if it is time to; the last step always is.
    pub fn step(&mut self, done: usize, total: usize) {
        if self.told.is_none() && self.began.elapsed() < Duration::from_millis(200) {
            // What was done before goes by in no time and says nothing of the rest.
            self.skipped = done;
        }
        let every = match self.terminal && !self.json {
            true => Duration::from_millis(200),
            false => LINE_EVERY,
        };
        let is_last = done >= total;
        if total == 0 || (self.told.is_some_and(|at| at.elapsed() < every) && !is_last) {
            return;
        }
        self.told = Some(Instant::now());
        self.open = self.terminal && !self.json && !is_last;
        say(format_args!("{}", self.line(done, total, self.left_s(done, total))));
    }

    fn left_s(&self, done: usize, total: usize) -> Option<f64> {
        let fresh = done.saturating_sub(self.skipped);
        let left = total.saturating_sub(done) as f64;
        (fresh > 0).then(|| self.began.elapsed().as_secs_f64() / fresh as f64 * left)
    }

    fn line(&self, done: usize, total: usize, left_s: Option<f64>) -> String {
        let what = self.what;
        if self.json {
            let line = serde_json::json!({"progress": what, "done": done, "total": total,
                "left_s": left_s.map(f64::round)});
            return format!("{line}\n");
        }
        let left = left_s.map_or(String::new(), |s| format!(", about {} left", span(s)));
        match self.terminal {
            true => {
                let full = done * BAR / total;
                let bar = "#".repeat(full) + &"-".repeat(BAR - full.min(BAR));
                let end = if done >= total { "\n" } else { "\x1b[K" };
                format!("\r[{bar}] {done} of {total} {what}{left}{end}")
            }
            false => format!("{done} of {total} {what}{left}\n"),
        }
    }
}

/// A time in one unit that a person has a feeling for.
fn span(seconds: f64) -> String {
    match seconds {
        s if s < 90.0 => format!("{s:.0} s"),
        s if s < 5400.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.1} h", s / 3600.0),
        s => format!("{:.1} days", s / 86_400.0),
    }
}

/// Writes a document to standard output; a reader that has gone is no fault.
pub(crate) fn print(document: &serde_json::Value) {
    let _ = writeln!(std::io::stdout(), "{document:#}");
}

#[cfg(test)]
mod tests {
    use super::{Ui, counted, span};

    #[test]
    fn progress_is_a_bar_a_line_or_json() {
        let mut progress = Ui::new(false).meter("studies");
        progress.terminal = true;
        assert_eq!(
            progress.line(6, 12, Some(240.0)),
            "\r[############------------] 6 of 12 studies, about 4 min left\x1b[K"
        );
        progress.terminal = false;
        assert_eq!(progress.line(12, 12, Some(0.0)), "12 of 12 studies, about 0 s left\n");
        progress.json = true;
        let line = "{\"done\":1,\"left_s\":null,\"progress\":\"studies\",\"total\":2}\n";
        assert_eq!(progress.line(1, 2, None), line);
        let spans = [(89.0, "89 s"), (90.0, "2 min"), (7200.0, "2.0 h"), (260_000.0, "3.0 days")];
        assert_eq!(spans.map(|(s, _)| span(s)), spans.map(|(_, said)| said));
    }

    #[test]
    fn what_was_done_before_says_nothing_of_the_time_left() {
        let mut progress = Ui::new(false).meter("studies");
        progress.step(90, 100);
        progress.began -= std::time::Duration::from_secs(20);
        assert_eq!(progress.left_s(90, 100), None);
        assert!((progress.left_s(92, 100).unwrap() - 80.0).abs() < 1.0);
    }

    #[test]
    fn plurals_are_right() {
        let said = [(0, "lesion"), (1, "study"), (2, "study"), (2, "lesion")];
        let said = said.map(|(count, one)| counted(count, one));
        assert_eq!(said, ["0 lesions", "1 study", "2 studies", "2 lesions"]);
    }
}
