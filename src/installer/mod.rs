//! The installer of engines: the only way by which one comes into a slot and into use, for the
//! daemon, its update folder and the command line.
//!
//! Owns the order (opened and verified once, staged, tested, switched to) and what the
//! configuration says of it. Refuses to run networks: the first self-test is handed in.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::{self, Config};
use hepalert_bundles::Bundle;
use hepalert_bundles::constraints::Device;
use hepalert_bundles::package::Package;
use hepalert_bundles::refused::PackageError;
use hepalert_bundles::signature::Trust;
use hepalert_bundles::slots::{
    self, Admission, EngineId, Failed, ProbationLimits, Refusal, Slot, SlotLock, Slots, SlotsError,
    Wanted,
};
use hepalert_engines::backend::Presence;
use hepalert_study::phase::Setting;

mod updates;

pub(crate) use updates::Updates;

/// A packed engine whose signatures were found good; its files are checked as they are read.
pub(crate) type Opened = Package<BufReader<File>>;

/// An engine by its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Target")]
pub enum SlotTarget {
    /// Slot a.
    A,
    /// Slot b.
    B,
    /// The bundle of the configuration.
    Configured,
    /// What was in use before.
    // The command line has `engine rollback` for that.
    #[value(skip)]
    Before,
}

impl SlotTarget {
    /// What the slots shall do for it.
    pub(crate) fn wanted(self) -> Wanted {
        match self {
            SlotTarget::A => Wanted::Activate(Some(Slot::A)),
            SlotTarget::B => Wanted::Activate(Some(Slot::B)),
            SlotTarget::Configured => Wanted::Activate(None),
            SlotTarget::Before => Wanted::RollBack,
        }
    }
}

/// Engines as configured: where they lie and how long a new one is watched.
#[derive(Debug, Clone)]
pub(crate) struct Installer {
    slots: Slots,
    engine: config::Engine,
    keep_free_bytes: u64,
}

impl Installer {
    /// As configured.
    pub(crate) fn new(config: &Config) -> Installer {
        Installer {
            slots: Slots::at(config.slots()),
            engine: config.engine.clone(),
            keep_free_bytes: config.store.min_free_mib.saturating_mul(1 << 20),
        }
    }

    /// The slots.
    pub(crate) fn slots(&self) -> &Slots {
        &self.slots
    }

    /// How long a new engine is watched.
    pub(crate) fn limits(&self) -> ProbationLimits {
        ProbationLimits {
            studies: self.engine.probation_studies,
            hours: self.engine.probation_hours,
        }
    }

    /// The folder of the engine in a slot, of the configured one without.
    pub(crate) fn bundle(&self, slot: Option<Slot>) -> PathBuf {
        slot.map_or_else(|| self.engine.bundle.clone(), |slot| self.slots.dir(slot))
    }

    /// The folder of the engine that the daemon uses.
    pub(crate) fn bundle_in_use(&self) -> PathBuf {
        self.slots.bundle_in_use(&self.engine.bundle).unwrap_or_else(|_| self.bundle(None))
    }

    /// Takes the place of the one who changes engines, usually the daemon's, and clears what an
    /// interrupted install left; nothing while somebody else has it.
    ///
    /// # Errors
    /// [`SlotsError`].
    pub(crate) fn occupy(&self) -> Result<Option<SlotLock>, SlotsError> {
        let place = self.slots.occupy()?;
        if place.is_some() {
            self.slots.tidy()?;
        }
        Ok(place)
    }

    /// Unpacks a package into the free slot, where it waits for [`Installer::first_test`].
    ///
    /// # Errors
    /// [`Refusal`]; nothing in use is touched, whatever the file is.
    pub(crate) fn stage(
        &self,
        package: Opened,
        policy: &InstallPolicy,
        again: bool,
        now: Timestamp,
    ) -> Result<Slot, Refusal> {
        let admission = Admission {
            device: &policy.device,
            configured: policy.configured.clone(),
            again,
            keep_free_bytes: self.keep_free_bytes,
            now,
        };
        self.slots.stage(package, &admission)
    }

    /// Runs the first self-test of a staged engine by way of `test`; see [`Slots::self_test`].
    ///
    /// # Errors
    /// [`SlotsError`].
    pub(crate) fn first_test(
        &self,
        slot: Slot,
        test: &mut dyn FnMut(&Path) -> Option<Result<String, Failed>>,
    ) -> Result<Option<Result<(), Failed>>, SlotsError> {
        self.slots.self_test(slot, test, &Timestamp::now)
    }

    /// Does what is wanted of the engine in use; where nothing is, looks whether a probation
    /// is over. Only for the holder of [`Installer::occupy`], between two studies.
    ///
    /// # Errors
    /// [`SlotsError`].
    pub(crate) fn switch(&self, now: Timestamp) -> Result<(), SlotsError> {
        let limits = self.limits();
        let mut state = self.slots.state()?;
        if state.wanted.is_some() {
            self.slots.fulfil(limits, now)?;
        } else if state.review(limits, now) {
            self.slots.change(|state| state.review(limits, now))?;
        }
        Ok(())
    }

    /// The keys that are trusted, read anew: they come and go.
    ///
    /// # Errors
    /// [`PackageError::Key`].
    pub(crate) fn trust(&self) -> Result<Trust, PackageError> {
        Trust::read(&self.engine.trusted_keys, self.engine.signatures_needed)
    }

    /// What a package is measured by. The device's setting is that of the configured bundle,
    /// `otherwise` the one in use: an installed engine may be better, but not for something
    /// else. Reads the whole configured bundle.
    pub(crate) fn policy(&self, trust: Trust, otherwise: Option<Setting>) -> InstallPolicy {
        let configured = Bundle::open(&self.engine.bundle).ok();
        let setting = configured.as_ref().map(Bundle::setting).or(otherwise);
        InstallPolicy {
            trust,
            device: self.device(setting),
            configured: configured.as_ref().map(slots::which),
        }
    }

    fn device(&self, setting: Option<Setting>) -> Device {
        let backend = self.engine.backend;
        let backend_version = match backend.presence() {
            Presence::Present { version, .. } => Some(version),
            Presence::Absent { .. } => None,
        };
        Device {
            today: Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date(),
            setting,
            backend,
            backend_version,
            memory_budget_bytes: self.engine.memory_budget_bytes(),
        }
    }
}

/// What a device measures packed engines by.
#[derive(Debug, Clone)]
pub(crate) struct InstallPolicy {
    trust: Trust,
    device: Device,
    configured: Option<EngineId>,
}

impl InstallPolicy {
    /// What the device offers.
    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    /// Opens a package: the one time that its signatures are verified.
    ///
    /// # Errors
    /// [`PackageError`].
    pub(crate) fn open(&self, file: &Path) -> Result<Opened, PackageError> {
        Package::open(file, &self.trust)
    }
}
