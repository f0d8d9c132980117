//! What the format readers say, as reasons of the gate.
//!
//! Owns the one mapping, exhaustive on purpose: a new error of a reader must be given a
//! name here before this compiles.

use super::gate::Refusal;
use crate::intake::refusal_codes::RefusalCode;
use hepalert_voxels::volume::dicom::{DicomError, GeometryError};
use hepalert_voxels::volume::nifti::NiftiError;

/// The reason behind an error of one DICOM file.
pub(super) fn of_dicom(error: &DicomError) -> RefusalCode {
    match error {
        DicomError::NotDicom => RefusalCode::UnknownFormat,
        DicomError::Truncated => RefusalCode::TruncatedFile,
        DicomError::Corrupt(_) | DicomError::MissingAttribute(_) | DicomError::CodecFailed(_) => {
            RefusalCode::CorruptFile
        }
        DicomError::NotCt(_) => RefusalCode::NotCt,
        DicomError::EnhancedCt
        | DicomError::MultiFrame(_)
        | DicomError::UnsupportedPixels(_)
        | DicomError::NoCodec { .. } => RefusalCode::UnsupportedFormat,
        DicomError::NotHounsfield(_) => RefusalCode::NotCtValues,
        DicomError::TooLarge { .. } => RefusalCode::AbsurdSize,
    }
}

/// The reason behind an error of a series of slices.
pub(super) fn of_geometry(error: &GeometryError) -> RefusalCode {
    match error {
        GeometryError::TooFewSlices { .. } => RefusalCode::TooShort,
        GeometryError::MissingGeometry(_) => RefusalCode::MissingGeometry,
        GeometryError::MixedSeries
        | GeometryError::MixedSize
        | GeometryError::MixedSpacing
        | GeometryError::MixedOrientation
        | GeometryError::ForeignSlice
        | GeometryError::Incomplete { .. } => RefusalCode::InconsistentSlices,
        GeometryError::BadSpacing(_) => RefusalCode::CorruptFile,
        GeometryError::NonOrthonormal => RefusalCode::NonOrthonormalAxes,
        GeometryError::DuplicatePosition { .. } => RefusalCode::DuplicateSlicePositions,
        GeometryError::MissingSlice { .. } => RefusalCode::MissingSlices,
        GeometryError::UnevenSpacing { .. } => RefusalCode::UnevenSpacing,
        GeometryError::GantryTilt { .. } => RefusalCode::GantryTilt,
        GeometryError::TooLarge(_) | GeometryError::OutOfMemory => RefusalCode::AbsurdSize,
    }
}

/// The reason behind an error of a NIfTI file.
pub(super) fn of_nifti(error: &NiftiError) -> RefusalCode {
    match error {
        NiftiError::NotNifti => RefusalCode::UnknownFormat,
        NiftiError::Truncated => RefusalCode::TruncatedFile,
        NiftiError::CorruptGzip(_)
        | NiftiError::TrailingData
        | NiftiError::BadOffset(_)
        | NiftiError::BadScaling(_)
        | NiftiError::BadSpacing(_)
        | NiftiError::SpacingDisagrees { .. }
        | NiftiError::BadAffine => RefusalCode::CorruptFile,
        NiftiError::HeaderPair
        | NiftiError::BadDimensions(_)
        | NiftiError::UnsupportedDatatype(_) => RefusalCode::UnsupportedFormat,
        NiftiError::TooLarge(_) | NiftiError::OutOfMemory => RefusalCode::AbsurdSize,
        NiftiError::NonOrthonormal(_) => RefusalCode::NonOrthonormalAxes,
        NiftiError::NotFinite | NiftiError::NotLabels(_) => RefusalCode::NotCtValues,
    }
}

impl From<DicomError> for Refusal {
    fn from(error: DicomError) -> Refusal {
        // Text that a header or a decoder wrote does not go further: the short name does.
        let detail = match &error {
            DicomError::NotHounsfield(_)
            | DicomError::UnsupportedPixels(_)
            | DicomError::CodecFailed(_)
            | DicomError::NotCt(_)
            | DicomError::NoCodec { .. }
            | DicomError::Corrupt(_) => error.code().to_owned(),
            DicomError::NotDicom
            | DicomError::Truncated
            | DicomError::EnhancedCt
            | DicomError::MultiFrame(_)
            | DicomError::MissingAttribute(_)
            | DicomError::TooLarge { .. } => error.to_string(),
        };
        Refusal::new(of_dicom(&error), detail, 1)
    }
}

impl From<GeometryError> for Refusal {
    fn from(error: GeometryError) -> Refusal {
        Refusal::new(of_geometry(&error), error.to_string(), 1)
    }
}

impl From<NiftiError> for Refusal {
    fn from(error: NiftiError) -> Refusal {
        Refusal::new(of_nifti(&error), error.to_string(), 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn every_condition_of_the_gate_has_its_reason() {
        let geometry = [
            GeometryError::TooFewSlices { found: 3 },
            GeometryError::MissingGeometry("x"),
            GeometryError::MixedSeries,
            GeometryError::BadSpacing(0.0),
            GeometryError::NonOrthonormal,
            GeometryError::DuplicatePosition { count: 1 },
            GeometryError::MissingSlice { after_mm: 1.0, missing: 1 },
            GeometryError::UnevenSpacing { step_mm: 1.0, median_mm: 2.0 },
            GeometryError::GantryTilt { degrees: 9.0 },
            GeometryError::TooLarge(1),
        ];
        let lines = geometry.iter().map(|e| format!("{} -> {}\n", e.code(), of_geometry(e)));
        expect![[r#"
            too_few_slices -> too_short
            missing_geometry -> missing_geometry
            mixed_series -> inconsistent_slices
            bad_spacing -> corrupt_file
            non_orthonormal -> non_orthonormal_axes
            duplicate_position -> duplicate_slice_positions
            missing_slice -> missing_slices
            uneven_spacing -> uneven_spacing
            gantry_tilt -> gantry_tilt
            too_large -> absurd_size
        "#]]
        .assert_eq(&lines.collect::<String>());
        assert_eq!(of_dicom(&DicomError::EnhancedCt), RefusalCode::UnsupportedFormat);
        assert_eq!(of_nifti(&NiftiError::Truncated), RefusalCode::TruncatedFile);
    }

    #[test]
    fn text_of_a_header_goes_no_further() {
        let refusal = Refusal::from(DicomError::NotHounsfield("MUELLER".into()));
        assert_eq!(
            (refusal.code.as_str(), refusal.detail.as_str()),
            ("not_ct_values", "not_hounsfield")
        );
    }
}
