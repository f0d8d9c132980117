//! `doctor`: looks at everything the daemon needs and says what is wrong and what to do.
//!
//! Owns the list of checks and their order. Each check is a look, which gathers facts, and a
//! judgement of the facts alone. Refuses to change anything, and to say anything of a patient.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::civil::Date;

use crate::config::{Config, ConfigError};
use crate::daemon;
use crate::ui::{Exit, Failure, Ui};
use hepalert_bundles::Bundle;

mod account;
mod archives;
mod broker;
mod engine;
pub(crate) mod filesystem;
pub(crate) mod finding;
pub(crate) mod machine;
pub(crate) mod page;
pub(crate) mod site_key;
mod slots;
#[cfg(test)]
mod tests;

use account::Account;
use finding::{Finding, Report};
pub(crate) use machine::Machine;

/// The account that the installed daemon runs as.
const ACCOUNT: &str = "hepalert";

/// Arguments of `doctor`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The daemon's configuration.
    #[arg(long, default_value = crate::config::DEFAULT_FILE)]
    pub config: PathBuf,
    /// Do not run the networks: seconds instead of minutes on a slow processor.
    #[arg(long)]
    pub quick: bool,
}

/// Runs every check and prints what it found.
///
/// # Errors
/// The exit code of the first check that fails: 6 for the configuration, 5 for the broker,
/// 4 for the engine, 1 for the rest.
pub(crate) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    let report = examine(args, &Machine::this(), ui);
    let failure = report.first_failure().map(|failed| {
        let error = anyhow::anyhow!("{} of {} checks failed", report.failures, report.checks.len());
        Failure::new(failed.exit, error)
    });
    ui.result_of(&report, report.text(), failure)
}

/// All findings, without printing them.
pub(crate) fn examine(args: &Args, machine: &Machine, ui: &Ui) -> Report {
    let now = Timestamp::now();
    let read = Config::read_with_files(&args.config);
    let mut checks = vec![configuration(&read)];
    match read {
        Ok((config, _)) => checks.extend(installed(args, &config, machine, now, ui)),
        Err(_) => checks.push(machine::clock(&machine::look_at_clock(machine, now, None))),
    }
    checks.push(machine::heat(&machine::look_at_heat(machine)));
    let service = machine::look_at_service(machine);
    checks.push(machine::service(&service));
    checks.push(machine::daemons(&machine::look_at_daemons(machine), &service));
    Report::of(checks)
}

/// The checks that need a configuration.
fn installed(
    args: &Args,
    config: &Config,
    machine: &Machine,
    now: Timestamp,
    ui: &Ui,
) -> Vec<Finding> {
    let settings = daemon::analysis_settings(config);
    let is_root = rustix::process::geteuid().is_root();
    let account = if is_root { Account::named(ACCOUNT, machine) } else { None };
    if !args.quick {
        ui.note("running the engine's golden patches; --quick leaves that out");
    }
    let bundle = &slots::bundle_in_use(config);
    let dicom = archives::look_at_archives(config);
    vec![
        filesystem::account(&filesystem::look_at_account(account.as_ref(), &args.config, config)),
        filesystem::export_folder(&filesystem::look_at_export(config)),
        filesystem::disk(&filesystem::look_at_disk(config)),
        filesystem::store(&filesystem::look_at_store(config), now),
        site_key::site_key(&site_key::look_at_key(config)),
        broker::broker(&broker::look_at_broker(config)),
        archives::receiver(&dicom),
        archives::archives(&dicom),
        page::page(page::look_at_page(config).as_ref()),
        machine::clock(&machine::look_at_clock(machine, now, made(bundle))),
        engine::backend(&engine::look_at_backends(machine, &settings.runtime)),
        slots::slots(&slots::look_at_slots(config)),
        engine::engine(&engine::look_at_engine(bundle, &settings.runtime, !args.quick)),
        machine::memory(machine::look_at_memory(machine, config.engine.memory_budget_mib).as_ref()),
    ]
}

/// The day the engine was made, as its maker wrote it.
fn made(bundle: &Path) -> Option<Date> {
    Bundle::open(bundle).ok()?.created().get(..10)?.parse().ok()
}

/// Whether there is a configuration to work with.
fn configuration(read: &Result<(Config, Vec<PathBuf>), ConfigError>) -> Finding {
    let name = "configuration";
    match read {
        Ok((config, files)) => {
            let files: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
            Finding::ok(
                name,
                format!("device {}, by {}", config.device.name, files.join(", then ")),
            )
        }
        Err(error) => {
            let advice = match error {
                ConfigError::Unreadable { .. } => "run doctor with sudo, or give --config",
                ConfigError::Syntax { .. } | ConfigError::Value { .. } => {
                    "correct the key named above; config/hepalert.toml explains every key"
                }
            };
            Finding::fail(name, error.to_string().trim_end(), advice).ending(Exit::Config)
        }
    }
}
