//! The engine: whole, right, how fast, and what would run it faster.

use std::path::{Path, PathBuf};

use super::finding::Finding;
use super::machine::Machine;
use crate::ui::Exit;
use crate::ui::counted;
use hepalert_bundles::{Bundle, Role, TestDepth};
use hepalert_engines::EngineError;
use hepalert_engines::backend::{Backend, Precision, Presence, Runtime};

/// A network that passed its golden patch.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tested {
    /// The network that was tested.
    pub role: Role,
    /// Its folds.
    pub folds: usize,
    /// Seconds per patch of one fold.
    pub patch_s: f64,
}

/// What became of the engine.
#[derive(Debug)]
pub(super) struct EngineFacts {
    /// The bundle's folder.
    pub bundle: String,
    /// What runs it.
    pub runtime: String,
    /// The first file of it that may not be read by whoever asks.
    pub closed: Option<PathBuf>,
    /// Name and version once it opened; what was tested, unless that was left out.
    pub found: Result<(String, Option<Vec<Tested>>), EngineError>,
}

/// Opens the bundle and, if asked for, runs every network's golden patch.
pub(super) fn look_at_engine(dir: &Path, runtime: &Runtime, run: bool) -> EngineFacts {
    let found = Bundle::open(dir).and_then(|bundle| {
        let tested = if run { Some(test(&bundle, runtime)?) } else { None };
        Ok((format!("{} version {}", bundle.id(), bundle.version()), tested))
    });
    let is_closed = |file: &PathBuf| {
        let opened = std::fs::File::open(file).map_err(|error| error.kind());
        matches!(opened, Err(std::io::ErrorKind::PermissionDenied))
    };
    let place = std::iter::once(dir.to_owned()).chain(files_of(dir));
    EngineFacts {
        closed: place.into_iter().find(is_closed),
        bundle: dir.display().to_string(),
        runtime: format!("{} in {}", runtime.backend, runtime.precision),
        found,
    }
}

/// The files of a bundle, whatever they are.
pub(super) fn files_of(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    files.retain(|path| path.is_file());
    files.sort();
    files
}

fn test(bundle: &Bundle, runtime: &Runtime) -> Result<Vec<Tested>, EngineError> {
    let mut tested: Vec<Tested> = Vec::new();
    bundle.test_all(runtime, TestDepth::Patch, |test| match tested.last_mut() {
        Some(last) if last.role == test.role => {
            let before = last.patch_s * last.folds as f64;
            last.folds += 1;
            last.patch_s = (before + test.patch_s) / last.folds as f64;
        }
        _ => tested.push(Tested { role: test.role, folds: 1, patch_s: test.patch_s }),
    })?;
    Ok(tested)
}

/// Without a right engine no study is analysed.
pub(super) fn engine(facts: &EngineFacts) -> Finding {
    let name = "engine";
    let EngineFacts { bundle, runtime, closed, found } = facts;
    if let Some(file) = closed {
        let found = format!("{}: you may not read it; it may be whole", file.display());
        let advice = "run doctor with sudo; if the daemon may not read it either, run \
                      `sudo chmod -R a+rX` on the engine's folder";
        return Finding::fail(name, found, advice).ending(Exit::Engine);
    }
    match found {
        Ok((id, None)) => Finding::ok(name, format!("{id}: every file is whole")),
        Ok((id, Some(tested))) => {
            let each = tested.iter().map(|Tested { role, folds, patch_s }| {
                let folds = counted(*folds, "fold");
                format!("{} ({folds}) {patch_s:.2} s per patch", role.name())
            });
            let each: Vec<String> = each.collect();
            Finding::ok(name, format!("{id}, {runtime}: golden patches right; {}", each.join(", ")))
        }
        Err(error) => {
            let said = error.to_string();
            let found = if said.contains(bundle) { said } else { format!("{bundle}: {said}") };
            Finding::fail(name, found, remedy(error)).ending(Exit::Engine)
        }
    }
}

const fn remedy(error: &EngineError) -> &'static str {
    match error {
        EngineError::NoBundle(_)
        | EngineError::File { .. }
        | EngineError::Manifest { .. }
        | EngineError::Shape { .. } => {
            "take it from its medium, or set engine.bundle to the folder of a whole bundle"
        }
        EngineError::Backend { .. } => {
            "set engine.backend and engine.precision to what the check `backend` names as present"
        }
        EngineError::SelfTest { .. } | EngineError::Answer { .. } => {
            "set engine.precision to \"f32\"; if that fails too, engine.backend to \"native\""
        }
    }
}

/// What could run the networks here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BackendFacts {
    /// What is configured.
    pub used: Backend,
    /// In these numbers.
    pub precision: Precision,
    /// What was found of each.
    pub there: Vec<(Backend, Presence)>,
    /// Whether the processor multiplies matrices of bf16.
    pub has_bf16: bool,
}

/// Asks every backend, and the kernel for the processor's abilities.
pub(super) fn look_at_backends(machine: &Machine, runtime: &Runtime) -> BackendFacts {
    let processor = machine.read("proc/cpuinfo").unwrap_or_default();
    let flags = processor.lines().filter(|line| line.starts_with("flags"));
    let mut flags = flags.flat_map(str::split_whitespace);
    BackendFacts {
        used: runtime.backend,
        precision: runtime.precision,
        there: Backend::ALL.map(|backend| (backend, backend.presence())).to_vec(),
        has_bf16: flags.any(|flag| flag == "amx_bf16" || flag == "avx512_bf16"),
    }
}

/// Whether the configured backend is there, and whether a faster one is.
pub(super) fn backend(facts: &BackendFacts) -> Finding {
    let name = "backend";
    let BackendFacts { used, precision, there, has_bf16 } = facts;
    let present = |wanted: Backend| {
        let found = there.iter().find(|(backend, _)| *backend == wanted);
        found.is_some_and(|(_, presence)| matches!(presence, Presence::Present { .. }))
    };
    let each: Vec<String> =
        there.iter().map(|(backend, presence)| line(*backend, presence)).collect();
    let found = format!("{used} in {precision} is configured; {}", each.join("; "));
    if !present(*used) {
        let advice = "set engine.backend to one that is present, or install its library";
        return Finding::fail(name, found, advice).ending(Exit::Engine);
    }
    let finding = Finding::ok(name, found);
    match (used, precision) {
        (Backend::Native | Backend::Tract | Backend::OpenVino, _) if present(Backend::TensorRt) => {
            finding.with("engine.backend = \"tensorrt\" with precision \"f16\" would be faster")
        }
        (Backend::Tract, _) => finding.with("engine.backend = \"native\" would be faster"),
        (Backend::OpenVino, Precision::F32) if *has_bf16 => {
            finding.with("engine.precision = \"bf16\" would be faster on this processor")
        }
        _ => finding,
    }
}

fn line(backend: Backend, presence: &Presence) -> String {
    match presence {
        Presence::Present { version, place } => {
            format!("{backend} is present ({version}, {place})")
        }
        Presence::Absent { reason } => format!("{backend} is not ({reason})"),
    }
}
