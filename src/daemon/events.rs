//! What the daemon tells: store rows and messages out of jobs and reports.
//!
//! The one place where the words of `report`, `store` and `publish` meet.

use jiff::Timestamp;
use log::error;

use crate::config::Device;
use crate::intake::folder::stranger_kind::Counts;
use crate::publish::contract::{Code, ContractError, Time};
use crate::publish::findings::{
    Artefact, Earlier, EngineUsed, Findings, Lesion, Link, PatientClasses, PhaseSeen, Pipeline,
    Timing,
};
use crate::publish::ids::Identity;
use crate::publish::messages::{StudyEvent, StudyState};
use crate::report::types::{LesionRecord, PhaseRecord, Report};
use crate::store::{Job, NewEvent};
use hepalert_study::files::Confidence;
use hepalert_study::phase::Setting;

/// Who an event is about.
pub(super) fn identity(
    device: &Device,
    study_key: &str,
    input_fingerprint: &str,
    revision: u32,
) -> Identity {
    Identity {
        device: device.name.clone(),
        study_key: study_key.to_owned(),
        input_fingerprint: input_fingerprint.to_owned(),
        pipeline_fingerprint: String::new(),
        revision,
    }
}

/// One step of a job as an event.
pub(super) fn step_of(
    device: &Device,
    job: &Job,
    state: StudyState,
    code: Option<&str>,
    now: Timestamp,
) -> Vec<NewEvent> {
    let who = identity(device, job.study_key.as_str(), &job.input_fingerprint, job.revision);
    let (setting, attempts) = (Some(job.setting), job.attempts);
    Step { code, setting, attempts, ..Step::of(state) }.said(&who, now)
}

/// A step of a study, for `event/study`.
#[derive(Debug, Clone)]
pub(super) struct Step<'a> {
    /// Where the study stands.
    pub state: StudyState,
    /// Why, if there is a reason.
    pub code: Option<&'a str>,
    /// What it is read for.
    pub setting: Option<Setting>,
    /// How often it was tried.
    pub attempts: u32,
    /// What was passed over on the way, by kind.
    pub passed_over: Counts,
}

impl<'a> Step<'a> {
    /// This state, without more words.
    pub(super) fn of(state: StudyState) -> Step<'a> {
        Step { state, code: None, setting: None, attempts: 0, passed_over: Counts::new() }
    }

    /// As an event about `identity`.
    ///
    /// # Errors
    /// [`ContractError`], which these types never give.
    pub(super) fn event(
        &self,
        identity: &Identity,
        now: Timestamp,
    ) -> Result<NewEvent, ContractError> {
        let passed_over = self.passed_over.iter().map(|(kind, n)| (kind.to_string(), *n));
        let event = StudyEvent {
            study_key: identity.study_key.clone(),
            state: self.state,
            code: self.code.map(Code::new).transpose()?,
            setting: self.setting,
            attempts: self.attempts,
            passed_over: passed_over.collect(),
            target: None,
        };
        event.draft(identity, now).map(NewEvent::from)
    }

    /// As [`Step::event`]. A step that cannot be said is logged and left out: the state in the
    /// store still changes.
    pub(super) fn said(&self, identity: &Identity, now: Timestamp) -> Vec<NewEvent> {
        let event = self.event(identity, now);
        event
            .inspect_err(|error| error!("a step cannot be published: {error}"))
            .into_iter()
            .collect()
    }
}

/// When what happened to a study.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moments {
    /// The first file was seen; after `complete` where the clock was set back in between.
    pub received: Timestamp,
    /// The study was complete.
    pub complete: Timestamp,
    /// The result is ready.
    pub notified: Timestamp,
}

/// The events of a finished study: result, alert if there is one, completed.
///
/// # Errors
/// [`ContractError`] if the report holds what the contract cannot say.
pub(super) fn finished(
    device: &Device,
    job: &Job,
    report: &Report,
    link: Option<Link>,
    earlier: Earlier,
    moments: Moments,
) -> Result<Vec<NewEvent>, ContractError> {
    let mut identity =
        identity(device, job.study_key.as_str(), &job.input_fingerprint, job.revision);
    let (setting, attempts) = (Some(job.setting), job.attempts);
    let completed = Step { setting, attempts, ..Step::of(StudyState::Completed) };
    let completed = completed.event(&identity, moments.notified)?;
    identity.pipeline_fingerprint.clone_from(&report.pipeline.fingerprint);
    let findings = findings(report, link, moments)?;
    let drafts = findings.events(&identity, earlier, moments.notified)?;
    Ok(drafts.into_iter().map(NewEvent::from).chain([completed]).collect())
}

/// The bundle that made a report, and its version.
pub(super) fn engine_name(report: &Report) -> String {
    let first = report.engines.first();
    first.map_or_else(|| "unknown".to_owned(), |engine| format!("{} {}", engine.id, engine.version))
}

fn findings(
    report: &Report,
    link: Option<Link>,
    moments: Moments,
) -> Result<Findings, ContractError> {
    let Moments { received, complete, notified } = moments;
    let waited_s = notified.duration_since(complete).as_secs_f64();
    let mut quality: Vec<Code> =
        report.quality.iter().map(|code| Code::new(code)).collect::<Result<_, _>>()?;
    if waited_s < 0.0 || received > complete {
        // How long it took is not known: the clock was set back in between.
        quality.push(Code::fixed("clock_stepped"));
    }
    let engine = |engine: &crate::report::types::EngineRecord| {
        Ok(EngineUsed {
            role: Code::new(engine.role.name())?,
            id: engine.id.clone(),
            version: engine.version.to_string(),
            sha256: engine.sha256.clone(),
        })
    };
    Ok(Findings {
        study_key: report.study_key.clone(),
        link,
        // The engine that ran, which may take fewer phases than the configured one.
        setting: report.setting,
        phases: report.phases.iter().map(phase_seen).collect::<Result<_, _>>()?,
        verdict: report.verdict,
        patient_class: PatientClasses {
            base: report.patient_class.base,
            high: report.patient_class.high,
            agreed: report.patient_class.joint,
        },
        lesions: report.lesions.iter().map(lesion).collect(),
        lesions_total: 0,
        quality,
        pipeline: Pipeline {
            version: report.pipeline.version.clone(),
            fingerprint: report.pipeline.fingerprint.clone(),
        },
        engines: report.engines.iter().map(engine).collect::<Result<_, _>>()?,
        timing: Timing {
            acquired: report.input.acquired.as_deref().and_then(parse_time),
            received: Time(received.min(complete)),
            complete: Time(complete),
            notified: Time(notified),
            time_to_notification_s: waited_s.max(0.0),
        },
        artefacts: report.artefacts.iter().map(artefact).collect(),
        notice: String::new(),
    })
}

fn artefact(record: &crate::report::types::ArtefactRecord) -> Artefact {
    let name = record.path.rsplit('/').next().unwrap_or(&record.path);
    Artefact { name: name.to_owned(), sha256: record.sha256.clone() }
}

fn phase_seen(record: &PhaseRecord) -> Result<PhaseSeen, ContractError> {
    let confidence = match record.confidence {
        Confidence::High => 0.9,
        Confidence::Medium => 0.6,
        Confidence::Low => 0.3,
    };
    Ok(PhaseSeen { phase: record.phase, source: Code::new(record.source.as_str())?, confidence })
}

fn lesion(record: &LesionRecord) -> Lesion {
    Lesion {
        id: record.id,
        class: record.class,
        malignant: record.malignant,
        volume_cm3: record.volume_cm3,
        max_diameter_mm: record.max_diameter_mm,
        centre_ras_mm: record.centre_ras_mm,
        mean_hu: record.mean_hu.clone(),
        score_cm3: record.reclassified.score_cm3,
        score: record.reclassified.score_cm3,
        seen_in: record.view,
    }
}

/// A time as files give it. DICOM times carry no zone: the scanner beside this device is
/// taken to keep the device's own.
fn parse_time(text: &str) -> Option<Time> {
    let civil: jiff::civil::DateTime = text.parse().ok()?;
    let zoned = civil.to_zoned(jiff::tz::TimeZone::system()).ok()?;
    Some(Time(zoned.timestamp()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{JobId, JobState};
    use jiff::SignedDuration;

    /// The data of every event of a finished study, received and complete so many seconds before
    /// it was told of.
    fn told(received_s: i64, complete_s: i64) -> Vec<serde_json::Value> {
        let notified = Timestamp::from_second(1_800_000_000).unwrap();
        let before = |s| notified.checked_sub(SignedDuration::from_secs(s)).unwrap();
        let key = hepalert_study::study::StudyKey::new(&"a".repeat(32)).unwrap();
        let report = crate::report::types::of_test(key.as_str());
        let job = Job {
            id: JobId(1),
            study_key: key,
            revision: 1,
            setting: Setting::Venous,
            input_fingerprint: "b".repeat(64),
            files_json: String::new(),
            state: JobState::Running,
            attempts: 1,
            not_before: notified,
            completed_at: before(complete_s),
            started_at: None,
            finished_at: None,
            reason_code: None,
        };
        let moments =
            Moments { received: before(received_s), complete: before(complete_s), notified };
        let made =
            finished(&Device::default(), &job, &report, None, Earlier::default(), moments).unwrap();
        assert_eq!(made.len(), 3, "result, alert, completed");
        let data = made.iter().map(|event| serde_json::from_str(&event.data).unwrap());
        data.filter(|data: &serde_json::Value| data["verdict"].is_string()).collect()
    }

    #[test]
    fn a_clock_that_was_set_back_is_told_and_no_wait_is_negative() {
        for (received_s, complete_s, waited_s, stepped) in [
            (20, 10, 10.0, false),
            (10, 10, 10.0, false),
            // Back after the study was complete; back between its first file and its last.
            (20, -3600, 0.0, true),
            (-3600, 10, 10.0, true),
        ] {
            let data = told(received_s, complete_s);
            assert_eq!(data.len(), 2, "result and alert");
            for data in data {
                let (quality, timing) = (&data["quality"], &data["timing"]);
                let flagged = quality.as_array().unwrap().contains(&"clock_stepped".into());
                assert_eq!(flagged, stepped, "{received_s} {complete_s}");
                assert_eq!(timing["time_to_notification_s"], waited_s);
                let [received, complete] = ["received", "complete"]
                    .map(|name| timing[name].as_str().unwrap().parse::<Timestamp>().unwrap());
                assert!(received <= complete, "{timing}");
            }
        }
    }
}
