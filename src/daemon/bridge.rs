//! Between the store and the publisher, which do not know each other: events go one way as
//! [`NewEvent`], come back as [`Row`], and the worklist becomes its message.

use jiff::Timestamp;
use uuid::Uuid;

use crate::publish::contract::MAX_OPEN;
use crate::publish::messages::{OpenAlert, Worklist};
use crate::publish::{Draft, EventKind, Outbox, OutboxError, Reprocess, Row};
use crate::store::{NewEvent, OutboxRow, Requeued, Store, StoreError};
use hepalert_study::outcome::Opinion;
use hepalert_study::study::StudyKey;

impl From<Draft> for NewEvent {
    fn from(draft: Draft) -> NewEvent {
        let Draft { id, kind, subject, revision, supersedes, time, data } = draft;
        NewEvent {
            id: id.to_string(),
            topic: kind.topic().to_owned(),
            kind: kind.name().to_owned(),
            subject,
            revision,
            supersedes: supersedes.map(|id| id.to_string()),
            time,
            data,
        }
    }
}

/// The store as the publisher's outbox.
#[derive(Debug, Clone)]
pub struct StoreOutbox(pub Store);

impl Outbox for StoreOutbox {
    fn unsent(&mut self, after: u64, most: usize) -> Result<Vec<Row>, OutboxError> {
        self.0.unsent(after, most).map_err(words)?.into_iter().map(row).collect()
    }

    fn row(&mut self, seq: u64) -> Result<Option<Row>, OutboxError> {
        self.0.outbox_range(seq, seq).map_err(words)?.pop().map(row).transpose()
    }

    fn accepted(&mut self, seqs: &[u64]) -> Result<(), OutboxError> {
        self.0.mark_sent(seqs, Timestamp::now()).map_err(words)
    }

    fn refused(&mut self, seqs: &[u64]) -> Result<(), OutboxError> {
        self.0.mark_attempt(seqs).map_err(words)
    }

    fn acknowledge(
        &mut self,
        id: Uuid,
        by: &str,
        opinion: Option<Opinion>,
    ) -> Result<bool, OutboxError> {
        self.0.acknowledge(&id.to_string(), by, opinion, Timestamp::now()).map_err(words)
    }

    fn reprocess(&mut self, study_key: &str) -> Result<Reprocess, OutboxError> {
        let Some(key) = StudyKey::new(study_key) else { return Ok(Reprocess::Unknown) };
        Ok(match self.0.requeue_study(&key, Timestamp::now()).map_err(words)? {
            Requeued::Queued(_) => Reprocess::Queued,
            Requeued::Unknown => Reprocess::Unknown,
            Requeued::Not(_) => Reprocess::InOrder,
        })
    }
}

fn words(error: StoreError) -> OutboxError {
    OutboxError(error.to_string())
}

fn row(row: OutboxRow) -> Result<Row, OutboxError> {
    let nonsense = |what: &str| OutboxError(format!("event {}: {what} makes no sense", row.seq));
    let event = row.event;
    let kind = EventKind::from_topic(&event.topic).ok_or_else(|| nonsense("its topic"))?;
    let id = event.id.parse().map_err(|_| nonsense("its id"))?;
    let supersedes = event.supersedes.map(|id| id.parse()).transpose();
    let draft = Draft {
        id,
        kind,
        subject: event.subject,
        revision: event.revision,
        supersedes: supersedes.map_err(|_| nonsense("what it supersedes"))?,
        time: event.time,
        data: event.data,
    };
    Ok(Row { seq: row.seq, boot: row.boot, draft })
}

/// The worklist message as the store has it now.
///
/// # Errors
/// Whatever the store refuses.
pub fn worklist(store: &Store) -> Result<Worklist, StoreError> {
    let state = store.worklist(MAX_OPEN)?;
    let open = state.entries.into_iter().map(|entry| OpenAlert {
        id: entry.event_id,
        study_key: entry.study_key,
        verdict: entry.verdict,
        time: entry.raised_at.into(),
    });
    Ok(Worklist::new(state.revision, state.open_total, open.collect()))
}
