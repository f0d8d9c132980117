//! Starts the publisher and tells it what is true of the device now.

use std::sync::Arc;

use super::bridge::{self, StoreOutbox};
use super::shared::Shared;
use crate::config::{Config, Mqtt};
use crate::publish::contract::Time;
use crate::publish::messages::{Info, InfoParts, Vitals};
use crate::publish::{Params, Publisher, PublisherHandle, Snapshot, Tls};

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
    // A store that fails has said so elsewhere; what is not known is not told.
    let backlog = shared.store.backlog().ok();
    let counts = shared.store.job_counts().unwrap_or_default();
    let info = InfoParts {
        engines: shared.engine().map(|engine| engine.used).unwrap_or_default(),
        config_sha256: shared.config_sha256.clone(),
        boot: shared.boot,
        next_seq: backlog.map_or(0, |backlog| backlog.next_seq),
        clock_synced: None,
    };
    Snapshot {
        info: Some(Info::from(info)),
        status: shared.status(),
        worklist: bridge::worklist(&shared.store).ok(),
        vitals: Vitals {
            queued: counts.queued,
            running: counts.running,
            dead: counts.dead,
            outbox_backlog: backlog.map_or(0, |backlog| backlog.unsent),
            oldest_unsent: backlog.and_then(|backlog| backlog.oldest_unsent).map(Time),
            disk_free_mib: shared.disk_free_mib(),
            temperature_c: hottest_c(),
            last_self_test: shared.self_test(),
        },
    }
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
