//! The command line: one file per subcommand, each thin.
//!
//! Owns argument parsing, exit codes and the two voices of a command: one JSON document on
//! standard output with `--json`, sentences for people without. Refuses to compute.

use clap::{Parser, Subcommand};

pub mod detect;
pub mod engine;
pub mod evaluate;
pub mod label_file;
pub mod match_lesions;
pub mod phantom;
pub mod reclassify;
pub mod segment;
pub mod shuffle;
pub mod study_files;
pub mod ui;

pub use ui::{Exit, Failure, Ui};

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
    /// Single lesions out of a label map.
    Detect(detect::Args),
    /// Inspect and check engine bundles.
    #[command(subcommand)]
    Engine(engine::Args),
    /// Tables and plots over a cohort.
    Evaluate(evaluate::Args),
    /// Compare predicted with true lesions.
    Match(match_lesions::Args),
    /// Make a synthetic patient with exact truth.
    Phantom(phantom::Args),
    /// The third stage alone, on a given label map.
    Reclassify(reclassify::Args),
    /// The first stage alone.
    Segment(segment::Args),
    /// Write lesion-shuffle patches for training.
    Shuffle(shuffle::Args),
}

/// Runs one command.
///
/// # Errors
/// [`Failure`] carries the exit code and the sentence for standard error.
pub fn run(arguments: Arguments) -> Result<(), Failure> {
    let ui = Ui::new(arguments.json);
    match arguments.command {
        Command::Detect(args) => detect::run(&args, &ui),
        Command::Engine(args) => engine::run(&args, &ui),
        Command::Evaluate(args) => evaluate::run(&args, &ui),
        Command::Match(args) => match_lesions::run(&args, &ui),
        Command::Phantom(args) => phantom::run(&args, &ui),
        Command::Reclassify(args) => reclassify::run(&args, &ui),
        Command::Segment(args) => segment::run(&args, &ui),
        Command::Shuffle(args) => shuffle::run(&args, &ui),
    }
}
