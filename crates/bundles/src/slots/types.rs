//! What the state of the slots is made of. Plain data; written to the slots' folder as JSON.

use hepalert_study::outcome::EngineAction;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Faults of the inference process in a row, without a finished study in between, that end a
/// probation. One may be the study's fault; the engine before is the safe side of two.
pub const MAX_FAULTS: u32 = 2;
/// Times a self-test may be begun without ending: one that takes the machine down must not
/// do so for ever.
pub const MAX_TRIES: u32 = 3;

/// One of the two places for an installed engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, strum::EnumString)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Slot {
    /// Folder `a`.
    A,
    /// Folder `b`.
    B,
}

impl Slot {
    /// Both slots, in order of name.
    pub const ALL: [Slot; 2] = [Slot::A, Slot::B];

    /// Folder and name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Slot::A => "a",
            Slot::B => "b",
        }
    }
}

/// An engine by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineId {
    /// Its maker's name for it.
    pub id: String,
    /// Counts up.
    pub version: u32,
    /// SHA-256 of its manifest, hex.
    pub sha256: String,
}

/// What is in a slot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Installed {
    /// Which engine.
    pub which: EngineId,
    /// When it was put there.
    pub at: Timestamp,
    /// How far it is trusted.
    pub condition: Condition,
    /// Its last self-test here.
    pub self_test: Option<Test>,
}

/// A self-test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Test {
    /// The moment of it.
    pub at: Timestamp,
    /// Whether it went well.
    pub passed: bool,
    /// What was seen, in a sentence.
    pub words: String,
}

/// How far an engine is trusted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Condition {
    /// Whole and signed, not yet run.
    #[serde(rename = "unproven")]
    Untested {
        /// Self-tests begun.
        tries: u32,
    },
    /// It has passed its self-test here.
    Staged,
    /// In use, watched.
    Probation {
        /// Since when.
        since: Timestamp,
        /// Studies finished.
        studies: u32,
        /// Faults of the inference process since the last finished study.
        faults: u32,
        /// What was in use before; nothing means the configured bundle.
        before: Option<Slot>,
    },
    /// It has proved itself.
    Good,
    /// It has failed.
    Bad {
        /// The code of the refusal.
        code: String,
    },
}

/// A change that subscribers and the audit trail must hear of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// The moment of it.
    pub at: Timestamp,
    /// What was done to the slot.
    pub action: EngineAction,
    /// With which engine; nothing, if it was refused before it had a name.
    pub which: Option<EngineId>,
    /// What is in use afterwards, if that is in a slot.
    pub in_use: Option<EngineId>,
    /// Why, where there is a why.
    pub code: Option<String>,
    /// Whether it was told.
    pub told: bool,
}

/// What the daemon is asked to do between two studies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wanted {
    /// Use this slot; nothing means the configured bundle.
    Activate(Option<Slot>),
    /// Use what was in use before.
    RollBack,
}

/// How long an engine is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProbationLimits {
    /// Studies it must finish.
    pub studies: u32,
    /// Hours it must work.
    pub hours: u32,
}

/// What the inference process does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The engine cannot be loaded or fails its self-test.
    Engine,
    /// The process dies, hangs or fails a study.
    Process,
}

/// Why a step is not possible now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Objection {
    /// The rollback target must stay.
    #[error("{id} version {version} is on probation: wait for its end, or roll it back")]
    OnProbation {
        /// The engine in use.
        id: String,
        /// Its version.
        version: u32,
    },
    /// It is here.
    #[error("{id} version {version} is installed already")]
    Installed {
        /// The engine.
        id: String,
        /// Its version.
        version: u32,
    },
    /// It has failed here.
    #[error(
        "{id} version {version} was rolled back or failed its self-test here before; `engine install --again` tries it once more"
    )]
    FailedBefore {
        /// The engine.
        id: String,
        /// Its version.
        version: u32,
    },
    /// A newer one is known.
    #[error(
        "version {found} of {id} is not newer than version {known}, which is known here; only a version signed for it can go back"
    )]
    Older {
        /// The engine.
        id: String,
        /// Its version.
        found: u32,
        /// The newest known.
        known: u32,
    },
    /// Nothing is there.
    #[error("slot {0} is empty")]
    Empty(&'static str),
    /// It has not been tested.
    #[error("slot {0} has not passed its self-test yet")]
    NotTested(&'static str),
    /// It is in use.
    #[error("slot {0} is in use")]
    InUse(&'static str),
    /// There is nothing before.
    #[error("the configured bundle is in use: there is nothing to roll back")]
    NothingBefore,
}

impl Objection {
    /// The reason code.
    pub const fn code(&self) -> &'static str {
        match self {
            Objection::OnProbation { .. } => "on_probation",
            Objection::Installed { .. } => "already_installed",
            Objection::FailedBefore { .. } => "failed_before",
            Objection::Older { .. } => "older",
            Objection::Empty(_) => "slot_empty",
            Objection::NotTested(_) => "not_proven",
            Objection::InUse(_) => "slot_in_use",
            Objection::NothingBefore => "nothing_before",
        }
    }
}
