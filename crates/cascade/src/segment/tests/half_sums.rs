//! Sums in f16 against nnU-Net's own sliding window (tests/data/segment/make_window.py).

use ndarray::{Array4, s};

use super::*;

/// Of one fold.
fn hashed(plan: &Plan, fold: usize) -> Box<dyn Engine> {
    let logit = move |patches: &ArrayView5<'_, f32>, (_, class, z, y, x): Index| {
        let place = ((17 * class + 5 * z + 3 * y + 2 * x) % 23) as f32 - 11.0;
        let one = place * 0.37 + patches[[0, 0, z, y, x]] * (class + 1) as f32;
        one + 0.3 * (fold * class) as f32
    };
    Box::new(Formula(plan.network.spec(1), logit))
}

fn check(folds: usize, golden: &[u8]) {
    let mut plan = plan();
    plan.network.classes.truncate(3);
    plan.network.sums = Sums::F16;
    plan.network.mirror_axes = vec![2];
    plan.network.files = vec![file(); folds];
    let image =
        Array4::from_shape_fn((1, 6, 13, 9), |(_, z, y, x)| ((7 * z + 3 * y + 5 * x) % 13) as f32);
    let mut found = Array4::<f32>::zeros((3, 6, 13, 9));
    let mut engines: Vec<Box<dyn Engine>> = (0..folds).map(|fold| hashed(&plan, fold)).collect();
    slide(image.view(), &plan, &mut engines, &mut |z, scores| {
        found.slice_mut(s![.., z, .., ..]).assign(&scores);
    });
    let (words, _) = golden.as_chunks::<4>();
    let expected: Vec<f32> = words.iter().map(|word| f32::from_le_bytes(*word)).collect();
    assert_eq!(found.as_slice().unwrap(), expected);
}

#[test]
fn sums_in_f16_equal_nnunet_bit_for_bit() {
    check(1, include_bytes!("../../../../../tests/data/segment/window.f32"));
}

/// nnU-Net finishes and rounds one fold before it adds the next.
#[test]
fn so_do_those_over_three_folds() {
    check(3, include_bytes!("../../../../../tests/data/segment/window_folds.f32"));
}

/// Only inside: where a corner of a single tile decides, the smallest f16 weight leaves of a
/// logit little more than its whole number. nnU-Net has that too.
#[test]
fn away_from_the_corners_sums_in_f16_stay_near_those_in_f32() {
    let study = study_of(image([7, 14, 11]), [5.0, 1.0, 1.0]);
    let [rounded, exact] = [Sums::F16, Sums::F32].map(|sums| {
        let mut plan = plan();
        plan.network.sums = sums;
        let engines = vec![placed(&plan, 0)];
        run(&study, &plan, engines).margin.slice_move(s![2..5, 4..10, 3..8])
    });
    let largest = (&rounded - &exact).fold(0.0_f32, |largest, v| largest.max(v.abs()));
    assert!(largest > 0.0 && largest < 0.02, "{largest}");
}
