//! `engine`: what bundles there are, what they say of themselves, and whether they work.

use std::path::PathBuf;

use super::engines::RuntimeArgs;
use super::segment::open_bundle;
use super::{Failure, Ui};

mod build;
mod list;
mod measure;
mod selftest;
mod signing;
mod slots;
mod verify;

/// Arguments of `engine`.
#[derive(Debug, clap::Subcommand)]
#[command(disable_help_subcommand = true)]
pub enum Args {
    /// What is in the slots of a device, or which bundles a folder holds.
    List {
        /// Folder that holds one folder per bundle; without it the slots are listed.
        folder: Option<PathBuf>,
        /// The daemon's configuration.
        #[arg(long, default_value = crate::config::DEFAULT_FILE)]
        config: PathBuf,
    },
    /// Put a packed engine into the free slot, test it and use it.
    Install(slots::Install),
    /// Use a slot or the configured bundle.
    Activate(slots::Activate),
    /// Use what was in use before.
    Rollback(slots::Rollback),
    /// Empty a slot that is not in use.
    Discard(slots::Discard),
    /// What a bundle says of itself.
    Inspect {
        /// Folder of the bundle.
        bundle: PathBuf,
    },
    /// Check a bundle or a packed bundle: every file, and the signatures.
    Verify(verify::Args),
    /// Load every network of a bundle and compare its golden patch.
    Selftest {
        /// Folder of the bundle.
        bundle: PathBuf,
        /// What runs the networks.
        #[command(flatten)]
        runtime: RuntimeArgs,
    },
    /// Compile the networks of a bundle for this device's TensorRT, before a study needs them.
    Build(build::Args),
    /// Measure time, memory and temperature of a bundle's networks on this device.
    Measure(measure::Args),
    /// Make a pair of signing keys.
    Keygen(signing::Keygen),
    /// Make one file of a bundle.
    Pack(signing::Pack),
    /// Sign a bundle or a packed bundle.
    Sign(signing::Sign),
}

/// Runs the command.
///
/// # Errors
/// Exit code 4 if a bundle cannot be used, 3 if a packed one is refused.
pub(crate) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    match args {
        Args::List { folder: Some(folder), .. } => list::list(folder, ui),
        Args::List { folder: None, config } => slots::list(&super::run::read(config)?, ui),
        Args::Install(args) => slots::install(args, ui),
        Args::Activate(args) => slots::activate(args, ui),
        Args::Rollback(args) => slots::rollback(args, ui),
        Args::Discard(args) => slots::discard(args, ui),
        Args::Inspect { bundle } => list::inspect(&open_bundle(bundle)?, ui),
        Args::Verify(args) => verify::run(args, ui),
        Args::Selftest { bundle, runtime } => {
            selftest::selftest(&open_bundle(bundle)?, &runtime.runtime(), ui)
        }
        Args::Build(args) => build::run(args, ui),
        Args::Measure(args) => measure::run(args, ui),
        Args::Keygen(args) => signing::keygen(args, ui),
        Args::Pack(args) => signing::pack(args, ui),
        Args::Sign(args) => signing::sign(args, ui),
    }
}
