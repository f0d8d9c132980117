//! Whether the values of a volume are Hounsfield units of a body: where air, fat, soft
//! tissue and bone must lie.

use ndarray::ArrayView2;

use super::MAX_HU;
use crate::volume::Volume;

/// Voxels looked at: enough for shares to a hundredth of a percent.
const SAMPLES: usize = 400_000;

/// Fat to enhanced tissue; nearly all of a body without its lungs and bones.
const SOFT_HU: std::ops::Range<f32> = -200.0..200.0;
/// Least share of these among what is above lung.
const MIN_SOFT: f64 = 0.6;

/// Bone and vessels in the arterial phase; a body that was not rescaled is all above.
const HARD_HU: f32 = 300.0;
const MAX_HARD: f64 = 0.15;

/// Every trunk has a spine or ribs, or vessels full of contrast agent.
const BONE_HU: f32 = 120.0;
const MIN_BONE: f64 = 1e-4;

/// Metal is above the scale, and small.
const MAX_METAL: f64 = 0.02;

/// Noise of air does not reach below; padding does, and has one or two values.
const LOW_HU: f32 = -1_500.0;
const MAX_LOW: f64 = 0.02;

/// What a scan shows at its edge, if that is air: its most frequent value lies here.
const EDGE_AIR_HU: std::ops::Range<f32> = -1_500.0..-700.0;
const AIR_PEAK_HU: std::ops::RangeInclusive<f32> = -1_100.0..=-930.0;
const MIN_EDGE_AIR: f64 = 0.3;
const BIN_HU: f32 = 10.0;

/// A sentence with the numbers if the values are none of a body; slices of `skip` apart.
pub(super) fn check(volume: &Volume<f32>, skip: &[usize]) -> Result<(), String> {
    let planes: Vec<ArrayView2<'_, f32>> = volume
        .voxels()
        .outer_iter()
        .enumerate()
        .filter(|(z, _)| !skip.contains(z))
        .map(|(_, plane)| plane)
        .collect();
    let voxels: usize = planes.iter().map(|plane| plane.len()).sum();
    let stride = (voxels / SAMPLES).max(1) | 1;
    let all = planes.iter().flat_map(|plane| plane.iter().copied());
    let sample: Vec<f32> = all.step_by(stride).collect();
    check_shares(&sample)?;
    check_edge(&edge(&planes))
}

fn share(count: usize, of: usize) -> f64 {
    count as f64 / of.max(1) as f64
}

fn check_shares(sample: &[f32]) -> Result<(), String> {
    let count = |is: &dyn Fn(f32) -> bool| sample.iter().filter(|value| is(**value)).count();
    let percent = |share: f64| 100.0 * share;
    let metal = share(count(&|v| v > MAX_HU), sample.len());
    if metal > MAX_METAL {
        return Err(format!("{:.1} % of voxels above {MAX_HU} HU", percent(metal)));
    }
    let low = share(low_but_padding(sample), sample.len());
    if low > MAX_LOW {
        return Err(format!("{:.1} % of voxels below {LOW_HU} HU", percent(low)));
    }
    let body = count(&|v| v >= SOFT_HU.start);
    let soft = share(count(&|v| SOFT_HU.contains(&v)), body);
    if soft < MIN_SOFT {
        let soft = percent(soft);
        return Err(format!("of the body, {soft:.0} % of voxels like fat or soft tissue"));
    }
    let hard = share(count(&|v| v > HARD_HU), body);
    if hard > MAX_HARD {
        return Err(format!("of the body, {:.0} % of voxels like bone", percent(hard)));
    }
    if share(count(&|v| v > BONE_HU), body) < MIN_BONE {
        return Err("no voxel like bone".into());
    }
    Ok(())
}

/// Voxels below the noise of air, but for the two most frequent values.
fn low_but_padding(sample: &[f32]) -> usize {
    let mut low: Vec<f32> = sample.iter().copied().filter(|value| *value < LOW_HU).collect();
    low.sort_by(f32::total_cmp);
    let mut counts: Vec<usize> = low.chunk_by(|a, b| a == b).map(<[f32]>::len).collect();
    counts.sort_unstable();
    counts.iter().rev().skip(2).sum()
}

/// The outermost pixels of every slice.
fn edge(planes: &[ArrayView2<'_, f32>]) -> Vec<f32> {
    let mut edge = Vec::new();
    for plane in planes {
        let (rows, columns) = plane.dim();
        if rows > 0 && columns > 0 {
            edge.extend(plane.row(0).iter().chain(&plane.row(rows - 1)));
            edge.extend(plane.column(0).iter().chain(&plane.column(columns - 1)));
        }
    }
    edge
}

fn check_edge(edge: &[f32]) -> Result<(), String> {
    let air: Vec<f32> = edge.iter().copied().filter(|value| EDGE_AIR_HU.contains(value)).collect();
    if share(air.len(), edge.len()) < MIN_EDGE_AIR {
        return Ok(());
    }
    let mut bins = vec![0_usize; ((EDGE_AIR_HU.end - EDGE_AIR_HU.start) / BIN_HU) as usize + 1];
    for value in &air {
        bins[((value - EDGE_AIR_HU.start) / BIN_HU) as usize] += 1;
    }
    let peak = bins.iter().enumerate().max_by_key(|(at, count)| (**count, *at));
    let peak_hu = peak.map_or(0.0, |(at, _)| EDGE_AIR_HU.start + (at as f32 + 0.5) * BIN_HU);
    if AIR_PEAK_HU.contains(&peak_hu) {
        return Ok(());
    }
    Err(format!("the air around the body at {peak_hu:.0} HU"))
}
