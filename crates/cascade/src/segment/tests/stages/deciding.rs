//! From logits at the network's spacing to labels on the study's grid.

use super::preparing::{ABOVE_THREE, BELOW_THREE, ISOTROPIC, LAST, SLICES};
use super::*;
use crate::segment::export::Export;
use hepalert_voxels::image::largest::keep_largest;
use hepalert_voxels::volume::Axes;

/// Loses to everything and is an f16.
const NEVER: f32 = -1000.0;

/// The way back from `shape` at the network's spacing to all of a study.
fn uncropped(shape: [usize; 3], study: [usize; 3], study_mm: [f64; 3], mm: [f64; 3]) -> Geometry {
    Geometry {
        grid: Arc::new(Grid::axial(study, study_mm, [0.0; 3])),
        axes: Axes::STORED,
        crop: study.map(|n| 0..n),
        shape,
        study_spacing_mm: study_mm,
        network_spacing_mm: mm,
    }
}

fn export(logits: &Array4<f32>, geometry: &Geometry, plan: &Plan) -> Scores {
    let mut export = Export::new(geometry, plan);
    for (z, slice) in logits.axis_iter(ndarray::Axis(1)).enumerate() {
        export.push(z, slice.as_standard_layout().view());
    }
    export.finish()
}

/// One channel of logits as HCC, against a background of 0: the margin is its negative.
fn check_logits((study, study_mm, mm): super::preparing::Case, kind: Resampling, golden: &[u8]) {
    let shape = hepalert_voxels::image::resample::new_shape(study, study_mm, mm);
    let mut plan = plan_at(mm, &[Normalisation::None]);
    plan.network.resampling_logits = kind;
    let source = Made { modulus: 29, scale: 0.37, offset: -4.1 }.volume(shape);
    let [z, y, x] = shape;
    let mut logits = Array4::from_elem((anatomy::CLASS_COUNT, z, y, x), NEVER);
    logits.index_axis_mut(ndarray::Axis(0), 0).fill(0.0);
    let half = source.mapv(crate::segment::half::round_to_f16);
    logits.index_axis_mut(ndarray::Axis(0), 1).assign(&half);
    let scores = export(&logits, &uncropped(shape, study, study_mm, mm), &plan);
    let (found, golden) = (scores.margin.mapv(|margin| -margin), volume(golden));
    match kind {
        Resampling::Default => check_halves(&found, &golden),
        Resampling::Torch => {
            let found = difference(&found, &golden);
            assert!(found < 1e-6, "{study:?} {study_mm:?} {mm:?}: {found}");
        }
    }
}

/// nnU-Net's sums are `f64`, ours `f32`: where a value lies in the middle between two f16, its
/// noise rounds it up or down. Such voxels may be one step apart, and there are few.
fn check_halves(found: &Array3<f32>, golden: &Array3<f32>) {
    assert_eq!(found.dim(), golden.dim());
    let apart: Vec<(f32, f32)> =
        found.iter().zip(golden).map(|(a, b)| (*a, *b)).filter(|(a, b)| a != b).collect();
    let step = |value: f32| value.abs() * 2.0_f32.powi(-10);
    assert!(apart.iter().all(|(a, b)| (a - b).abs() <= step(*b)), "{apart:?}");
    assert!(apart.len() * 80 < golden.len(), "{} of {}", apart.len(), golden.len());
}

#[test]
fn logits_are_resampled_to_the_f16_that_nnunets_default_gives() {
    let kind = Resampling::Default;
    check_logits(SLICES, kind, stage!("logits_default_slices.npy"));
    check_logits(BELOW_THREE, kind, stage!("logits_default_below3.npy"));
    check_logits(ABOVE_THREE, kind, stage!("logits_default_above3.npy"));
    check_logits(LAST, kind, stage!("logits_default_last.npy"));
    check_logits(ISOTROPIC, kind, stage!("logits_default_isotropic.npy"));
}

#[test]
fn logits_are_resampled_to_the_f32_that_nnunets_torch_gives() {
    let kind = Resampling::Torch;
    check_logits(SLICES, kind, stage!("logits_torch_slices.npy"));
    check_logits(BELOW_THREE, kind, stage!("logits_torch_below3.npy"));
    check_logits(ABOVE_THREE, kind, stage!("logits_torch_above3.npy"));
    check_logits(LAST, kind, stage!("logits_torch_last.npy"));
    check_logits(ISOTROPIC, kind, stage!("logits_torch_isotropic.npy"));
}

/// A box inside a study whose first two axes the network has the other way round.
fn turned_and_cropped(shape: [usize; 3], mm: [f64; 3]) -> Geometry {
    let grid = Grid::axial([9, 7, 10], [1.25, 4.5, 1.0], [0.0; 3]);
    let axes = Axes::STORED.permuted([1, 0, 2]);
    let study_spacing_mm = axes.from.map(|axis| grid.spacing_mm()[axis]);
    let crop = [1..6, 0..7, 2..10];
    Geometry { grid: Arc::new(grid), axes, crop, shape, study_spacing_mm, network_spacing_mm: mm }
}

const SAME: ([usize; 3], [f64; 3]) = ([5, 7, 8], [4.5, 1.25, 1.0]);
const RESAMPLED: ([usize; 3], [f64; 3]) = ([6, 5, 9], [3.75, 1.75, 0.89]);

fn of_classes(count: usize, [z, y, x]: [usize; 3], made: Made) -> Array4<f32> {
    made.array([count, z, y, x]).mapv(crate::segment::half::round_to_f16)
}

#[test]
fn ties_go_to_the_lowest_class_and_labels_back_into_the_study() {
    let made = Made { modulus: 9, scale: 0.5, offset: -2.0 };
    for ((shape, mm), golden) in
        [(SAME, &stage!("argmax_same.npy")[..]), (RESAMPLED, stage!("argmax_resampled.npy"))]
    {
        let plan = plan_at(mm, &[Normalisation::None]);
        let logits = of_classes(14, shape, made);
        let scores = export(&logits, &turned_and_cropped(shape, mm), &plan);
        assert_eq!(*scores.labels(LesionGain(1.0)).voxels(), labels(golden), "{shape:?}");
    }
}

/// Zeros of both signs, the smallest f16, one and minus one.
const BITS: [u16; 8] = [0x0000, 0x8000, 0x0001, 0x0002, 0x0003, 0x8001, 0x3c00, 0xbc00];

fn half(bits: u16) -> f32 {
    let magnitude = match bits & 0x7fff {
        0x3c00 => 1.0,
        subnormal => f32::from(subnormal) * 2.0_f32.powi(-24),
    };
    if bits & 0x8000 == 0 { magnitude } else { -magnitude }
}

#[test]
fn regions_are_painted_in_order_where_the_sigmoid_exceeds_one_half() {
    for ((shape, mm), golden) in
        [(SAME, &stage!("regions_same.npy")[..]), (RESAMPLED, stage!("regions_resampled.npy"))]
    {
        let mut plan = plan_at(mm, &[Normalisation::None]);
        plan.network.classes = ["whole", "core", "tip"].map(str::to_owned).to_vec();
        plan.network.decision = Decision::Regions(vec![1, 2, 3]);
        let [z, y, x] = shape;
        let made = Made { modulus: 8, scale: 1.0, offset: 0.0 };
        let logits = made.array([3, z, y, x]).mapv(|at| half(BITS[at as usize]));
        let scores = export(&logits, &turned_and_cropped(shape, mm), &plan);
        assert_eq!(*scores.labels(LesionGain(1.0)).voxels(), labels(golden), "{shape:?}");
    }
}

/// Eq. (3) on the probabilities that nnU-Net gives for the same logits.
#[test]
fn every_gain_and_the_margin_are_those_of_nnunets_probabilities() {
    let (shape, mm) = RESAMPLED;
    let plan = plan_at(mm, &[Normalisation::None]);
    let logits = of_classes(14, shape, Made { modulus: 113, scale: 0.0617, offset: -3.1 });
    let scores = export(&logits, &turned_and_cropped(shape, mm), &plan);
    let golden: [(f32, &[u8]); 3] =
        [(1.0, stage!("gain_1.npy")), (3.0, stage!("gain_3.npy")), (20.0, stage!("gain_20.npy"))];
    for (gain, golden) in golden {
        assert_eq!(*scores.labels(LesionGain(gain)).voxels(), labels(golden), "gain {gain}");
    }
    let inside = scores.margin.slice(ndarray::s![0..7, 1..6, 2..10]).to_owned();
    let golden = volume(stage!("margin.npy"));
    let apart =
        |least: f32| inside.iter().zip(&golden).filter(|(a, b)| (**a - **b).abs() > least).count();
    // Two f16 of up to four, and the few of them that are one step apart.
    assert_eq!(apart(2.0_f32.powi(-8)), 0);
    assert!(apart(1e-5) * 50 < golden.len(), "{} of {}", apart(1e-5), golden.len());
}

/// At gain 1 the margin must not hide which of two equal classes comes first.
#[test]
fn exact_ties_fall_to_the_lower_class_between_lesions_and_others_too() {
    // The classes that share the highest logit, the label at gain 1, and at more.
    let cases: [(&[usize], u8, u8); 8] = [
        (&[0, 3], 0, 3),
        (&[3, 9], 3, 3),
        (&[6, 7], 6, 6),
        (&[2, 5], 2, 2),
        (&[7, 13], 7, 7),
        (&[0, 7], 0, 0),
        (&[4, 5, 8, 12], 4, 4),
        (&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13], 0, 1),
    ];
    let plan = plan_at([1.0; 3], &[Normalisation::None]);
    for value in [0.0, 2.5, -7.125] {
        for (tied, plain, raised) in cases {
            let mut logits = Array4::from_elem((14, 1, 1, 1), NEVER);
            tied.iter().for_each(|&class| logits[[class, 0, 0, 0]] = value);
            let scores = export(&logits, &uncropped([1; 3], [1; 3], [1.0; 3], [1.0; 3]), &plan);
            let label = |gain| scores.labels(LesionGain(gain)).voxels()[[0, 0, 0]];
            assert_eq!((label(1.0), label(1.001)), (plain, raised), "{tied:?} at {value}");
        }
    }
}

fn check_steps(before: &[u8], after: &[u8], steps: &[&[u8]]) {
    let mut found = labels(before);
    steps.iter().for_each(|kept| keep_largest(&mut found, kept));
    assert_eq!(found, labels(after), "{steps:?}");
}

#[test]
fn postprocessing_keeps_what_apply_postprocessing_keeps() {
    let before = stage!("before_many.npy");
    check_steps(before, stage!("after_many_12.npy"), &[&[1, 2]]);
    check_steps(before, stage!("after_many_1_2_3.npy"), &[&[1], &[2], &[3]]);
    check_steps(before, stage!("after_many_123_2.npy"), &[&[1, 2, 3], &[2]]);
}

#[test]
fn components_of_one_size_stay_as_with_apply_postprocessing() {
    let before = stage!("before_ties.npy");
    check_steps(before, stage!("after_ties_12.npy"), &[&[1, 2]]);
    check_steps(before, stage!("after_ties_1_2_3.npy"), &[&[1], &[2], &[3]]);
    check_steps(before, stage!("after_ties_123_2.npy"), &[&[1, 2, 3], &[2]]);
}
