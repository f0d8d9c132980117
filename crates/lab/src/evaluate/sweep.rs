//! Missed and false lesions against the lesion gain (Fig. 11), read off one margin map.
//!
//! A voxel is lesion at gain alpha if ln(alpha) exceeds its margin, and its type never
//! changes with the gain (method 1.2): so the label map of a high gain and the margin give
//! every label map of a lower gain, without the network.

use ndarray::Zip;
use serde::{Deserialize, Serialize};

use hepalert_cascade::detect::Detection;
use hepalert_cascade::detect::matching::match_events;
use hepalert_cascade::detect::seg2det::{
    DetectParams, FragmentLimits, TooFragmented, seg2det_within,
};
use hepalert_study::anatomy::is_lesion;
use hepalert_voxels::volume::{LabelMap, Volume};

/// Gains in steps of 1, 2, 5 from a tenth to ten thousand: the decades in which a useful
/// gain can lie, and one on either side.
pub(crate) const GAINS: [f64; 16] = [
    0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0,
    10_000.0,
];

/// Lesions at one gain, before reclassification, by the paper's rule.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SweepPoint {
    /// The lesion gain alpha.
    pub gain: f64,
    /// Cases counted.
    pub cases: usize,
    /// True lesions that nothing hits.
    #[serde(rename = "fn")]
    pub fn_: usize,
    /// Of these, malignant ones.
    pub malignant_fn: usize,
    /// Predictions that hit nothing.
    pub fp: usize,
    /// Of these, called malignant.
    pub malignant_fp: usize,
}

/// The points of one case, at every gain of [`GAINS`] up to `highest`, the gain at which
/// `labels_high` was read: beyond it the types are not known. `margin` lies on the same grid.
///
/// # Errors
/// [`TooFragmented`] if a label map falls into too many lesions.
///
/// # Panics
/// If the two arrays differ in shape.
pub(crate) fn sweep(
    truth: &[Detection],
    labels_high: &LabelMap,
    margin: &Volume<f32>,
    highest: f64,
) -> Result<Vec<SweepPoint>, TooFragmented> {
    let readable = GAINS.into_iter().filter(|gain| *gain <= highest);
    readable
        .map(|gain| {
            let labels = labels_at(gain, labels_high, margin);
            let found =
                seg2det_within(&labels, &DetectParams::default(), &FragmentLimits::default())?;
            let tally = match_events(truth, &found).tally;
            Ok(SweepPoint {
                gain,
                cases: 1,
                fn_: tally.all().fn_,
                malignant_fn: tally.malignant.fn_,
                fp: tally.all().fp,
                malignant_fp: tally.malignant.fp,
            })
        })
        .collect()
}

/// The lesions of the label map at this gain; all else is 0.
fn labels_at(gain: f64, labels_high: &LabelMap, margin: &Volume<f32>) -> LabelMap {
    let lift = gain.ln() as f32;
    let labels =
        Zip::from(labels_high.voxels()).and(margin.voxels()).par_map_collect(|&label, &margin| {
            if is_lesion(label) && lift > margin { label } else { 0 }
        });
    Volume::new(std::sync::Arc::clone(labels_high.grid()), labels)
}

/// Adds up the points of many cases, gain by gain.
pub(crate) fn total<'a>(cases: impl IntoIterator<Item = &'a [SweepPoint]>) -> Vec<SweepPoint> {
    let mut sums: Vec<SweepPoint> = Vec::new();
    for point in cases.into_iter().flatten() {
        match sums.iter_mut().find(|sum| sum.gain == point.gain) {
            Some(sum) => {
                sum.cases += point.cases;
                sum.fn_ += point.fn_;
                sum.malignant_fn += point.malignant_fn;
                sum.fp += point.fp;
                sum.malignant_fp += point.malignant_fp;
            }
            None => sums.push(*point),
        }
    }
    sums.sort_by(|a, b| a.gain.total_cmp(&b.gain));
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use hepalert_cascade::detect::seg2det::seg2det;
    use hepalert_voxels::volume::Grid;
    use ndarray::arr3;
    use std::sync::Arc;

    #[test]
    fn misses_fall_and_false_alarms_rise_with_the_gain() {
        let grid = Arc::new(Grid::axial([1, 1, 7], [1.0; 3], [0.0; 3]));
        let on_grid = |voxels| Volume::new(Arc::clone(&grid), voxels);
        let truth = on_grid(arr3(&[[[1u8, 0, 6, 0, 0, 3, 0]]]));
        let high = on_grid(arr3(&[[[1u8, 0, 6, 0, 2, 0, 9]]]));
        let margin =
            Volume::new(Arc::clone(&grid), arr3(&[[[-1.0f32, 50.0, 1.0, 50.0, 3.0, 50.0, -9.0]]]));
        let truth = seg2det(&truth, &DetectParams::default());
        let points = sweep(&truth, &high, &margin, 100.0).unwrap();
        let at = |gain: f64| *points.iter().find(|point| point.gain == gain).unwrap();
        assert_eq!(points.last().map(|point| point.gain), Some(100.0));
        assert_eq!((at(0.2).fn_, at(0.2).fp), (3, 0));
        assert_eq!((at(1.0).fn_, at(1.0).malignant_fn, at(1.0).fp), (2, 1, 0));
        assert_eq!((at(5.0).fn_, at(5.0).fp), (1, 0));
        assert_eq!((at(50.0).fn_, at(50.0).fp, at(50.0).malignant_fp), (1, 1, 1));
        let twice = total([points.as_slice(), points.as_slice()]);
        assert_eq!((twice.len(), twice[0].cases, twice[0].fn_), (points.len(), 2, 6));
    }
}
