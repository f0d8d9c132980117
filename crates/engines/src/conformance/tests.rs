//! Engines that fail the golden self-test in every way an engine can.

use super::*;

use crate::fake::{Spoiled, VoxelwiseEngine};
use ndarray::{ArrayView5, ArrayViewMut5};

const PATCH: [usize; 3] = [4, 6, 8];

fn engine() -> VoxelwiseEngine {
    VoxelwiseEngine::new(PATCH, 1, vec![(1.0, 0.0), (-1.0, 0.5), (0.3, 0.1)])
}

fn golden(engine: &mut dyn Engine) -> GoldenPatch {
    let input = Array4::from_shape_fn((1, 4, 6, 8), |(_, z, y, x)| {
        ((z * 48 + y * 8 + x) as f32 * 0.7).sin() * 3.0
    });
    let logits = run(engine, &input).unwrap();
    let expected = logits.slice(s![0, .., ..;2, ..;3, ..;4]).to_owned();
    GoldenPatch { input, expected, stride: [2, 3, 4], regions: false }
}

fn reason(spoil: impl FnMut(&mut ArrayViewMut5<'_, f32>) + Send) -> String {
    let golden = golden(&mut engine());
    let error = suite(&mut Spoiled(engine(), spoil), &golden, Tolerance::F32).unwrap_err();
    error.to_string()
}

#[test]
fn a_faithful_engine_passes() {
    let golden = golden(&mut engine());
    let found = suite(&mut engine(), &golden, Tolerance::F32).unwrap();
    assert_eq!(found, Conformity { argmax_agreement: 1.0, logit_difference: 0.0 });
}

#[test]
fn a_single_nan_outside_the_sampled_voxels_is_refused() {
    assert!(reason(|l| l[[0, 1, 1, 1, 1]] = f32::NAN).contains("not a number"));
}

#[test]
fn an_unwritten_class_is_refused() {
    assert!(reason(|l| l.slice_mut(s![.., 2, .., .., ..]).fill(f32::NAN)).contains("not a number"));
}

#[test]
fn a_constant_output_is_refused() {
    assert!(reason(|l| l.fill(0.25)).contains("everywhere"));
}

#[test]
fn swapped_classes_are_refused() {
    let said = reason(|l| {
        for mut voxel in l.lanes_mut(Axis(1)) {
            voxel.swap(0, 1);
        }
    });
    assert!(said.contains("best class equal"), "{said}");
}

#[test]
fn a_drift_beyond_the_tolerance_is_refused_and_within_it_passes() {
    assert!(reason(|l| l.mapv_inplace(|v| v + 0.03)).contains("0.0300"));
    let golden = golden(&mut engine());
    let mut near = Spoiled(engine(), |l: &mut ArrayViewMut5<'_, f32>| l.mapv_inplace(|v| v + 0.01));
    assert!(self_test(&mut near, &golden, Tolerance::F32).is_ok());
}

#[test]
fn a_tolerance_without_a_bound_is_said_in_words() {
    let golden = golden(&mut engine());
    let flip = |l: &mut ArrayViewMut5<'_, f32>| l.mapv_inplace(|v| -v);
    let error = self_test(&mut Spoiled(engine(), flip), &golden, Tolerance::HALF).unwrap_err();
    assert!(error.to_string().contains("(any allowed)"), "{error}");
}

#[test]
fn a_result_that_changes_from_run_to_run_is_refused() {
    let mut runs = 0.0;
    let said = reason(move |l| {
        runs += 1e-4;
        l.mapv_inplace(|v| v + runs);
    });
    assert!(said.contains("two runs"), "{said}");
}

/// An engine that shows something else than it copies, or nothing.
struct TwoFaced(VoxelwiseEngine, Option<f32>);

impl Engine for TwoFaced {
    fn spec(&self) -> &EngineSpec {
        self.0.spec()
    }
    fn infer(
        &mut self,
        patches: ArrayView5<'_, f32>,
        logits: ArrayViewMut5<'_, f32>,
    ) -> Result<(), EngineError> {
        self.0.infer(patches, logits)
    }
    fn infer_with(
        &mut self,
        patches: ArrayView5<'_, f32>,
        room: &mut Array5<f32>,
        look: &mut dyn FnMut(ArrayView5<'_, f32>),
    ) -> Result<(), EngineError> {
        self.0.infer(patches, room.view_mut())?;
        if let Some(more) = self.1 {
            room[[0, 1, 1, 1, 1]] += more;
            look(room.view());
        }
        Ok(())
    }
}

#[test]
fn the_answer_in_place_is_the_copied_one() {
    let golden = golden(&mut engine());
    let said = |more| match suite(&mut TwoFaced(engine(), more), &golden, Tolerance::F32) {
        Ok(_) => "fine".to_owned(),
        Err(error) => error.to_string(),
    };
    assert_eq!(said(Some(0.0)), "fine");
    assert!(said(Some(1e-3)).contains("in place differs"));
    assert!(said(None).contains("no answer in place"));
}

#[test]
fn nan_among_the_expected_logits_is_refused() {
    let mut golden = golden(&mut engine());
    golden.expected[[1, 0, 0, 0]] = f32::NAN;
    assert!(self_test(&mut engine(), &golden, Tolerance::F32).is_err());
}

/// Half precision, in which two certain regions change places and an uncertain one wavers.
#[test]
fn of_regions_the_side_counts_and_not_the_order() {
    let golden = |values: [f32; 3], regions| GoldenPatch {
        input: Array4::zeros((1, 4, 6, 8)),
        expected: Array4::from_shape_fn((3, 2, 2, 2), |(class, ..)| values[class]),
        stride: [2, 3, 4],
        regions,
    };
    let agreement = |found: [f32; 3], expected: [f32; 3], regions| {
        let found = Array4::from_shape_fn((3, 2, 2, 2), |(class, ..)| found[class]);
        compare(found.view(), &golden(expected, regions)).unwrap().argmax_agreement
    };
    assert_eq!(agreement([5.0, 5.1, -4.0], [5.1, 5.0, -4.0], true), 1.0);
    assert_eq!(agreement([5.0, 5.1, -4.0], [5.1, 5.0, -4.0], false), 0.0);
    assert_eq!(agreement([5.0, 4.0, 0.1], [5.0, 4.0, -0.1], true), 0.0);
    assert_eq!(agreement([5.0, 4.0, 0.1], [5.0, 4.0, -0.1], false), 1.0);
    assert_eq!(agreement([5.0, 4.0, 0.0001], [5.0, 4.0, -0.0001], true), 1.0);
}
