//! What holds for every patch of every scheme, on livers of any shape.

use ndarray::{Array3, s};
use proptest::prelude::*;

use super::*;

#[test]
fn odd_shapes_do_not_panic() {
    let mut bare = Case::liver([6, 10, 10], 1);
    bare.labels.fill(0);
    let mut full = Case::liver([6, 10, 10], 1);
    full.lesion([1, 1, 1], [4, 8, 8], 2);
    let mut huge = Case::liver([12, 24, 24], 1);
    huge.lesion([1, 1, 1], [9, 20, 20], 5);
    let mut tiny = Case::liver([3, 3, 3], 1);
    tiny.patch = [8, 16, 16];
    let mut coarse = Case::liver([6, 10, 10], 1);
    coarse.spacing_mm = [50.0; 3];
    for case in [&bare, &full, &huge, &tiny, &coarse] {
        let prepared = case.prepare();
        let shape = [case.labels.dim().0, case.labels.dim().1, case.labels.dim().2];
        for mask in [
            ([1, 1, 1], Array3::from_elem((1, 1, 1), true)),
            ([0; 3], Array3::from_elem(shape, true)),
        ] {
            let one = Candidate { volume_cm3: 1.0, ..candidate(Lesion::Icc, &mask) };
            for scheme in Scheme::ALL {
                let lesion = PatchLesion::of(&one, &prepared);
                let mut generator = patch_generator(seed(), [0; 32], scheme, 0);
                sound(&prepared, &lesion, &draw(&prepared, &lesion, 2, scheme, &mut generator));
            }
            judge(&prepared, &[one], &mut Fake::new(&prepared, 2), &ReclassifyParams::default());
        }
    }
}

/// What holds for every patch of every scheme.
fn sound(prepared: &Prepared, lesion: &PatchLesion, patch: &Patch) {
    for ((z, y, x), &truth) in patch.truth.indexed_iter() {
        let at = [z, y, x];
        let place = |shift: [isize; 3]| -> [isize; 3] {
            std::array::from_fn(|a| at[a] as isize + patch.origin[a] - shift[a])
        };
        let values: Vec<f32> = patch.images.slice(s![.., z, y, x]).to_vec();
        if truth == 0 {
            assert!(values.iter().all(|&v| v == 0.0), "a value outside R at {at:?}");
        }
        if patch.carried[at] {
            match patch.scheme {
                Scheme::ShuffledNegative => assert!(truth == 0 || truth == LIVER_CLASS),
                _ => {
                    assert!(truth != 0, "carried outside R");
                    let source = place(patch.shift);
                    assert!(lesion.points.contains(&source));
                    let [sz, sy, sx] = source.map(|n| n as usize);
                    let expected = prepared.images().slice(s![.., sz, sy, sx]).to_vec();
                    assert_eq!(values, expected, "one shift for all phases");
                }
            }
        } else if truth != 0 {
            let [gz, gy, gx] = place([0; 3]).map(|n| n as usize);
            assert_eq!(values, prepared.images().slice(s![.., gz, gy, gx]).to_vec());
            assert_eq!(truth, prepared.region().truth()[[gz, gy, gx]]);
        }
    }
    let lesions = patch.truth.iter().filter(|&&t| (1..=6).contains(&t)).count();
    let carried = patch.carried.iter().filter(|&&on| on).count();
    match patch.scheme {
        Scheme::OriginalNegative => assert_eq!((lesions, carried), (0, 0)),
        Scheme::ShuffledPositive => assert_eq!(lesions, carried),
        Scheme::OriginalPositive | Scheme::ShuffledNegative => {
            let size = prepared.patch_size();
            if (0..3).all(|a| lesion.hi[a] - lesion.lo[a] <= size[a] as isize) {
                assert_eq!(carried, lesion.points.len());
            }
            assert!(lesion.points.is_empty() || carried > 0);
        }
    }
}

#[test]
fn in_a_roomy_liver_every_transplant_fits_and_every_removal_is_covered() {
    let mut case = Case::liver([14, 40, 40], 1);
    let mask = case.lesion([4, 8, 8], [2, 4, 4], 3);
    let prepared = case.prepare();
    let lesion = PatchLesion::of(&candidate(Lesion::Meta, &mask), &prepared);
    for index in 0..40 {
        let make = |scheme| {
            let mut generator = patch_generator(seed(), lesion.fingerprint, scheme, index);
            draw(&prepared, &lesion, 3, scheme, &mut generator)
        };
        let moved = make(Scheme::ShuffledPositive);
        let carried = moved.carried.iter().filter(|&&on| on).count();
        assert!(carried * 100 >= 95 * lesion.points.len(), "{carried}");
        assert_ne!(moved.shift, [0; 3]);
        let covered = make(Scheme::ShuffledNegative);
        let healed =
            covered.truth.iter().zip(&covered.carried).filter(|(t, on)| **on && **t == LIVER_CLASS);
        assert_eq!(healed.count(), lesion.points.len());
        assert_eq!(make(Scheme::ShuffledPositive), moved, "a second run is bit-identical");
    }
}

#[test]
fn a_false_positive_is_carried_as_liver() {
    let mut case = Case::liver([14, 40, 40], 1);
    let mask = case.lesion([4, 8, 8], [2, 4, 4], 3);
    let prepared = case.prepare();
    let lesion = PatchLesion::of(&candidate(Lesion::Meta, &mask), &prepared);
    let mut generator = patch_generator(seed(), lesion.fingerprint, Scheme::ShuffledPositive, 0);
    let patch = draw(&prepared, &lesion, LIVER_CLASS, Scheme::ShuffledPositive, &mut generator);
    assert!(patch.truth.iter().all(|&truth| truth == 0 || truth == LIVER_CLASS));
    assert!(patch.carried.iter().any(|&on| on));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_patch_is_sound(
        organ in proptest::collection::vec(0..12u8, 6 * 9 * 9),
        lo in (0..5usize, 0..8usize, 0..8usize),
        size in (1..6usize, 1..7usize, 1..7usize),
        index in 0..100u32,
    ) {
        let mut case = Case::liver([6, 9, 9], 0);
        case.patch = [3, 5, 6];
        // Mostly liver, with vessels, lesions and gaps.
        for (label, &draw) in case.labels.iter_mut().zip(&organ) {
            *label = [0, 3, 9][..].get(usize::from(draw)).copied().unwrap_or(7);
        }
        let hi = [(lo.0 + size.0).min(6), (lo.1 + size.1).min(9), (lo.2 + size.2).min(9)];
        let mask = case.lesion([lo.0, lo.1, lo.2], [hi[0] - lo.0, hi[1] - lo.1, hi[2] - lo.2], 4);
        let prepared = case.prepare();
        let lesion = PatchLesion::of(&candidate(Lesion::Hem, &mask), &prepared);
        for scheme in Scheme::ALL {
            let mut generator = patch_generator(seed(), lesion.fingerprint, scheme, index);
            sound(&prepared, &lesion, &draw(&prepared, &lesion, 4, scheme, &mut generator));
        }
    }
}

#[test]
fn what_does_not_belong_together_is_not_prepared() {
    let case = Case::liver([6, 10, 10], 1);
    let (study, labels, sampling) = case.parts();
    let refused = |labels: &LabelMap, sampling: &Sampling| {
        Prepared::new(&study, labels, sampling).unwrap_err()
    };
    let one = Sampling { channels: vec![Normalisation::None], ..sampling.clone() };
    let phases = PrepareError::Phases { wanted: 1, found: 2 };
    assert_eq!(refused(&labels, &one), phases);
    let elsewhere = Arc::new(Grid::axial([6, 10, 10], [1.0; 3], [0.0, 0.0, 9.0]));
    let moved = Volume::new(elsewhere, labels.voxels().clone());
    assert_eq!(refused(&moved, &sampling), PrepareError::Grid);
    for bad in [
        Sampling { spacing_mm: [1.0, 0.0, 1.0], ..sampling.clone() },
        Sampling { spacing_mm: [1e-4, 1e-4, 1e-4], ..sampling.clone() },
        Sampling { patch: [4, 0, 8], ..sampling.clone() },
    ] {
        assert!(matches!(refused(&labels, &bad), PrepareError::Sampling(_)), "{bad:?}");
    }
}

#[test]
fn separate_slices_give_the_whole_resize_inside_the_liver() {
    let mut case = Case::liver([6, 40, 44], 1);
    case.spacing_mm = [4.0, 1.25, 1.25];
    let (study, labels, sampling) = case.parts();
    let prepared = Prepared::new(&study, &labels, &sampling).unwrap();
    let shape = prepared.grid().shape();
    assert_eq!(shape, [2, 32, 35]);
    let mut whole = Array3::zeros(shape);
    let ramp = study.phases()[1].1.voxels();
    hepalert_voxels::image::resample::resize_cubic(ramp.view(), whole.view_mut(), Some(0));
    let found = prepared.images().index_axis(Axis(0), 1);
    let mut inside = 0;
    for ((at, &found), &truth) in found.indexed_iter().zip(prepared.region().truth()) {
        let expected = if truth == 0 { 0.0 } else { whole[at] };
        inside += usize::from(truth != 0);
        assert!((found - expected).abs() < 0.01, "{found} {expected}");
    }
    assert!(inside > 500);
}
