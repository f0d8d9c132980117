//! `engine verify`: whether a bundle is whole, and whether a device would take it.

use std::path::PathBuf;

use serde_json::json;

use crate::cli::engines::{configured, require_there};
use crate::cli::segment::open_bundle;
use crate::cli::{Failure, Ui};
use crate::installer::Installer;
use crate::ui::counted;
use hepalert_bundles::package::Package;
use hepalert_bundles::refused::PackageError;
use hepalert_bundles::signature::Trust;
use hepalert_bundles::{Bundle, MANIFEST};

/// Arguments of `engine verify`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A packed bundle, or the folder of one.
    pub bundle: PathBuf,
    /// Folder of the trusted public keys.
    #[arg(long)]
    pub keys: Option<PathBuf>,
    /// How many of the keys must have signed.
    #[arg(long, default_value_t = configured().signatures_needed)]
    pub signatures: usize,
    /// Check against the device of this configuration: its keys, phases, backend and memory.
    #[arg(long, conflicts_with_all = ["keys", "signatures"])]
    pub config: Option<PathBuf>,
}

/// Checks a folder or a packed bundle. A folder without keys is checked for wholeness alone.
///
/// # Errors
/// Exit 4 for a folder that is not whole, 3 with the reason code for everything a device
/// would refuse.
pub(super) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    let config = args.config.as_deref().map(crate::cli::run::read).transpose()?;
    require_there(&args.bundle)?;
    let folder = args.bundle.is_dir();
    if folder && args.keys.is_none() && config.is_none() {
        return told(&open_bundle(&args.bundle)?, None, ui);
    }
    let installer = config.as_ref().map(Installer::new);
    let trust = match (&installer, &args.keys) {
        (Some(installer), _) => installer.trust(),
        (None, Some(keys)) => Trust::read(keys, args.signatures),
        (None, None) => Err(PackageError::NoKeys { folder: "--keys".into() }),
    };
    let trust = trust.map_err(refused)?;
    let (bundle, signed_by) =
        if folder { whole_folder(args, &trust)? } else { whole_file(args, &trust)? };
    if let Some(installer) = installer {
        bundle.fits(installer.policy(trust, None).device()).map_err(refused)?;
    }
    told(&bundle, Some(signed_by), ui)
}

fn whole_file(args: &Args, trust: &Trust) -> Result<(Bundle, usize), Failure> {
    let package = Package::open(&args.bundle, trust).map_err(refused)?;
    let signed_by = package.signed_by();
    Ok((package.check().map_err(refused)?, signed_by))
}

fn whole_folder(args: &Args, trust: &Trust) -> Result<(Bundle, usize), Failure> {
    let bundle = open_bundle(&args.bundle)?;
    let signed_by = trust.verify_folder(&args.bundle).map_err(refused)?;
    Ok((bundle, signed_by))
}

/// A refusal with its reason code.
pub(super) fn refused(error: PackageError) -> Failure {
    Failure::refused(error.code(), error)
}

fn told(bundle: &Bundle, signed_by: Option<usize>, ui: &Ui) -> Result<(), Failure> {
    let files: usize =
        bundle.networks().map(|(_, plan)| plan.files.len() + plan.golden.files().count()).sum();
    let document = json!({"id": bundle.id(), "version": bundle.version(), "files": files,
        "whole": true, "signed_by": signed_by, "sha256": bundle.fingerprint()});
    let (id, version) = (bundle.id(), bundle.version());
    let signed = match signed_by {
        Some(keys) => format!(", signed by {}", counted(keys, "trusted key")),
        None => format!(" (signatures of {MANIFEST} not looked at: give --keys)"),
    };
    ui.result(
        &document,
        format!("{id} version {version}: {}, all whole{signed}", counted(files, "file")),
    )
}
