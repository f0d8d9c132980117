//! `support-bundle`: one file that a technician can send to support.
//!
//! Owns what goes in: versions, the merged configuration without user names, what `doctor`
//! says, counts, the newest jobs and the newest audit rows by kind and time, the newest lines
//! of the journal. Refuses passwords, keys, results, images, and anything that names a
//! patient: studies appear by their keyed hash only, audit details not at all.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::config::Config;
use crate::doctor::{self, Machine};
use crate::report::output::{self, SUPPORT};
use crate::store::{Store, StoreError};
use crate::ui::{Exit, Failure, Ui};
use hepalert_engines::backend::Backend;

/// Newest jobs and audit rows that go in.
const MAX_ROWS: u64 = 500;
/// Newest lines of the journal that go in.
const MAX_LINES: &str = "2000";

/// Arguments of `support-bundle`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The daemon's configuration.
    #[arg(long, default_value = crate::config::DEFAULT_FILE)]
    pub config: PathBuf,
    /// The archive to write (tar, gzip).
    #[arg(long, default_value = "hepalert-support.tar.gz")]
    pub out: PathBuf,
}

/// Writes the archive.
///
/// # Errors
/// Exit 6 for the configuration, 1 if the archive cannot be written.
pub(crate) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    let config = Config::read(&args.config).map_err(|error| Failure::new(Exit::Config, error))?;
    let machine = Machine::this();
    let quick = doctor::Args { config: args.config.clone(), quick: true };
    let report = doctor::examine(&quick, &machine, ui);
    let (rows, wrong) = match from_store(&config) {
        Ok(rows) => (rows, None),
        Err(error) => (Vec::new(), Some(error.to_string())),
    };
    let mut parts = vec![
        ("versions.json", pretty(&versions(&machine))?),
        ("configuration.toml", configuration(config)?),
        ("doctor.json", pretty(&report)?),
        ("journal.txt", journal(&machine)),
    ];
    for (name, value) in rows {
        parts.push((name, pretty(&value)?));
    }
    // Readable by its maker alone until it is sent.
    output::put_with(&args.out, &[&args.config], |file| write(file, &parts))?;
    let names: Vec<&str> = parts.iter().map(|(name, _)| *name).collect();
    let missing = wrong.map_or(String::new(), |error| format!("; without the store: {error}"));
    let text = format!("{}: {}{missing}", args.out.display(), names.join(", "));
    ui.result(&json!({ "archive": args.out, "files": names }), text)
}

fn pretty(value: &impl serde::Serialize) -> Result<Vec<u8>, Failure> {
    serde_json::to_vec_pretty(value).map_err(Failure::failed)
}

fn versions(machine: &Machine) -> Value {
    let first = |text: Option<String>| text.and_then(|text| Some(text.lines().next()?.to_owned()));
    let backends = Backend::ALL.map(|one| json!({one.name(): format!("{:?}", one.presence())}));
    json!({
        "hepalert": env!("CARGO_PKG_VERSION"),
        "made": format!("{:.0}", Timestamp::now()),
        "kernel": first(machine.read("proc/version")),
        "system": machine.read("etc/os-release"),
        "jetson": first(machine.read("etc/nv_tegra_release")),
        "backends": backends,
    })
}

/// The merged configuration. Passwords and keys are in files of their own, which stay here.
fn configuration(mut config: Config) -> Result<Vec<u8>, Failure> {
    config.mqtt.username = config.mqtt.username.map(|_| "(left out)".to_owned());
    Ok(toml::to_string(&config).map_err(Failure::failed)?.into_bytes())
}

/// Our own log lines name no patient.
fn journal(machine: &Machine) -> Vec<u8> {
    let asked = ["--unit=hepalert", "--lines", MAX_LINES, "--output=short-iso", "--no-hostname"];
    machine.ask("journalctl", &asked).unwrap_or_default().into_bytes()
}

fn from_store(config: &Config) -> Result<Vec<(&'static str, Value)>, StoreError> {
    let store = Store::open_read_only(&config.store.database())?;
    let counts = store.job_counts()?;
    let backlog = store.backlog()?;
    let status = json!({
        "jobs": format!("{counts:?}"), "unsent": backlog.unsent, "next_seq": backlog.next_seq,
        "oldest_unsent": backlog.oldest_unsent.map(|at| at.to_string()), "boot": store.boot()?,
    });
    let jobs = store.jobs(MAX_ROWS as usize)?;
    let jobs = jobs.iter().map(|job| {
        json!({"job": job.id.0, "study_key": job.study_key.as_str(), "revision": job.revision,
            "state": job.state.name(), "attempts": job.attempts, "reason": job.reason_code,
            "received": job.completed_at.to_string()})
    });
    let sound = store.verify_audit();
    let written = sound.as_ref().copied().unwrap_or(0);
    let audit = store.audit_rows(written.saturating_sub(MAX_ROWS), MAX_ROWS as usize)?;
    let audit =
        audit.iter().map(|row| json!({"n": row.n, "at": row.at.to_string(), "what": row.what}));
    let sound = sound.map_or_else(|error| error.to_string(), |rows| format!("{rows} rows, sound"));
    Ok(vec![
        ("status.json", status),
        ("jobs.json", jobs.collect()),
        ("audit.json", json!({"chain": sound, "newest": audit.collect::<Vec<_>>()})),
    ])
}

/// The parts as files of one archive.
fn write(file: &mut File, parts: &[(&str, Vec<u8>)]) -> std::io::Result<()> {
    let mut archive = tar::Builder::new(GzEncoder::new(file, Compression::default()));
    let now = u64::try_from(Timestamp::now().as_second()).unwrap_or(0);
    for (name, text) in parts {
        let mut header = tar::Header::new_ustar();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(now);
        archive.append_data(&mut header, format!("{SUPPORT}{name}"), text.as_slice())?;
    }
    archive.into_inner()?.finish()?.flush()
}
