//! How a phase came onto the grid of the reference phase, and what was found wanting.
//!
//! Owns these words. How images are brought together is the registration's to say.

use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr};

use crate::displayed_by_name;

/// How a phase came onto the grid of the reference phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, EnumString, IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum AlignmentMethod {
    /// It is the reference.
    Reference,
    /// It lay there, voxel on voxel.
    AlreadyAligned,
    /// It lay there, on another grid.
    Resampled,
    /// It was deformed.
    Deformable,
    /// It was turned and moved only.
    Rigid,
    /// Nothing brings the images together.
    Failed,
}

displayed_by_name!(AlignmentMethod);

impl AlignmentMethod {
    /// The name in reports.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// What the quality gate of an alignment found wanting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, EnumString, IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Doubt {
    /// None: no deformable level was asked for.
    AskedFor,
    /// The deformation turns tissue inside out.
    Folding,
    /// It changes volumes by too different amounts.
    UnevenVolumeChange,
    /// It does not bring the images nearer.
    NoGain,
    /// The images are too different wherever they are put.
    TooDifferent,
    /// The moving image shows too little of the fixed one.
    LittleOverlap,
}

displayed_by_name!(Doubt);

impl Doubt {
    /// The name in reports.
    pub fn name(self) -> &'static str {
        self.into()
    }
}
