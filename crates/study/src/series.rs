//! What the header of a series says that may be a phase, without its texts.
//!
//! Owns the words; what they follow from is the intake's to say, and what images show decides.

use serde::{Deserialize, Serialize};

use crate::phase::Phase;

/// How fit for reading a liver, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fitness {
    /// A soft kernel, or nothing said.
    Soft,
    /// Mono-energetic: the HU of another tube voltage.
    MonoEnergetic,
    /// A kernel for lung or bone.
    Sharp,
}

/// What tells two reconstructions of one scan apart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recon {
    /// Kernel and kind.
    pub fitness: Fitness,
    /// Neither derived nor secondary by its ImageType.
    pub original: bool,
    /// Written anew by an archive.
    pub archived: bool,
    /// SliceThickness, in mm.
    pub thickness_mm: Option<f64>,
    /// SeriesNumber.
    pub series_number: Option<i64>,
    /// AcquisitionNumber.
    pub acquisition_number: Option<i64>,
}

impl Default for Recon {
    fn default() -> Recon {
        Recon {
            fitness: Fitness::Soft,
            original: true,
            archived: false,
            thickness_mm: None,
            series_number: None,
            acquisition_number: None,
        }
    }
}

/// Who names a phase in a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Namer {
    /// A rule of the site, counted from 1.
    Rule(usize),
    /// SeriesDescription.
    SeriesDescription,
    /// ProtocolName.
    ProtocolName,
    /// The region: chest and abdomen in one run.
    Region,
}

/// A phase that a header names.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Witness {
    /// Which phase.
    pub phase: Phase,
    /// Who says so.
    pub by: Namer,
    /// How much more likely it makes the phase.
    pub weight: f64,
}

/// What a header says of one series.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Scan {
    /// The phases that are named.
    pub named: Vec<Witness>,
    /// A contrast agent is named.
    pub contrast: bool,
    /// When its first slice was acquired, in ms on the scanner's clock.
    pub acquired_ms: Option<i64>,
    /// Different slices.
    pub slices: usize,
    /// Along the normal, first to last, in mm.
    pub coverage_mm: f64,
    /// How it was made.
    pub recon: Recon,
}
