//! A cohort in, tables and plots out: lesion and patient metrics of the paper, and the
//! stricter ones beside them.
//!
//! Owns rates, tables, the joint distribution and the gain sweep, and reads the folders that
//! `analyze` writes. Refuses to look at an image: what counts as a lesion is `detect`'s.
//!
//! In reading order: [`cohort`] finds the cases, [`case`] counts one, [`rates`] turns counts
//! into rates with intervals, [`tables`] adds the cases up, [`markdown`] and [`plot`] write
//! down what came out.

use std::fmt;

pub mod case;
pub mod cohort;
pub mod markdown;
pub mod plot;
pub mod rates;
pub mod sweep;
pub mod tables;

/// Which lesions of a case are held against the truth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Variant {
    /// The network's own label map.
    Base,
    /// After reclassification on original patches only.
    BaseReclsNoShuffle,
    /// After reclassification.
    BaseRecls,
    /// The high-sensitivity label map after reclassification.
    HighRecls,
    /// The last two together: decided where they agree.
    Joint,
}

impl Variant {
    /// In the order of the tables.
    pub const ALL: [Variant; 5] = [
        Variant::Base,
        Variant::BaseReclsNoShuffle,
        Variant::BaseRecls,
        Variant::HighRecls,
        Variant::Joint,
    ];

    /// The name used on the command line and in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Variant::Base => "base",
            Variant::BaseReclsNoShuffle => "base+recls-no-shuffle",
            Variant::BaseRecls => "base+recls",
            Variant::HighRecls => "high+recls",
            Variant::Joint => "joint",
        }
    }

    /// The inverse of [`Variant::name`].
    pub fn from_name(name: &str) -> Option<Variant> {
        Variant::ALL.into_iter().find(|variant| variant.name() == name)
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
