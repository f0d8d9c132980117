//! In what a device differs from most of its fleet.
//!
//! Owns what is compared: the program, the engines, the clock. Not the configuration: its hash holds
//! the device's name and differs everywhere.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{CLOCK_OFF, Device};

/// What differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, strum::IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Difference {
    /// The version of the program.
    Version,
    /// An engine: another one, or other files under the same name.
    Engine,
    /// The clock, from ours.
    Clock,
}

impl Difference {
    /// The word.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// Marks what differs from what most devices have; with no majority the first by the alphabet counts.
pub(super) fn mark(devices: &mut [Device]) {
    let version = most(devices.iter().filter_map(|device| device.version.clone()));
    let engines = most(devices.iter().filter(|one| !one.engines.is_empty()).map(engines_of));
    for device in devices.iter_mut() {
        let own = (!device.engines.is_empty()).then(|| engines_of(device));
        let clock = device.clock_ahead_s.unwrap_or(0).abs();
        let found = [
            (Difference::Version, device.version.is_some() && device.version != version),
            (Difference::Engine, own.is_some() && own != engines),
            (Difference::Clock, clock > CLOCK_OFF.as_secs()),
        ];
        device.differs = found.into_iter().filter(|(_, is)| *is).map(|(what, _)| what).collect();
    }
}

fn engines_of(device: &Device) -> Vec<(String, String)> {
    device.engines.iter().cloned().zip(device.engine_sha256.iter().cloned()).collect()
}

/// What is there most often; of equals the first in order.
fn most<T: Ord>(all: impl Iterator<Item = T>) -> Option<T> {
    let mut counts = BTreeMap::<T, usize>::new();
    all.for_each(|one| *counts.entry(one).or_default() += 1);
    let best = counts.values().copied().max()?;
    counts.into_iter().find(|(_, count)| *count == best).map(|(one, _)| one)
}
