//! `archive run`: one part of a list.

use std::path::PathBuf;
use std::time::Duration;

use super::super::engines::{self, EngineArgs};
use super::super::{Failure, Ui};
use super::{ended, wrong};
use crate::analyze::Settings;
use crate::archive::cohort::named;
use crate::archive::list::{Entry, List, Shard};
use crate::archive::run::{Task, Told, part, run as go_through};
use crate::archive::{ArchiveError, Code};
use crate::daemon::{gate_params, stop_on_signals};
use crate::report::output;
use crate::ui::counted;

/// Arguments of `archive run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The list, as `archive list` wrote it.
    #[arg(long)]
    list: PathBuf,
    /// Folder of the results, shared by all tasks; of one list and one configuration.
    #[arg(long)]
    results: PathBuf,
    /// Which part, as K/N: task K of N.
    #[arg(long, default_value = "1/1")]
    shard: Shard,
    /// Seconds to wait for a run that holds the shard, before this one is refused.
    #[arg(long, default_value_t = 0)]
    wait_s: u32,
    /// Where the studies are, if not where they were listed.
    #[arg(long)]
    root: Option<PathBuf>,
    /// Write margin.nii.gz too, from which `evaluate --sweep` reads every lesion gain.
    #[arg(long)]
    margin: bool,
    /// Take the limits of a site from this configuration.
    #[arg(long)]
    config: Option<PathBuf>,
    #[command(flatten)]
    engine: EngineArgs,
}

/// Runs the command.
///
/// # Errors
/// Exit 3 if list, results and engine do not belong together, 4 for the engine, 1 if a study failed
/// or the run was stopped.
pub(super) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    let mut settings = Settings { keep_margin: args.margin, ..args.engine.settings()? };
    if let Some(file) = &args.config {
        settings.gate = gate_params(&super::super::run::read(file)?);
    }
    let list = part(&args.list, args.shard).map_err(wrong)?;
    check(&list, args, &settings)?;
    let stop = stop_on_signals().map_err(Failure::failed)?;
    let task = Task {
        list: &list,
        results: &args.results,
        shard: args.shard,
        patience: Duration::from_secs(args.wait_s.into()),
        root: args.root.as_deref(),
        settings: &settings,
        stop: &stop,
    };
    let mut progress = ui.meter("studies");
    let told = go_through(&task, &mut |done, total| progress.step(done, total)).map_err(ended)?;
    drop(progress);
    ui.result_of(&told, text(&told, args), verdict(&told).map(wrong))
}

/// Whether list, engine and place belong together; before a folder is made.
fn check(list: &List<Entry>, args: &Args, settings: &Settings) -> Result<(), Failure> {
    let root = list.root(args.root.as_deref()).map_err(wrong)?;
    output::check_apart(&args.results, &[&root], "the results would lie among the studies")?;
    match settings.wanted().map_err(engines::unusable)? == list.heading.wanted {
        true => Ok(()),
        false => Err(wrong(ArchiveError::at(Code::OtherPhases, &args.list))),
    }
}

/// What is wrong with a run that went to its end.
fn verdict(told: &Told) -> Option<ArchiveError> {
    let failed = told.failed.iter().map(|one| one.study_key.as_str());
    let kinds: [(Code, Vec<&str>); 3] = [
        (Code::Stopped, told.left.iter().map(|key| key.as_str()).collect()),
        (Code::ResultDamaged, told.damaged.iter().map(String::as_str).collect()),
        (Code::StudiesFailed, failed.collect()),
    ];
    let (code, names) = kinds.into_iter().find(|(_, names)| !names.is_empty())?;
    let (count, names) = (names.len(), named(&names));
    let about = format!("shard {}: {count} of {}: {names}", told.shard, told.studies);
    Some(ArchiveError::new(code, about))
}

fn text(told: &Told, args: &Args) -> String {
    let mut lines: Vec<String> = told
        .failed
        .iter()
        .map(|one| {
            format!("{}: failed ({}): {}", one.study_key, one.reason.code, one.reason.detail)
        })
        .collect();
    lines.push(format!(
        "shard {}: {}, {} done before, {} done now, {} refused, {} failed, {} left",
        told.shard,
        counted(told.studies, "study"),
        told.done_before,
        told.done,
        told.refused,
        told.failed.len(),
        told.left.len()
    ));
    let seconds = &told.seconds;
    lines.push(format!(
        "time: {:.1} s, of that {:.1} s for the engine and {:.1} s in studies",
        seconds.total, seconds.engine, seconds.studies
    ));
    lines.push(format!("results: {}", args.results.display()));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Exit;

    #[test]
    fn what_is_left_counts_more_than_what_failed() {
        let key = hepalert_study::study::StudyKey::new(&"0a".repeat(16)).unwrap();
        let mut told = Told { shard: "1/2".into(), studies: 3, ..Told::default() };
        assert!(verdict(&told).is_none());
        told.damaged.push("studies/x".into());
        assert_eq!(verdict(&told).unwrap().code, Code::ResultDamaged);
        told.left.push(key);
        let said = verdict(&told).unwrap();
        assert!(said.about.contains("1 of 3: 0a0a") && wrong(said).exit == Exit::Failed);
    }
}
