//! Messages that are larger than the broker takes.
//!
//! Owns what is known of the broker's limit, from its greeting or from what it did not take, and
//! what becomes of a message above it: a shorter form of it where there is one, with the flag
//! `shortened`; else it waits. Either is logged with topic and limit, and the status says
//! so. What comes after it is not held back.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::super::contract::Code;
use super::super::exchange::{TooLarge, lock};
use super::super::link::{Link, Message};
use super::super::schedule::{Item, Retained};
use super::Sender;

/// What a broker takes.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// As it said when it took the connection.
    said: Option<u64>,
    /// Less than what it did not take, and when that was found. A connection that ends without a
    /// reason does not make it untrue: the reason is lost where the line breaks first.
    found: Option<(u64, Instant)>,
}

/// How long what was found holds. After that the broker is tried anew: its limit may be raised.
const FOUND_HOLDS: Duration = Duration::from_secs(3600);

impl Room {
    /// What a message may have, and what a short form of it is made to have. Of a limit that was
    /// only found to be lower than something, the short form takes half: taking off a lesion at a
    /// time would cost a connection each.
    fn most(&self) -> Option<(u64, u64)> {
        let found = self.found.filter(|(_, at)| at.elapsed() < FOUND_HOLDS).map(|(most, _)| most);
        let most = [self.said, found].into_iter().flatten().min()?;
        Some((most, if self.said.is_some_and(|said| said <= most) { most } else { most / 2 }))
    }
}

/// Bytes of a message as an MQTT 5 packet, at most: lengths are counted at their longest.
pub(super) fn packet(message: &Message) -> u64 {
    let fixed = 5 + 2 + 2 + 4 + 2;
    let content_type = message.content_type.map_or(0, |text| 3 + text.len());
    let properties: usize =
        message.properties.iter().map(|(name, text)| 5 + name.len() + text.len()).sum();
    let correlation = message.correlation.as_ref().map_or(0, |data| 3 + data.len());
    let all = fixed + message.topic.len() + content_type + properties + correlation;
    (all + message.body.len()) as u64
}

impl<L: Link> Sender<L> {
    /// A connection is made; the broker says anew what it takes.
    pub(super) fn greeted(&mut self) {
        self.room.said = self.link.most_bytes();
        let most = self.room.most();
        let mut state = lock(&self.shared.state);
        let fits = |large: &TooLarge| most.is_none_or(|(most, _)| large.bytes <= most);
        if state.too_large.as_ref().is_some_and(fits) {
            state.too_large = None;
        }
    }

    /// The broker ended the connection over a message's size and did not say which: the largest
    /// under way, since one was too large.
    pub(super) fn found_too_large(&mut self) {
        let largest = self.tickets.values().max_by_key(|way| way.bytes);
        let words = match largest {
            Some(way) => {
                self.room.found = Some((way.bytes - 1, Instant::now()));
                format!("{}: {} bytes are more than it takes", way.topic, way.bytes)
            }
            None => "a message was larger than it takes".to_owned(),
        };
        self.lost(&words);
    }

    /// The message as it can be sent here; `None` if it cannot, and waits.
    pub(super) fn fit(&mut self, item: Item, topic: &str, mut message: Message) -> Option<Message> {
        let bytes = packet(&message);
        let Some((most, short)) = self.room.most().filter(|(most, _)| bytes > *most) else {
            return Some(message);
        };
        let known = TooLarge { topic: topic.to_owned(), bytes, most };
        let news = lock(&self.shared.state).too_large.replace(known.clone()) != Some(known);
        let spare = short.saturating_sub(bytes - message.body.len() as u64);
        let shorter = shorter(item, &message.body, usize::try_from(spare).unwrap_or(usize::MAX));
        if news {
            let what = if shorter.is_some() { "a short form is sent" } else { "it is postponed" };
            log::error!(
                "{topic}: a message of {bytes} bytes is more than the broker's {most}: {what}; \
                 raise the broker's max_packet_size or message_size_limit"
            );
        }
        match shorter {
            Some(body) => {
                message.body = body;
                Some(message)
            }
            None => {
                self.record_answer(item, false);
                None
            }
        }
    }
}

/// The same message without what can be looked up on the device, as much as must go. Says so.
fn shorter(item: Item, body: &[u8], most: usize) -> Option<Vec<u8>> {
    let mut whole: Value = serde_json::from_slice(body).ok()?;
    let fits = |whole: &Value| serde_json::to_vec(whole).ok().filter(|body| body.len() <= most);
    match item {
        Item::Event(_) | Item::Replay(_) => {
            let data = whole.get_mut("data")?;
            let flag = Value::from(Code::fixed("shortened").as_str());
            data.get_mut("quality")?.as_array_mut()?.push(flag);
            for list in ["lesions", "artefacts", "engines"] {
                // The most urgent lesions stay as long as they can.
                while whole["data"][list].as_array_mut()?.pop().is_some() {
                    if let Some(body) = fits(&whole) {
                        return Some(body);
                    }
                }
            }
            None
        }
        // How many are open is told beside the list.
        Item::Retained(Retained::Worklist) => {
            while whole.get_mut("open")?.as_array_mut()?.pop().is_some() {
                if let Some(body) = fits(&whole) {
                    return Some(body);
                }
            }
            None
        }
        Item::Retained(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_short_form_keeps_the_verdict_and_the_most_urgent() {
        let lesion = |id: u32| json!({"id": id, "words": "x".repeat(100)});
        let whole = json!({"id": "e", "data": {"verdict": "suspected", "lesions_total": 3,
            "lesions": [lesion(1), lesion(2), lesion(3)], "quality": [], "engines": [],
            "artefacts": ["a"]}});
        let body = serde_json::to_vec(&whole).unwrap();
        let short = shorter(Item::Event(1), &body, body.len() - 100).unwrap();
        assert!(short.len() <= body.len() - 100);
        let short: Value = serde_json::from_slice(&short).unwrap();
        assert_eq!(short["data"]["lesions"].as_array().unwrap().len(), 2);
        assert_eq!(short["data"]["lesions"][0]["id"], 1);
        assert_eq!(short["data"]["quality"], json!(["shortened"]));
        assert_eq!((&short["id"], &short["data"]["lesions_total"]), (&json!("e"), &json!(3)));
        assert!(shorter(Item::Event(1), &body, 40).is_none());
        assert!(shorter(Item::Retained(Retained::Info), &body, 300).is_none());
        assert!(shorter(Item::Event(1), b"{}", 300).is_none());
    }
}
