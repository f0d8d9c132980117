//! What was unusual in a study that is analysed all the same.
//!
//! Owns the names of the reader's quality flags, their meaning and the next step for a
//! person. A flag never changes a verdict; a study that cannot be trusted is refused instead.

use strum::{IntoStaticStr, VariantArray};

/// A reader's flag. The names go into reports and messages: never re-used for anything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum QualityFlag {
    /// Padding outside the field of view was made air.
    PaddingReplaced,
    /// The pixels went through a lossy compression.
    LossyCompression,
    /// Slices thicker than lesions of a centimetre.
    ThickSlices,
    /// Slices thinner than a reading needs; they were resampled.
    ThinSlices,
    /// Thin slices were averaged to fit into memory.
    SlicesAveraged,
    /// Every slice is there several times.
    SlicesInterpolated,
    /// One acquisition of several in one series was read.
    SeriesSplit,
}

impl QualityFlag {
    /// All flags.
    pub const ALL: [QualityFlag; 7] = hepalert_study::all(QualityFlag::VARIANTS);

    /// The name in reports and messages.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// What it means, for a person.
    pub const fn sentence(self) -> &'static str {
        match self {
            QualityFlag::PaddingReplaced => {
                "what lies outside the field of view was stored as no air and was read as -1024 HU"
            }
            QualityFlag::LossyCompression => "the images were compressed with loss",
            QualityFlag::ThickSlices => "slices lie more than 7.5 mm apart",
            QualityFlag::ThinSlices => "slices lie less than 1 mm apart",
            QualityFlag::SlicesAveraged => {
                "neighbouring slices were averaged, since the whole series does not fit into memory"
            }
            QualityFlag::SlicesInterpolated => {
                "every slice is there several times: thick slices written in thinner steps"
            }
            QualityFlag::SeriesSplit => {
                "the series holds several acquisitions; one of them was read"
            }
        }
    }

    /// What to do next.
    pub const fn advice(self) -> &'static str {
        match self {
            QualityFlag::PaddingReplaced => {
                "compare the pictures of the report with the original images"
            }
            QualityFlag::LossyCompression => "export the original images without loss",
            QualityFlag::ThickSlices => "small lesions may be missed: export thinner slices",
            QualityFlag::ThinSlices => "nothing: they were resampled; 3 to 5 mm are read sooner",
            QualityFlag::SlicesAveraged => {
                "raise engine.memory_budget_mib, or export slices of 3 to 5 mm"
            }
            QualityFlag::SlicesInterpolated => "export the slices as they were reconstructed",
            QualityFlag::SeriesSplit => "compare the phase in the report with the images",
        }
    }
}

/// Slices further apart than this are thick: half of a 15 mm lesion lies between two.
pub(crate) const THICK_MM: f64 = 7.5;

/// Slices closer than this are thin.
pub(crate) const THIN_MM: f64 = 1.0;

/// The flag of a step between slices.
pub(crate) fn of_step(step_mm: f64) -> Option<QualityFlag> {
    if step_mm > THICK_MM {
        Some(QualityFlag::ThickSlices)
    } else {
        (step_mm < THIN_MM).then_some(QualityFlag::ThinSlices)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_has_a_name_of_its_own_a_meaning_and_a_next_step() {
        let names: std::collections::BTreeSet<_> =
            QualityFlag::ALL.iter().map(|flag| flag.as_str()).collect();
        assert_eq!(names.len(), QualityFlag::ALL.len());
        for flag in QualityFlag::ALL {
            assert!(flag.sentence().len() > 10 && flag.advice().len() > 10, "{flag:?}");
        }
    }

    #[test]
    fn thick_and_thin_are_told_by_the_step() {
        assert_eq!(of_step(10.0), Some(QualityFlag::ThickSlices));
        assert_eq!(of_step(0.6), Some(QualityFlag::ThinSlices));
        assert_eq!((of_step(5.0), of_step(1.0), of_step(7.5)), (None, None, None));
    }
}
