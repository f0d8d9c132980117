//! `study show`, `study requeue` and `study key`: one study in the store of a daemon, running or not.

use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Deserialize;

use super::analyze::summary;
use super::queue::Line;
use super::store::{open, open_store, open_to_write, parse_key, site_key};
use super::{Exit, Failure, Ui};
use crate::daemon;
use crate::intake::study_key;
use crate::report::types::Report;
use crate::store::{Job, JobState, NO_FILES, Requeued, Store};
use crate::ui::counted;
use hepalert_study::result::result_name;
use hepalert_study::study::StudyKey;
use hepalert_voxels::volume::dicom::{MAX_UID, is_uid};

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

/// Shows or requeues a study.
///
/// # Errors
/// Exit 6 for the configuration, 1 for the store; exit 1 if there is no such study or it cannot be requeued.
pub(crate) fn run(what: &Study, ui: &Ui) -> Result<(), Failure> {
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
    // The key alone on standard output, for scripts.
    ui.say(how);
    ui.result(&document, key.as_str())
}

fn show(args: &StudyArgs, ui: &Ui) -> Result<(), Failure> {
    let config = super::run::read(&args.config)?;
    let store = open_store(&config.store.database())?;
    let jobs = jobs_of(&store, &args.key)?;
    let stored = store.report(&args.key).map_err(Failure::failed)?;
    let report = stored.as_ref().and_then(|stored| serde_json::from_str(&stored.report_json).ok());
    let report: serde_json::Value = report.unwrap_or_default();
    let lines: Vec<Line> = jobs.iter().map(Line::of).collect();
    let mut text: Vec<String> = lines.iter().map(Line::text).collect();
    // What to do about it, where the last job ended badly.
    text.extend(lines.last().and_then(|line| line.next).map(|next| format!("next: {next}")));
    let why = jobs.last().filter(|job| job.state == JobState::Refused).and_then(|job| {
        let name = format!("{}.json", result_name(args.key.as_str(), job.revision));
        refused(&config.store.quarantine().join(name))
    });
    text.extend(why);
    text.push(match &stored {
        Some(stored) => {
            let result = config.store.result(args.key.as_str(), stored.revision);
            // Kept for so long as the settings say; its report is in the store for longer.
            let folder = result.is_dir().then_some(result);
            match Report::deserialize(&report) {
                Ok(report) => summary(&report, folder.as_deref()),
                // Of another version of the program; `--json` shows it as it is.
                Err(error) => format!("report: cannot be shown ({error}); see `--json`"),
            }
        }
        None => "no report".to_owned(),
    });
    ui.result(&serde_json::json!({ "jobs": lines, "report": report }), text.join("\n"))
}

/// Why a study was refused, and where its files are listed: their names may be a patient's.
fn refused(list: &Path) -> Option<String> {
    let document: serde_json::Value = serde_json::from_slice(&std::fs::read(list).ok()?).ok()?;
    let files = counted(document["files_total"].as_u64()? as usize, "file");
    let detail = document["detail"].as_str()?;
    Some(format!("because: {detail}\nfiles: {files}, listed in {}", list.display()))
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
