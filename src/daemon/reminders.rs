//! Alerts that nobody acknowledges are told again, where the configuration says so.

use std::time::Duration;

use jiff::Timestamp;
use log::{error, warn};

use super::site::Site;
use crate::config::Mqtt;
use crate::publish::messages::Escalation;
use crate::store::{NewEvent, Patience, Unanswered};
use hepalert_failpoint::hastened;

/// After how long, and how often; `None` where nothing is configured.
pub(super) fn patience(mqtt: &Mqtt) -> Option<Patience> {
    let after = hastened(Duration::from_secs(60 * u64::from(mqtt.escalate_after_min?)));
    Some(Patience { after, times: mqtt.escalate_times })
}

/// Tells what is due. Returns how many were told.
pub(super) fn tell_due(site: &Site, patience: Patience, now: Timestamp) -> usize {
    let device = &site.config.device.name;
    let told = site.store.remind(patience, now, |alert| said(device, patience, alert, now));
    match told {
        Ok(0) => 0,
        Ok(told) => {
            warn!("alerts that nobody has acknowledged, told again: {told}");
            told
        }
        Err(error) => {
            error!("alerts that nobody has acknowledged cannot be told again: {error}");
            0
        }
    }
}

fn said(device: &str, patience: Patience, alert: &Unanswered, now: Timestamp) -> Vec<NewEvent> {
    let escalation = Escalation {
        alert_id: alert.event_id.clone(),
        study_key: alert.study_key.clone(),
        verdict: alert.verdict,
        raised: alert.raised_at.into(),
        reminder: alert.reminder,
        reminders: patience.times,
        notice: String::new(),
    };
    match escalation.draft(device, alert.revision, now) {
        Ok(draft) => vec![draft.into()],
        Err(error) => {
            error!("a reminder cannot be said: {error}");
            Vec::new()
        }
    }
}
