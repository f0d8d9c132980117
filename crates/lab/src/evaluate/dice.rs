//! Overlap of voxels: Dice's coefficient, of lesions whatever their number, and of organs.
//!
//! Owns counts that add up over a cohort. Refuses to judge a case in which neither side has a
//! voxel: there is no overlap to speak of.

use ndarray::Zip;
use serde::{Deserialize, Serialize};

use hepalert_cascade::detect::Detection;
use hepalert_study::anatomy::{CLASS_COUNT, Lesion, class_names};
use hepalert_voxels::volume::LabelMap;

/// Voxels of the truth, of the prediction, and of both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Shared {
    /// Of the truth.
    pub truth: u64,
    /// Of the prediction.
    pub predicted: u64,
    /// Of both.
    pub both: u64,
}

impl Shared {
    /// 2 x both / (truth + predicted); none of nothing.
    pub fn dice(&self) -> Option<f64> {
        let sum = self.truth + self.predicted;
        (sum > 0).then(|| 2.0 * self.both as f64 / sum as f64)
    }
}

impl std::ops::AddAssign for Shared {
    fn add_assign(&mut self, other: Shared) {
        self.truth += other.truth;
        self.predicted += other.predicted;
        self.both += other.both;
    }
}

/// Lesion voxels of one view, under whatever label, and those of malignant types as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LesionVoxels {
    /// All types.
    pub all: Shared,
    /// HCC, ICC and metastasis as one.
    pub malignant: Shared,
}

/// Counts lesion voxels; both sets lie on the grid of `truth`.
pub(crate) fn lesion_voxels(truth: &LabelMap, predicted: &[Detection]) -> LesionVoxels {
    let is_malignant = |label: u8| Lesion::from_label(label).is_some_and(Lesion::is_malignant);
    let mut counts = LesionVoxels::default();
    for &label in truth.voxels() {
        counts.all.truth += u64::from(Lesion::from_label(label).is_some());
        counts.malignant.truth += u64::from(is_malignant(label));
    }
    for lesion in predicted {
        let malignant = lesion.kind.is_malignant();
        for ([z, y], columns) in lesion.runs() {
            for x in columns {
                let label = truth.voxels()[[z, y, x]];
                counts.all.predicted += 1;
                counts.all.both += u64::from(Lesion::from_label(label).is_some());
                counts.malignant.predicted += u64::from(malignant);
                counts.malignant.both += u64::from(malignant && is_malignant(label));
            }
        }
    }
    counts
}

/// Counts per label value of two maps on one grid.
pub(crate) fn label_voxels(truth: &LabelMap, predicted: &LabelMap) -> [Shared; CLASS_COUNT] {
    let mut counts = [Shared::default(); CLASS_COUNT];
    Zip::from(truth.voxels()).and(predicted.voxels()).for_each(|&truth, &predicted| {
        let (truth, predicted) = (usize::from(truth), usize::from(predicted));
        if let Some(count) = counts.get_mut(truth) {
            count.truth += 1;
            count.both += u64::from(truth == predicted);
        }
        if let Some(count) = counts.get_mut(predicted) {
            count.predicted += 1;
        }
    });
    counts
}

/// Dice's coefficient of one class over a cohort.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DiceRow {
    /// A class, `All` or `Malig`.
    pub row: &'static str,
    /// Cases whose truth has it; only these count for the mean.
    pub cases: usize,
    /// Mean of the cases' coefficients; a case that was wholly missed counts as 0.
    pub mean: Option<f64>,
    /// Of all voxels of all cases together, those of cases without it in the truth too.
    pub pooled: Option<f64>,
}

impl DiceRow {
    /// Over the cases' counts.
    pub fn over(row: &'static str, cases: impl Iterator<Item = Shared>) -> DiceRow {
        let (mut pooled, mut sum, mut with) = (Shared::default(), 0.0, 0);
        for case in cases {
            pooled += case;
            if case.truth > 0 {
                sum += case.dice().unwrap_or(0.0);
                with += 1;
            }
        }
        let mean = (with > 0).then(|| sum / with as f64);
        DiceRow { row, cases: with, mean, pooled: pooled.dice() }
    }
}

/// One row per class that the truth of any case has, in the order of labels; no background.
pub(crate) fn rows_of_labels<'a>(
    cases: impl Iterator<Item = &'a [Shared; CLASS_COUNT]> + Clone,
) -> Vec<DiceRow> {
    let named = class_names().into_iter().enumerate().skip(1);
    named
        .map(|(label, name)| DiceRow::over(name, cases.clone().map(move |case| case[label])))
        .filter(|row| row.cases > 0)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hepalert_cascade::detect::seg2det::{DetectParams, seg2det};
    use hepalert_voxels::volume::{Grid, Volume};
    use ndarray::Array3;

    use super::*;

    /// A row of labels.
    fn map(labels: &[u8]) -> LabelMap {
        let grid = Grid::axial([1, 1, labels.len()], [1.0; 3], [0.0; 3]);
        let voxels = Array3::from_shape_vec([1, 1, labels.len()], labels.to_vec()).unwrap();
        Volume::new(Arc::new(grid), voxels)
    }

    #[test]
    fn overlap_is_counted_under_whatever_label() {
        let truth = map(&[1, 1, 6, 6, 7, 0, 0]);
        let predicted = map(&[2, 0, 1, 6, 7, 7, 3]);
        let found = seg2det(&predicted, &DetectParams::default());
        let LesionVoxels { all, malignant } = lesion_voxels(&truth, &found);
        assert_eq!(all, Shared { truth: 4, predicted: 4, both: 3 });
        assert_eq!(malignant, Shared { truth: 2, predicted: 3, both: 1 });
        assert_eq!((all.dice(), malignant.dice()), (Some(0.75), Some(0.4)));
        let labels = label_voxels(&truth, &predicted);
        assert_eq!(labels[7], Shared { truth: 1, predicted: 2, both: 1 });
        assert_eq!(labels[1], Shared { truth: 2, predicted: 1, both: 0 });
        let rows: Vec<_> = rows_of_labels([labels].iter()).iter().map(|row| row.row).collect();
        assert_eq!(rows, ["HCC", "Cyst", "liver"]);
    }

    #[test]
    fn a_case_that_is_missed_counts_and_one_without_does_not() {
        let found = Shared { truth: 10, predicted: 10, both: 10 };
        let missed = Shared { truth: 10, ..Shared::default() };
        let none = Shared::default();
        let false_alarm = Shared { predicted: 10, ..Shared::default() };
        let row = DiceRow::over("All", [found, missed, none, false_alarm].into_iter());
        assert_eq!((row.cases, row.mean, row.pooled), (2, Some(0.5), Some(0.5)));
        assert_eq!(Shared::default().dice(), None);
    }
}
