//! `manifest.json`: its JSON shape, and the checks that turn it into plain types.

use serde::Deserialize;

use crate::anatomy;
use crate::engine::EngineError;
use crate::image::normalise::Normalisation;
use crate::study::{Phase, Setting};

use super::plan::{Fusion, GainPair, Golden, NetworkPlan, Resampling, Sums};
use super::terms::Terms;
use super::{BundleFile, MANIFEST, Role};

/// The manifest format this program writes and reads.
const FORMAT_VERSION: u64 = 1;
/// Voxels of one patch: 256 x 256 x 256 is the largest that nnU-Net plans.
const MAX_PATCH_VOXELS: usize = 1 << 24;
/// Label maps hold one byte per voxel.
const MAX_CLASSES: usize = 255;
/// nnU-Net trains five folds; ten leave room.
const MAX_FOLDS: usize = 10;

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
    pub update: Terms,
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
    fusion: FusionName,
    lesion_gain: Gains,
    networks: Networks,
    #[serde(default)]
    update: Terms,
    #[serde(default)]
    training: serde_json::Value,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum FusionName {
    Logits,
    Probabilities,
}

#[derive(Deserialize)]
struct Gains {
    base: f32,
    high: f32,
}

#[derive(Deserialize)]
struct Networks {
    segment: Network,
    reclassify: Option<Network>,
}

#[derive(Deserialize)]
struct Network {
    files: Vec<NamedFile>,
    classes: Vec<String>,
    channels: usize,
    patch: [usize; 3],
    spacing_mm: [f64; 3],
    transpose_forward: [usize; 3],
    normalisation: Vec<Scheme>,
    resampling: ResamplingName,
    mirror_axes: Vec<usize>,
    tile_step: f64,
    golden: GoldenFiles,
    #[serde(default)]
    sums: SumsName,
    #[serde(default)]
    mask_value: f32,
}

#[derive(Deserialize)]
struct NamedFile {
    path: String,
    sha256: String,
    bytes: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase", tag = "scheme")]
enum Scheme {
    Ct { mean: f64, std: f64, lower: f64, upper: f64 },
    ZScore,
    None,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum ResamplingName {
    Default,
    Torch,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "lowercase")]
enum SumsName {
    #[default]
    F16,
    F32,
}

#[derive(Deserialize)]
struct GoldenFiles {
    input: NamedFile,
    expected: NamedFile,
    stride: [usize; 3],
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
    check(manifest).map_err(|reason| refused(&reason))
}

fn refused(reason: &str) -> EngineError {
    EngineError::Manifest { file: MANIFEST.to_owned(), reason: reason.to_owned() }
}

fn check(manifest: Manifest) -> Result<Parts, String> {
    check_id(&manifest.id)?;
    manifest.update.check()?;
    let setting = setting_of(&manifest.phases)?;
    let lesion_gain = check_gains(&manifest.lesion_gain)?;
    let fusion = match manifest.fusion {
        FusionName::Logits => Fusion::Logits,
        FusionName::Probabilities => Fusion::Probabilities,
    };
    let Networks { segment, reclassify } = manifest.networks;
    let mut networks = vec![(Role::Segment, segment)];
    networks.extend(reclassify.map(|network| (Role::Reclassify, network)));
    let cascade = networks.len() == 2;
    let networks = networks
        .into_iter()
        .map(|(role, network)| {
            check_network(network, fusion, setting)
                .and_then(|plan| check_classes(role, cascade, &plan).map(|()| (role, plan)))
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
    known
        .and_then(|phases| Setting::of_phases(&phases))
        .ok_or_else(|| format!("phases {phases:?} are not one of [nc], [vp] or [nc, ap, vp, dp]"))
}

fn check_gains(gains: &Gains) -> Result<GainPair, String> {
    let Gains { base, high } = *gains;
    let sound = base.is_finite() && high.is_finite() && base > 0.0 && high >= base;
    ensure(sound, || format!("lesion_gain: need 0 < base <= high, found {base} and {high}"))?;
    Ok(GainPair { base, high })
}

fn check_network(
    network: Network,
    fusion: Fusion,
    setting: Setting,
) -> Result<NetworkPlan, String> {
    check_shapes(&network, setting)?;
    let files = network.files.iter().map(bundle_file).collect::<Result<Vec<_>, String>>()?;
    let normalisation =
        network.normalisation.iter().map(scheme).collect::<Result<Vec<_>, String>>()?;
    let golden = Golden {
        input: bundle_file(&network.golden.input)?,
        expected: bundle_file(&network.golden.expected)?,
        stride: network.golden.stride,
    };
    Ok(NetworkPlan {
        files,
        classes: network.classes,
        channels: network.channels,
        patch: network.patch,
        spacing_mm: network.spacing_mm,
        transpose_forward: network.transpose_forward,
        normalisation,
        resampling: match network.resampling {
            ResamplingName::Default => Resampling::Default,
            ResamplingName::Torch => Resampling::Torch,
        },
        mirror_axes: network.mirror_axes,
        tile_step: network.tile_step,
        fusion,
        sums: match network.sums {
            SumsName::F16 => Sums::F16,
            SumsName::F32 => Sums::F32,
        },
        mask_value: network.mask_value,
        golden,
    })
}

fn check_shapes(network: &Network, setting: Setting) -> Result<(), String> {
    let folds = network.files.len();
    ensure((1..=MAX_FOLDS).contains(&folds), || format!("files: 1 to {MAX_FOLDS}, found {folds}"))?;
    let classes = network.classes.len();
    ensure((2..=MAX_CLASSES).contains(&classes), || {
        format!("classes: 2 to {MAX_CLASSES}, found {classes}")
    })?;
    let phases = setting.phases().len();
    let (channels, schemes) = (network.channels, network.normalisation.len());
    ensure(channels == phases && schemes == phases, || {
        format!(
            "{phases} phases need {phases} channels and normalisations, found {channels} and {schemes}"
        )
    })?;
    let [z, y, x] = network.patch;
    let voxels = z.checked_mul(y).and_then(|n| n.checked_mul(x)).unwrap_or(usize::MAX);
    ensure((1..=MAX_PATCH_VOXELS).contains(&voxels), || {
        format!("patch {:?} must have 1 to {MAX_PATCH_VOXELS} voxels", network.patch)
    })?;
    let sound = |mm: &f64| (0.05..=50.0).contains(mm);
    ensure(network.spacing_mm.iter().all(sound), || {
        format!("spacing_mm {:?} must lie in 0.05 to 50", network.spacing_mm)
    })?;
    check_axes(network)
}

fn check_axes(network: &Network) -> Result<(), String> {
    let mut axes = network.transpose_forward;
    axes.sort_unstable();
    ensure(axes == [0, 1, 2], || {
        format!("transpose_forward {:?} must order 0, 1, 2", network.transpose_forward)
    })?;
    let mirrors = &network.mirror_axes;
    let increasing = mirrors.windows(2).all(|pair| pair[0] < pair[1]);
    ensure(increasing && mirrors.iter().all(|&axis| axis < 3), || {
        format!("mirror_axes {mirrors:?} must be increasing axes out of 0, 1, 2")
    })?;
    let step = network.tile_step;
    ensure((0.05..=1.0).contains(&step), || format!("tile_step {step} must lie in 0.05 to 1"))?;
    let stride = network.golden.stride;
    ensure(stride.iter().zip(network.patch).all(|(&s, n)| (1..=n).contains(&s)), || {
        format!("golden.stride {stride:?} must lie within the patch")
    })?;
    ensure(network.mask_value.is_finite(), || "mask_value must be finite".to_owned())
}

/// The cascade reads classes by their index, so a bundle with both networks must have the
/// order of `anatomy`. A lone first stage may be anyone's nnU-Net.
fn check_classes(role: Role, cascade: bool, plan: &NetworkPlan) -> Result<(), String> {
    let names = anatomy::class_names();
    let expected = match role {
        Role::Segment => &names[..],
        Role::Reclassify => &names[..8],
    };
    let equal = plan.classes.iter().map(String::as_str).eq(expected.iter().copied());
    ensure(!cascade || equal, || {
        format!("classes are {:?}, the cascade needs {expected:?}", plan.classes)
    })
}

fn bundle_file(file: &NamedFile) -> Result<BundleFile, String> {
    BundleFile::new(&file.path, &file.sha256, file.bytes)
}

fn scheme(scheme: &Scheme) -> Result<Normalisation, String> {
    match *scheme {
        Scheme::None => Ok(Normalisation::None),
        Scheme::ZScore => Ok(Normalisation::ZScore),
        Scheme::Ct { mean, std, lower, upper } => {
            let finite = [mean, std, lower, upper].iter().all(|v| v.is_finite());
            ensure(finite && std > 0.0 && lower < upper, || {
                format!(
                    "normalisation ct: need std > 0 and lower < upper, found std {std}, {lower} to {upper}"
                )
            })?;
            Ok(Normalisation::Ct { mean, std, lower, upper })
        }
    }
}

fn ensure(holds: bool, reason: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(reason()) }
}
