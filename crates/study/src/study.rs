//! A patient's examination: which phases there are, and whether they lie on one grid.
//!
//! Owns the names of phases and settings and the two states of a study. An unaligned
//! [`Study`] cannot be segmented, by type: only an [`AlignedStudy`] can. Knows nothing of
//! files and nothing of the patient: the key is a keyed hash made elsewhere.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr, VariantArray};

use crate::{all, displayed_by_name};
use hepalert_voxels::volume::{Grid, Volume};

/// Names a study without naming the patient: 32 lower-case hex digits (128 bits of
/// HMAC-SHA256 of the study UID under the site key).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct StudyKey(String);

impl StudyKey {
    /// Takes 32 lower-case hex digits; anything else is `None`.
    pub fn new(text: &str) -> Option<StudyKey> {
        let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        (text.len() == 32 && text.chars().all(hex)).then(|| StudyKey(text.to_owned()))
    }

    /// The 32 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for StudyKey {
    type Error = &'static str;

    fn try_from(text: String) -> Result<StudyKey, &'static str> {
        StudyKey::new(&text).ok_or("a study key has 32 lower-case hex digits")
    }
}

impl fmt::Display for StudyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A contrast phase.
// In the order of acquisition and of network channels.
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Phase {
    /// Non-contrast.
    Nc,
    /// Arterial.
    Ap,
    /// Portal venous.
    Vp,
    /// Delayed.
    Dp,
}

impl Phase {
    /// All phases in channel order.
    pub const ALL: [Phase; 4] = all(Phase::VARIANTS);

    /// The two-letter code of files, messages and the command line.
    pub fn code(self) -> &'static str {
        self.into()
    }

    /// The way back.
    pub fn from_code(code: &str) -> Option<Phase> {
        code.parse().ok()
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// What a study is read for.
// It follows from the phases an engine takes.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, EnumString, IntoStaticStr,
)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Setting {
    /// One non-contrast phase.
    Screening,
    /// Four phases.
    Diagnosis,
    /// One portal-venous phase.
    // What the demonstration engine takes. Not in the paper.
    Venous,
}

displayed_by_name!(Setting);

impl Setting {
    /// The name used in messages and on the command line.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The setting of an engine that takes these phases, if there is one.
    pub fn of_phases(phases: &[Phase]) -> Option<Setting> {
        match phases {
            [Phase::Nc] => Some(Setting::Screening),
            [Phase::Vp] => Some(Setting::Venous),
            [Phase::Nc, Phase::Ap, Phase::Vp, Phase::Dp] => Some(Setting::Diagnosis),
            _ => None,
        }
    }

    /// The phases this setting needs, in channel order.
    pub const fn phases(self) -> &'static [Phase] {
        match self {
            Setting::Screening => &[Phase::Nc],
            Setting::Venous => &[Phase::Vp],
            Setting::Diagnosis => &Phase::ALL,
        }
    }
}

/// How much of the study's identity leaves the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Privacy {
    /// The study key only.
    Minimal,
    /// And the study UID.
    Linked,
    /// And the accession number.
    Full,
}

/// An examination as it came: one volume in Hounsfield units per phase, each on its own grid.
#[derive(Debug)]
pub struct Study {
    /// Who this is, without saying who.
    pub key: StudyKey,
    /// Hounsfield units per phase.
    pub phases: BTreeMap<Phase, Volume<f32>>,
}

/// An examination whose phases share one grid, in channel order.
#[derive(Debug)]
pub struct AlignedStudy {
    key: StudyKey,
    phases: Vec<(Phase, Volume<f32>)>,
}

/// Why phases are not one aligned study.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAligned {
    /// A setting needs a phase that is not there.
    #[error("phase {0} is missing")]
    Missing(Phase),
    /// Two phases lie on different grids.
    #[error("phase {0} lies on another grid than phase {1}: register them first")]
    Grid(Phase, Phase),
}

impl AlignedStudy {
    /// Takes the given phases out of a study, in the given order. All must share one grid.
    ///
    /// # Errors
    /// [`NotAligned`] names the first phase that is missing or lies elsewhere.
    pub fn from_study(study: Study, wanted: &[Phase]) -> Result<AlignedStudy, NotAligned> {
        let Study { key, mut phases } = study;
        let mut aligned: Vec<(Phase, Volume<f32>)> = Vec::with_capacity(wanted.len());
        for &phase in wanted {
            let volume = phases.remove(&phase).ok_or(NotAligned::Missing(phase))?;
            if let Some((first, fixed)) = aligned.first()
                && !fixed.grid().matches(volume.grid())
            {
                return Err(NotAligned::Grid(phase, *first));
            }
            aligned.push((phase, volume));
        }
        assert!(!aligned.is_empty(), "a study is aligned over at least one phase");
        Ok(AlignedStudy { key, phases: aligned })
    }

    /// The study's key.
    pub fn key(&self) -> &StudyKey {
        &self.key
    }

    /// The grid that all phases share.
    pub fn grid(&self) -> &Arc<Grid> {
        self.phases[0].1.grid()
    }

    /// The phases in channel order, in Hounsfield units.
    pub fn phases(&self) -> &[(Phase, Volume<f32>)] {
        &self.phases
    }
}
