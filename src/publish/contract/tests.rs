//! The limits and the schemas, held against real messages.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;

use super::*;
use crate::publish::findings::*;
use crate::publish::ids::Identity;
use crate::publish::messages::*;
use crate::publish::schemas::schemas;
use hepalert_study::anatomy;
use hepalert_study::outcome::EngineAction;
use hepalert_study::outcome::{AlertLevel, NOTICE, PatientClass, View};
use hepalert_study::phase::{Phase, Setting};
use hepalert_study::study::Privacy;

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(1_700_000_000_000 + ms).unwrap()
}

fn identity() -> Identity {
    Identity {
        device: "ct-1".to_owned(),
        study_key: "0123456789abcdef".repeat(2),
        input_fingerprint: "a".repeat(64),
        pipeline_fingerprint: "b".repeat(64),
        revision: 2,
    }
}

fn lesion(id: u32) -> Lesion {
    Lesion {
        id,
        class: anatomy::Lesion::Hcc,
        malignant: true,
        volume_cm3: 12.5,
        max_diameter_mm: 31.25,
        centre_ras_mm: [-40.5, 12.0, 88.0],
        mean_hu: BTreeMap::from([(Phase::Nc, 44.0), (Phase::Ap, 95.5)]),
        score_cm3: Some(0.93),
        score: Some(0.93),
        seen_in: View::Common,
    }
}

fn findings(lesions: u32) -> Findings {
    Findings {
        study_key: identity().study_key,
        link: None,
        setting: Setting::Diagnosis,
        phases: vec![PhaseSeen {
            phase: Phase::Ap,
            source: Code::fixed("file-name"),
            confidence: 0.9,
        }],
        verdict: AlertLevel::Suspected,
        patient_class: PatientClasses {
            base: PatientClass::Hcc,
            high: PatientClass::Hcc,
            agreed: Some(PatientClass::Hcc),
        },
        lesions: (1..=lesions).map(lesion).collect(),
        lesions_total: 0,
        quality: vec![Code::fixed("thick-slices")],
        pipeline: Pipeline { version: "0.1.0".to_owned(), fingerprint: "b".repeat(64) },
        engines: vec![EngineUsed {
            role: Code::fixed("segment"),
            id: "demo".to_owned(),
            version: "1".to_owned(),
            sha256: "c".repeat(64),
        }],
        timing: Timing {
            acquired: None,
            received: at(0).into(),
            complete: at(1000).into(),
            notified: at(61_000).into(),
            time_to_notification_s: 60.0,
        },
        artefacts: vec![Artefact { name: "lesions.nii.gz".to_owned(), sha256: "d".repeat(64) }],
        notice: String::new(),
    }
}

fn body(draft: &Draft) -> Value {
    let row = Row { seq: 7, boot: 3, draft: draft.clone() };
    serde_json::from_slice(&row.body("ct-1", false).unwrap()).unwrap()
}

fn lesion_ids(draft: &Draft) -> Vec<u64> {
    let data: Value = serde_json::from_str(&draft.data).unwrap();
    data["lesions"].as_array().unwrap().iter().map(|l| l["id"].as_u64().unwrap()).collect()
}

fn valid(name: &str, message: &Value) {
    let schema = schemas().into_iter().find(|(known, _)| *known == name).unwrap().1;
    let validator = jsonschema::validator_for(schema.as_value()).unwrap();
    let faults: Vec<String> = validator.iter_errors(message).map(|e| e.to_string()).collect();
    assert!(faults.is_empty(), "{name}: {faults:?}\n{message:#}");
}

#[test]
fn an_alert_carries_what_the_contract_lists() {
    let earlier = Earlier { result: None, alert: Some(identity().id(EventKind::Alert, "")) };
    let events = findings(2).events(&identity(), earlier, at(61_000)).unwrap();
    let kinds: Vec<EventKind> = events.iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [EventKind::Result, EventKind::Alert]);
    let alert = body(&events[1]);
    valid("result", &body(&events[0]));
    valid("alert", &alert);
    assert_eq!(alert["specversion"], "1.0");
    assert_eq!(alert["time"], "2023-11-14T22:14:21.000Z");
    assert_eq!(alert["source"], "/hepalert/v1/ct-1");
    assert_eq!(alert["type"], "hepalert.alert.v1");
    assert_eq!(alert["subject"], identity().study_key);
    assert_eq!((&alert["seq"], &alert["boot"], &alert["rev"]), (&json!(7), &json!(3), &json!(2)));
    assert_eq!(alert["supersedes"], identity().id(EventKind::Alert, "").to_string());
    assert_eq!(alert["data"]["lesions_total"], 2);
    assert_eq!(alert["data"]["patient_class"]["final"], "HCC");
    assert_eq!(alert["data"]["lesions"][0]["mean_hu"], json!({ "nc": 44.0, "ap": 95.5 }));
    assert_eq!(alert["data"]["notice"], NOTICE);
}

#[test]
fn nothing_suspected_raises_no_alert_but_is_told() {
    let mut negative = findings(0);
    negative.verdict = AlertLevel::NotSuspected;
    let events = negative.events(&identity(), Earlier::default(), at(0)).unwrap();
    assert_eq!(events.iter().map(|e| e.kind).collect::<Vec<_>>(), [EventKind::Result]);
    assert_eq!(body(&events[0])["data"]["verdict"], "not_suspected");
}

#[test]
fn too_many_lesions_go_from_the_end_and_are_counted() {
    let events = findings(500).events(&identity(), Earlier::default(), at(0)).unwrap();
    for event in &events {
        assert_eq!(lesion_ids(event), (1..=20).collect::<Vec<_>>());
        assert_eq!(body(event)["data"]["lesions_total"], 500);
    }
}

#[test]
fn a_long_body_loses_lesions_and_never_text() {
    let mut long = findings(20);
    long.quality = (0..200).map(|n| Code::new(&format!("{n:060}")).unwrap()).collect();
    let events = long.clone().events(&identity(), Earlier::default(), at(0)).unwrap();
    for event in &events {
        let row = Row { seq: u64::MAX, boot: u64::MAX, draft: event.clone() };
        assert!(row.body("ct-1", true).unwrap().len() <= MAX_BYTES);
        let kept = lesion_ids(event).len();
        assert!((1..20).contains(&kept), "{kept}");
        assert_eq!(body(event)["data"]["quality"].as_array().unwrap().len(), 200);
        assert_eq!(body(event)["data"]["lesions_total"], 20);
    }
    long.quality = (0..400).map(|n| Code::new(&format!("{n:060}")).unwrap()).collect();
    let refused = long.events(&identity(), Earlier::default(), at(0)).unwrap_err();
    assert!(matches!(refused, ContractError::TooLarge { kind: "result", .. }), "{refused}");
}

#[test]
fn a_number_that_is_none_is_refused_by_name() {
    let mut odd = findings(2);
    odd.lesions[1].centre_ras_mm[2] = f64::NAN;
    let refused = odd.events(&identity(), Earlier::default(), at(0)).unwrap_err();
    assert_eq!(refused.to_string(), "result: lesions[1].centre_ras_mm[2] is not a finite number");
}

#[test]
fn links_leave_the_device_only_as_far_as_the_profile_goes() {
    let link = |privacy| Link::under(privacy, Some("1.2.3"), Some("A17"));
    assert_eq!(link(Privacy::Minimal), None);
    let linked = link(Privacy::Linked).unwrap();
    assert_eq!((linked.study_uid.as_deref(), linked.accession_number), (Some("1.2.3"), None));
    assert_eq!(link(Privacy::Full).unwrap().accession_number.as_deref(), Some("A17"));
    assert_eq!(Link::under(Privacy::Full, None, Some("not an accession number")), None);
}

#[test]
fn codes_and_names_are_no_free_text() {
    for bad in ["", "Doe^John", "a b", "ü", &"x".repeat(65)] {
        assert!(Code::new(bad).is_err(), "{bad:?}");
        assert!(serde_json::from_value::<Code>(json!(bad)).is_err(), "{bad:?}");
    }
    for bad in ["", "CT1", "a/b", "a+", &"x".repeat(33)] {
        assert!(check_device(bad).is_err(), "{bad:?}");
    }
    for bad in ["", "/a", "a//b", "a/", "#", "a/+", "$sys", "A"] {
        assert!(check_base(bad).is_err(), "{bad:?}");
    }
    check_base("hospital-1/hepalert").unwrap();
}

#[test]
fn every_other_message_keeps_its_schema() {
    let study = StudyEvent {
        study_key: identity().study_key,
        state: StudyState::Refused,
        code: Some(Code::fixed("no-liver")),
        setting: None,
        attempts: 0,
        passed_over: [("localiser".to_owned(), 2)].into(),
        target: None,
    };
    valid("study", &body(&study.draft(&identity(), at(0)).unwrap()));
    let engine = findings(0).engines.remove(0);
    let change = EngineEvent {
        action: EngineAction::RolledBack,
        engine: engine.clone(),
        in_use: Some(engine.clone()),
        code: None,
    };
    valid("engine", &body(&change.draft("ct-1", at(0)).unwrap()));

    let status = Status::new(State::Degraded, vec![Code::fixed("disk-low")], at(0), 3);
    valid("status", &json!(status));
    let info = Info::from(InfoParts {
        engines: vec![engine],
        config_sha256: "e".repeat(64),
        boot: 3,
        next_seq: 12,
        clock_synced: None,
    });
    valid("info", &json!(info));
    let vitals = Vitals { queued: 1, oldest_unsent: Some(at(0).into()), ..Vitals::default() };
    let health = Health::new(vitals, 60, at(0));
    assert_eq!(health.valid_for_s, 150);
    valid("health", &json!(health));
    let open = OpenAlert {
        id: identity().id(EventKind::Alert, "").to_string(),
        study_key: identity().study_key,
        verdict: AlertLevel::Uncertain,
        time: at(0).into(),
    };
    let worklist = Worklist::new(4, 60, vec![open; 60]);
    assert_eq!(worklist.open.len(), MAX_OPEN);
    assert!(bounded("worklist", &worklist).unwrap().len() < MAX_BYTES);
    valid("worklist", &json!(worklist));
}

#[test]
fn a_reminder_names_its_alert_and_is_the_same_after_a_crash() {
    let reminder = |reminder| {
        let escalation = Escalation {
            alert_id: identity().id(EventKind::Alert, "").to_string(),
            study_key: identity().study_key,
            verdict: AlertLevel::Suspected,
            raised: at(0).into(),
            reminder,
            reminders: 3,
            notice: String::new(),
        };
        escalation.draft("ct-1", 2, at(9)).unwrap()
    };
    let first = reminder(1);
    assert_eq!((first.id, first.revision), (reminder(1).id, 2));
    assert_ne!(first.id, reminder(2).id);
    let row = Row { seq: 1, boot: 1, draft: first };
    let said: serde_json::Value =
        serde_json::from_slice(&row.body("ct-1", false).unwrap()).unwrap();
    valid("escalation", &said);
    assert_eq!(said["data"]["notice"], NOTICE);
}

#[test]
fn commands_are_read_strictly() {
    assert_eq!(Command::read("ping", json!({})), Ok(Command::Ping {}));
    let replay = Command::read("replay", json!({ "from_seq": 3, "to_seq": 9 }));
    assert_eq!(replay, Ok(Command::Replay { from_seq: 3, to_seq: 9 }));
    // A body stands alone: its command is the topic's.
    valid("command", &json!(replay.unwrap())["replay"]);
    valid("command", &json!({}));
    for (name, body, code) in [
        ("reprocess", "{}", "bad-arguments"),
        (
            "ack",
            "{\"id\":\"00000000-0000-0000-0000-000000000000\",\"by\":\"me\",\"verdict\":\"yes\"}",
            "bad-arguments",
        ),
        ("engine", "{}", "unknown-command"),
        ("replay", "{}", "bad-arguments"),
        ("replay", "{\"from_seq\":-1,\"to_seq\":2}", "bad-arguments"),
        ("replay", "{\"from_seq\":1,\"to_seq\":2,\"also\":3}", "bad-arguments"),
        ("ack", "{\"id\":\"x\",\"by\":\"me\"}", "bad-arguments"),
        ("ping", "[]", "bad-arguments"),
    ] {
        let arguments = serde_json::from_str(body).unwrap();
        assert_eq!(Command::read(name, arguments), Err(Code::fixed(code)), "{name} {body}");
    }
}

/// `REGENERATE=1` writes the files anew; without it they must be what the types say.
#[test]
fn the_shipped_schemas_are_the_types() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/schemas");
    let regenerate = std::env::var("REGENERATE").is_ok_and(|value| value == "1");
    for (name, schema) in schemas() {
        let file = folder.join(format!("{name}.json"));
        let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
        if regenerate {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&file, &text).unwrap();
        }
        let shipped = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(shipped == text, "{} is out of date: run with REGENERATE=1", file.display());
    }
}
