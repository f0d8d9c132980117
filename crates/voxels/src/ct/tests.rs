//! A body of an ellipse with a spine, sound or with one fault each.

use std::sync::Arc;

use ndarray::{Array3, s};

use super::*;
use crate::volume::Grid;

const SHAPE: [usize; 3] = [24, 64, 64];

/// A number in `-1.0..1.0` that depends on the place alone.
fn noise(z: usize, y: usize, x: usize) -> f32 {
    let mut n = (z * 64 * 64 + y * 64 + x) as u64 + 1;
    for _ in 0..3 {
        n = (n ^ (n >> 15)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
    (n >> 40) as f32 / 8_388_608.0 - 1.0
}

/// How far out of an ellipse a pixel lies; below 1 is inside.
fn out(y: usize, x: usize, centre: [f64; 2], radius: [f64; 2]) -> f64 {
    let part = |at: usize, middle: f64, radius: f64| ((at as f64 - middle) / radius).powi(2);
    part(y, centre[0], radius[0]) + part(x, centre[1], radius[1])
}

/// Fat around soft tissue around a spine, in air; `air_noise` 0 is a phantom's.
fn body(air_noise: f32) -> Array3<f32> {
    Array3::from_shape_fn(SHAPE, |(z, y, x)| {
        let grain = noise(z, y, x);
        let waist = 1.0 - 0.1 * (z as f64 / 24.0);
        let from_middle = out(y, x, [32.0, 32.0], [20.0 * waist, 27.0 * waist]);
        if out(y, x, [45.0, 32.0], [4.0, 4.0]) < 1.0 {
            400.0 + 60.0 * grain
        } else if from_middle < 0.8 {
            60.0 + 20.0 * grain
        } else if from_middle < 1.0 {
            -100.0 + 15.0 * grain
        } else {
            -1000.0 + air_noise * grain
        }
    })
}

fn look_padded(
    voxels: Array3<f32>,
    padding: &[Option<[f32; 2]>],
) -> (Result<Repaired, VoxelFault>, Array3<f32>) {
    let mut volume = Volume::new(Arc::new(Grid::axial(SHAPE, [5.0, 5.0, 5.0], [0.0; 3])), voxels);
    let seen = inspect(&mut volume, padding);
    (seen, volume.into_voxels())
}

fn look(voxels: Array3<f32>) -> Result<Repaired, VoxelFault> {
    look_padded(voxels, &[]).0
}

#[test]
fn a_sound_body_passes_untouched_with_noise_in_the_air_or_without() {
    for air_noise in [0.0, 20.0] {
        let (seen, after) = look_padded(body(air_noise), &[]);
        assert_eq!(seen, Ok(Repaired::default()));
        assert_eq!(after, body(air_noise));
    }
    // Harmless padding in a ring outside the field of view.
    let mut ringed = body(20.0);
    outside(&mut ringed, -3024.0);
    assert_eq!(look_padded(ringed.clone(), &[]), (Ok(Repaired::default()), ringed));
}

/// A body that tapers to nothing in noise-free air is no torn image.
#[test]
fn a_round_phantom_is_not_torn() {
    let ball = Array3::from_shape_fn(SHAPE, |(z, y, x)| {
        let height = ((z as f64 - 11.5) / 13.0).powi(2);
        let from_middle = height + out(y, x, [32.0, 32.0], [28.0, 28.0]);
        let grain = noise(z, y, x);
        match () {
            () if out(y, x, [32.0, 32.0], [4.0, 4.0]) < 1.0 => 300.0 + grain,
            () if from_middle < 1.0 => 40.0 + 10.0 * grain,
            () => -1000.0,
        }
    });
    assert_eq!(look(ball), Ok(Repaired::default()));
}

#[test]
fn slices_that_were_never_filled_are_named() {
    let unfilled = |slices: &[usize]| Err(VoxelFault::Unfilled(slices.to_vec()));
    for value in [-1024.0, 0.0, -2000.0, 64_511.0] {
        for air_noise in [0.0, 20.0] {
            let mut whole = body(air_noise);
            whole.slice_mut(s![5..8, .., ..]).fill(value);
            whole.slice_mut(s![23, .., ..]).fill(value);
            assert_eq!(look(whole), unfilled(&[5, 6, 7, 23]), "{value} {air_noise}");
            for rows in [10..64, 32..64, 44..64, 0..32, 24..40] {
                let mut half = body(air_noise);
                half.slice_mut(s![3..5, rows.clone(), ..]).fill(value);
                assert_eq!(look(half), unfilled(&[3, 4]), "{value} {air_noise} {rows:?}");
            }
            let mut columns = body(air_noise);
            columns.slice_mut(s![9, .., 30..]).fill(value);
            assert_eq!(look(columns), unfilled(&[9]), "{value} {air_noise}");
            // All alike: no other slice tells what is missing.
            let mut all = body(air_noise);
            all.slice_mut(s![.., 33.., ..]).fill(value);
            let every: Vec<usize> = (0..24).collect();
            assert_eq!(look(all), unfilled(&every), "{value} {air_noise}");
        }
    }
    // From the middle of a row on, as a cut file has it.
    let mut cut = body(20.0);
    cut.slice_mut(s![7, 30, 20..]).fill(-1024.0);
    cut.slice_mut(s![7, 31.., ..]).fill(-1024.0);
    assert_eq!(look(cut), unfilled(&[7]));
}

#[test]
fn repeated_slices_are_named() {
    let mut voxels = body(20.0);
    let first = voxels.slice(s![4, .., ..]).to_owned();
    for z in [5, 6, 15] {
        voxels.slice_mut(s![z, .., ..]).assign(&first);
    }
    assert_eq!(look(voxels), Err(VoxelFault::Repeated(vec![5, 6, 15])));
    let mut one = body(20.0);
    let all = one.slice(s![4, .., ..]).to_owned();
    one.outer_iter_mut().for_each(|mut slice| slice.assign(&all));
    assert_eq!(look(one), Err(VoxelFault::Repeated((1..24).collect())));
}

/// Thick slices written in thin steps lie where they should: told, not refused.
#[test]
fn a_series_in_which_every_slice_repeats_is_interpolated() {
    for times in [2, 3] {
        let mut voxels = body(20.0);
        for z in 0..24 {
            let first = voxels.slice(s![z / times * times, .., ..]).to_owned();
            voxels.slice_mut(s![z, .., ..]).assign(&first);
        }
        assert_eq!(look(voxels), Ok(Repaired { interpolated: true, padded_slices: 0 }), "{times}");
    }
}

#[test]
fn slices_rescaled_otherwise_are_named() {
    let changes: [fn(f32) -> f32; 4] =
        [|v| v + 1024.0, |v| v - 1024.0, |v| 10.0 * v, |v| 2.0 * (v + 1024.0) - 1024.0];
    for change in changes {
        for air_noise in [0.0, 20.0] {
            let mut voxels = body(air_noise);
            voxels.slice_mut(s![8..13, .., ..]).mapv_inplace(change);
            let slices = vec![8, 9, 10, 11, 12];
            // A body that became air, among lines of one value, is no image.
            let named = match change(60.0) < -300.0 && air_noise == 0.0 {
                true => VoxelFault::Unfilled(slices),
                false => VoxelFault::Rescaled(slices),
            };
            assert_eq!(look(voxels), Err(named), "{air_noise} {}", change(60.0));
        }
    }
}

/// What lies outside the circle of the field of view.
fn outside(voxels: &mut Array3<f32>, value: f32) {
    for ((_, y, x), voxel) in voxels.indexed_iter_mut() {
        if out(y, x, [31.5, 31.5], [31.5, 31.5]) > 1.0 {
            *voxel = value;
        }
    }
}

#[test]
fn padding_that_is_no_air_is_made_air() {
    let sound = {
        let mut sound = body(20.0);
        outside(&mut sound, AIR_HU);
        sound
    };
    let mended = (Ok(Repaired { padded_slices: SHAPE[0], interpolated: false }), sound);
    for value in [62_512.0, 64_511.0, 0.0, -500.0, 31_743.0] {
        let mut padded = body(20.0);
        outside(&mut padded, value);
        assert_eq!(look_padded(padded.clone(), &[]), mended, "{value}");
        let declared = vec![Some([value, value]); SHAPE[0]];
        assert_eq!(look_padded(padded, &declared), mended, "{value}");
    }
    // A value of soft tissue that the header calls padding is none within the body.
    let declared = vec![Some([60.0, 60.0]); SHAPE[0]];
    let mut voxels = body(20.0);
    voxels[[3, 32, 32]] = 60.0;
    assert_eq!(look_padded(voxels.clone(), &declared), (Ok(Repaired::default()), voxels));
}

#[test]
fn values_that_no_body_has_are_refused() {
    type Change = fn(f32) -> f32;
    let changes: [(Change, &str); 8] = [
        (|v| 10.0 * v, "times ten"),
        (|v| v / 10.0, "a tenth"),
        (|v| -v, "negated"),
        (|v| v + 1024.0, "not rescaled"),
        (|v| v - 1024.0, "rescaled twice"),
        (|v| v + 200.0, "too high"),
        (|v| v - 200.0, "too low"),
        (|v| v.clamp(-160.0, 240.0), "windowed"),
    ];
    for (change, what) in changes {
        for air_noise in [0.0, 20.0] {
            let seen = look(body(air_noise).mapv(change));
            let refused = matches!(seen, Err(VoxelFault::Implausible(_)));
            // Clipped to a window, bone and fat are where they were: only air is gone.
            assert!(refused || what == "windowed", "{what} {air_noise}: {seen:?}");
        }
    }
    let mut voxels = body(20.0);
    voxels[[3, 4, 5]] = f32::NAN;
    assert_eq!(look(voxels), Err(VoxelFault::NotFinite));
}
