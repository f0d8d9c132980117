//! `status`: counts of studies, messages and alerts.

use serde::Serialize;

use super::queue::Args;
use super::store::open_store;
use super::{Failure, Ui};
use crate::store::JobCounts;

/// The figures of `status`.
#[derive(Debug, Serialize)]
struct Status {
    queued: u64,
    running: u64,
    done: u64,
    #[serde(rename = "rejected")]
    refused: u64,
    dead: u64,
    superseded: u64,
    outbox_unsent: u64,
    outbox_oldest: Option<String>,
    open_alerts: u64,
    objects_waiting: u64,
    objects_refused: u64,
    boot: u64,
}

/// Counts jobs, messages and alerts.
///
/// # Errors
/// Exit 6 for the configuration, 1 for the store.
pub(super) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    let config = super::run::read(&args.config)?;
    let store = open_store(&config.store.database())?;
    let JobCounts { queued, running, done, refused, dead, superseded } =
        store.job_counts().map_err(Failure::failed)?;
    let backlog = store.backlog().map_err(Failure::failed)?;
    let sent = store.delivery_counts(&config.dicom.target_names()).map_err(Failure::failed)?;
    let status = Status {
        objects_waiting: sent.waiting,
        objects_refused: sent.refused,
        queued,
        running,
        done,
        refused,
        dead,
        superseded,
        outbox_unsent: backlog.unsent,
        outbox_oldest: backlog.oldest_unsent.map(|at| format!("{at:.0}")),
        open_alerts: store.worklist(1).map_err(Failure::failed)?.open_total,
        boot: store.boot().map_err(Failure::failed)?,
    };
    let text = format!(
        "studies: {queued} queued, {running} running, {done} done, {refused} refused, \
         {dead} failed, {superseded} superseded\nmessages not yet sent: {}{}\nopen alerts: {}",
        status.outbox_unsent,
        status.outbox_oldest.as_deref().map_or(String::new(), |at| format!(" (since {at})")),
        status.open_alerts
    );
    let text = match (sent.waiting, sent.refused) {
        (0, 0) => text,
        (waiting, refused) => {
            format!("{text}\nobjects for archives: {waiting} waiting, {refused} refused")
        }
    };
    ui.result(&status, text)
}
