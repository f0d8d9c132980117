//! Starts the publisher and tells it what is true of the device now.

use std::path::Path;
use std::sync::Arc;

use super::bridge::{self, StoreOutbox};
use super::health::{Health, Monitor};
use super::liveness::Stop;
use super::site::Site;
use crate::config::Config;
use crate::publish::contract::Time;
use crate::publish::messages::{Info, InfoParts, Vitals};
use crate::publish::{BrokerParams, Publisher, PublisherHandle, Snapshot, Tls};

/// Starts the publishing thread.
///
/// # Errors
/// If the configured names cannot be topics, or the system refuses a thread.
pub(super) fn start(
    site: &Arc<Site>,
    monitor: &Monitor,
    stop: &Stop,
) -> std::io::Result<PublisherHandle> {
    let outbox = Box::new(StoreOutbox(site.store.clone()));
    let (told, health, stop) = (Arc::clone(site), monitor.clone(), stop.clone());
    let snapshot = move || snapshot(&told, &health.now(), stop.is_set());
    Publisher::start(params(&site.config), outbox, Arc::new(snapshot))
}

/// The broker as configured.
pub fn params(config: &Config) -> BrokerParams {
    let mqtt = &config.mqtt;
    BrokerParams {
        base_topic: mqtt.base.clone(),
        username: mqtt.username.clone(),
        password_file: mqtt.password_file.clone(),
        tls: mqtt.tls.then(|| Tls {
            ca_file: mqtt.ca_file.clone().unwrap_or_default(),
            client: mqtt.cert_file.clone().zip(mqtt.key_file.clone()),
        }),
        keep_alive_s: mqtt.keep_alive_s,
        health_s: mqtt.health_s,
        commands: mqtt.commands,
        protocol: mqtt.protocol,
        ..BrokerParams::new(&mqtt.host, mqtt.port, &config.device.name)
    }
}

fn snapshot(site: &Site, health: &Health, stopping: bool) -> Snapshot {
    // A store that fails has said so elsewhere; what is not known is not told.
    let backlog = site.store.backlog().ok();
    let counts = site.store.job_counts().unwrap_or_default();
    let info = InfoParts {
        engines: health.engines().to_vec(),
        config_sha256: site.config_sha256.clone(),
        boot: site.boot,
        next_seq: backlog.map_or(0, |backlog| backlog.next_seq),
        clock_synced: crate::system::clock_synced(),
    };
    Snapshot {
        info: Some(Info::from(info)),
        status: health.status(stopping, site.boot),
        worklist: bridge::worklist(&site.store).ok(),
        vitals: Vitals {
            queued: counts.queued,
            running: counts.running,
            dead: counts.dead,
            outbox_backlog: backlog.map_or(0, |backlog| backlog.unsent),
            oldest_unsent: backlog.and_then(|backlog| backlog.oldest_unsent).map(Time),
            disk_free_mib: site.disk_free_mib(),
            temperature_c: hottest_c(),
            last_self_test: health.self_test().cloned(),
        },
    }
}

/// The hottest thermal zone, in degrees Celsius, where the system has any.
fn hottest_c() -> Option<f64> {
    crate::system::thermal_zones(Path::new("/")).iter().map(|zone| zone.now_c).reduce(f64::max)
}
