//! (TP, FL, FP, FN) = match(Det_gt, Det_pred) and (Common, Diff) = match(Det_low, Det_high)
//! (Eq. 7).
//!
//! Owns the overlap table and two ways of counting: the paper's, one event per prediction,
//! and the strict one with fixed denominators. Refuses to turn counts into rates: that is
//! evaluation.
//!
//! Lesions are named by their place in the slices handed in, from 0. Both slices must come
//! from label maps on the same grid.

use std::cmp::Reverse;

use super::Detection;
use hepalert_study::anatomy::Lesion;

/// Two lesions that share voxels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overlap {
    /// Place of the true lesion.
    pub truth: usize,
    /// Place of the predicted lesion.
    pub predicted: usize,
    /// Shared voxels, at least one.
    pub voxels: usize,
}

/// What became of a lesion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MatchKind {
    /// Found, and its type is right.
    TruePositive,
    /// Found under a false label.
    FalseLabel,
    /// Predicted where there is nothing.
    FalsePositive,
    /// Not found.
    FalseNegative,
}

impl MatchKind {
    /// TP, FL, FP or FN.
    pub const fn code(self) -> &'static str {
        match self {
            MatchKind::TruePositive => "TP",
            MatchKind::FalseLabel => "FL",
            MatchKind::FalsePositive => "FP",
            MatchKind::FalseNegative => "FN",
        }
    }
}

/// One counted event of the paper's form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    /// The true lesion, unless the prediction hits nothing.
    pub truth: Option<usize>,
    /// The predicted lesion, unless the true one is missed.
    pub predicted: Option<usize>,
    /// Shared voxels.
    pub voxels: usize,
    /// How it counts.
    pub outcome: MatchKind,
}

/// Counts for one lesion type, or for malignant lesions as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// True lesions found with the right type.
    pub tp: usize,
    /// Predictions with the right type. The paper's form counts events, so there it is `tp`.
    pub tp_predicted: usize,
    /// True lesions of this type found under another.
    pub fl_truth: usize,
    /// Predictions of this type on a true lesion of another.
    pub fl_predicted: usize,
    /// Predictions that hit nothing.
    pub fp: usize,
    /// True lesions that nothing hits.
    pub fn_: usize,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        self.tp += other.tp;
        self.tp_predicted += other.tp_predicted;
        self.fl_truth += other.fl_truth;
        self.fl_predicted += other.fl_predicted;
        self.fp += other.fp;
        self.fn_ += other.fn_;
    }
}

/// Counts per type, and with the malignant types taken as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// In the order of [`Lesion::ALL`].
    pub per_class: [Counts; 6],
    /// TP: malignant found as any malignant type. `fl_truth`: malignant called benign.
    /// `fl_predicted`: benign called malignant. FP and FN: of malignant types.
    pub malignant: Counts,
}

impl Tally {
    /// The counts of one type.
    pub fn of(&self, kind: Lesion) -> &Counts {
        &self.per_class[place(kind)]
    }

    /// The sum over the six types.
    pub fn all(&self) -> Counts {
        let mut sum = Counts::default();
        self.per_class.iter().for_each(|counts| sum += *counts);
        sum
    }

    fn of_mut(&mut self, kind: Lesion) -> &mut Counts {
        &mut self.per_class[place(kind)]
    }

    /// The rows a lesion of this type counts in.
    fn rows_mut(&mut self, kind: Lesion) -> impl Iterator<Item = &mut Counts> {
        let malignant = kind.is_malignant().then_some(&mut self.malignant);
        std::iter::once(&mut self.per_class[place(kind)]).chain(malignant)
    }
}

impl std::ops::AddAssign<&Tally> for Tally {
    fn add_assign(&mut self, other: &Tally) {
        for (sum, counts) in std::iter::zip(&mut self.per_class, &other.per_class) {
            *sum += *counts;
        }
        self.malignant += other.malignant;
    }
}

fn place(kind: Lesion) -> usize {
    usize::from(kind.label()) - 1
}

/// The outcome of the paper's form, with the events it counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Events {
    /// The counts.
    pub tally: Tally,
    /// One per prediction in their order, then one per missed true lesion.
    pub pairs: Vec<Pair>,
}

/// How the lesions of the low view lie in those of the high view.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JointView {
    /// High lesions that overlap a low one.
    pub common: Vec<usize>,
    /// High lesions that do not: suspicious, and kept.
    pub high_only: Vec<usize>,
    /// Low lesions that no high one overlaps.
    pub low_only: Vec<usize>,
}

/// Every pair of lesions that share voxels, ordered by `truth`, then `predicted`. One sweep
/// over both sets' runs; linear as long as the lesions of a set are disjoint.
pub fn overlaps(truth: &[Detection], predicted: &[Detection]) -> Vec<Overlap> {
    let (truth, predicted) = (sorted_runs(truth), sorted_runs(predicted));
    let mut shared: Vec<Overlap> = Vec::new();
    let mut first = 0;
    for run in &truth {
        let passed = |other: &Run| (other.row, other.hi) <= (run.row, run.lo);
        while first < predicted.len() && passed(&predicted[first]) {
            first += 1;
        }
        for other in &predicted[first..] {
            if (other.row, other.lo) >= (run.row, run.hi) {
                break;
            }
            let voxels = other.hi.min(run.hi).saturating_sub(other.lo.max(run.lo));
            if other.row == run.row && voxels > 0 {
                shared.push(Overlap { truth: run.lesion, predicted: other.lesion, voxels });
            }
        }
    }
    shared.sort_unstable_by_key(|overlap| (overlap.truth, overlap.predicted));
    shared.dedup_by(|next, kept| {
        let same = (next.truth, next.predicted) == (kept.truth, kept.predicted);
        kept.voxels += if same { next.voxels } else { 0 };
        same
    });
    shared
}

/// A stretch of voxels along x and the lesion it belongs to.
struct Run {
    row: [usize; 2],
    lo: usize,
    hi: usize,
    lesion: usize,
}

fn sorted_runs(lesions: &[Detection]) -> Vec<Run> {
    let mut runs = Vec::new();
    for (lesion, detection) in lesions.iter().enumerate() {
        let stretches = detection.runs();
        runs.extend(stretches.map(|(row, x)| Run { row, lo: x.start, hi: x.end, lesion }));
    }
    runs.sort_unstable_by_key(|run| (run.row, run.lo, run.lesion));
    runs
}

/// The paper's form: one event per prediction, matched to the true lesion it overlaps most.
/// Ties go to the same type, then to the lesion of which a larger share is covered, then to
/// the lower place. A true lesion counts as missed only if nothing overlaps it, so it may
/// count several times or not at all (method 1.4).
pub fn match_events(truth: &[Detection], predicted: &[Detection]) -> Events {
    let table = overlaps(truth, predicted);
    let mut best: Vec<Option<Overlap>> = vec![None; predicted.len()];
    let mut hit = vec![false; truth.len()];
    for overlap in table {
        hit[overlap.truth] = true;
        let fit = |found: &Overlap| {
            let lesion = &truth[found.truth];
            // The shared volume is equal in a tie, so the smaller lesion is covered more.
            (
                found.voxels,
                lesion.kind == predicted[found.predicted].kind,
                Reverse(lesion.voxels),
                Reverse(found.truth),
            )
        };
        let held = &mut best[overlap.predicted];
        if held.as_ref().is_none_or(|held| fit(&overlap) > fit(held)) {
            *held = Some(overlap);
        }
    }
    let mut events = Events { tally: Tally::default(), pairs: Vec::new() };
    for (at, found) in best.iter().enumerate() {
        events.count_prediction(truth, predicted, at, found.as_ref());
    }
    for (at, lesion) in truth.iter().enumerate().filter(|(at, _)| !hit[*at]) {
        events.tally.rows_mut(lesion.kind).for_each(|row| row.fn_ += 1);
        let outcome = MatchKind::FalseNegative;
        events.pairs.push(Pair { truth: Some(at), predicted: None, voxels: 0, outcome });
    }
    events
}

impl Events {
    fn count_prediction(
        &mut self,
        truth: &[Detection],
        predicted: &[Detection],
        at: usize,
        found: Option<&Overlap>,
    ) {
        let called = predicted[at].kind;
        let outcome = match found.map(|overlap| truth[overlap.truth].kind) {
            None => {
                self.tally.rows_mut(called).for_each(|row| row.fp += 1);
                MatchKind::FalsePositive
            }
            Some(kind) => {
                self.count_event(kind, called);
                if kind == called { MatchKind::TruePositive } else { MatchKind::FalseLabel }
            }
        };
        self.pairs.push(Pair {
            truth: found.map(|overlap| overlap.truth),
            predicted: Some(at),
            voxels: found.map_or(0, |overlap| overlap.voxels),
            outcome,
        });
    }

    fn count_event(&mut self, kind: Lesion, called: Lesion) {
        if kind == called {
            let row = self.tally.of_mut(kind);
            row.tp += 1;
            row.tp_predicted += 1;
        } else {
            self.tally.of_mut(kind).fl_truth += 1;
            self.tally.of_mut(called).fl_predicted += 1;
        }
        let row = &mut self.tally.malignant;
        match (kind.is_malignant(), called.is_malignant()) {
            (true, true) => {
                row.tp += 1;
                row.tp_predicted += 1;
            }
            (true, false) => row.fl_truth += 1,
            (false, true) => row.fl_predicted += 1,
            (false, false) => {}
        }
    }
}

/// The strict form: every true lesion and every prediction counts exactly once. A lesion is
/// right if any lesion it overlaps has its type, falsely labelled if it only overlaps
/// others, missed (or false) if it overlaps none.
pub fn match_strict(truth: &[Detection], predicted: &[Detection]) -> Tally {
    let table = overlaps(truth, predicted);
    let mut met = vec![Vec::new(); truth.len()];
    let mut hit = vec![Vec::new(); predicted.len()];
    for overlap in &table {
        met[overlap.truth].push(predicted[overlap.predicted].kind);
        hit[overlap.predicted].push(truth[overlap.truth].kind);
    }
    let mut tally = Tally::default();
    for (lesion, met) in std::iter::zip(truth, &met) {
        count_truth(tally.of_mut(lesion.kind), met, |kind| kind == lesion.kind);
        if lesion.kind.is_malignant() {
            count_truth(&mut tally.malignant, met, Lesion::is_malignant);
        }
    }
    for (lesion, hit) in std::iter::zip(predicted, &hit) {
        count_predicted(tally.of_mut(lesion.kind), hit, |kind| kind == lesion.kind);
        if lesion.kind.is_malignant() {
            count_predicted(&mut tally.malignant, hit, Lesion::is_malignant);
        }
    }
    tally
}

fn count_truth(row: &mut Counts, met: &[Lesion], right: impl Fn(Lesion) -> bool) {
    if met.is_empty() {
        row.fn_ += 1;
    } else if met.iter().any(|&kind| right(kind)) {
        row.tp += 1;
    } else {
        row.fl_truth += 1;
    }
}

fn count_predicted(row: &mut Counts, hit: &[Lesion], right: impl Fn(Lesion) -> bool) {
    if hit.is_empty() {
        row.fp += 1;
    } else if hit.iter().any(|&kind| right(kind)) {
        row.tp_predicted += 1;
    } else {
        row.fl_predicted += 1;
    }
}

/// (Common, Diff) = match(Det_low, Det_high), whatever the types.
pub fn common(low: &[Detection], high: &[Detection]) -> JointView {
    let table = overlaps(low, high);
    let mut in_high = vec![false; low.len()];
    let mut in_low = vec![false; high.len()];
    for overlap in table {
        in_high[overlap.truth] = true;
        in_low[overlap.predicted] = true;
    }
    let places = |flags: &[bool], wanted: bool| {
        let flags = flags.iter().enumerate();
        flags.filter(|(_, flag)| **flag == wanted).map(|(at, _)| at).collect()
    };
    JointView {
        common: places(&in_low, true),
        high_only: places(&in_low, false),
        low_only: places(&in_high, false),
    }
}

#[cfg(test)]
mod tests;
