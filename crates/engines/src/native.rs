//! ONNX networks on the CPU, by this program's own `hepalert-native`: `f32` and `bf16`.
//!
//! Owns one network and the memory of its patches. Refuses a precision that the processor would
//! only imitate, and a network that is not of the shape promised.

use hepalert_native::{Level, Network, Options, Scratch};
use ndarray::{ArrayView5, ArrayViewMut5};

use super::{Engine, EngineError, EngineSpec};

pub(crate) use hepalert_native::Precision;

/// A network that is ready to run.
#[derive(Debug)]
pub(crate) struct NativeEngine {
    spec: EngineSpec,
    network: Network,
    /// One for all threads, or with a batch one for each patch at a time.
    scratches: Vec<Scratch>,
}

impl NativeEngine {
    /// Plans the ONNX file `bytes`, whose own batch is 1, for `spec` on `threads` threads (0
    /// counts as 1); `name` is for messages.
    ///
    /// # Errors
    /// [`EngineError::Backend`] names the node that cannot be run; [`EngineError::Shape`] if the
    /// network is not `spec`.
    pub(crate) fn load(
        bytes: &[u8],
        name: &str,
        spec: &EngineSpec,
        threads: usize,
        precision: Precision,
    ) -> Result<NativeEngine, EngineError> {
        let options = Options { threads, precision, level: Level::widest() };
        let network =
            Network::load(bytes, &options).map_err(|error| backend(&format!("{name}: {error}")))?;
        check_shape(&network, name, spec)?;
        let scratches = match spec.batch {
            0 | 1 => vec![network.scratch()],
            patches => network.scratches(patches),
        };
        Ok(NativeEngine { spec: spec.clone(), network, scratches })
    }

    /// One patch on all threads, or of several, each on threads of its own.
    fn run(&mut self, patches: &[f32], logits: &mut [f32]) {
        match &mut self.scratches[..] {
            [scratch] if self.spec.batch == 1 => self.network.run(patches, logits, scratch),
            scratches => self.network.run_many(patches, logits, scratches),
        }
    }
}

impl Engine for NativeEngine {
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
        let patches = patches.as_standard_layout();
        let Some(patches) = patches.as_slice() else { unreachable!("made standard above") };
        if let Some(logits) = logits.as_slice_mut() {
            self.run(patches, logits);
        } else {
            let mut own = vec![0.0; logits.len()];
            self.run(patches, &mut own);
            logits.iter_mut().zip(own).for_each(|(to, from)| *to = from);
        }
        Ok(())
    }
}

fn check_shape(network: &Network, name: &str, spec: &EngineSpec) -> Result<(), EngineError> {
    let [_, input @ ..] = spec.input_shape();
    let [_, output @ ..] = spec.output_shape();
    for (what, found, expected) in
        [("input", network.input_shape(), input), ("output", network.output_shape(), output)]
    {
        if found != expected {
            let reason = format!("its {what} is {found:?}, the manifest says {expected:?}");
            return Err(EngineError::Shape { file: name.to_owned(), reason });
        }
    }
    Ok(())
}

fn backend(reason: &str) -> EngineError {
    EngineError::Backend { backend: "native", reason: reason.to_owned() }
}

#[cfg(all(test, feature = "tract"))]
mod oracle;
#[cfg(test)]
mod tests;
