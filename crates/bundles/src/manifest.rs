//! `manifest.json`: its JSON shape, and the checks that turn it into plain types.

use serde::Deserialize;

use hepalert_engines::EngineError;
use hepalert_study::phase::{Phase, Setting};
use hepalert_voxels::volume::Orientation;

use super::constraints::InstallConstraints;
use super::network::{Network, ensure};
use super::plan::{Fusion, GainPair, NetworkPlan};
use super::trained::TrainedFor;
use super::{MANIFEST, Role};

/// The newest manifest format this program reads. Version 2 added what an imported nnU-Net
/// may need: readers, regions, postprocessing, golden logits per fold. Version 3 added the
/// orientation that the networks were trained in, and what images they were trained for.
const FORMAT_VERSION: u64 = 3;

/// A checked manifest in plain types.
#[derive(Debug, Clone)]
pub(super) struct Parts {
    pub id: String,
    pub version: u32,
    pub created: String,
    pub intended_use: String,
    pub licence: String,
    pub setting: Setting,
    pub lesion_gain: GainPair,
    pub networks: Vec<(Role, NetworkPlan)>,
    pub update: InstallConstraints,
    pub trained_for: TrainedFor,
    pub training: serde_json::Value,
}

#[derive(Deserialize)]
struct Header {
    format: String,
    format_version: u64,
}

#[derive(Deserialize)]
struct Manifest {
    id: String,
    version: u32,
    created: String,
    intended_use: String,
    licence: String,
    phases: Vec<String>,
    fusion: Fusion,
    #[serde(default)]
    lesion_gain: Gains,
    networks: Networks,
    // Format version 3.
    orientation: Option<String>,
    // Format version 3.
    trained_for: Option<TrainedFor>,
    #[serde(default)]
    update: InstallConstraints,
    #[serde(default)]
    training: serde_json::Value,
}

#[derive(Deserialize)]
struct Gains {
    base: f32,
    high: f32,
}

#[derive(Deserialize)]
struct Networks {
    segment: Option<Network>,
    reclassify: Option<Network>,
    phases: Option<Network>,
}

/// No gain: what a bundle without lesions has.
impl Default for Gains {
    fn default() -> Gains {
        Gains { base: 1.0, high: 1.0 }
    }
}

/// Reads and checks a manifest.
pub(super) fn parse(bytes: &[u8]) -> Result<Parts, EngineError> {
    let header: Header = serde_json::from_slice(bytes).map_err(|e| refused(&e.to_string()))?;
    if header.format != "hepalert-engine" {
        let found = header.format;
        return Err(refused(&format!("format is `{found}`, expected `hepalert-engine`")));
    }
    if header.format_version > FORMAT_VERSION {
        return Err(refused(&format!(
            "format_version {} is newer than this program reads ({FORMAT_VERSION}); update hepalert first",
            header.format_version
        )));
    }
    let manifest: Manifest = serde_json::from_slice(bytes).map_err(|e| refused(&e.to_string()))?;
    check_age(&header, &manifest).map_err(|reason| refused(&reason))?;
    check(manifest).map_err(|reason| refused(&reason))
}

/// A program that knows only version 1 would pass over newer fields in silence, so they must
/// come with the newer number.
fn check_age(header: &Header, manifest: &Manifest) -> Result<(), String> {
    let third = [
        ("orientation", manifest.orientation.is_some()),
        ("trained_for", manifest.trained_for.is_some()),
    ];
    let newer = third.into_iter().find(|(_, is_there)| *is_there);
    if let Some((field, _)) = newer.filter(|_| header.format_version < 3) {
        return Err(format!("{field} needs format_version 3; write the bundle again"));
    }
    let Networks { segment, reclassify, phases } = &manifest.networks;
    let networks = [segment, reclassify, phases].into_iter().flatten();
    let newer = networks.filter_map(Network::newer_field).next();
    match newer.filter(|_| header.format_version < 2) {
        Some(field) => Err(format!("{field} needs format_version 2; write the bundle again")),
        None => Ok(()),
    }
}

fn refused(reason: &str) -> EngineError {
    EngineError::Manifest { file: MANIFEST.to_owned(), reason: reason.to_owned() }
}

fn check(manifest: Manifest) -> Result<Parts, String> {
    check_id(&manifest.id)?;
    manifest.update.check()?;
    let trained_for = manifest.trained_for.unwrap_or_default();
    trained_for.check()?;
    let setting = setting_of(&manifest.phases)?;
    let lesion_gain = check_gains(&manifest.lesion_gain)?;
    let fusion = manifest.fusion;
    let orientation = manifest.orientation.as_deref().map(orientation).transpose()?;
    let Networks { segment, reclassify, phases } = manifest.networks;
    let networks = match (segment, reclassify, phases) {
        (Some(segment), None, None) => vec![(Role::Segment, segment)],
        (Some(segment), Some(second), None) => {
            vec![(Role::Segment, segment), (Role::Reclassify, second)]
        }
        (None, None, Some(phases)) => vec![(Role::Phases, phases)],
        _ => {
            let found = "networks: give `segment`, perhaps `reclassify`, or `phases` alone";
            return Err(found.to_owned());
        }
    };
    let cascade = networks.len() == 2;
    let networks = networks
        .into_iter()
        .map(|(role, network)| {
            let plan = network.check(role, cascade, fusion, setting, orientation);
            plan.map(|plan| (role, plan))
                .map_err(|reason| format!("networks.{}: {reason}", role.name()))
        })
        .collect::<Result<Vec<_>, String>>()?;
    Ok(Parts {
        id: manifest.id,
        version: manifest.version,
        created: manifest.created,
        intended_use: manifest.intended_use,
        licence: manifest.licence,
        setting,
        lesion_gain,
        networks,
        update: manifest.update,
        trained_for,
        training: manifest.training,
    })
}

fn check_id(id: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    ensure(!id.is_empty() && id.len() <= 64 && id.chars().all(plain), || {
        format!("id `{id}` must be 1 to 64 of a-z, 0-9 and -")
    })
}

fn setting_of(phases: &[String]) -> Result<Setting, String> {
    let known: Option<Vec<Phase>> = phases.iter().map(|code| Phase::from_code(code)).collect();
    known.and_then(|phases| Setting::of_phases(&phases)).ok_or_else(|| {
        format!("phases {phases:?} are not [nc], [vp] or several of nc, ap, vp, dp in this order")
    })
}

fn orientation(name: &str) -> Result<Orientation, String> {
    Orientation::from_name(name).ok_or_else(|| {
        format!("orientation `{name}`: three letters, towards which side x, y and z run, like LPS")
    })
}

fn check_gains(gains: &Gains) -> Result<GainPair, String> {
    let Gains { base, high } = *gains;
    let sound = base.is_finite() && high.is_finite() && base > 0.0 && high >= base;
    ensure(sound, || format!("lesion_gain: need 0 < base <= high, found {base} and {high}"))?;
    Ok(GainPair { base, high })
}
