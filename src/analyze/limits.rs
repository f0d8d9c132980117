//! What a study may take of memory, and what an engine was trained for: known before a network
//! runs.

use std::collections::BTreeSet;

use super::{AnalyzeError, Analyzer};
use crate::intake::{MemoryLimit, Refusal, RefusalCode};
use hepalert_bundles::{Role, Untrained};
use hepalert_cascade::pipeline::{Findings, PipelineError};
use hepalert_cascade::segment::{self, SegmentError};
use hepalert_engines::backend::Runtime;
use hepalert_study::study::{AlignedStudy, Study};
use hepalert_voxels::volume::{Axes, Volume};

/// Less liver than this, in cm3, is no liver that can be judged: a small adult's has 900,
/// and a third of one must not pass as a whole.
const LEAST_LIVER_CM3: f64 = 250.0;
/// The program, its networks and their buffers for one patch: what the smallest study takes. Further
/// patches that a call of the second network holds are not counted.
const PROGRAM_BYTES: u64 = 256 << 20;
/// Bytes of one voxel of the study's grid at the peak, when lesions are measured and written:
/// scores 6, two label maps and the lesions 3, the liver 1, its depth 4.
const RESULT_BYTES_PER_VOXEL: u64 = 14;
/// And of one phase.
const PHASE_BYTES_PER_VOXEL: u64 = 4;

impl Analyzer {
    /// What of the phases, taken across the body, the engine was not trained for.
    pub(super) fn untrained(&self, study: &Study) -> BTreeSet<Untrained> {
        let of = |volume: &Volume<f32>| {
            let grid = Axes::ras(volume.grid()).grid(volume.grid());
            self.bundle.trained_for().untrained(grid.shape(), grid.spacing_mm())
        };
        study.phases.values().flat_map(of).collect()
    }

    /// What a study of this engine's phases may take.
    pub(super) fn memory(&self) -> MemoryLimit {
        let phases = self.bundle.phases().len() as u64;
        MemoryLimit {
            bytes: self.settings.memory_budget_bytes.saturating_sub(PROGRAM_BYTES),
            bytes_per_voxel: RESULT_BYTES_PER_VOXEL + PHASE_BYTES_PER_VOXEL * phases,
        }
    }

    /// Loads the first network again if this study fits another number of patches per call;
    /// refuses one that fits none. All before a network runs.
    pub(super) fn fit_batch(
        &mut self,
        aligned: &AlignedStudy,
        files: usize,
    ) -> Result<(), AnalyzeError> {
        let limit = self.memory();
        let voxels = aligned.grid().voxels() as u64;
        if voxels > limit.voxels() {
            let refusal = Refusal { file_count: files, ..limit.refusal(voxels) };
            return Err(AnalyzeError::Refused(refusal));
        }
        let held = voxels * PHASE_BYTES_PER_VOXEL * aligned.phases().len() as u64;
        // The first stage comes on top of the study.
        self.plan.memory_budget_bytes = limit.bytes.saturating_sub(held);
        let preferred = self.settings.runtime.batch;
        let over = |error: SegmentError| match error {
            SegmentError::OverBudget { .. } => {
                let detail = error.to_string();
                AnalyzeError::Refused(Refusal::new(RefusalCode::OverMemoryBudget, detail, files))
            }
            error => AnalyzeError::Pipeline(PipelineError::Segment(error)),
        };
        let batch = segment::largest_batch(aligned, &self.plan, preferred).map_err(over)?;
        if batch != self.plan.batch {
            let runtime = Runtime { batch, ..self.settings.runtime.clone() };
            self.segment =
                self.bundle.load(Role::Segment, &runtime).map_err(AnalyzeError::Engine)?;
            self.plan.batch = batch;
        }
        Ok(())
    }
}

/// Refuses a study that shows too little of a liver to be judged.
pub(super) fn require_liver(findings: &Findings, files: usize) -> Result<(), AnalyzeError> {
    let seen = findings.liver_cm3;
    if seen >= LEAST_LIVER_CM3 {
        return Ok(());
    }
    let detail = format!(
        "the first stage saw {seen:.0} cm3 of liver, at least {LEAST_LIVER_CM3:.0} are needed"
    );
    Err(AnalyzeError::Refused(Refusal::new(RefusalCode::NoLiver, detail, files)))
}
