//! Why a DICOM file, or a series of slices, was refused.

/// What is wrong with one file. Each variant says what to do; [`DicomError::code`] is its
/// short name in messages. No variant holds anything of a patient.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum DicomError {
    /// Not a DICOM data set, with or without a preamble.
    #[error("this is not a DICOM file: check what was exported under this name")]
    NotDicom,
    /// The bytes end before the header or the pixels do.
    #[error("the file ends before its image does: export it again")]
    Truncated,
    /// The bytes contradict themselves.
    #[error("the file is damaged ({0}): export it again")]
    Corrupt(String),
    /// Another kind of object than a CT image.
    #[error("objects of SOP class {0} are not CT images: route only CT here")]
    NotCt(String),
    /// An enhanced multi-frame CT object that does not say where its frames lie.
    #[error(
        "enhanced multi-frame CT without functional groups for every frame: export classic CT \
         images, one per slice"
    )]
    EnhancedCt,
    /// A CT image of several frames.
    #[error("a CT image of {0} frames is not supported: export one image per slice")]
    MultiFrame(i64),
    /// An attribute without which there is no image in Hounsfield units.
    #[error("the attribute {0} is missing or unreadable: export original CT images")]
    MissingAttribute(&'static str),
    /// Colours, odd bit depths, lookup tables.
    #[error("pixels with {0} are not supported: export original CT images")]
    UnsupportedPixels(String),
    /// Values of another kind, such as electron density.
    #[error("the values are of type {0}, not Hounsfield units: export original CT images")]
    NotHounsfield(String),
    /// A compression this build cannot read.
    #[error("transfer syntax {uid} ({name}) has no decoder here: export uncompressed")]
    NoCodec {
        /// The UID of the transfer syntax.
        uid: String,
        /// Its name, if the standard has one.
        name: String,
    },
    /// The compressed stream could not be decoded.
    #[error("the compressed pixels cannot be decoded ({0}): export the file again, uncompressed")]
    CodecFailed(String),
    /// A slice larger than any CT has.
    #[error("an image of {rows} x {columns} is larger than any CT slice: the header is damaged")]
    TooLarge {
        /// Rows in the header.
        rows: u64,
        /// Columns in the header.
        columns: u64,
    },
}

impl DicomError {
    /// The short name used in messages and counters.
    pub fn code(&self) -> &'static str {
        match self {
            DicomError::NotDicom => "not_dicom",
            DicomError::Truncated => "truncated",
            DicomError::Corrupt(_) => "corrupt",
            DicomError::NotCt(_) => "not_ct",
            DicomError::EnhancedCt => "enhanced_ct",
            DicomError::MultiFrame(_) => "multi_frame",
            DicomError::MissingAttribute(_) => "missing_attribute",
            DicomError::UnsupportedPixels(_) => "unsupported_pixels",
            DicomError::NotHounsfield(_) => "not_hounsfield",
            DicomError::NoCodec { .. } => "no_codec",
            DicomError::CodecFailed(_) => "codec_failed",
            DicomError::TooLarge { .. } => "too_large",
        }
    }
}

/// Why slices are not one volume. Positions are along the normal of the slices.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum GeometryError {
    /// Fewer slices than a volume needs.
    #[error("too few slices for a volume ({found}): export the whole series")]
    TooFewSlices {
        /// Slices given.
        found: usize,
    },
    /// A slice without position, orientation or pixel spacing.
    #[error("a slice lacks {0}: export original images, not secondary captures")]
    MissingGeometry(&'static str),
    /// Slices of several series or frames of reference.
    #[error("the slices belong to several series: give one series at a time")]
    MixedSeries,
    /// Slices of different rows or columns.
    #[error("slices differ in rows or columns: export each reconstruction as its own series")]
    MixedSize,
    /// Slices of different pixel spacing.
    #[error("slices differ in pixel spacing: export each reconstruction as its own series")]
    MixedSpacing,
    /// Slices that are not parallel.
    #[error("slices differ in orientation: export the axial series without its localizer")]
    MixedOrientation,
    /// A pixel spacing or slice step that no scanner has.
    #[error("a spacing of {0} mm is not possible: export the series again")]
    BadSpacing(f64),
    /// Image axes that are not at right angles or not of unit length.
    #[error("the image axes are not at right angles or not of unit length: export it again")]
    NonOrthonormal,
    /// Slices at one position.
    #[error(
        "several slices at one position ({count} too many): export each phase as its own series"
    )]
    DuplicatePosition {
        /// Slices too many.
        count: usize,
    },
    /// A gap of a whole number of steps.
    #[error("slices are missing after the position {after_mm:.2} mm ({missing}): send them again")]
    MissingSlice {
        /// The slice before the first gap.
        after_mm: f64,
        /// Slices missing in all gaps.
        missing: usize,
    },
    /// Steps that differ by more than the tolerance.
    #[error(
        "a step of {step_mm:.3} mm among steps of {median_mm:.3} mm: export a reconstruction with \
         constant increment"
    )]
    UnevenSpacing {
        /// The step that stands out.
        step_mm: f64,
        /// The median of all steps.
        median_mm: f64,
    },
    /// The centres of the slices do not lie along their normal.
    #[error("the slices are sheared by {degrees:.2} degrees: export an untilted reconstruction")]
    GantryTilt {
        /// Angle between the normal and the line of slice centres.
        degrees: f64,
    },
    /// More voxels than `volume::MAX_VOXELS`.
    #[error("{0} voxels are more than any CT has: check the export")]
    TooLarge(u128),
    /// A slice that was not among the headers of the plan.
    #[error("a slice does not belong to the planned volume: read the series again")]
    ForeignSlice,
    /// The volume was finished before every slice was in place.
    #[error("slices of the plan were not given ({missing}): read the series again")]
    Incomplete {
        /// Slices not in place.
        missing: usize,
    },
    /// The volume does not fit into memory.
    #[error("there is not enough memory for this volume: free memory")]
    OutOfMemory,
}

impl GeometryError {
    /// The short name used in messages and counters.
    pub fn code(&self) -> &'static str {
        match self {
            GeometryError::TooFewSlices { .. } => "too_few_slices",
            GeometryError::MissingGeometry(_) => "missing_geometry",
            GeometryError::MixedSeries => "mixed_series",
            GeometryError::MixedSize => "mixed_size",
            GeometryError::MixedSpacing => "mixed_spacing",
            GeometryError::MixedOrientation => "mixed_orientation",
            GeometryError::BadSpacing(_) => "bad_spacing",
            GeometryError::NonOrthonormal => "non_orthonormal",
            GeometryError::DuplicatePosition { .. } => "duplicate_position",
            GeometryError::MissingSlice { .. } => "missing_slice",
            GeometryError::UnevenSpacing { .. } => "uneven_spacing",
            GeometryError::GantryTilt { .. } => "gantry_tilt",
            GeometryError::TooLarge(_) => "too_large",
            GeometryError::ForeignSlice => "foreign_slice",
            GeometryError::Incomplete { .. } => "incomplete",
            GeometryError::OutOfMemory => "out_of_memory",
        }
    }
}
