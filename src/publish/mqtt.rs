//! MQTT 5 behind [`Link`]: the only file that knows the client library and tokio.
//!
//! Owns connecting (TLS, user and password, last will), tracked publishes and the taking
//! down of a line. Every connection is a fresh client with a clean start: what was under way
//! on the one before is not resumed but sent again from the outbox, which is the only memory.
//! The client refuses to resume a session that only the broker remembers, as it is after a
//! restart of this process, so a session kept by the broker would buy nothing but a second
//! way to recover. Refuses to decide what is sent.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rumqttc::{
    AsyncClient, ConnectionError, Event, EventLoop, LastWill, MqttOptions, Packet, PublishNotice,
    PublishOptions, PublishProperties, QoS, StateError, SubscribeFilterInput, Transport, mqttbytes,
};
use tokio::runtime::Runtime;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use super::contract::{ContractError, VERSION, check_base, check_device};
use super::link::{Link, LinkEvent, Message, Request, Waker};

/// Longest wait for TCP, TLS and the broker's greeting together.
const CONNECT: Duration = Duration::from_secs(10);
/// MQTT's reason code.
const PACKET_TOO_LARGE: u8 = 149;
/// Largest packet taken from the broker: commands are short.
const MAX_INCOMING: u32 = 16 * 1024;

/// How to reach the broker and what to be called there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Params {
    /// Broker's name or address.
    pub host: String,
    /// Broker's port.
    pub port: u16,
    /// Name of this client at the broker; one per device.
    pub client_id: String,
    /// First part of every topic.
    pub base_topic: String,
    /// This device: 1 to 32 of `a-z 0-9 -`.
    pub device: String,
    /// User name.
    pub username: Option<String>,
    /// File with the password; one line end is cut off. Read at every connect.
    pub password_file: Option<PathBuf>,
    /// Speak TLS.
    pub tls: Option<Tls>,
    /// Seconds between two signs of life.
    pub keep_alive_s: u16,
    /// Most messages under way.
    pub inflight: u16,
    /// Seconds between two health messages.
    pub health_s: u64,
    /// Listen to `cmd/{ping,ack,replay}`. Off by default.
    pub commands: bool,
}

/// Files for TLS, all PEM, read at every connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The authority that signed the broker's certificate.
    pub ca_file: PathBuf,
    /// This device's certificate and private key.
    pub client: Option<(PathBuf, PathBuf)>,
}

impl Params {
    /// The usual values for a broker and a device.
    pub fn new(host: &str, port: u16, device: &str) -> Params {
        Params {
            host: host.to_owned(),
            port,
            client_id: format!("hepalert-{device}"),
            base_topic: "hepalert".to_owned(),
            device: device.to_owned(),
            username: None,
            password_file: None,
            tls: None,
            keep_alive_s: 30,
            inflight: 16,
            health_s: 60,
            commands: false,
        }
    }

    /// Checks the names that become topics.
    ///
    /// # Errors
    /// [`ContractError::Name`].
    pub fn check(&self) -> Result<(), ContractError> {
        check_device(&self.device)?;
        check_base(&self.base_topic)
    }

    /// `<base>/v1/<device>`.
    pub fn root(&self) -> String {
        format!("{}/{VERSION}/{}", self.base_topic, self.device)
    }

    fn options(&self) -> Result<MqttOptions, String> {
        let mut options = MqttOptions::new(self.client_id.clone(), (self.host.clone(), self.port));
        options
            .set_keep_alive(self.keep_alive_s)
            .set_clean_start(true)
            .set_connect_timeout(CONNECT)
            .set_max_packet_size(Some(MAX_INCOMING))
            .set_outgoing_inflight_upper_limit(self.inflight.max(1));
        let password = match &self.password_file {
            Some(file) => Some(read(file, "mqtt.password_file")?.trim_ascii_end().to_vec()),
            None => None,
        };
        match (&self.username, password) {
            (Some(name), Some(password)) => options.set_credentials(name.clone(), password),
            (Some(name), None) => options.set_username(name.clone()),
            (None, Some(password)) => options.set_password(password),
            (None, None) => &mut options,
        };
        if let Some(tls) = &self.tls {
            let ca = read(&tls.ca_file, "mqtt.ca_file")?;
            let client = match &tls.client {
                Some((certificate, key)) => {
                    Some((read(certificate, "mqtt.cert_file")?, read(key, "mqtt.key_file")?))
                }
                None => None,
            };
            options.set_transport(Transport::tls(ca, client, None));
        }
        Ok(options)
    }
}

fn read(file: &PathBuf, what: &str) -> Result<Vec<u8>, String> {
    fs::read(file).map_err(|error| format!("{}: {what} cannot be read: {error}", file.display()))
}

/// A connection and the task that drives it.
struct Connection {
    client: AsyncClient,
    driver: JoinHandle<()>,
}

/// A line to a real broker. Lives in one thread, with its own runtime.
pub struct MqttLink {
    params: Params,
    runtime: Runtime,
    events: mpsc::UnboundedReceiver<(u64, LinkEvent)>,
    report: mpsc::UnboundedSender<(u64, LinkEvent)>,
    wake: Arc<Notify>,
    connection: Option<Connection>,
    /// What the broker says for this device when the line breaks.
    will: LastWill,
    /// What the broker of this connection takes; 0 is everything.
    most_bytes: Arc<AtomicU32>,
    /// Counts connections: what an earlier one still has to say is not listened to.
    generation: u64,
}

impl MqttLink {
    /// A line that is not open yet.
    ///
    /// # Errors
    /// If the system refuses a runtime.
    pub fn new(params: Params) -> std::io::Result<MqttLink> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        // Unbounded, but at most the window of answers and the commands of one packet limit.
        let (report, events) = mpsc::unbounded_channel();
        let wake = Arc::new(Notify::new());
        let topic = format!("{}/availability", params.root());
        let will = LastWill::new(topic, "offline", QoS::AtLeastOnce, true, None);
        Ok(MqttLink {
            params,
            runtime,
            events,
            report,
            wake,
            connection: None,
            will,
            most_bytes: Arc::default(),
            generation: 0,
        })
    }

    fn tell(&self, event: LinkEvent) {
        // The receiver lives as long as the sender does: both are ours.
        let _ = self.report.send((self.generation, event));
    }
}

impl Link for MqttLink {
    fn open(&mut self) {
        self.close(None);
        self.generation += 1;
        let mut options = match self.params.options() {
            Ok(options) => options,
            Err(words) => return self.tell(LinkEvent::Down(words)),
        };
        options.set_last_will(self.will.clone());
        // Room for the window, the retained set and some replies.
        let capacity = usize::from(self.params.inflight) + 32;
        let (client, event_loop) = AsyncClient::builder(options).capacity(capacity).build();
        let commands = self.params.commands.then(|| format!("{}/cmd/+", self.params.root()));
        let driver = Driver {
            generation: self.generation,
            report: self.report.clone(),
            client: client.clone(),
            commands,
            most_bytes: Arc::clone(&self.most_bytes),
        };
        let driver = self.runtime.spawn(driver.drive(event_loop));
        self.connection = Some(Connection { client, driver });
    }

    fn send(&mut self, message: Message) {
        let Some(connection) = &self.connection else { return };
        let ticket = message.ticket;
        let properties = PublishProperties {
            payload_format_indicator: Some(1),
            content_type: message.content_type.map(str::to_owned),
            user_properties: message.properties,
            correlation_data: message.correlation.map(Into::into),
            ..PublishProperties::default()
        };
        let options =
            PublishOptions::new(QoS::AtLeastOnce).retain(message.retain).properties(properties);
        let _inside = self.runtime.enter();
        match connection.client.try_publish_tracked(message.topic, message.body, options) {
            Ok(notice) => {
                let (report, generation) = (self.report.clone(), self.generation);
                tokio::spawn(async move {
                    if let Some(outcome) = answer(notice).await {
                        let _ = report.send((generation, LinkEvent::Answered(ticket, outcome)));
                    }
                });
            }
            Err(error) => self.tell(LinkEvent::Answered(ticket, Err(error.to_string()))),
        }
    }

    fn wait(&mut self, most: Duration) -> LinkEvent {
        let MqttLink { runtime, events, wake, generation, .. } = self;
        runtime.block_on(async {
            let deadline = tokio::time::sleep(most);
            tokio::pin!(deadline);
            loop {
                tokio::select! {
                    biased;
                    heard = events.recv() => match heard {
                        Some((from, event)) if from == *generation => return event,
                        Some(_) => {}
                        None => return LinkEvent::Idle,
                    },
                    () = wake.notified() => return LinkEvent::Woken,
                    () = &mut deadline => return LinkEvent::Idle,
                }
            }
        })
    }

    fn close(&mut self, polite: Option<Duration>) {
        let Some(Connection { client, mut driver }) = self.connection.take() else { return };
        self.generation += 1;
        let polite =
            polite.filter(|patience| client.try_disconnect_with_timeout(*patience).is_ok());
        self.runtime.block_on(async {
            if let Some(patience) = polite
                && tokio::time::timeout(patience, &mut driver).await.is_ok()
            {
                return;
            }
            driver.abort();
            // Aborting is only a wish until the task was polled: without this the socket
            // would stay open until the next wait.
            let _ = driver.await;
        });
    }

    fn most_bytes(&self) -> Option<u64> {
        match self.most_bytes.load(Ordering::Relaxed) {
            0 => None,
            most => Some(u64::from(most)),
        }
    }

    fn waker(&self) -> Waker {
        let wake = Arc::clone(&self.wake);
        Arc::new(move || wake.notify_one())
    }
}

/// The broker's answer to a publish; `None` if the connection was lost over it.
async fn answer(notice: PublishNotice) -> Option<Result<(), String>> {
    use rumqttc::PublishNoticeError as Lost;
    match notice.wait_completion_async().await {
        Ok(()) => Some(Ok(())),
        Err(Lost::Recv | Lost::SessionReset) => None,
        Err(refusal) => Some(Err(refusal.to_string())),
    }
}

/// Drives one connection to its end. It is polled in its own task and never cancelled in the
/// middle of a handshake.
struct Driver {
    generation: u64,
    report: mpsc::UnboundedSender<(u64, LinkEvent)>,
    client: AsyncClient,
    commands: Option<String>,
    most_bytes: Arc<AtomicU32>,
}

impl Driver {
    async fn drive(self, mut event_loop: EventLoop) {
        loop {
            match event_loop.poll().await {
                Ok(Event::Incoming(Packet::ConnAck(greeting))) => {
                    let said = greeting.properties.and_then(|said| said.max_packet_size);
                    self.most_bytes.store(said.unwrap_or(0), Ordering::Relaxed);
                    self.listen();
                    self.tell(LinkEvent::Up);
                }
                Ok(Event::Incoming(Packet::Publish(publish))) => {
                    self.tell(LinkEvent::Request(request(publish)));
                }
                Ok(_) => {}
                Err(ConnectionError::RequestsDone) => return,
                // The first error ends the connection; whether and when there is another
                // one is decided elsewhere.
                Err(error) => return self.tell(loss(&error)),
            }
        }
    }

    fn listen(&self) {
        let Some(filter) = &self.commands else { return };
        let input = SubscribeFilterInput::new(filter.clone(), QoS::AtLeastOnce)
            .retain_forward_rule(rumqttc::RetainForwardRule::Never);
        if let Err(error) = self.client.try_subscribe_many([input]) {
            log::warn!("commands cannot be listened to: {error}");
        }
    }

    fn tell(&self, event: LinkEvent) {
        let _ = self.report.send((self.generation, event));
    }
}

/// Why a connection ended, as far as it matters what to do.
fn loss(error: &ConnectionError) -> LinkEvent {
    use rumqttc::mqttbytes::v5::DisconnectReasonCode as Reason;
    match error {
        ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, .. }) => {
            match reason_code {
                Reason::SessionTakenOver => LinkEvent::Usurped,
                Reason::PacketTooLarge => LinkEvent::TooLarge,
                _ => LinkEvent::Down(error.to_string()),
            }
        }
        // mosquitto answers a message over its message_size_limit with a code that only a
        // disconnect may carry; the client takes it for nonsense.
        ConnectionError::MqttState(StateError::Deserialization(
            mqttbytes::Error::InvalidConnectReturnCode(PACKET_TOO_LARGE),
        )) => LinkEvent::TooLarge,
        ConnectionError::MqttState(said) if !is_silence(said) => {
            LinkEvent::Nonsense(error.to_string())
        }
        error => LinkEvent::Down(error.to_string()),
    }
}

/// The line broke or nobody answered: nothing was said that could be wrong.
const fn is_silence(error: &StateError) -> bool {
    matches!(error, StateError::Io(_) | StateError::ConnectionAborted | StateError::AwaitPingResp)
}

fn request(publish: rumqttc::Publish) -> Request {
    let properties = publish.properties.unwrap_or_default();
    Request {
        topic: String::from_utf8_lossy(&publish.topic).into_owned(),
        body: publish.payload.to_vec(),
        retained: publish.retain,
        response_topic: properties.response_topic,
        correlation: properties.correlation_data.map(|data| data.to_vec()),
    }
}

/// Why a broker does not take a connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// A name that cannot be a topic, or a file that cannot be read.
    #[error("{0}")]
    Setup(String),
    /// No connection.
    #[error("{0}")]
    Network(String),
    /// The line is there, but nobody answers.
    #[error("no answer within {0} s")]
    Silent(u64),
    /// No agreement on TLS: certificates, names, or the other side speaks none.
    #[error("{0}")]
    Tls(String),
    /// The broker does not let this user in.
    #[error("the broker refuses user and password ({0})")]
    Credentials(String),
    /// The broker answers something else.
    #[error("{0}")]
    Protocol(String),
}

impl ProbeError {
    fn of(error: &ConnectionError, tls: bool) -> ProbeError {
        use rumqttc::ConnectReturnCode as Code;
        let words = error.to_string();
        // What a TLS 1.3 server thinks of our certificate comes after the handshake, wrapped
        // as an unreadable packet.
        let io = match error {
            ConnectionError::Io(io)
            | ConnectionError::MqttState(
                StateError::Io(io) | StateError::Deserialization(mqttbytes::Error::Io(io)),
            ) => Some(io),
            _ => None,
        };
        if tls && io.is_some_and(|io| io.kind() == std::io::ErrorKind::InvalidData) {
            return ProbeError::Tls(words);
        }
        match error {
            ConnectionError::Tls(_) => ProbeError::Tls(words),
            ConnectionError::ConnectionRefused(
                code @ (Code::BadUserNamePassword
                | Code::NotAuthorized
                | Code::Banned
                | Code::BadAuthenticationMethod),
            ) => ProbeError::Credentials(format!("{code:?}")),
            ConnectionError::Timeout(_) => ProbeError::Silent(CONNECT.as_secs()),
            ConnectionError::Io(_) => ProbeError::Network(words),
            _ => ProbeError::Protocol(words),
        }
    }
}

/// Whether a broker takes a connection with these parameters, within `patience`. The broker
/// sees another client id, so that a running daemon is not thrown out, and no last will
/// speaks of it.
///
/// # Errors
/// [`ProbeError`] with the broker's or the system's words.
pub fn probe(params: &Params, patience: Duration) -> Result<(), ProbeError> {
    let setup = |error: &dyn std::fmt::Display| ProbeError::Setup(error.to_string());
    params.check().map_err(|error| setup(&error))?;
    let mut params = params.clone();
    params.client_id = format!("{}-probe-{}", params.client_id, std::process::id());
    let options = params.options().map_err(|error| setup(&error))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let (client, mut line) = AsyncClient::builder(options).capacity(4).build();
    let tls = params.tls.is_some();
    runtime.map_err(|error| setup(&error))?.block_on(async {
        let answered = tokio::time::timeout(patience, async {
            loop {
                match line.poll().await {
                    Ok(Event::Incoming(Packet::ConnAck(_))) => return Ok(()),
                    Ok(_) => {}
                    Err(error) => return Err(ProbeError::of(&error, tls)),
                }
            }
        });
        answered.await.unwrap_or(Err(ProbeError::Silent(patience.as_secs())))?;
        // A farewell; a broker that does not hear it closes the line by itself.
        let _ = client.try_disconnect();
        let farewell = async { while line.poll().await.is_ok() {} };
        let _ = tokio::time::timeout(Duration::from_secs(1), farewell).await;
        Ok(())
    })
}
