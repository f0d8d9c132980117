//! Engines for tests whose answers are known: by a formula, from torch, or spoiled on purpose.

#![allow(clippy::unwrap_used, reason = "tests only")]

use ndarray::{ArrayView5, ArrayViewMut5, Zip};

use super::{Engine, EngineError, EngineSpec};

/// Each class is a function of the voxel alone: `slope * channel 0 + offset`, so that any
/// tiling, mirroring or blending must give the same answer.
#[derive(Debug)]
pub struct VoxelwiseEngine {
    /// What it says of itself.
    pub spec: EngineSpec,
    /// `(slope, offset)` per class.
    pub classes: Vec<(f32, f32)>,
    /// Patches run so far.
    pub runs: usize,
}

impl VoxelwiseEngine {
    /// One patch per call, no runs yet.
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

/// A place in logits: `[patch, class, z, y, x]`.
pub type Index = (usize, usize, usize, usize, usize);

/// Every logit is a formula of the patches and its own place.
pub struct Formula<F>(pub EngineSpec, pub F);

impl<F: Fn(&ArrayView5<'_, f32>, Index) -> f32 + Send> Engine for Formula<F> {
    fn spec(&self) -> &EngineSpec {
        &self.0
    }
    fn infer(
        &mut self,
        patches: ArrayView5<'_, f32>,
        mut logits: ArrayViewMut5<'_, f32>,
    ) -> Result<(), EngineError> {
        logits.indexed_iter_mut().for_each(|(index, out)| *out = (self.1)(&patches, index));
        Ok(())
    }
}

/// An engine whose every answer passes through a hand that may count or spoil it.
pub struct Spoiled<F>(pub VoxelwiseEngine, pub F);

impl<F: FnMut(&mut ArrayViewMut5<'_, f32>) + Send> Engine for Spoiled<F> {
    fn spec(&self) -> &EngineSpec {
        self.0.spec()
    }
    fn infer(
        &mut self,
        patches: ArrayView5<'_, f32>,
        mut logits: ArrayViewMut5<'_, f32>,
    ) -> Result<(), EngineError> {
        self.0.infer(patches, logits.view_mut())?;
        (self.1)(&mut logits);
        Ok(())
    }
}

/// A network to be run by real backends.
pub mod tiny {
    use ndarray::Array4;

    use crate::EngineSpec;
    use crate::conformance::GoldenPatch;

    /// A tiny U-Net of the five operators of nnU-Net (tests/data/segment/make_onnx.py).
    pub const TINY: &[u8] = include_bytes!("../../../tests/data/segment/tiny.onnx");

    /// The shape of [`TINY`].
    pub fn spec() -> EngineSpec {
        EngineSpec { batch: 1, channels: 4, classes: 4, patch: [8, 16, 16] }
    }

    /// A patch, and what torch says of [`TINY`] at every second voxel of it.
    pub fn golden() -> GoldenPatch {
        let floats = |bytes: &[u8], shape: [usize; 4]| {
            let (words, _) = bytes.as_chunks::<4>();
            let values = words.iter().map(|word| f32::from_le_bytes(*word)).collect();
            Array4::from_shape_vec(shape, values).unwrap()
        };
        let input = include_bytes!("../../../tests/data/segment/tiny_input.f32");
        let expected = include_bytes!("../../../tests/data/segment/tiny_expected.f32");
        GoldenPatch {
            input: floats(input, [4, 8, 16, 16]),
            expected: floats(expected, [4, 4, 8, 8]),
            stride: [2, 2, 2],
            regions: false,
        }
    }
}
