//! MQTT 3.1.1: the same topics and bodies, heard and asked by a client that knows no 5.

use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use hepalert::publish::BrokerParams;
use hepalert_study::protocol::Protocol;
use rumqttc_v4::{Client, Event, MqttOptions, Packet, PublishOptions, QoS};
use serde_json::{Value, json};

use crate::broker::{Broker, Kind, password};
use crate::publish::{open, params, raise_alert, start, write};

const ROOT: &str = "hepalert/v1/ct-1";
const PATIENCE: Duration = Duration::from_secs(20);

struct Old {
    client: Client,
    heard: Receiver<(String, Vec<u8>, bool)>,
}

impl Old {
    fn join(broker: &Broker) -> Old {
        let mut options = MqttOptions::new("old", ("127.0.0.1", broker.port));
        options.set_keep_alive(5).set_clean_session(true);
        let (client, mut connection) = Client::builder(options).capacity(100).build();
        client.try_subscribe(format!("{ROOT}/#"), QoS::AtLeastOnce).unwrap();
        let ((tell, heard), (ready, is_ready)) = (channel(), channel());
        std::thread::spawn(move || {
            for event in connection.iter() {
                match event {
                    Ok(Event::Incoming(Packet::SubAck(_))) => drop(ready.send(())),
                    Ok(Event::Incoming(Packet::Publish(said))) => {
                        let topic = String::from_utf8(said.topic.to_vec()).unwrap();
                        if tell.send((topic, said.payload.to_vec(), said.retain)).is_err() {
                            return;
                        }
                    }
                    Ok(_) => {}
                    Err(_) => return,
                }
            }
        });
        is_ready.recv_timeout(PATIENCE).expect("the subscription is confirmed");
        Old { client, heard }
    }

    fn until(&self, end: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let (topic, body, _) = self.heard.recv_timeout(left).expect(end);
            if topic.ends_with(end) {
                return serde_json::from_slice(&body).unwrap_or(Value::Null);
            }
        }
    }

    fn ask(&self, command: &str, body: &Value) -> Value {
        let topic = format!("{ROOT}/cmd/{command}");
        let options = PublishOptions::new(QoS::AtLeastOnce);
        self.client.publish(topic, body.to_string(), options).unwrap();
        self.until("reply/old")
    }
}

#[test]
fn a_broker_and_a_client_of_3_1_1_miss_nothing_but_properties() {
    let Some(broker) = Broker::start(&Kind::default()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    for n in 0..3 {
        write(&store, n);
    }
    let alert = raise_alert(&store, 9);
    let old = Old::join(&broker);
    let spoken = BrokerParams { commands: true, protocol: Protocol::V311, ..params(broker.port) };
    let publisher = start(spoken, &store);
    assert_eq!(old.until("status")["schema"], "urn:hepalert:v1:status");
    for seq in 1..=3 {
        let event = old.until("event/study");
        assert_eq!(
            (&event["seq"], &event["dataschema"]),
            (&seq.into(), &"urn:hepalert:v1:study".into())
        );
        assert!(event["id"].is_string());
    }
    let reply_to = format!("{ROOT}/reply/old");
    let with = |mut body: Value| {
        body["reply_to"] = reply_to.as_str().into();
        body["correlation"] = "question 7".into();
        body
    };
    let pong = old.ask("ping", &with(json!({})));
    assert_eq!((&pong["ok"], &pong["correlation"]), (&true.into(), &"question 7".into()));
    let seen = old.ask("ack", &with(json!({ "id": alert, "by": "desk", "verdict": "agreed" })));
    assert_eq!(seen["ok"], true);
    let strange = old.ask("ping", &with(json!({ "also": 1 })));
    assert_eq!((&strange["ok"], &strange["code"]), (&false.into(), &"bad-arguments".into()));
    let again = old.ask("replay", &with(json!({ "from_seq": 2, "to_seq": 2 })));
    assert_eq!(again["events"], 1);
    assert_eq!(old.until("event/study")["replay"], true);
    assert!(publisher.stop(Duration::from_secs(2)));
}

#[test]
fn a_kept_command_is_refused_by_3_1_1_too() {
    let Some(broker) = Broker::start(&Kind::default()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let old = Old::join(&broker);
    let body = json!({ "reply_to": format!("{ROOT}/reply/old") }).to_string();
    let options = PublishOptions::new(QoS::AtLeastOnce).retain(true);
    old.client.publish(format!("{ROOT}/cmd/ping"), body, options).unwrap();
    let spoken = BrokerParams { commands: true, protocol: Protocol::V311, ..params(broker.port) };
    let publisher = start(spoken, &store);
    let answer = old.until("reply/old");
    assert_eq!((&answer["ok"], &answer["code"]), (&false.into(), &"retained-command".into()));
    assert!(publisher.stop(Duration::from_secs(2)));
}

#[test]
fn users_and_passwords_are_checked_in_3_1_1() {
    let kind = Kind { users: &["hepalert"], ..Kind::default() };
    let Some(broker) = Broker::start(&kind) else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    let asked = |word: &str| {
        std::fs::write(&file, word).unwrap();
        let spoken = BrokerParams {
            protocol: Protocol::V311,
            username: Some("hepalert".to_owned()),
            password_file: Some(file.clone()),
            ..params(broker.port)
        };
        hepalert::publish::probe(&spoken, PATIENCE)
    };
    assert_eq!(asked(&password("hepalert")), Ok(()));
    let refused = asked("wrong").unwrap_err().to_string();
    assert!(refused.contains("refuses user and password"), "{refused}");
}
