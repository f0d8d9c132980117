//! Changes of engine, told: an event and a row of the audit trail for each, exactly once.
//!
//! The slots' state keeps what is not yet told. The event's id follows from what happened and
//! when, so telling them again after a crash writes nothing a second time.

use jiff::Timestamp;

use super::site::Site;
use crate::publish::contract::Code;
use crate::publish::findings::EngineUsed;
use crate::publish::messages::EngineEvent;
use crate::store::NewEvent;
use hepalert_bundles::Bundle;
use hepalert_bundles::slots::{self, EngineId, Notice, Slots};
use hepalert_study::outcome::EngineAction;

/// Tells what is untold; true if there was something.
///
/// # Errors
/// Whatever the store or the slots refuse: it is told later.
pub(super) fn publish(site: &Site, slots: &Slots) -> Result<bool, Box<dyn std::error::Error>> {
    let untold: Vec<Notice> =
        slots.state()?.notices.into_iter().filter(|notice| !notice.told).collect();
    if untold.is_empty() {
        return Ok(false);
    }
    for notice in &untold {
        let event = event(site, notice)?;
        let what = format!("engine_{}", event.action.name());
        let draft = event.draft(&site.config.device.name, notice.at)?;
        let detail = draft.data.clone();
        site.store.record_audited(&NewEvent::from(draft), &what, &detail, Timestamp::now())?;
    }
    slots.change(|state| state.told(untold.len()))?;
    Ok(true)
}

fn event(site: &Site, notice: &Notice) -> Result<EngineEvent, Box<dyn std::error::Error>> {
    let configured = || Bundle::open(&site.config.engine.bundle).ok().map(|b| slots::which(&b));
    let which = match (&notice.which, notice.action) {
        (None, EngineAction::Activated) => configured(),
        (which, _) => which.clone(),
    };
    let in_use = notice.in_use.clone().or_else(configured);
    Ok(EngineEvent {
        action: notice.action,
        engine: which.map_or_else(unknown, used),
        in_use: in_use.map(used),
        code: notice.code.as_deref().map(Code::new).transpose()?,
    })
}

fn used(which: EngineId) -> EngineUsed {
    EngineUsed {
        role: Code::fixed("bundle"),
        id: which.id,
        version: which.version.to_string(),
        sha256: which.sha256,
    }
}

/// What was refused before its name could be believed.
fn unknown() -> EngineUsed {
    EngineUsed {
        role: Code::fixed("bundle"),
        id: "unknown".to_owned(),
        version: String::new(),
        sha256: String::new(),
    }
}
