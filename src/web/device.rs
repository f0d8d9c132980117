//! What the page asks the device it runs on: the daemon answers, and in tests a made-up one.
//!
//! Owns plain data and the trait. Refuses to know threads.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use crate::publish::messages::State;
use crate::ui::Level;

/// How the device is now; quick to ask for.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Pulse {
    /// How it is.
    pub state: State,
    /// Codes of what is wrong.
    pub reasons: Vec<String>,
    /// Since when that is so.
    #[schemars(with = "String")]
    pub since: Timestamp,
    /// What is being done.
    pub step: Option<Step>,
    /// Studies of which something has come and which are not complete, the newest first.
    pub receiving: Vec<Receiving>,
    /// Files that are still being written or not yet read.
    pub moving_files: usize,
    /// The engines in use.
    pub engines: Vec<Engine>,
    /// The last self-test of the engine in use.
    pub self_test: Option<Tested>,
    /// The line to the broker.
    pub broker: Line,
    /// Run of the daemon.
    pub boot: u64,
}

/// What is being done.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Step {
    /// Its name.
    pub stage: String,
    /// How much of it is done.
    pub done: usize,
    /// Of how much.
    pub total: usize,
    /// Seconds until this step is likely done.
    pub left_s: Option<f64>,
}

/// A study that is not complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Receiving {
    /// The study.
    pub study_key: String,
    /// When the first of these files came.
    #[schemars(with = "String")]
    pub since: Timestamp,
    /// Files that are here.
    pub files: usize,
    /// Series among them.
    pub series: usize,
}

/// A network in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Engine {
    /// What it does.
    pub role: String,
    /// Its bundle.
    pub id: String,
    /// The bundle's version.
    pub version: String,
    /// SHA-256 of the bundle's manifest.
    pub sha256: String,
}

/// A self-test.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Tested {
    /// When it ended.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// Whether it went well.
    pub passed: bool,
}

/// The line to the broker.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, JsonSchema)]
pub struct Line {
    /// Whether it stands.
    pub connected: bool,
    /// The last failure, where it does not.
    pub last_error: Option<String>,
    /// Events taken by the broker in this run.
    pub accepted: u64,
}

/// The outcome of one check of `doctor`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Check {
    /// Its name.
    pub name: String,
    /// How bad it is.
    pub level: Level,
    /// What was found.
    pub finding: String,
    /// What to do.
    pub advice: Option<String>,
}

/// A device that does nothing, since then: where there is a page and no daemon.
#[derive(Debug)]
pub struct AtRest(pub Timestamp);

impl Device for AtRest {
    fn pulse(&self) -> Pulse {
        Pulse {
            state: State::Online,
            reasons: Vec::new(),
            since: self.0,
            step: None,
            receiving: Vec::new(),
            moving_files: 0,
            engines: Vec::new(),
            self_test: None,
            broker: Line::default(),
            boot: 0,
        }
    }

    fn checks(&self) -> Vec<Check> {
        Vec::new()
    }
}

/// The device.
pub trait Device: Send + Sync {
    /// How it is now.
    fn pulse(&self) -> Pulse;
    /// The findings of `doctor`, without running networks; takes seconds.
    fn checks(&self) -> Vec<Check>;
}
