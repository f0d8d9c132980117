//! `label`: the cases of a folder and what readers made of them.
//!
//! Owns the list, one edit from the command line, comparison, history and export. A folder needs no
//! engine and no configuration: whoever only wants to label has this alone.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::engines::require_there;
use super::{Exit, Failure, Ui};
use crate::ui::counted;
use hepalert_labels::cases::order::Order;
use hepalert_labels::cases::stored::readers;
use hepalert_labels::cases::{Case, CaseError, Folder, ImageFile, Reader, Who};

mod edit;
mod means;
mod outputs;

/// Arguments of `label`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A folder of cases: nnU-Net raw data, a folder per patient, or many patients' NIfTI files in one.
    folder: PathBuf,
    /// Where labels are kept [default: hepalert-labels in the folder].
    #[arg(long)]
    work: Option<PathBuf>,
    /// One case alone.
    #[arg(long)]
    case: Option<String>,
    /// The image, where a case has several [default: vp, or the first].
    #[arg(long)]
    image: Option<String>,
    /// Whose labels are edited.
    #[arg(long, value_parser = reader)]
    reader: Option<Reader>,
    /// Make an edit, as JSON; docs/labelling.md lists them. May be given several times.
    #[arg(long, value_name = "JSON", requires = "case", requires = "reader", group = "what")]
    edit: Vec<String>,
    /// Take a NIfTI label map in as the reader's labels.
    #[arg(long, value_name = "FILE", requires = "case", requires = "reader", group = "what")]
    take_in: Option<PathBuf>,
    /// What new labels begin with: `empty`, a reader, or `labels:NAME` [default: labelsTr, labels,
    /// truth, labels_base or a liver, if they lie on the image].
    #[arg(long, requires = "reader")]
    start: Option<String>,
    /// Say what the values of labels mean that came with the cases: labels of the folder, 0 for what
    /// is left out. May be given several times.
    #[arg(long, value_name = "NAME:VALUE=LABEL,..", group = "what")]
    means: Vec<means::Means>,
    /// Compare two readers, or a reader with `labels:NAME`, in every case that has both.
    #[arg(long, value_name = "A,B", value_delimiter = ',', group = "what")]
    compare: Vec<Who>,
    /// With --compare: cases are to be read in the order of disagreement that it finds.
    #[arg(long, requires = "compare")]
    order: bool,
    /// Tell every edit of a case.
    #[arg(long, requires = "case", group = "what")]
    history: bool,
    /// Write a training set (nnU-Net raw data) into this folder.
    #[arg(long, value_name = "DIR", requires = "whose", group = "what")]
    export: Option<PathBuf>,
    /// Write labels of DICOM series as DICOM SEG into this folder, for the archive of the images.
    #[arg(long, value_name = "DIR", requires = "whose", group = "what")]
    export_seg: Option<PathBuf>,
    /// With --export: whose labels, the first of these that a case has.
    #[arg(long, value_delimiter = ',')]
    whose: Vec<Who>,
    /// With --export: the images that are its channels, labels being those of the first.
    #[arg(long, value_delimiter = ',')]
    channels: Vec<String>,
}

fn reader(text: &str) -> Result<Reader, String> {
    Reader::new(text).map_err(|error| error.to_string())
}

/// Runs the command.
///
/// # Errors
/// Exit 2 for a name that there is not, 3 for an edit or a file that is refused and for a folder
/// without cases.
pub(crate) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    require_there(&args.folder)?;
    let folder = Folder::open(&args.folder, args.work.as_deref()).map_err(failure)?;
    if !args.edit.is_empty() || args.take_in.is_some() {
        return edit::run(args, &folder, ui);
    }
    if !args.means.is_empty() {
        return means::run(args, &folder, ui);
    }
    match &args.compare[..] {
        [] => {}
        [first, second] => return outputs::compare(args, &folder, [first, second], ui),
        other => {
            let error = anyhow::anyhow!("--compare takes two names, not {}", other.len());
            return Err(Failure::new(Exit::Usage, error));
        }
    }
    if let Some(out) = &args.export_seg {
        return outputs::segmentations(args, &folder, out, ui);
    }
    match (&args.export, args.history) {
        (Some(out), _) => outputs::export(args, &folder, out, ui),
        (None, true) => outputs::history(one(args, &folder)?.0, &folder, ui),
        (None, false) => list(&folder, ui),
    }
}

/// The case and image that the arguments name.
fn one<'a>(args: &Args, folder: &'a Folder) -> Result<(&'a Case, &'a ImageFile), Failure> {
    let case = folder.case(args.case.as_deref().unwrap_or_default()).map_err(failure)?;
    let image = match &args.image {
        Some(name) => case.image(name).map_err(failure)?,
        None => case.first_image(),
    };
    Ok((case, image))
}

/// The exit code of what is refused.
pub(crate) fn failure(error: CaseError) -> Failure {
    let code = error.code();
    match error {
        CaseError::Unknown { .. } | CaseError::Reader(_) => {
            Failure::new(Exit::Usage, error).with_code(code)
        }
        CaseError::File { .. } => Failure::failed(error).with_code(code),
        CaseError::Conflict { .. }
        | CaseError::Refused(_)
        | CaseError::Nifti { .. }
        | CaseError::Dicom { .. }
        | CaseError::TooLong { .. }
        | CaseError::Export(_) => Failure::refused(code, error),
    }
}

fn list(folder: &Folder, ui: &Ui) -> Result<(), Failure> {
    let order = Order::read(folder.work()).map_err(failure)?;
    let (mut rows, mut lines) = (Vec::new(), Vec::new());
    for (case, disagreement) in order.of(folder) {
        let (row, line) = listed(folder, case, disagreement)?;
        rows.push(row);
        lines.push(line);
    }
    let skipped = folder.skipped().iter();
    let passed: Vec<Value> =
        skipped.clone().map(|skipped| json!({"path": skipped.path, "why": skipped.why})).collect();
    lines.push(format!("{} in {}", counted(rows.len(), "case"), folder.root().display()));
    lines.extend(
        skipped.map(|passed| format!("not a case: {}: {}", passed.path.display(), passed.why)),
    );
    let document = json!({"folder": folder.root(), "work": folder.work(),
        "labels": folder.meaning().names(), "cases": rows, "skipped": passed});
    let failure = folder.cases().is_empty().then(|| {
        let error = anyhow::anyhow!("{}: no case is there", folder.root().display());
        Failure::refused("no_case", error)
    });
    ui.result_of(&document, lines.join("\n"), failure)
}

fn listed(
    folder: &Folder,
    case: &Case,
    disagreement: Option<f64>,
) -> Result<(Value, String), Failure> {
    let mut images = Vec::new();
    let mut line = case.id.clone();
    if let Some(score) = disagreement {
        line.push_str(&format!(" (disagreement {score:.3})"));
    }
    for image in &case.images {
        let found = readers(folder, case, image).map_err(failure)?;
        let given: Vec<&str> = case.labels_on(image).map(|labels| labels.name.as_str()).collect();
        let names: Vec<String> = found.keys().map(ToString::to_string).collect();
        let [z, y, x] = image.grid.shape();
        line.push_str(&format!("\n  {}: {x}x{y}x{z}", image.name));
        if !given.is_empty() {
            line.push_str(&format!(", came with {}", given.join(", ")));
        }
        if !names.is_empty() {
            line.push_str(&format!(", labelled by {}", names.join(", ")));
        }
        images.push(json!({"name": image.name, "phase": image.phase, "shape_zyx": [z, y, x],
            "spacing_mm": image.grid.spacing_mm(), "labels": given, "readers": found}));
    }
    let document = json!({"case": case.id, "disagreement": disagreement, "images": images,
        "report": case.report});
    Ok((document, line))
}
