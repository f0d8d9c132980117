//! `archive status`: how far an archive is.

use std::path::PathBuf;

use super::super::{Failure, Ui};
use super::wrong;
use crate::archive::cohort::named;
use crate::archive::results::Results;
use crate::archive::status::{Tally, briefs, tally};
use crate::archive::{ArchiveError, Code};
use crate::codes;
use crate::ui::counted;

/// Arguments of `archive status`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The list.
    #[arg(long)]
    list: PathBuf,
    /// Folder of the results.
    #[arg(long)]
    results: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// Exit 3 if list and results do not belong together, or a result cannot be read.
pub(super) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    let list = briefs(&args.list).map_err(wrong)?;
    let results = Results::at(&args.results);
    let bound = results.bound_to(list.digest).map_err(wrong)?;
    let tally = tally(&list, &results, &bound).map_err(wrong)?;
    let failure = tally.damaged.first().map(|first| {
        let about = format!("{} of {}: {first}", tally.damaged.len(), tally.studies);
        wrong(ArchiveError::new(Code::ResultDamaged, about))
    });
    ui.result_of(&tally, text(&tally), failure)
}

fn text(tally: &Tally) -> String {
    let engines: Vec<String> = tally.engines.iter().map(ToString::to_string).collect();
    let mut lines = vec![format!(
        "{} by {}: {} done, {} refused, {} missing, {} damaged",
        counted(tally.studies, "study"),
        engines.join(", "),
        tally.done,
        tally.refused,
        tally.missing.len(),
        tally.damaged.len()
    )];
    let by_code = [("refused", &tally.refused_by_code), ("failed", &tally.failed_by_code)];
    for (what, codes) in by_code {
        for (code, count) in codes {
            let meaning = codes::of_study(code).map_or("", |meaning| meaning.sentence);
            lines.push(format!("  {what} {count}: {code}: {meaning}"));
        }
    }
    let names = |names: &[String]| named(&names.iter().map(String::as_str).collect::<Vec<_>>());
    if !tally.missing.is_empty() {
        lines.push(format!("missing: {}", names(&tally.missing)));
    }
    if !tally.damaged.is_empty() {
        lines.push(format!("damaged: {}", names(&tally.damaged)));
    }
    if !tally.running.is_empty() {
        lines.push(format!("worked on now: shards {}", names(&tally.running)));
    }
    lines.join("\n")
}
