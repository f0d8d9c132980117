//! `engine list` and `inspect`: what bundles are there and what they say.

use std::fmt::Write as _;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::cli::engines::require_there;
use crate::cli::{Failure, Ui};
use crate::ui::counted;
use hepalert_bundles::{Bundle, Fusion, MANIFEST, NetworkPlan, Role};
use hepalert_study::system;

/// Folders without a manifest are no bundles; broken bundles are listed with their fault.
pub(super) fn list(folder: &Path, ui: &Ui) -> Result<(), Failure> {
    require_there(folder)?;
    let entries = std::fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let entries = entries.map_err(|error| {
        let why = match error.kind() {
            ErrorKind::NotADirectory => {
                "it is a file: name the folder that bundles lie in".to_owned()
            }
            _ => system::reason(&error),
        };
        Failure::refused("unreadable", anyhow::anyhow!("{}: {why}", folder.display()))
    })?;
    let mut dirs: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
    dirs.retain(|dir| dir.join(MANIFEST).is_file());
    dirs.sort();
    let mut documents = Vec::new();
    let mut text = String::new();
    for dir in dirs {
        let line = match Bundle::open(&dir) {
            Ok(bundle) => {
                documents.push(json!({"path": dir, "usable": true, "id": bundle.id(),
                    "version": bundle.version(), "setting": bundle.setting().name(),
                    "sha256": bundle.fingerprint()}));
                let setting = bundle.setting().name();
                format!("{} version {}, {setting}", bundle.id(), bundle.version())
            }
            Err(error) => {
                let fault = error.to_string();
                documents.push(json!({"path": dir, "usable": false, "fault": fault}));
                format!("not usable: {error}")
            }
        };
        let _ = writeln!(text, "{}: {line}", dir.display());
    }
    if text.is_empty() {
        text = format!("{}: no bundles", folder.display());
    }
    ui.result(&documents, text.trim_end())
}

pub(super) fn inspect(bundle: &Bundle, ui: &Ui) -> Result<(), Failure> {
    let phases: Vec<&str> = bundle.phases().iter().map(|phase| phase.code()).collect();
    let gain = bundle.lesion_gain();
    let networks: Vec<(Role, &NetworkPlan)> = bundle.networks().collect();
    let described: serde_json::Map<String, Value> =
        networks.iter().map(|(role, plan)| (role.name().to_owned(), describe(plan))).collect();
    let document = json!({
        "id": bundle.id(), "version": bundle.version(), "created": bundle.created(),
        "intended_use": bundle.intended_use(), "licence": bundle.licence(),
        "setting": bundle.setting().name(), "phases": phases,
        "lesion_gain": {"base": gain.base, "high": gain.high}, "sha256": bundle.fingerprint(),
        "networks": described, "training": bundle.training(),
    });
    let mut text = format!(
        "{} version {} of {}\n  intended use: {}\n  licence: {}\n  phases: {} ({})\n  lesion gain: base {}, high {}\n  fingerprint: {}",
        bundle.id(),
        bundle.version(),
        bundle.created(),
        bundle.intended_use(),
        bundle.licence(),
        phases.join(", "),
        bundle.setting().name(),
        gain.base,
        gain.high,
        bundle.fingerprint()
    );
    for (role, plan) in networks {
        let _ = write!(
            text,
            "\n  {}: {}, {} classes, patch {:?} at {:?} mm (z, y, x), fusion of {}, {}",
            role.name(),
            counted(plan.files.len(), "fold"),
            plan.classes.len(),
            plan.patch,
            plan.spacing_mm,
            match plan.fusion {
                Fusion::Logits => "logits",
                Fusion::Probabilities => "probabilities",
            },
            match &plan.mirror_axes[..] {
                [] => "not mirrored".to_owned(),
                axes => format!("mirrored along {axes:?}"),
            }
        );
    }
    ui.result(&document, text)
}

fn describe(plan: &NetworkPlan) -> Value {
    let files: Vec<Value> = plan
        .files
        .iter()
        .map(|file| json!({"path": file.path(), "sha256": file.sha256(), "bytes": file.bytes()}))
        .collect();
    json!({"files": files, "classes": plan.classes, "channels": plan.channels,
        "patch": plan.patch, "spacing_mm": plan.spacing_mm, "mirror_axes": plan.mirror_axes,
        "tile_step": plan.tile_step, "reader": plan.reader.name()})
}
