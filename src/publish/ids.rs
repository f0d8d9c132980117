//! Event ids that a crash, a retry and a replay leave the same.
//!
//! An id is a UUIDv5 over what the event is about. Owns the order of the parts; refuses
//! clocks and randomness, except that an event about no study is told from its like by its
//! time.

use jiff::Timestamp;
use uuid::Uuid;

use super::contract::EventKind;

/// The namespace of all hepalert ids; made once, at random, and never to be changed.
const NAMESPACE: Uuid = Uuid::from_u128(0x6f5d_1c8e_92a4_4d07_b3e1_58c0_7a9f_24d6);

/// What makes an event about a study the event that it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// This device.
    pub device: String,
    /// The study.
    pub study_key: String,
    /// Hash over the study's files.
    pub input_fingerprint: String,
    /// Hash over everything the pipeline depends on; empty where no pipeline has run.
    pub pipeline_fingerprint: String,
    /// Revision of the study.
    pub revision: u32,
}

impl Identity {
    /// The id of the event of this kind. `what` tells events of one kind apart: the step of
    /// a study, nothing otherwise.
    pub fn id(&self, kind: EventKind, what: &str) -> Uuid {
        derive(&[
            &self.device,
            kind.name(),
            what,
            &self.study_key,
            &self.input_fingerprint,
            &self.pipeline_fingerprint,
            &self.revision.to_string(),
        ])
    }
}

/// The id of an event about no study.
pub(crate) fn note_id(device: &str, kind: EventKind, what: &str, time: Timestamp) -> Uuid {
    derive(&[device, kind.name(), what, &time.as_millisecond().to_string()])
}

/// The id of a reminder, the n-th, of an alert.
pub(crate) fn reminder_id(device: &str, alert: &str, reminder: u32) -> Uuid {
    derive(&[device, EventKind::Escalation.name(), alert, &reminder.to_string()])
}

/// Lengths go in before texts: two lists that differ never give the same bytes.
fn derive(parts: &[&str]) -> Uuid {
    let mut name = Vec::new();
    for part in parts {
        name.extend((part.len() as u64).to_be_bytes());
        name.extend(part.as_bytes());
    }
    Uuid::new_v5(&NAMESPACE, &name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity {
            device: "ct-1".to_owned(),
            study_key: "00".repeat(16),
            input_fingerprint: "in".to_owned(),
            pipeline_fingerprint: "pipe".to_owned(),
            revision: 1,
        }
    }

    #[test]
    fn an_id_never_changes() {
        // A subscriber has stored this one: it must come out in every future version.
        let id = identity().id(EventKind::Alert, "").to_string();
        expect_test::expect!["dff528a5-3b25-5d80-8be0-1d89668ecbf1"].assert_eq(&id);
    }

    #[test]
    fn every_part_counts() {
        let base = identity();
        let mut ids = vec![
            base.id(EventKind::Alert, ""),
            base.id(EventKind::Result, ""),
            base.id(EventKind::Study, "queued"),
            base.id(EventKind::Study, "started"),
        ];
        let mut vary = |change: fn(&mut Identity)| {
            let mut other = identity();
            change(&mut other);
            ids.push(other.id(EventKind::Alert, ""));
        };
        vary(|i| i.device = "ct-2".to_owned());
        vary(|i| i.study_key = "11".repeat(16));
        vary(|i| i.input_fingerprint = "in2".to_owned());
        vary(|i| i.pipeline_fingerprint = "pipe2".to_owned());
        vary(|i| i.revision = 2);
        // The same letters cut in another place.
        vary(|i| {
            i.input_fingerprint = "inp".to_owned();
            i.pipeline_fingerprint = "ipe".to_owned();
        });
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count);
    }
}
