//! Which MQTT is spoken, and what may name a device and its topics: what the configuration and the line
//! to the broker share.

use serde::{Deserialize, Serialize};

/// The version of MQTT.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    /// 5: properties say schema and id of a message, and where an answer goes.
    #[default]
    #[serde(rename = "5")]
    V5,
    /// 3.1.1: the same topics and bodies without properties, and a broker that does not say why it
    /// refuses a message.
    #[serde(rename = "3.1.1")]
    V311,
}

/// Longest name of a device.
pub const MAX_DEVICE: usize = 32;
/// Longest base topic.
pub const MAX_BASE: usize = 64;

/// Whether a text can name a device: 1 to [`MAX_DEVICE`] of `a-z 0-9 -`.
pub fn is_device_name(text: &str) -> bool {
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=MAX_DEVICE).contains(&text.len()) && text.bytes().all(good)
}

/// Whether a text can be a base topic: 1 to [`MAX_BASE`] of `a-z 0-9 - _ /`, no empty level, so no
/// wildcard and no `$` either.
pub fn is_base_topic(text: &str) -> bool {
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b);
    let levels = text.split('/').all(|level| !level.is_empty() && level.bytes().all(good));
    (1..=MAX_BASE).contains(&text.len()) && levels
}
