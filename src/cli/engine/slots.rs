//! `engine install`, `activate`, `rollback`, `discard` and the list of slots: the technician's
//! side, with a daemon running or not. Where one runs it does the work between two studies
//! and the command waits for it; where none runs the command does it itself.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::json;

use super::verify::refused;
use crate::cli::engines::{require_there, with_rights};
use crate::cli::{Failure, Ui, words};
use crate::config::Config;
use crate::daemon::analysis_settings;
use crate::installer::{Installer, SlotTarget};
use hepalert_bundles::slots::{
    Condition, Installed, Refusal, Slot, Slots, SlotsError, State, Wanted, fault_of, try_out,
};
use hepalert_study::outcome::EngineAction;

/// How often a waiting command looks.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// Which daemon.
#[derive(Debug, clap::Args)]
pub(super) struct Where {
    /// The daemon's configuration.
    #[arg(long, default_value = crate::config::DEFAULT_FILE)]
    pub config: PathBuf,
    /// Do not wait for a running daemon to do it.
    #[arg(long)]
    pub no_wait: bool,
}

/// Arguments of `install`.
#[derive(Debug, clap::Args)]
pub struct Install {
    /// The packed engine.
    pub file: PathBuf,
    /// Take one that failed here before.
    #[arg(long)]
    pub again: bool,
    #[command(flatten)]
    place: Where,
}

/// Arguments of `activate`.
#[derive(Debug, clap::Args)]
pub struct Activate {
    /// What to use.
    pub target: SlotTarget,
    #[command(flatten)]
    place: Where,
}

/// Arguments of `rollback`.
#[derive(Debug, clap::Args)]
pub struct Rollback {
    #[command(flatten)]
    place: Where,
}

/// Arguments of `discard`.
#[derive(Debug, clap::Args)]
pub struct Discard {
    /// The slot to empty; not the one in use.
    #[arg(value_parser = words::slots())]
    pub slot: Slot,
    /// The daemon's configuration.
    #[arg(long, default_value = crate::config::DEFAULT_FILE)]
    pub config: PathBuf,
}

fn failed(error: SlotsError) -> Failure {
    let rights = match &error {
        SlotsError::File { reason, .. } => with_rights(reason),
        SlotsError::State { .. } => "",
    };
    Failure::failed(anyhow::anyhow!("{error}{rights}"))
}

fn not_taken(refusal: Refusal) -> Failure {
    match refusal {
        Refusal::Package(error) => refused(error),
        Refusal::Slots(error) => failed(error),
        refusal => Failure::refused(refusal.code(), refusal),
    }
}

/// Installs a packed engine: checks it, tests it here, and uses it, on probation.
///
/// # Errors
/// Exit 3 with the reason code if it is refused.
pub(super) fn install(args: &Install, ui: &Ui) -> Result<(), Failure> {
    require_there(&args.file)?;
    let config = crate::cli::run::read(&args.place.config)?;
    let installer = Installer::new(&config);
    let policy = installer.policy(installer.trust().map_err(refused)?, None);
    let package = policy.open(&args.file).map_err(refused)?;
    let sha256 = package.bundle().fingerprint().to_owned();
    let now = Timestamp::now();
    let slot = installer.stage(package, &policy, args.again, now).map_err(not_taken)?;
    let slots = installer.slots();
    ui.note(format!("{}: whole and signed, now in slot {}", args.file.display(), slot.name()));
    if let Some(_place) = installer.occupy().map_err(failed)? {
        self_test(slot, &installer, &config)?;
        installer.switch(Timestamp::now()).map_err(failed)?;
    } else if args.place.no_wait {
        let text = "the daemon tests and uses it once the study under way has ended";
        return ui.result(&json!({"slot": slot, "waiting": true}), text);
    } else {
        ui.note("the daemon tests and uses it once the study under way has ended; waiting");
        wait(slots, |state| {
            let gone = state.slot(slot).is_none_or(|held| held.which.sha256 != sha256);
            gone || state.wanted.is_none()
        })?;
    }
    installed(slots, slot, &sha256, ui)
}

/// The first self-test, in this process.
fn self_test(slot: Slot, installer: &Installer, config: &Config) -> Result<(), Failure> {
    let runtime = analysis_settings(config).runtime;
    let mut test = |dir: &std::path::Path| {
        Some(try_out(dir, &runtime).map_err(|error| (fault_of(&error), error.to_string())))
    };
    let outcome = installer.first_test(slot, &mut test).map_err(failed)?;
    outcome
        .unwrap_or(Ok(()))
        .map_err(|(code, reason)| Failure::refused(code.name(), anyhow::anyhow!(reason)))
}

fn installed(slots: &Slots, slot: Slot, sha256: &str, ui: &Ui) -> Result<(), Failure> {
    let state = slots.state().map_err(failed)?;
    if let Some(held) = state.slot(slot).filter(|held| held.which.sha256 == sha256)
        && state.active == Some(slot)
    {
        return ui.result(&json!({"slot": slot, "active": true, "held": held}), line(&state, slot));
    }
    let about = state.notices.iter().rev().find(|notice| {
        notice.action == EngineAction::Refused
            && notice.which.as_ref().is_some_and(|which| which.sha256 == sha256)
    });
    let code = about.and_then(|notice| notice.code.clone()).unwrap_or_default();
    let error =
        anyhow::anyhow!("it failed its self-test here ({code}); the engine in use is as before");
    Err(Failure::refused("self_test_failed", error))
}

/// Uses a slot or the configured bundle.
///
/// # Errors
/// Exit 3 with the reason code if that is not possible.
pub(super) fn activate(args: &Activate, ui: &Ui) -> Result<(), Failure> {
    wish(&args.place, args.target.wanted(), ui)
}

/// Goes back to what was in use before.
///
/// # Errors
/// Exit 3 if there is nothing before.
pub(super) fn rollback(args: &Rollback, ui: &Ui) -> Result<(), Failure> {
    wish(&args.place, Wanted::RollBack, ui)
}

fn wish(place: &Where, wanted: Wanted, ui: &Ui) -> Result<(), Failure> {
    let config = crate::cli::run::read(&place.config)?;
    let installer = Installer::new(&config);
    let slots = installer.slots();
    let possible = slots.change(|state| state.want(wanted));
    possible.map_err(failed)?.map_err(|objection| Failure::refused(objection.code(), objection))?;
    if let Some(_place) = installer.occupy().map_err(failed)? {
        installer.switch(Timestamp::now()).map_err(failed)?;
    } else if !place.no_wait {
        ui.note("the daemon does it once the study under way has ended; waiting");
        wait(slots, |state| state.wanted.is_none())?;
    }
    list(&config, ui)
}

/// Empties a slot that is not in use.
///
/// # Errors
/// Exit 3 if it is in use.
pub(super) fn discard(args: &Discard, ui: &Ui) -> Result<(), Failure> {
    let config = crate::cli::run::read(&args.config)?;
    let slot = args.slot;
    let installer = Installer::new(&config);
    let slots = installer.slots();
    let held = slots.state().map_err(failed)?.in_use().cloned();
    let before = held.and_then(|held| match held.condition {
        Condition::Probation { before, .. } => before,
        _ => None,
    });
    let emptied = slots.change(|state| match before {
        Some(before) if before == slot => state.may_activate(None),
        _ => state.empty(slot),
    });
    emptied.map_err(failed)?.map_err(|objection| Failure::refused(objection.code(), objection))?;
    list(&config, ui)
}

fn wait(slots: &Slots, done: impl Fn(&State) -> bool) -> Result<(), Failure> {
    let began = Instant::now();
    loop {
        if done(&slots.state().map_err(failed)?) {
            return Ok(());
        }
        // A study may take long; longer than its deadline nothing takes.
        if began.elapsed() > Duration::from_secs(2 * 3600) {
            let error = anyhow::anyhow!(
                "the daemon has not done it within two hours; read its log (journalctl -u hepalert)"
            );
            return Err(Failure::failed(error));
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// What is in the slots.
///
/// # Errors
/// Exit 1 if the state cannot be read.
pub(super) fn list(config: &Config, ui: &Ui) -> Result<(), Failure> {
    let state = Installer::new(config).slots().state().map_err(failed)?;
    let mark = |active: bool| if active { "*" } else { " " };
    let mut text = String::new();
    for slot in Slot::ALL {
        let _ = writeln!(text, "{}", line(&state, slot));
    }
    let configured = config.engine.bundle.display();
    let _ = writeln!(text, "{} configured  {configured}", mark(state.active.is_none()));
    for notice in state.notices.iter().rev().take(5) {
        let which = notice.which.as_ref();
        let name = which.map_or("?".to_owned(), |w| format!("{} version {}", w.id, w.version));
        let code = notice.code.as_deref().map_or(String::new(), |code| format!(" ({code})"));
        let action = serde_json::to_value(notice.action).unwrap_or_default();
        let action = action.as_str().unwrap_or_default().replace('_', " ");
        let _ = writeln!(text, "  {:.0}  {name} {action}{code}", notice.at);
    }
    let document = json!({"active": state.active, "a": state.a, "b": state.b,
        "configured": config.engine.bundle, "wanted": state.wanted, "notices": state.notices});
    ui.result(&document, text.trim_end())
}

fn line(state: &State, slot: Slot) -> String {
    let active = if state.active == Some(slot) { "*" } else { " " };
    let Some(Installed { which, condition, self_test, .. }) = state.slot(slot) else {
        return format!("{active} {}           empty", slot.name());
    };
    let condition = match condition {
        Condition::Untested { .. } => "waits for its self-test".to_owned(),
        Condition::Staged => "staged".to_owned(),
        Condition::Probation { studies, since, .. } => {
            format!("on probation since {since:.0}, studies finished: {studies}")
        }
        Condition::Good => "good".to_owned(),
        Condition::Bad { code } => format!("it failed here ({code})"),
    };
    let test = self_test.as_ref().map_or(String::new(), |test| {
        let passed = if test.passed { "passed" } else { "FAILED" };
        format!("; self-test {passed} {:.0}: {}", test.at, test.words)
    });
    format!(
        "{active} {}           {} version {}, {condition}{test}",
        slot.name(),
        which.id,
        which.version
    )
}
