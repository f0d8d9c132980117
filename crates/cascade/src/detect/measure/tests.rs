//! Measurements of lesions drawn by hand, against their definitions.

use std::sync::Arc;

use ndarray::{Array3, Axis};
use proptest::prelude::*;

use super::*;
use crate::detect::seg2det::{DetectParams, seg2det};

fn lesions(labels: Array3<u8>, spacing_mm: [f64; 3]) -> (Vec<Detection>, Arc<Grid>) {
    let shape = labels.dim().into();
    let grid = Arc::new(Grid::axial(shape, spacing_mm, [-7.0, 11.0, 100.0]));
    (seg2det(&Volume::new(Arc::clone(&grid), labels), &DetectParams::default()), grid)
}

/// The definition: all pairs of voxels.
fn diameters_by_definition(lesion: &Detection, grid: &Grid) -> [f64; 2] {
    let voxels: Vec<[usize; 3]> =
        lesion.runs().flat_map(|([z, y], columns)| columns.map(move |x| [z, y, x])).collect();
    let mut largest = [0.0f64; 2];
    for a in &voxels {
        for b in &voxels {
            let [p, q] = [a, b].map(|v| grid.ras_mm(v.map(|n| n as f64)));
            let apart = std::iter::zip(p, q).map(|(p, q)| (p - q).powi(2)).sum::<f64>().sqrt();
            largest[0] = largest[0].max(apart);
            if a[0] == b[0] {
                largest[1] = largest[1].max(apart);
            }
        }
    }
    largest
}

proptest! {
    #[test]
    fn diameters_are_those_of_all_pairs(
        voxels in proptest::collection::vec(0..3u8, 4 * 6 * 7),
        spacing_mm in [0.5..6.0f64, 0.5..2.0f64, 0.5..2.0f64],
    ) {
        let labels = Array3::from_shape_vec([4, 6, 7], voxels).unwrap();
        let (found, grid) = lesions(labels, spacing_mm);
        for lesion in &found {
            let measured = measure(lesion, &grid, &Context::default());
            let [max_mm, axial_mm] = diameters_by_definition(lesion, &grid);
            prop_assert!((measured.max_diameter_mm - max_mm).abs() < 1e-9);
            prop_assert!((measured.axial_diameter_mm - axial_mm).abs() < 1e-9);
        }
    }

    #[test]
    fn the_liver_is_as_deep_as_the_definition_says(
        voxels in proptest::collection::vec(0..9u8, 4 * 6 * 7),
        spacing_mm in [0.5..6.0f64, 0.5..2.0f64, 0.5..2.0f64],
    ) {
        let liver = Array3::from_shape_vec([4, 6, 7], voxels).unwrap().mapv(|v| v > 0);
        let outside = liver.mapv(|inside| !inside);
        let whole = squared_distance_mm2(outside.view(), spacing_mm).mapv(f32::sqrt);
        prop_assert_eq!(liver_depth_mm(liver.view(), spacing_mm), whole);
    }
}

#[test]
fn one_voxel_has_a_place_and_no_diameter() {
    let mut labels = Array3::zeros([3, 4, 5]);
    labels[[1, 2, 3]] = 4;
    let (found, grid) = lesions(labels, [5.0, 0.8, 0.7]);
    let measured = measure(&found[0], &grid, &Context::default());
    assert_eq!(measured.centre_ras_mm, grid.ras_mm([1.0, 2.0, 3.0]));
    assert_eq!((measured.max_diameter_mm, measured.axial_diameter_mm), (0.0, 0.0));
    assert_eq!(measured.slices, [1, 2]);
    assert_eq!((measured.hu, measured.score, measured.liver_surface_mm), (vec![], None, None));
}

#[test]
fn density_and_score_are_read_under_the_mask_only() {
    let mut labels = Array3::zeros([2, 3, 4]);
    labels.slice_mut(s![0, 1, 1..4]).fill(1);
    let (found, grid) = lesions(labels, [5.0, 1.0, 1.0]);
    let mut hu = Array3::from_elem([2, 3, 4], 900.0f32);
    for (x, value) in [(1, 10.0), (2, 20.0), (3, f32::NAN)] {
        hu[[0, 1, x]] = value;
    }
    let margin = Array3::from_shape_fn([2, 3, 4], |(_, _, x)| if x == 3 { 0.0 } else { 50.0 });
    let phases = [Phase::Nc, Phase::Vp].map(|phase| (phase, Volume::new(grid.clone(), hu.clone())));
    let context = Context { phases: &phases, margin: Some(margin.view()), ..Context::default() };
    let measured = measure(&found[0], &grid, &context);
    let spread = Some(Spread { mean: 15.0, min: 10.0, max: 20.0 });
    assert_eq!(measured.hu, [(Phase::Nc, spread), (Phase::Vp, spread)]);
    let score = measured.score.unwrap();
    assert_eq!(score.max, 0.5);
    assert!((score.mean - 0.5 / 3.0).abs() < 1e-9);
}

#[test]
fn depth_is_nothing_at_the_surface_and_unknown_without_one() {
    let mut labels = Array3::zeros([5, 9, 9]);
    labels[[2, 4, 4]] = 1;
    let (found, grid) = lesions(labels, [5.0, 1.0, 1.0]);
    let surface = |liver: &Array3<bool>| {
        let depth = liver_depth_mm(liver.view(), grid.spacing_mm());
        let context = Context { liver_depth_mm: Some(depth.view()), ..Context::default() };
        measure(&found[0], &grid, &context).liver_surface_mm
    };
    let mut liver = Array3::from_elem([5, 9, 9], true);
    assert_eq!(surface(&liver), None);
    liver.index_axis_mut(Axis(2), 0).fill(false);
    assert_eq!(surface(&liver), Some(4.0));
    liver[[2, 4, 4]] = false;
    assert_eq!(surface(&liver), Some(0.0));
}

#[test]
fn a_sphere_of_a_million_voxels_is_measured() {
    let labels = Array3::from_shape_fn([126; 3], |(z, y, x)| {
        let squared = [z, y, x].iter().map(|n| (*n as f64 - 62.5).powi(2)).sum::<f64>();
        u8::from(squared <= 62.0f64.powi(2))
    });
    let (found, grid) = lesions(labels, [1.0; 3]);
    assert!(found[0].voxels > 990_000);
    let measured = measure(&found[0], &grid, &Context::default());
    assert!((123.0..=124.0).contains(&measured.max_diameter_mm), "{measured:?}");
    assert!(measured.axial_diameter_mm <= measured.max_diameter_mm);
}
