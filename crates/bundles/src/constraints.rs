//! Under which terms an engine may be put into a device: the manifest's optional `update`.
//!
//! Owns the fields and the pure question whether a device meets them. Refuses fields it does
//! not know: a restriction must never be overlooked.

use jiff::civil::Date;
use serde::Deserialize;

use hepalert_engines::backend::Backend;
use hepalert_study::phase::Setting;

use super::refused::PackageError;
use super::{Bundle, NetworkPlan, Role};

/// What the manifest says under `update`; without it nothing is restricted.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InstallConstraints {
    /// The last day, in UTC, on which it may be installed.
    pub expires: Option<Date>,
    /// It may take the place of this version, of the same engine or of the one in use, though that is higher.
    pub downgrade_from: Option<u32>,
    /// The backends it was made for; none named means any.
    pub backends: Vec<String>,
    /// Lowest TensorRT, e.g. `8.6`.
    pub tensorrt_min: Option<String>,
    /// Highest TensorRT; `10.3` lets every 10.3.x pass.
    pub tensorrt_max: Option<String>,
    /// Memory that a study needs with it, in MiB.
    pub memory_mib: Option<u64>,
}

impl InstallConstraints {
    /// Checks what types cannot say.
    pub(super) fn check(&self) -> Result<(), String> {
        let known = |name: &String| name.parse::<Backend>().is_ok();
        if let Some(name) = self.backends.iter().find(|name| !known(name)) {
            return Err(format!("update.backends: `{name}` is no backend this program knows"));
        }
        let versions = [&self.tensorrt_min, &self.tensorrt_max];
        match versions.into_iter().flatten().find(|text| numbers(text).is_none()) {
            Some(text) => Err(format!("update: `{text}` is no TensorRT version such as 10.3")),
            None => Ok(()),
        }
    }
}

/// What a device offers to an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Today, in UTC.
    pub today: Date,
    /// What the device reads studies for, if an engine has told so before.
    pub setting: Option<Setting>,
    /// The configured backend.
    pub backend: Backend,
    /// Its library's version, if it is there.
    pub backend_version: Option<String>,
    /// The most that a study may take, in bytes.
    pub memory_budget_bytes: u64,
}

impl Bundle {
    /// Whether the engine can do this device's work.
    ///
    /// # Errors
    /// [`PackageError`] says which term is not met.
    pub fn fits(&self, device: &Device) -> Result<(), PackageError> {
        let constraints = self.constraints();
        if let Some(expires) = constraints.expires.filter(|&last| last < device.today) {
            return Err(PackageError::Expired { expires, today: device.today });
        }
        if let Some(setting) = device.setting.filter(|&setting| setting != self.setting()) {
            return Err(PackageError::WrongPhases { found: self.setting(), needed: setting });
        }
        for role in [Role::Segment, Role::Reclassify] {
            self.plan(role).map_or(Ok(()), |plan| classes(role, plan))?;
        }
        backend(constraints, device)?;
        self.memory(device)
    }

    /// The least that a study takes: what the manifest says, or one patch with its logits,
    /// their mean and the sums over a slab of one patch depth.
    fn memory(&self, device: &Device) -> Result<(), PackageError> {
        let patch = self.plan(Role::Segment).map_or(0, |plan| {
            let voxels = plan.patch.iter().fold(4_u64, |bytes, &n| bytes.saturating_mul(n as u64));
            voxels.saturating_mul(2 * plan.channels as u64 + 3 * plan.classes.len() as u64)
        });
        let said = self.constraints().memory_mib.unwrap_or(0).saturating_mul(1 << 20);
        let needed = patch.max(said);
        if needed <= device.memory_budget_bytes {
            return Ok(());
        }
        Err(PackageError::OverBudget {
            needed_mib: needed >> 20,
            budget_mib: device.memory_budget_bytes >> 20,
        })
    }
}

/// The cascade reads classes by their index.
fn classes(role: Role, plan: &NetworkPlan) -> Result<(), PackageError> {
    let Some(needed) = role.classes() else { return Ok(()) };
    if plan.classes.iter().map(String::as_str).eq(needed.iter().copied()) {
        return Ok(());
    }
    Err(PackageError::WrongClasses { network: role.name(), found: plan.classes.len() })
}

fn backend(constraints: &InstallConstraints, device: &Device) -> Result<(), PackageError> {
    let name = device.backend.name();
    let wrong = |reason: String| Err(PackageError::WrongDevice { reason });
    if !constraints.backends.is_empty() && !constraints.backends.iter().any(|wanted| wanted == name)
    {
        return wrong(format!(
            "it is for {}, this device uses {name}",
            constraints.backends.join(", ")
        ));
    }
    if device.backend != Backend::TensorRt {
        return Ok(());
    }
    let (Some(found), true) = (
        device.backend_version.as_deref(),
        constraints.tensorrt_min.is_some() || constraints.tensorrt_max.is_some(),
    ) else {
        return Ok(());
    };
    let has = numbers(found).unwrap_or_default();
    let low = constraints.tensorrt_min.as_deref().and_then(numbers);
    if low.is_some_and(|low| has < low) {
        let least = constraints.tensorrt_min.as_deref().unwrap_or_default();
        return wrong(format!("it needs TensorRT {least} or later, this device has {found}"));
    }
    let high = constraints.tensorrt_max.as_deref().and_then(numbers);
    if high.is_some_and(|high| has[..has.len().min(high.len())] > high[..]) {
        let most = constraints.tensorrt_max.as_deref().unwrap_or_default();
        return wrong(format!("it needs TensorRT {most} or earlier, this device has {found}"));
    }
    Ok(())
}

/// `10.3.0` as numbers.
fn numbers(version: &str) -> Option<Vec<u32>> {
    let parts: Option<Vec<u32>> = version.split('.').map(|part| part.parse().ok()).collect();
    parts.filter(|parts| parts.len() <= 4)
}
