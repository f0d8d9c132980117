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
use hepalert_study::outcome::{AlertLevel, NOTICE, PatientClass, View};
use hepalert_study::phase::{Phase, Setting};
use hepalert_study::study::Privacy;

use super::contract::{Code, ContractError, Draft, EventKind, MAX_LESIONS, Time};
use super::ids::Identity;

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

/// Which phase a series was taken for, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PhaseSeen {
    /// The phase.
    pub phase: Phase,
    /// Where that was read, e.g. `file_name`, `names_and_images`.
    pub source: Code,
    /// From 0 to 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub confidence: f64,
}

/// The patient's class in both views and, where they agree, altogether.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
// Not the report's: where the views disagree a report says `"final": null`, and a message of v1 has
// no such field.
#[schemars(rename = "PatientClass")]
pub struct PatientClasses {
    /// In the base view.
    pub base: PatientClass,
    /// In the high-sensitivity view.
    pub high: PatientClass,
    /// The agreed one; absent if the views disagree.
    #[serde(rename = "final", skip_serializing_if = "Option::is_none")]
    pub agreed: Option<PatientClass>,
}

/// In which view a lesion was seen.
// How a `View` is written in messages: a report says `high` where v1 says `high_only`.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(remote = "View", rename_all = "snake_case")]
#[schemars(rename = "SeenIn")]
enum SeenIn {
    /// In both views.
    Common,
    /// The high-sensitivity view only.
    #[serde(rename = "high_only")]
    High,
    /// The base view only.
    #[serde(rename = "base_only")]
    Base,
}

/// One lesion.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Lesion {
    /// Number of the lesion in the report and in the instance mask.
    pub id: u32,
    /// What it is taken for.
    // The schema of v1 lists `normal` too.
    #[schemars(with = "PatientClass")]
    pub class: anatomy::Lesion,
    /// Whether that is a malignant class.
    pub malignant: bool,
    /// Volume in cm3: its voxels times the volume of a voxel, as the scan was stored.
    pub volume_cm3: f64,
    /// Longest diameter in mm: the largest distance between the centres of two of its voxels, in
    /// any direction.
    pub max_diameter_mm: f64,
    /// Centre in mm: x to the right, y to the front, z to the head.
    pub centre_ras_mm: [f64; 3],
    /// Mean Hounsfield units per phase.
    pub mean_hu: BTreeMap<Phase, f64>,
    /// Score of the third stage, in cm3: how much of the lesion its network finds again, in the
    /// mean of shuffled and original patches; absent if it was not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score_cm3: Option<f64>,
    /// The same as `score_cm3`, under its name of before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// In which view it was seen.
    #[serde(with = "SeenIn")]
    pub seen_in: View,
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
    /// SHA-256 of its manifest, which holds those of its files, hex.
    pub sha256: String,
}

/// When what happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Timing {
    /// The scanner made the images, if they say so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acquired: Option<Time>,
    /// The first file lay in the export folder; for a later revision as `complete`, since the first of its
    /// late files is not recorded.
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
    pub verdict: AlertLevel,
    /// The patient's class.
    pub patient_class: PatientClasses,
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
    /// What an alert is and is not.
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
        self.lesions.truncate(MAX_LESIONS);
        NOTICE.clone_into(&mut self.notice);
        let result = self.draft(EventKind::Result, identity, earlier.result, time)?;
        match self.verdict {
            AlertLevel::NotSuspected => Ok(vec![result]),
            AlertLevel::Suspected | AlertLevel::Uncertain => {
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
