//! Whatever the study and the plan: streaming gives what the definition gives, and the gain
//! only adds lesions.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
struct Case {
    shape: [usize; 3],
    spacing_mm: [f64; 3],
    network_spacing_mm: [f64; 3],
    axes: [usize; 3],
    mirror_axes: Vec<usize>,
    folds: u8,
    fusion: Fusion,
    batch: usize,
    zeros: usize,
}

fn case() -> impl Strategy<Value = Case> {
    let spacing = prop_oneof![
        Just([5.0, 1.0, 1.0]),
        Just([5.0, 0.8, 0.9]),
        Just([2.0, 1.3, 1.1]),
        Just([1.0, 4.0, 1.0]),
        Just([1.2, 1.2, 1.2])
    ];
    let axes = prop_oneof![Just([0, 1, 2]), Just([1, 0, 2]), Just([2, 0, 1])];
    let mirrors = prop_oneof![Just(vec![]), Just(vec![1, 2]), Just(vec![0])];
    let fusion = prop_oneof![Just(Fusion::Logits), Just(Fusion::Probabilities)];
    let shape = [3_usize..9, 6_usize..14, 6_usize..14];
    let runs = (mirrors, 1_u8..3, fusion, 1_usize..6);
    (shape, spacing.clone(), spacing, axes, runs, 0_usize..2).prop_map(
        |(shape, spacing_mm, network_spacing_mm, axes, runs, zeros)| {
            let (mirror_axes, folds, fusion, batch) = runs;
            Case {
                shape,
                spacing_mm,
                network_spacing_mm,
                axes,
                mirror_axes,
                folds,
                fusion,
                batch,
                zeros,
            }
        },
    )
}

fn plan_of(case: &Case) -> Plan {
    let mut plan = plan();
    plan.network.spacing_mm = case.network_spacing_mm;
    plan.network.transpose_forward = case.axes;
    plan.network.mirror_axes = case.mirror_axes.clone();
    plan.network.fusion = case.fusion;
    plan.batch = case.batch;
    plan
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn streaming_equals_the_whole_volume_definition(case in case()) {
        let plan = plan_of(&case);
        let mut image = image(case.shape);
        image.slice_mut(ndarray::s![.., ..case.zeros, ..]).fill(0.0);
        let study = study_of(image, case.spacing_mm);
        let engines = || (0..case.folds).map(|fold| placed(&plan, fold)).collect::<Vec<_>>();
        let prepared = prepare(&study, &plan).unwrap();
        let scores = run(&study, &plan, engines());
        let one_by_one = Plan { batch: 1, ..plan.clone() };
        let singles: Vec<_> = (0..case.folds).map(|fold| placed(&one_by_one, fold)).collect();
        prop_assert_eq!(&run(&study, &one_by_one, singles).margin, &scores.margin);
        let whole = oracle::class_scores(&prepared, &plan, &mut engines());
        for gain in [1.0, 3.0, 100.0] {
            let labels = scores.labels(LesionGain(gain));
            oracle::check_labels(&whole, &prepared.geometry, &plan, gain, &labels);
        }
    }

    #[test]
    fn lesions_grow_with_the_gain_and_keep_their_type(seed in 0_u32..1000) {
        let noise = |at: usize, scale: u32| {
            let hash = (at as u32 ^ seed).wrapping_mul(2_654_435_761) >> 7;
            hash % scale
        };
        let grid = Arc::new(Grid::axial([2, 5, 5], [1.0; 3], [0.0; 3]));
        let shape = (2, 5, 5);
        let index = |(z, y, x)| z * 25 + y * 5 + x;
        let scores = Scores {
            grid,
            best_lesion: Array3::from_shape_fn(shape, |i| 1 + noise(index(i), 6) as u8),
            best_other: Array3::from_shape_fn(shape, |i| [0, 7, 8][noise(index(i) + 99, 3) as usize]),
            margin: Array3::from_shape_fn(shape, |i| noise(index(i) + 7, 90) as f32 / 10.0 - 2.0),
        };
        let gains = [0.5, 1.0, 2.0, 10.0, 100.0, 1e4].map(LesionGain);
        for pair in gains.windows(2) {
            let (low, high) = (scores.labels(pair[0]), scores.labels(pair[1]));
            for (&low, &high) in low.voxels().iter().zip(high.voxels()) {
                prop_assert!(!anatomy::is_lesion(low) || low == high);
            }
        }
    }
}
