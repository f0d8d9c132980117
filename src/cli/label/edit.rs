//! Edits from the command line: what the page does, for scripts.

use anyhow::Context as _;
use jiff::Timestamp;
use serde_json::json;

use super::{Args, Exit, Failure, Ui, failure, one};
use crate::cli::engines::require_there;
use crate::ui::counted;
use hepalert_labels::cases::folder::labels_of;
use hepalert_labels::cases::{Folder, LabelEditor, Saved, Start};
use hepalert_labels::operation::Operation;

pub(super) fn run(args: &Args, folder: &Folder, ui: &Ui) -> Result<(), Failure> {
    let operations: Vec<Operation> =
        args.edit.iter().map(|text| operation(text)).collect::<Result<_, _>>()?;
    let Some(reader) = &args.reader else { unreachable!("clap requires it") };
    let (case, image) = one(args, folder)?;
    let start = match args.start.as_deref() {
        None => Start::Usual,
        Some("empty") => Start::Empty,
        Some(who) => Start::From(who.parse().map_err(failure)?),
    };
    let mut editor =
        LabelEditor::open(folder, &case.id, &image.name, reader, &start).map_err(failure)?;
    let mut edits = Vec::new();
    let mut tell = |what: &str, saved: &Saved| {
        let voxels = saved.change.voxels();
        edits.push(json!({"op": what, "voxels": voxels, "revision": saved.revision}));
    };
    if let Some(path) = &args.take_in {
        require_there(path)?;
        let on = editor.revision().to_owned();
        let labels = labels_of(path).map_err(failure)?;
        let from = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        tell("taken_in", &editor.take_in(labels, &from, &on, Timestamp::now()).map_err(failure)?);
    }
    for operation in &operations {
        let on = editor.revision().to_owned();
        tell(operation.name(), &editor.edit(operation, &on, Timestamp::now()).map_err(failure)?);
    }
    let regions = editor.labelling().regions();
    let mut lines: Vec<String> = edits
        .iter()
        .map(|edit| {
            format!("{}: {} voxels changed", edit["op"].as_str().unwrap_or(""), edit["voxels"])
        })
        .collect();
    lines.extend(regions.regions.iter().map(|region| {
        let name = folder.meaning().names().get(&region.label).map_or("unnamed", String::as_str);
        let [x, y, z] = region.centre_ras_mm;
        format!(
            "region {}: {} ({name}), {:.2} cm3, at {x:.0} {y:.0} {z:.0} mm RAS, voxel {:?}",
            region.number, region.label, region.volume_cm3, region.at
        )
    }));
    if regions.left_out > 0 {
        lines.push(format!("and {} smaller", counted(regions.left_out, "region")));
    }
    lines.push(format!("revision {}", editor.revision()));
    let document = json!({"case": case.id, "image": image.name, "reader": reader, "edits": edits,
        "revision": editor.revision(), "regions": regions.regions, "left_out": regions.left_out});
    ui.result(&document, lines.join("\n"))
}

fn operation(text: &str) -> Result<Operation, Failure> {
    serde_json::from_str(text)
        .with_context(|| format!("--edit {text}: this is no edit; docs/labelling.md lists them"))
        .map_err(|error| Failure::new(Exit::Usage, error))
}
