//! The wire types of `report.json`, version 1. Within a version fields are only added.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, Serializer};

use super::slices::KeySlice;
use hepalert_bundles::Role;
use hepalert_cascade::align::PhaseAlignment;
use hepalert_engines::backend::{Backend, Precision};
use hepalert_study::alignment::{AlignmentMethod, Doubt};
use hepalert_study::anatomy::Lesion;
use hepalert_study::digest::Digest;
use hepalert_study::files::{Confidence, PhaseSource};
use hepalert_study::outcome::{AlertLevel, KeepReason, PaperStatus, PatientClass, View};
use hepalert_study::phase::{Phase, Setting};

/// Name of this version in the `schema` field.
pub(crate) const SCHEMA: &str = "hepalert.report.v1";

impl Report {
    /// Whether it is of this input, by one of these pipelines: what need not be computed again.
    pub fn is_of(&self, input: Digest, pipelines: &[String]) -> bool {
        self.input.fingerprint == input.hex() && pipelines.contains(&self.pipeline.fingerprint)
    }
}

/// Of a study with a suspected finding, and nothing else to say.
#[cfg(test)]
pub(crate) fn of_test(study_key: &str) -> Report {
    let text = serde_json::json!({
        "schema": SCHEMA, "study_key": study_key, "revision": 1, "setting": "venous",
        "phases": [], "verdict": "suspected", "paper_status": "decided",
        "patient_class": { "base": "HCC", "high": "HCC", "final": "HCC" },
        "lesions": [], "discarded": [], "liver_cm3": 1.0, "quality": [],
        "pipeline": {
            "version": "0", "fingerprint": "f", "lesion_gain": { "base": 1.0, "high": 2.0 },
        },
        "engines": [],
        "input": { "fingerprint": "", "shape": [1, 1, 1], "spacing_mm": [1.0, 1.0, 1.0],
            "acquired": null },
        "timing": { "stages": [], "total_s": 0.0 }, "peak_memory_mib": 0.0, "artefacts": [],
        "notice": "",
    });
    serde_json::from_value(text).unwrap()
}

/// How what a report holds was measured.
pub(crate) fn methods() -> BTreeMap<String, String> {
    let said = [
        ("volume_cm3", "voxels times the volume of a voxel, on the grid of the input"),
        ("max_diameter_mm", "largest distance between the centres of two voxels, in any direction"),
        ("max_axial_diameter_mm", "the longest distance between voxel centres within one slice"),
        (
            "centre_ras_mm",
            "mean of the voxels' centres; x to the right, y to the front, z to the head",
        ),
        ("mean_hu", "mean Hounsfield units of its voxels, per phase"),
        ("surface_distance_mm", "least distance of a voxel to the liver's surface"),
        ("lesion_score", "mean and highest probability of a lesion in the first stage, 0 to 1"),
        (
            "score_cm3",
            "volume of the lesion that the second network finds again, mean over original and \
             shuffled patches",
        ),
        ("ratio", "score_cm3 over volume_cm3"),
        (
            "pieces",
            "parts that were lesions of different types before the third stage, and touch; volumes \
             and diameters of the finding are of all of them",
        ),
        (
            "view",
            "in which of the two readings it is found: common (both), base, or high (only at the \
             high lesion gain)",
        ),
        ("liver_cm3", "voxels of the liver with its lesions and hepatic vessels, as volume_cm3"),
    ];
    said.map(|(field, method)| (field.to_owned(), method.to_owned())).into()
}

/// Everything that is known of one analysed study. No patient identifiers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: String,
    /// Keyed hash of the study UID, 32 hex digits.
    pub study_key: String,
    /// 1, and one more for each late series.
    pub revision: u32,
    /// What it was read for.
    pub setting: Setting,
    /// The phases read, in channel order.
    pub phases: Vec<PhaseRecord>,
    /// Every series that may have been a phase, and what was made of it.
    #[serde(default)]
    pub series: Vec<SeriesRecord>,
    /// Whether malignancy is suspected.
    pub verdict: AlertLevel,
    /// The paper's joint decision: decided if both views give one class, else uncertain.
    pub paper_status: PaperStatus,
    /// The patient classes.
    pub patient_class: PatientClasses,
    /// Lesions kept after the third stage, most urgent first.
    pub lesions: Vec<LesionRecord>,
    /// Lesions that the third stage discarded.
    pub discarded: Vec<LesionRecord>,
    /// Volume of the liver with its lesions and vessels, in cm3.
    pub liver_cm3: f64,
    /// Where that lies; none where the images do not show all of it. Reports of before do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub liver_place: Option<LiverPlace>,
    /// What may lower the trust in this report, as short codes.
    pub quality: Vec<String>,
    /// The program and its settings.
    pub pipeline: PipelineRecord,
    /// The networks used.
    pub engines: Vec<EngineRecord>,
    /// Fingerprint and grid of the input.
    pub input: InputRecord,
    /// Seconds per stage and altogether.
    pub timing: TimingRecord,
    /// Highest memory use of the process while it worked, in MiB.
    pub peak_memory_mib: f64,
    /// How volumes, diameters and scores were measured, and in which units: by field.
    #[serde(default)]
    pub methods: BTreeMap<String, String>,
    /// Files written beside this one.
    pub artefacts: Vec<ArtefactRecord>,
    /// Why another engine ran than the configured one, where it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine_choice: Option<EngineChoice>,
    /// [`NOTICE`].
    pub notice: String,
}

/// One phase and how it was recognised.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PhaseRecord {
    /// The phase that the series shows.
    pub phase: Phase,
    /// What it was recognised by.
    pub source: PhaseSource,
    /// How sure that is.
    pub confidence: Confidence,
    /// What its images show, and what was measured; absent where nothing was looked at.
    #[serde(default)]
    pub images: Option<String>,
    /// How it came onto the grid of the reference; none where one phase is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alignment: Option<AlignmentRecord>,
}

/// One series of the study: what it is, and why it was read or not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeriesRecord {
    /// Its place among the study's series, from 0. Reports of before do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<usize>,
    /// SeriesNumber, where said.
    pub series_number: Option<i64>,
    /// Series of one acquisition carry one number, from 1; 0 where it cannot be read.
    pub acquisition: usize,
    /// How many slices it has.
    pub slices: usize,
    /// SliceThickness, where said.
    pub thickness_mm: Option<f64>,
    /// The most probable phase with names, times and images weighed together, or `none`.
    #[serde(with = "phase_or_none")]
    pub phase: Option<Phase>,
    /// How probable.
    pub probability: f64,
    /// What the images alone show, or nothing: `native`, `early_arterial`, `late_arterial`,
    /// `portal_venous`, `delayed`, `none`.
    pub images: Option<String>,
    /// How probable by the images alone.
    pub images_probability: Option<f64>,
    /// The phase it was read as.
    pub chosen: Option<Phase>,
    /// Why it was read, or why not.
    pub why: String,
}

/// How a phase came onto the grid of the reference phase, and how good that is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlignmentRecord {
    /// How it came there.
    pub method: AlignmentMethod,
    /// What the quality gate found wanting, where it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doubt: Option<Doubt>,
    /// Share of the reference's tissue that this phase shows; 1 for the reference.
    pub coverage: f64,
    /// Share of voxels whose surroundings are turned inside out.
    pub folding: f64,
    /// Standard deviation of the local change of volume.
    pub jacobian_deviation: f64,
    /// Mean descriptor distance to the reference before and after, in bits of 60.
    pub distance_bits: [f64; 2],
    /// Mean distance that tissue was moved by.
    pub mean_shift_mm: f64,
}

impl AlignmentRecord {
    /// What the report says of an alignment.
    pub fn of(alignment: &PhaseAlignment) -> AlignmentRecord {
        let mut record = AlignmentRecord {
            method: alignment.method(),
            doubt: alignment.doubt(),
            coverage: 1.0,
            folding: 0.0,
            jacobian_deviation: 0.0,
            distance_bits: [0.0; 2],
            mean_shift_mm: 0.0,
        };
        if let Some((_, quality)) = &alignment.moved {
            let rounded = |v: f64| (v * 1e4).round() / 1e4;
            record.coverage = rounded(quality.coverage);
            record.folding = rounded(quality.jacobian.folding);
            record.jacobian_deviation = rounded(quality.jacobian.deviation);
            record.distance_bits = [quality.bits_before, quality.bits_after].map(rounded);
            record.mean_shift_mm = rounded(quality.mean_shift_mm);
        }
        record
    }
}

/// Why another engine ran than the configured one. The rule: of the engines whose phases are
/// all there and could be aligned, the one that takes most; of equals one with the portal venous
/// phase, then one with the native phase, then the first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EngineChoice {
    /// The configured engine.
    pub instead_of: String,
    /// Reason code: `missing_phase`, `alignment_failed` or what is wrong with a phase.
    pub code: String,
    /// The reason in a sentence.
    pub because: String,
    /// The phases that are missing or could not be used.
    pub left_out: Vec<Phase>,
}

/// The patient's class in each view.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PatientClasses {
    /// In the base view.
    pub base: PatientClass,
    /// In the high-sensitivity view.
    pub high: PatientClass,
    /// Where both agree.
    #[serde(rename = "final")]
    pub joint: Option<PatientClass>,
}

/// Where the liver lies in the patient's space, and how far it reaches: by both, places in it are
/// found again in another study of the patient.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LiverPlace {
    /// Mean of its voxels, RAS, in mm.
    pub centre_ras_mm: [f64; 3],
    /// Standard deviation of its voxels along each axis, in mm.
    pub spread_mm: [f64; 3],
}

/// A finding in an earlier study of the patient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EarlierFinding {
    /// The study.
    pub study_key: String,
    /// Its revision.
    pub revision: u32,
    /// Its number there.
    pub id: u32,
}

/// One lesion.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LesionRecord {
    /// Number in this report and in `lesions.nii.gz`; from 1. 0 for discarded lesions.
    pub id: u32,
    /// The type after the third stage.
    pub class: Lesion,
    /// HCC, ICC or metastasis.
    pub malignant: bool,
    /// Volume in cm3: its voxels times the volume of a voxel.
    pub volume_cm3: f64,
    /// Largest distance between the centres of two of its voxels, in any direction, in mm.
    pub max_diameter_mm: f64,
    /// The same within one slice, in mm.
    pub max_axial_diameter_mm: f64,
    /// Centre in patient space, RAS, in mm.
    pub centre_ras_mm: [f64; 3],
    /// Box in voxels, half-open, `[[z0,y0,x0],[z1,y1,x1]]`.
    pub bbox_zyx: [[usize; 3]; 2],
    /// The slice that shows most of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_slice: Option<KeySlice>,
    /// Mean HU per phase.
    #[serde(serialize_with = "in_order_of_name")]
    pub mean_hu: BTreeMap<Phase, f64>,
    /// Least distance of its voxels to the liver's surface, in mm, where known.
    pub surface_distance_mm: Option<f64>,
    /// Mean and highest lesion score of the first stage, 0 to 1.
    pub lesion_score: [f64; 2],
    /// What it is called in DICOM objects: the same in every revision, and in later studies of the
    /// patient where it was recognised. None where there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracking_uid: Option<String>,
    /// The same for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracking_id: Option<String>,
    /// The finding of an earlier study that it was recognised as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub earlier: Option<EarlierFinding>,
    /// In which view it stands.
    pub view: View,
    /// What the third stage found; of several pieces, their sums.
    pub reclassified: ThirdStageRecord,
    /// The pieces that became one type in the third stage and touch, largest first; none where
    /// the lesion was one from the beginning.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pieces: Vec<PieceRecord>,
}

/// A piece of a lesion, as the third stage saw it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PieceRecord {
    /// Volume in cm3.
    pub volume_cm3: f64,
    /// Box in voxels, half-open, `[[z0,y0,x0],[z1,y1,x1]]`.
    pub bbox_zyx: [[usize; 3]; 2],
    /// What the third stage found.
    pub reclassified: ThirdStageRecord,
}

/// What the second network made of a lesion.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ThirdStageRecord {
    /// Why it stays or not.
    pub outcome: KeepReason,
    /// Mean overlap over the patches, in cm3.
    pub score_cm3: Option<f64>,
    /// Standard deviation of the overlaps, in cm3.
    pub score_std_cm3: Option<f64>,
    /// `score_cm3` over the lesion's volume.
    pub ratio: Option<f64>,
    /// Overlap in each patch, in cm3.
    pub patch_volumes_cm3: Vec<f64>,
    /// Votes per lesion type, in cm3.
    #[serde(serialize_with = "in_order_of_name")]
    pub votes_cm3: BTreeMap<Lesion, f64>,
    /// The type before.
    pub label_before: Lesion,
    /// The type after.
    pub label_after: Lesion,
}

/// The program and what determines its results.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PipelineRecord {
    /// Version of hepalert.
    pub version: String,
    /// SHA-256 over version, engine and parameters.
    pub fingerprint: String,
    /// Lesion gains of the two views.
    pub lesion_gain: LesionGains,
}

/// The two sensitivities.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LesionGains {
    /// Base view.
    pub base: f32,
    /// High-sensitivity view.
    pub high: f32,
}

/// One network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EngineRecord {
    /// Which stage runs it.
    pub role: Role,
    /// The bundle's id.
    pub id: String,
    /// The bundle's version.
    pub version: u64,
    /// SHA-256 of the bundle's manifest, which holds those of its files.
    pub sha256: String,
    /// What ran it.
    pub backend: Backend,
    /// In which numbers; reports of before there was a choice do not say.
    #[serde(default = "exact")]
    pub precision: Precision,
}

const fn exact() -> Precision {
    Precision::F32
}

/// Version 1 says `none` of a series that is no phase.
mod phase_or_none {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::Phase;

    const NONE: &str = "none";

    pub(super) fn serialize<S: Serializer>(
        phase: &Option<Phase>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.serialize_str(phase.map_or(NONE, Phase::code))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Phase>, D::Error> {
        let word = String::deserialize(from)?;
        match word.as_str() {
            NONE => Ok(None),
            word => word.parse().map(Some).map_err(serde::de::Error::custom),
        }
    }
}

/// Version 1 lists names in the order of the alphabet.
fn in_order_of_name<K, S>(map: &BTreeMap<K, f64>, serializer: S) -> Result<S::Ok, S::Error>
where
    K: Copy + Into<&'static str>,
    S: Serializer,
{
    let named: BTreeMap<&str, f64> =
        map.iter().map(|(key, value)| ((*key).into(), *value)).collect();
    named.serialize(serializer)
}

/// What was read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InputRecord {
    /// SHA-256 over the content of all files, independent of names and order.
    pub fingerprint: String,
    /// SHA-256 over the voxels in whole HU, in the engine's orientation: the same for the same
    /// images as DICOM or NIfTI, in any order of storage. Reports of before do not say.
    #[serde(default)]
    pub content_sha256: String,
    /// Voxels `[z, y, x]`.
    pub shape: [usize; 3],
    /// Millimetres `[z, y, x]`.
    pub spacing_mm: [f64; 3],
    /// When the study was acquired, where the files say.
    pub acquired: Option<String>,
}

/// How long it took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TimingRecord {
    /// Seconds per stage, in order.
    pub stages: Vec<StageSeconds>,
    /// Seconds altogether.
    pub total_s: f64,
}

/// One stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageSeconds {
    /// Its name.
    pub stage: String,
    /// Its duration.
    pub seconds: f64,
}

/// A file beside the report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArtefactRecord {
    /// Path relative to the report.
    pub path: String,
    /// SHA-256 of its content.
    pub sha256: String,
    /// Its size.
    pub bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_word_is_an_error_and_never_another_word() {
        let good = r#"{"base":"HCC","high":"normal","final":null}"#;
        let classes: PatientClasses = serde_json::from_str(good).unwrap();
        assert_eq!((classes.base, classes.high), (PatientClass::Hcc, PatientClass::Normal));
        assert_eq!(serde_json::to_string(&classes).unwrap(), good);
        let strange = good.replace("HCC", "sarcoma");
        assert!(serde_json::from_str::<PatientClasses>(&strange).is_err());
        let phase = r#"{"phase":"late","source":"order","confidence":"low"}"#;
        assert!(serde_json::from_str::<PhaseRecord>(phase).is_err());
        assert!(serde_json::from_str::<PhaseRecord>(&phase.replace("late", "dp")).is_ok());
    }

    #[test]
    fn votes_and_attenuations_are_listed_by_the_alphabet() {
        let votes = Lesion::ALL.map(|kind| (kind, f64::from(kind.label()))).into();
        let record = ThirdStageRecord {
            outcome: KeepReason::Kept,
            score_cm3: None,
            score_std_cm3: None,
            ratio: None,
            patch_volumes_cm3: Vec::new(),
            votes_cm3: votes,
            label_before: Lesion::Hcc,
            label_after: Lesion::Icc,
        };
        let text = serde_json::to_string(&record).unwrap();
        let listed =
            r#""votes_cm3":{"Cyst":6.0,"HCC":1.0,"Hem":4.0,"ICC":2.0,"Meta":3.0,"Other":5.0}"#;
        assert!(text.contains(listed), "{text}");
        assert_eq!(serde_json::from_str::<ThirdStageRecord>(&text).unwrap(), record);
    }
}
