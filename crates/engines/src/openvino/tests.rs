//! The same tiny U-Net as the built-in engine's tests (tests/data/segment/make_onnx.py), against torch.

use ndarray::Array5;

use super::*;
use crate::conformance;
use crate::fake::tiny::{TINY, golden, spec};

const F32: Options<'static> = Options { precision: Precision::F32, threads: 1, cache: None };

/// Whether the library is here; says so if not. Where OpenVINO was set up on purpose it must
/// be.
fn there() -> bool {
    match library::open() {
        Ok(_) => true,
        Err(reason) => {
            assert!(std::env::var_os(library::FOLDER_VARIABLE).is_none(), "{reason}");
            println!("skipped: {reason}");
            false
        }
    }
}

#[test]
fn the_five_operators_of_nnunet_equal_torch() {
    if !there() {
        return;
    }
    for threads in [1, 2] {
        for batch in [1, 2, 5] {
            let spec = EngineSpec { batch, ..spec() };
            let options = Options { threads, ..F32 };
            let mut engine = OpenVinoEngine::load(TINY, "tiny.onnx", &spec, &options).unwrap();
            let tolerance = Precision::F32.tolerance();
            let found = conformance::suite(&mut engine, &golden(), tolerance).unwrap();
            assert!(found.logit_difference < 1e-2, "{found:?}");
            assert_eq!(found.argmax_agreement, 1.0);
        }
    }
}

#[test]
fn bf16_is_close_or_refused_with_a_sentence() {
    if !there() {
        return;
    }
    let options = Options { precision: Precision::Bf16, ..F32 };
    match OpenVinoEngine::load(TINY, "tiny.onnx", &spec(), &options) {
        Ok(mut engine) => {
            assert!(multiplies_bf16());
            let loose = crate::conformance::Tolerance {
                // Random weights: near ties everywhere.
                argmax_agreement: 0.9,
                logit_difference: 0.5,
            };
            let found = conformance::suite(&mut engine, &golden(), loose).unwrap();
            assert!(found.logit_difference > 1e-4, "f32 in disguise: {found:?}");
        }
        Err(error) => {
            assert!(!multiplies_bf16());
            assert!(error.to_string().contains("does not multiply bf16"), "{error}");
        }
    }
}

#[test]
fn every_patch_of_a_batch_gets_its_own_answer() {
    if !there() {
        return;
    }
    let batch = EngineSpec { batch: 5, ..spec() };
    let options = Options { threads: 2, ..F32 };
    let mut many = OpenVinoEngine::load(TINY, "tiny.onnx", &batch, &options).unwrap();
    let mut one = OpenVinoEngine::load(TINY, "tiny.onnx", &spec(), &options).unwrap();
    let mut patches = Array5::zeros(batch.input_shape());
    for (at, mut patch) in patches.outer_iter_mut().enumerate() {
        patch.assign(&(golden().input * (1.0 + at as f32)));
    }
    let mut together = Array5::zeros(batch.output_shape());
    many.infer(patches.view(), together.view_mut()).unwrap();
    for (patch, expected) in patches.axis_chunks_iter(Axis(0), 1).zip(together.outer_iter()) {
        let mut alone = Array5::zeros(spec().output_shape());
        one.infer(patch, alone.view_mut()).unwrap();
        assert_eq!(alone.index_axis(Axis(0), 0), expected);
    }
}

#[test]
fn other_shapes_than_promised_are_refused() {
    if !there() {
        return;
    }
    for promised in [EngineSpec { classes: 14, ..spec() }, EngineSpec { channels: 3, ..spec() }] {
        let error = OpenVinoEngine::load(TINY, "tiny.onnx", &promised, &F32).err().unwrap();
        assert!(matches!(error, EngineError::Shape { .. }), "{error}");
    }
}

#[test]
fn broken_files_are_refused_not_panicked_at() {
    if !there() {
        return;
    }
    for bytes in [&b"not an onnx file"[..], &[], &TINY[..TINY.len() / 2]] {
        assert!(OpenVinoEngine::load(bytes, "broken.onnx", &spec(), &F32).is_err());
    }
}

#[test]
fn f16_is_refused_with_the_precisions_there_are() {
    if !there() {
        return;
    }
    let options = Options { precision: Precision::F16, ..F32 };
    let error = OpenVinoEngine::load(TINY, "tiny.onnx", &spec(), &options).err().unwrap();
    assert_eq!(error.to_string(), "openvino: f16 is for GPUs; choose bf16 or f32");
}
