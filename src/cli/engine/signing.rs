//! `engine keygen`, `pack` and `sign`: what whoever makes engines needs. Not for devices.

use std::fs::OpenOptions;
use std::io::{IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::json;

use crate::cli::{Exit, Failure, Ui};
use crate::report::output::OutputError;
use hepalert_bundles::package::{self, EXTENSION};
use hepalert_bundles::refused::PackageError;
use hepalert_bundles::signing::{self, SigningError};
use hepalert_study::system;

/// Arguments of `keygen`.
#[derive(Debug, clap::Args)]
pub struct Keygen {
    /// The keys' name: NAME.pub goes to the devices, NAME.key stays secret.
    #[arg(long, value_name = "NAME")]
    pub out: PathBuf,
    /// File whose first line becomes the secret key's password.
    #[arg(long, conflicts_with = "no_password")]
    pub password_file: Option<PathBuf>,
    /// Leave the secret key without a password.
    #[arg(long)]
    pub no_password: bool,
}

/// Arguments of `pack`.
#[derive(Debug, clap::Args)]
pub struct Pack {
    /// Folder of the bundle.
    pub bundle: PathBuf,
    /// The file to make; `.hepengine` is what update folders look for.
    #[arg(long)]
    pub out: PathBuf,
}

/// Arguments of `sign`.
#[derive(Debug, clap::Args)]
pub struct Sign {
    /// A packed bundle, or the folder of one.
    pub target: PathBuf,
    /// The secret key; minisign's are good too.
    #[arg(long)]
    pub key: PathBuf,
    /// File whose first line is the key's password; without it a terminal is asked.
    #[arg(long)]
    pub password_file: Option<PathBuf>,
}

/// Makes a pair of keys.
///
/// # Errors
/// Exit 2 without a word about the password, 1 if a file is there already.
pub(super) fn keygen(args: &Keygen, ui: &Ui) -> Result<(), Failure> {
    let password = match (&args.password_file, args.no_password) {
        (Some(file), _) => Some(first_line(file)?),
        (None, true) => None,
        (None, false) => Some(asked("Password for the new key: ")?),
    };
    let keys =
        signing::keygen(password.as_deref(), "hepalert engine key").map_err(Failure::failed)?;
    let [public, secret] = ["pub", "key"].map(|end| named(&args.out, end));
    write_new(&secret, keys.secret.as_bytes(), 0o600)?;
    write_new(&public, keys.public.as_bytes(), 0o644)?;
    let text = format!(
        "{}: copy it into engine.trusted_keys of every device\n{}: keep it secret, keep a copy",
        public.display(),
        secret.display()
    );
    ui.result(&json!({"public": public, "secret": secret}), text)
}

/// Makes one file of a bundle.
///
/// # Errors
/// Exit 4 if the bundle is not whole, 1 if the file cannot be written.
pub(super) fn pack(args: &Pack, ui: &Ui) -> Result<(), Failure> {
    // What was packed before may be signed, and is on no other disk: it is never replaced.
    if args.out.symlink_metadata().is_ok() {
        let what = "there is a file already";
        return Err(OutputError::InTheWay { path: args.out.clone(), what }.into());
    }
    let bundle = package::pack(&args.bundle, &args.out).map_err(|error| match error {
        PackageError::Manifest(_) | PackageError::Malformed { .. } => {
            Failure::new(Exit::Engine, error)
        }
        error => Failure::failed(error),
    })?;
    if args.out.extension().is_none_or(|extension| extension != EXTENSION) {
        ui.note(format!("update folders look only at names that end in .{EXTENSION}"));
    }
    let bytes = std::fs::metadata(&args.out).map_or(0, |facts| facts.len());
    let (id, version) = (bundle.id(), bundle.version());
    ui.result(
        &json!({"file": args.out, "id": id, "version": version, "bytes": bytes,
            "sha256": bundle.fingerprint()}),
        format!("{}: {id} version {version}, {bytes} bytes", args.out.display()),
    )
}

/// Adds a signature.
///
/// # Errors
/// Exit 1 if the key or the target cannot be used.
pub(super) fn sign(args: &Sign, ui: &Ui) -> Result<(), Failure> {
    let secret = crate::system::read_text(&args.key)
        .with_context(|| format!("{}: the secret key cannot be read", args.key.display()))?;
    let given = args.password_file.as_deref().map(first_line).transpose()?;
    let signed = match signing::sign(&args.target, &secret, given.as_deref()) {
        // Only the key itself knows whether it has a password.
        Err(SigningError::Key(_)) if given.is_none() => {
            let password = asked("Password of the key: ")?;
            signing::sign(&args.target, &secret, Some(&password))
        }
        signed => signed,
    };
    let (id, version) = signed.map_err(Failure::failed)?;
    let text = format!("{}: {id} version {version} is signed", args.target.display());
    ui.result(&json!({"signed": args.target, "id": id, "version": version}), text)
}

/// NAME.end, also where NAME has a dot in it.
fn named(name: &Path, end: &str) -> PathBuf {
    let mut whole = name.as_os_str().to_owned();
    whole.push(".");
    whole.push(end);
    PathBuf::from(whole)
}

fn first_line(file: &Path) -> Result<String, Failure> {
    let text = crate::system::read_text(file)
        .with_context(|| format!("{}: the password file cannot be read", file.display()))?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// A password from the terminal, unseen.
fn asked(question: &str) -> Result<String, Failure> {
    if !std::io::stdin().is_terminal() {
        let hint =
            "the key needs a password: give --password-file (a new key may do with --no-password)";
        return Err(Failure::new(Exit::Usage, anyhow::anyhow!(hint)));
    }
    Ok(rpassword::prompt_password(question).context("no password was typed")?)
}

fn write_new(file: &Path, bytes: &[u8], mode: u32) -> Result<(), Failure> {
    let mut options = OpenOptions::new();
    let opened = options.create_new(true).write(true).mode(mode).open(file);
    let written = opened.and_then(|mut opened| {
        opened.write_all(bytes)?;
        opened.sync_all()
    });
    written.map_err(|error| {
        let (place, why) = (file.display(), system::reason(&error));
        Failure::failed(anyhow::anyhow!(
            "{place}: the key cannot be written: {why}; name another place"
        ))
    })
}
