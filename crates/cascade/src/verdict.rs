//! From the lesions of the base and the high view to one patient verdict (Eq. 12 and the
//! joint decision).
//!
//! Owns the verdict and what follows from it. Knows lesion types, nothing else.

use hepalert_study::anatomy::Lesion;
use hepalert_study::outcome::PaperStatus;
pub use hepalert_study::outcome::{AlertLevel, PatientClass};

/// Eq. (12): PatCls = classifyPatient(Det_ReCls), the most urgent type present.
pub fn classify_patient(kinds: impl IntoIterator<Item = Lesion>) -> PatientClass {
    kinds.into_iter().min().map_or(PatientClass::Normal, PatientClass::from)
}

/// The joint decision of the base and the high view, as the paper has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Both views see the same class.
    Decided(PatientClass),
    /// They differ: worth human verification.
    Uncertain {
        /// The class in the base view.
        base: PatientClass,
        /// The class in the high-sensitivity view.
        high: PatientClass,
    },
}

impl Verdict {
    /// Decided if the two classes are equal, types included: HCC and ICC are not.
    pub fn joint(base: PatientClass, high: PatientClass) -> Verdict {
        if base == high { Verdict::Decided(base) } else { Verdict::Uncertain { base, high } }
    }

    /// The class in the base view.
    pub const fn base(self) -> PatientClass {
        match self {
            Verdict::Decided(base) | Verdict::Uncertain { base, .. } => base,
        }
    }

    /// The class in the high-sensitivity view.
    pub const fn high(self) -> PatientClass {
        match self {
            Verdict::Decided(high) | Verdict::Uncertain { high, .. } => high,
        }
    }

    /// The class both views agree on, if they do.
    pub const fn decided(self) -> Option<PatientClass> {
        match self {
            Verdict::Decided(class) => Some(class),
            Verdict::Uncertain { .. } => None,
        }
    }

    /// The paper's own word for it: `decided` or `uncertain`.
    pub const fn paper_status(self) -> PaperStatus {
        match self {
            Verdict::Decided(_) => PaperStatus::Decided,
            Verdict::Uncertain { .. } => PaperStatus::Uncertain,
        }
    }

    /// What an alert says. It asks about malignancy only, so two views that see different
    /// malignant types agree, and one that sees a cyst and one that sees nothing do too.
    pub const fn alert_level(self) -> AlertLevel {
        match (self.base().is_malignant(), self.high().is_malignant()) {
            (true, true) => AlertLevel::Suspected,
            (false, false) => AlertLevel::NotSuspected,
            (true, false) | (false, true) => AlertLevel::Uncertain,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_most_urgent_lesion_names_the_patient() {
        assert_eq!(classify_patient([]), PatientClass::Normal);
        assert_eq!(classify_patient([Lesion::Cyst, Lesion::Meta, Lesion::Hem]), PatientClass::Meta);
    }

    #[test]
    fn the_alert_asks_about_malignancy_and_the_paper_about_the_class() {
        let [hcc, icc, cyst] = [Lesion::Hcc, Lesion::Icc, Lesion::Cyst].map(PatientClass::from);
        let normal = PatientClass::Normal;
        let cases = [
            (hcc, hcc, "decided", AlertLevel::Suspected),
            (icc, hcc, "uncertain", AlertLevel::Suspected),
            (normal, hcc, "uncertain", AlertLevel::Uncertain),
            (hcc, cyst, "uncertain", AlertLevel::Uncertain),
            (normal, cyst, "uncertain", AlertLevel::NotSuspected),
            (normal, normal, "decided", AlertLevel::NotSuspected),
        ];
        for (base, high, status, level) in cases {
            let verdict = Verdict::joint(base, high);
            assert_eq!((verdict.paper_status().name(), verdict.alert_level()), (status, level));
            assert_eq!((verdict.base(), verdict.high()), (base, high));
        }
    }

    proptest! {
        #[test]
        fn one_more_lesion_never_lowers_the_class(
            labels in proptest::collection::vec(1..=6u8, 0..8), more in 1..=6u8,
        ) {
            let kinds = |labels: &[u8]| {
                classify_patient(labels.iter().filter_map(|&label| Lesion::from_label(label)))
            };
            let with: Vec<u8> = labels.iter().copied().chain([more]).collect();
            prop_assert!(kinds(&with) <= kinds(&labels));
        }
    }
}
