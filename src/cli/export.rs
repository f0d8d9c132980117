//! `export`: a study with its result, without its patient, to share a failure.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;
use serde_json::Value;
use tempfile::TempDir;

use super::{Exit, Failure, Ui};
use crate::intake::facts::Accepted;
use crate::intake::reading::accepted;
use crate::intake::{StudyFiles, study_key};
use crate::report::output;
use crate::ui::counted;
use hepalert_evidence::deidentified::{self, Pseudonyms};
use hepalert_study::result::{LABELS_BASE, LABELS_HIGH, LESIONS, SEGMENTATION};
use hepalert_study::study::StudyKey;
use hepalert_study::system;
use hepalert_voxels::volume::dicom::is_uid;

mod images;

use images::Images;

/// A UID has more parts than any version number or address in a report.
const UID_PARTS: usize = 5;
/// What of a result is taken along: what holds no name and no picture with a key in it.
const RESULTS: [&str; 4] = [LABELS_BASE, LABELS_HIGH, LESIONS, SEGMENTATION];

/// Arguments of `export`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The study key: 32 hex digits.
    #[arg(value_parser = super::store::parse_key)]
    pub key: StudyKey,
    /// Remove who the patient is, by the basic profile of PS3.15: the only way a study leaves.
    #[arg(long, required = true)]
    pub deidentify: bool,
    /// Folder to be made.
    #[arg(long)]
    pub out: PathBuf,
    /// The daemon's configuration.
    #[arg(long, default_value = crate::config::DEFAULT_FILE)]
    pub config: PathBuf,
}

/// Replacements under the site key: the same on every export of this device, and without the key no way
/// back.
struct SiteNames<'a> {
    key: &'a [u8],
}

impl SiteNames<'_> {
    fn number(&self, what: &str) -> u128 {
        let digits = study_key(self.key, what);
        u128::from_str_radix(digits.as_str(), 16).unwrap_or_default()
    }
}

impl SiteNames<'_> {
    fn uid(&self, uid: &str) -> String {
        // UIDs of the standard itself name no patient.
        match uid.starts_with("1.2.840.10008.") {
            true => uid.to_owned(),
            false => format!("2.25.{}", self.number(&format!("export uid {uid}"))),
        }
    }

    fn study(&self, key: &str) -> String {
        format!("{:032x}", self.number(&format!("export study {key}")))
    }

    fn patient(&self, id: &str) -> String {
        format!("P{:012X}", self.number(&format!("export patient {id}")) >> 80)
    }
}

/// Runs the command.
///
/// # Errors
/// Exit 2 for a place that is taken, 6 for the configuration, 1 for a study that is not here any more.
pub(crate) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    let config = super::run::read(&args.config)?;
    let site_key = super::store::site_key(&config)?;
    let names = SiteNames { key: site_key.as_bytes() };
    let (uid, patient) = (|uid: &str| names.uid(uid), |id: &str| names.patient(id));
    let pseudonyms = Pseudonyms { uid: &uid, patient: &patient };
    let store = super::store::open_store(&config.store.database())?;
    let failed = |words: &str| Failure::failed(anyhow::anyhow!("study {}: {words}", args.key));
    let stored = store.report(&args.key).map_err(Failure::failed)?;
    let stored = stored.ok_or_else(|| failed("no result in the store"))?;
    let jobs = store.jobs_of(&args.key).map_err(Failure::failed)?;
    let job = jobs.iter().find(|job| job.revision == stored.revision);
    let files: StudyFiles = job
        .and_then(|job| serde_json::from_str(&job.files_json).ok())
        .ok_or_else(|| failed("which files it was is no longer known"))?;
    let draft = begin(&args.out)?;
    let images = images::find(&files, &config.store.spool());
    if images.missing > 0 {
        return Err(failed(&gone(&images)));
    }
    if images.here.is_empty() {
        return Err(failed("it is no DICOM study"));
    }
    let out = draft.path();
    make(&out.join("images"))?;
    make(&out.join("result"))?;
    for (n, (path, digest)) in images.here.iter().enumerate() {
        // Once more what it is: an exporter may use its name again at any moment.
        let image = Accepted { path, content: Some(*digest) };
        let bytes = accepted::read(image, u64::MAX).map_err(|refusal| failed(&refusal.detail))?;
        let clean = deidentified::file(&bytes, pseudonyms).map_err(Failure::failed)?;
        put(&out.join(format!("images/{:05}.dcm", n + 1)), &clean)?;
    }
    let folder = config.store.result(args.key.as_str(), stored.revision);
    put_result(&folder, &out.join("result"), pseudonyms)?;
    let mut report: Value = serde_json::from_str(&stored.report_json).map_err(Failure::failed)?;
    // Of the files with the patient in them; the digest of the voxels stays.
    report["input"]["fingerprint"] = Value::from("");
    clean_report(&mut report, &names, &args.key);
    let text = serde_json::to_vec_pretty(&report).map_err(Failure::failed)?;
    put(&out.join("result/report.json"), &text)?;
    output::put_folder(draft, &args.out)?;
    let document = serde_json::json!({ "out": args.out, "images": images.here.len() });
    let count = counted(images.here.len(), "image");
    ui.result(
        &document,
        format!(
            "{}: {count} and the result, without the patient. Look at the images before you share \
             them: what is burned into pixels stays",
            args.out.display()
        ),
    )
}

/// What of a result is taken along, but for its report.
fn put_result(from: &Path, to: &Path, pseudonyms: Pseudonyms<'_>) -> Result<(), Failure> {
    for name in RESULTS {
        let Ok(bytes) = fs::read(from.join(name)) else { continue };
        let bytes = match name.ends_with(".dcm") {
            true => deidentified::file(&bytes, pseudonyms).map_err(Failure::failed)?,
            false => bytes,
        };
        let name = name.rsplit('/').next().unwrap_or(name);
        put(&to.join(name), &bytes)?;
    }
    Ok(())
}

/// Why images of a study are missing, and what helps.
fn gone(images: &Images) -> String {
    let all = images.here.len() + images.missing;
    format!(
        "{} of {} are no longer there as they were read (received ones are kept for dicom.spool_keep_h): \
         put them back, or send the study again from where it came and export it then; what was \
         compressed or changed on the way is not taken for the same",
        images.missing,
        counted(all, "image")
    )
}

/// The report says nothing of the patient but UIDs, the study's key and its date.
fn clean_report(report: &mut Value, names: &SiteNames<'_>, key: &StudyKey) {
    match report {
        Value::String(text) if is_uid(text) && text.split('.').count() >= UID_PARTS => {
            *text = names.uid(text);
        }
        Value::String(text) if text == key.as_str() => {
            *text = names.study(text);
        }
        Value::Array(items) => {
            items.iter_mut().for_each(|item| clean_report(item, names, key));
        }
        Value::Object(fields) => {
            for (name, value) in fields {
                match name.as_str() {
                    "acquired" => *value = Value::Null,
                    // Digests of files that name the patient: whoever has those could tell whose this is.
                    "artefacts" => *value = Value::Array(Vec::new()),
                    // Of an earlier study of the patient.
                    "study_key" => {
                        if let Value::String(key) = value {
                            *key = names.study(key);
                        }
                    }
                    // UIDs of ours have three parts: they are known by their field.
                    name if name.ends_with("_uid") => {
                        if let Value::String(uid) = value {
                            *uid = names.uid(uid);
                        }
                    }
                    _ => clean_report(value, names, key),
                }
            }
        }
        _ => {}
    }
}

/// A folder beside the one to be made: it takes its name once it is whole, and goes if it never is.
fn begin(out: &Path) -> Result<TempDir, Failure> {
    let usage = |words: String| {
        Failure::new(Exit::Usage, anyhow::anyhow!(words)).with_code("output_in_the_way")
    };
    let shown = out.display();
    if fs::symlink_metadata(out).is_ok() {
        let words = "is there already: name a folder that is not there yet";
        return Err(usage(format!("{shown} {words}")));
    }
    let owner = fs::Permissions::from_mode(0o700);
    let mut draft = tempfile::Builder::new();
    draft.prefix(output::DRAFT).permissions(owner);
    draft.tempdir_in(output::folder_of(out)).map_err(|error| match error.kind() {
        ErrorKind::NotFound => {
            usage(format!("{shown}: the folder above it is not there: make it first"))
        }
        _ => usage(format!("{shown}: {}", system::reason(&error))),
    })
}

fn make(folder: &Path) -> Result<(), Failure> {
    let made = fs::DirBuilder::new().mode(0o700).create(folder);
    made.map_err(|error| Failure::failed(anyhow::anyhow!("{}: {error}", folder.display())))
}

fn put(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let opened = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let written = opened.and_then(|mut file| file.write_all(bytes));
    written.map_err(|error| Failure::failed(anyhow::anyhow!("{}: {error}", path.display())))
}
