//! Why a NIfTI file was refused.

/// Each variant says what is wrong and what to do; [`NiftiError::code`] is its short name
/// in messages.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum NiftiError {
    /// Neither a NIfTI-1 nor a NIfTI-2 header.
    #[error("this is not a NIfTI file: check what was exported under this name")]
    NotNifti,
    /// The header half of a `.hdr`/`.img` pair.
    #[error("this is one half of an .hdr/.img pair: convert it to a single .nii or .nii.gz")]
    HeaderPair,
    /// The bytes end before the voxels do, or before the gzip trailer.
    #[error("the file ends too early: copy it again")]
    Truncated,
    /// Inflating failed, or a checksum or length in a gzip trailer is not met.
    #[error("the gzip stream is damaged ({0}): copy the file again")]
    CorruptGzip(String),
    /// More bytes after the voxels than padding explains.
    #[error("more bytes follow the voxels than the header promises: write the file again")]
    TrailingData,
    /// Not three dimensions, or an empty or negative one.
    #[error(
        "dimensions {0:?} are not one volume: export a single 3-D series, not a time series or a \
         slice"
    )]
    BadDimensions(Vec<i64>),
    /// More voxels than `volume::MAX_VOXELS`.
    #[error("{0} voxels are more than any CT has: the header is damaged, or resample the file")]
    TooLarge(u128),
    /// Colours, complex numbers, bits, 128-bit floats or an unknown code.
    #[error("datatype {0} is not supported: convert the voxels to a plain integer or float type")]
    UnsupportedDatatype(i64),
    /// `vox_offset` points into the header, far away, or is not whole.
    #[error("the voxels cannot start at byte {0}: the header is damaged, write the file again")]
    BadOffset(f64),
    /// A slope to apply, and an intercept that is no number.
    #[error("the intercept {0} of the intensity scaling is not a number: write the file again")]
    BadScaling(f64),
    /// A voxel spacing that is zero, no number, or of no scanner.
    #[error("a voxel spacing of {0} mm is not possible: correct the header")]
    BadSpacing(f64),
    /// The sform has other voxel sizes than `pixdim`.
    #[error(
        "the header gives two voxel spacings along one axis, {pixdim_mm} mm and {sform_mm} mm: \
         correct it"
    )]
    SpacingDisagrees {
        /// What `pixdim` says.
        pixdim_mm: f64,
        /// What the length of the column of the sform says.
        sform_mm: f64,
    },
    /// The orientation has entries that are no numbers, or no length.
    #[error("the orientation in the header is not valid: convert the series again")]
    BadAffine,
    /// The axes do not stand at right angles.
    #[error(
        "the axes are not at right angles (cosine {0:.4}): gantry tilt or a shear must be resampled \
         before"
    )]
    NonOrthonormal(f64),
    /// A voxel is NaN or infinite.
    #[error("a voxel is not a finite number: convert the series again")]
    NotFinite,
    /// A voxel of a label map is not a whole number from 0 to 255.
    #[error("the voxel value {0} is not a label from 0 to 255: this is not a label map")]
    NotLabels(f64),
    /// The volume does not fit into memory.
    #[error("there is not enough memory for this volume: free memory or resample the file")]
    OutOfMemory,
}

impl NiftiError {
    /// The short name used in messages and counters.
    pub fn code(&self) -> &'static str {
        match self {
            NiftiError::NotNifti => "not_nifti",
            NiftiError::HeaderPair => "header_pair",
            NiftiError::Truncated => "truncated",
            NiftiError::CorruptGzip(_) => "corrupt_gzip",
            NiftiError::TrailingData => "trailing_data",
            NiftiError::BadDimensions(_) => "bad_dimensions",
            NiftiError::TooLarge(_) => "too_large",
            NiftiError::UnsupportedDatatype(_) => "unsupported_datatype",
            NiftiError::BadOffset(_) => "bad_offset",
            NiftiError::BadScaling(_) => "bad_scaling",
            NiftiError::BadSpacing(_) => "bad_spacing",
            NiftiError::SpacingDisagrees { .. } => "spacing_disagrees",
            NiftiError::BadAffine => "bad_affine",
            NiftiError::NonOrthonormal(_) => "non_orthonormal",
            NiftiError::NotFinite => "not_finite",
            NiftiError::NotLabels(_) => "not_labels",
            NiftiError::OutOfMemory => "out_of_memory",
        }
    }
}
