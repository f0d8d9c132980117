//! A cohort in, tables and plots out: lesion and patient metrics of the paper, and the
//! stricter ones beside them.
//!
//! Owns rates, tables, the joint distribution and the gain sweep, and reads the folders that
//! `analyze` writes. Refuses to look at an image: what counts as a lesion is `detect`'s.
//!
//! In reading order: [`cohort`] finds the cases, [`case`] counts one, [`counted`]
//! keeps that, [`rates`] turns counts
//! into rates with intervals, [`dice`] counts voxels, [`tables`] adds the cases up, [`markdown`],
//! [`csv`] and [`plot`] write down what came out.

use std::fmt;

use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr, VariantArray};

pub mod case;
pub mod cohort;
pub mod counted;
pub mod csv;
pub(crate) mod dice;
pub mod markdown;
pub mod plot;
pub mod rates;
pub(crate) mod sweep;
pub mod tables;
mod tally_row;

/// Which lesions of a case are held against the truth.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    EnumString,
    IntoStaticStr,
    VariantArray,
)]
#[strum(serialize_all = "lowercase")]
pub enum Variant {
    /// The network's own label map.
    Base,
    /// After reclassification on original patches only.
    #[strum(serialize = "base+recls-no-shuffle")]
    BaseReclsNoShuffle,
    /// After reclassification.
    #[strum(serialize = "base+recls")]
    BaseRecls,
    /// The high-sensitivity label map after reclassification.
    #[strum(serialize = "high+recls")]
    HighRecls,
    /// The last two together: decided where they agree.
    Joint,
}

impl Variant {
    /// In the order of the tables.
    pub const ALL: [Variant; 5] = hepalert_study::all(Variant::VARIANTS);

    /// The name used on the command line and in tables; reading it back is `parse`.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
