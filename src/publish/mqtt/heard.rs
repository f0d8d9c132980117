//! A message as one who only listens hears it.
//!
//! Owns the type and its bound.

/// Largest packet that is taken: twice what the contract allows for a body, and its topic.
pub(super) const MAX_HEARD: u32 = 40 * 1024;

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// Its topic.
    pub topic: String,
    /// Its body.
    pub body: Vec<u8>,
    /// From the broker's memory; otherwise it came just now.
    pub retained: bool,
}

impl Heard {
    /// Of a packet, whichever version it came in.
    pub(super) fn of(topic: &[u8], body: &[u8], retained: bool) -> Heard {
        let topic = String::from_utf8_lossy(topic).into_owned();
        Heard { topic, body: body.to_vec(), retained }
    }
}
