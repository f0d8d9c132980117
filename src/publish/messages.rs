//! The other messages: a study's steps, changes of engine, the retained state of the
//! device, commands and replies.
//!
//! Owns their fields. Each retained document carries its schema's name, because it has no
//! envelope: it tells what is true now and replaces itself.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::contract::{Code, ContractError, Draft, EventKind, MAX_OPEN, Time, schema_id};
use super::findings::EngineUsed;
use super::ids::{Identity, note_id, reminder_id};
use hepalert_study::outcome::EngineAction;
use hepalert_study::outcome::{AlertLevel, NOTICE, Opinion};
use hepalert_study::phase::Setting;

/// A step of a study.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, strum::IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum StudyState {
    /// Its first file was seen.
    Received,
    /// Its files are complete; it waits.
    Queued,
    /// It is being worked on.
    Started,
    /// It has a result.
    Completed,
    /// Its input was refused; `code` says why.
    #[serde(rename = "rejected")]
    #[strum(serialize = "rejected")]
    Refused,
    /// It failed too often; `code` says how.
    Failed,
    /// A later revision came before its turn.
    Superseded,
    /// It has a result, which an archive did not take; `code` says why, `target` which.
    NotDelivered,
}

impl StudyState {
    /// The wire name.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// Data of `event/study`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StudyEvent {
    /// Names the study without naming the patient.
    pub study_key: String,
    /// The step.
    pub state: StudyState,
    /// Why, where there is a why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
    /// What it is read for, once that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub setting: Option<Setting>,
    /// How often it was begun.
    pub attempts: u32,
    /// Files that were not read, by kind: other series, notes, links, archives.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub passed_over: BTreeMap<String, usize>,
    /// The archive that did not take the result, by its name in the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

impl StudyEvent {
    /// The event. Its id depends on the step but not on the attempt: a retry is no news.
    ///
    /// # Errors
    /// [`ContractError`]; a study event of this crate's types never is too large.
    pub fn draft(&self, identity: &Identity, time: Timestamp) -> Result<Draft, ContractError> {
        let target = self.target.as_ref().map_or(String::new(), |target| format!(" {target}"));
        let draft = Draft {
            id: identity.id(EventKind::Study, &format!("{}{target}", self.state.name())),
            kind: EventKind::Study,
            subject: Some(identity.study_key.clone()),
            revision: identity.revision,
            supersedes: None,
            time,
            data: serde_json::to_string(self).unwrap_or_default(),
        };
        draft.checked(&identity.device)
    }
}

/// Data of `event/escalation`: an alert is told again, since nobody has acknowledged it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Escalation {
    /// Id of the alert event: acknowledge this one.
    pub alert_id: String,
    /// The study.
    pub study_key: String,
    /// Suspected or uncertain.
    pub verdict: AlertLevel,
    /// When the alert was raised.
    pub raised: Time,
    /// Which reminder, from 1.
    pub reminder: u32,
    /// How many there will be.
    pub reminders: u32,
    /// What the message is not.
    pub notice: String,
}

impl Escalation {
    /// The event, about a revision of the study.
    ///
    /// # Errors
    /// [`ContractError::TooLarge`].
    pub fn draft(
        mut self,
        device: &str,
        revision: u32,
        time: Timestamp,
    ) -> Result<Draft, ContractError> {
        self.notice = NOTICE.to_owned();
        let draft = Draft {
            id: reminder_id(device, &self.alert_id, self.reminder),
            kind: EventKind::Escalation,
            subject: Some(self.study_key.clone()),
            revision,
            supersedes: None,
            time,
            data: serde_json::to_string(&self).unwrap_or_default(),
        };
        draft.checked(device)
    }
}

/// Data of `event/engine`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EngineEvent {
    /// What was done.
    pub action: EngineAction,
    /// With which engine; id `unknown` where it was refused before its name was believed.
    pub engine: EngineUsed,
    /// Which engine is in use afterwards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_use: Option<EngineUsed>,
    /// Why, where there is a why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
}

impl EngineEvent {
    /// The event.
    ///
    /// # Errors
    /// [`ContractError::TooLarge`].
    pub fn draft(&self, device: &str, time: Timestamp) -> Result<Draft, ContractError> {
        let data = serde_json::to_string(self).unwrap_or_default();
        note(device, EventKind::Engine, data, time)
    }
}

fn note(
    device: &str,
    kind: EventKind,
    data: String,
    time: Timestamp,
) -> Result<Draft, ContractError> {
    let id = note_id(device, kind, &data, time);
    let draft = Draft { id, kind, subject: None, revision: 0, supersedes: None, time, data };
    draft.checked(device)
}

/// How the device is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, strum::IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum State {
    /// Everything works.
    Online,
    /// Something does not; the reasons say what.
    Degraded,
    /// It takes no new work and is about to stop.
    Draining,
    /// It was stopped in good order.
    Stopped,
}

impl State {
    /// The word.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// The retained `status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// Name of the schema.
    pub schema: String,
    /// How the device is.
    pub state: State,
    /// Why it is so.
    pub reasons: Vec<Code>,
    /// Since when.
    pub since: Time,
    /// Run of the daemon.
    pub boot: u64,
}

impl Status {
    /// A status.
    pub fn new(state: State, reasons: Vec<Code>, since: Timestamp, boot: u64) -> Status {
        Status { schema: schema_id("status"), state, reasons, since: Time(since), boot }
    }
}

/// The retained `info`: the birth message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Info {
    /// Name of the schema.
    pub schema: String,
    /// Version of the program.
    pub version: String,
    /// Names of all schemas spoken.
    pub schemas: Vec<String>,
    /// The engines in use.
    pub engines: Vec<EngineUsed>,
    /// SHA-256 of the configuration as merged, hex.
    pub config_sha256: String,
    /// Run of the daemon.
    pub boot: u64,
    /// The number that followed the last event when the device connected.
    pub next_seq: u64,
    /// Whether the system clock follows a time server, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_synced: Option<bool>,
}

/// What [`Info`] is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InfoParts {
    /// The engines in use.
    pub engines: Vec<EngineUsed>,
    /// SHA-256 of the configuration as merged, hex.
    pub config_sha256: String,
    /// Run of the daemon.
    pub boot: u64,
    /// The number that the next event will have.
    pub next_seq: u64,
    /// Whether the system clock follows a time server, if that is known.
    pub clock_synced: Option<bool>,
}

impl From<InfoParts> for Info {
    fn from(parts: InfoParts) -> Info {
        let InfoParts { engines, config_sha256, boot, next_seq, clock_synced } = parts;
        Info {
            schema: schema_id("info"),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            schemas: super::contract::SCHEMAS.map(schema_id).into(),
            engines,
            config_sha256,
            boot,
            next_seq,
            clock_synced,
        }
    }
}

/// The last self-test of the engines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SelfTest {
    /// The moment of it.
    pub at: Time,
    /// Whether it went well.
    pub passed: bool,
}

/// The retained `health`. Sent directly, never through the outbox: an old one is worthless.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Health {
    /// Name of the schema.
    pub schema: String,
    /// When this was true.
    pub time: Time,
    /// For how long to believe it.
    pub valid_for_s: u32,
    /// What was measured.
    #[serde(flatten)]
    pub vitals: Vitals,
}

/// What health is measured by.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Vitals {
    /// Studies waiting.
    pub queued: u64,
    /// Studies being worked on.
    pub running: u64,
    /// Studies that failed too often.
    pub dead: u64,
    /// Events not yet acknowledged by the broker.
    pub outbox_backlog: u64,
    /// When the oldest of them was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_unsent: Option<Time>,
    /// Free space where the store lies, in MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_free_mib: Option<u64>,
    /// Hottest sensor, in degrees Celsius.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature_c: Option<f64>,
    /// The last self-test of the engines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_self_test: Option<SelfTest>,
}

impl Health {
    /// A health message. It is to be believed for twice the interval and a half: one lost
    /// message is no alarm, two are.
    pub fn new(vitals: Vitals, interval_s: u64, time: Timestamp) -> Health {
        let valid_for_s = u32::try_from(interval_s.saturating_mul(5) / 2).unwrap_or(u32::MAX);
        Health { schema: schema_id("health"), time: Time(time), valid_for_s, vitals }
    }
}

/// An open alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OpenAlert {
    /// Id of the alert event.
    pub id: String,
    /// The study.
    pub study_key: String,
    /// Suspected or uncertain.
    pub verdict: AlertLevel,
    /// When it was raised.
    pub time: Time,
}

/// The retained `worklist`: late joiners see the truth.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Worklist {
    /// Name of the schema.
    pub schema: String,
    /// Counts changes.
    pub revision: u64,
    /// How many alerts are open altogether.
    pub open_total: u64,
    /// The newest of them, newest first, at most 50.
    #[schemars(length(max = 50))]
    pub open: Vec<OpenAlert>,
}

impl Worklist {
    /// A worklist; more than 50 alerts are cut off at the old end.
    pub fn new(revision: u64, open_total: u64, mut open: Vec<OpenAlert>) -> Worklist {
        open.truncate(MAX_OPEN);
        Worklist { schema: schema_id("worklist"), revision, open_total, open }
    }
}

/// What another program may ask; the topic `cmd/<name>` says which, and the body holds its fields alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// Are you there?
    Ping {},
    /// Someone has seen this alert.
    Ack {
        /// Id of the alert event.
        #[schemars(with = "String", extend("format" = "uuid"))]
        id: Uuid,
        /// Who, by role: `radiologist`, `reading-room`, the name of a program. No person's name.
        by: Code,
        /// What that role thinks of it; may follow later, also once the alert is closed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        verdict: Option<Opinion>,
    },
    /// Send these events again.
    Replay {
        /// First number.
        from_seq: u64,
        /// Last number.
        to_seq: u64,
    },
    /// Put a study that was refused or failed back into the queue.
    Reprocess {
        /// The study.
        study_key: String,
    },
}

impl Command {
    /// Reads the command of `cmd/<name>`.
    ///
    /// # Errors
    /// A code for the reply: `unknown-command` or `bad-arguments`.
    pub fn read(name: &str, arguments: serde_json::Value) -> Result<Command, Code> {
        if !["ping", "ack", "replay", "reprocess"].contains(&name) {
            return Err(Code::fixed("unknown-command"));
        }
        let tagged = serde_json::json!({ name: arguments });
        serde_json::from_value(tagged).map_err(|_| Code::fixed("bad-arguments"))
    }
}

/// The answer to a command, on its response topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reply {
    /// Name of the schema.
    pub schema: String,
    /// The moment of it.
    pub time: Time,
    /// Whether it was done.
    pub ok: bool,
    /// Why not, or what.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
    /// How many numbers will be gone through for a replay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events: Option<u64>,
    /// The command's own `correlation`, where it stood in the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation: Option<String>,
}
