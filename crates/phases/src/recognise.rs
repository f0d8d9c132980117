//! Densities of organs to the phase they mean.
//!
//! Owns the bundle's network and how its answer is read. Refuses to decide a study: one
//! series is looked at by itself.

use std::path::{Path, PathBuf};

use ndarray::Array5;

use hepalert_bundles::{Bundle, Role};
use hepalert_engines::backend::Runtime;
use strum::{IntoStaticStr, VariantArray};

use hepalert_engines::{Engine, EngineError};
use hepalert_study::phase::Phase;
use hepalert_voxels::volume::Volume;

use super::features::{FEATURES, Organs};

/// What a series looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Look {
    /// No contrast in vessels.
    Native,
    /// Contrast in arteries alone.
    EarlyArterial,
    /// Contrast in arteries, spleen and cortex, hardly in the liver.
    LateArterial,
    /// The liver at its brightest.
    PortalVenous,
    /// Contrast leaves liver and vessels.
    Delayed,
    /// No abdomen, or no contrast that a bolus makes.
    None,
}

impl Look {
    /// In the order of the network's classes.
    pub const ALL: [Look; 6] = hepalert_study::all(Look::VARIANTS);

    /// The name in messages and in the bundle.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The phase of an examination it stands for.
    pub const fn phase(self) -> Option<Phase> {
        match self {
            Look::Native => Some(Phase::Nc),
            Look::EarlyArterial | Look::LateArterial => Some(Phase::Ap),
            Look::PortalVenous => Some(Phase::Vp),
            Look::Delayed => Some(Phase::Dp),
            Look::None => None,
        }
    }
}

/// What the images of a series say.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// What was measured.
    pub organs: Organs,
    /// Probability of every [`Look`]; they sum to 1.
    pub probabilities: [f64; 6],
}

impl Seen {
    /// The most probable look, and how probable.
    pub fn best(&self) -> (Look, f64) {
        let mut best = (Look::None, 0.0);
        for (look, p) in Look::ALL.into_iter().zip(self.probabilities) {
            if p > best.1 {
                best = (look, p);
            }
        }
        best
    }

    /// Probability of nc, ap, vp, dp and none of these.
    pub fn phases(&self) -> [f64; 5] {
        let [native, early, late, portal, delayed, none] = self.probabilities;
        [native, early + late, portal, delayed, none]
    }

    /// Whether the scan shows what phases are read off: an aorta and a liver.
    pub fn has_evidence(&self) -> bool {
        self.organs.aorta_hu.is_some() && self.organs.liver_hu.is_some()
    }
}

/// The network of a bundle that tells phases apart.
pub struct Recogniser {
    engine: Box<dyn Engine>,
    id: String,
    version: u32,
    fingerprint: String,
    dir: PathBuf,
}

impl Recogniser {
    /// Opens a bundle and loads its network through the golden self-test.
    ///
    /// # Errors
    /// [`EngineError`] says which file or test, or that the bundle is for something else.
    pub fn open(dir: &Path, runtime: &Runtime) -> Result<Recogniser, EngineError> {
        let bundle = Bundle::open(dir)?;
        let plan = bundle.require(Role::Phases)?;
        let names = Look::ALL.map(Look::name);
        if plan.channels != FEATURES || !plan.classes.iter().map(String::as_str).eq(names) {
            return Err(EngineError::Manifest {
                file: "manifest.json".to_owned(),
                reason: format!(
                    "{} channels and classes {:?}; this program needs {FEATURES} and {names:?}",
                    plan.channels, plan.classes
                ),
            });
        }
        let runtime = Runtime { batch: 1, ..runtime.clone() };
        let mut engines = bundle.load(Role::Phases, &runtime)?;
        let engine = engines.swap_remove(0);
        Ok(Recogniser {
            engine,
            id: bundle.id().to_owned(),
            version: bundle.version(),
            fingerprint: bundle.fingerprint().to_owned(),
            dir: dir.to_owned(),
        })
    }

    /// The bundle's name, version, fingerprint and folder.
    pub fn bundle(&self) -> (&str, u32, &str, &Path) {
        (&self.id, self.version, &self.fingerprint, &self.dir)
    }

    /// Looks at a series.
    ///
    /// # Errors
    /// [`EngineError::Backend`] if the network does not run.
    pub fn look(&mut self, volume: &Volume<f32>) -> Result<Seen, EngineError> {
        self.recognise(Organs::of(volume))
    }

    /// What measured densities mean.
    ///
    /// # Errors
    /// [`EngineError::Backend`] if the network does not run.
    pub fn recognise(&mut self, organs: Organs) -> Result<Seen, EngineError> {
        let mut input = Array5::zeros((1, FEATURES, 1, 1, 1));
        input.iter_mut().zip(organs.vector()).for_each(|(to, value)| *to = value);
        let mut logits = Array5::zeros((1, Look::ALL.len(), 1, 1, 1));
        self.engine.infer(input.view(), logits.view_mut())?;
        let most = logits.iter().fold(f32::MIN, |a, &b| a.max(b));
        let mut probabilities = [0.0; 6];
        for (p, logit) in probabilities.iter_mut().zip(&logits) {
            *p = f64::from(logit - most).exp();
        }
        let sum: f64 = probabilities.iter().sum();
        probabilities.iter_mut().for_each(|p| *p /= sum);
        Ok(Seen { organs, probabilities })
    }
}
