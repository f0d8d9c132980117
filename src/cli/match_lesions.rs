//! `match`: predicted lesions held against true ones, by the paper's rule and by the strict one.

use std::fmt;
use std::path::PathBuf;

use serde::{Serialize, Serializer};

use super::study_files::read_label_map;
use super::{Failure, Ui, label_file};
use crate::report::output;
use crate::ui::counted;
use hepalert_cascade::detect::Detection;
use hepalert_cascade::detect::matching::{self, Pair, Tally, match_events, match_strict};
use hepalert_cascade::detect::seg2det::DetectParams;
use hepalert_study::anatomy;

/// Arguments of `match`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// True label map.
    #[arg(long)]
    truth: PathBuf,
    /// Predicted label map, on the same grid.
    #[arg(long)]
    predicted: PathBuf,
    /// Where the counts go (JSON).
    #[arg(long)]
    out: PathBuf,
}

/// `match.json`.
#[derive(Debug, Serialize)]
struct Document {
    paper: Form,
    strict: Form,
    pairs: Vec<Event>,
}

/// One way of counting.
#[derive(Debug, Serialize)]
struct Form {
    per_class: PerClass,
    malignant: Counts,
}

/// An object with one entry per type, in the order of priority.
#[derive(Debug)]
struct PerClass([Counts; 6]);

impl Serialize for PerClass {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let names = anatomy::Lesion::ALL.map(anatomy::Lesion::name);
        serializer.collect_map(std::iter::zip(names, &self.0))
    }
}

#[derive(Debug, Serialize)]
struct Counts {
    tp: usize,
    /// In the strict form predictions that are right; the paper's form counts events.
    #[serde(skip_serializing_if = "Option::is_none")]
    tp_predicted: Option<usize>,
    fl_truth: usize,
    fl_predicted: usize,
    fp: usize,
    #[serde(rename = "fn")]
    fn_: usize,
}

/// One event of the paper's form; ids as `detect` numbers them, null on the side where there
/// is no lesion.
#[derive(Debug, Serialize)]
struct Event {
    truth: Option<u32>,
    predicted: Option<u32>,
    voxels: usize,
    outcome: &'static str,
}

/// Runs the command.
///
/// # Errors
/// If a label map is refused, the two lie on different grids, or the file cannot be written.
pub(crate) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    let inputs = [args.truth.as_path(), &args.predicted];
    output::check_document(&args.out, &["paper", "strict", "pairs"], &inputs)?;
    let truth = read_label_map(&args.truth)?;
    let predicted = read_label_map(&args.predicted)?;
    label_file::same_grid((&args.truth, &truth), (&args.predicted, &predicted))?;
    let truth = label_file::lesions(&args.truth, &truth, &DetectParams::default())?;
    let predicted = label_file::lesions(&args.predicted, &predicted, &DetectParams::default())?;
    let document = Document::new(&truth, &predicted);
    output::put_json(&args.out, &document, &inputs)?;
    ui.result(&document, &document)
}

impl Document {
    fn new(truth: &[Detection], predicted: &[Detection]) -> Document {
        let events = match_events(truth, predicted);
        let id = |set: &[Detection], place: Option<usize>| place.map(|at| set[at].id);
        let event = |pair: &Pair| Event {
            truth: id(truth, pair.truth),
            predicted: id(predicted, pair.predicted),
            voxels: pair.voxels,
            outcome: pair.outcome.code(),
        };
        Document {
            paper: Form::new(&events.tally, false),
            strict: Form::new(&match_strict(truth, predicted), true),
            pairs: events.pairs.iter().map(event).collect(),
        }
    }
}

impl Form {
    fn new(tally: &Tally, strict: bool) -> Form {
        let counts = |counts: &matching::Counts| {
            let matching::Counts { tp, tp_predicted, fl_truth, fl_predicted, fp, fn_ } = *counts;
            let tp_predicted = strict.then_some(tp_predicted);
            Counts { tp, tp_predicted, fl_truth, fl_predicted, fp, fn_ }
        };
        Form {
            per_class: PerClass(std::array::from_fn(|at| counts(&tally.per_class[at]))),
            malignant: counts(&tally.malignant),
        }
    }
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, form) in [("paper", &self.paper), ("strict", &self.strict)] {
            writeln!(f, "{name:<10} {:>5} {:>5} {:>5} {:>5}", "TP", "FL", "FP", "FN")?;
            let rows = anatomy::Lesion::ALL.map(anatomy::Lesion::name);
            for (row, counts) in std::iter::zip(rows, &form.per_class.0) {
                write_row(f, row, counts)?;
            }
            write_row(f, "malignant", &form.malignant)?;
        }
        f.write_str(&counted(self.pairs.len(), "event"))
    }
}

fn write_row(f: &mut fmt::Formatter<'_>, row: &str, counts: &Counts) -> fmt::Result {
    let Counts { tp, fl_truth, fp, fn_, .. } = counts;
    writeln!(f, "{row:<10} {tp:>5} {fl_truth:>5} {fp:>5} {fn_:>5}")
}
