//! `dicom echo` and `send`: an archive tried, a result sent again by hand.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};
use jiff::Timestamp;

use super::{Exit, Failure, Ui};
use crate::config::{Config, DicomTarget};
use crate::daemon::archives::{deliveries, target_of};
use crate::dicom::sender;
use crate::dicom::services::conformance;
use crate::report::types::Report;
use crate::ui::counted;
use hepalert_study::study::StudyKey;

/// What to do by DICOM.
#[derive(Debug, Subcommand)]
#[command(disable_help_subcommand = true)]
pub enum Dicom {
    /// Ask an archive whether it is there and lets this device in.
    Echo(EchoArgs),
    /// Print what this program speaks, as a conformance statement has it.
    Conformance,
}

/// Which archive.
#[derive(Debug, ClapArgs)]
pub struct EchoArgs {
    /// Its name in the configuration; all of them if none is given.
    pub name: Option<String>,
    /// The daemon's configuration.
    #[arg(long, default_value = crate::config::DEFAULT_FILE)]
    pub config: PathBuf,
}

/// Which result goes where.
#[derive(Debug, ClapArgs)]
pub struct SendArgs {
    /// The study key: 32 hex digits.
    #[arg(value_parser = super::store::parse_key)]
    pub key: StudyKey,
    /// The archive's name in the configuration.
    #[arg(long)]
    pub to: String,
    /// The daemon's configuration.
    #[arg(long, default_value = crate::config::DEFAULT_FILE)]
    pub config: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// Exit 6 for the configuration, 1 for an archive that does not answer.
pub(crate) fn run(what: &Dicom, ui: &Ui) -> Result<(), Failure> {
    match what {
        Dicom::Echo(args) => echo(args, ui),
        Dicom::Conformance => {
            let text = conformance();
            ui.result(&serde_json::json!({ "conformance": text }), text)
        }
    }
}

fn echo(args: &EchoArgs, ui: &Ui) -> Result<(), Failure> {
    let config = super::run::read(&args.config)?;
    let targets: Vec<&DicomTarget> = match &args.name {
        Some(name) => vec![named(&config, name)?],
        // Who is only told of storage commitment takes no results.
        None => config.dicom.archives().collect(),
    };
    if targets.is_empty() {
        let error = anyhow::anyhow!("no archive is configured: add a [[dicom.target]]");
        return Err(Failure::new(Exit::Config, error));
    }
    let tried: Vec<(&str, Result<String, _>)> = targets
        .iter()
        .map(|target| (target.name.as_str(), sender::echo(&target_of(&config, target))))
        .collect();
    let line = |(name, outcome): &(&str, Result<String, _>)| match outcome {
        Ok(words) => format!("works  {name}: {words}"),
        Err(error) => format!("FAILS  {error}"),
    };
    let lines: Vec<String> = tried.iter().map(line).collect();
    let items = tried.iter().map(|(name, outcome)| {
        let code = outcome.as_ref().err().map(crate::dicom::SendError::code);
        serde_json::json!({ "target": name, "works": outcome.is_ok(), "code": code })
    });
    let document = serde_json::json!({ "targets": items.collect::<Vec<_>>() });
    let failure = tried.into_iter().find_map(|(_, outcome)| outcome.err()).map(|error| {
        let code = error.code();
        Failure::failed(error).with_code(code)
    });
    ui.result_of(&document, lines.join("\n"), failure)
}

fn named<'a>(config: &'a Config, name: &str) -> Result<&'a DicomTarget, Failure> {
    config.dicom.target(name).ok_or_else(|| {
        let known: Vec<&str> = config.dicom.target.iter().map(|one| one.name.as_str()).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        let error =
            anyhow::anyhow!("no [[dicom.target]] is named {name:?}; the configuration has {known}");
        Failure::new(Exit::Usage, error)
    })
}

/// Puts the newest result of a study into the line of an archive once more: a running daemon sends it.
///
/// # Errors
/// Exit 6 for the configuration, 1 for the store or a study without objects.
pub(crate) fn send(args: &SendArgs, ui: &Ui) -> Result<(), Failure> {
    let config = super::run::read(&args.config)?;
    let target = named(&config, &args.to)?;
    if target.commitment_only {
        let error = anyhow::anyhow!("{}: commitment_only is set: results do not go there", args.to);
        return Err(Failure::new(Exit::Usage, error));
    }
    let file = config.store.database();
    let store = super::store::open_to_write(&file)?;
    let stored = store.report(&args.key).map_err(Failure::failed)?.ok_or_else(|| {
        Failure::failed(anyhow::anyhow!("study {} has no result in the store", args.key))
    })?;
    let report: Report = serde_json::from_str(&stored.report_json).map_err(Failure::failed)?;
    let objects = deliveries(std::iter::once(target), &report.artefacts);
    if objects.is_empty() {
        let error = anyhow::anyhow!(
            "the result of study {} has no DICOM objects: it was made before an archive was \
             configured, or of images that are no DICOM",
            args.key
        );
        return Err(Failure::failed(error).with_code("dicom_objects_not_made"));
    }
    let now = Timestamp::now();
    let revision = stored.revision;
    let count =
        store.deliver_again(args.key.as_str(), revision, &objects, now).map_err(Failure::failed)?;
    let document = serde_json::json!({
        "study_key": args.key, "revision": revision, "target": args.to, "objects": count,
    });
    let objects = counted(count, "object");
    ui.result(
        &document,
        format!("{objects} of revision {revision}: a running daemon sends them to {}", args.to),
    )
}
