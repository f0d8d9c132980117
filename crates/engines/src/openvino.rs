//! ONNX networks on the CPU, by Intel's OpenVINO, loaded at run time: `f32` and `bf16`.
//!
//! Owns one compiled network and its requests. Refuses a precision that the processor would
//! only imitate, and a network that is not of the shape promised.

use std::path::Path;

use ndarray::{Array5, ArrayView5, ArrayViewMut4, ArrayViewMut5, Axis};
use openvino::{
    CompiledModel, Core, DeviceType, ElementType, InferRequest, InferenceError, Model, Node,
    PropertyKey, RwPropertyKey, Shape, Tensor,
};

use super::backend::Precision;
use super::{Engine, EngineError, EngineSpec};

pub(crate) mod library;

/// The library's own wait ends silently after a time, so it is given one that never comes
/// (eleven days); a stalled process is ended from outside.
const WAIT_MS: i64 = 1_000_000_000;

/// Requests of one engine: one is filled or read while the other runs.
const MAX_LANES: usize = 2;

/// How a network is compiled.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options<'a> {
    /// The numbers it is computed in.
    pub precision: Precision,
    /// Threads that share one patch, at least 1. Their number changes the last bits.
    pub threads: usize,
    /// Folder for compiled networks; `None` keeps none.
    pub cache: Option<&'a Path>,
}

/// A network compiled by OpenVINO.
pub(crate) struct OpenVinoEngine {
    spec: EngineSpec,
    lanes: Vec<Lane>,
    /// The requests need it alive.
    _network: CompiledModel,
}

impl OpenVinoEngine {
    /// Compiles the ONNX file `bytes`, whose own batch is 1, for `spec`; `name` is for
    /// messages. A batch of more runs patch by patch, copies beside the work.
    ///
    /// # Errors
    /// [`EngineError::Backend`] if the library is not there, cannot read the file, or the
    /// processor lacks the precision; [`EngineError::Shape`] if the network is not `spec`.
    pub(crate) fn load(
        bytes: &[u8],
        name: &str,
        spec: &EngineSpec,
        options: &Options<'_>,
    ) -> Result<OpenVinoEngine, EngineError> {
        library::open().map_err(|reason| backend(&reason))?;
        let mut core = Core::new().map_err(|error| backend(&error.to_string()))?;
        check_precision(&core, options.precision)?;
        let model = core.read_model_from_buffer(bytes, None).map_err(|e| named(name, &e))?;
        check_shape(&model, name, spec)?;
        set_up(&mut core, options)?;
        let mut network =
            core.compile_model(&model, DeviceType::CPU).map_err(|e| named(name, &e))?;
        check_compiled(&network, options.precision)?;
        let lanes = (0..spec.batch.min(MAX_LANES))
            .map(|_| Lane::new(&mut network))
            .collect::<Result<_, _>>()?;
        Ok(OpenVinoEngine { spec: spec.clone(), lanes, _network: network })
    }

    fn run(
        &mut self,
        patches: ArrayView5<'_, f32>,
        logits: &mut ArrayViewMut5<'_, f32>,
    ) -> Result<(), InferenceError> {
        let lanes = self.lanes.len();
        for at in 0..self.spec.batch + lanes {
            let lane = &mut self.lanes[at % lanes];
            if let Some(done) = at.checked_sub(lanes) {
                lane.collect(logits.index_axis_mut(Axis(0), done))?;
            }
            if at < self.spec.batch {
                lane.start(patches.index_axis(Axis(0), at))?;
            }
        }
        Ok(())
    }
}

impl Engine for OpenVinoEngine {
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
        let ran = self.run(patches, &mut logits);
        self.settled(ran)
    }

    fn infer_with(
        &mut self,
        patches: ArrayView5<'_, f32>,
        room: &mut Array5<f32>,
        look: &mut dyn FnMut(ArrayView5<'_, f32>),
    ) -> Result<(), EngineError> {
        if self.spec.batch > 1 {
            self.infer(patches, room.view_mut())?;
            look(room.view());
            return Ok(());
        }
        assert_eq!(patches.shape(), self.spec.input_shape(), "patches as the spec says");
        let shape = self.spec.output_shape();
        let lane = &mut self.lanes[0];
        let mut ran = lane.start(patches.index_axis(Axis(0), 0));
        if ran.is_ok() {
            ran = lane.logits().map(|values| look(view(shape, values)));
        }
        self.settled(ran)
    }
}

impl OpenVinoEngine {
    /// After a failure nothing runs any more: it would refuse the next call.
    fn settled(&mut self, ran: Result<(), InferenceError>) -> Result<(), EngineError> {
        if ran.is_err() {
            for lane in &mut self.lanes {
                let _ = lane.request.wait(WAIT_MS);
            }
        }
        ran.map_err(|error| backend(&error.to_string()))
    }
}

fn view(shape: [usize; 5], values: &[f32]) -> ArrayView5<'_, f32> {
    let Ok(view) = ArrayView5::from_shape(shape, values) else {
        unreachable!("the network's output was checked when it was loaded")
    };
    view
}

/// One request and its buffers, which are the library's own.
struct Lane {
    request: InferRequest,
    input: Tensor,
    output: Tensor,
}

impl Lane {
    fn new(network: &mut CompiledModel) -> Result<Lane, EngineError> {
        let mut create = || {
            let request = network.create_infer_request()?;
            let (input, output) = (request.get_input_tensor()?, request.get_output_tensor()?);
            Ok(Lane { request, input, output })
        };
        create().map_err(|error: InferenceError| backend(&error.to_string()))
    }

    fn start(&mut self, patch: ndarray::ArrayView4<'_, f32>) -> Result<(), InferenceError> {
        let buffer = self.input.get_data_mut::<f32>()?;
        match patch.as_slice() {
            Some(values) => buffer.copy_from_slice(values),
            None => buffer.iter_mut().zip(&patch).for_each(|(to, from)| *to = *from),
        }
        self.request.infer_async()
    }

    /// Waits for the answer.
    fn logits(&mut self) -> Result<&[f32], InferenceError> {
        self.request.wait(WAIT_MS)?;
        self.output.get_data::<f32>()
    }

    fn collect(&mut self, mut logits: ArrayViewMut4<'_, f32>) -> Result<(), InferenceError> {
        let buffer = self.logits()?;
        match logits.as_slice_mut() {
            Some(values) => values.copy_from_slice(buffer),
            None => logits.iter_mut().zip(buffer).for_each(|(to, from)| *to = *from),
        }
        Ok(())
    }
}

/// All threads on one patch: measured as fast as a stream per thread (bf16) or faster (f32),
/// with the memory of one.
fn set_up(core: &mut Core, options: &Options<'_>) -> Result<(), EngineError> {
    let mut properties = vec![
        (RwPropertyKey::HintInferencePrecision, options.precision.name().to_owned()),
        (RwPropertyKey::NumStreams, "1".to_owned()),
        (RwPropertyKey::InferenceNumThreads, options.threads.max(1).to_string()),
    ];
    if let Some(folder) = options.cache {
        let folder = folder.join("openvino").to_string_lossy().into_owned();
        properties.push((RwPropertyKey::CacheDir, folder));
    }
    for (key, value) in properties {
        core.set_property(&DeviceType::CPU, &key, &value)
            .map_err(|error| backend(&format!("{} = {value}: {error}", key.as_ref())))?;
    }
    Ok(())
}

/// OpenVINO imitates bf16 on processors that only convert it, slower than f32 and less exact.
fn check_precision(core: &Core, precision: Precision) -> Result<(), EngineError> {
    match precision {
        Precision::F32 => return Ok(()),
        Precision::Bf16 => {}
        Precision::F16 => return Err(backend("f16 is for GPUs; choose bf16 or f32")),
    }
    let able = core
        .get_property(&DeviceType::CPU, &PropertyKey::DeviceCapabilities)
        .map_err(|error| backend(&error.to_string()))?;
    if able.split_whitespace().any(|one| one == "BF16") && multiplies_bf16() {
        return Ok(());
    }
    Err(backend("this processor does not multiply bf16 (no AVX512-BF16, no AMX); choose f32"))
}

#[cfg(target_arch = "x86_64")]
fn multiplies_bf16() -> bool {
    // Every processor with AMX-BF16 has it too.
    std::arch::is_x86_feature_detected!("avx512bf16")
}

#[cfg(not(target_arch = "x86_64"))]
fn multiplies_bf16() -> bool {
    true
}

/// What was asked for is what runs.
fn check_compiled(network: &CompiledModel, precision: Precision) -> Result<(), EngineError> {
    let key = PropertyKey::Rw(RwPropertyKey::HintInferencePrecision);
    let found = network.get_property(&key).map_err(|error| backend(&error.to_string()))?;
    if found == precision.name() {
        return Ok(());
    }
    Err(backend(&format!("it would compute in {found}, not in {precision} as asked")))
}

fn check_shape(model: &Model, name: &str, spec: &EngineSpec) -> Result<(), EngineError> {
    let wrong = |reason: String| EngineError::Shape { file: name.to_owned(), reason };
    let failed = |error: InferenceError| named(name, &error);
    let inputs = model.get_inputs_len().map_err(failed)?;
    let outputs = model.get_outputs_len().map_err(failed)?;
    if (inputs, outputs) != (1, 1) {
        return Err(wrong(format!("{inputs} inputs and {outputs} outputs, expected one each")));
    }
    if model.is_dynamic() {
        return Err(wrong("its shape is not fixed".to_owned()));
    }
    let one = EngineSpec { batch: 1, ..spec.clone() };
    let input = model.get_input_by_index(0).map_err(failed)?;
    let output = model.get_output_by_index(0).map_err(failed)?;
    let promised = [("input", input, one.input_shape()), ("output", output, one.output_shape())];
    for (what, node, expected) in promised {
        let found = described(&node).map_err(failed)?;
        if found != (ElementType::F32, expected.map(|n| n as i64).to_vec()) {
            let (element, shape) = found;
            return Err(wrong(format!(
                "its {what} is {element} {shape:?}, the manifest says f32 {expected:?}"
            )));
        }
    }
    Ok(())
}

fn described(node: &Node) -> Result<(ElementType, Vec<i64>), InferenceError> {
    let shape: Shape = node.get_shape()?;
    Ok((node.get_element_type()?, shape.get_dimensions().to_vec()))
}

fn named(name: &str, error: &InferenceError) -> EngineError {
    backend(&format!("{name}: {error}"))
}

fn backend(reason: &str) -> EngineError {
    EngineError::Backend { backend: "openvino", reason: reason.to_owned() }
}

#[cfg(test)]
mod tests;
