//! The GPU through the CUDA driver: context, streams, device memory and pinned memory.
//!
//! Owns every call into CUDA. Refuses to start without a driver instead of panicking, which
//! is what the driver crate does when it is not asked first.

use std::ffi::c_void;
use std::sync::Arc;

use cudarc::driver::{CudaContext, CudaEvent, CudaStream, DriverError, result, sys};

/// The only GPU there is on a Jetson, the first one elsewhere.
const ORDINAL: usize = 0;

/// One GPU. Clones share the context.
#[derive(Debug, Clone)]
pub(super) struct Device {
    context: Arc<CudaContext>,
    /// Its name, as CUDA gives it.
    pub name: String,
    /// Compute capability: (8, 7) is Orin, (11, 0) Thor.
    pub capability: (i32, i32),
    /// Whether CPU and GPU share their memory, as on every Jetson.
    pub integrated: bool,
}

impl Device {
    /// Opens the GPU; a sentence says what is missing.
    pub(super) fn open() -> Result<Device, String> {
        // SAFETY: opens and closes libcuda.so, whose initialisers are NVIDIA's.
        if !unsafe { sys::is_culib_present() } {
            return Err(
                "the CUDA driver (libcuda.so) is not on this machine; on a Jetson it comes \
                        with JetPack, elsewhere with NVIDIA's driver"
                    .to_owned(),
            );
        }
        let said = |error: DriverError| format!("CUDA finds no usable GPU: {}", words(error));
        let context = CudaContext::new(ORDINAL).map_err(said)?;
        let integrated = context.attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_INTEGRATED);
        Ok(Device {
            name: context.name().map_err(said)?,
            capability: context.compute_capability().map_err(said)?,
            integrated: integrated.map_err(said)? == 1,
            context,
        })
    }

    /// Makes this thread use the GPU; every thread must, before it calls TensorRT.
    pub(super) fn bind(&self) -> Result<(), String> {
        self.context.bind_to_thread().map_err(words)
    }

    /// Free and total bytes. On a Jetson the page cache counts as taken, so that less is
    /// free than could be had.
    pub(super) fn memory(&self) -> Result<(usize, usize), String> {
        self.context.mem_get_info().map_err(words)
    }

    /// A stream that does not wait for the others.
    pub(super) fn stream(&self) -> Result<Arc<CudaStream>, String> {
        self.context.new_stream().map_err(words)
    }

    /// An event; who waits for it sleeps instead of spinning.
    pub(super) fn event(&self) -> Result<CudaEvent, String> {
        let flags = sys::CUevent_flags::CU_EVENT_BLOCKING_SYNC;
        self.context.new_event(Some(flags)).map_err(words)
    }
}

/// What the driver says of an error.
pub(super) fn words(error: DriverError) -> String {
    let name = error.error_name().map(|name| name.to_string_lossy().into_owned());
    let text = error.error_string().map(|text| text.to_string_lossy().into_owned());
    match (name, text) {
        (Ok(name), Ok(text)) => format!("{name}: {text}"),
        _ => format!("CUDA error {}", error.0 as u32),
    }
}

/// Numbers that any bytes are a value of.
pub(super) trait Plain: Copy {}
impl Plain for f32 {}
impl Plain for u8 {}
impl Plain for half::f16 {}

/// Pinned host memory, cached by the CPU, that the GPU can read and write in place.
#[derive(Debug)]
pub(super) struct Pinned {
    start: *mut c_void,
    address: sys::CUdeviceptr,
    bytes: usize,
    device: Device,
}

// SAFETY: pinned memory belongs to the process, not to a thread.
unsafe impl Send for Pinned {}

impl Pinned {
    /// `bytes` zeros.
    pub(super) fn new(device: &Device, bytes: usize) -> Result<Pinned, String> {
        let failed = |error| format!("{bytes} bytes of pinned memory: {}", words(error));
        device.bind()?;
        // SAFETY: the context is current; the block is freed once, by drop.
        let start = unsafe { result::malloc_host(bytes, sys::CU_MEMHOSTALLOC_DEVICEMAP) };
        let start = start.map_err(failed)?;
        let mut block = Pinned { start, address: 0, bytes, device: device.clone() };
        // SAFETY: the block was just allocated as mapped, `bytes` long.
        unsafe {
            sys::cuMemHostGetDevicePointer_v2(&raw mut block.address, start, 0)
                .result()
                .map_err(failed)?;
            start.cast::<u8>().write_bytes(0, bytes);
        }
        Ok(block)
    }

    /// Where the GPU finds it.
    pub(super) fn address(&self) -> u64 {
        self.address
    }

    /// Its content. No run may be writing it.
    pub(super) fn values<T: Plain>(&self) -> &[T] {
        let count = self.bytes / size_of::<T>();
        // SAFETY: the driver aligns blocks to pages, `count` values lie within, and every
        // bit pattern is a `T`.
        unsafe { std::slice::from_raw_parts(self.start.cast::<T>(), count) }
    }

    /// Its content. No run may be using it.
    pub(super) fn values_mut<T: Plain>(&mut self) -> &mut [T] {
        let count = self.bytes / size_of::<T>();
        // SAFETY: as in `values`, and `self` is borrowed alone.
        unsafe { std::slice::from_raw_parts_mut(self.start.cast::<T>(), count) }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // Both fail only when the context is lost, and the memory with it.
        let _ = self.device.bind();
        // SAFETY: allocated by `new`, freed once; the network has waited for its streams.
        let _ = unsafe { result::free_host(self.start) };
    }
}

/// Memory of the GPU.
#[derive(Debug)]
pub(super) struct Memory {
    address: sys::CUdeviceptr,
    bytes: usize,
    device: Device,
}

impl Memory {
    /// `bytes` of anything.
    pub(super) fn new(device: &Device, bytes: usize) -> Result<Memory, String> {
        device.bind()?;
        // SAFETY: the context is current; the block is freed once, by drop.
        let address = unsafe { result::malloc_sync(bytes) }
            .map_err(|error| format!("{bytes} bytes of GPU memory: {}", words(error)))?;
        Ok(Memory { address, bytes, device: device.clone() })
    }

    /// Where the GPU finds it.
    pub(super) fn address(&self) -> u64 {
        self.address
    }

    /// Queues a copy of all of `from`.
    ///
    /// # Safety
    /// Until the stream is through, both blocks live and `from` is not written.
    pub(super) unsafe fn copy_in(
        &mut self,
        from: &Pinned,
        stream: &CudaStream,
    ) -> Result<(), String> {
        assert_eq!(self.bytes, from.bytes, "two sides of one tensor");
        // SAFETY: both blocks are `bytes` long; the rest is the caller's promise.
        unsafe { result::memcpy_htod_async(self.address, from.values::<u8>(), stream.cu_stream()) }
            .map_err(words)
    }

    /// Queues a copy of all of it to `to`.
    ///
    /// # Safety
    /// Until the stream is through, both blocks live and `to` is neither read nor written.
    pub(super) unsafe fn copy_out(
        &self,
        to: &mut Pinned,
        stream: &CudaStream,
    ) -> Result<(), String> {
        assert_eq!(self.bytes, to.bytes, "two sides of one tensor");
        let (address, queue) = (self.address, stream.cu_stream());
        // SAFETY: as in `copy_in`.
        unsafe { result::memcpy_dtoh_async(to.values_mut::<u8>(), address, queue) }.map_err(words)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // Both fail only when the context is lost, and the memory with it.
        let _ = self.device.bind();
        // SAFETY: allocated by `new`, freed once; the network has waited for its streams.
        let _ = unsafe { result::free_sync(self.address) };
    }
}
