//! What is given to `analyze`, before an engine is loaded: patterns expanded, nothing twice, and no
//! study slice by slice.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::{Args, Failure, Ui};
use crate::cli::{Exit, patterns};
use crate::intake::reading::load::header_of;
use crate::ui::counted;
use hepalert_study::files::place_of;

/// More folders are not listed, but the one that holds them all.
const MAX_FOLDERS: usize = 3;

/// The arguments with their inputs as they are looked at.
///
/// # Errors
/// Exit 3 for a pattern that matches nothing, 2 for slices that are given one by one, and for several
/// inputs with --one.
pub(super) fn inputs(args: &Args, ui: &Ui) -> Result<Args, Failure> {
    let (input, again) = each_once(patterns::expand(&args.input)?);
    for path in again {
        ui.say(format!("{}: given more than once, taken once", path.display()));
    }
    refuse_slices(&input)?;
    match input.len() {
        count @ 2.. if args.one => {
            let error = anyhow::anyhow!("--one: {count} inputs are given: give one study");
            Err(Failure::new(Exit::Usage, error))
        }
        _ => Ok(Args { input, ..args.clone() }),
    }
}

/// Every file and folder once, where it stands first, and what was given again.
fn each_once(inputs: Vec<PathBuf>) -> (Vec<PathBuf>, BTreeSet<PathBuf>) {
    let (mut seen, mut again) = (BTreeSet::new(), BTreeSet::new());
    let (once, twice): (Vec<_>, Vec<_>) = inputs
        .into_iter()
        .partition(|path| seen.insert(path.canonicalize().unwrap_or_else(|_| path.clone())));
    again.extend(twice);
    (once, again)
}

/// Slices that a pattern gives one by one would be studies of one slice each, every one refused.
fn refuse_slices(inputs: &[PathBuf]) -> Result<(), Failure> {
    let mut studies: BTreeMap<String, Vec<&Path>> = BTreeMap::new();
    for input in inputs {
        if let Some(study) = study_of_slice(input) {
            studies.entry(study).or_default().push(input);
        }
    }
    let slices: Vec<&Path> = studies.into_values().filter(|of| of.len() > 1).flatten().collect();
    if slices.is_empty() {
        return Ok(());
    }
    let folders: BTreeSet<&Path> = slices.iter().filter_map(|slice| slice.parent()).collect();
    let named = |folder: &Path| match folder.as_os_str().is_empty() {
        true => ".".to_owned(),
        false => folder.display().to_string(),
    };
    let folders: Vec<String> = match folders.len() {
        ..=MAX_FOLDERS => folders.into_iter().map(named).collect(),
        _ => vec![named(&place_of(folders))],
    };
    let error = anyhow::anyhow!(
        "{} are single DICOM slices that belong together: give the folder that holds them, {}",
        counted(slices.len(), "input"),
        folders.join(", ")
    );
    Err(Failure::new(Exit::Usage, error))
}

/// The study of a file that holds one DICOM slice; none of anything else. It is told to nobody.
fn study_of_slice(path: &Path) -> Option<String> {
    if !path.is_file() {
        return None;
    }
    let header = header_of(path)?;
    header.require_ct().ok().map(|()| header.study_uid)
}
