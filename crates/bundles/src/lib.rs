//! An engine as it is handed around: a folder with a manifest, networks and golden patches.
//!
//! Owns opening a folder, checking every file it names, and loading networks through their
//! self-test. Refuses a bundle that is incomplete, altered, newer than this program, or
//! whose golden patch does not give the expected logits. The only reader of files below
//! `pipeline`.

use std::path::{Path, PathBuf};

use ndarray::Array4;
use serde::{Deserialize, Serialize};

use hepalert_study::anatomy::{self, Organ};
use hepalert_study::phase::{Phase, Setting};

use hepalert_engines::backend::{Backend, Precision, Runtime};
use hepalert_engines::conformance;
use hepalert_engines::{Engine, EngineError, EngineSpec};

pub mod constraints;
mod container;
mod files;
mod manifest;
mod network;
pub mod package;
mod plan;
pub mod refused;
mod self_test;
pub mod signature;
pub mod signing;
pub mod slots;
mod trained;

pub use files::BundleFile;
pub use plan::{
    Decision, Fusion, GainPair, Golden, KeepLargest, NetworkPlan, Reader, Resampling, Sums,
};
pub use self_test::{NetworkTest, TestDepth};
pub use trained::{TrainedFor, Untrained};

/// Name of the manifest in a bundle folder.
pub const MANIFEST: &str = "manifest.json";

/// Which network of the cascade.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, strum::IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Role {
    /// The first stage: every voxel to one of the classes.
    Segment,
    /// The third stage: lesion or not, patch by patch.
    Reclassify,
    /// No part of the cascade: densities of organs to contrast phases, one voxel per series.
    Phases,
}

impl Role {
    /// All of them.
    pub const ALL: [Role; 3] = [Role::Segment, Role::Reclassify, Role::Phases];

    /// The name in a manifest.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The classes that this network of a cascade has, by index; `None` for a reader of phases, whose
    /// answer is no label map. The third stage knows lesions and the liver alone.
    pub fn classes(self) -> Option<Vec<&'static str>> {
        let names = anatomy::class_names();
        match self {
            Role::Segment => Some(names.to_vec()),
            Role::Reclassify => Some(names[..=usize::from(Organ::Liver.label())].to_vec()),
            Role::Phases => None,
        }
    }

    /// The numbers this network is computed in where `asked` is asked for. The third stage
    /// stays in `f32` where bf16 is asked for: it measures single patches against a volume,
    /// with no overlapping tile to even out the rounding, and takes a small part of the time. The
    /// phases take no time at all.
    pub const fn precision(self, asked: Precision) -> Precision {
        match (self, asked) {
            (Role::Reclassify, Precision::Bf16) | (Role::Phases, _) => Precision::F32,
            (Role::Segment | Role::Reclassify, asked) => asked,
        }
    }

    /// Patches per call of this network. The patches of one lesion are there together and small:
    /// with the built-in engine as many as it has threads are one call, each on threads of its own,
    /// which changes no answer. A power of two, so that the usual eight fill whole calls.
    fn batch(self, runtime: &Runtime) -> usize {
        match (self, runtime.backend) {
            (Role::Reclassify, Backend::Native) => {
                let together = 1 << runtime.threads().ilog2();
                runtime.batch.max(PATCHES_TOGETHER.min(together))
            }
            _ => runtime.batch,
        }
    }
}

/// Patches of one lesion that the built-in engine runs together at most; eight are drawn unless said
/// otherwise.
const PATCHES_TOGETHER: usize = 8;

/// A checked bundle: every file it names was there, whole and unaltered, when it was opened.
#[derive(Debug, Clone)]
pub struct Bundle {
    dir: PathBuf,
    fingerprint: String,
    parts: manifest::Parts,
}

impl Bundle {
    /// Opens the bundle in `dir` and checks it: manifest, presence, length and SHA-256 of
    /// every file.
    ///
    /// # Errors
    /// [`EngineError::File`] and [`EngineError::Manifest`] name the file or the field.
    pub fn open(dir: &Path) -> Result<Bundle, EngineError> {
        let bundle = Bundle::of_manifest(&files::read_manifest(dir)?)?;
        for file in bundle.files() {
            file.check(dir)?;
        }
        Ok(Bundle { dir: dir.to_owned(), ..bundle })
    }

    /// What a manifest says, its files unseen.
    fn of_manifest(bytes: &[u8]) -> Result<Bundle, EngineError> {
        let parts = manifest::parse(bytes)?;
        Ok(Bundle { dir: PathBuf::new(), fingerprint: files::sha256_hex(bytes), parts })
    }

    /// Every file that the manifest names, in its order; folds may share one.
    fn files(&self) -> impl Iterator<Item = &BundleFile> {
        let networks = self.parts.networks.iter().map(|(_, network)| network);
        networks.flat_map(|network| network.files.iter().chain(network.golden.files()))
    }

    /// The folder it was opened from.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// SHA-256 of the manifest, which names the SHA-256 of everything else: 64 hex digits.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The engine's name, `[a-z0-9-]`.
    pub fn id(&self) -> &str {
        &self.parts.id
    }

    /// The engine's version; counts up.
    pub fn version(&self) -> u32 {
        self.parts.version
    }

    /// The day it was made, as its maker wrote it.
    pub fn created(&self) -> &str {
        &self.parts.created
    }

    /// What its maker made it for.
    pub fn intended_use(&self) -> &str {
        &self.parts.intended_use
    }

    /// The licence of the weights.
    pub fn licence(&self) -> &str {
        &self.parts.licence
    }

    /// The phases it takes, in channel order.
    pub fn phases(&self) -> &[Phase] {
        self.parts.setting.phases()
    }

    /// The setting those phases make.
    pub fn setting(&self) -> Setting {
        self.parts.setting
    }

    /// The two lesion gains the cascade runs at.
    pub fn lesion_gain(&self) -> GainPair {
        self.parts.lesion_gain
    }

    /// How a network wants its input and what it gives, if the bundle has it.
    pub fn plan(&self, role: Role) -> Option<&NetworkPlan> {
        self.parts.networks.iter().find(|(owner, _)| *owner == role).map(|(_, plan)| plan)
    }

    /// Its networks, in the order of its manifest.
    pub fn networks(&self) -> impl Iterator<Item = (Role, &NetworkPlan)> {
        self.parts.networks.iter().map(|(role, plan)| (*role, plan))
    }

    /// Like [`Bundle::plan`], for those who cannot do without.
    ///
    /// # Errors
    /// [`EngineError::Manifest`] if the bundle has no such network.
    pub fn require(&self, role: Role) -> Result<&NetworkPlan, EngineError> {
        self.plan(role).ok_or_else(|| EngineError::Manifest {
            file: MANIFEST.to_owned(),
            reason: format!(
                "engine {} has no network `{}`; choose an engine that has one",
                self.parts.id,
                role.name()
            ),
        })
    }

    /// Under which terms it may be put into a device.
    pub fn constraints(&self) -> &constraints::InstallConstraints {
        &self.parts.update
    }

    /// The images that the networks were trained for.
    pub fn trained_for(&self) -> &TrainedFor {
        &self.parts.trained_for
    }

    /// What the maker says of the training, as it stands in the manifest.
    pub fn training(&self) -> &serde_json::Value {
        &self.parts.training
    }

    /// Loads one engine per fold, for as many patches per call as the runtime says. Each file
    /// is checked again as it is read, and each engine has passed its golden patch when this
    /// returns.
    ///
    /// # Errors
    /// Any [`EngineError`]; the first engine that fails ends the loading, and those loaded
    /// before it are gone when this returns.
    pub fn load(&self, role: Role, runtime: &Runtime) -> Result<Vec<Box<dyn Engine>>, EngineError> {
        let precision = role.precision(runtime.precision);
        let runtime = &Runtime { precision, batch: role.batch(runtime), ..runtime.clone() };
        self.load_by(role, runtime, &mut |bytes, name, spec| runtime.compile(bytes, name, spec))
    }

    /// [`Bundle::load`] by another compiler than the runtime's.
    fn load_by(
        &self,
        role: Role,
        runtime: &Runtime,
        compile: Compile<'_>,
    ) -> Result<Vec<Box<dyn Engine>>, EngineError> {
        let plan = self.require(role)?;
        let mut engines = Vec::with_capacity(plan.files.len());
        for (fold, file) in plan.files.iter().enumerate() {
            let golden = self.golden(role, fold)?;
            let bytes = file.read(&self.dir)?;
            let tested =
                compile(&bytes, file.path(), &plan.spec(runtime.batch)).and_then(|mut engine| {
                    let tolerance = runtime.precision.tolerance();
                    conformance::self_test(engine.as_mut(), &golden, tolerance)?;
                    Ok(engine)
                });
            engines.push(tested.map_err(|error| in_file(file, error))?);
        }
        Ok(engines)
    }

    /// The bytes of one of the bundle's networks, checked as they are read.
    ///
    /// # Errors
    /// [`EngineError::File`] if it is not what the manifest says.
    pub fn network(&self, file: &BundleFile) -> Result<Vec<u8>, EngineError> {
        file.read(&self.dir)
    }

    /// The golden patch of a network and the mean of the logits of all its folds.
    ///
    /// # Errors
    /// As [`Bundle::golden`].
    pub fn golden_mean(&self, role: Role) -> Result<conformance::GoldenPatch, EngineError> {
        let folds = self.require(role)?.files.len();
        let mut mean = self.golden(role, 0)?;
        for fold in 1..folds {
            mean.expected += &self.golden(role, fold)?.expected;
        }
        mean.expected /= folds as f32;
        Ok(mean)
    }

    /// The golden patch of a network and the logits that its engine of this `fold` must give.
    ///
    /// # Errors
    /// [`EngineError::File`] if one of the two files is not what the manifest says.
    pub fn golden(&self, role: Role, fold: usize) -> Result<conformance::GoldenPatch, EngineError> {
        let plan = self.require(role)?;
        let [z, y, x] = plan.patch;
        let stride = plan.golden.stride;
        let [oz, oy, ox]: [usize; 3] =
            std::array::from_fn(|axis| plan.patch[axis].div_ceil(stride[axis]));
        let input = plan.golden.input.read_f32(&self.dir, plan.channels * z * y * x)?;
        let classes = plan.classes.len();
        let file = plan.golden.expected_of(fold);
        let expected = file.read_f32(&self.dir, classes * oz * oy * ox)?;
        let shaped = |shape, values, file: &BundleFile| {
            Array4::from_shape_vec(shape, values)
                .map_err(|error| file.error(format!("not {shape:?}: {error}")))
        };
        Ok(conformance::GoldenPatch {
            input: shaped([plan.channels, z, y, x], input, &plan.golden.input)?,
            expected: shaped([classes, oz, oy, ox], expected, file)?,
            stride,
            regions: matches!(plan.decision, Decision::Regions(_)),
        })
    }
}

/// Makes an engine of a file's bytes; the name is for messages.
type Compile<'a> =
    &'a mut dyn FnMut(&[u8], &str, &EngineSpec) -> Result<Box<dyn Engine>, EngineError>;

/// What may help where a network is not what its bundle promises.
const HELP: &str = "try another backend or precision, or ask for a new bundle";

/// A refusal of a network with the network's file and what may help. Backends begin with the
/// name of the file where it is the file that they refuse, and not the machine.
fn in_file(file: &BundleFile, error: EngineError) -> EngineError {
    let name = file.path();
    match error {
        EngineError::SelfTest { reason } => {
            EngineError::SelfTest { reason: format!("{name}: {reason}; {HELP}") }
        }
        EngineError::Backend { backend, reason } if reason.starts_with(&format!("{name}: ")) => {
            EngineError::Backend { backend, reason: format!("{reason}; {HELP}") }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests;
