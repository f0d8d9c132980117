//! The contrast phases there are, and the sets of them that a study is read for.

use std::fmt;

use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr, VariantArray};

use crate::{all, displayed_by_name};

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
    /// Native: before contrast medium.
    Nc,
    /// Arterial, early or late.
    Ap,
    /// Portal venous.
    Vp,
    /// Delayed, minutes after the injection.
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
    /// Native and arterial.
    NcAp,
    /// Native and portal venous.
    NcVp,
    /// Native and delayed.
    NcDp,
    /// Arterial and portal venous.
    ApVp,
    /// Arterial and delayed.
    ApDp,
    /// Portal venous and delayed.
    VpDp,
    /// All but the delayed phase.
    NcApVp,
    /// All but the portal venous phase.
    NcApDp,
    /// All but the arterial phase.
    NcVpDp,
    /// All but the native phase.
    ApVpDp,
}

displayed_by_name!(Setting);

impl Setting {
    /// All of them: every set of phases an engine may take.
    pub const ALL: [Setting; 13] = [
        Setting::Screening,
        Setting::Diagnosis,
        Setting::Venous,
        Setting::NcAp,
        Setting::NcVp,
        Setting::NcDp,
        Setting::ApVp,
        Setting::ApDp,
        Setting::VpDp,
        Setting::NcApVp,
        Setting::NcApDp,
        Setting::NcVpDp,
        Setting::ApVpDp,
    ];

    /// The name used in messages and on the command line.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The setting of an engine that takes these phases, in channel order: any but a single
    /// arterial or delayed one, in which lesions cannot be told from what is normal.
    pub fn of_phases(phases: &[Phase]) -> Option<Setting> {
        Setting::ALL.into_iter().find(|setting| setting.phases() == phases)
    }

    /// The phases this setting needs, in channel order.
    pub const fn phases(self) -> &'static [Phase] {
        match self {
            Setting::Screening => &[Phase::Nc],
            Setting::Venous => &[Phase::Vp],
            Setting::Diagnosis => &Phase::ALL,
            Setting::NcAp => &[Phase::Nc, Phase::Ap],
            Setting::NcVp => &[Phase::Nc, Phase::Vp],
            Setting::NcDp => &[Phase::Nc, Phase::Dp],
            Setting::ApVp => &[Phase::Ap, Phase::Vp],
            Setting::ApDp => &[Phase::Ap, Phase::Dp],
            Setting::VpDp => &[Phase::Vp, Phase::Dp],
            Setting::NcApVp => &[Phase::Nc, Phase::Ap, Phase::Vp],
            Setting::NcApDp => &[Phase::Nc, Phase::Ap, Phase::Dp],
            Setting::NcVpDp => &[Phase::Nc, Phase::Vp, Phase::Dp],
            Setting::ApVpDp => &[Phase::Ap, Phase::Vp, Phase::Dp],
        }
    }
}
