//! What made an object: program, device, algorithm, when; and the UIDs that follow from it.
//!
//! Owns equipment, series and the names that UIDs are derived from: the same result of the same
//! study has the same UIDs however often it is written or sent, so that no archive keeps twins.

use dicom_core::VR;
use dicom_dictionary_std::tags;

use hepalert_voxels::volume::dicom::write::uid_of;

use crate::code;
use crate::dataset::{Dataset, held_to};

/// Who makes these objects.
const MANUFACTURER: &str = "hepalert";
/// Series of ours are numbered from here: far above those of any scanner.
const FIRST_SERIES_NUMBER: usize = 7700;

/// What made the results.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Maker {
    /// Version of the program.
    pub version: String,
    /// Name of the device in messages; none where there is no daemon.
    pub device: Option<String>,
    /// The engine: its id and version.
    pub engine: String,
    /// SHA-256 over everything that determines results besides the images, hex.
    pub fingerprint: String,
    /// The engine's own SHA-256, hex.
    pub engine_sha256: String,
    /// `YYYYMMDD`.
    pub date: String,
    /// `HHMMSS`.
    pub time: String,
    /// `+0100`: of date and time, and of the study's that are copied; none where these may differ.
    pub offset: Option<String>,
}

/// Which result of which study.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The study, revision, images and pipeline in one line; nothing else tells two results apart.
    name: String,
    revision: u32,
}

impl Identity {
    /// Of a study's UID, the fingerprint of its files, the revision and the pipeline.
    pub fn new(study_uid: &str, input: &str, revision: u32, pipeline: &str) -> Identity {
        Identity { name: format!("{study_uid} {input} {revision} {pipeline}"), revision }
    }

    /// And of what else sets its objects apart from others of the same result; nothing changes nothing.
    #[must_use]
    pub fn with(mut self, what: &str) -> Identity {
        if !what.is_empty() {
            self.name = format!("{} {what}", self.name);
        }
        self
    }

    /// The UID of a part of the result.
    pub fn uid(&self, part: &str) -> String {
        uid_of(&format!("{part} of {}", self.name))
    }
}

impl Maker {
    /// The device's own UID: the same for all it makes, of its name.
    pub(crate) fn device_uid(&self) -> String {
        uid_of(&format!("device {}", self.serial()))
    }
}

/// A series of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Series {
    Segmentation,
    Report,
    Captures,
    Document,
}

impl Series {
    fn modality(self) -> &'static str {
        match self {
            Series::Segmentation => "SEG",
            Series::Report => "SR",
            Series::Captures => "OT",
            Series::Document => "DOC",
        }
    }

    pub(crate) fn uid(self, identity: &Identity) -> String {
        identity.uid(self.modality())
    }

    /// What a list of series shows: which of several results this is.
    fn described(self, identity: &Identity) -> String {
        match identity.revision {
            0 | 1 => self.description().to_owned(),
            n => format!("{}, revision {n}", self.description()),
        }
    }

    fn description(self) -> &'static str {
        match self {
            Series::Segmentation => "hepalert: liver triage, segmented",
            Series::Report => "hepalert: liver triage, measured",
            Series::Captures => "hepalert: liver triage, key images",
            Series::Document => "hepalert: liver triage, report",
        }
    }
}

impl Maker {
    /// Series, equipment and the times of making.
    pub(crate) fn put_series(&self, dataset: &mut Dataset, series: Series, identity: &Identity) {
        let number = FIRST_SERIES_NUMBER + series as usize;
        dataset.texts(&[
            (tags::SPECIFIC_CHARACTER_SET, VR::CS, "ISO_IR 192"),
            (tags::MODALITY, VR::CS, series.modality()),
            (tags::SERIES_INSTANCE_UID, VR::UI, &series.uid(identity)),
            (tags::SERIES_DATE, VR::DA, &self.date),
            (tags::SERIES_TIME, VR::TM, &self.time),
            (tags::SERIES_DESCRIPTION, VR::LO, &series.described(identity)),
            (tags::CONTENT_DATE, VR::DA, &self.date),
            (tags::CONTENT_TIME, VR::TM, &self.time),
            (tags::INSTANCE_CREATION_DATE, VR::DA, &self.date),
            (tags::INSTANCE_CREATION_TIME, VR::TM, &self.time),
        ]);
        dataset.whole(tags::SERIES_NUMBER, number);
        let versions = format!("{}\\{}", held_to(&self.version, 64), held_to(&self.engine, 64));
        dataset.texts(&[
            (tags::MANUFACTURER, VR::LO, MANUFACTURER),
            (tags::MANUFACTURER_MODEL_NAME, VR::LO, MANUFACTURER),
            (tags::DEVICE_SERIAL_NUMBER, VR::LO, &self.serial()),
            (tags::SOFTWARE_VERSIONS, VR::LO, &versions),
        ]);
        if let Some(offset) = &self.offset {
            dataset.text(tags::TIMEZONE_OFFSET_FROM_UTC, VR::SH, offset);
        }
        if let Some(device) = &self.device {
            dataset.text(tags::STATION_NAME, VR::SH, &held_to(device, 16));
        }
        dataset.nested(tags::CONTRIBUTING_EQUIPMENT_SEQUENCE, self.contributing());
    }

    /// The device's name, and where there is none what determines its results.
    pub(crate) fn serial(&self) -> String {
        let serial = self.device.as_deref().unwrap_or(&self.fingerprint);
        held_to(serial, 64)
    }

    fn contributing(&self) -> Dataset {
        let mut item = Dataset::item(&[
            (tags::MANUFACTURER, VR::LO, MANUFACTURER),
            (tags::MANUFACTURER_MODEL_NAME, VR::LO, MANUFACTURER),
            (tags::SOFTWARE_VERSIONS, VR::LO, &held_to(&self.version, 64)),
            (
                tags::CONTRIBUTION_DESCRIPTION,
                VR::ST,
                "Looked for suspected liver lesions; triage aid, not a diagnosis",
            ),
        ]);
        code::PROCESSING.put(&mut item, tags::PURPOSE_OF_REFERENCE_CODE_SEQUENCE);
        item
    }

    /// What segmented, as SEG has it (PS3.3 table 10-19).
    pub(crate) fn algorithm(&self) -> Dataset {
        let parameters = format!("engine={} pipeline={}", self.engine_sha256, self.fingerprint);
        let version = format!("{} {}", self.version, self.engine);
        let mut item = Dataset::item(&[
            (tags::ALGORITHM_NAME, VR::LO, MANUFACTURER),
            (tags::ALGORITHM_VERSION, VR::LO, &held_to(&version, 64)),
            (tags::ALGORITHM_PARAMETERS, VR::LT, &parameters),
            (tags::ALGORITHM_SOURCE, VR::LO, MANUFACTURER),
        ]);
        code::ARTIFICIAL_INTELLIGENCE.put(&mut item, tags::ALGORITHM_FAMILY_CODE_SEQUENCE);
        item
    }
}
