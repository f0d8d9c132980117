//! `check-config`: whether the daemon could run.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::run::Args;
use super::{Exit, Failure, Ui};
use crate::config::{self, Config};
use crate::dicom::sender;
use crate::publish::mqtt::{self, ProbeError};
use crate::{daemon, doctor};
use hepalert_bundles::Bundle;
use hepalert_engines::backend::Presence;
use hepalert_study::system;

/// One thing that the daemon needs.
#[derive(Debug, Serialize)]
struct Check {
    what: &'static str,
    /// The settings that decide it.
    keys: &'static str,
    works: bool,
    detail: String,
    /// What the command ends with if it does not.
    #[serde(skip)]
    exit: Exit,
}

/// Looks at everything the daemon will need, without changing anything.
///
/// # Errors
/// Exit 6 for a configuration that cannot be read, 4 for the engine, 5 for the broker, 1 for
/// a folder.
pub(crate) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    let (config, files) =
        Config::read_with_files(&args.config).map_err(|error| Failure::new(Exit::Config, error))?;
    let broker = mqtt::probe(&daemon::broker_params(&config), Duration::from_secs(5));
    let files: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    let line = &config.mqtt;
    // A file that is named and cannot be read is the configuration's fault, not the broker's.
    let at_fault = match &broker {
        Err(ProbeError::Setup(_)) => Exit::Config,
        _ => Exit::Broker,
    };
    let broker = broker.map_err(|error| {
        format!("{}:{}: {error}; `hepalert doctor` says what may be wrong", line.host, line.port)
    });
    let page = page(&config);
    let mut checks = vec![
        outcome(Exit::Config, "configuration", "--config", Ok::<_, String>(files.join(", then "))),
        outcome(Exit::Failed, "export folder", "intake.folder", export(&config)),
        outcome(Exit::Failed, "store", "store.folder", store(&config)),
        outcome(Exit::Failed, "site key", "device.site_key_file", site_key(&config)),
        outcome(Exit::Engine, "engine", "engine.bundle", engine(&config.engine)),
        outcome(Exit::Engine, "phases", "phases.phase_bundle", recogniser(&config)),
        outcome(Exit::Failed, "engine updates", "engine.update_folder", updates(&config)),
        outcome(
            at_fault,
            "broker",
            "[mqtt]",
            broker.map(|()| format!("{}:{}", line.host, line.port)),
        ),
        outcome(Exit::Failed, "page", "[web]", page),
    ];
    let uses_dicom = config.dicom.listen.is_some() || !config.dicom.target.is_empty();
    checks.extend(uses_dicom.then(|| {
        outcome(
            Exit::Config,
            "files for DICOM",
            "[dicom]",
            dicom_files(&config).map(|()| "usable".to_owned()),
        )
    }));
    let line = |check: &Check| {
        let sign = if check.works { "works" } else { "FAILS" };
        format!("{sign}  {} ({}): {}", check.what, check.keys, check.detail)
    };
    let lines: Vec<String> = checks.iter().map(line).collect();
    let failure = checks.iter().find(|check| !check.works).map(|first| {
        let failed = checks.iter().filter(|check| !check.works).count();
        Failure::new(first.exit, anyhow::anyhow!("{failed} of {} checks failed", checks.len()))
    });
    ui.result_of(&serde_json::json!({ "checks": checks }), lines.join("\n"), failure)
}

/// Whether the export folder can be read.
fn export(config: &Config) -> Result<String, String> {
    let Some(folder) = &config.intake.folder else {
        return Ok("none: images come by DICOM alone".to_owned());
    };
    let read = std::fs::read_dir(folder).map(|_| folder.display().to_string());
    read.map_err(|error| format!("{}: {}", folder.display(), system::reason(&error)))
}

/// Whether results can be kept.
fn store(config: &Config) -> Result<String, String> {
    let folder = &config.store.folder;
    if let Some(hindrance) = doctor::filesystem::cannot_be_made(folder) {
        return Err(hindrance);
    }
    Ok(folder.display().to_string())
}

/// Whether new engines are found where they are looked for.
fn updates(config: &Config) -> Result<String, String> {
    match &config.engine.update_folder {
        None => Ok("no folder is watched".to_owned()),
        Some(folder) if folder.is_dir() => Ok(folder.display().to_string()),
        Some(folder) => Err(format!(
            "{}: there is no such folder; make it, or correct the key",
            folder.display()
        )),
    }
}

/// The engine's name, or what keeps it or one of the others from running here.
fn engine(engine: &config::Engine) -> Result<String, String> {
    let open = |folder: &PathBuf| {
        Bundle::open(folder).map_err(|error| format!("{}: {error}", folder.display()))
    };
    let bundle = open(&engine.bundle)?;
    if let Some(fault) = engine.others.iter().find_map(|folder| open(folder).err()) {
        return Err(format!("engine.others: {fault}"));
    }
    match engine.backend.presence() {
        Presence::Absent { reason } => {
            Err(format!("engine.backend is {}, and it is not here: {reason}", engine.backend))
        }
        Presence::Present { .. } => Ok(format!("{} version {}", bundle.id(), bundle.version())),
    }
}

/// Whether studies can be named.
fn site_key(config: &Config) -> Result<String, String> {
    in_short(doctor::site_key::site_key(&doctor::site_key::look_at_key(config)))
}

/// Whether the network that tells phases can be used.
fn recogniser(config: &Config) -> Result<String, String> {
    let settings = daemon::analysis_settings(config);
    settings.recogniser().map_err(|error| error.to_string())?;
    Ok(match &settings.phase_bundle {
        Some(folder) => folder.display().to_string(),
        None => "by names and times alone".to_owned(),
    })
}

/// Whether the page can be served, and has its cases: a device goes on without them, but who names
/// a folder wants it.
fn page(config: &Config) -> Result<String, String> {
    let facts = doctor::page::look_at_page(config);
    let cases = facts.as_ref().and_then(|facts| facts.cases.clone());
    in_short(doctor::page::page(facts.as_ref())).and_then(|told| match cases {
        Some(Err(error)) => Err(format!("web.labels_folder: {error}; make it, or correct the key")),
        _ => Ok(told),
    })
}

/// A finding of `doctor` in one line, with what to do.
fn in_short(found: doctor::finding::Finding) -> Result<String, String> {
    let is_failure = found.level == doctor::finding::Level::Fail;
    let text = match found.advice {
        Some(advice) => format!("{}; {advice}", found.finding),
        None => found.finding,
    };
    if is_failure { Err(text) } else { Ok(text) }
}

/// Certificates, keys and tokens of the receiver and of every archive; all that is wrong.
fn dicom_files(config: &Config) -> Result<(), String> {
    let dicom = &config.dicom;
    let tls = daemon::receiving::server_tls(dicom).filter(|_| dicom.listen.is_some());
    let own = tls.map_or(Ok(()), |tls| tls.check().map_err(|error| error.to_string()));
    let of_target = |target| {
        let checked = sender::check_files(&daemon::archives::target_of(config, target));
        checked.map_err(|error| format!("{}: {error}", target.name))
    };
    let all = std::iter::once(own).chain(dicom.target.iter().map(of_target));
    let wrong: Vec<String> = all.filter_map(Result::err).collect();
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
}

fn outcome<E: ToString>(
    exit: Exit,
    what: &'static str,
    keys: &'static str,
    result: Result<String, E>,
) -> Check {
    match result {
        Ok(detail) => Check { what, keys, works: true, detail, exit },
        Err(error) => Check { what, keys, works: false, detail: error.to_string(), exit },
    }
}
