//! Several networks trained on different folds as one engine: the mean of their logits.

use ndarray::{Array5, ArrayView5, ArrayViewMut5};

use hepalert_engines::{Engine, EngineError, EngineSpec};

/// Engines of one shape whose logits are averaged (nnU-Net v2's way with folds).
pub struct MeanOfFolds {
    engines: Vec<Box<dyn Engine>>,
    spec: EngineSpec,
    scratch: Array5<f32>,
}

impl MeanOfFolds {
    /// At least one engine, all of one shape; otherwise `None`.
    pub fn new(engines: Vec<Box<dyn Engine>>) -> Option<MeanOfFolds> {
        let spec = engines.first()?.spec().clone();
        if engines.iter().any(|engine| *engine.spec() != spec) {
            return None;
        }
        let shape = if engines.len() > 1 { spec.output_shape() } else { [0; 5] };
        Some(MeanOfFolds { engines, scratch: Array5::zeros(shape), spec })
    }
}

impl Engine for MeanOfFolds {
    fn spec(&self) -> &EngineSpec {
        &self.spec
    }

    fn infer(
        &mut self,
        patches: ArrayView5<'_, f32>,
        mut logits: ArrayViewMut5<'_, f32>,
    ) -> Result<(), EngineError> {
        let folds = self.engines.len() as f32;
        let Some((first, others)) = self.engines.split_first_mut() else { return Ok(()) };
        first.infer(patches, logits.view_mut())?;
        for engine in others {
            engine.infer(patches, self.scratch.view_mut())?;
            logits += &self.scratch;
        }
        if folds > 1.0 {
            logits.mapv_inplace(|logit| logit / folds);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hepalert_engines::fake::VoxelwiseEngine;

    #[test]
    fn logits_are_averaged_over_folds() {
        let fold = |slope, offset| -> Box<dyn Engine> {
            Box::new(VoxelwiseEngine::new([1, 1, 2], 1, vec![(slope, offset)]))
        };
        let patches = Array5::from_shape_vec((1, 1, 1, 1, 2), vec![1.0, 2.0]).unwrap();
        let mut logits = Array5::zeros((1, 1, 1, 1, 2));
        let mut mean = MeanOfFolds::new(vec![fold(1.0, 0.0), fold(3.0, 4.0)]).unwrap();
        mean.infer(patches.view(), logits.view_mut()).unwrap();
        assert_eq!(logits.iter().copied().collect::<Vec<_>>(), [4.0, 6.0]);
    }

    #[test]
    fn nothing_and_unequal_engines_are_refused() {
        let of = |patch| -> Box<dyn Engine> {
            Box::new(VoxelwiseEngine::new(patch, 1, vec![(1.0, 0.0)]))
        };
        assert!(MeanOfFolds::new(Vec::new()).is_none());
        assert!(MeanOfFolds::new(vec![of([1, 1, 2]), of([1, 2, 2])]).is_none());
    }
}
