//! `completions` and `man`: what a package installs beside the program.

use std::fs;
use std::path::PathBuf;

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Arguments, Failure, Ui};
use crate::report::output;

/// Arguments of `completions`.
#[derive(Debug, clap::Args)]
pub struct Completions {
    /// For which shell.
    pub shell: Shell,
}

/// Arguments of `man`.
#[derive(Debug, clap::Args)]
pub struct Man {
    /// Folder for the pages.
    #[arg(long)]
    pub out: PathBuf,
}

/// Prints the completions of a shell on standard output.
pub fn completions(args: &Completions) {
    let mut command = Arguments::command();
    clap_complete::generate(args.shell, &mut command, "hepalert", &mut std::io::stdout());
}

/// Writes one manual page for the program and one for each command.
///
/// # Errors
/// If the folder cannot be written.
pub fn man(args: &Man, ui: &Ui) -> Result<(), Failure> {
    fs::create_dir_all(&args.out).map_err(Failure::failed)?;
    let drafts = tempfile::tempdir().map_err(Failure::failed)?;
    clap_mangen::generate_to(Arguments::command(), drafts.path()).map_err(Failure::failed)?;
    for page in fs::read_dir(drafts.path()).map_err(Failure::failed)? {
        let page = page.map_err(Failure::failed)?;
        let text = fs::read(page.path()).map_err(Failure::failed)?;
        output::put(&args.out.join(page.file_name()), &text, &[])?;
    }
    let text = format!("manual pages in {}", args.out.display());
    ui.result(&serde_json::json!({ "folder": args.out }), text)
}
