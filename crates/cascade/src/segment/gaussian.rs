//! The weight of a voxel inside its tile: high in the middle, low at the border.

use ndarray::Array3;

use super::half::round_to_f16;

/// Standard deviation as a share of the tile, `sigma_scale` in nnU-Net.
const SIGMA_SHARE: f64 = 1.0 / 8.0;
/// scipy cuts the kernel at this many standard deviations.
const TRUNCATE: f64 = 4.0;
/// The largest weight, `value_scaling_factor` in nnU-Net's predictor.
const PEAK: f64 = 10.0;
/// nnU-Net's importance map of a tile `[z, y, x]`: `gaussian_filter` of a unit impulse,
/// scaled so that its largest value is 10, rounded to f16, zeros raised to the smallest
/// nonzero weight (`compute_gaussian`).
pub(crate) fn tile_weights(tile: [usize; 3]) -> Array3<f32> {
    let [kz, ky, kx] = tile.map(impulse_response);
    let product = |z: usize, y: usize, x: usize| kz[z] * ky[y] * kx[x];
    let middle = product(tile[0] / 2, tile[1] / 2, tile[2] / 2);
    let mut weights = Array3::from_shape_fn(tile, |(z, y, x)| {
        round_to_f16((product(z, y, x) / (middle / PEAK)) as f32)
    });
    let least = weights.iter().copied().filter(|&w| w > 0.0).fold(f32::MAX, f32::min);
    weights.mapv_inplace(|w| if w == 0.0 { least } else { w });
    weights
}

/// One axis of `gaussian_filter` applied to an impulse at `size / 2`, zeros outside.
fn impulse_response(size: usize) -> Vec<f64> {
    let sigma = size as f64 * SIGMA_SHARE;
    let radius = (TRUNCATE * sigma + 0.5) as usize;
    let density = |distance: usize| (-0.5 / (sigma * sigma) * (distance * distance) as f64).exp();
    let sum: f64 = 1.0_f64.mul_add(density(0), 2.0 * (1..=radius).map(density).sum::<f64>());
    (0..size)
        .map(|i| i.abs_diff(size / 2))
        .map(|distance| if distance <= radius { density(distance) / sum } else { 0.0 })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of `compute_gaussian((16, 128, 128), 1/8, 10)` of nnU-Net 2.8.1, read on its
    /// axes through the middle, and two corners; tests/data/segment/make_gaussian.py.
    #[test]
    fn equals_nnunet_at_the_planned_tile() {
        let golden = include_str!("../../../../tests/data/segment/gaussian.txt");
        for line in golden.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let n = |i: usize| words[i].parse::<usize>().unwrap();
            let weights = tile_weights([n(0), n(1), n(2)]);
            let value = weights[[n(3), n(4), n(5)]];
            assert_eq!(value, words[6].parse::<f32>().unwrap(), "{line}");
        }
    }

    #[test]
    fn no_weight_is_zero_and_the_middle_weighs_most() {
        let weights = tile_weights([24, 64, 40]);
        assert!(weights.iter().all(|&w| w > 0.0 && w <= 10.0));
        assert_eq!(weights[[12, 32, 20]], 10.0);
    }

    #[test]
    fn a_tile_of_one_voxel_has_the_peak_weight() {
        assert_eq!(tile_weights([1, 1, 1])[[0, 0, 0]], 10.0);
    }
}
