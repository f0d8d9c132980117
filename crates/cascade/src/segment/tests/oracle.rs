//! The definition: every tile into whole-volume sums, the whole stack of class scores
//! resampled at once, then the argmax of Eq. (3). Slow, and holds everything in memory.

use ndarray::{Array3, Array4, Array5, Axis, s};

use super::*;
use crate::segment::gaussian::tile_weights;
use crate::segment::tiles::Tiling;
use hepalert_voxels::image::resample::{resize_linear, should_separate_z};
use hepalert_voxels::volume::LabelMap;

/// `[class, z, y, x]` on the study's grid in network axes, inside the nonzero box.
pub(super) fn class_scores(
    prepared: &Prepared,
    plan: &Plan,
    engines: &mut [Box<dyn Engine>],
) -> Array4<f32> {
    let network = &plan.network;
    let classes = network.classes.len();
    let shape = prepared.geometry.shape;
    let tiling = Tiling::new(shape, network.patch, network.tile_step);
    let [pz, py, px] = tiling.padded;
    let [oz, oy, ox] = tiling.offset;
    let [nz, ny, nx] = shape;
    let inside = s![.., oz..oz + nz, oy..oy + ny, ox..ox + nx];
    let mut padded = Array4::<f32>::zeros((1, pz, py, px));
    padded.slice_mut(inside).assign(&prepared.voxels);
    let weights = tile_weights(network.patch);
    let mut sums = Array4::<f64>::zeros((classes, pz, py, px));
    let mut total = Array3::<f64>::zeros((pz, py, px));
    let [tz, ty, tx] = network.patch;
    for &z in &tiling.starts[0] {
        for &y in &tiling.starts[1] {
            for &x in &tiling.starts[2] {
                let window = s![.., z..z + tz, y..y + ty, x..x + tx];
                let scores = tile(padded.slice(window).to_owned(), plan, engines);
                for class in 0..classes {
                    for ((i, j, k), &weight) in weights.indexed_iter() {
                        let value = scores[[class, i, j, k]] * f64::from(weight);
                        sums[[class, z + i, y + j, x + k]] += value;
                    }
                }
                total
                    .slice_mut(s![z..z + tz, y..y + ty, x..x + tx])
                    .zip_mut_with(&weights, |total, &weight| *total += f64::from(weight));
            }
        }
    }
    for mut volume in sums.outer_iter_mut() {
        volume /= &total;
    }
    let scores = sums.slice(inside).mapv(|v| v as f32);
    let geometry = &prepared.geometry;
    let separate = should_separate_z(geometry.network_spacing_mm, geometry.study_spacing_mm);
    let [z, y, x] = geometry.cropped_shape();
    let mut out = Array4::zeros((classes, z, y, x));
    for (from, to) in scores.outer_iter().zip(out.outer_iter_mut()) {
        resize_linear(from, to, separate);
    }
    out
}

/// Mean over folds and mirrors of one tile, each flipped and flipped back.
fn tile(patch: Array4<f32>, plan: &Plan, engines: &mut [Box<dyn Engine>]) -> Array4<f64> {
    let axes = &plan.network.mirror_axes;
    let mut mean = Array4::<f64>::zeros({
        let [_, c, z, y, x] = plan.network.spec(1).output_shape();
        (c, z, y, x)
    });
    let mut count = 0.0;
    for engine in engines {
        for bits in 0..1_usize << axes.len() {
            let flip = |array: &mut Array4<f32>| {
                for (i, &axis) in axes.iter().enumerate() {
                    if bits >> i & 1 == 1 {
                        array.invert_axis(Axis(axis + 1));
                    }
                }
            };
            let mut input = patch.clone();
            flip(&mut input);
            let input = input.as_standard_layout().into_owned().insert_axis(Axis(0));
            let mut logits = Array5::zeros(plan.network.spec(1).output_shape());
            engine.infer(input.view(), logits.view_mut()).unwrap();
            let mut scores = logits.index_axis_move(Axis(0), 0);
            flip(&mut scores);
            mean += &fused(scores.mapv(f64::from), plan.network.fusion);
            count += 1.0;
        }
    }
    mean / count
}

fn fused(mut scores: Array4<f64>, fusion: Fusion) -> Array4<f64> {
    if fusion == Fusion::Probabilities {
        scores.mapv_inplace(f64::exp);
        let sums = scores.sum_axis(Axis(0));
        scores /= &sums;
    }
    scores
}

/// Checks a label map against Eq. (3) and (2): scores of lesion classes are scaled by the
/// gain, the largest wins. Where the two largest lie within rounding, either may stand.
pub(super) fn check_labels(
    whole: &Array4<f32>,
    geometry: &Geometry,
    plan: &Plan,
    gain: f32,
    labels: &LabelMap,
) {
    let cropped = geometry.cropped(labels.voxels().view());
    for ((z, y, x), &label) in cropped.indexed_iter() {
        let scaled: Vec<f32> = (0..anatomy::CLASS_COUNT)
            .map(|class| {
                let score = whole[[class, z, y, x]];
                let logit = match plan.network.fusion {
                    Fusion::Logits => score,
                    Fusion::Probabilities => score.ln(),
                };
                logit + if anatomy::is_lesion(class as u8) { gain.ln() } else { 0.0 }
            })
            .collect();
        let best = scaled.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let chosen = scaled[usize::from(label)];
        assert!(best - chosen < 1e-4, "label {label} at {z} {y} {x}: {chosen}, best {best}");
    }
    let inside = cropped.len();
    let outside = labels.voxels().len() - inside;
    let background = labels.voxels().iter().filter(|&&label| label == 0).count();
    assert!(background >= outside, "outside the box is background");
}
