//! The threads that hand results to archives: one per archive, each in order.
//!
//! Owns patience: what an archive cannot take now is tried again, later each time; what it refuses is
//! told, in the status and in `event/study`, and does not hold back what comes after. An object counts as
//! sent only when the archive said so, so that it may be sent twice, and is then the same object.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use log::{error, info, warn};

use super::events;
use super::health::Monitor;
use super::liveness::Stop;
use super::site::Site;
use crate::analyze::objects::FOLDER;
use crate::config::{Config, DicomTarget};
use crate::dicom::sender;
use crate::dicom::target::{DeliveryOutcome, Dimse, Outgoing, SendError, Target, Way, Web};
use crate::dicom::tls::ClientTls;
use crate::publish::contract::Code;
use crate::publish::messages::{StudyEvent, StudyState};
use crate::report::types::ArtefactRecord;
use crate::store::{Delivery, NewDelivery, NewEvent, StoreError};
use hepalert_failpoint::{failpoint, hastened};

/// Pause between two looks at the store.
const NAP: Duration = Duration::from_millis(500);
/// The first wait of an archive that does not answer; doubled each time.
const FIRST_WAIT: Duration = Duration::from_secs(5);
/// The longest.
const MAX_WAIT: Duration = Duration::from_secs(600);

/// An archive as configured.
pub(crate) fn target_of(config: &Config, target: &DicomTarget) -> Target {
    let client = target.cert_file.clone().zip(target.key_file.clone());
    let authority = target.ca_file.clone();
    let tls = authority.map(|ca_file| ClientTls { ca_file, client });
    let way = match &target.url {
        Some(url) => Way::Web(Web { url: url.clone(), token_file: target.token_file.clone(), tls }),
        None => Way::Dimse(Dimse {
            host: target.host.clone().unwrap_or_default(),
            port: target.port.unwrap_or_default(),
            called_ae: target.ae_title.clone().unwrap_or_default(),
            calling_ae: config.dicom.ae_title.clone(),
            tls: tls.filter(|_| target.tls),
        }),
    };
    Target { name: target.name.clone(), way, patience: Duration::from_secs(config.dicom.timeout_s) }
}

/// What of a result goes to which archive.
pub(crate) fn deliveries<'a>(
    targets: impl Iterator<Item = &'a DicomTarget>,
    artefacts: &[ArtefactRecord],
) -> Vec<NewDelivery> {
    let objects =
        || artefacts.iter().filter(|artefact| Path::new(&artefact.path).starts_with(FOLDER));
    let to = |target: &DicomTarget| {
        let target = target.name.clone();
        objects().map(move |artefact| NewDelivery {
            target: target.clone(),
            path: artefact.path.clone(),
        })
    };
    targets.flat_map(to).collect()
}

/// Names of archives by the code of what is wrong.
pub(crate) type Troubles = BTreeMap<&'static str, BTreeSet<String>>;

/// What keeps everything from an archive.
const TROUBLES: [&str; 3] = [UNREACHABLE, REFUSES_US, BUSY];
const UNREACHABLE: &str = "dicom_target_unreachable";
const REFUSES_US: &str = "dicom_target_refuses_us";
/// It answers, and has no room or no time for an object.
pub(crate) const BUSY: &str = "dicom_target_busy";
/// An archive may be busy for a moment: it is told once this many tries of one object found it so.
pub(crate) const BUSY_TRIES: u32 = 3;

/// One archive's thread.
pub(crate) struct Archive {
    /// What holds for the whole run.
    pub site: Arc<Site>,
    /// Told of what is wrong.
    pub monitor: Monitor,
    /// Ends the thread.
    pub stop: Stop,
    /// The archive.
    pub target: Target,
    /// The archives that nothing can be sent to, by what is wrong; shared by all threads.
    pub troubles: Arc<Mutex<Troubles>>,
}

impl Archive {
    /// Sends until the daemon stops.
    pub(crate) fn run(self) {
        // What was refused before the last stop is refused still.
        if let Err(error) = self.tell_refused() {
            error!("how many objects were refused cannot be told: {error}");
        }
        // And what waited, waits: it need not be tried before that is told.
        match self.site.store.next_delivery(&self.target.name) {
            Ok(delivery) => self.tell_trouble(delivery.as_ref().and_then(trouble_before)),
            Err(error) => error!("what waits for {} cannot be told: {error}", self.target.name),
        }
        while !self.stop.is_set() {
            match self.next() {
                Ok(true) => {}
                Ok(false) => std::thread::sleep(NAP),
                Err(error) => {
                    error!("the deliveries to {} stand still: {error}", self.target.name);
                    std::thread::sleep(FIRST_WAIT);
                }
            }
        }
    }

    /// Tries the first delivery that waits; false if there is nothing to do now.
    fn next(&self) -> Result<bool, StoreError> {
        let Some(delivery) = self.site.store.next_delivery(&self.target.name)? else {
            return Ok(false);
        };
        let now = Timestamp::now();
        // What waits longer than any wait is waits for a clock that was set back.
        let longest = now.checked_add(MAX_WAIT).unwrap_or(now);
        if delivery.not_before > now && delivery.not_before <= longest {
            return Ok(false);
        }
        let sent = match std::fs::read(self.file(&delivery)) {
            Ok(bytes) => sender::send(&self.target, Outgoing { bytes: &bytes }),
            Err(error) => Err(SendError::Object(error.to_string())),
        };
        failpoint("object_sent");
        self.tell_trouble(trouble(&sent, delivery.attempts + 1));
        match sent {
            Ok(DeliveryOutcome::Stored) => {
                self.site.store.delivered(delivery.n, Timestamp::now())?;
                info!(STUDY_KEY = delivery.study_key.as_str(); "{} keeps {}", self.target.name, delivery.path);
                self.tell_refused()?;
            }
            Ok(DeliveryOutcome::Busy(status)) => {
                self.postpone(&delivery, &status.to_string(), BUSY)?;
            }
            Ok(DeliveryOutcome::Refused(status)) => {
                self.refuse(&delivery, &status.to_string(), "dicom_refused")?;
            }
            Err(error @ SendError::Object(_)) => {
                self.refuse(&delivery, &error.to_string(), error.code())?;
            }
            Err(error) => self.postpone(&delivery, &error.to_string(), error.code())?,
        }
        Ok(true)
    }

    fn file(&self, delivery: &Delivery) -> PathBuf {
        let store = &self.site.config.store;
        store.result(&delivery.study_key, delivery.revision).join(&delivery.path)
    }

    fn postpone(&self, delivery: &Delivery, words: &str, code: &str) -> Result<(), StoreError> {
        let key = delivery.study_key.as_str();
        let name = &self.target.name;
        warn!(STUDY_KEY = key; "{} for {name} is tried again later: {words}", delivery.path);
        let now = Timestamp::now();
        let not_before = now.checked_add(hastened(wait(delivery.attempts))).unwrap_or(now);
        self.site.store.postpone_delivery(delivery.n, code, not_before)
    }

    fn refuse(
        &self,
        delivery: &Delivery,
        words: &str,
        code: &'static str,
    ) -> Result<(), StoreError> {
        let key = delivery.study_key.as_str();
        error!(STUDY_KEY = key; "{} does not take {}: {words}", self.target.name, delivery.path);
        let now = Timestamp::now();
        let events = self.told(delivery, code, now);
        self.site.store.refuse_delivery(delivery.n, code, &events, now)?;
        self.monitor.wake_publisher();
        self.tell_refused()
    }

    /// The step as an event; one that cannot be said is logged, and the state still changes.
    fn told(&self, delivery: &Delivery, code: &'static str, now: Timestamp) -> Vec<NewEvent> {
        let device = &self.site.config.device;
        let who = events::identity(device, &delivery.study_key, "", delivery.revision);
        let event = StudyEvent {
            study_key: delivery.study_key.clone(),
            state: StudyState::NotDelivered,
            code: Some(Code::fixed(code)),
            setting: None,
            attempts: delivery.attempts + 1,
            passed_over: Default::default(),
            target: Some(self.target.name.clone()),
        };
        let draft = event.draft(&who, now).map(NewEvent::from);
        draft
            .inspect_err(|error| error!("a step cannot be published: {error}"))
            .into_iter()
            .collect()
    }

    fn tell_refused(&self) -> Result<(), StoreError> {
        let names = self.site.config.dicom.target_names();
        let refused = self.site.store.delivery_counts(&names)?.refused;
        self.monitor.set_wrong("dicom_refused", refused > 0);
        Ok(())
    }

    fn tell_trouble(&self, trouble: Option<&'static str>) {
        // Told while it is held: else another archive's word could come in between.
        let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        for code in TROUBLES {
            let archives = troubles.entry(code).or_default();
            match trouble == Some(code) {
                true => archives.insert(self.target.name.clone()),
                false => archives.remove(&self.target.name),
            };
            self.monitor.set_wrong(code, !archives.is_empty());
        }
    }
}

/// What of a try keeps everything from the archive, if anything does.
fn trouble(sent: &Result<DeliveryOutcome, SendError>, tries: u32) -> Option<&'static str> {
    match sent {
        Err(SendError::Unreachable(..) | SendError::Local(_)) => Some(UNREACHABLE),
        Err(SendError::NotLetIn(..) | SendError::NoToken(..)) => Some(REFUSES_US),
        Ok(DeliveryOutcome::Busy(_)) => (tries >= BUSY_TRIES).then_some(BUSY),
        Ok(DeliveryOutcome::Stored | DeliveryOutcome::Refused(_)) | Err(SendError::Object(_)) => {
            None
        }
    }
}

/// The same of what the last try of a delivery left in the store.
fn trouble_before(delivery: &Delivery) -> Option<&'static str> {
    match delivery.code.as_deref()? {
        UNREACHABLE | "dicom_target_misconfigured" => Some(UNREACHABLE),
        REFUSES_US => Some(REFUSES_US),
        BUSY => (delivery.attempts >= BUSY_TRIES).then_some(BUSY),
        _ => None,
    }
}

/// How long an object waits for another try.
fn wait(attempts: u32) -> Duration {
    FIRST_WAIT.saturating_mul(1 << attempts.min(16)).min(MAX_WAIT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dicom::target::Status;

    #[test]
    fn waits_double_up_to_ten_minutes() {
        let waits = [0, 1, 2, 6, 7, 99].map(|n| wait(n).as_secs());
        assert_eq!(waits, [5, 10, 20, 320, 600, 600]);
    }

    #[test]
    fn an_archive_that_stays_busy_is_told_as_one_that_is_not_there() {
        let busy = || Ok(DeliveryOutcome::Busy(Status::Dimse(0xa700)));
        assert_eq!([1, 2, 3, 9].map(|n| trouble(&busy(), n)), [None, None, Some(BUSY), Some(BUSY)]);
        let name = || "pacs".to_owned();
        let away = Err(SendError::Unreachable(name(), "gone".to_owned()));
        assert_eq!(trouble(&away, 1), Some(UNREACHABLE));
        let closed = Err(SendError::NoToken(name(), "HTTP 401".to_owned()));
        assert_eq!(trouble(&closed, 1), Some(REFUSES_US));
        assert_eq!(trouble(&Ok(DeliveryOutcome::Refused(Status::Dimse(0xc000))), 9), None);
        // A later run knows it before it tries.
        let waiting = |code: Option<&str>, attempts| Delivery {
            n: 1,
            target: name(),
            study_key: String::new(),
            revision: 1,
            path: String::new(),
            attempts,
            not_before: Timestamp::UNIX_EPOCH,
            code: code.map(str::to_owned),
        };
        assert_eq!(trouble_before(&waiting(Some(BUSY), 3)), Some(BUSY));
        assert_eq!(trouble_before(&waiting(Some(BUSY), 1)), None);
        assert_eq!(trouble_before(&waiting(Some(UNREACHABLE), 1)), Some(UNREACHABLE));
        let local = SendError::Local(String::new());
        assert_eq!(trouble_before(&waiting(Some(local.code()), 1)), Some(UNREACHABLE));
        assert_eq!(trouble_before(&waiting(None, 0)), None);
    }

    #[test]
    fn objects_go_to_every_archive_and_nothing_else_does() {
        let target = |name: &str| DicomTarget { name: name.to_owned(), ..DicomTarget::default() };
        let artefact =
            |path: &str| ArtefactRecord { path: path.to_owned(), sha256: String::new(), bytes: 0 };
        let made = [artefact("lesions.nii.gz"), artefact("dicom/report.dcm")];
        let found = deliveries([target("a"), target("b")].iter(), &made);
        let found: Vec<_> =
            found.iter().map(|one| (one.target.as_str(), one.path.as_str())).collect();
        assert_eq!(found, [("a", "dicom/report.dcm"), ("b", "dicom/report.dcm")]);
    }
}
