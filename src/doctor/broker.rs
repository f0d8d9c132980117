//! The line to the broker: name, port, TLS, user and password.

use std::time::Duration;

use super::finding::Finding;
use crate::config::Config;
use crate::daemon;
use crate::publish::mqtt::{self, ProbeError};
use crate::ui::Exit;

/// Longest wait for the broker.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the broker answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BrokerFacts {
    /// `host:port`.
    pub at: String,
    /// Whether TLS is spoken.
    pub tls: bool,
    /// Whether this host is another machine.
    pub remote: bool,
    /// What is known of the password by others.
    pub exposed: Vec<String>,
    /// Its answer.
    pub answer: Result<(), ProbeError>,
}

/// Connects as the daemon does, under another client id.
pub(super) fn look_at_broker(config: &Config) -> BrokerFacts {
    let mqtt = &config.mqtt;
    BrokerFacts {
        at: format!("{}:{}", mqtt.host, mqtt.port),
        tls: mqtt.tls,
        remote: mqtt.is_remote(),
        exposed: daemon::exposed(config),
        answer: mqtt::probe(&daemon::broker_params(config), PATIENCE),
    }
}

/// Without a broker nobody hears of an alert.
pub(super) fn broker(facts: &BrokerFacts) -> Finding {
    let name = "broker";
    let BrokerFacts { at, tls, remote, exposed, answer } = facts;
    let fail = |words: &dyn std::fmt::Display, advice: &str| {
        let mut found = format!("{at}: {words}");
        // What others know of the password does not wait for the broker.
        if !exposed.is_empty() {
            found += &format!("; and {}", exposed.join("; and "));
        }
        Finding::fail(name, found, advice).ending(Exit::Broker)
    };
    match answer {
        Ok(()) if !exposed.is_empty() => Finding::warn(
            name,
            format!("{at}: takes the connection, but {}", exposed.join("; and ")),
            "then give this device another password at the broker: others may know this one",
        ),
        Ok(()) if *remote && !tls => Finding::warn(
            name,
            format!("{at}: takes the connection, but messages cross the network unencrypted"),
            "set mqtt.tls and mqtt.ca_file",
        ),
        Ok(()) => Finding::ok(name, format!("{at}: takes the connection")),
        Err(why @ ProbeError::Setup(_)) => fail(why, "correct the file or key named above"),
        Err(why @ ProbeError::Network(_)) => fail(
            why,
            "is mqtt.host right, does the broker run, does a firewall let mqtt.port through? \
             Alerts are kept and sent when it answers",
        ),
        Err(why @ ProbeError::Silent(_)) => fail(
            why,
            "is mqtt.port right, and is it the port with TLS if mqtt.tls is set (without TLS if \
             not)?",
        ),
        Err(why @ ProbeError::Tls(_)) => fail(
            why,
            "mqtt.ca_file must be the authority of the broker's certificate, mqtt.host the name \
             in it, the clock right, and mqtt.cert_file one the broker knows",
        ),
        Err(why @ ProbeError::Credentials(_)) => fail(
            why,
            "correct mqtt.username and the file mqtt.password_file, or the broker's password file",
        ),
        Err(why @ ProbeError::Protocol(_)) => {
            fail(why, "is this an MQTT 5 broker (mosquitto 2), and the right port?")
        }
    }
}
