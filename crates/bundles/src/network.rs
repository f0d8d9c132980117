//! One network of a manifest: its JSON shape, and the checks that turn it into a plan.

use serde::Deserialize;

use hepalert_study::phase::Setting;
use hepalert_voxels::image::normalise::Normalisation;
use hepalert_voxels::volume::Orientation;

use super::plan::{Decision, Fusion, Golden, KeepLargest, NetworkPlan, Reader, Resampling, Sums};
use super::{BundleFile, Role};

/// Voxels of one patch: 256 x 256 x 256 is the largest that nnU-Net plans.
const MAX_PATCH_VOXELS: usize = 1 << 24;
/// Label maps hold one byte per voxel.
const MAX_CLASSES: usize = 255;
/// nnU-Net trains five folds; ten leave room.
const MAX_FOLDS: usize = 10;
/// nnU-Net writes one step for all labels and one per label.
const MAX_POSTPROCESSING_STEPS: usize = 256;

#[derive(Deserialize)]
pub(super) struct Network {
    files: Vec<NamedFile>,
    classes: Vec<String>,
    channels: usize,
    patch: [usize; 3],
    spacing_mm: [f64; 3],
    transpose_forward: [usize; 3],
    normalisation: Vec<Scheme>,
    resampling: Resampling,
    mirror_axes: Vec<usize>,
    tile_step: f64,
    golden: GoldenFiles,
    #[serde(default)]
    sums: Sums,
    #[serde(default)]
    mask_value: f32,
    // From here on format version 2.
    resampling_logits: Option<Resampling>,
    reader: Option<String>,
    regions_class_order: Option<Vec<u8>>,
    postprocessing: Option<Vec<Step>>,
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
    Ct {
        mean: f64,
        std: f64,
        lower: f64,
        upper: f64,
    },
    ZScore {
        #[serde(default)]
        masked: bool,
    },
    Rescale01,
    None,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    keep_largest: Vec<u8>,
}

#[derive(Deserialize)]
struct GoldenFiles {
    input: NamedFile,
    expected: OneOrPerFold,
    stride: [usize; 3],
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrPerFold {
    One(NamedFile),
    PerFold(Vec<NamedFile>),
}

impl OneOrPerFold {
    fn files(&self) -> &[NamedFile] {
        match self {
            OneOrPerFold::One(file) => std::slice::from_ref(file),
            OneOrPerFold::PerFold(files) => files,
        }
    }
}

impl Network {
    /// The first field that programs of format version 1 would not see, if there is one.
    pub(super) fn newer_field(&self) -> Option<&'static str> {
        let masked = |scheme: &Scheme| matches!(scheme, Scheme::ZScore { masked: true });
        let rescale = |scheme: &Scheme| matches!(scheme, Scheme::Rescale01);
        let fields = [
            ("resampling_logits", self.resampling_logits.is_some()),
            ("reader", self.reader.is_some()),
            ("regions_class_order", self.regions_class_order.is_some()),
            ("postprocessing", self.postprocessing.is_some()),
            ("golden.expected per fold", matches!(self.golden.expected, OneOrPerFold::PerFold(_))),
            ("normalisation.masked", self.normalisation.iter().any(masked)),
            ("normalisation rescale01", self.normalisation.iter().any(rescale)),
        ];
        fields.into_iter().find(|(_, there)| *there).map(|(name, _)| name)
    }

    /// The checked plan; `cascade` says whether a third stage will read this network's labels.
    pub(super) fn check(
        self,
        role: Role,
        cascade: bool,
        fusion: Fusion,
        setting: Setting,
        orientation: Option<Orientation>,
    ) -> Result<NetworkPlan, String> {
        check_shapes(&self, role, setting)?;
        check_axes(&self)?;
        let files = self.files.iter().map(bundle_file).collect::<Result<Vec<_>, String>>()?;
        let normalisation =
            self.normalisation.iter().map(scheme).collect::<Result<Vec<_>, String>>()?;
        let decision = decision(&self, fusion)?;
        let postprocessing = postprocessing(&self, &decision)?;
        let plan = NetworkPlan {
            golden: golden(&self.golden, files.len())?,
            files,
            reader: reader(self.reader.as_deref(), orientation)?,
            classes: self.classes,
            channels: self.channels,
            patch: self.patch,
            spacing_mm: self.spacing_mm,
            transpose_forward: self.transpose_forward,
            normalisation,
            resampling: self.resampling,
            resampling_logits: self.resampling_logits.unwrap_or(self.resampling),
            mirror_axes: self.mirror_axes,
            tile_step: self.tile_step,
            fusion,
            sums: self.sums,
            decision,
            postprocessing,
            mask_value: self.mask_value,
        };
        check_cascade(role, cascade, &plan).map(|()| plan)
    }
}

fn check_shapes(network: &Network, role: Role, setting: Setting) -> Result<(), String> {
    let folds = network.files.len();
    ensure((1..=MAX_FOLDS).contains(&folds), || format!("files: 1 to {MAX_FOLDS}, found {folds}"))?;
    let classes = network.classes.len();
    let fewest = if network.regions_class_order.is_some() { 1 } else { 2 };
    ensure((fewest..=MAX_CLASSES).contains(&classes), || {
        format!("classes: {fewest} to {MAX_CLASSES}, found {classes}")
    })?;
    let phases = setting.phases().len();
    let (channels, schemes) = (network.channels, network.normalisation.len());
    if role == Role::Phases {
        return ensure((1..=64).contains(&channels) && network.patch == [1; 3], || {
            format!(
                "phases: 1 to 64 channels and one voxel, found {channels} and {:?}",
                network.patch
            )
        });
    }
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
    })
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

/// The cascade reads classes by their index and lesions one by one, so a bundle with both
/// networks must have the classes of `anatomy` and leave the label map as it is. A lone
/// first stage may be anyone's nnU-Net.
fn check_cascade(role: Role, cascade: bool, plan: &NetworkPlan) -> Result<(), String> {
    // A reader of phases never stands beside another network.
    let Some(expected) = role.classes().filter(|_| cascade) else { return Ok(()) };
    ensure(plan.classes.iter().map(String::as_str).eq(expected.iter().copied()), || {
        format!("classes are {:?}, the cascade needs {expected:?}", plan.classes)
    })?;
    let plain = plan.decision == Decision::Argmax && plan.postprocessing.is_empty();
    ensure(plain, || {
        "regions_class_order and postprocessing are for a lone first stage, not for the cascade"
            .to_owned()
    })?;
    if role == Role::Segment {
        return Ok(());
    }
    ensure(plan.reader != Reader::NibabelWithReorient, || {
        format!("reader {} is for the first stage only", plan.reader.name())
    })?;
    ensure(!plan.normalisation.iter().any(|scheme| scheme.wants_mask()), || {
        "normalisation.masked is for the first stage only".to_owned()
    })
}

fn golden(golden: &GoldenFiles, folds: usize) -> Result<Golden, String> {
    let expected = golden.expected.files();
    ensure(expected.len() == 1 || expected.len() == folds, || {
        format!("golden.expected: one file or one per fold ({folds}), found {}", expected.len())
    })?;
    Ok(Golden {
        input: bundle_file(&golden.input)?,
        expected: expected.iter().map(bundle_file).collect::<Result<Vec<_>, String>>()?,
        stride: golden.stride,
    })
}

fn reader(name: Option<&str>, orientation: Option<Orientation>) -> Result<Reader, String> {
    let name = match (name, orientation) {
        (None, None) => return Ok(Reader::SimpleItk),
        (None, Some(stated)) => return Ok(Reader::Stated(stated)),
        (Some(name), None) => name,
        (Some(name), Some(stated)) => {
            return Err(format!("reader `{name}` beside orientation {stated}: leave one away"));
        }
    };
    Reader::ALL.into_iter().find(|reader| reader.name() == name).ok_or_else(|| {
        let known = Reader::ALL.map(Reader::name).join(", ");
        format!("reader `{name}` is not known; known are {known}")
    })
}

/// Regions are painted from logits: nothing is averaged as probabilities there.
fn decision(network: &Network, fusion: Fusion) -> Result<Decision, String> {
    let Some(order) = &network.regions_class_order else { return Ok(Decision::Argmax) };
    let (found, classes) = (order.len(), network.classes.len());
    ensure(found == classes, || {
        format!("regions_class_order: one label per region ({classes}), found {found}")
    })?;
    ensure(!order.contains(&0), || "regions_class_order: 0 is the background".to_owned())?;
    ensure(fusion == Fusion::Logits, || "regions_class_order needs fusion `logits`".to_owned())?;
    Ok(Decision::Regions(order.clone()))
}

fn postprocessing(network: &Network, decision: &Decision) -> Result<Vec<KeepLargest>, String> {
    let steps = network.postprocessing.as_deref().unwrap_or_default();
    ensure(steps.len() <= MAX_POSTPROCESSING_STEPS, || {
        format!("postprocessing: at most {MAX_POSTPROCESSING_STEPS} steps, found {}", steps.len())
    })?;
    let known = |label: u8| match decision {
        Decision::Argmax => usize::from(label) < network.classes.len(),
        Decision::Regions(order) => order.contains(&label),
    };
    steps
        .iter()
        .map(|Step { keep_largest }| {
            let wrong = keep_largest.iter().find(|&&label| label == 0 || !known(label));
            ensure(!keep_largest.is_empty() && wrong.is_none(), || {
                format!("postprocessing: keep_largest {keep_largest:?} must be labels of classes")
            })?;
            Ok(KeepLargest(keep_largest.clone()))
        })
        .collect()
}

fn bundle_file(file: &NamedFile) -> Result<BundleFile, String> {
    BundleFile::new(&file.path, &file.sha256, file.bytes)
}

fn scheme(scheme: &Scheme) -> Result<Normalisation, String> {
    match *scheme {
        Scheme::None => Ok(Normalisation::None),
        Scheme::ZScore { masked: false } => Ok(Normalisation::ZScore),
        Scheme::ZScore { masked: true } => Ok(Normalisation::ZScoreOfNonzero),
        Scheme::Rescale01 => Ok(Normalisation::Rescale01),
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

pub(super) fn ensure(holds: bool, reason: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(reason()) }
}
