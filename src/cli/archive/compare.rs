//! `archive compare`: old engine against new over the same studies.

use std::path::PathBuf;

use super::super::{Failure, Ui};
use super::wrong;
use crate::archive::changes::Pair;
use crate::archive::results::Results;
use crate::archive::status::briefs;
use crate::report::output::{self, MADE_BY};

/// Arguments of `archive compare`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The list of both.
    #[arg(long)]
    list: PathBuf,
    /// Results of the engine before.
    #[arg(long)]
    old: PathBuf,
    /// Results of the engine after.
    #[arg(long)]
    new: PathBuf,
    /// Folder for changes.csv, compare.json, compare.md and the pictures.
    #[arg(long)]
    out: PathBuf,
    /// Most pictures; the table has all changes.
    #[arg(long, default_value_t = 200)]
    pictures: usize,
}

/// Runs the command.
///
/// # Errors
/// Exit 3 if the results are not of this list, not whole, or of one configuration.
pub(super) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    output::check_results(&args.out)?;
    let list = briefs(&args.list).map_err(wrong)?;
    let pair = Pair::of(Results::at(&args.old), Results::at(&args.new), list.digest);
    let pair = pair.map_err(wrong)?;
    let compared = pair.compare(&list).map_err(wrong)?;
    let folder = args.out.join("pictures");
    output::make_folder(&folder)?;
    let mut progress = ui.meter("pictures");
    let total = compared.changes.len().min(args.pictures);
    for (done, change) in compared.changes.iter().take(total).enumerate() {
        if let Some(picture) = pair.picture(change).map_err(Failure::failed)? {
            output::put(&folder.join(format!("{}.png", change.study_key)), &picture, &[])?;
        }
        progress.step(done + 1, total);
    }
    output::put(&args.out.join("changes.csv"), compared.csv().as_bytes(), &[])?;
    let text = compared.markdown();
    output::put(&args.out.join("compare.md"), format!("{MADE_BY}\n{text}").as_bytes(), &[])?;
    output::put_json(&args.out.join("compare.json"), &compared, &[])?;
    ui.say(format!("written: {}", args.out.display()));
    ui.result(&compared, text.trim_end())
}
