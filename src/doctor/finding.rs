//! What a check found, and what all of them come to. Refuses to look at anything itself.

use std::fmt::Write as _;

use serde::Serialize;

use crate::ui::Exit;
pub(crate) use crate::ui::Level;

/// The outcome of one check. Never carries a patient identifier: checks read folders,
/// counts and settings, not studies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// Name of the check; does not change between versions.
    pub name: &'static str,
    /// How bad it is.
    pub level: Level,
    /// What was found.
    pub finding: String,
    /// What to do about it.
    pub advice: Option<String>,
    /// With what a command ends if this is the first failure.
    #[serde(skip)]
    pub exit: Exit,
}

impl Finding {
    /// As it should be.
    pub(crate) fn ok(name: &'static str, finding: impl Into<String>) -> Finding {
        let (level, finding) = (Level::Ok, finding.into());
        Finding { name, level, finding, advice: None, exit: Exit::Failed }
    }

    /// Worth a look.
    pub(crate) fn warn(name: &'static str, finding: impl Into<String>, advice: &str) -> Finding {
        Finding { level: Level::Warn, ..Finding::ok(name, finding) }.with(advice)
    }

    /// The daemon cannot work like this.
    pub(crate) fn fail(name: &'static str, finding: impl Into<String>, advice: &str) -> Finding {
        Finding { level: Level::Fail, ..Finding::ok(name, finding) }.with(advice)
    }

    /// With something to do.
    pub(crate) fn with(self, advice: impl Into<String>) -> Finding {
        Finding { advice: Some(advice.into()), ..self }
    }

    /// With another exit code than 1.
    pub(crate) fn ending(self, exit: Exit) -> Finding {
        Finding { exit, ..self }
    }

    /// One or two lines for people.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("{:<5} {}: {}", self.level.word(), self.name, self.finding);
        if let Some(advice) = &self.advice {
            let _ = write!(text, "\n      -> {advice}");
        }
        text
    }
}

/// All findings together.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// The program's version.
    pub version: &'static str,
    /// One per check, in the order of the checks.
    pub checks: Vec<Finding>,
    /// How many warn.
    pub warnings: usize,
    /// How many fail.
    pub failures: usize,
}

impl Report {
    /// Counts the findings of each level.
    pub(crate) fn of(checks: Vec<Finding>) -> Report {
        let count = |level| checks.iter().filter(|check| check.level == level).count();
        let (warnings, failures) = (count(Level::Warn), count(Level::Fail));
        Report { version: env!("CARGO_PKG_VERSION"), checks, warnings, failures }
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        let lines: Vec<String> = self.checks.iter().map(Finding::text).collect();
        let Report { version, checks, warnings, failures } = self;
        let ok = checks.len() - warnings - failures;
        format!(
            "{}\nhepalert {version}: {ok} checks ok, {warnings} to look at, {failures} failed",
            lines.join("\n")
        )
    }

    /// The first check that failed.
    pub(crate) fn first_failure(&self) -> Option<&Finding> {
        self.checks.iter().find(|check| check.level == Level::Fail)
    }
}
