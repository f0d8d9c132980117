//! Coded concepts: what things are called so that another program knows them.
//!
//! Owns the codes of our objects. Codes of SNOMED CT, DICOM and UCUM are those of PS3.16; a
//! suspicion has no code of its own there, so the words for it are of a scheme of ours. None of
//! them says that a finding is what it is suspected to be.

use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;

use hepalert_study::anatomy::{Lesion, Organ};
use hepalert_study::outcome::{AlertLevel, PatientClass};
use hepalert_study::phase::Phase;

use crate::dataset::Dataset;

/// Designator of the scheme of ours; 99 says that it is private (PS3.16 section 8).
pub const SCHEME: &str = "99HEPALERT";

/// A value, the scheme it is of, and its meaning in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    pub(crate) value: &'static str,
    scheme: &'static str,
    pub(crate) meaning: &'static str,
}

const fn sct(value: &'static str, meaning: &'static str) -> Code {
    Code { value, scheme: "SCT", meaning }
}

const fn dcm(value: &'static str, meaning: &'static str) -> Code {
    Code { value, scheme: "DCM", meaning }
}

const fn ucum(value: &'static str, meaning: &'static str) -> Code {
    Code { value, scheme: "UCUM", meaning }
}

const fn own(value: &'static str, meaning: &'static str) -> Code {
    Code { value, scheme: SCHEME, meaning }
}

// What is segmented and measured.
pub(crate) const LESION: Code = sct("52988006", "Lesion");
pub(crate) const ABNORMAL: Code = sct("49755003", "Morphologically Abnormal Structure");
pub(crate) const ANATOMY: Code = sct("123037004", "Anatomical Structure");
pub(crate) const LIVER: Code = sct("10200004", "Liver");
pub(crate) const ARTIFICIAL_INTELLIGENCE: Code = dcm("123110", "Artificial Intelligence");
pub(crate) const SEGMENTED_FROM: Code =
    dcm("121322", "Source image for image processing operation");
pub(crate) const PROCESSING: Code = dcm("109102", "Processing Equipment");
pub(crate) const SEGMENTATION: Code = dcm("113076", "Segmentation");
pub(crate) const VOLUME: Code = sct("118565006", "Volume");
pub(crate) const LONG_AXIS: Code = sct("103339001", "Long Axis");
pub(crate) const DIAMETER: Code = sct("81827009", "Diameter");
pub(crate) const ATTENUATION: Code = dcm("112031", "Attenuation Coefficient");
pub(crate) const MEAN: Code = sct("373098007", "Mean");
pub(crate) const CUBIC_CENTIMETRE: Code = ucum("cm3", "cubic centimeter");
pub(crate) const MILLIMETRE: Code = ucum("mm", "millimeter");
pub(crate) const HOUNSFIELD: Code = ucum("[hnsf'U]", "Hounsfield unit");
// The headings of TID 1500.
pub(crate) const REPORT: Code = dcm("126000", "Imaging Measurement Report");
pub(crate) const MEASUREMENTS: Code = dcm("126010", "Imaging Measurements");
pub(crate) const MEASUREMENT_GROUP: Code = dcm("125007", "Measurement Group");
pub(crate) const QUALITATIVE: Code =
    Code { value: "C0034375", scheme: "UMLS", meaning: "Qualitative Evaluations" };
pub(crate) const LANGUAGE: Code = dcm("121049", "Language of Content Item and Descendants");
pub(crate) const ENGLISH: Code = Code { value: "en", scheme: "RFC5646", meaning: "English" };
pub(crate) const OBSERVER_TYPE: Code = dcm("121005", "Observer Type");
pub(crate) const DEVICE: Code = dcm("121007", "Device");
pub(crate) const OBSERVER_UID: Code = dcm("121012", "Device Observer UID");
pub(crate) const OBSERVER_NAME: Code = dcm("121013", "Device Observer Name");
pub(crate) const OBSERVER_MANUFACTURER: Code = dcm("121014", "Device Observer Manufacturer");
pub(crate) const OBSERVER_MODEL: Code = dcm("121015", "Device Observer Model Name");
pub(crate) const OBSERVER_SERIAL: Code = dcm("121016", "Device Observer Serial Number");
pub(crate) const PROCEDURE_REPORTED: Code = dcm("121058", "Procedure Reported");
pub(crate) const CT: Code =
    Code { value: "25045-6", scheme: "LN", meaning: "CT Unspecified Body Region" };
pub(crate) const TRACKING_ID: Code = dcm("112039", "Tracking Identifier");
pub(crate) const TRACKING_UID: Code = dcm("112040", "Tracking Unique Identifier");
pub(crate) const COMMENT: Code = dcm("121106", "Comment");
pub(crate) const FINDING: Code = dcm("121071", "Finding");
pub(crate) const FINDING_SITE: Code = sct("363698007", "Finding Site");
pub(crate) const REFERENCED_SEGMENT: Code = dcm("121191", "Referenced Segment");
pub(crate) const SOURCE_SERIES: Code = dcm("121232", "Source series for segmentation");
pub(crate) const CENTRE: Code = dcm("111010", "Center");
pub(crate) const PATH: Code = dcm("121055", "Path");
pub(crate) const DERIVATION: Code = dcm("121401", "Derivation");
pub(crate) const CONTRAST_PHASE: Code = dcm("109058", "Contrast Phase");
pub(crate) const ALGORITHM_NAME: Code = dcm("111001", "Algorithm Name");
pub(crate) const ALGORITHM_VERSION: Code = dcm("111003", "Algorithm Version");
pub(crate) const ALGORITHM_PARAMETERS: Code = dcm("111002", "Algorithm Parameters");
// What DICOM has no word for.
pub(crate) const SUSPICION: Code = own("suspicion", "Suspicion of malignancy in the liver");
pub(crate) const SUSPECTED_CLASS: Code = own("suspected_class", "Suspected type of the finding");
pub(crate) const PATIENT_CLASS: Code = own("patient_class", "Most urgent suspected type");
pub(crate) const SEEN_IN: Code = own("seen_in", "View in which the finding stands");
pub(crate) const BOTH_VIEWS: Code = own("common", "In both views");
pub(crate) const BASE_VIEW: Code = own("base", "In the base view only");
pub(crate) const HIGH_VIEW: Code = own("high", "In the high-sensitivity view only");
pub(crate) const NOTICE: Code = own("notice", "Notice");
pub(crate) const LIMIT: Code = own("limit", "What lowers the trust in this result");

impl Code {
    /// As an item of a code sequence.
    pub(crate) fn item(self) -> Dataset {
        Dataset::item(&[
            (tags::CODE_VALUE, VR::SH, self.value),
            (tags::CODING_SCHEME_DESIGNATOR, VR::SH, self.scheme),
            (tags::CODE_MEANING, VR::LO, self.meaning),
        ])
    }

    pub(crate) fn put(self, dataset: &mut Dataset, sequence: Tag) {
        dataset.nested(sequence, self.item());
    }
}

/// What a private scheme must say of itself (PS3.3 section C.12.1.1.7).
pub(crate) fn put_scheme(dataset: &mut Dataset) {
    let item = Dataset::item(&[
        (tags::CODING_SCHEME_DESIGNATOR, VR::SH, SCHEME),
        (tags::CODING_SCHEME_NAME, VR::ST, "Suspicions of hepalert"),
        (tags::CODING_SCHEME_RESPONSIBLE_ORGANIZATION, VR::ST, "hepalert"),
    ]);
    dataset.nested(tags::CODING_SCHEME_IDENTIFICATION_SEQUENCE, item);
}

/// What a lesion is suspected to be.
pub(crate) const fn suspected(kind: Lesion) -> Code {
    match kind {
        Lesion::Hcc => own("HCC", "Suspected hepatocellular carcinoma"),
        Lesion::Icc => own("ICC", "Suspected intrahepatic cholangiocarcinoma"),
        Lesion::Meta => own("Meta", "Suspected metastasis"),
        Lesion::Hem => own("Hem", "Suspected haemangioma"),
        Lesion::Other => own("Other", "Suspected other benign lesion"),
        Lesion::Cyst => own("Cyst", "Suspected cyst"),
    }
}

/// The same within a line: `suspected cyst`.
pub fn suspected_words(kind: Lesion) -> String {
    suspected(kind).meaning.to_lowercase()
}

/// What the most urgent finding of a patient is suspected to be.
pub(crate) const fn suspected_class(class: PatientClass) -> Code {
    match class {
        PatientClass::Hcc => suspected(Lesion::Hcc),
        PatientClass::Icc => suspected(Lesion::Icc),
        PatientClass::Meta => suspected(Lesion::Meta),
        PatientClass::Hem => suspected(Lesion::Hem),
        PatientClass::Other => suspected(Lesion::Other),
        PatientClass::Cyst => suspected(Lesion::Cyst),
        PatientClass::Normal => own("normal", "No finding of the algorithm"),
    }
}

/// The verdict.
pub(crate) const fn verdict(level: AlertLevel) -> Code {
    match level {
        AlertLevel::Suspected => own("suspected", "Malignancy suspected"),
        AlertLevel::NotSuspected => own("not_suspected", "Malignancy not suspected"),
        AlertLevel::Uncertain => own("uncertain", "Uncertain: worth a human look"),
    }
}

/// A contrast phase.
pub(crate) const fn phase(phase: Phase) -> Code {
    match phase {
        Phase::Nc => own("nc", "Native phase"),
        Phase::Ap => own("ap", "Arterial phase"),
        Phase::Vp => own("vp", "Portal venous phase"),
        Phase::Dp => own("dp", "Delayed phase"),
    }
}

/// An organ as a segment.
pub(crate) const fn organ(organ: Organ) -> Code {
    match organ {
        Organ::Liver => LIVER,
        Organ::HepaticVessels => sct("8993003", "Hepatic vein"),
        Organ::PortalVein => sct("32764006", "Portal vein"),
        Organ::Gallbladder => sct("28231008", "Gallbladder"),
        Organ::Spleen => sct("78961009", "Spleen"),
        Organ::Pancreas => sct("15776009", "Pancreas"),
        Organ::Stomach => sct("69695003", "Stomach"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_for_a_finding_says_suspected() {
        for kind in Lesion::ALL {
            assert!(suspected(kind).meaning.starts_with("Suspected "));
            assert_eq!(suspected_class(PatientClass::from(kind)), suspected(kind));
        }
        for level in [AlertLevel::Suspected, AlertLevel::NotSuspected, AlertLevel::Uncertain] {
            assert_eq!(verdict(level).value, level.name());
        }
    }

    #[test]
    fn values_fit_their_types() {
        let all = Lesion::ALL.map(suspected).into_iter();
        let all = all.chain(Organ::ALL.map(organ)).chain(Phase::ALL.map(phase));
        for code in
            all.chain([QUALITATIVE, SUSPICION, SUSPECTED_CLASS, PATIENT_CLASS, SEEN_IN, LIMIT])
        {
            assert!(code.value.len() <= 16 && code.meaning.len() <= 64, "{code:?}");
        }
    }
}
