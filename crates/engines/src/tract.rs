//! ONNX networks on the CPU, by tract: pure Rust, `f32`.
//!
//! Owns one compiled graph of fixed shape and its threads. Refuses dynamic shapes and
//! anything but one input and one output. The graph takes one patch: a batch is run patch by
//! patch, which costs a CPU nothing and gives the same bits for any batch.

use std::sync::Arc;

use ndarray::{ArrayView4, ArrayView5, ArrayViewMut4, ArrayViewMut5, Axis};
use tract_linalg::multithread::Executor;
use tract_onnx::prelude::*;

use super::{Engine, EngineError, EngineSpec};

/// A network compiled by tract.
#[derive(Debug)]
pub struct OnnxEngine {
    spec: EngineSpec,
    plan: Arc<TypedRunnableModel>,
}

impl OnnxEngine {
    /// Compiles the ONNX file `bytes` for `spec` on `threads` threads (0 counts as 1);
    /// `name` is for messages.
    ///
    /// # Errors
    /// [`EngineError::Backend`] if tract cannot read it, [`EngineError::Shape`] if its input
    /// or output is not what `spec` says.
    pub fn load(
        bytes: &[u8],
        name: &str,
        spec: &EngineSpec,
        threads: usize,
    ) -> Result<OnnxEngine, EngineError> {
        let mut reader = bytes;
        let one = EngineSpec { batch: 1, ..spec.clone() };
        let model = tract_onnx::onnx()
            .model_for_read(&mut reader)
            .and_then(|model| model.with_input_fact(0, input_fact(&one)))
            .and_then(|model| model.into_optimized())
            .map_err(|error| backend(&format!("{name}: {error:#}")))?;
        check_shape(&model, name, &one)?;
        let options = RunOptions { executor: Some(executor(threads)?), ..RunOptions::default() };
        let plan = model
            .into_runnable_with_options(&options)
            .map_err(|error| backend(&format!("{name}: {error:#}")))?;
        Ok(OnnxEngine { spec: spec.clone(), plan })
    }
}

impl Engine for OnnxEngine {
    fn spec(&self) -> &EngineSpec {
        &self.spec
    }

    fn infer(
        &mut self,
        patches: ArrayView5<'_, f32>,
        mut logits: ArrayViewMut5<'_, f32>,
    ) -> Result<(), EngineError> {
        assert_eq!(patches.shape(), self.spec.input_shape(), "patches as the spec says");
        assert_eq!(logits.shape(), self.spec.output_shape(), "logits as the spec says");
        for (patch, out) in patches.outer_iter().zip(logits.outer_iter_mut()) {
            self.infer_one(patch, out)?;
        }
        Ok(())
    }
}

impl OnnxEngine {
    fn infer_one(
        &self,
        patch: ArrayView4<'_, f32>,
        mut logits: ArrayViewMut4<'_, f32>,
    ) -> Result<(), EngineError> {
        let input: Tensor = patch.insert_axis(Axis(0)).to_owned().into();
        let output = self.plan.run(tvec!(input.into())).map_err(|e| backend(&format!("{e:#}")))?;
        let found = output[0].to_plain_array_view::<f32>().map_err(|e| backend(&e.to_string()))?;
        let found = found
            .into_dimensionality::<ndarray::Ix5>()
            .map_err(|error| backend(&format!("the output is not five-dimensional: {error}")))?;
        logits.assign(&found.index_axis(Axis(0), 0));
        Ok(())
    }
}

fn input_fact(spec: &EngineSpec) -> InferenceFact {
    f32::fact(spec.input_shape()).into()
}

/// A pool of its own, so that engines of different sizes do not share a queue. Built here
/// because tract's own constructor panics if threads cannot be had.
fn executor(threads: usize) -> Result<Executor, EngineError> {
    if threads <= 1 {
        return Ok(Executor::SingleThread);
    }
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|n| format!("engine-{n}"))
        .build()
        .map(|pool| Executor::MultiThread(Arc::new(pool)))
        .map_err(|error| backend(&format!("{threads} threads: {error}")))
}

fn check_shape(model: &TypedModel, name: &str, spec: &EngineSpec) -> Result<(), EngineError> {
    let wrong = |reason: String| EngineError::Shape { file: name.to_owned(), reason };
    if model.inputs.len() != 1 || model.outputs.len() != 1 {
        let (inputs, outputs) = (model.inputs.len(), model.outputs.len());
        return Err(wrong(format!("{inputs} inputs and {outputs} outputs, expected one each")));
    }
    let fact = model.output_fact(0).map_err(|error| backend(&error.to_string()))?;
    let found = fact.shape.as_concrete();
    if fact.datum_type != f32::datum_type() || found != Some(&spec.output_shape()[..]) {
        let expected = spec.output_shape();
        return Err(wrong(format!("its output is {fact:?}, the manifest says f32 {expected:?}")));
    }
    Ok(())
}

fn backend(reason: &str) -> EngineError {
    EngineError::Backend { backend: "tract", reason: reason.to_owned() }
}

#[cfg(test)]
mod tests;
