//! A deserialised plan at work: patches in, logits out, two at a time on their way.
//!
//! Owns the buffers and the order of copies and runs. Refuses a plan whose input and output
//! are not what the manifest promises.
//!
//! Of a batch, patch `n + 1` is filled and copied in while `n` is computed and `n - 1` is
//! copied out: two lanes of buffers, three streams, events between them. Where CPU and GPU
//! share memory there is nothing to copy: the GPU works in the pinned blocks themselves.

use std::ffi::CString;
use std::sync::Arc;

use cudarc::driver::{CudaEvent, CudaStream};
use half::slice::HalfFloatSliceExt;
use ndarray::{ArrayView5, ArrayViewMut5, Axis, Slice};

use super::abi::{Kind, Loaded, Tensor};
use super::device::{Device, Memory, Pinned, words};
use super::failed;
use crate::{Engine, EngineError, EngineSpec, Placement};

/// How patches reach the GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transfer {
    /// Copied to memory of the GPU and back.
    Copied,
    /// Read and written by the GPU where they lie.
    Mapped,
}

/// One end of the network, for one run.
struct Port {
    name: CString,
    kind: Kind,
    values: usize,
}

impl Port {
    fn bytes(&self) -> usize {
        self.values * if self.kind == Kind::F16 { 2 } else { 4 }
    }
}

/// A patch and its logits on their way.
struct Lane {
    input: Pinned,
    output: Pinned,
    /// Their copies on the GPU; none where it reads the pinned blocks.
    copies: Option<(Memory, Memory)>,
    arrived: CudaEvent,
    computed: CudaEvent,
    returned: CudaEvent,
}

struct Streams {
    bring: Arc<CudaStream>,
    compute: Arc<CudaStream>,
    fetch: Arc<CudaStream>,
}

/// A network on the GPU.
pub(super) struct Network {
    spec: EngineSpec,
    /// Patches of one run, as the plan was built.
    per_run: usize,
    input: Port,
    output: Port,
    device: Device,
    streams: Streams,
    // Below the streams: drop waits for them before any of these goes.
    loaded: Loaded,
    lanes: [Lane; 2],
}

impl Network {
    /// Checks the plan against `spec`, makes its context and buffers. `name` is for messages.
    pub(super) fn new(
        mut loaded: Loaded,
        device: &Device,
        transfer: Transfer,
        name: &str,
        spec: &EngineSpec,
    ) -> Result<Network, EngineError> {
        let (input, output, per_run) = ports(loaded.tensors(), name, spec)?;
        device.bind().map_err(failed)?;
        let scratch_mib = loaded.scratch_bytes() >> 20;
        loaded.start().map_err(|reason| {
            let free = device.memory().map_or(0, |(free, _)| free >> 20);
            failed(format!("{name}: {reason}; it needs {scratch_mib} MiB, {free} MiB are free"))
        })?;
        let lane = || Lane::new(device, transfer, &input, &output).map_err(failed);
        let lanes = [lane()?, lane()?];
        let stream = || device.stream().map_err(failed);
        let streams = Streams { bring: stream()?, compute: stream()?, fetch: stream()? };
        let (spec, device) = (spec.clone(), device.clone());
        Ok(Network { spec, per_run, input, output, device, streams, loaded, lanes })
    }

    /// Fills lane `at` with the patches and sets it going.
    fn send(&mut self, at: usize, patches: ArrayView5<'_, f32>) -> Result<(), String> {
        let lane = &mut self.lanes[at];
        match self.input.kind {
            Kind::F16 => fill(lane.input.values_mut::<half::f16>(), patches, half::f16::from_f32),
            _ => fill(lane.input.values_mut::<f32>(), patches, |value| value),
        }
        let Streams { bring, compute, fetch } = &self.streams;
        if let Some((input, _)) = &mut lane.copies {
            // SAFETY: the block is next written by `send` for this lane, after `collect` has
            // waited for the run; drop and errors wait for all streams.
            unsafe { input.copy_in(&lane.input, bring) }?;
            lane.arrived.record(bring).map_err(words)?;
            compute.wait(&lane.arrived).map_err(words)?;
        }
        let (from, to) = match &lane.copies {
            Some((input, output)) => (input.address(), output.address()),
            None => (lane.input.address(), lane.output.address()),
        };
        let bindings = [(self.input.name.as_c_str(), from), (self.output.name.as_c_str(), to)];
        // SAFETY: both addresses are blocks of the size the plan's tensors have, which live
        // as long as `self`; the stream is one of this context, bound by `infer`.
        unsafe { self.loaded.enqueue(&bindings, compute.cu_stream().cast()) }?;
        lane.computed.record(compute).map_err(words)?;
        if let Some((_, output)) = &lane.copies {
            fetch.wait(&lane.computed).map_err(words)?;
            // SAFETY: the block is next read by `collect`, after it has waited.
            unsafe { output.copy_out(&mut lane.output, fetch) }?;
            lane.returned.record(fetch).map_err(words)?;
        }
        Ok(())
    }

    /// Waits for lane `at` and takes its logits.
    fn collect(&mut self, at: usize, logits: ArrayViewMut5<'_, f32>) -> Result<(), String> {
        let lane = &self.lanes[at];
        let last = if lane.copies.is_some() { &lane.returned } else { &lane.computed };
        last.synchronize().map_err(words)?;
        match self.output.kind {
            Kind::F16 => take_halves(lane.output.values(), logits),
            _ => take(lane.output.values(), logits),
        }
        Ok(())
    }

    fn run(
        &mut self,
        patches: ArrayView5<'_, f32>,
        mut logits: ArrayViewMut5<'_, f32>,
    ) -> Result<(), String> {
        self.device.bind()?;
        let (runs, per_run) = (self.spec.batch / self.per_run, self.per_run);
        let part = |run: usize| Slice::from(run * per_run..(run + 1) * per_run);
        for run in 0..runs + self.lanes.len() {
            if let Some(over) = run.checked_sub(self.lanes.len()) {
                self.collect(over % 2, logits.slice_axis_mut(Axis(0), part(over)))?;
            }
            if run < runs {
                self.send(run % 2, patches.slice_axis(Axis(0), part(run)))?;
            }
        }
        Ok(())
    }

    /// Waits until the GPU has let go of every buffer.
    fn wait_for_gpu(&self) {
        for stream in [&self.streams.bring, &self.streams.compute, &self.streams.fetch] {
            // Fails only when the context is lost, and its work with it.
            let _ = stream.synchronize();
        }
    }
}

impl Engine for Network {
    fn spec(&self) -> &EngineSpec {
        &self.spec
    }

    fn infer(
        &mut self,
        patches: ArrayView5<'_, f32>,
        logits: ArrayViewMut5<'_, f32>,
    ) -> Result<(), EngineError> {
        assert_eq!(patches.shape(), self.spec.input_shape(), "patches as the spec says");
        assert_eq!(logits.shape(), self.spec.output_shape(), "logits as the spec says");
        let result = self.run(patches, logits);
        if result.is_err() {
            self.wait_for_gpu();
        }
        result.map_err(failed)
    }

    fn placement(&self) -> Placement {
        Placement::Accelerator
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.wait_for_gpu();
    }
}

impl Lane {
    fn new(
        device: &Device,
        transfer: Transfer,
        input: &Port,
        output: &Port,
    ) -> Result<Lane, String> {
        let copies = match transfer {
            Transfer::Mapped => None,
            Transfer::Copied => {
                Some((Memory::new(device, input.bytes())?, Memory::new(device, output.bytes())?))
            }
        };
        Ok(Lane {
            input: Pinned::new(device, input.bytes())?,
            output: Pinned::new(device, output.bytes())?,
            copies,
            arrived: device.event()?,
            computed: device.event()?,
            returned: device.event()?,
        })
    }
}

/// The one input and the one output, and how many patches the plan takes at once.
fn ports(
    tensors: Vec<Tensor>,
    name: &str,
    spec: &EngineSpec,
) -> Result<(Port, Port, usize), EngineError> {
    let wrong = |reason: String| EngineError::Shape { file: name.to_owned(), reason };
    let (inputs, outputs): (Vec<Tensor>, Vec<Tensor>) =
        tensors.into_iter().partition(|tensor| tensor.is_input);
    let counts = (inputs.len(), outputs.len());
    let (Ok([input]), Ok([output])) =
        (<[Tensor; 1]>::try_from(inputs), <[Tensor; 1]>::try_from(outputs))
    else {
        let (inputs, outputs) = counts;
        return Err(wrong(format!("{inputs} inputs and {outputs} outputs, expected one each")));
    };
    let per_run = input.shape.first().copied().and_then(|n| usize::try_from(n).ok());
    let per_run = per_run.filter(|&n| n > 0 && spec.batch.is_multiple_of(n));
    let Some(per_run) = per_run else {
        return Err(wrong(format!("its input is {:?}, not of a fixed batch", input.shape)));
    };
    let one = EngineSpec { batch: per_run, ..spec.clone() };
    let port = |tensor: Tensor, promised: [usize; 5]| {
        let equal = tensor.shape.iter().copied().eq(promised.map(|n| n as i64));
        if !equal || matches!(tensor.kind, Kind::Other(_)) {
            let Tensor { name, kind, shape, .. } = tensor;
            return Err(wrong(format!(
                "its tensor {} is {kind:?} {shape:?}, the manifest says f32 or f16 {promised:?}",
                name.to_string_lossy()
            )));
        }
        Ok(Port { name: tensor.name, kind: tensor.kind, values: promised.iter().product() })
    };
    Ok((port(input, one.input_shape())?, port(output, one.output_shape())?, per_run))
}

fn fill<T: Copy>(block: &mut [T], patches: ArrayView5<'_, f32>, convert: impl Fn(f32) -> T) {
    assert_eq!(block.len(), patches.len(), "one run of patches");
    for (to, &from) in block.iter_mut().zip(patches) {
        *to = convert(from);
    }
}

fn take(block: &[f32], mut logits: ArrayViewMut5<'_, f32>) {
    match logits.as_slice_mut() {
        Some(logits) => logits.copy_from_slice(block),
        None => logits.iter_mut().zip(block).for_each(|(to, &from)| *to = from),
    }
}

fn take_halves(block: &[half::f16], mut logits: ArrayViewMut5<'_, f32>) {
    match logits.as_slice_mut() {
        Some(logits) => block.convert_to_f32_slice(logits),
        None => logits.iter_mut().zip(block).for_each(|(to, from)| *to = from.to_f32()),
    }
}
