//! What the configuration says about installing engines: slots, keys, limits, device. Shared
//! by the daemon and the commands that work where no daemon runs.

use jiff::Timestamp;

use crate::config::Config;
use hepalert_bundles::Bundle;
use hepalert_bundles::constraints::Device;
use hepalert_bundles::package::PackageError;
use hepalert_bundles::signature::Trust;
use hepalert_bundles::slots::{self, Admission, EngineId, Limits, Slots};
use hepalert_engines::backend::Presence;
use hepalert_study::study::Setting;

/// The slots as configured.
pub fn slots(config: &Config) -> Slots {
    Slots::at(config.slots())
}

/// How long a new engine is watched.
pub fn limits(config: &Config) -> Limits {
    Limits { studies: config.engine.probation_studies, hours: config.engine.probation_hours }
}

/// What a device measures packed engines by.
#[derive(Debug, Clone)]
pub struct InstallPolicy {
    trust: Trust,
    device: Device,
    configured: Option<EngineId>,
    keep_free_bytes: u64,
}

impl InstallPolicy {
    /// As configured. The device's setting is that of the configured bundle, `otherwise` the
    /// one in use: an installed engine may be better, but not for something else.
    ///
    /// # Errors
    /// [`PackageError::Key`].
    pub fn of(config: &Config, otherwise: Option<Setting>) -> Result<InstallPolicy, PackageError> {
        let engine = &config.engine;
        let configured = Bundle::open(&engine.bundle).ok();
        let setting = configured.as_ref().map(Bundle::setting).or(otherwise);
        Ok(InstallPolicy {
            trust: Trust::read(&engine.trusted_keys, engine.signatures_needed)?,
            device: device(config, setting),
            configured: configured.as_ref().map(slots::which),
            keep_free_bytes: config.store.min_free_mib.saturating_mul(1 << 20),
        })
    }

    /// The keys that are trusted.
    pub fn trust(&self) -> &Trust {
        &self.trust
    }

    /// What the device offers.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The terms of one install.
    pub fn admission(&self, again: bool, now: Timestamp) -> Admission<'_> {
        Admission {
            trust: &self.trust,
            device: &self.device,
            configured: self.configured.clone(),
            again,
            keep_free_bytes: self.keep_free_bytes,
            now,
        }
    }
}

fn device(config: &Config, setting: Option<Setting>) -> Device {
    let backend = config.engine.backend;
    let backend_version = match backend.presence() {
        Presence::Present { version, .. } => Some(version),
        Presence::Absent { .. } => None,
    };
    Device {
        today: Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date(),
        setting,
        backend,
        backend_version,
        memory_budget_bytes: config.engine.memory_budget_mib.saturating_mul(1 << 20),
    }
}
