//! `queue`, `study show`, `study requeue`, `study key` and `status`: a look into the store of a
//! daemon, running or not.

use std::io::{BufRead, ErrorKind, Read};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;

use super::engines::with_rights;
use super::{Exit, Failure, Ui};
use crate::config::Config;
use crate::intake::study_key;
use crate::store::{Job, JobCounts, NO_FILES, Requeued, Store};
use crate::ui::counted;
use crate::{codes, daemon};
use hepalert_study::study::StudyKey;
use hepalert_voxels::volume::dicom::{MAX_UID, is_uid};

/// Most jobs listed; older ones are in the store still.
const MAX_JOBS: usize = 200;

/// Arguments of `queue` and `status`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The daemon's configuration.
    #[arg(long, default_value = crate::config::DEFAULT_FILE)]
    pub config: PathBuf,
}

/// What to do with a study.
#[derive(Debug, clap::Subcommand)]
#[command(disable_help_subcommand = true)]
pub enum Study {
    /// Show a study's jobs and its report.
    Show(StudyArgs),
    /// Put a refused or failed study back into the queue.
    Requeue(StudyArgs),
    /// Tell under which key a patient's study is known to this device.
    Key(KeyArgs),
}

/// Whose study.
#[derive(Debug, clap::Args)]
pub struct KeyArgs {
    /// The StudyInstanceUID, as the archive shows it; `-` reads it from standard input, so that it
    /// stands in no history and no list of processes.
    pub uid: String,
    /// The daemon's configuration.
    #[arg(long, default_value = crate::config::DEFAULT_FILE)]
    pub config: PathBuf,
}

/// Which study.
#[derive(Debug, clap::Args)]
pub struct StudyArgs {
    /// The study key: 32 hex digits.
    #[arg(value_parser = parse_key)]
    pub key: StudyKey,
    /// The daemon's configuration.
    #[arg(long, default_value = crate::config::DEFAULT_FILE)]
    pub config: PathBuf,
}

pub(super) fn parse_key(text: &str) -> Result<StudyKey, String> {
    StudyKey::new(text).ok_or_else(|| "expected 32 digits of 0-9 and a-f".to_owned())
}

/// A job as it is printed.
#[derive(Debug, Serialize)]
struct Line {
    job: i64,
    study_key: String,
    revision: u32,
    state: &'static str,
    attempts: u32,
    received: String,
    reason: Option<String>,
}

impl Line {
    fn of(job: &Job) -> Line {
        Line {
            job: job.id.0,
            study_key: job.study_key.as_str().to_owned(),
            revision: job.revision,
            state: job.state.name(),
            attempts: job.attempts,
            received: format!("{:.0}", job.completed_at),
            reason: job.reason_code.clone(),
        }
    }

    fn text(&self) -> String {
        let reason = self.reason.as_deref().map_or(String::new(), |code| {
            let meaning = codes::of_study(code);
            let meaning = meaning.map_or(String::new(), |m| format!(": {}", m.sentence));
            format!("  {code}{meaning}")
        });
        format!(
            "{:>6}  {}  r{}  {:<10}  {:<10}  {}{reason}",
            self.job,
            self.study_key,
            self.revision,
            self.state,
            counted(self.attempts as usize, "attempt"),
            self.received
        )
    }
}

/// Lists the newest jobs.
///
/// # Errors
/// Exit 6 for the configuration, 1 for the store.
pub fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    let store = open(&args.config)?;
    let jobs = store.jobs(MAX_JOBS).map_err(Failure::failed)?;
    let lines: Vec<Line> = jobs.iter().map(Line::of).collect();
    let text: Vec<String> = lines.iter().map(Line::text).collect();
    ui.result(&lines, if text.is_empty() { "no jobs".to_owned() } else { text.join("\n") })
}

/// The figures of `status`.
#[derive(Debug, Serialize)]
struct Status {
    queued: u64,
    running: u64,
    done: u64,
    rejected: u64,
    dead: u64,
    superseded: u64,
    outbox_unsent: u64,
    outbox_oldest: Option<String>,
    open_alerts: u64,
    objects_waiting: u64,
    objects_refused: u64,
    boot: u64,
}

/// Counts jobs, messages and alerts.
///
/// # Errors
/// As [`run`].
pub fn status(args: &Args, ui: &Ui) -> Result<(), Failure> {
    let config = super::run::read(&args.config)?;
    let store = open_store(&config.store.database())?;
    let JobCounts { queued, running, done, rejected, dead, superseded } =
        store.job_counts().map_err(Failure::failed)?;
    let backlog = store.backlog().map_err(Failure::failed)?;
    let sent = store.delivery_counts(&config.dicom.target_names()).map_err(Failure::failed)?;
    let status = Status {
        objects_waiting: sent.waiting,
        objects_refused: sent.refused,
        queued,
        running,
        done,
        rejected,
        dead,
        superseded,
        outbox_unsent: backlog.unsent,
        outbox_oldest: backlog.oldest_unsent.map(|at| format!("{at:.0}")),
        open_alerts: store.worklist(1).map_err(Failure::failed)?.open_total,
        boot: store.boot().map_err(Failure::failed)?,
    };
    let text = format!(
        "studies: {queued} queued, {running} running, {done} done, {rejected} rejected, \
         {dead} failed, {superseded} superseded\nmessages not yet sent: {}{}\nopen alerts: {}",
        status.outbox_unsent,
        status.outbox_oldest.as_deref().map_or(String::new(), |at| format!(" (since {at})")),
        status.open_alerts
    );
    let text = match (sent.waiting, sent.refused) {
        (0, 0) => text,
        (waiting, refused) => {
            format!("{text}\nobjects for archives: {waiting} waiting, {refused} refused")
        }
    };
    ui.result(&status, text)
}

/// Shows or requeues a study.
///
/// # Errors
/// As [`run`]; exit 1 if there is no such study or it cannot be requeued.
pub fn study(what: &Study, ui: &Ui) -> Result<(), Failure> {
    match what {
        Study::Show(args) => show(args, ui),
        Study::Requeue(args) => requeue(args, ui),
        Study::Key(args) => key(args, ui),
    }
}

fn key(args: &KeyArgs, ui: &Ui) -> Result<(), Failure> {
    let config = super::run::read(&args.config)?;
    let uid = match args.uid.as_str() {
        "-" => {
            let mut line = String::new();
            let most = 2 * MAX_UID as u64;
            let read = std::io::stdin().lock().take(most).read_line(&mut line);
            read.map_err(Failure::failed)?;
            line
        }
        uid => uid.to_owned(),
    };
    let uid = uid.trim();
    if !(is_uid(uid) && uid.contains('.')) {
        let error = anyhow::anyhow!(
            "a StudyInstanceUID is numbers with single dots between, at most {MAX_UID} \
             characters"
        );
        return Err(Failure::new(Exit::Usage, error));
    }
    let file = &config.device.site_key_file;
    let site_key = site_key(&config)?;
    let key = study_key(site_key.as_bytes(), uid);
    let known = match config.store.database().is_file() {
        true => {
            let store = open(&args.config)?;
            let use_of = daemon::key_use(Some(&site_key), &store).map_err(Failure::failed)?;
            if use_of == daemon::KeyUse::Another {
                let error = anyhow::anyhow!(
                    "{}: the studies of this store are named with another site key; restore it from \
                     its copy",
                    file.display()
                );
                return Err(Failure::failed(error).with_code("site_key_missing"));
            }
            !store.jobs_of(&key).map_err(Failure::failed)?.is_empty()
        }
        false => false,
    };
    let how = if known { "`hepalert study show` has it" } else { "no such study came here" };
    let document = serde_json::json!({"study_key": key.as_str(), "known": known});
    ui.result(&document, format!("{key}  ({how})"))
}

fn show(args: &StudyArgs, ui: &Ui) -> Result<(), Failure> {
    let store = open(&args.config)?;
    let jobs = jobs_of(&store, &args.key)?;
    let report = store.report(&args.key).map_err(Failure::failed)?;
    let report: serde_json::Value = report
        .and_then(|stored| serde_json::from_str(&stored.report_json).ok())
        .unwrap_or_default();
    let lines: Vec<Line> = jobs.iter().map(Line::of).collect();
    let mut text: Vec<String> = lines.iter().map(Line::text).collect();
    // What to do about it, where the last job ended badly.
    let last = lines.last().and_then(|line| line.reason.as_deref());
    text.extend(last.and_then(codes::of_study).map(|meaning| format!("next: {}", meaning.advice)));
    let quality = report["quality"].as_array().into_iter().flatten().filter_map(|one| one.as_str());
    text.extend(quality.map(|flag| format!("quality: {}", codes::told(flag))));
    text.push(match report.get("verdict").and_then(|verdict| verdict.as_str()) {
        Some(verdict) => format!("verdict: {}", verdict.replace('_', " ")),
        None => "no report".to_owned(),
    });
    ui.result(&serde_json::json!({ "jobs": lines, "report": report }), text.join("\n"))
}

fn requeue(args: &StudyArgs, ui: &Ui) -> Result<(), Failure> {
    let store = open_to_write(&super::run::read(&args.config)?.store.database())?;
    let job = match store.requeue_study(&args.key, Timestamp::now()).map_err(Failure::failed)? {
        Requeued::Queued(job) => job,
        Requeued::Unknown => return Err(unknown(&args.key)),
        Requeued::Not(state) => {
            let error = anyhow::anyhow!(
                "its newest revision is {state}: only a study that was refused or failed is put back"
            );
            return Err(Failure::failed(error));
        }
    };
    let how = match job.files_json.as_str() {
        NO_FILES => "a running daemon reads its files in the export folder anew",
        _ => "a running daemon takes it up by itself",
    };
    let text = format!("job {} is queued again; {how}", job.id);
    ui.result(&serde_json::json!({ "requeued": job.id.0 }), text)
}

fn unknown(key: &StudyKey) -> Failure {
    Failure::failed(anyhow::anyhow!("no study {key} in the store"))
}

fn jobs_of(store: &Store, key: &StudyKey) -> Result<Vec<Job>, Failure> {
    let jobs = store.jobs_of(key).map_err(Failure::failed)?;
    if jobs.is_empty() {
        return Err(unknown(key));
    }
    Ok(jobs)
}

fn open(config: &Path) -> Result<Store, Failure> {
    open_store(&super::run::read(config)?.store.database())
}

/// Opens the store to change it, once it has been read without a fault: a damaged one would be moved
/// away, which is for the daemon to do.
pub(super) fn open_to_write(file: &Path) -> Result<Store, Failure> {
    open_store(file)?;
    Ok(Store::open(file, Timestamp::now()).map_err(Failure::failed)?.store)
}

/// The key that studies are named with.
pub(super) fn site_key(config: &Config) -> Result<String, Failure> {
    let file = &config.device.site_key_file;
    daemon::read_site_key(file).map_err(|reason| {
        let advice = match reason.kind() {
            ErrorKind::NotFound if config.store.database().is_file() => {
                "restore it from its copy: the store may know studies that are named with it"
            }
            ErrorKind::NotFound => "the daemon makes it at its first start",
            ErrorKind::InvalidData => "it is damaged: restore it from its copy",
            _ => "run this with sudo, or as the user hepalert",
        };
        let what = match reason.kind() {
            ErrorKind::NotFound => "is not there".to_owned(),
            ErrorKind::PermissionDenied => "may not be read".to_owned(),
            _ => format!("cannot be read ({reason})"),
        };
        let error = anyhow::anyhow!("{}: the site key {what}; {advice}", file.display());
        Failure::failed(error).with_code("site_key_missing")
    })
}

/// Opens a store that is there, for reading alone.
pub(super) fn open_store(file: &Path) -> Result<Store, Failure> {
    // Opened and not only looked at: who may see a file may not always read it.
    let error = match std::fs::File::open(file).and_then(|file| file.metadata()) {
        Ok(facts) if facts.is_file() => {
            return Store::open_read_only(file).map_err(Failure::failed);
        }
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            anyhow::anyhow!("{}: you may not look there{}", file.display(), with_rights(&error))
        }
        _ => anyhow::anyhow!("{}: no store yet; has the daemon run?", file.display()),
    };
    Err(Failure::new(Exit::Failed, error))
}
