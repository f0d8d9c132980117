//! From findings to the records of `report.json`.

use std::collections::BTreeMap;

use super::slices::Slices;
use super::types::{LesionRecord, PatientClasses, PieceRecord, ThirdStageRecord};
use hepalert_cascade::detect::Detection;
use hepalert_cascade::detect::measure::Measurements;
use hepalert_cascade::pipeline::{Finding, Findings};
use hepalert_cascade::reclassify::Reclassified;
use hepalert_cascade::verdict::Verdict;
use hepalert_pictures::findings::largest_slice;
use hepalert_study::anatomy::Lesion;
use hepalert_study::outcome::KeepReason;
use hepalert_study::phase::Phase;
use hepalert_study::study::Back;

/// Largest part of a metre, litre or unit that a report tells apart: figures are rounded to
/// this many decimals so that they read well; voxels are coarser.
const DECIMALS: i32 = 4;

/// The kept lesions, numbered as in `lesions.nii.gz`, boxes in the input's order of voxels.
pub(crate) fn kept(findings: &Findings, slices: Slices<'_>) -> Vec<LesionRecord> {
    findings.kept.iter().map(|finding| record(finding, finding.detection.id, slices)).collect()
}

/// The discarded lesions; they have no number.
pub(crate) fn discarded(findings: &Findings, slices: Slices<'_>) -> Vec<LesionRecord> {
    findings.discarded.iter().map(|finding| record(finding, 0, slices)).collect()
}

/// The classes of both views.
pub(crate) fn classes(verdict: &Verdict) -> PatientClasses {
    let joint = match verdict {
        Verdict::Decided(class) => Some(*class),
        Verdict::Uncertain { .. } => None,
    };
    PatientClasses { base: verdict.base(), high: verdict.high(), joint }
}

fn record(finding: &Finding, id: u32, slices: Slices<'_>) -> LesionRecord {
    let back = slices.back;
    let Finding { detection, measured, judged, pieces, view } = finding;
    let score = measured.score.map_or([0.0; 2], |score| [score.mean, f64::from(score.max)]);
    LesionRecord {
        id,
        class: detection.kind,
        malignant: detection.kind.is_malignant(),
        volume_cm3: rounded(detection.volume_cm3),
        max_diameter_mm: rounded(measured.max_diameter_mm),
        max_axial_diameter_mm: rounded(measured.axial_diameter_mm),
        centre_ras_mm: measured.centre_ras_mm.map(rounded),
        bbox_zyx: back.region([detection.region.lo, detection.region.hi]),
        key_slice: slices.key_slice(largest_slice(detection)),
        mean_hu: mean_hu(measured),
        surface_distance_mm: measured.liver_surface_mm.map(rounded),
        lesion_score: score.map(rounded),
        tracking_uid: None,
        tracking_id: None,
        earlier: None,
        view: *view,
        reclassified: third_stage(detection.kind, judged.as_ref()),
        pieces: pieces.iter().map(|(piece, judged)| piece_record(piece, judged, back)).collect(),
    }
}

fn piece_record(piece: &Detection, judged: &Option<Reclassified>, back: &Back) -> PieceRecord {
    PieceRecord {
        volume_cm3: rounded(piece.volume_cm3),
        bbox_zyx: back.region([piece.region.lo, piece.region.hi]),
        reclassified: third_stage(piece.kind, judged.as_ref()),
    }
}

fn mean_hu(measured: &Measurements) -> BTreeMap<Phase, f64> {
    let known =
        measured.hu.iter().filter_map(|(phase, hu)| hu.map(|hu| (*phase, rounded(hu.mean))));
    known.collect()
}

fn third_stage(kind: Lesion, judged: Option<&Reclassified>) -> ThirdStageRecord {
    let Some(judged) = judged else {
        return ThirdStageRecord {
            outcome: KeepReason::NotRun,
            score_cm3: None,
            score_std_cm3: None,
            ratio: None,
            patch_volumes_cm3: Vec::new(),
            votes_cm3: BTreeMap::new(),
            label_before: kind,
            label_after: kind,
        };
    };
    let votes = Lesion::ALL.into_iter().zip(judged.votes_cm3);
    ThirdStageRecord {
        outcome: judged.why,
        score_cm3: judged.score_cm3.map(rounded),
        score_std_cm3: judged.score_std_cm3.map(rounded),
        ratio: judged.ratio.map(rounded),
        patch_volumes_cm3: judged.patch_volumes_cm3.iter().copied().map(rounded).collect(),
        votes_cm3: votes.map(|(kind, cm3)| (kind, rounded(cm3))).collect(),
        label_before: judged.label_before,
        label_after: judged.label_after,
    }
}

/// Four decimals; what is not finite becomes 0, which JSON can hold.
pub(crate) fn rounded(value: f64) -> f64 {
    let scale = 10f64.powi(DECIMALS);
    if value.is_finite() { (value * scale).round() / scale } else { 0.0 }
}
