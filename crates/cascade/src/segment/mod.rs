//! The first stage: from Hounsfield units to the scores of every class, by tiles.
//!
//! Owns preprocessing, tiling, blending and [`Scores`], from which every lesion
//! gain is read. Equal to nnU-Net v2's own predictor (method: nnU-Net inference parity).
//! Refuses to know single lesions.

use std::ops::ControlFlow;

use hepalert_bundles::{Fusion, NetworkPlan, Sums};
use hepalert_engines::{Engine, EngineError, EngineSpec};
use hepalert_study::study::AlignedStudy;

mod air;
mod budget;
mod calls;
mod decide;
mod export;
mod feed;
mod folds;
pub(crate) mod gaussian;
mod geometry;
mod half;
mod meter;
pub(crate) mod preprocess;
pub(crate) mod scores;
mod slab;
pub(crate) mod tiles;
mod window;

pub use budget::largest_batch;
pub use geometry::Geometry;
pub use meter::{Busy, Clock};
pub use preprocess::{Prepared, prepare};
pub use scores::{LesionGain, Scores};

/// What the first stage is to do, built at the edge from an engine bundle.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How the network wants its input, and what it gives.
    pub network: NetworkPlan,
    /// Patches per call of the engines, at least 1; see [`largest_batch`].
    pub batch: usize,
    /// What is done with tiles that are all air.
    pub air: AirTiles,
    /// Arrays of this stage may take so many bytes; the study itself and the engine's own
    /// memory come on top.
    pub memory_budget_bytes: u64,
}

/// What is done with tiles that are all air (see `air.rs`: it changes no result).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AirTiles {
    /// They are run like all others.
    #[default]
    RunAll,
    /// One is run, and its scores are used for all.
    RunOnce,
}

/// How far the tiles have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Tiles finished.
    pub tiles_done: usize,
    /// Tiles of the whole study.
    pub tiles_total: usize,
}

/// Why a study was not segmented.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// The study has another number of phases than the network has channels.
    #[error("the study has {found} phases, the network takes {expected}")]
    Channels {
        /// Phases of the study.
        found: usize,
        /// Channels of the network.
        expected: usize,
    },
    /// At the network's spacing some axis has no voxels left.
    #[error("the study has {shape:?} voxels (z, y, x) at the network's spacing: it is too small")]
    TooSmall {
        /// Shape at the network's spacing.
        shape: [usize; 3],
    },
    /// The study needs more memory than it may have.
    #[error(
        "the study needs {} MiB, {} MiB are allowed: raise the memory budget \
         (memory_budget_mib, --memory-mib) or give fewer slices",
        needed.div_ceil(1 << 20),
        allowed >> 20
    )]
    OverBudget {
        /// Bytes needed at the peak.
        needed: u64,
        /// Bytes allowed.
        allowed: u64,
    },
    /// The engines are not those of the plan.
    #[error("engine {found}, the plan needs {expected:?}")]
    EngineShape {
        /// What was given.
        found: String,
        /// What the plan says.
        expected: EngineSpec,
    },
    /// The network gave NaN, infinity, or logits whose sums no f16 can hold.
    #[error(
        "the network gave a value that is not a number: test it with `hepalert engine selftest`; \
         if it passes, another precision may bear this image"
    )]
    NotFinite,
    /// The caller asked to stop.
    #[error("stopped on request")]
    Cancelled,
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// Segments a study: one engine per fold, each of `plan.batch` patches per call. `watch` is called
/// before the first tile and after every one, and stops the work by breaking.
///
/// With a network of other classes than the house's, [`Scores::best_other`] is the plain
/// argmax and every margin is infinite.
///
/// # Errors
/// Any [`SegmentError`]; memory is checked before it is allocated.
pub fn segment(
    study: &AlignedStudy,
    plan: &Plan,
    engines: &mut [Box<dyn Engine>],
    watch: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Scores, SegmentError> {
    segment_prepared(&prepare(study, plan)?, plan, engines, watch)
}

/// [`segment`] for a study that is already prepared by the same plan; the third stage may
/// want to keep it.
///
/// # Errors
/// As [`segment`].
pub fn segment_prepared(
    prepared: &Prepared,
    plan: &Plan,
    engines: &mut [Box<dyn Engine>],
    watch: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Scores, SegmentError> {
    segment_timed(prepared, plan, engines, &|| 0.0, watch).map(|(scores, _)| scores)
}

/// [`segment_prepared`], telling by the caller's clock where the time went.
///
/// # Errors
/// As [`segment`].
pub fn segment_timed(
    prepared: &Prepared,
    plan: &Plan,
    engines: &mut [Box<dyn Engine>],
    clock: Clock<'_>,
    watch: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<(Scores, Busy), SegmentError> {
    budget::check(&prepared.geometry, plan)?;
    let mut export = export::Export::new(&prepared.geometry, plan);
    let mut meter = meter::Meter { clock, busy: Busy::default() };
    let mut export_s = 0.0;
    let mut emit = |z, slice: ndarray::ArrayView3<'_, f32>| {
        let started = clock();
        export.push(z, slice);
        export_s += clock() - started;
    };
    window::slide(prepared.voxels.view(), plan, engines, &mut meter, watch, &mut emit)?;
    // Slices are exported while their tiles are blended.
    let blend_s = meter.busy.blend_s - export_s;
    Ok((export.finish(), Busy { export_s, blend_s, ..meter.busy }))
}

/// What a network's sums are rounded to; probabilities never are.
fn precision(network: &NetworkPlan) -> Sums {
    match network.fusion {
        Fusion::Logits => network.sums,
        Fusion::Probabilities => Sums::F32,
    }
}

#[cfg(test)]
mod tests;
