//! NVIDIA's TensorRT on the GPU, found at run time: this program links to none of it.
//!
//! Owns the search for the libraries, the C++ shim (`shim.cpp`, one build per TensorRT
//! major), plans built on this device and kept, and the run. Refuses a library of another
//! major than the shim, a kept plan that is not whole or not of this device, and a network
//! that is not what its manifest says. The one room of the house with `unsafe`: every call
//! into TensorRT is in `abi`, every call into CUDA in `device`.
#![allow(unsafe_code, reason = "C libraries are called here, and nowhere else")]

use std::fmt;
use std::path::PathBuf;

use super::backend::{Precision, Presence, Runtime};
use super::{Engine, EngineError, EngineSpec};

mod abi;
mod build;
mod cache;
mod device;
mod library;
mod network;

use cache::{Cache, CachedPlan, Key};
use device::Device;
use network::{Network, Transfer};

/// `copied` or `mapped`, instead of what the GPU suggests: to compare the two on a device.
const TRANSFER: &str = "HEPALERT_TENSORRT_TRANSFER";

/// A version of TensorRT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Version {
    major: u32,
    minor: u32,
    patch: u32,
}

impl Version {
    /// As `getInferLibVersion` tells it: 8.6.1 says 8601, 10.3.0 says 100300.
    fn of_library(number: i32) -> Version {
        let number = u32::try_from(number).unwrap_or(0);
        if number >= 10_000 {
            return Version::of_headers(number as i32);
        }
        Version { major: number / 1000, minor: number / 100 % 10, patch: number % 100 }
    }

    /// As the shim tells it, alike for all majors: 8.6.1 is 80601.
    fn of_headers(number: i32) -> Version {
        let number = u32::try_from(number).unwrap_or(0);
        Version { major: number / 10_000, minor: number / 100 % 100, patch: number % 100 }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// Where a plan came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// It lay in the cache, whole.
    Kept,
    /// It was built now; the text says why a kept one was not used, if there was one.
    Built(Option<String>),
}

/// An engine and how it came to be.
pub struct Prepared {
    /// Ready to run.
    pub engine: Box<dyn Engine>,
    /// Kept or built.
    pub origin: Origin,
    /// Size of the plan.
    pub plan_bytes: usize,
    /// GPU memory of a run beside weights and patches.
    pub scratch_bytes: u64,
    /// The plan's file, if there is a cache.
    pub place: Option<PathBuf>,
}

/// Version, place and GPU, or what is missing and what to do.
pub(super) fn presence() -> Presence {
    let described = library::find().and_then(|found| {
        let device = Device::open()?;
        let (major, minor) = device.capability;
        let onnx = if found.library.reads_onnx() { "" } else { ", without its ONNX parser" };
        Ok(Presence::Present {
            version: found.library.version.to_string(),
            place: format!("{} on {} ({major}.{minor}){onnx}", found.place.display(), device.name),
        })
    });
    described.unwrap_or_else(|reason| Presence::Absent { reason })
}

/// Takes the plan of the ONNX file `bytes` from the cache of `runtime`, or builds and keeps
/// it, and makes it ready; `name` is for messages. Building takes minutes on a small device.
///
/// # Errors
/// [`EngineError::Backend`] says what is missing or what TensorRT said;
/// [`EngineError::Shape`] if the network is not `spec`.
pub fn prepare(
    runtime: &Runtime,
    bytes: &[u8],
    name: &str,
    spec: &EngineSpec,
) -> Result<Prepared, EngineError> {
    let half = match runtime.precision {
        Precision::F32 => false,
        Precision::F16 => true,
        Precision::Bf16 => return Err(failed("it computes in f32 or f16".to_owned())),
    };
    let found = library::find().map_err(failed)?;
    let device = Device::open().map_err(failed)?;
    let transfer = transfer(&device).map_err(failed)?;
    let order = build::Order { found: &found, device: &device, bytes, half };
    let cache = runtime.cache.as_deref().map(Cache::in_folder);
    let key = key(&found, &device, bytes, half);
    let kept = cache.as_ref().map_or(CachedPlan::Nothing, |cache| cache.plan(&key));
    let (loaded, plan_bytes, origin) = match load_kept(kept, &found) {
        Ok((loaded, plan_bytes)) => (loaded, plan_bytes, Origin::Kept),
        Err(why) => {
            let plan =
                build::plan(&order, cache.as_ref()).map_err(|e| failed(format!("{name}: {e}")))?;
            let loaded = abi::Loaded::new(&found.library, &plan);
            let loaded = loaded.map_err(|reason| failed(format!("{name}: {reason}")))?;
            // A full disk costs the next start a build, not this one its engine.
            let kept = cache.as_ref().map(|cache| cache.keep_plan(&key, &plan));
            let why = match kept {
                Some(Err(error)) => Some(format!("and could not be kept: {error}")),
                Some(Ok(())) | None => why,
            };
            (loaded, plan.len(), Origin::Built(why))
        }
    };
    let scratch_bytes = loaded.scratch_bytes();
    let network = Network::new(loaded, &device, transfer, name, spec)?;
    let place = cache.map(|cache| cache.plan_path(&key));
    Ok(Prepared { engine: Box::new(network), origin, plan_bytes, scratch_bytes, place })
}

/// Drops the kept plan of the ONNX file `bytes`, so that [`prepare`] builds it again.
///
/// # Errors
/// [`EngineError::Backend`] says what is missing, or why the file stays.
pub fn forget(runtime: &Runtime, bytes: &[u8]) -> Result<(), EngineError> {
    let Some(cache) = runtime.cache.as_deref().map(Cache::in_folder) else { return Ok(()) };
    let found = library::find().map_err(failed)?;
    let device = Device::open().map_err(failed)?;
    let half = runtime.precision == Precision::F16;
    cache.forget(&key(&found, &device, bytes, half)).map_err(|error| failed(error.to_string()))
}

/// The kept plan, deserialised; else why it was not used.
fn load_kept(
    kept: CachedPlan,
    found: &library::Found,
) -> Result<(abi::Loaded, usize), Option<String>> {
    match kept {
        CachedPlan::Nothing => Err(None),
        CachedPlan::Spoilt(reason) => Err(Some(format!("the kept plan was not used: {reason}"))),
        CachedPlan::Whole(plan) => match abi::Loaded::new(&found.library, &plan) {
            Ok(loaded) => Ok((loaded, plan.len())),
            Err(reason) => Err(Some(format!("the kept plan was not used: {reason}"))),
        },
    }
}

/// Everything a plan depends on.
fn key(found: &library::Found, device: &Device, bytes: &[u8], half: bool) -> Key {
    let (major, minor) = device.capability;
    Key::new(&[
        ("onnx", cache::sha256(bytes)),
        ("precision", if half { "f16, normalisation f32" } else { "f32" }.to_owned()),
        ("workspace", build::workspace_bytes(device).to_string()),
        ("tensorrt", found.library.version.to_string()),
        ("capability", format!("{major}.{minor}")),
        ("device", device.name.clone()),
    ])
}

/// In place where CPU and GPU share memory, copied where they do not, unless told.
fn transfer(device: &Device) -> Result<Transfer, String> {
    match std::env::var(TRANSFER).as_deref() {
        Ok("copied") => Ok(Transfer::Copied),
        Ok("mapped") => Ok(Transfer::Mapped),
        Ok(other) => Err(format!("{TRANSFER} is `{other}`, not copied or mapped")),
        Err(_) if device.integrated => Ok(Transfer::Mapped),
        Err(_) => Ok(Transfer::Copied),
    }
}

fn failed(reason: String) -> EngineError {
    EngineError::Backend { backend: "tensorrt", reason }
}

#[cfg(test)]
mod tests;
