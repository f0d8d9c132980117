//! What can be told without any library of NVIDIA. The rest is in `tests/it/tensorrt.rs`.

use super::*;

#[test]
fn versions_are_read_in_both_encodings() {
    for (number, text) in [
        (8503, "8.5.3"),
        (8601, "8.6.1"),
        (100_300, "10.3.0"),
        (101_602, "10.16.2"),
        (110_400, "11.4.0"),
    ] {
        assert_eq!(Version::of_library(number).to_string(), text);
    }
    assert_eq!(Version::of_library(10_701).to_string(), "1.7.1", "TensorRT-RTX");
    assert_eq!(Version::of_headers(80_503).to_string(), "8.5.3");
    assert_eq!(Version::of_library(-1).major, 0);
}

#[test]
fn a_folder_without_libraries_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let Err(said) = library::find_in(Some(folder.path())) else { return };
    assert!(said.contains(&folder.path().display().to_string()), "{said}");
    assert!(said.contains("apt install tensorrt"), "{said}");
}

#[test]
fn what_is_no_library_is_no_tensorrt() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("libnvinfer.so.10"), b"not a library").unwrap();
    std::fs::write(folder.path().join("libhepalert_trt10.so"), b"not a library").unwrap();
    let Err(said) = library::find_in(Some(folder.path())) else { return };
    assert!(said.contains("libnvinfer.so.10"), "{said}");
}

#[test]
fn bf16_is_refused_before_anything_is_looked_for() {
    let runtime = Runtime { precision: Precision::Bf16, ..Runtime::default() };
    let spec = EngineSpec { batch: 1, channels: 1, classes: 2, patch: [1, 1, 1] };
    let Err(error) = prepare(&runtime, b"", "x.onnx", &spec) else { panic!("bf16") };
    assert_eq!(error.to_string(), "tensorrt: it computes in f32 or f16");
}
