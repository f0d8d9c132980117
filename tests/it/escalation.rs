//! An alert that nobody acknowledges is told again, so often and no oftener; what people think of
//! alerts is counted.

use std::fs;
use std::time::Duration;

use hepalert::store::Store;
use jiff::Timestamp;

use crate::broker::{Broker, Kind, Subscriber};
use crate::daemon::House;
use crate::publish::raise_alert;
use crate::support::hepalert;

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn an_alert_that_nobody_acknowledges_is_told_again_until_somebody_does() {
    let Some(broker) = Broker::start(&Kind::default()) else { return };
    let reader = Subscriber::join(&broker, "reader", "hepalert/v1/test/#");
    let house = House::new(broker.port, 1);
    let keys = "[mqtt]\ncommands = true\nescalate_after_min = 1\nescalate_times = 2\n";
    let config = fs::read_to_string(house.config()).unwrap().replace("[mqtt]\n", keys);
    fs::write(house.config(), config).unwrap();
    // The first start makes the key that studies are named with.
    let daemon = house.start();
    reader.until(PATIENCE, |heard| heard.topic.ends_with("/info")).expect("a birth message");
    daemon.stop();
    let store = Store::open(&house.database(), Timestamp::now()).unwrap().store;
    let alert = raise_alert(&store, 9);
    let daemon = house.start_under("HEPALERT_HASTE", "60");
    let escalation = |heard: &crate::broker::Heard| heard.topic.ends_with("event/escalation");
    let mut ids = Vec::new();
    for reminder in 1..=2 {
        let heard = reader.until(PATIENCE, escalation);
        let heard = heard.unwrap_or_else(|| panic!("no reminder: {}", house.log())).json();
        let data = &heard["data"];
        assert_eq!(
            (&data["alert_id"], &data["reminder"]),
            (&alert.as_str().into(), &reminder.into())
        );
        assert_eq!((&data["reminders"], &data["verdict"]), (&2.into(), &"suspected".into()));
        assert_eq!((&heard["subject"], &heard["rev"]), (&data["study_key"], &1.into()));
        ids.push(heard["id"].clone());
    }
    assert_ne!(ids[0], ids[1]);
    assert!(reader.until(Duration::from_secs(4), escalation).is_none(), "twice, as configured");

    let reply = "hepalert/v1/test/reply/reader";
    let ask = |body: String| {
        reader.ask("hepalert/v1/test/cmd/ack", &body, reply, false);
        let heard = reader.until(PATIENCE, |heard| heard.topic == reply).expect("an answer");
        heard.json()["ok"].as_bool().unwrap()
    };
    assert!(ask(format!(r#"{{"id":"{alert}","by":"reading-room"}}"#)));
    assert!(!ask(format!(r#"{{"id":"{alert}","by":"reading-room"}}"#)), "closed already");
    let word = format!(r#"{{"id":"{alert}","by":"radiologist","verdict":"disagreed"}}"#);
    assert!(ask(word), "an opinion may come later");
    daemon.stop();

    let mut quality = hepalert();
    quality.args(["--json", "quality", "--config"]).arg(house.config());
    let told: serde_json::Value =
        serde_json::from_slice(&quality.output().unwrap().stdout).unwrap();
    let line = &told["alerts"][0];
    assert_eq!((&line["device"], &line["engine"]), (&"test".into(), &"e 1".into()));
    let counts = ["alerts", "acknowledged", "agreed", "disagreed"].map(|name| line[name].as_u64());
    assert_eq!(counts, [Some(1), Some(1), Some(0), Some(1)]);
}

#[test]
fn who_escalates_lets_people_acknowledge() {
    let house = House::new(1, 1);
    let config = fs::read_to_string(house.config()).unwrap();
    let keys = "[mqtt]\nescalate_after_min = 5\n";
    fs::write(house.config(), config.replace("[mqtt]\n", keys)).unwrap();
    let mut check = hepalert();
    let ended = check.arg("check-config").arg("--config").arg(house.config()).output().unwrap();
    assert_eq!(ended.status.code(), Some(6));
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(said.contains("mqtt.commands must then be true, or nobody can acknowledge"), "{said}");
}
