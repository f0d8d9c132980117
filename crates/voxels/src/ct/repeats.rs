//! Slices that are, pixel for pixel, another slice again.
//!
//! Noise sees to it that no scanner makes two. A copy that stands in for a lost slice is a
//! fault; a series of thick slices that was written in thin steps repeats all of them.

use ndarray::ArrayView2;

use super::profile::Profile;

/// In a series written in thinner steps at least this share of slices are repeats.
const MIN_EVENLY: f64 = 0.25;

/// What repeats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Repeats {
    None,
    /// Every slice, as often as its neighbours.
    Evenly,
    /// These, in order.
    Some(Vec<usize>),
}

pub(super) fn repeats(planes: &[ArrayView2<'_, f32>], profiles: &[Profile]) -> Repeats {
    let slices = repeated(planes, profiles);
    if slices.is_empty() {
        Repeats::None
    } else if is_even(planes.len(), &slices) && slices.iter().all(|&z| planes[z] == planes[z - 1]) {
        Repeats::Evenly
    } else {
        Repeats::Some(slices)
    }
}

/// Slices equal to an earlier one.
fn repeated(planes: &[ArrayView2<'_, f32>], profiles: &[Profile]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..planes.len()).collect();
    order.sort_by_key(|&z| (profiles[z].digest, z));
    let mut found: Vec<usize> = order
        .chunk_by(|&a, &b| profiles[a].digest == profiles[b].digest)
        .flat_map(|alike| {
            let [first, rest @ ..] = alike else { return Vec::new() };
            rest.iter().copied().filter(|&z| planes[z] == planes[*first]).collect()
        })
        .collect();
    found.sort_unstable();
    found
}

/// Whether the repeats make runs that differ in length by one at the most, but for the first
/// and the last run.
fn is_even(count: usize, repeated: &[usize]) -> bool {
    let starts: Vec<usize> = (0..count).filter(|z| repeated.binary_search(z).is_err()).collect();
    let runs: Vec<usize> = starts.windows(2).skip(1).map(|pair| pair[1] - pair[0]).collect();
    let (least, most) = (runs.iter().min(), runs.iter().max());
    let share = repeated.len() as f64 / count.max(1) as f64;
    share >= MIN_EVENLY && matches!((least, most), (Some(least), Some(most)) if most - least <= 1)
}
