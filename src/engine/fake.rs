//! An engine for tests whose answer is known without running it.

use ndarray::{ArrayView5, ArrayViewMut5, Zip};

use super::{Engine, EngineError, EngineSpec};

/// Each class is a function of the voxel alone: `slope * channel 0 + offset`, so that any
/// tiling, mirroring or blending must give the same answer.
#[derive(Debug)]
pub(crate) struct VoxelwiseEngine {
    pub spec: EngineSpec,
    /// `(slope, offset)` per class.
    pub classes: Vec<(f32, f32)>,
    /// Patches run so far.
    pub runs: usize,
}

impl VoxelwiseEngine {
    pub fn new(patch: [usize; 3], channels: usize, classes: Vec<(f32, f32)>) -> VoxelwiseEngine {
        let spec = EngineSpec { batch: 1, channels, classes: classes.len(), patch };
        VoxelwiseEngine { spec, classes, runs: 0 }
    }
}

impl Engine for VoxelwiseEngine {
    fn spec(&self) -> &EngineSpec {
        &self.spec
    }

    fn infer(
        &mut self,
        patches: ArrayView5<'_, f32>,
        mut logits: ArrayViewMut5<'_, f32>,
    ) -> Result<(), EngineError> {
        self.runs += 1;
        for (patch, mut logits) in patches.outer_iter().zip(logits.outer_iter_mut()) {
            for (mut plane, &(slope, offset)) in logits.outer_iter_mut().zip(&self.classes) {
                let image = patch.index_axis(ndarray::Axis(0), 0);
                Zip::from(&mut plane).and(&image).for_each(|out, &v| *out = slope * v + offset);
            }
        }
        Ok(())
    }
}
