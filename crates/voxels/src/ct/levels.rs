//! Slices whose values are shifted or stretched against their neighbours: another slope or
//! intercept that the pixels do not bear out.

use ndarray::ArrayView2;

use super::MAX_HU;

/// Pixels compared between two slices: enough for a median.
const SAMPLES: usize = 8_192;

/// Fewer pixels of body than this tell nothing.
const FEW: usize = 64;

/// Where either slice is above this, there is body.
const BODY_HU: f32 = -300.0;

/// From slice to slice at least half of the body changes by less than this: even where a
/// lung ends, most of a slice is what it was.
const JUMP_HU: f32 = 100.0;

/// The slices at another level than most.
pub(super) fn rescaled(planes: &[ArrayView2<'_, f32>]) -> Vec<usize> {
    let mut level = 0.0_f32;
    let mut levels = vec![level; planes.len().min(1)];
    for pair in planes.windows(2) {
        let step = step(&pair[0], &pair[1]);
        level += if step.abs() > JUMP_HU { step } else { 0.0 };
        levels.push(level);
    }
    let near = |a: f32, b: f32| (a - b).abs() <= JUMP_HU;
    let fellows = |&level: &f32| levels.iter().filter(|other| near(**other, level)).count();
    let Some(most) = levels.iter().copied().max_by_key(fellows) else { return Vec::new() };
    (0..levels.len()).filter(|&z| !near(levels[z], most)).collect()
}

/// The median change of the body from one slice to the next; 0 where there is too little.
fn step(a: &ArrayView2<'_, f32>, b: &ArrayView2<'_, f32>) -> f32 {
    let stride = (a.len() / SAMPLES).max(1) | 1;
    let pairs = a.iter().zip(b.iter()).step_by(stride);
    let body = |(a, b): &(&f32, &f32)| a.max(**b) > BODY_HU && a.max(**b) <= MAX_HU;
    let mut changes: Vec<f32> = pairs.filter(body).map(|(a, b)| b - a).collect();
    if changes.len() < FEW {
        return 0.0;
    }
    let middle = changes.len() / 2;
    *changes.select_nth_unstable_by(middle, f32::total_cmp).1
}
