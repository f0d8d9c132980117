//! Commands and answers: the group 0000 that goes before a data set.
//!
//! Owns its encoding, which is always implicit VR little endian (PS3.7 section 6.3.1). Every length is
//! held against the bytes that are there.

use std::collections::BTreeMap;

/// Elements of the group.
pub mod element {
    #![allow(missing_docs, reason = "named as in the standard")]
    pub const AFFECTED_SOP_CLASS_UID: u16 = 0x0002;
    pub const REQUESTED_SOP_CLASS_UID: u16 = 0x0003;
    pub const COMMAND_FIELD: u16 = 0x0100;
    pub const MESSAGE_ID: u16 = 0x0110;
    pub const MESSAGE_ID_RESPONDED_TO: u16 = 0x0120;
    pub const PRIORITY: u16 = 0x0700;
    pub const DATA_SET_TYPE: u16 = 0x0800;
    pub const STATUS: u16 = 0x0900;
    pub const AFFECTED_SOP_INSTANCE_UID: u16 = 0x1000;
    pub const REQUESTED_SOP_INSTANCE_UID: u16 = 0x1001;
    pub const EVENT_TYPE_ID: u16 = 0x1002;
    pub const ACTION_TYPE_ID: u16 = 0x1008;
}

/// Command fields; an answer has the highest bit set.
pub mod field {
    #![allow(missing_docs, reason = "named as in the standard")]
    pub const C_STORE: u16 = 0x0001;
    pub const C_ECHO: u16 = 0x0030;
    pub const N_EVENT_REPORT: u16 = 0x0100;
    pub const N_EVENT_REPORT_ANSWERED: u16 = 0x8100;
    pub const N_ACTION: u16 = 0x0130;
    pub const ANSWER: u16 = 0x8000;
}

/// There is no data set behind the command.
pub const NO_DATA_SET: u16 = 0x0101;
/// There is one.
pub const DATA_SET: u16 = 0x0000;
/// Commands are a few hundred bytes.
pub const MAX_COMMAND_BYTES: usize = 16 << 10;

/// A command or an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Command(BTreeMap<u16, Vec<u8>>);

impl Command {
    /// Reads a command; `None` if the bytes are none.
    pub fn read(bytes: &[u8]) -> Option<Command> {
        let mut elements = BTreeMap::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let (head, behind) = rest.split_first_chunk::<8>()?;
            let [g0, g1, e0, e1, length @ ..] = *head;
            let length = usize::try_from(u32::from_le_bytes(length)).ok()?;
            if (g0, g1) != (0, 0) || length > behind.len() {
                return None;
            }
            let (value, behind) = behind.split_at(length);
            elements.insert(u16::from_le_bytes([e0, e1]), value.to_vec());
            rest = behind;
        }
        elements.remove(&0);
        Some(Command(elements))
    }

    /// The bytes of a command, its length first.
    pub fn bytes(&self) -> Vec<u8> {
        let mut all = Vec::new();
        for (element, value) in &self.0 {
            put(&mut all, *element, value);
        }
        let mut bytes = Vec::new();
        put(&mut bytes, 0, &(all.len() as u32).to_le_bytes());
        bytes.extend(all);
        bytes
    }

    /// A whole number.
    pub fn number(&self, element: u16) -> Option<u16> {
        let value: [u8; 2] = self.0.get(&element)?.as_slice().try_into().ok()?;
        Some(u16::from_le_bytes(value))
    }

    /// A UID, without its padding.
    pub fn uid(&self, element: u16) -> Option<&str> {
        let text = std::str::from_utf8(self.0.get(&element)?).ok()?;
        Some(text.trim_end_matches(['\0', ' ']))
    }

    /// With a number.
    #[must_use]
    pub fn with(mut self, element: u16, number: u16) -> Command {
        self.0.insert(element, number.to_le_bytes().to_vec());
        self
    }

    /// With a UID.
    #[must_use]
    pub fn with_uid(mut self, element: u16, uid: &str) -> Command {
        let mut value = uid.as_bytes().to_vec();
        if value.len() % 2 == 1 {
            value.push(0);
        }
        self.0.insert(element, value);
        self
    }

    /// The answer to this command, without a data set.
    #[must_use]
    pub fn answer(&self, status: u16) -> Command {
        let asked = self.number(element::COMMAND_FIELD).unwrap_or_default();
        let mut answer = Command::default()
            .with(element::COMMAND_FIELD, asked | field::ANSWER)
            .with(
                element::MESSAGE_ID_RESPONDED_TO,
                self.number(element::MESSAGE_ID).unwrap_or_default(),
            )
            .with(element::DATA_SET_TYPE, NO_DATA_SET)
            .with(element::STATUS, status);
        // A request's requested class and instance are an answer's affected ones.
        let pairs = [
            (element::AFFECTED_SOP_CLASS_UID, element::AFFECTED_SOP_CLASS_UID),
            (element::REQUESTED_SOP_CLASS_UID, element::AFFECTED_SOP_CLASS_UID),
            (element::AFFECTED_SOP_INSTANCE_UID, element::AFFECTED_SOP_INSTANCE_UID),
            (element::REQUESTED_SOP_INSTANCE_UID, element::AFFECTED_SOP_INSTANCE_UID),
        ];
        for (from, to) in pairs {
            if let Some(value) = self.0.get(&from) {
                answer.0.insert(to, value.clone());
            }
        }
        if let Some(action) = self.number(element::ACTION_TYPE_ID) {
            answer = answer.with(element::ACTION_TYPE_ID, action);
        }
        answer
    }
}

fn put(bytes: &mut Vec<u8>, element: u16, value: &[u8]) {
    bytes.extend([0, 0]);
    bytes.extend(element.to_le_bytes());
    bytes.extend((value.len() as u32).to_le_bytes());
    bytes.extend(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_read_back_and_its_answer_names_what_was_asked() {
        let asked = Command::default()
            .with(element::COMMAND_FIELD, field::C_STORE)
            .with(element::MESSAGE_ID, 7)
            .with_uid(element::AFFECTED_SOP_CLASS_UID, "1.2.840")
            .with_uid(element::AFFECTED_SOP_INSTANCE_UID, "1.2.3.45");
        let read = Command::read(&asked.bytes()).unwrap();
        assert_eq!(read.uid(element::AFFECTED_SOP_CLASS_UID), Some("1.2.840"));
        let answer = read.answer(0xa700);
        assert_eq!(answer.number(element::COMMAND_FIELD), Some(0x8001));
        assert_eq!(answer.number(element::MESSAGE_ID_RESPONDED_TO), Some(7));
        assert_eq!(answer.uid(element::AFFECTED_SOP_INSTANCE_UID), Some("1.2.3.45"));
    }

    #[test]
    fn what_promises_more_than_there_is_is_no_command() {
        let good = Command::default().with(element::MESSAGE_ID, 7).bytes();
        for cut in 1..good.len() {
            let read = Command::read(&good[..cut]);
            assert!(read.is_none_or(|command| command == Command::default()), "{cut}");
        }
        let mut huge = good.clone();
        huge[16..20].copy_from_slice(&[0xff; 4]);
        assert_eq!(Command::read(&huge), None);
        let mut other_group = good;
        other_group[12] = 8;
        assert_eq!(Command::read(&other_group), None);
    }
}
