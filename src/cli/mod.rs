//! The command line: one file per subcommand, each thin.
//!
//! Owns argument parsing, exit codes and the two voices of a command: one JSON document on
//! standard output with `--json`, sentences for people without. Refuses to compute.

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

pub(crate) mod analyze;
pub(crate) mod archive;
pub(crate) mod check_config;
pub(crate) mod curate;
pub(crate) mod demo;
pub(crate) mod detect;
pub(crate) mod dicom;
pub(crate) mod engine;
pub(crate) mod engines;
pub(crate) mod evaluate;
mod examples;
pub(crate) mod export;
pub(crate) mod fleet;
pub(crate) mod inspect;
pub(crate) mod label;
pub(crate) mod label_file;
pub(crate) mod logger;
pub(crate) mod match_lesions;
mod patterns;
pub mod phantom;
pub(crate) mod quality;
pub(crate) mod queue;
pub(crate) mod reclassify;
pub(crate) mod register;
pub mod run;
pub(crate) mod segment;
pub(crate) mod shell;
pub(crate) mod shuffle;
mod stage_timer;
mod status;
mod stopping;
mod store;
pub(crate) mod study;
pub(crate) mod study_files;
pub(crate) mod web;
mod words;
pub(crate) mod worker;

pub use crate::ui::{Exit, Failure, Ui, failure_document};
use crate::{doctor, support_bundle};

/// Suspected liver lesions from a CT export folder, published over MQTT. Triage aid, not a
/// diagnosis.
#[derive(Debug, Parser)]
#[command(name = "hepalert", version, disable_help_subcommand = true)]
pub struct Arguments {
    /// Print one JSON document on standard output; messages go to standard error.
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Analyse one study, or many one after the other, now.
    Analyze(analyze::Args),
    /// Analyse a whole archive in parts, put the results together, compare two engines.
    #[command(subcommand)]
    Archive(archive::Args),
    /// Tell whether the daemon could run with this configuration.
    CheckConfig(run::Args),
    /// Print shell completions.
    Completions(shell::Completions),
    /// The curation loop: label cases with an engine, list what disagrees, write the next training set.
    Curate(curate::Args),
    /// The whole main job on this machine, with a real broker.
    Demo(demo::Args),
    /// Single lesions out of a label map.
    Detect(detect::Args),
    /// Try an archive, and tell what is spoken.
    #[command(subcommand)]
    Dicom(dicom::Dicom),
    /// Look at everything the daemon needs: what is wrong, and what to do.
    Doctor(doctor::Args),
    /// Inspect, check, install and sign engines.
    #[command(subcommand)]
    Engine(engine::Args),
    /// Hold results against the truth over a cohort: tables, plots, one line per case.
    Evaluate(evaluate::Args),
    /// A study with its result, without its patient, to share it.
    Export(export::Args),
    /// Tell of every device at a broker: which live, which differ.
    Fleet(fleet::Args),
    /// Tell what every series in a folder is, which would be read, and why.
    Inspect(inspect::Args),
    /// List the cases of a folder; edit, compare and export what readers labelled.
    Label(label::Args),
    /// Compare predicted with true lesions.
    Match(match_lesions::Args),
    /// Make a synthetic patient with exact truth.
    Phantom(phantom::Args),
    /// Write manual pages.
    Man(shell::Man),
    /// Tell how often people agreed with the alerts.
    Quality(quality::Args),
    /// List the newest jobs of the daemon.
    Queue(queue::Args),
    /// The third stage alone, on a given label map.
    Reclassify(reclassify::Args),
    /// Bring one image onto another, with its labels and points.
    Register(register::Args),
    /// Run the daemon.
    Run(run::Args),
    /// The first stage alone: a label map of a CT.
    Segment(segment::Args),
    /// Send the objects of a study's result to an archive once more.
    Send(dicom::SendArgs),
    /// Write lesion-shuffle patches for training.
    Shuffle(shuffle::Args),
    /// Count jobs, unsent messages and open alerts of the daemon.
    Status(queue::Args),
    /// Look at one study of the daemon, put it back into the queue, or tell its key.
    #[command(subcommand)]
    Study(study::Study),
    /// Write a file for support: versions, settings, logs and counts, without patient identifiers.
    SupportBundle(support_bundle::Args),
    /// Say who may see the page on the device, or label a folder without one.
    #[command(subcommand)]
    Web(web::Args),
    /// The inference process, started by the daemon: nobody else is told of it.
    #[command(skip)]
    Worker,
}

/// Reads the arguments. Wrong usage ends the process here, with the one document where that is
/// asked for.
pub fn parse() -> Arguments {
    let words: Vec<std::ffi::OsString> = std::env::args_os().collect();
    if words.len() == 2 && words[1] == "worker" {
        return Arguments { json: false, command: Command::Worker };
    }
    let matched = examples::shown(Arguments::command()).try_get_matches_from(&words);
    matched.and_then(|found| Arguments::from_arg_matches(&found)).unwrap_or_else(|error| {
        let (said, shown) = (error.to_string(), in_words(&error.to_string()));
        if error.use_stderr() && words.iter().any(|word| word == "--json") {
            let message = match error.kind() {
                ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
                    "a command is missing: `--help` lists them".to_owned()
                }
                _ => told(&shown),
            };
            crate::ui::print(&failure_document(Exit::Usage, None, &message));
        }
        if said == shown {
            error.exit();
        }
        crate::ui::say(format_args!("{shown}"));
        std::process::exit(Exit::Usage as i32)
    })
}

/// What Rust says of numbers, as people say it.
fn in_words(said: &str) -> String {
    const WORDS: [(&str, &str); 6] = [
        ("invalid digit found in string", "expected a whole number"),
        ("cannot parse integer from empty string", "expected a whole number"),
        ("number too large to fit in target type", "the number is too large"),
        ("number too small to fit in target type", "the number is too small"),
        ("invalid float literal", "expected a number"),
        ("cannot parse float from empty string", "expected a number"),
    ];
    let said = WORDS.iter().fold(said.to_owned(), |said, (rust, ours)| said.replace(rust, ours));
    let range = |line: &str| match line.contains(" is not in ") && line.contains("..=") {
        true => line.replace(" is not in ", " is not from ").replace("..=", " to "),
        false => line.to_owned(),
    };
    said.split_inclusive('\n').map(range).collect()
}

/// What clap says of wrong usage before it shows how the command is used, on one line.
fn told(text: &str) -> String {
    let lines = text.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:"));
    let said: Vec<&str> = lines
        .filter(|line| !line.is_empty() && !line.starts_with("For more information"))
        .collect();
    said.join(" ").trim_start_matches("error: ").to_owned()
}

/// Runs one command.
///
/// # Errors
/// [`Failure`] carries the exit code and the sentence for standard error.
pub fn run(arguments: Arguments) -> Result<(), Failure> {
    let ui = Ui::new(arguments.json);
    match arguments.command {
        Command::Analyze(args) => analyze::run(&args, &ui),
        Command::Archive(what) => archive::run(&what, &ui),
        Command::CheckConfig(args) => check_config::run(&args, &ui),
        Command::Completions(args) => shell::completions(&args, &ui),
        Command::Curate(args) => curate::run(&args, &ui),
        Command::Demo(args) => demo::run(&args, &ui),
        Command::Detect(args) => detect::run(&args, &ui),
        Command::Dicom(what) => dicom::run(&what, &ui),
        Command::Doctor(args) => doctor::run(&args, &ui),
        Command::Engine(args) => engine::run(&args, &ui),
        Command::Evaluate(args) => evaluate::run(&args, &ui),
        Command::Export(args) => export::run(&args, &ui),
        Command::Fleet(args) => fleet::run(&args, &ui),
        Command::Inspect(args) => inspect::run(&args, &ui),
        Command::Label(args) => label::run(&args, &ui),
        Command::Match(args) => match_lesions::run(&args, &ui),
        Command::Phantom(args) => phantom::run(&args, &ui),
        Command::Man(args) => shell::man(&args, &ui),
        Command::Quality(args) => quality::run(&args, &ui),
        Command::Queue(args) => queue::run(&args, &ui),
        Command::Reclassify(args) => reclassify::run(&args, &ui),
        Command::Register(args) => register::run(&args, &ui),
        Command::Run(args) => run::run(&args),
        Command::Segment(args) => segment::run(&args, &ui),
        Command::Send(args) => dicom::send(&args, &ui),
        Command::Shuffle(args) => shuffle::run(&args, &ui),
        Command::Status(args) => status::run(&args, &ui),
        Command::Study(what) => study::run(&what, &ui),
        Command::SupportBundle(args) => support_bundle::run(&args, &ui),
        Command::Web(args) => web::run(&args, &ui),
        Command::Worker => worker::run(),
    }
}
