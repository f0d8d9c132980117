//! Ties the publisher to the store: its outbox, and what is true of the device now.

use std::sync::Arc;

use jiff::Timestamp;
use uuid::Uuid;

use super::shared::Shared;
use crate::config::{Config, Mqtt};
use crate::publish::contract::{Draft, EventKind, MOST_OPEN, Row, Time};
use crate::publish::findings::Verdict;
use crate::publish::messages::{Info, InfoParts, OpenAlert, Vitals, Worklist};
use crate::publish::mqtt::{Params, Tls};
use crate::publish::sender::{Outbox, OutboxError, Publisher, PublisherHandle, Snapshot};
use crate::store::{OutboxRow, Store, StoreError};

/// Starts the publishing thread.
///
/// # Errors
/// If the configured names cannot be topics, or the system refuses a thread.
pub fn start(shared: &Arc<Shared>) -> std::io::Result<PublisherHandle> {
    let outbox = Box::new(StoreOutbox(shared.store.clone()));
    let told = Arc::clone(shared);
    Publisher::start(params(&shared.config), outbox, Arc::new(move || snapshot(&told)))
}

/// The broker as configured.
pub fn params(config: &Config) -> Params {
    let Mqtt { host, port, base, username, password_file, keep_alive_s, health_s, .. } =
        &config.mqtt;
    let given = |path: &std::path::Path| (!path.as_os_str().is_empty()).then(|| path.to_owned());
    Params {
        base_topic: base.clone(),
        username: (!username.is_empty()).then(|| username.clone()),
        password_file: given(password_file),
        tls: config.mqtt.tls.then(|| Tls {
            ca_file: config.mqtt.ca_file.clone(),
            client: given(&config.mqtt.cert_file).zip(given(&config.mqtt.key_file)),
        }),
        keep_alive_s: *keep_alive_s,
        health_s: *health_s,
        ..Params::new(host, *port, &config.device.name)
    }
}

fn snapshot(shared: &Shared) -> Snapshot {
    // A store that fails has said so elsewhere; what is not known is sent as nothing.
    let backlog = shared.store.backlog().ok();
    let counts = shared.store.job_counts().unwrap_or_default();
    let info = InfoParts {
        engines: shared.engine().map(|engine| engine.used.clone()).unwrap_or_default(),
        config_sha256: shared.config_sha256.clone(),
        boot: shared.boot,
        next_seq: backlog.map_or(0, |backlog| backlog.next_seq),
        clock_synced: None,
    };
    Snapshot {
        info: Info::from(info),
        status: shared.status(),
        worklist: worklist(&shared.store),
        vitals: Vitals {
            queued: counts.queued,
            running: counts.running,
            dead: counts.dead,
            outbox_backlog: backlog.map_or(0, |backlog| backlog.unsent),
            oldest_unsent: backlog.and_then(|backlog| backlog.oldest_unsent).map(Time),
            disk_free_mib: shared.disk_free_mib(),
            temperature_c: hottest_c(),
            last_self_test: None,
        },
    }
}

fn worklist(store: &Store) -> Worklist {
    let Ok(state) = store.worklist(MOST_OPEN) else { return Worklist::new(0, 0, Vec::new()) };
    let open = state.entries.into_iter().filter_map(|entry| {
        Some(OpenAlert {
            id: entry.event_id.parse().ok()?,
            study_key: entry.study_key,
            verdict: match entry.verdict.as_str() {
                "suspected" => Verdict::Suspected,
                _ => Verdict::Uncertain,
            },
            time: Time(entry.raised_at),
        })
    });
    Worklist::new(state.revision, state.open_total, open.collect())
}

/// The hottest thermal zone, in degrees Celsius, where the system has any.
fn hottest_c() -> Option<f64> {
    let zones = std::fs::read_dir("/sys/class/thermal").ok()?;
    let read = |zone: std::io::Result<std::fs::DirEntry>| {
        let text = std::fs::read_to_string(zone.ok()?.path().join("temp")).ok()?;
        Some(text.trim().parse::<f64>().ok()? / 1000.0)
    };
    zones.filter_map(read).reduce(f64::max)
}

/// The store as the publisher sees it.
struct StoreOutbox(Store);

impl Outbox for StoreOutbox {
    fn unsent(&mut self, after: u64, most: usize) -> Result<Vec<Row>, OutboxError> {
        let rows = self.0.unsent(after, most).map_err(said)?;
        rows.into_iter().map(row).collect()
    }

    fn row(&mut self, seq: u64) -> Result<Option<Row>, OutboxError> {
        let rows = self.0.outbox_range(seq, seq).map_err(said)?;
        rows.into_iter().next().map(row).transpose()
    }

    fn accepted(&mut self, seqs: &[u64]) -> Result<(), OutboxError> {
        let now = Timestamp::now();
        seqs.iter().try_for_each(|seq| self.0.mark_sent(*seq, now)).map_err(said)
    }

    fn refused(&mut self, seqs: &[u64]) -> Result<(), OutboxError> {
        seqs.iter().try_for_each(|seq| self.0.mark_attempt(*seq)).map_err(said)
    }

    fn acknowledge(&mut self, id: Uuid, by: &str) -> Result<bool, OutboxError> {
        self.0.acknowledge(&id.to_string(), by, Timestamp::now()).map_err(said)
    }
}

fn said(error: StoreError) -> OutboxError {
    OutboxError(error.to_string())
}

fn row(stored: OutboxRow) -> Result<Row, OutboxError> {
    let event = stored.event;
    let senseless = || OutboxError(format!("event {} makes no sense", stored.seq));
    let draft = Draft {
        id: event.id.parse().map_err(|_| senseless())?,
        kind: EventKind::from_topic(&event.topic).ok_or_else(senseless)?,
        subject: event.subject,
        revision: event.revision,
        supersedes: event.supersedes.as_deref().and_then(|id| id.parse().ok()),
        time: event.time,
        data: event.data,
    };
    Ok(Row { seq: stored.seq, boot: stored.boot, draft })
}
