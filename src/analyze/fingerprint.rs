//! What a result is known again by, beside its input.
//!
//! Owns the list of all that determines results. Loads no network.

use super::{Settings, high_gain};
use hepalert_bundles::Bundle;
use hepalert_study::digest::Digest;

/// Changes when the meaning of results changes without any parameter changing.
/// 2: studies are brought into the engine's orientation, chance comes from the images alone.
const CASCADE_VERSION: u32 = 2;

/// SHA-256 over everything that determines results besides the input: version, engine, gains,
/// third stage, backend and precision, the engine that tells phases apart (`recogniser`, its
/// fingerprint), and the memory, by which thin slices are averaged and the finer of two series is
/// passed over. Known without loading a network.
pub(crate) fn pipeline_fingerprint(
    settings: &Settings,
    bundle: &Bundle,
    recogniser: Option<&str>,
) -> String {
    let rules = settings.reclassify;
    let words = format!(
        "hepalert cascade {CASCADE_VERSION}\n{}\n{}\n{}\n{}\n{}\n{}\n{:?}\n{} {}\n{}\n{}\n",
        bundle.fingerprint(),
        bundle.lesion_gain().base,
        high_gain(settings, bundle),
        rules.patches,
        rules.keep_above_cm3,
        rules.discard_below_cm3,
        rules.schemes,
        settings.runtime.backend,
        settings.runtime.precision,
        settings.memory_budget_bytes,
        recogniser.unwrap_or("names alone"),
    );
    // Studies of one phase are not aligned: their fingerprint says nothing of it.
    let alignment = match bundle.phases().len() {
        1 => String::new(),
        _ => format!("{:?}\n", settings.alignment),
    };
    Digest::of((words + &alignment).as_bytes()).hex()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::intake::GateParams;
    use hepalert_cascade::{align, reclassify, segment};
    use hepalert_engines::backend::Runtime;
    use hepalert_engines::backend::{Backend, Precision};

    #[test]
    fn whatever_decides_a_result_is_part_of_the_fingerprint() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let bundle = Bundle::open(&root.join("engines/venous-demo")).unwrap();
        let usual = Settings {
            bundle: bundle.dir().to_owned(),
            others: Vec::new(),
            alignment: align::Rules::default(),
            runtime: Runtime {
                backend: Backend::OpenVino,
                precision: Precision::F32,
                ..Runtime::default()
            },
            high_gain: None,
            reclassify: reclassify::ReclassifyParams::default(),
            memory_budget_bytes: 1 << 30,
            gate: GateParams::default(),
            keep_margin: false,
            keep_gains: false,
            phase_bundle: None,
            objects: None,
            air: segment::AirTiles::default(),
        };
        let with = |change: &dyn Fn(&mut Settings)| {
            let mut settings = usual.clone();
            change(&mut settings);
            pipeline_fingerprint(&settings, &bundle, Some("one"))
        };
        let others = [
            with(&|_| ()),
            with(&|settings| settings.runtime.backend = Backend::Native),
            with(&|settings| settings.runtime.precision = Precision::Bf16),
            with(&|settings| settings.high_gain = Some(7.0)),
            with(&|settings| settings.reclassify.patches += 1),
            // Thin slices are averaged where less fits.
            with(&|settings| settings.memory_budget_bytes /= 2),
            // Another network may call another phase venous.
            pipeline_fingerprint(&usual, &bundle, Some("another")),
            pipeline_fingerprint(&usual, &bundle, None),
        ];
        let different: std::collections::BTreeSet<&String> = others.iter().collect();
        assert_eq!(different.len(), others.len(), "each counts");
        assert_eq!(
            others[0],
            with(&|settings| settings.keep_gains = true),
            "no result hangs on it"
        );
        assert_eq!(others[0], with(&|settings| settings.runtime.threads = Some(3)), "nor on this");
    }
}
