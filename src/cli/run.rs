//! `run`: the daemon.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Exit, Failure, Ui, logger};
use crate::config::Config;
use crate::{daemon, doctor, web};

/// Arguments of `run` and `check-config`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration; fragments in conf.d beside it are read too.
    #[arg(long, default_value = crate::config::DEFAULT_FILE)]
    pub config: PathBuf,
}

/// Runs the daemon until SIGTERM or SIGINT.
///
/// # Errors
/// Exit 6 for a bad configuration, 1 if it cannot start.
pub fn run(args: &Args) -> Result<(), Failure> {
    let config = read(&args.config)?;
    logger::install().map_err(Failure::failed)?;
    let checks = Arc::new(|file: &Path| {
        let args = doctor::Args { config: file.to_owned(), quick: true };
        let report = doctor::examine(&args, &doctor::Machine::this(), &Ui::new(true));
        report.checks.into_iter().map(told).collect()
    });
    let page = daemon::Page { config_file: args.config.clone(), checks };
    daemon::run(config, page).map_err(Failure::failed)
}

/// A finding as the page shows it.
fn told(finding: doctor::finding::Finding) -> web::Check {
    web::Check {
        name: finding.name.replace('_', " "),
        level: finding.level,
        finding: finding.finding,
        advice: finding.advice,
    }
}

/// Reads a configuration for a command.
///
/// # Errors
/// Exit 6, naming the file and the key.
pub fn read(file: &Path) -> Result<Config, Failure> {
    Config::read(file).map_err(|error| Failure::new(Exit::Config, error))
}
