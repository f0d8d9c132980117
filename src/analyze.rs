//! One study from files to a written report: what `analyze`, `worker` and `demo` share.
//!
//! Owns the loaded engines and the way from loaded files through the pipeline to the
//! report's folder. Refuses to queue or to send.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::intake::{GateParams, Refusal, StudyFiles};
use crate::report::files::WriteError;
use crate::report::types::{EngineChoice, Report};
use hepalert_bundles::{Bundle, Role};
use hepalert_cascade::align::{self, AlignError};
use hepalert_cascade::pipeline::{self, Findings, Networks, PipelineError};
use hepalert_cascade::reclassify;
use hepalert_cascade::segment::{self, LesionGain, SegmentError};
use hepalert_engines::backend::Runtime;
use hepalert_engines::conformance::{self, GoldenPatch};
use hepalert_engines::{Engine, EngineError};
use hepalert_phases::Recogniser;
use hepalert_study::phase::{Phase, Setting};
use hepalert_study::study::{AlignedStudy, Study};

mod describe;
mod fingerprint;
mod limits;
pub(crate) mod objects;
mod quality;
mod source_images;
mod tracking;
mod write;

pub(crate) use fingerprint::pipeline_fingerprint;
use objects::ObjectSettings;
use quality::Origin;
use write::Done;

mod phases;

pub use phases::{beside as phases_beside, record as series_record};

/// How often a registration that is under way is told.
const ALIVE_EVERY: Duration = Duration::from_secs(5);
/// A registration that takes longer hangs.
const MAX_REGISTERING: Duration = Duration::from_secs(15 * 60);

/// What a study is analysed with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Folder of the engine bundle.
    pub bundle: PathBuf,
    /// Bundles for studies that lack one of its phases, or of which one cannot be aligned.
    pub others: Vec<PathBuf>,
    /// How phases are brought onto one grid.
    pub alignment: align::Rules,
    /// What runs the networks.
    pub runtime: Runtime,
    /// Gain of the high view, if not the bundle's own.
    pub high_gain: Option<f32>,
    /// The third stage.
    pub reclassify: reclassify::ReclassifyParams,
    /// What the first stage does with tiles that are all air; no result depends on it.
    pub air: segment::AirTiles,
    /// Most memory a study may take, the program included, in bytes.
    pub memory_budget_bytes: u64,
    /// What is refused.
    pub gate: GateParams,
    /// Write `margin.nii.gz` too: from it any other lesion gain can be read. Large.
    pub keep_margin: bool,
    /// Write `gains.nii.gz` too: what the page needs to redraw lesions at any gain. Small.
    pub keep_gains: bool,
    /// Folder of the bundle that tells phases apart; `None` trusts names alone.
    pub phase_bundle: Option<PathBuf>,
    /// Write the results as DICOM objects too, of a study that is DICOM.
    pub objects: Option<ObjectSettings>,
}

impl Settings {
    /// The folders of the engine and of the others, in that order.
    pub fn bundles(&self) -> impl Iterator<Item = &PathBuf> {
        std::iter::once(&self.bundle).chain(&self.others)
    }

    /// The phases of the engine and then of the others, best first: what studies are looked for. No
    /// network is loaded.
    ///
    /// # Errors
    /// [`EngineError`] of a bundle that cannot be opened.
    pub fn wanted(&self) -> Result<Vec<Vec<Phase>>, EngineError> {
        let mut wanted = phases_of(std::slice::from_ref(&self.bundle))?;
        wanted.extend(phases_of(&self.others)?);
        Ok(wanted)
    }
}

/// Engines loaded and tested, ready for one study after the other.
pub struct Analyzer {
    settings: Settings,
    bundle: Bundle,
    plan: segment::Plan,
    segment: Vec<Box<dyn Engine>>,
    reclassify: Option<Box<dyn Engine>>,
    recogniser: Option<Recogniser>,
    /// Why this engine runs and not the one that was asked for.
    instead: Option<EngineChoice>,
}

/// Why a study has no report.
#[derive(Debug, thiserror::Error)]
pub enum AnalyzeError {
    /// The input cannot be used.
    #[error("{}: {}", .0.code.sentence(), .0.detail)]
    Refused(Refusal),
    /// The phases cannot be brought onto one grid.
    #[error(transparent)]
    Align(#[from] AlignError),
    /// The engine failed.
    #[error("{0}")]
    Engine(EngineError),
    /// A stage failed.
    #[error("{0}")]
    Pipeline(PipelineError),
    /// The report could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The watcher asked to stop.
    #[error("stopped")]
    Stopped,
}

/// Hears of every step: stage, done, total; says whether to go on.
pub type Watch<'a> = &'a mut dyn FnMut(&str, usize, usize) -> ControlFlow<()>;

impl Analyzer {
    /// Opens the bundle, loads its networks and runs their golden self-tests.
    ///
    /// # Errors
    /// [`EngineError`] says which file or test.
    pub fn open(settings: Settings) -> Result<Analyzer, EngineError> {
        let recogniser = settings.recogniser()?;
        Ok(Analyzer { recogniser, ..Analyzer::by_names_alone(settings)? })
    }

    fn by_names_alone(settings: Settings) -> Result<Analyzer, EngineError> {
        let bundle = Bundle::open(&settings.bundle)?;
        let runtime = &settings.runtime;
        let segment = bundle.load(Role::Segment, runtime)?;
        let reclassify = match bundle.plan(Role::Reclassify) {
            Some(_) => reclassify::MeanOfFolds::new(bundle.load(Role::Reclassify, runtime)?)
                .map(|folds| Box::new(folds) as Box<dyn Engine>),
            None => None,
        };
        let plan = segment::Plan {
            network: bundle.require(Role::Segment)?.clone(),
            batch: runtime.batch,
            air: settings.air,
            memory_budget_bytes: settings.memory_budget_bytes,
        };
        let (recogniser, instead) = (None, None);
        Ok(Analyzer { settings, bundle, plan, segment, reclassify, recogniser, instead })
    }

    /// The phases the engine takes.
    pub fn phases(&self) -> &[Phase] {
        self.bundle.phases()
    }

    /// The phases of this engine and then of the others, best first: what a study is looked for.
    ///
    /// # Errors
    /// [`EngineError`] of a bundle that cannot be opened.
    pub fn wanted(&self) -> Result<Vec<Vec<Phase>>, EngineError> {
        let others = phases_of(&self.settings.others)?;
        Ok(std::iter::once(self.phases().to_vec()).chain(others).collect())
    }

    /// The setting those make.
    pub fn setting(&self) -> Setting {
        self.bundle.setting()
    }

    /// The bundle in use.
    pub fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// Runs the golden patches through the engines as they are loaded; what was seen, in a
    /// sentence. The patches are read and checked again, so a dying disk shows too.
    ///
    /// # Errors
    /// [`EngineError`] of the first network that fails.
    pub fn self_test(&mut self) -> Result<String, EngineError> {
        let asked = self.settings.runtime.precision;
        let mut words = Vec::new();
        let mut test = |role: Role, engine: &mut dyn Engine, golden: &GoldenPatch| {
            let tolerance = role.precision(asked).tolerance();
            let found = conformance::self_test(engine, golden, tolerance)?;
            let percent = 100.0 * found.argmax_agreement;
            words.push(format!("{}: best class equal on {percent:.3} % of voxels", role.name()));
            Ok(())
        };
        for (fold, engine) in self.segment.iter_mut().enumerate() {
            test(Role::Segment, engine.as_mut(), &self.bundle.golden(Role::Segment, fold)?)?;
        }
        if let Some(engine) = &mut self.reclassify {
            let golden = self.bundle.golden_mean(Role::Reclassify)?;
            test(Role::Reclassify, engine.as_mut(), &golden)?;
        }
        Ok(words.join("; "))
    }

    /// SHA-256 over everything that determines results besides the input.
    pub fn fingerprint(&self) -> String {
        self.fingerprint_with(&self.bundle)
    }

    fn fingerprint_with(&self, bundle: &Bundle) -> String {
        let recogniser = self.recogniser.as_ref().map(|recogniser| recogniser.bundle().2);
        pipeline_fingerprint(&self.settings, bundle, recogniser)
    }

    /// That of this engine, and those of the others that may run in its place.
    ///
    /// # Errors
    /// [`EngineError`] of a bundle that cannot be opened.
    pub fn fingerprints(&self) -> Result<Vec<String>, EngineError> {
        let others = self.settings.others.iter().map(|folder| {
            let bundle = Bundle::open(folder)?;
            Ok(self.fingerprint_with(&bundle))
        });
        std::iter::once(Ok(self.fingerprint())).chain(others).collect()
    }

    /// Reads a study, runs the cascade and writes the report to the folder `out`. A study that
    /// lacks a phase, or of which one cannot be aligned, goes to the best other engine.
    ///
    /// # Errors
    /// [`AnalyzeError`]; then `out` is as it was.
    pub fn study(
        &mut self,
        files: &StudyFiles,
        out: &Path,
        watch: Watch<'_>,
    ) -> Result<Report, AnalyzeError> {
        let (told, found) = self.decided(files);
        let there: Vec<Phase> = told.phases.iter().map(|files| files.phase).collect();
        let missing = self.phases().iter().find(|phase| !there.contains(phase)).copied();
        let failed = match missing {
            Some(phase) => AlignError::Missing(phase),
            None => match self.whole_study(&told, &found, out, watch) {
                Err(AnalyzeError::Align(error)) => error,
                ended => return ended,
            },
        };
        match self.other_engine(&there, &failed)? {
            Some(mut other) => {
                other.recogniser = self.recogniser.take();
                let ended = other.whole_study(&told, &found, out, watch);
                self.recogniser = other.recogniser;
                ended
            }
            None => Err(found.refusal.map_or(AnalyzeError::Align(failed), AnalyzeError::Refused)),
        }
    }

    /// The study with every phase that its images or names tell.
    fn decided(&mut self, files: &StudyFiles) -> (StudyFiles, phases::Found) {
        let gate = self.gate();
        phases::found(files, self.bundle.phases(), &gate, self.recogniser.as_mut())
    }

    /// What is refused while reading; a study too large for the budget is, whoever reads it.
    fn gate(&self) -> GateParams {
        GateParams { memory: Some(self.memory()), ..self.settings.gate.clone() }
    }

    /// The best of the other engines for what is there and could be aligned.
    fn other_engine(
        &self,
        there: &[Phase],
        failed: &AlignError,
    ) -> Result<Option<Analyzer>, AnalyzeError> {
        let usable: Vec<Phase> =
            there.iter().copied().filter(|phase| !failed.phases().contains(phase)).collect();
        let others: Vec<Bundle> = self
            .settings
            .others
            .iter()
            .map(|folder| Bundle::open(folder))
            .collect::<Result<_, _>>()
            .map_err(AnalyzeError::Engine)?;
        let Some(best) = align::best(others.iter().map(Bundle::phases), &usable) else {
            return Ok(None);
        };
        let bundle = self.settings.others[best].clone();
        let settings = Settings { bundle, others: Vec::new(), ..self.settings.clone() };
        let mut other = Analyzer::by_names_alone(settings).map_err(AnalyzeError::Engine)?;
        other.instead = Some(EngineChoice {
            instead_of: self.bundle.id().to_owned(),
            code: failed.code().to_owned(),
            because: failed.to_string(),
            left_out: failed.phases(),
        });
        Ok(Some(other))
    }

    /// The study on one grid. Registration tells no progress; that it is at work is said now and then, so that
    /// a slow processor is not taken for one that hangs.
    fn aligned(&self, study: Study, watch: Watch<'_>) -> Result<align::Aligned, AnalyzeError> {
        let (wanted, rules) = (self.bundle.phases(), &self.settings.alignment);
        let align = move || align::align(study, wanted, rules);
        if wanted.len() < 2 {
            return Ok(align()?);
        }
        let began = Instant::now();
        std::thread::scope(|scope| {
            let here = std::thread::current();
            let work = scope.spawn(move || {
                let found = align();
                here.unpark();
                found
            });
            while !work.is_finished() && began.elapsed() < MAX_REGISTERING {
                if watch("register", 0, 1).is_break() {
                    return Err(AnalyzeError::Stopped);
                }
                std::thread::park_timeout(ALIVE_EVERY);
            }
            match work.join() {
                Ok(found) => Ok(found?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// A study that has all phases of this engine.
    fn whole_study(
        &mut self,
        files: &StudyFiles,
        found: &phases::Found,
        out: &Path,
        watch: Watch<'_>,
    ) -> Result<Report, AnalyzeError> {
        let started = Instant::now();
        // The reader tells no progress; one step shows that work has begun.
        if watch("read", 0, 1).is_break() {
            return Err(AnalyzeError::Stopped);
        }
        let gate = self.gate();
        let recogniser = self.recogniser.as_mut();
        let read = phases::read(files, found, self.bundle.phases(), &gate, recogniser)
            .map_err(AnalyzeError::Refused)?;
        let mut origin = Origin::of(files, &read, started.elapsed().as_secs_f64());
        origin.untrained = self.untrained(&read.loaded.study);
        let images = self.source_images(&read.loaded.phases)?;
        let (study, stored) =
            read.loaded.study.brought_into(self.plan.network.reader.orientation());
        let aligning = Instant::now();
        let align::Aligned { study: aligned, phases: alignments } = self.aligned(study, watch)?;
        let align_s = aligning.elapsed().as_secs_f64();
        let back = stored.back(aligned.grid());
        match self.fit_batch(&aligned, origin.files) {
            // Too fine for this device: the same scan in thicker slices may fit.
            Err(AnalyzeError::Refused(refusal)) => match files.next_choice() {
                Some(next) => {
                    drop(aligned);
                    let found = phases::Found { too_large: Some(refusal), ..found.clone() };
                    return self.whole_study(&next, &found, out, watch);
                }
                None => return Err(AnalyzeError::Refused(refusal)),
            },
            fitted => fitted?,
        }
        origin.content = reclassify::content(&aligned);
        let findings = self.findings(&aligned, origin.content, watch)?;
        limits::require_liver(&findings, origin.files)?;
        let done = Done {
            started,
            align_s,
            origin: &origin,
            alignments: &alignments,
            back: &back,
            images: images.as_ref(),
            findings: &findings,
        };
        self.write(&aligned, &done, out, watch)
    }

    fn findings(
        &mut self,
        aligned: &AlignedStudy,
        content: [u8; 32],
        watch: Watch<'_>,
    ) -> Result<Findings, AnalyzeError> {
        let params = pipeline::CascadeParams {
            base_gain: LesionGain(self.bundle.lesion_gain().base),
            high_gain: LesionGain(high_gain(&self.settings, &self.bundle)),
            reclassify: self.settings.reclassify,
            seed: reclassify::study_seed(content, self.bundle.fingerprint(), 0),
        };
        let second = self.reclassify.as_deref_mut();
        let networks = Networks {
            segment_plan: &self.plan,
            segment: &mut self.segment,
            reclassify: self.bundle.plan(Role::Reclassify).zip(second),
        };
        let mut step = |stage: pipeline::Stage, done, total| watch(stage.name(), done, total);
        pipeline::analyze(aligned, networks, &params, &mut step).map_err(AnalyzeError::from)
    }
}

/// The sets of phases that bundles take, best first.
///
/// # Errors
/// [`EngineError`] of a bundle that cannot be opened.
pub fn phases_of(bundles: &[PathBuf]) -> Result<Vec<Vec<Phase>>, EngineError> {
    let phases = |folder: &PathBuf| Ok(Bundle::open(folder)?.phases().to_vec());
    let mut sets: Vec<Vec<Phase>> = bundles.iter().map(phases).collect::<Result<_, _>>()?;
    sets.sort_by_key(|phases| std::cmp::Reverse(align::worth(phases)));
    Ok(sets)
}

fn high_gain(settings: &Settings, bundle: &Bundle) -> f32 {
    settings.high_gain.unwrap_or(bundle.lesion_gain().high)
}

impl From<PipelineError> for AnalyzeError {
    fn from(error: PipelineError) -> AnalyzeError {
        match error {
            PipelineError::Segment(SegmentError::Cancelled)
            | PipelineError::Reclassify(reclassify::ReclassifyError::Stopped) => {
                AnalyzeError::Stopped
            }
            PipelineError::Segment(SegmentError::Engine(error))
            | PipelineError::Reclassify(reclassify::ReclassifyError::Engine(error)) => {
                AnalyzeError::Engine(error)
            }
            // The image was checked at intake: what is no number now, the engine made so.
            error @ (PipelineError::Segment(SegmentError::NotFinite)
            | PipelineError::Reclassify(reclassify::ReclassifyError::NotFinite(_))) => {
                AnalyzeError::Engine(EngineError::Answer { reason: error.to_string() })
            }
            error => AnalyzeError::Pipeline(error),
        }
    }
}

/// Highest resident memory of this process so far, in MiB; 0 where the system does not say.
pub fn peak_memory_mib() -> f64 {
    crate::system::memory_kib("self", "VmHWM").unwrap_or(0) as f64 / 1024.0
}
