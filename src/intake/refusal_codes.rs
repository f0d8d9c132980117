//! The reasons for which a study, a series or a file is refused.
//!
//! Owns the names (they go into messages), their meaning and the next step for a person.

#![expect(missing_docs, reason = "the derived `into_str` has no words of its own")]

use std::fmt;

use strum::{IntoStaticStr, VariantArray};

/// Why a study, a series or a file is refused. The names go into messages: never re-used
/// for anything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, IntoStaticStr, VariantArray)]
#[strum(const_into_str, serialize_all = "snake_case")]
pub enum RefusalCode {
    /// Not DICOM and not NIfTI.
    UnknownFormat,
    /// The file ends too early.
    TruncatedFile,
    /// The file contradicts itself.
    CorruptFile,
    /// The file cannot be opened or read.
    Unreadable,
    /// A compression or pixel format this program cannot decode.
    UnsupportedFormat,
    /// More voxels or bytes than any CT has.
    AbsurdSize,
    /// More files than any study has.
    TooManyFiles,
    /// The files went away before the study was complete.
    Vanished,
    /// The files are no longer those that were accepted.
    FilesChanged,
    /// A slice without position, orientation or pixel spacing.
    MissingGeometry,
    /// Slices are missing between others.
    MissingSlices,
    /// Two slices at one position.
    DuplicateSlicePositions,
    /// The steps between slices differ.
    UnevenSpacing,
    /// Slices are not stacked along their normal.
    GantryTilt,
    /// Image axes are not at right angles or not of unit length.
    NonOrthonormalAxes,
    /// Slices of one series differ in size, spacing, orientation or series.
    InconsistentSlices,
    /// Slices of one study name more than one patient.
    MixedPatients,
    /// Only scouts.
    Localiser,
    /// Not a CT image.
    NotCt,
    /// No series that could be read.
    NoCtSeries,
    /// Only reformatted or projected images.
    Reformatted,
    /// Only maps computed from several energies: virtual non-contrast, iodine, atomic number.
    DerivedMap,
    /// Only coronal or sagittal images.
    NotAxial,
    /// The body part is named, and it is not the trunk.
    WrongBodyRegion,
    /// The scan is too short to hold a liver.
    TooShort,
    /// Tube voltage outside the limits.
    KvpOutOfRange,
    /// The voxels are not Hounsfield units of a body.
    NotCtValues,
    /// Slices without an image, or with half of one.
    SlicesWithoutImage,
    /// Slices that repeat the pixels of another.
    RepeatedSlices,
    /// Slices rescaled otherwise than their neighbours.
    RescaleJump,
    /// The first stage saw no liver, or too little of one.
    NoLiver,
    /// A phase that the engine needs is not there.
    MissingPhase,
    /// A phase that the engine needs may be there; what names and images say leaves it open.
    PhaseUncertain,
    /// Late images of a study whose others were read and are gone.
    EarlierImagesGone,
    /// The first stage would need more memory than it may have.
    OverMemoryBudget,
}

impl RefusalCode {
    /// All codes, in the order of the table of the manual.
    pub const ALL: [RefusalCode; 35] = hepalert_study::all(RefusalCode::VARIANTS);

    /// The name in messages, tables and the store.
    pub const fn as_str(self) -> &'static str {
        self.into_str()
    }

    /// What it means, for a person.
    pub const fn sentence(self) -> &'static str {
        match self {
            RefusalCode::UnknownFormat => "the file is neither DICOM nor NIfTI",
            RefusalCode::TruncatedFile => "a file ends before its image does",
            RefusalCode::CorruptFile => "a file contradicts itself",
            RefusalCode::Unreadable => "a file cannot be opened or read",
            RefusalCode::UnsupportedFormat => "the compression or pixel format cannot be decoded",
            RefusalCode::AbsurdSize => "the header promises more voxels or bytes than any CT has",
            RefusalCode::TooManyFiles => "more files than any study has carry one study UID",
            RefusalCode::Vanished => "the files were removed before the study was complete",
            RefusalCode::FilesChanged => "the files are no longer those that were accepted",
            RefusalCode::MissingGeometry => "a slice lacks position, orientation or pixel spacing",
            RefusalCode::MissingSlices => "slices are missing between others",
            RefusalCode::DuplicateSlicePositions => "two slices lie at one position",
            RefusalCode::UnevenSpacing => "the steps between slices differ beyond tolerance",
            RefusalCode::GantryTilt => "the slices are sheared: the gantry was tilted",
            RefusalCode::NonOrthonormalAxes => {
                "the image axes are not at right angles or not of unit length"
            }
            RefusalCode::InconsistentSlices => {
                "slices of one series differ in size, spacing or orientation"
            }
            RefusalCode::MixedPatients => "slices of one study name more than one patient",
            RefusalCode::Localiser => "there are only scout images",
            RefusalCode::NotCt => "the images are not CT",
            RefusalCode::NoCtSeries => "there is no series that could be read",
            RefusalCode::Reformatted => "there are only reformatted or projected images",
            RefusalCode::DerivedMap => {
                "there are only maps: virtual non-contrast, iodine or the like"
            }
            RefusalCode::NotAxial => "there are only coronal or sagittal images",
            RefusalCode::WrongBodyRegion => "the body part is named and it is not the trunk",
            RefusalCode::TooShort => "the scan is too short to hold a liver",
            RefusalCode::KvpOutOfRange => "the tube voltage lies outside the limits",
            RefusalCode::NotCtValues => "the voxels are not Hounsfield units of a body",
            RefusalCode::SlicesWithoutImage => "slices hold no image, or only part of one",
            RefusalCode::RepeatedSlices => "slices repeat the pixels of another slice",
            RefusalCode::RescaleJump => {
                "slices are shifted or stretched in HU against their neighbours"
            }
            RefusalCode::NoLiver => "the scan does not show enough of a liver",
            RefusalCode::MissingPhase => "a phase that the engine needs was not found",
            RefusalCode::PhaseUncertain => {
                "which series is the phase that the engine needs cannot be told"
            }
            RefusalCode::EarlierImagesGone => {
                "images came late, and those that the result was read from are no longer here"
            }
            RefusalCode::OverMemoryBudget => "the study needs more memory than it may have",
        }
    }

    /// What to do next.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::UnknownFormat => {
                "export CT as DICOM or NIfTI; keep other files out of the export folder"
            }
            Self::TruncatedFile => {
                "export the study again; if it happens often, check disk space and the network"
            }
            Self::CorruptFile => "export the study again",
            Self::Unreadable => {
                "check that the path is right and that the service's user may read it; then check the disk"
            }
            Self::UnsupportedFormat => {
                "export classic CT images without compression, or one 3-D volume as NIfTI"
            }
            Self::AbsurdSize => "the header is broken or the file is no CT: look at it in a viewer",
            Self::TooManyFiles => {
                "look for several exports of the study; raise gate.max_files if it is real"
            }
            Self::Vanished => "let the exporting side keep files until a result is published",
            Self::FilesChanged => "send the study again; let each file name be used only once",
            Self::MissingGeometry => "export original images, not secondary captures",
            Self::MissingSlices => "send the series again, whole",
            Self::DuplicateSlicePositions => "export each phase as a series of its own",
            Self::UnevenSpacing => "export a reconstruction with constant increment",
            Self::GantryTilt => "export an untilted reconstruction",
            Self::NonOrthonormalAxes => "the header is broken: export the study again",
            Self::InconsistentSlices => "export each reconstruction as a series of its own",
            Self::MixedPatients => {
                "find out whose images these are before anybody reads them; send each patient's study \
                 under a StudyInstanceUID of its own"
            }
            Self::Localiser => "export the axial series too",
            Self::NotCt => "route only CT to this folder",
            Self::NoCtSeries => "export at least one axial CT series",
            Self::Reformatted => "export the original axial series",
            Self::DerivedMap => "export the series of the scan itself too",
            Self::NotAxial => "export the original axial series",
            Self::WrongBodyRegion => "route only examinations of the abdomen to this folder",
            Self::TooShort => "check that the whole series was exported",
            Self::KvpOutOfRange => {
                "read this study without the tool; the limits are in the configuration"
            }
            Self::NotCtValues => "check rescale slope and intercept, and that the file is no mask",
            Self::SlicesWithoutImage => {
                "the transfer was cut: send the series again, and compare it with the archive"
            }
            Self::RepeatedSlices => {
                "send the original series again; an interpolated copy is no scan"
            }
            Self::RescaleJump => {
                "look at rescale slope and intercept of the slices named; send the series again"
            }
            Self::NoLiver => {
                "check that the abdomen was scanned and exported whole, in the right contrast phase"
            }
            Self::MissingPhase => {
                "export the phase; `hepalert inspect` shows what every series was taken for"
            }
            Self::PhaseUncertain => {
                "name the series by phase, hand them over by name (--phase vp=PATH), or add a [[phases.rule]]; \
                 `hepalert inspect` shows what every series was taken for"
            }
            Self::EarlierImagesGone => "the result stands; send the whole study again",
            Self::OverMemoryBudget => {
                "raise engine.memory_budget_mib (of a command: --memory-mib), or send thicker slices"
            }
        }
    }
}

impl fmt::Display for RefusalCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_name_of_its_own_a_meaning_and_a_next_step() {
        for code in RefusalCode::ALL {
            assert!(code.as_str().bytes().all(|b| b == b'_' || b.is_ascii_lowercase()));
            assert!(code.sentence().len() > 10 && code.advice().len() > 10);
        }
        let mut names = RefusalCode::ALL.map(RefusalCode::as_str).to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), RefusalCode::ALL.len());
    }
}
