//! Whole chains, as nnU-Net's predictor runs them on a network that is a formula.

use super::*;
use hepalert_voxels::image::largest::keep_largest;
use hepalert_voxels::volume::nifti::read::read;

/// Class c of fold k at place (z, y, x) of its patch, in `f32`, the channels added:
/// `((17c + 5z + 3y + 2x) mod 23 - 11) * 0.17 + image * (7c mod 5 - 2) + 0.3kc`.
fn analytic(plan: &Plan, fold: usize) -> Box<dyn Engine> {
    let channels = plan.network.channels;
    let logit = move |patches: &ArrayView5<'_, f32>, (n, class, z, y, x): Index| {
        let place = ((17 * class + 5 * z + 3 * y + 2 * x) % 23) as f32 - 11.0;
        let image: f32 = (0..channels).map(|c| patches[[n, c, z, y, x]]).sum();
        let one = place * 0.17 + image * ((7 * class % 5) as f32 - 2.0);
        one + 0.3 * (fold * class) as f32
    };
    Box::new(Formula(plan.network.spec(1), logit))
}

/// The study as the network takes it, and its labels at gain 1.
fn run_folds(study: &AlignedStudy, plan: &Plan, folds: usize) -> (Array4<f32>, Array3<u8>) {
    let mut plan = plan.clone();
    plan.network.files = vec![file(); folds];
    let scores = run(study, &plan, (0..folds).map(|fold| analytic(&plan, fold)).collect());
    let prepared = prepare(study, &plan).unwrap();
    (prepared.voxels, scores.labels(LesionGain(1.0)).into_voxels())
}

fn check_prepared(found: Array4<f32>, golden: &[u8]) {
    let found = difference(&found.into_dyn(), &floats(golden));
    assert!(found < 5e-7, "{found}");
}

#[test]
fn a_padded_ct_mirrored_over_two_folds() {
    let inner = Made { modulus: 61, scale: 9.0, offset: -240.5 }.array([1, 7, 15, 14]);
    let study = study_of_channels(&padded(&inner, [1, 2, 0], [0, 3, 2]), [5.0, 0.8, 0.9]);
    let mut plan = plan_at([5.0, 1.1, 1.0], &[CT]);
    plan.network.mirror_axes = vec![1, 2];
    let (prepared, found) = run_folds(&study, &plan, 2);
    check_prepared(prepared, stage!("chain_ct_prepared.npy"));
    assert_eq!(found, labels(stage!("chain_ct_labels.npy")));
}

#[test]
fn two_channels_turned_masked_and_postprocessed() {
    let inner = Made { modulus: 37, scale: 1.5, offset: -3.0 }.array([2, 7, 9, 8]);
    let study = study_of_channels(&padded(&inner, [0, 1, 1], [1, 0, 0]), [1.2, 1.3, 1.1]);
    let schemes = [Normalisation::ZScoreOfNonzero, Normalisation::Rescale01];
    let mut plan = plan_at([1.0, 1.0, 1.5], &schemes);
    plan.network.patch = [6, 6, 6];
    plan.network.transpose_forward = [2, 0, 1];
    plan.network.mirror_axes = vec![0];
    let (prepared, mut found) = run_folds(&study, &plan, 1);
    check_prepared(prepared, stage!("chain_iso_prepared.npy"));
    keep_largest(&mut found, &[2, 5, 9]);
    assert_eq!(found, labels(stage!("chain_iso_labels.npy")));
}

/// From a coronal file to labels in the order in which that file is stored.
#[test]
fn regions_of_a_reoriented_file_resampled_by_torch() {
    let key = StudyKey::new(&"0".repeat(32)).unwrap();
    let image = read(stage!("coronal.nii.gz")).unwrap();
    let study = Study { key, phases: BTreeMap::from([(Phase::Vp, image)]) };
    let study = AlignedStudy::from_study(study, &[Phase::Vp]).unwrap();
    let mut plan = plan_at([1.0, 2.0, 1.3], &[Normalisation::ZScore]);
    plan.network.reader = Reader::NibabelWithReorient;
    plan.network.transpose_forward = [1, 0, 2];
    plan.network.resampling = Resampling::Torch;
    plan.network.resampling_logits = Resampling::Torch;
    plan.network.classes = ["whole", "core", "tip"].map(str::to_owned).to_vec();
    plan.network.decision = Decision::Regions(vec![1, 2, 3]);
    let (prepared, found) = run_folds(&study, &plan, 1);
    check_prepared(prepared, stage!("chain_regions_prepared.npy"));
    assert_eq!(found, labels(stage!("chain_regions_written.npy")));
}

/// Probabilities `[class, z, y, x]` of two folds, mirrored.
fn probabilities(fusion: Fusion) -> Array4<f32> {
    let mut plan = plan_at([1.0; 3], &[Normalisation::None]);
    plan.network.classes.truncate(3);
    plan.network.mirror_axes = vec![2];
    plan.network.files = vec![file(); 2];
    plan.network.fusion = fusion;
    plan.network.sums = Sums::F32;
    let image = Made { modulus: 29, scale: 0.25, offset: -3.5 }.array([1, 6, 13, 9]);
    let mut engines: Vec<Box<dyn Engine>> = [0, 3].map(|fold| analytic(&plan, fold)).into();
    let mut found = Array4::zeros((3, 6, 13, 9));
    slide(image.view(), &plan, &mut engines, &mut |z, scores| {
        found.slice_mut(ndarray::s![.., z, .., ..]).assign(&scores);
    });
    found
}

/// Over tiles, mirrors and folds v1 averages probabilities and v2 logits; where one fold is sure
/// and the other is not, that is not the same.
#[test]
fn probabilities_are_averaged_as_by_v1_and_logits_as_by_v2() {
    let farthest = |a: &Array4<f32>, b: &Array4<f32>| {
        a.iter().zip(b).fold(0.0_f32, |farthest, (a, b)| farthest.max((a - b).abs()))
    };
    let golden = |bytes| floats(bytes).into_dimensionality::<ndarray::Ix4>().unwrap();
    let (v1, v2) =
        (golden(stage!("fusion_probabilities.npy")), golden(stage!("fusion_logits.npy")));
    assert!(farthest(&v1, &v2) > 0.1);
    let found = farthest(&probabilities(Fusion::Probabilities), &v1);
    assert!(found < 1e-6, "{found}");
    let mut logits = probabilities(Fusion::Logits);
    for mut voxel in logits.lanes_mut(ndarray::Axis(0)) {
        voxel.mapv_inplace(f32::exp);
        let sum = voxel.sum();
        voxel /= sum;
    }
    let found = farthest(&logits, &v2);
    assert!(found < 1e-6, "{found}");
}
