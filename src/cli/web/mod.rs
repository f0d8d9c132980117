//! `web`: who may see the page on the device, and the labeler without a device.
//!
//! Owns the arguments and how a password comes in: typed twice, or by standard input, never as an
//! argument, where histories and lists of processes would keep it.

use std::io::{BufRead, IsTerminal, Read};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::json;

use super::{Exit, Failure, Ui, words};
use crate::config::Role;
use crate::web::accounts::{AccountError, Accounts, MAX_PASSWORD};
use crate::web::database;

mod label;

pub(crate) use label::Label;

/// What about the page.
#[derive(Debug, clap::Subcommand)]
#[command(disable_help_subcommand = true)]
pub enum Args {
    /// Let people see the page, or no longer.
    #[command(subcommand)]
    User(User),
    /// Correct the labels of a folder of cases in a browser, without a daemon.
    Label(Label),
}

/// What about its users.
#[derive(Debug, clap::Subcommand)]
#[command(disable_help_subcommand = true)]
pub enum User {
    /// Let somebody in, or give them another password or role, which ends their sessions.
    Add(Add),
    /// Let somebody in no longer.
    Remove(Remove),
    /// List who is let in.
    List(List),
}

/// Whom to let in.
#[derive(Debug, clap::Args)]
pub struct Add {
    /// The name: letters, digits, dots, - and _.
    pub name: String,
    /// What they may do: look, change labels too, install engines too.
    #[arg(long, default_value = "viewer", value_parser = words::roles())]
    pub role: Role,
    /// The daemon's configuration.
    #[arg(long, default_value = crate::config::DEFAULT_FILE)]
    pub config: PathBuf,
}

/// Whom to let in no longer.
#[derive(Debug, clap::Args)]
pub struct Remove {
    /// The name.
    pub name: String,
    /// The daemon's configuration.
    #[arg(long, default_value = crate::config::DEFAULT_FILE)]
    pub config: PathBuf,
}

/// Whose users.
#[derive(Debug, clap::Args)]
pub struct List {
    /// The daemon's configuration.
    #[arg(long, default_value = crate::config::DEFAULT_FILE)]
    pub config: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// Exit 2 for a name or password that cannot be taken, 1 for the database, 6 for the configuration.
pub(crate) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    match args {
        Args::User(User::Add(args)) => add(args, ui),
        Args::User(User::Remove(args)) => remove(args, ui),
        Args::User(User::List(args)) => list(args, ui),
        Args::Label(args) => label::run(args, ui),
    }
}

fn open(config: &Path) -> Result<Accounts, Failure> {
    let config = super::run::read(config)?;
    let file = database(&config);
    Accounts::open(&file).map_err(|error| {
        let advice = "the daemon makes its folder at the first start; run this with sudo";
        Failure::failed(anyhow::anyhow!("{}: {error}; {advice}", file.display()))
    })
}

fn failed(error: AccountError) -> Failure {
    let exit = match error {
        AccountError::Name | AccountError::Password => Exit::Usage,
        AccountError::File(_) | AccountError::Sql(_) | AccountError::Hash(_) => Exit::Failed,
    };
    Failure::new(exit, error)
}

fn add(args: &Add, ui: &Ui) -> Result<(), Failure> {
    let accounts = open(&args.config)?;
    let password = password(&args.name)?;
    let is_new =
        accounts.put(&args.name, args.role, &password, Timestamp::now()).map_err(failed)?;
    let what = if is_new { "may log in" } else { "has another password or role; logged out" };
    let text = format!("{}: {what}, as {}", args.name, args.role.name());
    ui.result(&json!({"name": args.name, "role": args.role, "new": is_new}), text)
}

fn remove(args: &Remove, ui: &Ui) -> Result<(), Failure> {
    if !open(&args.config)?.remove(&args.name).map_err(failed)? {
        let error = anyhow::anyhow!("there is no user {}: see `hepalert web user list`", args.name);
        return Err(Failure::failed(error));
    }
    ui.result(&json!({"removed": args.name}), format!("{} is let in no longer", args.name))
}

fn list(args: &List, ui: &Ui) -> Result<(), Failure> {
    let users = open(&args.config)?.users().map_err(failed)?;
    let line = |user: &crate::web::accounts::User| {
        format!("{:<20}  {:<10}  since {:.0}", user.name, user.role.name(), user.created)
    };
    let lines: Vec<String> = users.iter().map(line).collect();
    let text = if lines.is_empty() { "no users".to_owned() } else { lines.join("\n") };
    ui.result(&users, text)
}

/// Typed twice at a terminal; elsewhere the first line of standard input.
fn password(name: &str) -> Result<String, Failure> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        let mut line = String::new();
        let most = 4 * MAX_PASSWORD as u64;
        stdin.lock().take(most).read_line(&mut line).map_err(Failure::failed)?;
        return Ok(line.trim_end_matches(['\r', '\n']).to_owned());
    }
    let ask = |prompt: String| rpassword::prompt_password(prompt).map_err(Failure::failed);
    let first = ask(format!("password for {name}: "))?;
    if first != ask("the same again: ".to_owned())? {
        return Err(Failure::new(Exit::Usage, anyhow::anyhow!("the two are not the same")));
    }
    Ok(first)
}
