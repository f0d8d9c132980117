//! Which program runs a network, and how exactly: the choice made at the edge.
//!
//! Owns the names of the backends and precisions. Refuses to know how one is called (`dispatch`).

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantArray};

use super::conformance::Tolerance;

/// What runs the networks.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, IntoStaticStr, VariantArray,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Backend {
    /// This program's own, on the CPU.
    Native,
    /// Another pure Rust one on the CPU, for what the own one refuses.
    Tract,
    /// Intel's library on the CPU, found at run time.
    OpenVino,
    /// NVIDIA's library on the GPU, found at run time.
    TensorRt,
}

impl Backend {
    /// All of them, the built-in one first.
    pub const ALL: [Backend; 4] = hepalert_study::all(Backend::VARIANTS);

    /// The name on the command line, in the configuration and in reports.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The numbers that it computes in, on a machine that can; none if it is not in this program.
    pub const fn precisions(self) -> &'static [Precision] {
        match self {
            Backend::Native => &[Precision::F32, Precision::Bf16],
            Backend::Tract if cfg!(feature = "tract") => &[Precision::F32],
            Backend::OpenVino if cfg!(feature = "openvino") => &[Precision::F32, Precision::Bf16],
            Backend::TensorRt => &[Precision::F32, Precision::F16],
            Backend::Tract | Backend::OpenVino => &[],
        }
    }
}

/// What was found of a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presence {
    /// It can be tried.
    Present {
        /// The library's own version.
        version: String,
        /// Where it lies.
        place: String,
    },
    /// It cannot.
    Absent {
        /// Why, and what to do to have it.
        reason: String,
    },
}

/// The numbers a network is computed in; sums stay in `f32`.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, IntoStaticStr, VariantArray,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Precision {
    /// 24 bits of mantissa.
    F32,
    /// 8 bits of mantissa: fast where the processor multiplies matrices of it.
    Bf16,
    /// 11 bits of mantissa: fast on GPUs.
    F16,
}

impl Precision {
    /// All of them, the exact one first.
    pub const ALL: [Precision; 3] = hepalert_study::all(Precision::VARIANTS);

    /// The name on the command line, in the configuration and in reports.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// What the golden self-test lets pass.
    pub const fn tolerance(self) -> Tolerance {
        match self {
            Precision::F32 => Tolerance::F32,
            Precision::Bf16 | Precision::F16 => Tolerance::HALF,
        }
    }
}

/// A name that no backend or precision has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not one of {known}")]
pub struct UnknownName {
    found: String,
    known: String,
}

fn named<T: Copy>(text: &str, all: &[T], name: fn(T) -> &'static str) -> Result<T, UnknownName> {
    all.iter().copied().find(|&one| name(one) == text).ok_or_else(|| UnknownName {
        found: text.to_owned(),
        known: all.iter().map(|&one| name(one)).collect::<Vec<_>>().join(", "),
    })
}

impl FromStr for Backend {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Backend, UnknownName> {
        named(text, &Backend::ALL, Backend::name)
    }
}

impl FromStr for Precision {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Precision, UnknownName> {
        named(text, &Precision::ALL, Precision::name)
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// How networks are to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runtime {
    /// The program.
    pub backend: Backend,
    /// The numbers.
    pub precision: Precision,
    /// Threads of one engine on the CPU; one per core without a number.
    pub threads: Option<usize>,
    /// Patches per call at most, at least 1: a study that would not fit into memory so runs
    /// with fewer (`segment::largest_batch`).
    pub batch: usize,
    /// Folder for what a backend compiles on this device and may use again; `None` keeps
    /// nothing.
    pub cache: Option<PathBuf>,
}

impl Default for Runtime {
    /// The own backend on all cores, patch by patch.
    fn default() -> Runtime {
        let (backend, precision) = (Backend::Native, Precision::F32);
        Runtime { backend, precision, threads: None, batch: 1, cache: None }
    }
}

impl Runtime {
    /// Threads of one engine, at least 1.
    pub fn threads(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        self.threads.unwrap_or_else(cores).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for backend in Backend::ALL {
            assert_eq!(backend.name().parse(), Ok(backend));
            assert_eq!(serde_json::to_value(backend).unwrap(), backend.name());
        }
        for precision in Precision::ALL {
            assert_eq!(precision.name().parse(), Ok(precision));
            assert_eq!(serde_json::to_value(precision).unwrap(), precision.name());
        }
        let said = "cuda".parse::<Backend>().unwrap_err().to_string();
        assert_eq!(said, "`cuda` is not one of native, tract, openvino, tensorrt");
    }
}
