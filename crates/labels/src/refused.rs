//! Why an edit is not made.
//!
//! Owns the codes and sentences. A refused edit has changed nothing.

/// Each variant says what is wrong and what to do; [`Refused::code`] is its short name.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refused {
    /// A voxel that is none.
    #[error("voxel {at:?} is outside the image of {shape:?} voxels (z, y, x): load the case again")]
    Outside {
        /// The voxel named.
        at: [usize; 3],
        /// Voxels along z, y, x.
        shape: [usize; 3],
    },
    /// Background is no region.
    #[error("voxel {0:?} carries no label: point at a region")]
    Background([usize; 3]),
    /// A voxel that must lie in the region and does not.
    #[error("voxel {0:?} is not in the region: place every point inside it")]
    NotInRegion([usize; 3]),
    /// A run of voxels that leaves its row or the image.
    #[error("a run of {length} voxels from {at:?} leaves the image of {shape:?} voxels")]
    RunOutside {
        /// Its first voxel.
        at: [usize; 3],
        /// Its length.
        length: usize,
        /// Voxels along z, y, x.
        shape: [usize; 3],
    },
    /// More than is taken at once.
    #[error("{found} {what}, and at most {most} are taken at once: do it in parts")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// The limit.
        most: usize,
    },
    /// Fewer than make sense.
    #[error("{what}: {found} given, at least {least} are needed")]
    TooFew {
        /// Of what.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// The least.
        least: usize,
    },
    /// A number that is none, or out of its range.
    #[error("{what} must be from {least} to {most}")]
    Number {
        /// Which number.
        what: &'static str,
        /// The smallest allowed.
        least: f64,
        /// The largest allowed.
        most: f64,
    },
    /// The contours to interpolate between do not follow each other.
    #[error("the contours must carry one label and lie in different slices")]
    Contours,
    /// Two regions too far apart to be joined.
    #[error(
        "the regions are {gap_mm:.1} mm apart, at most {most_mm} mm are bridged: paint between them"
    )]
    Apart {
        /// From edge to edge.
        gap_mm: f64,
        /// The limit.
        most_mm: f64,
    },
    /// The image that thresholds are read from is not there.
    #[error(
        "there is no image on this grid to read Hounsfield units from: choose the case's image"
    )]
    NoImage,
    /// The other phase's label map is not there.
    #[error("the case has no labels of phase {0}: open them first")]
    NoPhase(String),
    /// Label values that the folder has no names for: nobody could say what they mean.
    #[error(
        "label {} has no name here; there are {known}: take one of these, or name it in dataset.json",
        listed(found)
    )]
    Unnamed {
        /// The values, ascending.
        found: Vec<u8>,
        /// The labels that there are, as `1 HCC`.
        known: String,
    },
    /// A map that came with a case, of whose values nobody has said what they mean.
    #[error(
        "nobody has said what the values of {labels} mean ({}): say it on the page of the case, or \
         by `hepalert label FOLDER --means {labels}:VALUE=LABEL,..`",
        listed(found)
    )]
    OpenValues {
        /// The name of the file within its case.
        labels: String,
        /// The values, ascending.
        found: Vec<u8>,
    },
    /// A label map of another image.
    #[error("these labels do not lie on the grid of the image: load the case again")]
    OtherGrid,
}

impl Refused {
    /// The short name used in answers.
    pub const fn code(&self) -> &'static str {
        match self {
            Refused::Outside { .. } => "outside_image",
            Refused::Background(_) => "no_region",
            Refused::NotInRegion(_) => "not_in_region",
            Refused::RunOutside { .. } => "run_outside_image",
            Refused::TooMany { .. } => "too_many",
            Refused::TooFew { .. } => "too_few",
            Refused::Number { .. } => "number_out_of_range",
            Refused::Contours => "contours_do_not_match",
            Refused::Apart { .. } => "regions_apart",
            Refused::NoImage => "no_image",
            Refused::NoPhase(_) => "no_such_phase",
            Refused::Unnamed { .. } => "unknown_label",
            Refused::OpenValues { .. } => "unknown_meaning",
            Refused::OtherGrid => "geometry_mismatch",
        }
    }
}

/// The first of some values, and how many more there are.
pub(crate) fn listed(values: &[u8]) -> String {
    const SHOWN: usize = 8;
    let mut text: Vec<String> = values.iter().take(SHOWN).map(ToString::to_string).collect();
    if values.len() > SHOWN {
        text.push(format!("{} more", values.len() - SHOWN));
    }
    text.join(", ")
}
