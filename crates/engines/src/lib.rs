//! The device seam: a compiled network that maps patches to logits.
//!
//! Owns the [`Engine`] trait, what an engine says of itself, and the backends behind it. Refuses
//! to know what the channels mean: what a network is for is said by its bundle
//! (`hepalert-bundles`), and reading its logits belongs to the cascade.

use ndarray::{Array5, ArrayView5, ArrayViewMut5};

pub mod backend;
pub mod conformance;
mod dispatch;
#[cfg(any(test, debug_assertions))]
pub mod fake;
mod native;
#[cfg(feature = "openvino")]
mod openvino;
pub mod tensorrt;
#[cfg(feature = "tract")]
mod tract;

/// The fixed shape of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineSpec {
    /// Patches per call; [`Engine::infer`] takes exactly this many.
    pub batch: usize,
    /// Input channels, one per phase.
    pub channels: usize,
    /// Output classes.
    pub classes: usize,
    /// Patch size `[z, y, x]` in voxels.
    pub patch: [usize; 3],
}

impl EngineSpec {
    /// Shape of the input array `[batch, channel, z, y, x]`.
    pub fn input_shape(&self) -> [usize; 5] {
        let [z, y, x] = self.patch;
        [self.batch, self.channels, z, y, x]
    }

    /// Shape of the output array `[batch, class, z, y, x]`.
    pub fn output_shape(&self) -> [usize; 5] {
        let [z, y, x] = self.patch;
        [self.batch, self.classes, z, y, x]
    }
}

/// Why an engine could not be loaded or did not answer as it must.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A file of the bundle is missing or cannot be read.
    #[error("{file}: {reason}; copy the whole bundle again")]
    File {
        /// The file, relative to the bundle.
        file: String,
        /// What went wrong.
        reason: String,
    },
    /// The folder holds no manifest.
    #[error("{0}: no engine bundle lies there; name the folder that holds manifest.json")]
    NoBundle(String),
    /// The manifest is not one this version understands.
    #[error("{file}: {reason}")]
    Manifest {
        /// The manifest.
        file: String,
        /// Which field, what was expected, and what to do.
        reason: String,
    },
    /// The network does not have the shape its manifest promises.
    #[error("{file}: {reason}; this bundle was packed wrongly, ask for a new one")]
    Shape {
        /// The network's file.
        file: String,
        /// What was promised and what was found.
        reason: String,
    },
    /// The backend failed while loading or running.
    #[error("{backend}: {reason}")]
    Backend {
        /// `native`, `tract`, `openvino`, `tensorrt`.
        backend: &'static str,
        /// The backend's own words.
        reason: String,
    },
    /// The network answered a study with something that cannot be used.
    #[error("{reason}")]
    Answer {
        /// What it was, and what to do.
        reason: String,
    },
    /// The golden patch did not give the expected logits.
    #[error("self-test failed: {reason}; the engine is not used")]
    SelfTest {
        /// What differed, with figures.
        reason: String,
    },
}

/// A network ready to run. One thread calls it at a time, not always the same one nor the one
/// that loaded it; the caller owns the buffers.
pub trait Engine: Send {
    /// The shapes that [`Engine::infer`] takes.
    fn spec(&self) -> &EngineSpec;

    /// Runs one batch: `patches` is `[batch, channel, z, y, x]`, normalised; `logits` is
    /// `[batch, class, z, y, x]` and is overwritten whole.
    ///
    /// # Errors
    /// [`EngineError::Backend`] if the backend fails. NaN outputs are not checked here.
    fn infer(
        &mut self,
        patches: ArrayView5<'_, f32>,
        logits: ArrayViewMut5<'_, f32>,
    ) -> Result<(), EngineError>;

    /// [`Engine::infer`] that avoids a copy: `visit` is given the logits where they lie,
    /// once, if there is no error. That is the caller's `scratch`, or the engine's own memory;
    /// in that case `scratch` holds nothing of meaning.
    ///
    /// # Errors
    /// As [`Engine::infer`].
    fn infer_with(
        &mut self,
        patches: ArrayView5<'_, f32>,
        scratch: &mut Array5<f32>,
        visit: &mut dyn FnMut(ArrayView5<'_, f32>),
    ) -> Result<(), EngineError> {
        self.infer(patches, scratch.view_mut())?;
        visit(scratch.view());
        Ok(())
    }

    /// Where the work is done: whoever has other work decides by it whether to do that
    /// meanwhile or afterwards.
    fn placement(&self) -> Placement {
        Placement::Cpu
    }
}

/// Where an engine works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// On all cores of the CPU: other work beside it takes more from it than it gains.
    Cpu,
    /// On a device of its own: the cores are free meanwhile.
    Accelerator,
}
