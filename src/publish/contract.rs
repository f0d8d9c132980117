//! The MQTT contract, v1: envelope, topics, limits.
//!
//! Owns what every message has in common and the rules that hold for all: at most 16 KiB,
//! numbers finite, times in UTC with milliseconds, nothing free-worded that could name a
//! patient. Within v1 a field is never re-typed; consumers ignore fields they do not know.

use std::borrow::Cow;

use hepalert_study::protocol::{MAX_BASE, MAX_DEVICE, is_base_topic, is_device_name};
use jiff::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use strum::{IntoStaticStr, VariantArray};
use uuid::Uuid;

/// The version in every topic.
pub const VERSION: &str = "v1";
/// Most bytes of a message body: small enough for any broker's default.
pub const MAX_BYTES: usize = 16 * 1024;
/// Most lesions in one message; `lesions_total` tells how many there are.
pub const MAX_LESIONS: usize = 20;
/// Most open alerts in the worklist; `open_total` tells how many there are.
pub const MAX_OPEN: usize = 50;
/// Most bytes of what a command says in its body of where and how it is answered.
pub const MAX_CORRELATION: usize = 256;
/// Most characters of a [`Code`].
pub const MAX_CODE: usize = 64;

/// Why something cannot be said in this contract.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContractError {
    /// The message stays above [`MAX_BYTES`] even without its lesions.
    #[error("{kind}: {bytes} bytes are more than the {MAX_BYTES} that a message may have")]
    TooLarge {
        /// Which message.
        kind: &'static str,
        /// How long it is.
        bytes: usize,
    },
    /// A number is infinite or not a number.
    #[error("{kind}: {field} is not a finite number")]
    NotFinite {
        /// Which message.
        kind: &'static str,
        /// Which field, as a path.
        field: String,
    },
    /// A device, base topic or code with characters it must not have.
    #[error("{what} {text:?}: expected 1 to {most} of a-z, 0-9, - (and _ . / where allowed)")]
    Name {
        /// What was to be named.
        what: &'static str,
        /// The name given.
        text: String,
        /// Most characters.
        most: usize,
    },
}

/// A moment: RFC 3339, UTC, milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub Timestamp);

impl From<Timestamp> for Time {
    fn from(at: Timestamp) -> Time {
        Time(at)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:.3}", self.0))
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Time, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        text.parse().map(Time).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Time {
    fn schema_name() -> Cow<'static, str> {
        "Time".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "RFC 3339, UTC, milliseconds",
            "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$",
        })
    }
}

/// A word of a fixed vocabulary: a reason, a flag, a source. Never free text, so that no
/// name can slip into a message: at most 64 of `a-z 0-9 _ . -`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Code(String);

impl Code {
    /// Takes a code; capitals and blanks are no part of one.
    ///
    /// # Errors
    /// [`ContractError::Name`].
    pub fn new(text: &str) -> Result<Code, ContractError> {
        let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_.-".contains(&b);
        if (1..=MAX_CODE).contains(&text.len()) && text.bytes().all(good) {
            Ok(Code(text.to_owned()))
        } else {
            Err(ContractError::Name { what: "code", text: text.to_owned(), most: MAX_CODE })
        }
    }

    /// A code that this program's source spells out; a misspelt one becomes `unspecified`,
    /// which the debug build does not let pass.
    pub fn fixed(text: &'static str) -> Code {
        let code = Code::new(text);
        debug_assert!(code.is_ok(), "{text:?} is no code");
        code.unwrap_or_else(|_| Code("unspecified".to_owned()))
    }

    /// The code.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Code {
    type Error = ContractError;

    fn try_from(text: String) -> Result<Code, ContractError> {
        Code::new(&text)
    }
}

impl JsonSchema for Code {
    fn schema_name() -> Cow<'static, str> {
        "Code".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^[a-z0-9_.-]{1,64}$",
            "description": "A word for programs; codes.md has its sentence."
        })
    }
}

/// The events: what goes through the outbox, one topic each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum EventKind {
    /// A study's way through the house.
    Study,
    /// A finished study, negatives included.
    Result,
    /// A suspected or uncertain study.
    Alert,
    /// An alert that nobody has acknowledged.
    Escalation,
    /// A change of engine.
    Engine,
}

impl EventKind {
    /// All kinds.
    pub const ALL: [EventKind; 5] = hepalert_study::all(EventKind::VARIANTS);

    /// Its name in topics and schemas.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Its topic below the device's root.
    pub const fn topic(self) -> &'static str {
        match self {
            EventKind::Study => "event/study",
            EventKind::Result => "event/result",
            EventKind::Alert => "event/alert",
            EventKind::Escalation => "event/escalation",
            EventKind::Engine => "event/engine",
        }
    }

    /// The kind with this topic.
    pub fn from_topic(topic: &str) -> Option<EventKind> {
        EventKind::ALL.into_iter().find(|kind| kind.topic() == topic)
    }
}

/// The name of a schema: what `dataschema` and the user property `schema` carry.
pub fn schema_id(name: &str) -> String {
    format!("urn:hepalert:{VERSION}:{name}")
}

/// An event as it travels: CloudEvents 1.0 and the sequence on this device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Envelope<T> {
    /// CloudEvents version: `1.0`.
    pub specversion: String,
    /// Deterministic: the same after a crash, a retry or a replay. Deduplicate by it.
    #[schemars(with = "String", extend("format" = "uuid"))]
    pub id: Uuid,
    /// `/hepalert/v1/<device>`.
    pub source: String,
    /// `hepalert.<kind>.v1`.
    #[serde(rename = "type")]
    pub kind: String,
    /// When it happened.
    pub time: Time,
    /// The study key, where a study is meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Name of the schema.
    pub dataschema: String,
    /// What happened.
    pub data: T,
    /// Number of the event on this device; a gap means loss: ask for a replay.
    pub seq: u64,
    /// In which run of the daemon it was written.
    pub boot: u64,
    /// Revision of the study, 0 without one.
    pub rev: u32,
    /// Sent again on request.
    pub replay: bool,
    /// Id of the event of an earlier revision that this one replaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "uuid"))]
    pub supersedes: Option<Uuid>,
}

/// An event ready for the store, without its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// Deterministic id.
    pub id: Uuid,
    /// What it is.
    pub kind: EventKind,
    /// The study key, where a study is meant.
    pub subject: Option<String>,
    /// Revision of the study, 0 without one.
    pub revision: u32,
    /// Id of the event that this one replaces.
    pub supersedes: Option<Uuid>,
    /// When it happened.
    pub time: Timestamp,
    /// JSON, checked.
    pub data: String,
}

/// An event with its number, as it comes back from the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its number on this device.
    pub seq: u64,
    /// In which run of the daemon it was written.
    pub boot: u64,
    /// The event.
    pub draft: Draft,
}

impl Row {
    /// The body of the message.
    ///
    /// # Errors
    /// [`ContractError::TooLarge`]; a checked draft never is.
    pub fn body(&self, device: &str, replay: bool) -> Result<Vec<u8>, ContractError> {
        let Draft { id, kind, subject, revision, supersedes, time, data } = &self.draft;
        let envelope = Envelope {
            specversion: "1.0".to_owned(),
            id: *id,
            source: format!("/hepalert/{VERSION}/{device}"),
            kind: format!("hepalert.{}.{VERSION}", kind.name()),
            time: Time(*time),
            subject: subject.clone(),
            dataschema: schema_id(kind.name()),
            data: serde_json::from_str::<Value>(data).unwrap_or(Value::Null),
            seq: self.seq,
            boot: self.boot,
            rev: *revision,
            replay,
            supersedes: *supersedes,
        };
        bounded(kind.name(), &envelope)
    }
}

impl Draft {
    /// Checks an event's data against the limits, with the longest envelope it can get.
    ///
    /// # Errors
    /// [`ContractError::NotFinite`] or [`ContractError::TooLarge`].
    pub fn checked(self, device: &str) -> Result<Draft, ContractError> {
        let value = serde_json::from_str::<Value>(&self.data).unwrap_or(Value::Null);
        finite(self.kind.name(), &value)?;
        let row = Row { seq: u64::MAX, boot: u64::MAX, draft: self };
        row.body(device, false)?;
        Ok(row.draft)
    }
}

/// Serialises a message and holds it to the limit.
///
/// # Errors
/// [`ContractError::TooLarge`].
pub fn bounded<T: Serialize>(kind: &'static str, message: &T) -> Result<Vec<u8>, ContractError> {
    // Our own types have string keys only: serialising them cannot fail.
    let body = serde_json::to_vec(message).unwrap_or_default();
    if body.len() > MAX_BYTES {
        return Err(ContractError::TooLarge { kind, bytes: body.len() });
    }
    Ok(body)
}

/// JSON has no NaN: serde writes null. No field of ours is ever null, so a null was one.
///
/// # Errors
/// [`ContractError::NotFinite`] names the first such field.
pub fn finite(kind: &'static str, value: &Value) -> Result<(), ContractError> {
    fn hole(value: &Value) -> Option<String> {
        match value {
            Value::Null => Some(String::new()),
            Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
            Value::Array(items) => items
                .iter()
                .enumerate()
                .find_map(|(n, item)| hole(item).map(|rest| format!("[{n}]{rest}"))),
            Value::Object(fields) => fields
                .iter()
                .find_map(|(name, item)| hole(item).map(|rest| format!(".{name}{rest}"))),
        }
    }
    match hole(value) {
        Some(field) => Err(ContractError::NotFinite { kind, field: field.replacen('.', "", 1) }),
        None => Ok(()),
    }
}

/// Checks a device name: 1 to 32 of `a-z 0-9 -`.
///
/// # Errors
/// [`ContractError::Name`].
pub fn check_device(text: &str) -> Result<(), ContractError> {
    if is_device_name(text) {
        Ok(())
    } else {
        Err(ContractError::Name { what: "device", text: text.to_owned(), most: MAX_DEVICE })
    }
}

/// Checks a base topic: 1 to 64 of `a-z 0-9 - _ /`, no empty level, so no wildcard and no
/// `$` either.
///
/// # Errors
/// [`ContractError::Name`].
pub fn check_base(text: &str) -> Result<(), ContractError> {
    if is_base_topic(text) {
        Ok(())
    } else {
        Err(ContractError::Name { what: "base topic", text: text.to_owned(), most: MAX_BASE })
    }
}

/// The names of all schemas.
pub const SCHEMAS: [&str; 11] = [
    "study",
    "result",
    "alert",
    "escalation",
    "engine",
    "status",
    "info",
    "health",
    "worklist",
    "command",
    "reply",
];

#[cfg(test)]
mod tests;
