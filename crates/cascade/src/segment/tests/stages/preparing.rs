//! Crop, intensities, spacing and tiles.

use super::*;
use crate::segment::gaussian::tile_weights;
use crate::segment::tiles::Tiling;
use hepalert_voxels::image::normalise::normalise;
use hepalert_voxels::image::resample::{new_shape, should_separate_z};

/// Two channels that leave different borders zero; one of them has a hole.
fn two_channels() -> Array4<f32> {
    let inner = Made { modulus: 7, scale: 1.0, offset: 0.0 }.array([2, 4, 6, 5]);
    let mut data = padded(&inner, [1, 2, 0], [2, 0, 3]);
    data.slice_mut(ndarray::s![0, .., ..4, ..]).fill(0.0);
    data.slice_mut(ndarray::s![1, 3.., .., ..]).fill(0.0);
    data
}

#[test]
fn the_box_is_that_of_crop_to_nonzero() {
    let nothing = Array4::zeros(two_channels().dim());
    let whole = Made::DEFAULT.array([1, 3, 4, 5]) + 1000.0;
    for line in table!("crop.txt").lines() {
        let (name, bounds) = line.split_once(' ').unwrap();
        let channels = match name {
            "two" => &two_channels(),
            "nothing" => &nothing,
            "whole" => &whole,
            other => panic!("{other}"),
        };
        let plan = plan_at([1.0; 3], &vec![Normalisation::None; channels.dim().0]);
        let prepared = prepare(&study_of_channels(channels, [1.0; 3]), &plan).unwrap();
        let bounds = numbers(bounds);
        let golden = [0, 2, 4].map(|i| bounds[i] as usize..bounds[i + 1] as usize);
        assert_eq!(prepared.geometry.crop, golden, "{name}");
    }
}

#[test]
fn a_masked_zscore_counts_what_is_nonzero_or_enclosed() {
    let plan = plan_at([1.0; 3], &[Normalisation::ZScoreOfNonzero; 2]);
    let prepared = prepare(&study_of_channels(&two_channels(), [1.0; 3]), &plan).unwrap();
    let golden = floats(stage!("cropped_zs.npy")).into_dimensionality().unwrap();
    let found = difference(&prepared.voxels, &golden);
    assert!(found < 3e-7, "{found}");
    let zeros = |voxels: &Array4<f32>| voxels.iter().filter(|v| **v == 0.0).count();
    assert_eq!(zeros(&prepared.voxels), zeros(&golden), "outside the mask nothing changes");
    assert!(zeros(&golden) > 0);
}

#[test]
fn ct_normalisation_after_the_crop_is_equal_bit_for_bit() {
    let plan = plan_at([1.0; 3], &[CT; 2]);
    let prepared = prepare(&study_of_channels(&two_channels(), [1.0; 3]), &plan).unwrap();
    assert_eq!(prepared.voxels.into_dyn(), floats(stage!("cropped_ct.npy")));
}

#[test]
fn every_normalisation_is_that_of_nnunet() {
    let image = Made { modulus: 101, scale: 7.3, offset: -310.0 }.volume([4, 5, 6]);
    // In f32 the schemes differ by the order in which the mean is summed, no more.
    let cases: [(&[u8], Normalisation, f32); 4] = [
        (stage!("norm_ct.npy"), CT, 0.0),
        (stage!("norm_zscore.npy"), Normalisation::ZScore, 3e-7),
        (stage!("norm_rescaleto01.npy"), Normalisation::Rescale01, 0.0),
        (stage!("norm_no.npy"), Normalisation::None, 0.0),
    ];
    for (golden, scheme, allowed) in cases {
        let mut found = image.clone();
        normalise(&mut found, scheme);
        let found = difference(&found, &volume(golden));
        assert!(found <= allowed, "{scheme:?}: {found}");
    }
    let mut constant = Array3::from_elem((2, 2, 2), 7.25);
    normalise(&mut constant, Normalisation::ZScore);
    assert_eq!(constant, volume(stage!("norm_constant.npy")));
}

#[test]
fn shapes_and_separate_axes_follow_nnunets_rules() {
    let mut separate = 0;
    for line in table!("rules.txt").lines() {
        let row = numbers(line);
        let (shape, old, new) = (whole(&row, 0), triple(&row, 3), triple(&row, 6));
        assert_eq!(new_shape(shape, old, new), whole(&row, 9), "{line}");
        let axis = (row[12] >= 0.0).then_some(row[12] as usize);
        assert_eq!(should_separate_z(old, new), axis, "{line}");
        separate += usize::from(axis.is_some());
    }
    assert!(separate > 10);
}

pub(super) type Case = ([usize; 3], [f64; 3], [f64; 3]);

/// Shape, spacing, and spacing of the network.
pub(super) const SLICES: Case = ([7, 9, 8], [5.0, 0.8, 0.9], [4.1, 1.1, 0.7]);
pub(super) const BELOW_THREE: Case = ([6, 9, 8], [2.999, 1.0, 1.0], [2.0, 1.3, 0.9]);
pub(super) const ABOVE_THREE: Case = ([6, 9, 8], [3.001, 1.0, 1.0], [2.0, 1.3, 0.9]);
pub(super) const LAST: Case = ([7, 6, 8], [1.5, 1.2, 1.0], [1.0, 1.4, 4.5]);
pub(super) const ISOTROPIC: Case = ([6, 7, 8], [1.5, 1.5, 1.5], [1.2, 2.0, 1.1]);

fn check_data((shape, old, new): Case, resampling: Resampling, golden: &[u8]) {
    let [z, y, x] = shape;
    let mut plan = plan_at(new, &[Normalisation::None]);
    plan.network.resampling = resampling;
    let study = study_of_channels(&Made::DEFAULT.array([1, z, y, x]), old);
    let prepared = prepare(&study, &plan).unwrap();
    let found = difference(&prepared.voxels.index_axis_move(ndarray::Axis(0), 0), &volume(golden));
    // torch computes positions with or without fused arithmetic, as the processor has it.
    let allowed = if resampling == Resampling::Torch { 1e-6 } else { 3e-7 };
    assert!(found < allowed, "{shape:?} {old:?} {new:?} {resampling:?}: {found}");
}

#[test]
fn images_are_resampled_as_by_nnunets_default() {
    let kind = Resampling::Default;
    check_data(SLICES, kind, stage!("data_default_slices.npy"));
    check_data(BELOW_THREE, kind, stage!("data_default_below3.npy"));
    check_data(ABOVE_THREE, kind, stage!("data_default_above3.npy"));
    check_data(LAST, kind, stage!("data_default_last.npy"));
    check_data(ISOTROPIC, kind, stage!("data_default_isotropic.npy"));
    let near = difference(
        &volume(stage!("data_default_below3.npy")),
        &volume(stage!("data_default_above3.npy")),
    );
    assert!(near > 0.1, "the ratio of 3 decides");
}

#[test]
fn images_are_resampled_as_by_nnunets_torch() {
    let kind = Resampling::Torch;
    check_data(SLICES, kind, stage!("data_torch_slices.npy"));
    check_data(BELOW_THREE, kind, stage!("data_torch_below3.npy"));
    check_data(ABOVE_THREE, kind, stage!("data_torch_above3.npy"));
    check_data(LAST, kind, stage!("data_torch_last.npy"));
    check_data(ISOTROPIC, kind, stage!("data_torch_isotropic.npy"));
}

#[test]
fn padding_and_tiles_are_nnunets_in_its_order() {
    for line in table!("tiles.txt").lines() {
        let row = numbers(line);
        let tiling = Tiling::new(whole(&row, 0), whole(&row, 3), row[6]);
        assert_eq!((tiling.padded, tiling.offset), (whole(&row, 7), whole(&row, 10)), "{line}");
        let golden: Vec<[usize; 3]> =
            row[13..].chunks_exact(3).map(|start| whole(start, 0)).collect();
        let found: Vec<[usize; 3]> = (0..tiling.count()).map(|tile| tiling.start(tile)).collect();
        assert_eq!(found, golden, "{line}");
    }
}

#[test]
fn weights_are_those_of_compute_gaussian() {
    assert_eq!(tile_weights([4, 8, 6]), volume(stage!("weights_4_8_6.npy")));
    assert_eq!(tile_weights([7, 10, 12]), volume(stage!("weights_7_10_12.npy")));
}

/// Padding is 0 after normalisation, as many voxels before as nnU-Net puts there: an engine
/// that gives back its patch shows it.
#[test]
fn what_is_padded_is_zero() {
    struct Seen(EngineSpec, std::sync::Arc<std::sync::Mutex<Vec<Array4<f32>>>>);
    impl Engine for Seen {
        fn spec(&self) -> &EngineSpec {
            &self.0
        }
        fn infer(
            &mut self,
            patches: ArrayView5<'_, f32>,
            mut logits: ArrayViewMut5<'_, f32>,
        ) -> Result<(), EngineError> {
            logits.fill(0.0);
            self.1.lock().unwrap().extend(patches.outer_iter().map(|patch| patch.to_owned()));
            Ok(())
        }
    }
    let plan = plan_at([1.0; 3], &[Normalisation::None]);
    let image = Made::DEFAULT.array([1, 3, 5, 3]);
    let seen = Arc::default();
    let mut engines: Vec<Box<dyn Engine>> =
        vec![Box::new(Seen(plan.network.spec(1), Arc::clone(&seen)))];
    slide(image.view(), &plan, &mut engines, &mut |_, _| {});
    // Patch 4 x 8 x 6: half of what is missing, rounded down, comes before.
    let golden = padded(&image, [0, 1, 1], [1, 2, 2]);
    assert_eq!(*seen.lock().unwrap(), [golden]);
}
