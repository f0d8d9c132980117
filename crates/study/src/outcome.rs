//! What a study came to: the patient's class, whether malignancy is suspected, in which view
//! a lesion was seen and why it stayed.
//!
//! Owns these words. How they follow from lesions is the cascade's to say.

use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr, VariantArray};

use crate::anatomy::Lesion;
use crate::{all, displayed_by_name};

/// Stands in every report and alert.
pub const NOTICE: &str = "Triage aid; absence of an alert is not a negative result";

/// What a person who has looked at the images thinks of an alert.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, EnumString, IntoStaticStr,
)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Opinion {
    /// There is what was suspected.
    Agreed,
    /// There is not.
    Disagreed,
    /// Neither: seen elsewhere, known before, or still open.
    Other,
}

displayed_by_name!(Opinion);

impl Opinion {
    /// The name in messages and in the store.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// A lesion type or, for a patient, none.
// The most urgent lesion there is; lower outranks higher.
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "Class"))]
pub enum PatientClass {
    /// Hepatocellular carcinoma.
    #[serde(rename = "HCC")]
    #[strum(serialize = "HCC")]
    Hcc,
    /// Intrahepatic cholangiocarcinoma.
    #[serde(rename = "ICC")]
    #[strum(serialize = "ICC")]
    Icc,
    /// Metastasis.
    Meta,
    /// Haemangioma.
    Hem,
    /// Any other benign lesion.
    Other,
    /// Cyst.
    Cyst,
    /// No lesion: of a patient only.
    #[serde(rename = "normal")]
    #[strum(serialize = "normal")]
    Normal,
}

displayed_by_name!(PatientClass);

impl PatientClass {
    /// All classes, most urgent first.
    pub const ALL: [PatientClass; 7] = all(PatientClass::VARIANTS);

    /// The name used in reports and messages.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// HCC, ICC and metastasis are malignant.
    pub const fn is_malignant(self) -> bool {
        matches!(self, PatientClass::Hcc | PatientClass::Icc | PatientClass::Meta)
    }
}

impl From<Lesion> for PatientClass {
    fn from(lesion: Lesion) -> PatientClass {
        match lesion {
            Lesion::Hcc => PatientClass::Hcc,
            Lesion::Icc => PatientClass::Icc,
            Lesion::Meta => PatientClass::Meta,
            Lesion::Hem => PatientClass::Hem,
            Lesion::Other => PatientClass::Other,
            Lesion::Cyst => PatientClass::Cyst,
        }
    }
}

/// The outcome.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    EnumString,
    IntoStaticStr,
    VariantArray,
)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "Verdict"))]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum AlertLevel {
    /// Both views say malignant.
    Suspected,
    /// Neither does.
    NotSuspected,
    /// They disagree: worth a human look.
    Uncertain,
}

displayed_by_name!(AlertLevel);

impl AlertLevel {
    /// All of them.
    pub const ALL: [AlertLevel; 3] = all(AlertLevel::VARIANTS);

    /// The word used in messages.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// What was done with an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, EnumString, IntoStaticStr)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum EngineAction {
    /// It lies in the free slot and has passed its self-test.
    Staged,
    /// It is in use.
    Activated,
    /// Its probation is over.
    Good,
    /// The one before is in use again; `code` says why.
    RolledBack,
    /// It was not taken; `code` says why.
    Refused,
    /// It is in use and has failed its self-test: the queue waits; `code` says how.
    Failed,
}

impl EngineAction {
    /// The word used in messages and in the slots' state.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// Why an engine cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, EnumString, IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum EngineFault {
    /// It gives other answers than it should.
    SelfTestFailed,
    /// Its self-test never came to an end.
    SelfTestCrashed,
    /// It cannot be loaded.
    EngineUnusable,
}

displayed_by_name!(EngineFault);

impl EngineFault {
    /// The word used in messages and in the slots' state.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// In which view a lesion stands after the third stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, EnumString, IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum View {
    /// In both.
    Common,
    /// In the base view only.
    Base,
    /// In the high-sensitivity view only: suspicious, and kept (method 1.6).
    High,
}

impl View {
    /// The name in reports.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// The paper's joint decision of both views.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, EnumString, IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum PaperStatus {
    /// Both give one class.
    Decided,
    /// They differ: worth human verification.
    Uncertain,
}

displayed_by_name!(PaperStatus);

impl PaperStatus {
    /// The name in reports.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// Why a lesion was kept or discarded in the third stage.
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
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum KeepReason {
    /// Kept: its score reached the threshold.
    Kept,
    /// Kept unseen: larger than the bypass.
    Bypassed,
    /// Discarded unseen: smaller than the threshold.
    TooSmall,
    /// Discarded: its score is below the threshold.
    LowScore,
    /// Discarded unseen: it lies far from the liver.
    FarFromLiver,
    /// Discarded unseen: it is as dark as air in every phase.
    InAir,
    /// Kept: there is no third stage.
    NotRun,
}

displayed_by_name!(KeepReason);

impl KeepReason {
    /// The name in reports.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Whether it stays.
    pub const fn is_kept(self) -> bool {
        matches!(self, KeepReason::Kept | KeepReason::Bypassed | KeepReason::NotRun)
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;
    use std::str::FromStr;

    use serde::de::DeserializeOwned;

    use super::*;
    use crate::alignment::{AlignmentMethod, Doubt};
    use crate::phase::{Phase, Setting};

    /// The name, the JSON and the way back are one.
    fn one_way<T>(words: &[T], name: fn(T) -> &'static str)
    where
        T: Copy + PartialEq + Debug + Serialize + DeserializeOwned + FromStr,
        T::Err: Debug,
    {
        for &word in words {
            assert_eq!(serde_json::to_value(word).unwrap(), name(word));
            assert_eq!(name(word).parse::<T>().unwrap(), word);
        }
        for stranger in ["", "HCCX", "hcc", "VP", "none", "other "] {
            assert!(stranger.parse::<T>().is_err(), "{stranger:?}");
            assert!(serde_json::from_value::<T>(stranger.into()).is_err(), "{stranger:?}");
        }
    }

    #[test]
    fn each_word_is_written_one_way_and_strangers_are_refused() {
        one_way(&Lesion::ALL, Lesion::name);
        one_way(&PatientClass::ALL, PatientClass::name);
        one_way(&Phase::ALL, Phase::code);
        one_way(&[Setting::Screening, Setting::Diagnosis, Setting::Venous], Setting::name);
        let levels = [AlertLevel::Suspected, AlertLevel::NotSuspected, AlertLevel::Uncertain];
        one_way(&levels, AlertLevel::name);
        one_way(&[View::Common, View::Base, View::High], View::name);
        one_way(&[PaperStatus::Decided, PaperStatus::Uncertain], PaperStatus::name);
        let reasons = [KeepReason::Kept, KeepReason::TooSmall, KeepReason::NotRun];
        one_way(&reasons, KeepReason::name);
        one_way(&[Doubt::AskedFor, Doubt::UnevenVolumeChange], Doubt::name);
        one_way(
            &[AlignmentMethod::Reference, AlignmentMethod::AlreadyAligned],
            AlignmentMethod::name,
        );
    }

    #[test]
    fn a_patient_with_a_lesion_is_of_its_class() {
        for kind in Lesion::ALL {
            let class = PatientClass::from(kind);
            assert_eq!(class.name(), kind.name());
            assert_eq!(class.is_malignant(), kind.is_malignant());
        }
        assert!(PatientClass::ALL.is_sorted());
        assert!(PatientClass::from(Lesion::Cyst) < PatientClass::Normal);
    }
}
