//! The reasons for which a study, a series or a file is refused.
//!
//! Owns the names (they go into messages), their meaning and the next step for a person.

use std::fmt;

/// Why a study, a series or a file is refused. The names go into messages: never re-used
/// for anything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RejectCode {
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
    /// The first stage would need more memory than it may have.
    OverMemoryBudget,
}

impl RejectCode {
    /// All codes, in the order of the table of the manual.
    pub const ALL: [RejectCode; 33] = [
        RejectCode::UnknownFormat,
        RejectCode::TruncatedFile,
        RejectCode::CorruptFile,
        RejectCode::Unreadable,
        RejectCode::UnsupportedFormat,
        RejectCode::AbsurdSize,
        RejectCode::TooManyFiles,
        RejectCode::Vanished,
        RejectCode::FilesChanged,
        RejectCode::MissingGeometry,
        RejectCode::MissingSlices,
        RejectCode::DuplicateSlicePositions,
        RejectCode::UnevenSpacing,
        RejectCode::GantryTilt,
        RejectCode::NonOrthonormalAxes,
        RejectCode::InconsistentSlices,
        RejectCode::Localiser,
        RejectCode::NotCt,
        RejectCode::NoCtSeries,
        RejectCode::Reformatted,
        RejectCode::DerivedMap,
        RejectCode::NotAxial,
        RejectCode::WrongBodyRegion,
        RejectCode::TooShort,
        RejectCode::KvpOutOfRange,
        RejectCode::NotCtValues,
        RejectCode::SlicesWithoutImage,
        RejectCode::RepeatedSlices,
        RejectCode::RescaleJump,
        RejectCode::NoLiver,
        RejectCode::MissingPhase,
        RejectCode::PhaseUncertain,
        RejectCode::OverMemoryBudget,
    ];

    /// The name in messages, tables and the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            RejectCode::UnknownFormat => "unknown_format",
            RejectCode::TruncatedFile => "truncated_file",
            RejectCode::CorruptFile => "corrupt_file",
            RejectCode::Unreadable => "unreadable",
            RejectCode::UnsupportedFormat => "unsupported_format",
            RejectCode::AbsurdSize => "absurd_size",
            RejectCode::TooManyFiles => "too_many_files",
            RejectCode::Vanished => "vanished",
            RejectCode::FilesChanged => "files_changed",
            RejectCode::MissingGeometry => "missing_geometry",
            RejectCode::MissingSlices => "missing_slices",
            RejectCode::DuplicateSlicePositions => "duplicate_slice_positions",
            RejectCode::UnevenSpacing => "uneven_spacing",
            RejectCode::GantryTilt => "gantry_tilt",
            RejectCode::NonOrthonormalAxes => "non_orthonormal_axes",
            RejectCode::InconsistentSlices => "inconsistent_slices",
            RejectCode::Localiser => "localiser",
            RejectCode::NotCt => "not_ct",
            RejectCode::NoCtSeries => "no_ct_series",
            RejectCode::Reformatted => "reformatted",
            RejectCode::DerivedMap => "derived_map",
            RejectCode::NotAxial => "not_axial",
            RejectCode::WrongBodyRegion => "wrong_body_region",
            RejectCode::TooShort => "too_short",
            RejectCode::KvpOutOfRange => "kvp_out_of_range",
            RejectCode::NotCtValues => "not_ct_values",
            RejectCode::SlicesWithoutImage => "slices_without_image",
            RejectCode::RepeatedSlices => "repeated_slices",
            RejectCode::RescaleJump => "rescale_jump",
            RejectCode::NoLiver => "no_liver",
            RejectCode::MissingPhase => "missing_phase",
            RejectCode::PhaseUncertain => "phase_uncertain",
            RejectCode::OverMemoryBudget => "over_memory_budget",
        }
    }

    /// What it means, for a person.
    pub const fn sentence(self) -> &'static str {
        match self {
            RejectCode::UnknownFormat => "the file is neither DICOM nor NIfTI",
            RejectCode::TruncatedFile => "a file ends before its image does",
            RejectCode::CorruptFile => "a file contradicts itself",
            RejectCode::Unreadable => "a file cannot be opened or read",
            RejectCode::UnsupportedFormat => "the compression or pixel format cannot be decoded",
            RejectCode::AbsurdSize => "the header promises more voxels or bytes than any CT has",
            RejectCode::TooManyFiles => "more files than any study has carry one study UID",
            RejectCode::Vanished => "the files were removed before the study was complete",
            RejectCode::FilesChanged => "the files are no longer those that were accepted",
            RejectCode::MissingGeometry => "a slice lacks position, orientation or pixel spacing",
            RejectCode::MissingSlices => "slices are missing between others",
            RejectCode::DuplicateSlicePositions => "two slices lie at one position",
            RejectCode::UnevenSpacing => "the steps between slices differ beyond tolerance",
            RejectCode::GantryTilt => "the slices are sheared: the gantry was tilted",
            RejectCode::NonOrthonormalAxes => {
                "the image axes are not at right angles or not of unit length"
            }
            RejectCode::InconsistentSlices => {
                "slices of one series differ in size, spacing or orientation"
            }
            RejectCode::Localiser => "there are only scout images",
            RejectCode::NotCt => "the images are not CT",
            RejectCode::NoCtSeries => "there is no series that could be read",
            RejectCode::Reformatted => "there are only reformatted or projected images",
            RejectCode::DerivedMap => {
                "there are only maps: virtual non-contrast, iodine or the like"
            }
            RejectCode::NotAxial => "there are only coronal or sagittal images",
            RejectCode::WrongBodyRegion => "the body part is named and it is not the trunk",
            RejectCode::TooShort => "the scan is too short to hold a liver",
            RejectCode::KvpOutOfRange => "the tube voltage lies outside the limits",
            RejectCode::NotCtValues => "the voxels are not Hounsfield units of a body",
            RejectCode::SlicesWithoutImage => "slices hold no image, or only part of one",
            RejectCode::RepeatedSlices => "slices repeat the pixels of another slice",
            RejectCode::RescaleJump => {
                "slices are shifted or stretched in HU against their neighbours"
            }
            RejectCode::NoLiver => "the scan does not show enough of a liver",
            RejectCode::MissingPhase => "a phase that the engine needs was not found",
            RejectCode::PhaseUncertain => {
                "which series is the phase that the engine needs cannot be told"
            }
            RejectCode::OverMemoryBudget => "the study needs more memory than it may have",
        }
    }

    /// What to do next.
    pub const fn advice(self) -> &'static str {
        match self {
            RejectCode::UnknownFormat => {
                "export CT as DICOM or NIfTI; keep other files out of the export folder"
            }
            RejectCode::TruncatedFile => {
                "export the study again; if it happens often, check disk space and the network"
            }
            RejectCode::CorruptFile => "export the study again",
            RejectCode::Unreadable => {
                "check that the service's user may read the export folder, and the disk's health"
            }
            RejectCode::UnsupportedFormat => {
                "export classic CT images without compression, or one 3-D volume as NIfTI"
            }
            RejectCode::AbsurdSize => {
                "the header is broken or the file is no CT: look at it in a viewer"
            }
            RejectCode::TooManyFiles => {
                "look for several exports of the study; raise gate.max_files if it is real"
            }
            RejectCode::Vanished => "let the exporting side keep files until a result is published",
            RejectCode::FilesChanged => {
                "send the study again; let the exporting side use each file name only once"
            }
            RejectCode::MissingGeometry => "export original images, not secondary captures",
            RejectCode::MissingSlices => "send the series again, whole",
            RejectCode::DuplicateSlicePositions => "export each phase as a series of its own",
            RejectCode::UnevenSpacing => "export a reconstruction with constant increment",
            RejectCode::GantryTilt => "export an untilted reconstruction",
            RejectCode::NonOrthonormalAxes => "the header is broken: export the study again",
            RejectCode::InconsistentSlices => "export each reconstruction as a series of its own",
            RejectCode::Localiser => "export the axial series too",
            RejectCode::NotCt => "route only CT to this folder",
            RejectCode::NoCtSeries => "export at least one axial CT series",
            RejectCode::Reformatted => "export the original axial series",
            RejectCode::DerivedMap => "export the series of the scan itself too",
            RejectCode::NotAxial => "export the original axial series",
            RejectCode::WrongBodyRegion => "route only examinations of the abdomen to this folder",
            RejectCode::TooShort => "check that the whole series was exported",
            RejectCode::KvpOutOfRange => {
                "read this study without the tool; the limits are in the configuration"
            }
            RejectCode::NotCtValues => {
                "check rescale slope and intercept, and that the file is no mask"
            }
            RejectCode::SlicesWithoutImage => {
                "the transfer was cut: send the series again, and compare it with the archive"
            }
            RejectCode::RepeatedSlices => {
                "send the original series again; an interpolated copy is no scan"
            }
            RejectCode::RescaleJump => {
                "look at rescale slope and intercept of the slices named; send the series again"
            }
            RejectCode::NoLiver => {
                "check that the abdomen was scanned and exported whole, in the right contrast phase"
            }
            RejectCode::MissingPhase => {
                "export the phase; `hepalert inspect` shows what every series was taken for"
            }
            RejectCode::PhaseUncertain => {
                "name the series by phase, or add a [[phases.rule]] to the configuration; \
                 `hepalert inspect` shows what every series was taken for"
            }
            RejectCode::OverMemoryBudget => {
                "raise engine.memory_budget_mib if the device has the memory, or scan less"
            }
        }
    }

    /// The inverse of [`RejectCode::as_str`].
    pub fn from_name(name: &str) -> Option<RejectCode> {
        RejectCode::ALL.into_iter().find(|code| code.as_str() == name)
    }
}

impl fmt::Display for RejectCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_name_of_its_own_a_meaning_and_a_next_step() {
        for code in RejectCode::ALL {
            assert_eq!(RejectCode::from_name(code.as_str()), Some(code));
            assert!(code.as_str().bytes().all(|b| b == b'_' || b.is_ascii_lowercase()));
            assert!(code.sentence().len() > 10 && code.advice().len() > 10);
        }
        let mut names = RejectCode::ALL.map(RejectCode::as_str).to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), RejectCode::ALL.len());
    }
}
