//! What was found in a study: the data of `event/result` and `event/alert`.
//!
//! Owns the wire names of verdicts, classes and lesions and the rule of shortening: lesions
//! go from the end, text is never cut. Refuses pixels and patient identifiers; what links
//! back to the patient is decided by the [`Privacy`] profile alone.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use hepalert_study::anatomy;

use super::contract::{Code, ContractError, Draft, EventKind, MOST_LESIONS, NOTICE, Time};
use super::ids::Identity;

/// How much of the study's identity leaves the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privacy {
    /// The study key only.
    Minimal,
    /// And the study UID.
    Linked,
    /// And the accession number.
    Full,
}

/// The way back to the study in the archive, as far as the privacy profile allows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Link {
    /// DICOM StudyInstanceUID.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub study_uid: Option<String>,
    /// DICOM AccessionNumber.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub accession_number: Option<String>,
}

impl Link {
    /// What may leave the device under a profile; `None` if nothing.
    pub fn under(
        privacy: Privacy,
        study_uid: Option<&str>,
        accession_number: Option<&str>,
    ) -> Option<Link> {
        let (uid, accession) = match privacy {
            Privacy::Minimal => (None, None),
            Privacy::Linked => (study_uid, None),
            Privacy::Full => (study_uid, accession_number),
        };
        // Lengths are those of the DICOM types; anything longer is not what it says it is.
        let fits = |text: Option<&str>, most| {
            text.filter(|t| !t.is_empty() && t.len() <= most).map(str::to_owned)
        };
        let link = Link { study_uid: fits(uid, 64), accession_number: fits(accession, 16) };
        (link != Link::default()).then_some(link)
    }
}

/// What a study is read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Setting {
    /// One non-contrast phase.
    Screening,
    /// Four phases.
    Diagnosis,
    /// One portal-venous phase.
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

impl From<hepalert_study::study::Setting> for Setting {
    fn from(setting: hepalert_study::study::Setting) -> Setting {
        match setting {
            hepalert_study::study::Setting::Screening => Setting::Screening,
            hepalert_study::study::Setting::Diagnosis => Setting::Diagnosis,
            hepalert_study::study::Setting::Venous => Setting::Venous,
            hepalert_study::study::Setting::NcAp => Setting::NcAp,
            hepalert_study::study::Setting::NcVp => Setting::NcVp,
            hepalert_study::study::Setting::NcDp => Setting::NcDp,
            hepalert_study::study::Setting::ApVp => Setting::ApVp,
            hepalert_study::study::Setting::ApDp => Setting::ApDp,
            hepalert_study::study::Setting::VpDp => Setting::VpDp,
            hepalert_study::study::Setting::NcApVp => Setting::NcApVp,
            hepalert_study::study::Setting::NcApDp => Setting::NcApDp,
            hepalert_study::study::Setting::NcVpDp => Setting::NcVpDp,
            hepalert_study::study::Setting::ApVpDp => Setting::ApVpDp,
        }
    }
}

/// A contrast phase.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
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

impl From<hepalert_study::study::Phase> for Phase {
    fn from(phase: hepalert_study::study::Phase) -> Phase {
        match phase {
            hepalert_study::study::Phase::Nc => Phase::Nc,
            hepalert_study::study::Phase::Ap => Phase::Ap,
            hepalert_study::study::Phase::Vp => Phase::Vp,
            hepalert_study::study::Phase::Dp => Phase::Dp,
        }
    }
}

/// Which phase a series was taken for, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PhaseSeen {
    /// The phase.
    pub phase: Phase,
    /// Where that was read, e.g. `file-name`, `acquisition-time`.
    pub source: Code,
    /// From 0 to 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub confidence: f64,
}

/// The outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Both views say malignant.
    Suspected,
    /// Neither does.
    NotSuspected,
    /// They disagree: worth a human look.
    Uncertain,
}

impl Verdict {
    /// The wire name.
    pub const fn name(self) -> &'static str {
        match self {
            Verdict::Suspected => "suspected",
            Verdict::NotSuspected => "not_suspected",
            Verdict::Uncertain => "uncertain",
        }
    }
}

/// A lesion type or, for a patient, none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Class {
    /// Hepatocellular carcinoma.
    #[serde(rename = "HCC")]
    Hcc,
    /// Intrahepatic cholangiocarcinoma.
    #[serde(rename = "ICC")]
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
    Normal,
}

impl From<Option<anatomy::Lesion>> for Class {
    fn from(lesion: Option<anatomy::Lesion>) -> Class {
        match lesion {
            Some(anatomy::Lesion::Hcc) => Class::Hcc,
            Some(anatomy::Lesion::Icc) => Class::Icc,
            Some(anatomy::Lesion::Meta) => Class::Meta,
            Some(anatomy::Lesion::Hem) => Class::Hem,
            Some(anatomy::Lesion::Other) => Class::Other,
            Some(anatomy::Lesion::Cyst) => Class::Cyst,
            None => Class::Normal,
        }
    }
}

/// The patient's class in both views and, where they agree, altogether.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PatientClass {
    /// In the base view.
    pub base: Class,
    /// In the high-sensitivity view.
    pub high: Class,
    /// The agreed one; absent if the views disagree.
    #[serde(rename = "final", skip_serializing_if = "Option::is_none")]
    pub agreed: Option<Class>,
}

/// In which view a lesion was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SeenIn {
    /// Both.
    Common,
    /// The high-sensitivity view only.
    HighOnly,
    /// The base view only.
    BaseOnly,
}

/// One lesion.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Lesion {
    /// Number of the lesion in the report and in the instance mask.
    pub id: u32,
    /// What it is taken for.
    pub class: Class,
    /// Whether that is a malignant class.
    pub malignant: bool,
    /// Volume in cm3.
    pub volume_cm3: f64,
    /// Longest diameter in mm.
    pub max_diameter_mm: f64,
    /// Centre in mm: x to the right, y to the front, z to the head.
    pub centre_ras_mm: [f64; 3],
    /// Mean Hounsfield units per phase.
    pub mean_hu: BTreeMap<Phase, f64>,
    /// Score of the third stage; absent if it was not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// In which view it was seen.
    pub seen_in: SeenIn,
}

/// What the result was made with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Pipeline {
    /// Version of the program.
    pub version: String,
    /// Hash over everything the outcome depends on.
    pub fingerprint: String,
}

/// An engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EngineUsed {
    /// `segment`, `reclassify`, or `bundle` where the whole is meant.
    pub role: Code,
    /// Name of the bundle.
    pub id: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of its model file, hex.
    pub sha256: String,
}

/// When what happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Timing {
    /// The scanner made the images, if they say so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acquired: Option<Time>,
    /// The first file lay in the export folder.
    pub received: Time,
    /// The study was complete.
    pub complete: Time,
    /// The result was ready to send.
    pub notified: Time,
    /// From complete to notified.
    pub time_to_notification_s: f64,
}

/// A file that goes with the result; it stays on the device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Artefact {
    /// What it is, e.g. `lesions.nii.gz`; never a path.
    pub name: String,
    /// SHA-256, hex.
    pub sha256: String,
}

/// What was found in a study.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Findings {
    /// Names the study without naming the patient.
    pub study_key: String,
    /// The way back, as far as the privacy profile allows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<Link>,
    /// What it was read for.
    pub setting: Setting,
    /// Which series was taken for which phase.
    pub phases: Vec<PhaseSeen>,
    /// The outcome.
    pub verdict: Verdict,
    /// The patient's class.
    pub patient_class: PatientClass,
    /// The lesions, most important first, at most 20.
    #[schemars(length(max = 20))]
    pub lesions: Vec<Lesion>,
    /// How many lesions there are altogether.
    pub lesions_total: u32,
    /// What may have lowered the quality.
    pub quality: Vec<Code>,
    /// What the result was made with.
    pub pipeline: Pipeline,
    /// The engines.
    pub engines: Vec<EngineUsed>,
    /// When what happened.
    pub timing: Timing,
    /// Files that go with the result.
    pub artefacts: Vec<Artefact>,
    /// What an alert is and is not; [`Findings::events`] puts it in.
    pub notice: String,
}

/// Events of an earlier revision that these findings replace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Earlier {
    /// Its result event.
    pub result: Option<Uuid>,
    /// Its alert event, if it raised one.
    pub alert: Option<Uuid>,
}

impl Findings {
    /// The events of a finished study: always a result, and an alert if anything is
    /// suspected or uncertain. Give all lesions, most important first; what does not fit is
    /// left out from the end and still counted.
    ///
    /// # Errors
    /// [`ContractError`] if a number is not finite or the rest alone is too long.
    pub fn events(
        mut self,
        identity: &Identity,
        earlier: Earlier,
        time: Timestamp,
    ) -> Result<Vec<Draft>, ContractError> {
        self.lesions_total = self.lesions.len() as u32;
        self.lesions.truncate(MOST_LESIONS);
        NOTICE.clone_into(&mut self.notice);
        let result = self.draft(EventKind::Result, identity, earlier.result, time)?;
        match self.verdict {
            Verdict::NotSuspected => Ok(vec![result]),
            Verdict::Suspected | Verdict::Uncertain => {
                let alert = self.draft(EventKind::Alert, identity, earlier.alert, time)?;
                Ok(vec![result, alert])
            }
        }
    }

    fn draft(
        &mut self,
        kind: EventKind,
        identity: &Identity,
        supersedes: Option<Uuid>,
        time: Timestamp,
    ) -> Result<Draft, ContractError> {
        loop {
            let draft = Draft {
                id: identity.id(kind, ""),
                kind,
                subject: Some(identity.study_key.clone()),
                revision: identity.revision,
                supersedes,
                time,
                data: serde_json::to_string(&self).unwrap_or_default(),
            };
            match draft.checked(&identity.device) {
                Err(ContractError::TooLarge { .. }) if self.lesions.pop().is_some() => {}
                outcome => return outcome,
            }
        }
    }
}
