//! The order of the stages: the only file that knows it.
//!
//! segment -> read at two lesion gains -> seg2det -> what is not of the liver goes -> reclassify ->
//! joint verdict -> measure.
//! Owns [`Findings`], what the cascade makes of one aligned study. Refuses files and wire
//! formats; it alone among the stages looks at the clock, to tell how long each took.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use ndarray::Array3;

use crate::detect::measure::{self, Measurements};
use crate::detect::{Detection, matching, seg2det};
use crate::reclassify::{self, Cache, Candidate, Prepared, Reclassified, Sampling, Seed};
use crate::segment::{self, LesionGain, Scores};
use crate::verdict::{PatientClass, Verdict, classify_patient};
use hepalert_bundles::NetworkPlan;
use hepalert_engines::Engine;
pub use hepalert_study::outcome::View;
use hepalert_study::study::AlignedStudy;
use hepalert_voxels::volume::LabelMap;

use surroundings::Surroundings;

pub(crate) mod merge;
pub mod situs;
mod surroundings;
#[cfg(test)]
mod tests;

/// The two networks. A bundle may lack the second: then no lesion is judged again.
pub struct Networks<'a> {
    /// How the first network wants its input.
    pub segment_plan: &'a segment::Plan,
    /// The first network, one engine per fold.
    pub segment: &'a mut [Box<dyn Engine>],
    /// The second network and its plan.
    pub reclassify: Option<(&'a NetworkPlan, &'a mut (dyn Engine + 'static))>,
}

/// What determines the result besides study and networks.
#[derive(Debug, Clone, Copy)]
pub struct CascadeParams {
    /// Gain of the base view; 1 in the paper.
    pub base_gain: LesionGain,
    /// Gain of the high-sensitivity view.
    pub high_gain: LesionGain,
    /// How lesions are judged in the third stage.
    pub reclassify: reclassify::ReclassifyParams,
    /// Where the shuffled patches come from.
    pub seed: Seed,
}

/// A stage, for progress and times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Stage {
    /// The first network.
    Segment,
    /// Lesions out of the two label maps.
    Detect,
    /// The second network.
    Reclassify,
    /// The verdict and the measurements.
    Measure,
}

impl Stage {
    /// The name in reports and progress lines.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// One lesion with all that is known of it.
#[derive(Debug, Clone)]
pub struct Finding {
    /// Where it is; `kind` is its type after the third stage.
    pub detection: Detection,
    /// Its measurements on the study's own grid.
    pub measured: Measurements,
    /// What was decided and what the second network said; `None` without one.
    pub judged: Option<Reclassified>,
    /// What it was joined from after the third stage, largest first; none if it was one.
    pub pieces: Vec<merge::Piece>,
    /// In which view it stands.
    pub view: View,
}

/// What the cascade makes of one study.
#[derive(Debug)]
pub struct Findings {
    /// Labels of the base view, before the third stage.
    pub labels_base: LabelMap,
    /// Labels of the high-sensitivity view, before the third stage.
    pub labels_high: LabelMap,
    /// What the label maps were read from; any other gain can be.
    pub scores: Scores,
    /// Lesions that stay: label, volume descending, box; numbered from 1.
    pub kept: Vec<Finding>,
    /// Lesions that are not of the liver, or that the third stage discarded.
    pub discarded: Vec<Finding>,
    /// The joint decision.
    pub verdict: Verdict,
    /// The liver of the base view `[z, y, x]`, with the lesions and hepatic vessels in it: its largest
    /// piece, and pieces of at least a quarter of that. All false if there is none.
    pub liver: Array3<bool>,
    /// Its volume.
    pub liver_cm3: f64,
    /// The liver reaches the first or the last slice: part of it may be missing.
    pub liver_cut: bool,
    /// Time of each stage, in order.
    pub times: Vec<(Stage, Duration)>,
}

/// Why a study has no findings.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// The first stage.
    #[error(transparent)]
    Segment(#[from] segment::SegmentError),
    /// The first network gave noise.
    #[error("the first network's label map is noise: {0}")]
    Fragmented(#[from] seg2det::TooFragmented),
    /// The study does not fit the second network.
    #[error(transparent)]
    Prepare(#[from] reclassify::PrepareError),
    /// The third stage.
    #[error(transparent)]
    Reclassify(#[from] reclassify::ReclassifyError),
}

/// Hears of every step and says whether to go on.
pub type Watch<'a> = &'a mut dyn FnMut(Stage, usize, usize) -> ControlFlow<()>;

/// Runs the cascade.
///
/// # Errors
/// [`PipelineError`], also when `watch` asked to stop.
pub fn analyze(
    study: &AlignedStudy,
    networks: Networks<'_>,
    params: &CascadeParams,
    watch: Watch<'_>,
) -> Result<Findings, PipelineError> {
    let mut clock = Clock::start();
    let scores = run_segment(study, networks.segment_plan, networks.segment, watch)?;
    clock.lap(Stage::Segment);

    let labels_base = scores.labels(params.base_gain);
    let labels_high = scores.labels(params.high_gain);
    let (rules, limits) = (seg2det::DetectParams::default(), seg2det::FragmentLimits::default());
    let base = seg2det::seg2det_within(&labels_base, &rules, &limits)?;
    let high = seg2det::seg2det_within(&labels_high, &rules, &limits)?;
    let around = Surroundings::new(study, &labels_base);
    let [(base, base_away), (high, high_away)] = [base, high].map(|view| set_aside(view, &around));
    clock.lap(Stage::Detect);

    let judged =
        reclassify_views(study, &labels_high, [&base, &high], networks.reclassify, params, watch)?;
    clock.lap(Stage::Reclassify);

    let [judged_base, judged_high] = judged.map_or([None, None], |views| views.map(Some));
    let base = split_kept(base, judged_base, base_away);
    let high = split_kept(high, judged_high, high_away);
    let verdict = Verdict::joint(base.class(), high.class());
    let liver = around.into_liver();
    let lesions = Measuring::new(study, &scores, &liver).merge(base, high);
    let [slices, ..] = study.grid().shape();
    let touches = |z: usize| liver.index_axis(ndarray::Axis(0), z).iter().any(|on| *on);
    let liver_cut = touches(0) || touches(slices - 1);
    let liver_voxels = liver.iter().filter(|on| **on).count();
    clock.lap(Stage::Measure);
    Ok(Findings {
        kept: lesions.kept,
        discarded: lesions.discarded,
        verdict,
        liver_cm3: liver_voxels as f64 * study.grid().voxel_cm3(),
        liver_cut,
        liver,
        labels_base,
        labels_high,
        times: clock.stages,
        scores,
    })
}

fn run_segment(
    study: &AlignedStudy,
    plan: &segment::Plan,
    engines: &mut [Box<dyn Engine>],
    watch: Watch<'_>,
) -> Result<Scores, PipelineError> {
    let mut step = |progress: segment::Progress| {
        watch(Stage::Segment, progress.tiles_done, progress.tiles_total)
    };
    Ok(segment::segment(study, plan, engines, &mut step)?)
}

/// The third stage on the lesions of both views; identical masks are judged once.
fn reclassify_views(
    study: &AlignedStudy,
    labels_high: &LabelMap,
    views: [&[Detection]; 2],
    network: Option<(&NetworkPlan, &mut (dyn Engine + 'static))>,
    params: &CascadeParams,
    watch: Watch<'_>,
) -> Result<Option<[Vec<Reclassified>; 2]>, PipelineError> {
    let Some((plan, engine)) = network else { return Ok(None) };
    if views.iter().all(|view| view.is_empty()) {
        return Ok(Some([Vec::new(), Vec::new()]));
    }
    let sampling = Sampling::of_plan(plan)?;
    // The high view's region holds the lesions of both.
    let prepared = Prepared::new(study, labels_high, &sampling)?;
    let mut cache = Cache::default();
    let mut step = |done, total| watch(Stage::Reclassify, done, total);
    let mut run = |view: &[Detection]| {
        let candidates: Vec<Candidate<'_>> = view.iter().map(candidate).collect();
        let rules = &params.reclassify;
        reclassify::reclassify(
            &prepared,
            &candidates,
            engine,
            rules,
            params.seed,
            &mut cache,
            &mut step,
        )
    };
    let [base, high] = views;
    Ok(Some([run(base)?, run(high)?]))
}

/// A detection as the third stage takes it.
pub fn candidate(detection: &Detection) -> Candidate<'_> {
    Candidate {
        id: detection.id,
        kind: detection.kind,
        lo: detection.region.lo,
        mask: &detection.mask,
        volume_cm3: detection.volume_cm3,
    }
}

/// One view after the third stage.
struct DecidedView {
    kept: Vec<merge::Piece>,
    discarded: Vec<merge::Piece>,
}

impl DecidedView {
    fn class(&self) -> PatientClass {
        classify_patient(self.kept.iter().map(|(detection, _)| detection.kind))
    }
}

/// The lesions that may be of the liver, and those that cannot be, with the reason.
fn set_aside(
    view: Vec<Detection>,
    around: &Surroundings<'_>,
) -> (Vec<Detection>, Vec<merge::Piece>) {
    let (mut near, mut away) = (Vec::new(), Vec::new());
    for detection in view {
        match around.objection(&detection) {
            Some(why) => {
                let judged = Reclassified::unseen(detection.id, detection.kind, why);
                away.push((detection, Some(judged)));
            }
            None => near.push(detection),
        }
    }
    (near, away)
}

fn split_kept(
    view: Vec<Detection>,
    judged: Option<Vec<Reclassified>>,
    discarded: Vec<merge::Piece>,
) -> DecidedView {
    let mut decided = DecidedView { kept: Vec::new(), discarded };
    let mut judged = judged.map(Vec::into_iter);
    for detection in view {
        let judged = judged.as_mut().and_then(Iterator::next);
        let kind = judged.as_ref().map_or(detection.kind, |judged| judged.label_after);
        let keep = judged.as_ref().is_none_or(|judged| judged.kept);
        let list = if keep { &mut decided.kept } else { &mut decided.discarded };
        list.push((Detection { kind, ..detection }, judged));
    }
    decided
}

/// What lesions are measured on.
struct Measuring<'a> {
    study: &'a AlignedStudy,
    scores: &'a Scores,
    depth_mm: Array3<f32>,
}

struct Merged {
    kept: Vec<Finding>,
    discarded: Vec<Finding>,
}

impl<'a> Measuring<'a> {
    fn new(study: &'a AlignedStudy, scores: &'a Scores, liver: &Array3<bool>) -> Measuring<'a> {
        let depth_mm = measure::liver_depth_mm(liver.view(), study.grid().spacing_mm());
        Measuring { study, scores, depth_mm }
    }

    fn finding(&self, found: merge::Joined, view: View) -> Finding {
        let merge::Joined { whole: (detection, judged), pieces } = found;
        let context = measure::Context {
            phases: self.study.phases(),
            margin: Some(self.scores.margin.view()),
            liver_depth_mm: Some(self.depth_mm.view()),
        };
        let measured = measure::measure(&detection, self.study.grid(), &context);
        Finding { detection, measured, judged, pieces, view }
    }

    /// Touching pieces of one type are joined in each view. Base lesions first, then those that
    /// only the high view has; each place in the liver is listed once. A discarded lesion is listed
    /// unless the base view discarded the very same voxels.
    fn merge(&self, base: DecidedView, high: DecidedView) -> Merged {
        let [base_kept, high_kept] = [base.kept, high.kept].map(merge::join);
        let [low, high_view] = [&base_kept, &high_kept].map(|kept| {
            kept.iter().map(|joined| joined.whole.0.clone()).collect::<Vec<Detection>>()
        });
        let joint = matching::common(&low, &high_view);
        let mut kept = Vec::new();
        for (place, found) in base_kept.into_iter().enumerate() {
            let alone = joint.low_only.contains(&place);
            kept.push(self.finding(found, if alone { View::Base } else { View::Common }));
        }
        for (place, found) in high_kept.into_iter().enumerate() {
            if joint.high_only.contains(&place) {
                kept.push(self.finding(found, View::High));
            }
        }
        let mut discarded: Vec<Finding> = base
            .discarded
            .into_iter()
            .map(|found| self.finding(alone(found), View::Base))
            .collect();
        for found in high.discarded {
            let twin = discarded.iter_mut().find(|known| {
                known.detection.region == found.0.region && known.detection.mask == found.0.mask
            });
            match twin {
                Some(known) => known.view = View::Common,
                None => discarded.push(self.finding(alone(found), View::High)),
            }
        }
        number(&mut kept);
        number(&mut discarded);
        Merged { kept, discarded }
    }
}

fn alone(whole: merge::Piece) -> merge::Joined {
    merge::Joined { whole, pieces: Vec::new() }
}

/// Order: label, volume descending, box; numbers from 1.
fn number(findings: &mut [Finding]) {
    let key = |finding: &Finding| {
        let Detection { kind, voxels, region, .. } = &finding.detection;
        (*kind, std::cmp::Reverse(*voxels), *region)
    };
    findings.sort_by_key(key);
    for (place, finding) in findings.iter_mut().enumerate() {
        finding.detection.id = u32::try_from(place + 1).unwrap_or(u32::MAX);
    }
}

/// Time taken by each stage.
struct Clock {
    last: Instant,
    stages: Vec<(Stage, Duration)>,
}

impl Clock {
    fn start() -> Clock {
        Clock { last: Instant::now(), stages: Vec::new() }
    }

    fn lap(&mut self, stage: Stage) {
        let now = Instant::now();
        self.stages.push((stage, now - self.last));
        self.last = now;
    }
}
