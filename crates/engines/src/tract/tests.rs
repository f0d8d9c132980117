//! A tiny U-Net against torch (tests/data/segment/make_onnx.py).

use ndarray::Array5;

use super::*;
use crate::conformance;
use crate::conformance::Tolerance;
use crate::fake::tiny::{TINY, golden, spec};

#[test]
fn the_five_operators_of_nnunet_equal_torch() {
    for threads in [1, 2] {
        let mut engine = OnnxEngine::load(TINY, "tiny.onnx", &spec(), threads).unwrap();
        let found = conformance::suite(&mut engine, &golden(), Tolerance::F32).unwrap();
        assert!(found.logit_difference < 2e-5, "{found:?}");
        assert_eq!(found.argmax_agreement, 1.0);
    }
}

#[test]
fn the_number_of_threads_does_not_change_a_bit() {
    let input = golden().input.insert_axis(ndarray::Axis(0));
    let logits = [1, 2].map(|threads| {
        let mut engine = OnnxEngine::load(TINY, "tiny.onnx", &spec(), threads).unwrap();
        let mut logits = Array5::zeros(spec().output_shape());
        engine.infer(input.view(), logits.view_mut()).unwrap();
        logits
    });
    assert_eq!(logits[0], logits[1]);
}

#[test]
fn a_batch_gives_what_its_patches_give_alone() {
    let first = golden().input;
    let second = first.mapv(|v| 0.5 - v);
    let alone = [&first, &second].map(|patch| {
        let mut engine = OnnxEngine::load(TINY, "tiny.onnx", &spec(), 1).unwrap();
        let mut logits = Array5::zeros(spec().output_shape());
        engine.infer(patch.view().insert_axis(ndarray::Axis(0)), logits.view_mut()).unwrap();
        logits.index_axis_move(ndarray::Axis(0), 0)
    });
    let two = EngineSpec { batch: 2, ..spec() };
    let mut engine = OnnxEngine::load(TINY, "tiny.onnx", &two, 1).unwrap();
    let mut logits = Array5::zeros(two.output_shape());
    let patches = ndarray::stack![ndarray::Axis(0), first, second];
    engine.infer(patches.view(), logits.view_mut()).unwrap();
    assert_eq!(logits, ndarray::stack![ndarray::Axis(0), alone[0], alone[1]]);
    assert_ne!(alone[0], alone[1]);
}

#[test]
fn a_promise_of_other_classes_is_refused() {
    let promised = EngineSpec { classes: 14, ..spec() };
    let error = OnnxEngine::load(TINY, "tiny.onnx", &promised, 1).unwrap_err();
    assert!(matches!(error, EngineError::Shape { .. }), "{error}");
}

#[test]
fn a_promise_of_other_channels_is_refused() {
    let promised = EngineSpec { channels: 3, ..spec() };
    assert!(OnnxEngine::load(TINY, "tiny.onnx", &promised, 1).is_err());
}

#[test]
fn broken_files_are_refused_not_panicked_at() {
    for bytes in [&b"not an onnx file"[..], &[], &TINY[..TINY.len() / 2]] {
        assert!(OnnxEngine::load(bytes, "broken.onnx", &spec(), 1).is_err());
    }
}
