//! One case held against the truth: counts only, so that a cohort of any size fits.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Variant;
use super::dice::{LesionVoxels, Shared, lesion_voxels};
use super::sweep::SweepPoint;
use hepalert_cascade::detect::Detection;
use hepalert_cascade::detect::matching::{Tally, match_events, match_strict};
use hepalert_cascade::verdict::{PatientClass, Verdict, classify_patient};
use hepalert_study::anatomy::{CLASS_COUNT, Lesion};
use hepalert_voxels::volume::LabelMap;

/// What one variant came to in one case.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ViewResult {
    /// One event per prediction.
    #[serde(with = "super::tally_row")]
    pub paper: Tally,
    /// Every lesion once.
    #[serde(with = "super::tally_row")]
    pub strict: Tally,
    /// The patient's class by the predicted lesions.
    pub class: PatientClass,
    /// Lesion voxels.
    pub voxels: LesionVoxels,
}

/// What one case came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CaseResult {
    /// Type and volume in cm³ of every true lesion.
    pub truth: Vec<(Lesion, f64)>,
    /// The patient's class by the true lesions.
    pub truth_class: PatientClass,
    /// By variant; [`Variant::Joint`] never has an entry of its own.
    pub views: BTreeMap<Variant, ViewResult>,
    /// By label value, of the network's own label map.
    pub labels: [Shared; CLASS_COUNT],
    /// By lesion gain; empty without a sweep.
    pub sweep: Vec<SweepPoint>,
}

impl CaseResult {
    /// Counts every view of a case; of voxels, against the true label map.
    pub fn new(
        (map, truth): (&LabelMap, &[Detection]),
        views: &BTreeMap<Variant, Vec<Detection>>,
    ) -> CaseResult {
        let class = |found: &[Detection]| classify_patient(found.iter().map(|lesion| lesion.kind));
        let view = |found: &Vec<Detection>| ViewResult {
            paper: match_events(truth, found).tally,
            strict: match_strict(truth, found),
            class: class(found),
            voxels: lesion_voxels(map, found),
        };
        CaseResult {
            truth: truth.iter().map(|lesion| (lesion.kind, lesion.volume_cm3)).collect(),
            truth_class: class(truth),
            views: views.iter().map(|(variant, found)| (*variant, view(found))).collect(),
            labels: Default::default(),
            sweep: Vec::new(),
        }
    }

    /// The joint decision, if both of its views are there.
    pub fn verdict(&self) -> Option<Verdict> {
        let class = |variant| self.views.get(&variant).map(|view: &ViewResult| view.class);
        Some(Verdict::joint(class(Variant::BaseRecls)?, class(Variant::HighRecls)?))
    }
}
