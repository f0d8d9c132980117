//! `completions` and `man`: what a package installs beside the program.

use std::io::Write;
use std::path::PathBuf;

use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man as Page;
use clap_mangen::roff::{Roff, bold, roman};

use super::examples::{self, EXAMPLES_OF};
use super::{Arguments, Exit, Failure, Ui};
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
///
/// # Errors
/// If standard output is closed.
pub(crate) fn completions(args: &Completions, ui: &Ui) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Arguments::command(), "hepalert", &mut script);
    let script = String::from_utf8(script).map_err(Failure::failed)?;
    let document = serde_json::json!({"shell": args.shell.to_string(), "script": script});
    ui.result(&document, script.trim_end())
}

/// Writes one manual page for the program and one for each command.
///
/// # Errors
/// If the folder cannot be written.
pub(crate) fn man(args: &Man, ui: &Ui) -> Result<(), Failure> {
    output::make_folder(&args.out)?;
    let mut program = Arguments::command();
    program.build();
    let pages = pages(&program);
    for (name, page) in &pages {
        output::put(&args.out.join(name), page, &[])?;
    }
    let text = format!("{} manual pages in {}", pages.len(), args.out.display());
    ui.result(&serde_json::json!({ "folder": args.out, "pages": pages.len() }), text)
}

/// File name and text of the page of a command, and of those below it.
fn pages(command: &clap::Command) -> Vec<(String, Vec<u8>)> {
    let below = command.get_subcommands().filter(|sub| !sub.is_hide_set());
    let mut found: Vec<(String, Vec<u8>)> = below.flat_map(pages).collect();
    // A page is headed by what it belongs to, not by the last word of its command.
    let page = Page::new(command.clone())
        .source(concat!("hepalert ", env!("CARGO_PKG_VERSION")))
        .manual("hepalert manual");
    let mut text = Vec::new();
    // Writing to memory cannot fail.
    let _ = write(&page, command, &mut text);
    found.push((page.get_filename(), text));
    found
}

fn write(page: &Page, command: &clap::Command, to: &mut dyn Write) -> std::io::Result<()> {
    page.render_title(to)?;
    page.render_name_section(to)?;
    // Clap's own section leaves out the values of options, which are what one forgets.
    let usage = command.clone().render_usage().to_string();
    let mut synopsis = Roff::new();
    synopsis.control("SH", ["SYNOPSIS"]);
    synopsis.text([roman(usage.trim_start_matches("Usage: ").trim())]);
    synopsis.to_writer(to)?;
    page.render_description_section(to)?;
    page.render_options_section(to)?;
    if command.has_subcommands() {
        page.render_subcommands_section(to)?;
    }
    further(command).to_writer(to)
}

/// What clap knows nothing of.
fn further(command: &clap::Command) -> Roff {
    let mut page = Roff::new();
    let entry = |page: &mut Roff, term: &str, meaning: &str| {
        page.control("TP", []);
        page.text([bold(term)]);
        page.text([roman(meaning)]);
    };
    page.control("SH", ["EXIT STATUS"]);
    entry(&mut page, "0", "done");
    for exit in Exit::ALL {
        entry(&mut page, &(exit as u8).to_string(), exit.sentence());
    }
    page.control("PP", []);
    page.text([roman(
        "With --json a command that fails prints one document with error, code and message.",
    )]);
    page.control("SH", ["FILES"]);
    let files = files(command);
    for (path, meaning) in &files {
        entry(&mut page, path, meaning);
    }
    if files.is_empty() {
        page.text([roman("None but those that are named on the command line.")]);
    }
    let name = command.get_display_name().unwrap_or_default();
    let examples = EXAMPLES_OF.iter().filter(|(of, ..)| examples::page_of(of) == name);
    page.control("SH", ["EXAMPLES"]);
    for (_, line, meaning) in examples {
        entry(&mut page, line, meaning);
    }
    if command.has_subcommands() {
        page.text([roman("See the pages of the commands.")]);
    }
    page
}

/// The files that a command uses without being told.
fn files(command: &clap::Command) -> Vec<(&'static str, &'static str)> {
    let takes = |name: &str| command.get_arguments().any(|argument| argument.get_id() == name);
    let mut files = Vec::new();
    if takes("config") || command.get_name() == "hepalert" {
        files.push((crate::config::DEFAULT_FILE, "every setting with its default"));
        files.push(("/etc/hepalert/conf.d/*.toml", "the settings of a site, which override it"));
        files.push(("/var/lib/hepalert", "database, results, quarantine and site key"));
    }
    if takes("engine") || command.get_name() == "hepalert" {
        files.push(("/usr/share/hepalert/engines", "engines that came with the program"));
    }
    if takes("backend") || command.get_name() == "hepalert" {
        files.push(("~/.cache/hepalert", "networks that were compiled for this machine"));
    }
    files
}
