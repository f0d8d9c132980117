//! The streaming first stage against its slow definition, and its promises.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ndarray::{Array3, Array4, Array5, ArrayView5, ArrayViewMut5};

use super::*;
use hepalert_bundles::{BundleFile, Decision, Fusion, Golden, Reader, Resampling, Sums};
use hepalert_engines::fake::{Formula, Index, Spoiled, VoxelwiseEngine};
use hepalert_study::anatomy;
use hepalert_study::phase::Phase;
use hepalert_study::study::{Study, StudyKey};
use hepalert_voxels::image::normalise::Normalisation;
use hepalert_voxels::volume::{Grid, Volume};

mod half_sums;
mod oracle;
mod places;
mod stages;
mod streaming;

const PATCH: [usize; 3] = [4, 8, 6];

fn file() -> BundleFile {
    BundleFile::new("none", &"0".repeat(64), 0).unwrap()
}

fn plan() -> Plan {
    let network = NetworkPlan {
        files: vec![file()],
        reader: Reader::SimpleItk,
        classes: anatomy::class_names().map(str::to_owned).to_vec(),
        channels: 1,
        patch: PATCH,
        spacing_mm: [5.0, 1.0, 1.0],
        transpose_forward: [0, 1, 2],
        normalisation: vec![Normalisation::None],
        resampling: Resampling::Default,
        resampling_logits: Resampling::Default,
        mirror_axes: vec![],
        tile_step: 0.5,
        fusion: Fusion::Logits,
        sums: Sums::F32,
        decision: Decision::Argmax,
        postprocessing: vec![],
        mask_value: 0.0,
        golden: Golden { input: file(), expected: vec![file()], stride: [1, 1, 1] },
    };
    Plan { network, batch: 1, air: AirTiles::RunAll, memory_budget_bytes: 1 << 30 }
}

fn study_of(image: Array3<f32>, spacing_mm: [f64; 3]) -> AlignedStudy {
    let (z, y, x) = image.dim();
    let grid = Arc::new(Grid::axial([z, y, x], spacing_mm, [0.0; 3]));
    let key = StudyKey::new(&"0".repeat(32)).unwrap();
    let phases = BTreeMap::from([(Phase::Vp, Volume::new(grid, image))]);
    AlignedStudy::from_study(Study { key, phases }, &[Phase::Vp]).unwrap()
}

/// Never zero, so never cropped.
fn image(shape: [usize; 3]) -> Array3<f32> {
    Array3::from_shape_fn(shape, |(z, y, x)| {
        let at = (z * 71 + y * 13 + x * 5) as f32;
        (at * 0.61).sin() + 0.3 * (at * 0.11).cos() + 3.0
    })
}

fn go_on(_: Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn run(study: &AlignedStudy, plan: &Plan, mut engines: Vec<Box<dyn Engine>>) -> Scores {
    segment(study, plan, &mut engines, &mut go_on).unwrap()
}

fn slide(
    image: ndarray::ArrayView4<'_, f32>,
    plan: &Plan,
    engines: &mut [Box<dyn Engine>],
    emit: &mut dyn FnMut(usize, ndarray::ArrayView3<'_, f32>),
) {
    let mut meter = meter::Meter { clock: &|| 0.0, busy: Busy::default() };
    window::slide(image, plan, engines, &mut meter, &mut go_on, emit).unwrap();
}

/// An engine whose logits depend on the voxel, the class and the place in the patch, so that
/// tiling, mirrors and folds all matter.
fn placed(plan: &Plan, fold: u8) -> Box<dyn Engine> {
    let fold = f32::from(fold);
    let logit = move |patches: &ArrayView5<'_, f32>, (n, class, z, y, x): Index| {
        let place = (class * 17 + z * 5 + y * 3 + x * 2) as f32;
        patches[[n, 0, z, y, x]] * (place * 0.7 + fold).sin()
            + 0.5 * (class as f32 * 2.3 + fold).cos()
    };
    Box::new(Formula(plan.network.spec(plan.batch), logit))
}

/// Counts answers and leaves them alone.
fn count(runs: &Arc<AtomicUsize>) -> impl FnMut(&mut ArrayViewMut5<'_, f32>) + Send + use<> {
    let runs = Arc::clone(runs);
    move |_| {
        runs.fetch_add(1, Ordering::SeqCst);
    }
}

/// Fourteen classes of which HCC (slope 1) and liver (offset 2) are ever best.
fn two_winners() -> Vec<(f32, f32)> {
    let mut classes = vec![(0.0, -5.0); anatomy::CLASS_COUNT];
    classes[1] = (1.0, 0.0);
    classes[7] = (0.0, 2.0);
    classes
}

#[test]
fn a_voxelwise_network_gives_its_margin_at_every_voxel() {
    let image = image([9, 17, 13]);
    let study = study_of(image.clone(), [5.0, 1.0, 1.0]);
    let plan = plan();
    let engine = VoxelwiseEngine::new(PATCH, 1, two_winners());
    let scores = run(&study, &plan, vec![Box::new(engine)]);
    for (&value, &margin) in image.iter().zip(&scores.margin) {
        assert!((margin - (2.0 - value)).abs() < 1e-5, "{margin} at {value}");
    }
    assert!(scores.best_lesion.iter().all(|&l| l == 1));
    assert!(scores.best_other.iter().all(|&l| l == 7));
}

#[test]
fn volumes_smaller_than_a_patch_are_padded() {
    let image = image([2, 5, 3]);
    let study = study_of(image.clone(), [5.0, 1.0, 1.0]);
    let engine = VoxelwiseEngine::new(PATCH, 1, two_winners());
    let scores = run(&study, &plan(), vec![Box::new(engine)]);
    for (&value, &margin) in image.iter().zip(&scores.margin) {
        assert!((margin - (2.0 - value)).abs() < 1e-5, "{margin} at {value}");
    }
}

#[test]
fn outside_the_nonzero_box_the_background_wins_at_every_gain() {
    let mut padded = Array3::zeros((9, 20, 16));
    padded.slice_mut(ndarray::s![2..7, 3..15, 4..14]).assign(&image([5, 12, 10]));
    let study = study_of(padded, [5.0, 1.0, 1.0]);
    let plan = plan();
    let prepared = prepare(&study, &plan).unwrap();
    assert_eq!(prepared.geometry.crop, [2..7, 3..15, 4..14]);
    assert_eq!(prepared.voxels.dim(), (1, 5, 12, 10));
    let engine = VoxelwiseEngine::new(PATCH, 1, two_winners());
    let scores = run(&study, &plan, vec![Box::new(engine)]);
    let labels = scores.labels(LesionGain(1e30));
    assert_eq!(labels.voxels()[[1, 5, 5]], 0);
    assert_eq!(labels.voxels()[[2, 3, 4]], 1);
    assert_eq!(labels.voxels().iter().filter(|&&l| l != 0).count(), 5 * 12 * 10);
}

#[test]
fn anyones_network_gives_its_plain_argmax() {
    let mut plan = plan();
    plan.network.classes = ["background", "bone", "fat"].map(str::to_owned).to_vec();
    let classes = vec![(0.0, 2.5), (1.0, 0.0), (-1.0, 5.5)];
    let image = image([5, 9, 7]);
    let engine = VoxelwiseEngine::new(PATCH, 1, classes);
    let study = study_of(image.clone(), [5.0, 1.0, 1.0]);
    let scores = run(&study, &plan, vec![Box::new(engine)]);
    let labels = scores.labels(LesionGain(100.0));
    for (&value, &label) in image.iter().zip(labels.voxels()) {
        let expected = if value > 2.75 { 1 } else { 2 };
        assert!(label == expected || (value - 2.75).abs() < 1e-4, "{label} at {value}");
    }
}

#[test]
fn every_slice_is_emitted_once_and_in_order() {
    for depth in [1, 3, 4, 5, 11] {
        let plan = plan();
        let volume = Array4::from_elem((1, depth, 9, 9), 1.0);
        let mut engines: Vec<Box<dyn Engine>> =
            vec![Box::new(VoxelwiseEngine::new(PATCH, 1, two_winners()))];
        let mut seen = Vec::new();
        slide(volume.view(), &plan, &mut engines, &mut |z, scores| {
            assert_eq!(scores.dim(), (14, 9, 9));
            // The tile weights divide out: a constant stays that constant.
            for (class, plane) in scores.outer_iter().enumerate() {
                let (slope, offset) = two_winners()[class];
                assert!(plane.iter().all(|&v| (v - slope - offset).abs() < 1e-5), "class {class}");
            }
            seen.push(z);
        });
        assert_eq!(seen, (0..depth).collect::<Vec<_>>());
    }
}

#[test]
fn the_watcher_sees_every_tile_and_can_stop_between_two() {
    let study = study_of(image([9, 17, 13]), [5.0, 1.0, 1.0]);
    let engine =
        || vec![Box::new(VoxelwiseEngine::new(PATCH, 1, two_winners())) as Box<dyn Engine>];
    let mut seen = Vec::new();
    let mut watch = |progress: Progress| {
        seen.push(progress.tiles_done);
        assert_eq!(progress.tiles_total, 4 * 4 * 4);
        ControlFlow::Continue(())
    };
    segment(&study, &plan(), &mut engine(), &mut watch).unwrap();
    assert_eq!(seen, (0..=64).collect::<Vec<_>>());
    let mut calls = 0;
    let mut stop = |progress: Progress| {
        calls += 1;
        if progress.tiles_done == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let error = segment(&study, &plan(), &mut engine(), &mut stop).unwrap_err();
    assert!(matches!(error, SegmentError::Cancelled));
    assert_eq!(calls, 4);
}

/// Patches are on their way to the network while earlier ones are blended: a stop ends the
/// work after those, whatever the batch and the mirrors.
#[test]
fn after_a_stop_only_what_was_asked_is_run() {
    let study = study_of(image([9, 17, 13]), [5.0, 1.0, 1.0]);
    for (mirror_axes, batch, before) in [(vec![], 1, 5), (vec![1, 2], 1, 20), (vec![2], 4, 3)] {
        let mut plan = plan();
        (plan.network.mirror_axes, plan.batch) = (mirror_axes, batch);
        let runs = Arc::new(AtomicUsize::new(0));
        let mut engine = VoxelwiseEngine::new(PATCH, 1, two_winners());
        engine.spec.batch = batch;
        let mut engines: Vec<Box<dyn Engine>> = vec![Box::new(Spoiled(engine, count(&runs)))];
        let mut stop = |progress: Progress| match progress.tiles_done {
            5 => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        };
        let error = segment(&study, &plan, &mut engines, &mut stop).unwrap_err();
        assert!(matches!(error, SegmentError::Cancelled));
        let ran = runs.load(Ordering::SeqCst);
        assert!((before..=before + feed::MAX_SETS).contains(&ran), "{ran} calls, batch {batch}");
    }
}

#[test]
fn too_large_too_small_and_mismatched_are_refused() {
    let study = study_of(image([9, 17, 13]), [5.0, 1.0, 1.0]);
    let mut small_budget = plan();
    small_budget.memory_budget_bytes = 10_000;
    let error = prepare(&study, &small_budget).unwrap_err();
    assert!(matches!(error, SegmentError::OverBudget { allowed: 10_000, .. }), "{error}");
    assert!(matches!(
        largest_batch(&study, &small_budget, 4),
        Err(SegmentError::OverBudget { .. })
    ));
    let thin = study_of(image([1, 17, 13]), [0.1, 1.0, 1.0]);
    assert!(matches!(prepare(&thin, &plan()), Err(SegmentError::TooSmall { .. })));
    let mut four = plan();
    four.network.channels = 4;
    let error = prepare(&study, &four).unwrap_err();
    assert!(matches!(error, SegmentError::Channels { found: 1, expected: 4 }));
    let other: Box<dyn Engine> = Box::new(VoxelwiseEngine::new([4, 8, 8], 1, two_winners()));
    for mut engines in [vec![], vec![other]] {
        let error = segment(&study, &plan(), &mut engines, &mut go_on).unwrap_err();
        assert!(matches!(error, SegmentError::EngineShape { .. }), "{error}");
    }
}

#[test]
fn the_batch_is_the_largest_that_fits() {
    let study = study_of(image([9, 17, 13]), [5.0, 1.0, 1.0]);
    let mut plan = plan();
    assert_eq!(largest_batch(&study, &plan, 7).unwrap(), 7);
    assert_eq!(largest_batch(&study, &plan, 0).unwrap(), 1);
    let needed = |batch| {
        let plan = Plan { batch, memory_budget_bytes: 0, ..self::plan() };
        match prepare(&study, &plan) {
            Err(SegmentError::OverBudget { needed, .. }) => needed,
            _ => panic!("nothing fits into no bytes"),
        }
    };
    plan.memory_budget_bytes = needed(3);
    assert_eq!(largest_batch(&study, &plan, 7).unwrap(), 3);
    plan.memory_budget_bytes = needed(1) - 1;
    assert!(largest_batch(&study, &plan, 7).is_err());
}

#[test]
fn a_network_that_gives_nan_is_an_error_not_a_label() {
    let study = study_of(image([5, 9, 9]), [5.0, 1.0, 1.0]);
    let mut classes = two_winners();
    classes[3] = (f32::NAN, 0.0);
    let mut engines: Vec<Box<dyn Engine>> = vec![Box::new(VoxelwiseEngine::new(PATCH, 1, classes))];
    let error = segment(&study, &plan(), &mut engines, &mut go_on).unwrap_err();
    assert!(matches!(error, SegmentError::NotFinite), "{error}");
}

/// Left and right of the body there is air, here and there a whole tile of it.
#[test]
fn air_is_run_once_and_nothing_changes() {
    let mut image = image([9, 17, 60]).mapv(|v| v * 100.0);
    image.slice_mut(ndarray::s![.., .., ..20]).fill(-1000.0);
    image.slice_mut(ndarray::s![.., .., 40..]).fill(-1000.0);
    let study = study_of(image, [5.0, 1.0, 1.1]);
    for (mirror_axes, batch) in [(vec![], 1), (vec![2], 1), (vec![0, 2], 3), (vec![], 5)] {
        let mut plan = plan();
        let scheme = Normalisation::Ct { mean: 50.0, std: 60.0, lower: -150.0, upper: 500.0 };
        plan.network.normalisation = vec![scheme];
        plan.network.sums = Sums::F16;
        plan.network.mirror_axes = mirror_axes;
        plan.batch = batch;
        let prepared = prepare(&study, &plan).unwrap();
        let [all, once] = [AirTiles::RunAll, AirTiles::RunOnce].map(|air| {
            let plan = Plan { air, ..plan.clone() };
            let mut seen = Vec::new();
            let mut watch = |at: Progress| {
                seen.push(at.tiles_done);
                ControlFlow::Continue(())
            };
            let mut engines = vec![placed(&plan, 0), placed(&plan, 1)];
            let (scores, busy) =
                segment_timed(&prepared, &plan, &mut engines, &|| 0.0, &mut watch).unwrap();
            assert_eq!(seen, (0..seen.len()).collect::<Vec<_>>());
            (scores, busy.tiles_run, seen.len() - 1)
        });
        assert_eq!(all.0.margin, once.0.margin);
        assert_eq!(all.0.best_other, once.0.best_other);
        assert_eq!((all.1, all.2), (all.1, once.2));
        assert!(once.1 + 20 < all.1, "{} of {} tiles were run", once.1, all.1);
    }
}

#[test]
fn mirrors_and_folds_are_all_run() {
    let mut plan = plan();
    plan.network.mirror_axes = vec![0, 2];
    let volume = Array4::from_elem((1, 4, 8, 6), 1.0);
    let mut calls = Vec::new();
    let runs = Arc::new(AtomicUsize::new(0));
    let engine = || Box::new(Spoiled(VoxelwiseEngine::new(PATCH, 1, two_winners()), count(&runs)));
    let mut engines: Vec<Box<dyn Engine>> = vec![engine(), engine()];
    let mut emit = |z: usize, _: ndarray::ArrayView3<'_, f32>| calls.push(z);
    slide(volume.view(), &plan, &mut engines, &mut emit);
    assert_eq!(runs.load(Ordering::SeqCst), 2 * 4);
}
