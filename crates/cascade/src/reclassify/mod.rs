//! The third stage: every lesion is shown to a second network on shuffled patches; false
//! positives go, labels are corrected (Eq. 8-11).
//!
//! Owns the liver region, the four shuffle schemes, the score and the vote. Refuses to know
//! gains, verdicts and files. [`Prepared`] is the study on the second network's grid,
//! [`shuffle::draw`] makes one patch (training uses the same), [`reclassify`] judges lesions.

use hepalert_engines::EngineError;
use hepalert_study::anatomy::Lesion;
use hepalert_study::outcome::KeepReason;

pub(crate) mod folds;
pub(crate) mod lesion;
pub(crate) mod prepared;
pub(crate) mod region;
pub(crate) mod score;
pub(crate) mod seed;
pub(crate) mod shuffle;
mod stage;
#[cfg(test)]
mod tests;
pub(crate) mod vote;

pub use folds::MeanOfFolds;
pub use lesion::{Candidate, PatchLesion};
pub use prepared::{PrepareError, Prepared, Sampling};
pub use region::{LIVER_CLASS, LiverRegion};
pub use seed::{Seed, content, patch_generator, study_seed};
pub use shuffle::{Patch, Scheme, draw};
pub use stage::{Cache, reclassify};

/// More patches per lesion than this are refused: the mean has long settled.
pub const MAX_PATCHES: usize = 1024;

/// Which patches a lesion is judged on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Schemes {
    /// Original and shuffled positive in turn (the paper's way).
    OriginalAndShuffled,
    /// Original positive only (the paper's ablation without lesion-shuffle).
    OriginalOnly,
}

impl Schemes {
    /// The scheme of patch `number`, and which patch of that scheme it is.
    pub fn nth(self, number: usize) -> (Scheme, u32) {
        match self {
            Schemes::OriginalOnly => (Scheme::OriginalPositive, number as u32),
            Schemes::OriginalAndShuffled if number.is_multiple_of(2) => {
                (Scheme::OriginalPositive, (number / 2) as u32)
            }
            Schemes::OriginalAndShuffled => (Scheme::ShuffledPositive, (number / 2) as u32),
        }
    }
}

/// How lesions are judged.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ReclassifyParams {
    /// Patches per lesion, 1 to [`MAX_PATCHES`].
    pub patches: usize,
    /// A lesion larger than this is kept as it is.
    pub keep_above_cm3: f64,
    /// A lesion whose score is below this goes. A lesion whose own volume is below goes
    /// unseen, since its score cannot exceed its volume.
    pub discard_below_cm3: f64,
    /// Which patches.
    pub schemes: Schemes,
    /// Leave a lesion as soon as its score cannot reach the threshold any more. Changes
    /// nothing but the patches run.
    pub early_stop: bool,
}

impl Default for ReclassifyParams {
    /// Eight patches, 64 and 0.5 cm3, half of the patches shuffled (method 1.0 and 1.5).
    fn default() -> ReclassifyParams {
        ReclassifyParams {
            patches: 8,
            keep_above_cm3: 64.0,
            discard_below_cm3: 0.5,
            schemes: Schemes::OriginalAndShuffled,
            early_stop: true,
        }
    }
}

/// What was decided of one lesion, and what the second network said of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Reclassified {
    /// The candidate's id.
    pub id: u32,
    /// Whether the lesion stays.
    pub kept: bool,
    /// And why.
    pub why: KeepReason,
    /// Eq. (11): mean overlap volume over the patches run; `None` if none was needed. After
    /// an early stop it is the mean so far, which is below the threshold as well.
    pub score_cm3: Option<f64>,
    /// Standard deviation of the patch volumes.
    pub score_std_cm3: Option<f64>,
    /// Score over volume: the share of the lesion that was seen again.
    pub ratio: Option<f64>,
    /// Overlap volume of each patch run, in order.
    pub patch_volumes_cm3: Vec<f64>,
    /// Overlap volume per lesion class, HCC first, summed over the patches run.
    pub votes_cm3: [f64; 6],
    /// What the first network called it.
    pub label_before: Lesion,
    /// The voted label of a lesion that stays; `label_before` of one that goes or bypasses.
    pub label_after: Lesion,
    /// Patches the network saw: all, fewer after an early stop, none if unseen.
    pub patches_run: usize,
}

impl Reclassified {
    /// A lesion that is decided on without the network.
    pub fn unseen(id: u32, kind: Lesion, why: KeepReason) -> Reclassified {
        Reclassified {
            id,
            kept: why.is_kept(),
            why,
            score_cm3: None,
            score_std_cm3: None,
            ratio: None,
            patch_volumes_cm3: Vec::new(),
            votes_cm3: [0.0; 6],
            label_before: kind,
            label_after: kind,
            patches_run: 0,
        }
    }
}

/// Why lesions could not be judged.
#[derive(Debug, thiserror::Error)]
pub enum ReclassifyError {
    /// A parameter is out of range.
    #[error("{0}")]
    Params(String),
    /// The network does not fit the prepared study.
    #[error("the second network does not fit: {0}")]
    Shape(String),
    /// The network failed.
    #[error("the second network failed: {0}")]
    Engine(#[from] EngineError),
    /// The network answered with NaN or infinity.
    #[error("the second network gave NaN or infinity on lesion {0}; its answer is not used")]
    NotFinite(u32),
    /// The watcher asked to stop.
    #[error("stopped")]
    Stopped,
}
