//! How a command speaks: exit codes, failures, results and progress.

use std::fmt::Display;
use std::io::{IsTerminal, Write};
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

    /// With a name for scripts.
    pub fn with_code(self, code: &'static str) -> Failure {
        Failure { code: Some(code), ..self }
    }

    /// After the command's result has been printed.
    pub fn after_result(self) -> Failure {
        Failure { is_told: true, ..self }
    }

    /// Says it: a sentence on standard error, and with `json` the one document on standard
    /// output.
    pub fn tell(&self, json: bool) {
        let sentence = format!("{:#}", self.error);
        match (self.exit, self.code) {
            (Exit::Refused, Some(code)) => eprintln!("refused ({code}): {sentence}"),
            (_, Some(code)) => eprintln!("error ({code}): {sentence}"),
            (_, None) => eprintln!("error: {sentence}"),
        }
        if json && !self.is_told {
            print(&failure_document(self.exit, self.code, &sentence));
        }
    }
}

/// What a command that failed prints with `--json`.
pub fn failure_document(exit: Exit, code: Option<&str>, message: &str) -> serde_json::Value {
    serde_json::json!({"error": exit.name(), "code": code, "message": message})
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Failure {
        Failure::failed(error)
    }
}

/// So many of something: `1 lesion`, `2 lesions`.
pub fn counted(count: usize, one: &str) -> String {
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
        written.map_err(Failure::failed)
    }

    /// A sentence for the person at the terminal, on standard error.
    pub fn say(&self, text: impl Display) {
        eprintln!("{text}");
    }

    /// A passing remark, for people only.
    pub fn note(&self, text: impl Display) {
        if !self.json && std::io::stderr().is_terminal() {
            eprintln!("{text}");
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
        eprint!("\r{}: {done} of {total}, about {left:.0} s left   ", self.what);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown.is_some() {
            eprint!("\r\x1b[K");
        }
    }
}

/// Writes a document to standard output; a reader that has gone is no fault.
pub fn print(document: &serde_json::Value) {
    let _ = writeln!(std::io::stdout(), "{document:#}");
}

#[cfg(test)]
mod tests {
    use super::counted;

    #[test]
    fn plurals_are_right() {
        let said = [(0, "lesion"), (1, "study"), (2, "study"), (2, "lesion")];
        let said = said.map(|(count, one)| counted(count, one));
        assert_eq!(said, ["0 lesions", "1 study", "2 studies", "2 lesions"]);
    }
}
