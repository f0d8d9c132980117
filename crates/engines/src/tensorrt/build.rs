//! Building a plan on this device: through TensorRT's builder and ONNX parser, or, where the
//! parser is not installed, through NVIDIA's program `trtexec`.
//!
//! Owns the settings of a build; the plan is for one fixed shape. Refuses f16 through
//! `trtexec`, which cannot be told to keep normalisation in f32.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::abi::{self, Wish};
use super::cache::{Cache, Key, MAX_PLAN_BYTES};
use super::device::Device;
use super::library::Found;

/// Where JetPack puts it.
const TRTEXEC: &str = "/usr/src/tensorrt/bin/trtexec";
/// Least and most memory that kernels tried during a build may take.
const WORKSPACE_BYTES: (u64, u64) = (256 << 20, 4 << 30);
/// What is shown of trtexec's last words.
const MAX_WORDS: usize = 400;

/// What is to be built, and where.
pub(super) struct Order<'a> {
    pub found: &'a Found,
    pub device: &'a Device,
    pub bytes: &'a [u8],
    pub half: bool,
}

/// A quarter of the GPU's memory within bounds: the same on every run, as it decides which
/// kernels are tried.
pub(super) fn workspace_bytes(device: &Device) -> u64 {
    let total = device.memory().map_or(0, |(_, total)| total as u64);
    (total / 4).clamp(WORKSPACE_BYTES.0, WORKSPACE_BYTES.1)
}

/// Builds; keeps in `cache` what was measured on the way.
pub(super) fn plan(order: &Order<'_>, cache: Option<&Cache>) -> Result<Vec<u8>, String> {
    let Order { found, device, bytes, half } = *order;
    device.bind()?;
    if !found.library.reads_onnx() {
        return by_program(order);
    }
    let (major, minor) = device.capability;
    let key = Key::new(&[
        ("tensorrt", found.library.version.to_string()),
        ("capability", format!("{major}.{minor}")),
        ("device", device.name.clone()),
    ]);
    let timing = cache.map(|cache| cache.timing(&key)).unwrap_or_default();
    let workspace_bytes = workspace_bytes(device);
    let wish = Wish { onnx: bytes, timing: &timing, workspace_bytes, half };
    let built = abi::build(&found.library, &wish)?;
    if let Some(cache) = cache {
        // Without it the next build only takes longer.
        let _ = cache.keep_timing(&key, &built.timing);
    }
    Ok(built.plan)
}

/// `trtexec` in a folder of its own, which goes with everything in it.
fn by_program(order: &Order<'_>) -> Result<Vec<u8>, String> {
    let missing = "libnvonnxparser is not here or the shim was built without its headers; install \
                   libnvonnxparsers-dev and build the shim again with scripts/trt-shim";
    if order.half {
        return Err(format!("f16 needs TensorRT's ONNX parser, but {missing}"));
    }
    let program = program(order.found.folder.as_deref())
        .ok_or_else(|| format!("{missing}; or install trtexec ({TRTEXEC})"))?;
    let said = |error: std::io::Error| format!("{}: {error}", program.display());
    let folder = tempfile::tempdir().map_err(said)?;
    let (onnx, plan) = (folder.path().join("network.onnx"), folder.path().join("network.plan"));
    std::fs::write(&onnx, order.bytes).map_err(said)?;
    let mebibytes = workspace_bytes(order.device) >> 20;
    let output = Command::new(&program)
        .arg(format!("--onnx={}", onnx.display()))
        .arg(format!("--saveEngine={}", plan.display()))
        .arg(format!("--memPoolSize=workspace:{mebibytes}"))
        .args(["--noTF32", "--skipInference"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .output()
        .map_err(said)?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        let skipped = words.chars().count().saturating_sub(MAX_WORDS);
        let words: String = words.chars().skip(skipped).collect();
        return Err(format!("{}: {}: {}", program.display(), output.status, words.trim()));
    }
    let bytes = std::fs::metadata(&plan).map_err(said)?.len();
    if bytes > MAX_PLAN_BYTES {
        return Err(format!(
            "{} wrote a plan of {bytes} bytes, more than any network needs",
            program.display()
        ));
    }
    std::fs::read(&plan).map_err(said)
}

/// In the given folder, where JetPack puts it, or on the path.
fn program(folder: Option<&Path>) -> Option<PathBuf> {
    let given = folder.map(|folder| folder.join("trtexec"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|folder| folder.join("trtexec"));
    let mut all = given.into_iter().chain([PathBuf::from(TRTEXEC)]).chain(on_path);
    all.find(|program| program.is_file())
}
