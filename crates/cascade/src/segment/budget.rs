//! How much memory a study will need, known before anything is allocated.

use hepalert_bundles::{Fusion, Sums};
use hepalert_study::study::AlignedStudy;

use super::calls::group_size;
use super::feed::MAX_SETS;
use super::folds::slab_count;
use super::geometry::Geometry;
use super::{AirTiles, Plan, SegmentError};

/// The largest batch up to `preferred` (and at least 1) with which a study stays within the
/// plan's memory; the plan's own batch plays no part. Allocates nothing.
///
/// # Errors
/// [`SegmentError::OverBudget`] if even one patch per call is too much, and the others of
/// [`prepare`](super::prepare).
pub fn largest_batch(
    study: &AlignedStudy,
    plan: &Plan,
    preferred: usize,
) -> Result<usize, SegmentError> {
    let geometry = Geometry::checked(study, &plan.network)?;
    let with = |batch| Plan { batch, ..plan.clone() };
    let fits = |batch: &usize| check(&geometry, &with(*batch)).is_ok();
    match (1..=preferred.max(1)).rev().find(fits) {
        Some(batch) => Ok(batch),
        None => check(&geometry, &with(1)).map(|()| 1),
    }
}

/// Refuses a study that needs more than the plan allows.
pub(super) fn check(geometry: &Geometry, plan: &Plan) -> Result<(), SegmentError> {
    let needed = needed_bytes(geometry, plan);
    let allowed = plan.memory_budget_bytes;
    if needed <= allowed { Ok(()) } else { Err(SegmentError::OverBudget { needed, allowed }) }
}

/// The largest sum of arrays alive at once, the study itself and the engines excepted.
fn needed_bytes(geometry: &Geometry, plan: &Plan) -> u64 {
    let network = &plan.network;
    let f32s = |counts: &[usize]| {
        counts.iter().fold(4_u64, |product, &n| product.saturating_mul(n as u64))
    };
    let [z, y, x] = geometry.shape;
    let [pz, py, px] = network.patch;
    let classes = network.classes.len();
    let prepared = f32s(&[network.channels, z, y, x]);
    // One channel cropped, at worst one more resized in plane only, and a mask.
    let [_, cropped_y, cropped_x] = geometry.cropped_shape();
    let channel = f32s(&geometry.cropped_shape());
    let half_resized = f32s(&[geometry.cropped_shape()[0], y, x]);
    let masked = network.normalisation.iter().any(|scheme| scheme.wants_mask());
    let mask = if masked { channel / 4 } else { 0 };
    let preparing = channel.saturating_add(half_resized).saturating_add(mask);
    // Class sums and weights of one patch depth; the finished slice, and two for blending
    // along z.
    let plane = f32s(&[classes + 1, y.max(py), x.max(px)]);
    let kept = match super::precision(network) {
        Sums::F16 => plane / 2,
        Sums::F32 => plane,
    };
    let slabs = slab_count(network, network.files.len());
    let slab = kept.saturating_mul(pz as u64).saturating_add(plane.saturating_mul(2));
    let slabs_bytes = slab.saturating_mul(slabs as u64).saturating_add(plane);
    // Patches and logits of the calls on their way, and the means of the open tiles.
    let calls = f32s(&[MAX_SETS, plan.batch, network.channels + classes, pz, py, px]);
    let probabilities = match network.fusion {
        Fusion::Logits => 0,
        Fusion::Probabilities => f32s(&[plan.batch, classes, pz, py, px]),
    };
    let open = group_size(1 << network.mirror_axes.len(), plan.batch);
    let air = match plan.air {
        AirTiles::RunAll => 0,
        AirTiles::RunOnce => 1,
    };
    let means = f32s(&[slabs, open + air, classes, pz, py, px]);
    let patches = calls.saturating_add(probabilities).saturating_add(means);
    let scores = (geometry.grid.voxels() as u64).saturating_mul(6);
    let slice = f32s(&[3, cropped_y, cropped_x]);
    let sliding =
        [slabs_bytes, patches, scores, slice].into_iter().fold(0_u64, u64::saturating_add);
    prepared.saturating_add(preparing.max(sliding))
}
