//! Networks of a bundle as they are loaded: sound, and broken in every way that only running
//! them shows. What is refused says which file and what to do, and nothing of it stays.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ndarray::{ArrayView5, ArrayViewMut5};
use serde_json::{Value, json};

use super::bundle;
use crate::*;

fn built_in() -> Runtime {
    Runtime { threads: Some(2), ..Runtime::default() }
}

#[test]
fn a_loaded_engine_has_passed_its_golden_patch() {
    let dir = bundle(|_| {});
    let engines = Bundle::open(dir.path()).unwrap().load(Role::Segment, &built_in()).unwrap();
    assert_eq!(engines.len(), 1);
    assert_eq!(engines[0].spec().patch, [8, 16, 16]);
}

#[test]
fn every_fold_is_loaded() {
    let dir = bundle(|m| {
        let file = m["networks"]["segment"]["files"][0].clone();
        m["networks"]["segment"]["files"] = json!([file, file]);
    });
    assert_eq!(
        Bundle::open(dir.path()).unwrap().load(Role::Segment, &built_in()).unwrap().len(),
        2
    );
}

#[test]
fn other_golden_logits_refuse_the_engine() {
    let dir = bundle(|m| {
        let zeros =
            json!({"path": "zeros", "sha256": files::sha256_hex(&[0; 4096]), "bytes": 4096});
        m["networks"]["segment"]["golden"]["expected"] = zeros;
        m["id"] = json!("zeros");
    });
    fs::write(dir.path().join("zeros"), [0; 4096]).unwrap();
    let error = Bundle::open(dir.path()).unwrap().load(Role::Segment, &built_in()).err().unwrap();
    assert!(matches!(error, EngineError::SelfTest { .. }), "{error}");
}

#[test]
fn a_golden_patch_of_another_shape_is_refused() {
    let dir = bundle(|m| m["networks"]["segment"]["golden"]["stride"] = json!([2, 2, 4]));
    let error = Bundle::open(dir.path()).unwrap().load(Role::Segment, &built_in()).err().unwrap();
    assert!(matches!(error, EngineError::File { .. }), "{error}");
}

/// A file of the tests' data, put into the bundle; its entry in a manifest.
fn other_file(dir: &Path, name: &str) -> Value {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/segment");
    let bytes = fs::read(data.join(name)).unwrap();
    fs::write(dir.join(name), &bytes).unwrap();
    json!({"path": name, "sha256": files::sha256_hex(&bytes), "bytes": bytes.len()})
}

/// A bundle whose folds are these files.
fn of_folds(names: &[&str]) -> tempfile::TempDir {
    let dir = bundle(|_| {});
    let folds: Vec<Value> = names.iter().map(|name| other_file(dir.path(), name)).collect();
    let path = dir.path().join(MANIFEST);
    let mut manifest: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    manifest["networks"]["segment"]["files"] = json!(folds);
    fs::write(path, manifest.to_string()).unwrap();
    dir
}

/// Opens and loads; the sentence of the refusal.
fn refusal(dir: &Path) -> String {
    let loaded = Bundle::open(dir).and_then(|bundle| bundle.load(Role::Segment, &built_in()));
    loaded.err().unwrap().to_string()
}

#[test]
fn every_refusal_says_which_file_and_what_to_do() {
    let check = |dir: &tempfile::TempDir, words: &[&str]| {
        let said = refusal(dir.path());
        assert!(words.iter().all(|word| said.contains(word)), "{words:?} in: {said}");
    };
    let harmed = |harm: fn(&Path)| {
        let dir = bundle(|_| {});
        harm(dir.path());
        dir
    };
    let altered = harmed(|dir| {
        let mut bytes = fs::read(dir.join("tiny.onnx")).unwrap();
        bytes[1000] ^= 1;
        fs::write(dir.join("tiny.onnx"), bytes).unwrap();
    });
    check(&altered, &["tiny.onnx", "SHA-256", "copy the whole bundle again"]);
    let missing = harmed(|dir| fs::remove_file(dir.join("tiny_input.f32")).unwrap());
    check(&missing, &["tiny_input.f32", "copy the whole bundle again"]);
    let nothing = harmed(|dir| fs::remove_file(dir.join(MANIFEST)).unwrap());
    check(&nothing, &[MANIFEST, "no engine bundle lies there"]);
    let newer = bundle(|m| m["format_version"] = json!(99));
    check(&newer, &[MANIFEST, "99", "update hepalert"]);
    let classes = bundle(|m| {
        let segment = &mut m["networks"]["segment"];
        segment["classes"] = json!(["background", "a", "b"]);
        // As many bytes of logits as three classes have.
        segment["golden"]["stride"] = json!([2, 2, 2]);
    });
    check(&classes, &["tiny_expected.f32", "its shape needs", "copy the whole bundle again"]);
    let shape = bundle(|m| {
        let segment = &mut m["networks"]["segment"];
        segment["classes"] = json!(["background", "a", "b", "c", "d", "e", "f", "g"]);
        segment["golden"]["stride"] = json!([4, 2, 2]);
    });
    check(&shape, &["tiny.onnx", "the manifest says", "ask for a new one"]);
    let channels = bundle(|m| {
        m["phases"] = json!(["vp"]);
        let segment = &mut m["networks"]["segment"];
        segment["channels"] = json!(1);
        segment["normalisation"] = json!([{"scheme": "none"}]);
        let bytes = 4 * 8 * 16 * 16;
        let sha256 = files::sha256_hex(&vec![0; bytes]);
        segment["golden"]["input"] = json!({"path": "one.f32", "sha256": sha256, "bytes": bytes});
    });
    fs::write(channels.path().join("one.f32"), vec![0; 4 * 8 * 16 * 16]).unwrap();
    let help = "try another backend or precision, or ask for a new bundle";
    check(&channels, &["tiny.onnx", "the manifest says", "ask for a new one"]);
    check(&of_folds(&["tiny_input.f32"]), &["tiny_input.f32", help]);
    check(&of_folds(&["nan.onnx"]), &["nan.onnx", "is not a number", help, "is not used"]);
    check(&of_folds(&["constant.onnx"]), &["constant.onnx", "0.25 everywhere", help]);
    check(&of_folds(&["tiny.onnx", "nan.onnx"]), &["nan.onnx", "is not a number", help]);
}

/// Counts the engines that are alive.
struct Counted(Box<dyn Engine>, Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.1.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Engine for Counted {
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
}

/// Loads these folds; how many engines were made, and how many are alive afterwards.
fn made_and_alive(names: &[&str]) -> (usize, usize, bool) {
    let dir = of_folds(names);
    let bundle = Bundle::open(dir.path()).unwrap();
    let (alive, mut made, runtime) = (Arc::new(AtomicUsize::new(0)), 0, built_in());
    let loaded = bundle.load_by(Role::Segment, &runtime, &mut |bytes, name, spec| {
        let engine = runtime.compile(bytes, name, spec)?;
        made += 1;
        alive.fetch_add(1, Ordering::SeqCst);
        Ok(Box::new(Counted(engine, Arc::clone(&alive))))
    });
    (made, alive.load(Ordering::SeqCst), loaded.is_ok())
}

#[test]
fn of_folds_that_do_not_all_load_none_stays() {
    assert_eq!(made_and_alive(&["tiny.onnx", "tiny.onnx", "tiny.onnx"]), (3, 3, true));
    assert_eq!(made_and_alive(&["tiny.onnx", "nan.onnx", "tiny.onnx"]), (2, 0, false));
    assert_eq!(made_and_alive(&["tiny.onnx", "tiny.onnx", "constant.onnx"]), (3, 0, false));
    // Not a network at all: the compiler fails.
    assert_eq!(made_and_alive(&["tiny.onnx", "tiny_input.f32"]), (1, 0, false));
}
