//! Engines and devices that fit each other, and those that do not.

use std::fs;

use jiff::civil::date;
use serde_json::json;

use super::bundle;
use crate::constraints::Device;
use crate::refused::PackageError;
use crate::*;
use hepalert_engines::backend::Backend;

fn device() -> Device {
    Device {
        today: date(2026, 11, 25),
        setting: Some(Setting::Venous),
        backend: Backend::Native,
        backend_version: None,
        memory_budget_bytes: 2 << 30,
    }
}

/// The demo engine's manifest under these terms.
fn demo(update: serde_json::Value) -> Result<Bundle, EngineError> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../engines/venous-demo");
    let mut manifest: serde_json::Value =
        serde_json::from_slice(&fs::read(folder.join(MANIFEST)).unwrap()).unwrap();
    manifest["update"] = update;
    Bundle::of_manifest(manifest.to_string().as_bytes())
}

fn misfit(update: serde_json::Value, device: &Device) -> PackageError {
    demo(update).unwrap().fits(device).unwrap_err()
}

#[test]
fn an_engine_without_terms_fits() {
    demo(json!({})).unwrap().fits(&device()).unwrap();
    let last_day = json!({"expires": "2026-11-25", "backends": ["native"], "tensorrt_min": "99"});
    demo(last_day).unwrap().fits(&device()).unwrap();
}

#[test]
fn an_expired_engine_is_refused() {
    let refused = misfit(json!({"expires": "2026-11-24"}), &device());
    assert!(matches!(refused, PackageError::Expired { .. }), "{refused}");
}

#[test]
fn an_engine_for_other_devices_is_refused() {
    let refused = misfit(json!({"backends": ["tensorrt"]}), &device());
    assert!(matches!(refused, PackageError::WrongDevice { .. }), "{refused}");
    let version = Some("10.3.0".to_owned());
    let jetson = Device { backend: Backend::TensorRt, backend_version: version, ..device() };
    for constraints in [json!({"tensorrt_min": "10.7"}), json!({"tensorrt_max": "8.6"})] {
        let refused = misfit(constraints, &jetson);
        assert!(matches!(refused, PackageError::WrongDevice { .. }), "{refused}");
    }
    let range = json!({"tensorrt_min": "8.6", "tensorrt_max": "10.3"});
    demo(range).unwrap().fits(&jetson).unwrap();
}

#[test]
fn an_engine_with_other_phases_or_classes_is_refused() {
    let other = Device { setting: Some(Setting::Diagnosis), ..device() };
    let refused = misfit(json!({}), &other);
    assert!(matches!(refused, PackageError::WrongPhases { .. }), "{refused}");
    let tiny = bundle(|_| {});
    let refused = Bundle::open(tiny.path()).unwrap().fits(&other).unwrap_err();
    assert!(matches!(refused, PackageError::WrongClasses { .. }), "{refused}");
}

#[test]
fn an_engine_too_large_for_the_budget_is_refused() {
    let refused = misfit(json!({"memory_mib": 4000}), &device());
    assert!(matches!(refused, PackageError::OverBudget { .. }), "{refused}");
    let refused = misfit(json!({}), &Device { memory_budget_bytes: 1 << 20, ..device() });
    assert!(matches!(refused, PackageError::OverBudget { .. }), "{refused}");
}

#[test]
fn terms_that_are_not_known_are_refused() {
    for constraints in [
        json!({"expires": "soon"}),
        json!({"only_on_mondays": true}),
        json!({"backends": ["cuda"]}),
        json!({"tensorrt_min": "ten"}),
    ] {
        assert!(demo(constraints.clone()).is_err(), "{constraints}");
    }
}
