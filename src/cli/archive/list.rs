//! `archive list`: the studies of a folder tree, fixed and hashed.

use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use serde_json::json;

use super::super::engines::{self, EngineArgs};
use super::super::study_files::key_of;
use super::super::{Exit, Failure, Ui, run as config};
use super::wrong;
use crate::archive::list::{Draft, SaveError};
use crate::archive::{ArchiveError, Code};
use crate::daemon::{gate_params, phase_rules, read_site_key};
use crate::intake::by_hand::discover::take_stock;
use crate::intake::{GateParams, PhaseRules, study_key};
use crate::report::output;
use crate::ui::counted;
use hepalert_study::digest::Digest;
use hepalert_study::study::StudyKey;

/// Arguments of `archive list`.
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
    /// More files and folders than this are refused.
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
    let among = "the list would lie among the studies";
    output::check_apart(output::folder_of(&args.out), &[&root], among)?;
    let (site, settings) = (Site::of(args)?, args.engine.settings()?);
    let wanted = settings.wanted().map_err(engines::unusable)?;
    let progress = std::sync::Mutex::new(ui.meter("files"));
    let step = |done, total| {
        // Whoever does not come to tell leaves it to the next.
        if let Ok(mut progress) = progress.try_lock() {
            progress.step(done, total);
        }
    };
    let name = |uid: &str| site.name(uid);
    let rules = (&site.rules, &site.gate);
    let stock = take_stock(&root, &wanted, rules, &name, args.max_files, &step)
        .map_err(engines::refused_at(&root))?;
    let passed_over: usize = stock.passed_over.values().sum();
    let draft = Draft::new(&root, wanted, stock).map_err(wrong)?;
    let (digest, was_there) = draft.save(&args.out).map_err(|error| match error {
        SaveError::Archive(error) => wrong(error),
        SaveError::Output(error) => error.into(),
    })?;
    told(args, ui, &draft, &Written { digest, was_there, passed_over })
}

/// What came of it, beside the list itself.
struct Written {
    digest: Digest,
    /// The same list was there already.
    was_there: bool,
    /// Files that are no images.
    passed_over: usize,
}

fn told(args: &Args, ui: &Ui, draft: &Draft, of: &Written) -> Result<(), Failure> {
    let refused = draft.entries.iter().filter(|entry| entry.refused.is_some()).count();
    let files: usize = draft.entries.iter().map(|entry| entry.files).sum();
    for code in &draft.heading.not_seen {
        ui.say(format!("warning: this may not be everything ({code})"));
    }
    let document = json!({
        "list": args.out, "sha256": of.digest, "was_there": of.was_there,
        "studies": draft.entries.len(), "refused": refused, "files": files,
        "passed_over": of.passed_over, "copies": draft.heading.copies, "not_seen": draft.heading.not_seen,
    });
    let text = format!(
        "{} ({} of them refused at sight) of {} in {}{}\n{} passed over that are no images, {} of studies that are listed once\nSHA-256 {}",
        counted(draft.entries.len(), "study"),
        refused,
        counted(files, "file"),
        args.out.display(),
        if of.was_there { ", which was there already, the same" } else { "" },
        counted(of.passed_over, "file"),
        counted(draft.heading.copies, "copy"),
        of.digest.hex(),
    );
    ui.result(&document, text)
}
