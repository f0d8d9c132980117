//! A real broker for tests: mosquitto on a free loopback port, with its own folder, that can
//! be stalled, killed and started again; and a subscriber that keeps its session.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests, outside a test function"
)]

use std::fmt::Write as _;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use rumqttc::{
    Client, Connection, Event, MqttOptions, Packet, PublishOptions, PublishProperties, QoS,
};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// What kind of broker.
#[derive(Debug, Clone, Default)]
pub(crate) struct Kind {
    /// Keeps messages and sessions over a restart.
    pub persistent: bool,
    /// Who may connect; each user's password is the name backwards. Nobody means everybody.
    pub users: &'static [&'static str],
    /// Who may do what: an access list.
    pub acl: Option<PathBuf>,
    /// Certificates: the broker's authority, certificate and key, in this folder as
    /// `ca.pem`, `broker.pem`, `broker.key`; clients must show one signed by the same.
    pub tls: Option<PathBuf>,
    /// Further lines of its configuration.
    pub more: &'static str,
}

/// A broker; it ends with the value.
pub(crate) struct Broker {
    folder: TempDir,
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    child: Option<Child>,
}

fn program() -> Option<&'static str> {
    ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto", "/usr/bin/mosquitto"]
        .into_iter()
        .find(|path| Path::new(path).exists())
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The password of a user of [`Kind::users`].
pub(crate) fn password(user: &str) -> String {
    user.chars().rev().collect()
}

/// Whether there is mosquitto. Without it a test is skipped with a line, unless `CI=true`.
pub(crate) fn installed() -> bool {
    if program().is_none() {
        let ci = std::env::var("CI").is_ok_and(|value| value == "true");
        assert!(!ci, "CI=true, but mosquitto is not installed");
        println!("skipped: mosquitto is not installed");
        return false;
    }
    true
}

impl Broker {
    /// Starts a broker, if it is [`installed`].
    pub(crate) fn start(kind: &Kind) -> Option<Broker> {
        if !installed() {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        fs::write(folder.path().join("mosquitto.conf"), config(kind, folder.path(), port)).unwrap();
        for (n, user) in kind.users.iter().enumerate() {
            let file = folder.path().join("passwords");
            let make: &[&str] = if n == 0 { &["-b", "-c"] } else { &["-b"] };
            let made = Command::new("mosquitto_passwd")
                .args(make)
                .arg(file)
                .args([*user, password(user).as_str()])
                .status();
            assert!(made.unwrap().success());
        }
        let mut broker = Broker { folder, port, child: None };
        broker.restart();
        Some(broker)
    }

    /// Starts it again, on the same port and folder.
    pub(crate) fn restart(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        let child = Command::new(program().unwrap())
            .arg("-c")
            .arg(self.folder.path().join("mosquitto.conf"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.child = Some(child);
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < deadline, "mosquitto does not come up: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Kills it as a power cut would.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Stops it from doing anything; it still holds its connections.
    pub(crate) fn stall(&self) {
        let pid = Pid::from_child(self.child.as_ref().unwrap());
        kill_process(pid, Signal::STOP).unwrap();
    }

    /// What the broker wrote.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn config(kind: &Kind, folder: &Path, port: u16) -> String {
    let at = |name: &str| folder.join(name).display().to_string();
    let mut text = String::from("per_listener_settings false\n");
    if rustix::process::geteuid().is_root() {
        // Otherwise it would become another user, who may not write here.
        text += "user root\n";
    }
    writeln!(text, "log_dest file {}\nlog_type all", at("log")).unwrap();
    writeln!(text, "max_queued_messages 10000\n{}", kind.more).unwrap();
    if kind.persistent {
        writeln!(text, "persistence true\npersistence_location {}/", folder.display()).unwrap();
        writeln!(text, "autosave_on_changes true\nautosave_interval 1").unwrap();
    }
    writeln!(text, "listener {port} 127.0.0.1").unwrap();
    if let Some(certificates) = &kind.tls {
        for (key, name) in
            [("cafile", "ca.pem"), ("certfile", "broker.pem"), ("keyfile", "broker.key")]
        {
            writeln!(text, "{key} {}", certificates.join(name).display()).unwrap();
        }
        writeln!(text, "require_certificate true\nuse_identity_as_username true").unwrap();
    }
    if kind.users.is_empty() {
        writeln!(text, "allow_anonymous true").unwrap();
    } else {
        writeln!(text, "allow_anonymous false\npassword_file {}", at("passwords")).unwrap();
    }
    if let Some(acl) = &kind.acl {
        writeln!(text, "acl_file {}", acl.display()).unwrap();
    }
    text
}

/// A message that the subscriber got.
#[derive(Debug, Clone)]
pub(crate) struct Heard {
    /// The whole topic.
    pub topic: String,
    /// The payload.
    pub body: Vec<u8>,
    /// Whether it came from the broker's memory.
    pub retained: bool,
    /// Its properties.
    pub properties: PublishProperties,
}

impl Heard {
    /// The payload as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// A subscriber with a persistent session and QoS 1, which comes back by itself.
pub(crate) struct Subscriber {
    client: Client,
    heard: Receiver<Heard>,
}

impl Subscriber {
    /// Subscribes; returns once the broker has confirmed it. The id is the user's name too.
    pub(crate) fn join(broker: &Broker, id: &str, filter: &str) -> Subscriber {
        let mut options = MqttOptions::new(id, ("127.0.0.1", broker.port));
        options
            .set_keep_alive(5)
            .set_clean_start(false)
            .set_credentials(id, password(id))
            .set_session_expiry_interval(Some(3600))
            .set_max_packet_size(Some(64 * 1024));
        let (client, connection) = Client::builder(options).capacity(100).build();
        let (tell, heard) = channel();
        let (ready, is_ready) = channel();
        let (again, filter) = (client.clone(), filter.to_owned());
        std::thread::spawn(move || follow(connection, &again, &filter, &tell, &ready));
        is_ready.recv_timeout(Duration::from_secs(10)).expect("the subscription is confirmed");
        Subscriber { client, heard }
    }

    /// The next message, or `None` after `patience`.
    pub(crate) fn next(&self, patience: Duration) -> Option<Heard> {
        match self.heard.recv_timeout(patience) {
            Ok(heard) => Some(heard),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => panic!("the subscriber died"),
        }
    }

    /// The next message that `wanted` accepts; others are dropped.
    pub(crate) fn until(
        &self,
        patience: Duration,
        wanted: impl Fn(&Heard) -> bool,
    ) -> Option<Heard> {
        let deadline = Instant::now() + patience;
        loop {
            let heard = self.next(deadline.saturating_duration_since(Instant::now()))?;
            if wanted(&heard) {
                return Some(heard);
            }
        }
    }

    /// Publishes a command that wants its answer on `response_topic`.
    pub(crate) fn ask(&self, topic: &str, body: &str, response_topic: &str, retain: bool) {
        let properties = PublishProperties {
            response_topic: Some(response_topic.to_owned()),
            correlation_data: Some("question 1".into()),
            ..PublishProperties::default()
        };
        let options = PublishOptions::new(QoS::AtLeastOnce).retain(retain).properties(properties);
        self.client.publish(topic, body, options).unwrap();
    }
}

fn follow(
    mut connection: Connection,
    client: &Client,
    filter: &str,
    tell: &Sender<Heard>,
    ready: &Sender<()>,
) {
    for event in connection.iter() {
        match event {
            Ok(Event::Incoming(Packet::ConnAck(greeting))) if !greeting.session_present => {
                client.try_subscribe(filter, QoS::AtLeastOnce).unwrap();
            }
            Ok(Event::Incoming(Packet::SubAck(_))) => drop(ready.send(())),
            Ok(Event::Incoming(Packet::Publish(publish))) => {
                let heard = Heard {
                    topic: String::from_utf8(publish.topic.to_vec()).unwrap(),
                    body: publish.payload.to_vec(),
                    retained: publish.retain,
                    properties: publish.properties.unwrap_or_default(),
                };
                if tell.send(heard).is_err() {
                    return;
                }
            }
            Ok(_) => {}
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}
