//! Against tract, which somebody else wrote: the tests' network and the demonstration engine.

use ndarray::{Array5, Zip};

use super::*;
use crate::fake::tiny::{TINY, spec};
use crate::tract::OnnxEngine;

fn logits(engine: &mut dyn Engine) -> Array5<f32> {
    let spec = engine.spec().clone();
    let patches = Array5::from_shape_fn(spec.input_shape(), |(_, c, z, y, x)| {
        let at = (c * 31 + z * 17 + y * 7 + x) as f32;
        (at * 0.37).sin() + (at * 0.011).cos() * 2.0
    });
    let mut logits = Array5::from_elem(spec.output_shape(), f32::NAN);
    engine.infer(patches.view(), logits.view_mut()).unwrap();
    logits
}

fn check(bytes: &[u8], spec: &EngineSpec, bound: f32) {
    let mut ours = NativeEngine::load(bytes, "ours", spec, 2, Precision::F32).unwrap();
    let mut theirs = OnnxEngine::load(bytes, "theirs", spec, 2).unwrap();
    let (ours, theirs) = (logits(&mut ours), logits(&mut theirs));
    Zip::from(&ours).and(&theirs).for_each(|a, b| assert!((a - b).abs() < bound, "{a} {b}"));
}

#[test]
fn the_five_operators_of_nnunet_are_those_of_tract() {
    check(TINY, &spec(), 2e-5);
}

#[test]
fn the_demonstration_engine_is_that_of_tract() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../engines/venous-demo");
    for (name, classes, patch) in
        [("segment.onnx", 14, [16, 128, 128]), ("reclassify.onnx", 8, [16, 64, 64])]
    {
        let bytes = std::fs::read(folder.join(name)).unwrap();
        check(&bytes, &EngineSpec { batch: 1, channels: 1, classes, patch }, 2e-3);
    }
}
