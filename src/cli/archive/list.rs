//! `archive list`: the studies of a folder tree, fixed and hashed.

use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use serde_json::json;

use super::super::engines::{self, EngineArgs};
use super::super::study_files::key_of;
use super::super::{Exit, Failure, Ui, run as config};
use super::wrong;
use crate::analyze::phases_of;
use crate::archive::list::{Draft, SaveError};
use crate::archive::{ArchiveError, Code};
use crate::daemon::{gate_params, phase_rules, read_site_key};
use crate::intake::by_hand::discover::take_stock;
use crate::intake::{GateParams, PhaseRules, study_key};
use crate::report::output::is_within;
use crate::ui::counted;
use hepalert_study::study::StudyKey;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The folder: DICOM or NIfTI, in folders of any names and depth.
    root: PathBuf,
    /// The list; a list that is there is never replaced.
    #[arg(long)]
    out: PathBuf,
    /// Take the site's rules for phases, its limits and its key for study names from this
    /// configuration; without it names are made as `analyze` makes them.
    #[arg(long)]
    config: Option<PathBuf>,
    /// More files than this are refused.
    #[arg(long, default_value_t = 2_000_000)]
    max_files: usize,
    #[command(flatten)]
    engine: EngineArgs,
}

/// What a site says of its studies.
struct Site {
    rules: PhaseRules,
    gate: GateParams,
    key: Option<String>,
}

impl Site {
    fn of(args: &Args) -> Result<Site, Failure> {
        let Some(file) = &args.config else {
            return Ok(Site {
                rules: PhaseRules::default(),
                gate: GateParams::default(),
                key: None,
            });
        };
        let read = config::read(file)?;
        let path = &read.device.site_key_file;
        let key = read_site_key(path)
            .with_context(|| format!("{}: the site key cannot be read", path.display()))
            .map_err(|error| Failure::new(Exit::Config, error))?;
        Ok(Site { rules: phase_rules(&read), gate: gate_params(&read), key: Some(key) })
    }

    fn name(&self, uid: &str) -> StudyKey {
        match &self.key {
            Some(key) => study_key(key.as_bytes(), uid),
            None => key_of(uid),
        }
    }
}

/// Runs the command.
///
/// # Errors
/// Exit 3 for a folder that cannot be read, or if another list has this name.
pub(super) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    engines::require_there(&args.root)?;
    let root = fs::canonicalize(&args.root)
        .map_err(|_| wrong(ArchiveError::at(Code::RootMissing, &args.root)))?;
    if root.is_dir()
        && args.out.parent().is_some_and(|folder| {
            let folder = if folder.as_os_str().is_empty() { ".".as_ref() } else { folder };
            folder == root || is_within(folder, &root)
        })
    {
        let error = anyhow::anyhow!(
            "{}: the list would lie among the studies; write it elsewhere",
            args.out.display()
        );
        return Err(Failure::new(Exit::Usage, error).with_code("output_in_the_way"));
    }
    let (site, settings) = (Site::of(args)?, args.engine.settings()?);
    let mut wanted =
        phases_of(std::slice::from_ref(&settings.bundle)).map_err(engines::unusable)?;
    wanted.extend(phases_of(&settings.others).map_err(engines::unusable)?);
    let course = std::sync::Mutex::new(ui.course("files"));
    let step = |done, total| {
        // Whoever does not come to tell leaves it to the next.
        if let Ok(mut course) = course.try_lock() {
            course.step(done, total);
        }
    };
    let name = |uid: &str| site.name(uid);
    let rules = (&site.rules, &site.gate);
    let stock = take_stock(&root, &wanted, rules, &name, args.max_files, &step)
        .map_err(engines::refused)?;
    let passed_over: usize = stock.passed_over.values().sum();
    let draft = Draft::new(&root, wanted, stock).map_err(wrong)?;
    let (digest, was_there) = draft.save(&args.out).map_err(|error| match error {
        SaveError::Archive(error) => wrong(error),
        SaveError::Output(error) => error.into(),
    })?;
    told(
        args,
        ui,
        &draft,
        &json!({"sha256": digest, "was_there": was_there, "passed_over": passed_over}),
    )
}

fn told(args: &Args, ui: &Ui, draft: &Draft, of: &serde_json::Value) -> Result<(), Failure> {
    let refused = draft.entries.iter().filter(|entry| entry.refused.is_some()).count();
    let files: usize = draft.entries.iter().map(|entry| entry.files).sum();
    for code in &draft.heading.not_seen {
        ui.say(format!("warning: this may not be everything ({code})"));
    }
    let document = json!({
        "list": args.out, "sha256": of["sha256"], "was_there": of["was_there"],
        "studies": draft.entries.len(), "refused": refused, "files": files,
        "passed_over": of["passed_over"], "copies": draft.heading.copies, "not_seen": draft.heading.not_seen,
    });
    let text = format!(
        "{} ({} of them refused at sight) of {} in {}{}\n{} passed over that are no images, {} of studies that are listed once\nSHA-256 {}",
        counted(draft.entries.len(), "study"),
        refused,
        counted(files, "file"),
        args.out.display(),
        if of["was_there"] == true { ", which was there already, the same" } else { "" },
        counted(of["passed_over"].as_u64().unwrap_or(0) as usize, "file"),
        counted(draft.heading.copies, "copy"),
        of["sha256"].as_str().unwrap_or_default(),
    );
    ui.result(&document, text)
}
