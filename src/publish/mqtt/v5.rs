//! MQTT 5.

use std::sync::atomic::Ordering;
use std::time::Duration;

use rumqttc::{
    AsyncClient, ConnectionError, Event, EventLoop, LastWill, MqttOptions, Packet, PublishNotice,
    PublishOptions, PublishProperties, QoS, StateError, SubscribeFilterInput, Transport, mqttbytes,
};
use tokio::task::JoinHandle;

use super::super::link::{LinkEvent, Message, Request};
use super::heard::{Heard, MAX_HEARD};
use super::params::{BrokerParams, Secrets, TlsFiles};
use super::refusal::ProbeError;
use super::{Answer, CONNECT, MAX_INCOMING, Session, Teller};

/// MQTT's reason code.
const PACKET_TOO_LARGE: u8 = 149;

fn options(params: &BrokerParams) -> Result<MqttOptions, String> {
    let address = (params.host.clone(), params.port);
    let mut options = MqttOptions::new(params.client_id.clone(), address);
    options
        .set_keep_alive(params.keep_alive_s)
        .set_clean_start(true)
        .set_connect_timeout(CONNECT)
        .set_max_packet_size(Some(MAX_INCOMING))
        .set_outgoing_inflight_upper_limit(params.inflight.max(1));
    let Secrets { password, tls } = params.secrets()?;
    match (&params.username, password) {
        (Some(name), Some(password)) => options.set_credentials(name.clone(), password),
        (Some(name), None) => options.set_username(name.clone()),
        (None, Some(password)) => options.set_password(password),
        (None, None) => &mut options,
    };
    if let Some(TlsFiles { ca, client }) = tls {
        options.set_transport(Transport::tls(ca, client, None));
    }
    Ok(options)
}

/// Begins a connection; runs inside the link's runtime.
pub(super) fn open(
    params: &BrokerParams,
    teller: Teller,
) -> Result<(Box<dyn Session>, JoinHandle<()>), String> {
    let mut options = options(params)?;
    let topic = params.availability();
    options.set_last_will(LastWill::new(topic, "offline", QoS::AtLeastOnce, true, None));
    let (client, event_loop) = AsyncClient::builder(options).capacity(params.capacity()).build();
    let driver = Driver { teller, client: client.clone(), commands: params.command_filter() };
    let driver = tokio::spawn(driver.drive(event_loop));
    Ok((Box::new(client), driver))
}

impl Session for AsyncClient {
    fn publish(&self, message: Message) -> Result<Answer, String> {
        let properties = PublishProperties {
            payload_format_indicator: Some(1),
            content_type: message.content_type.map(str::to_owned),
            user_properties: message.properties,
            correlation_data: message.correlation.map(Into::into),
            ..PublishProperties::default()
        };
        let options =
            PublishOptions::new(QoS::AtLeastOnce).retain(message.retain).properties(properties);
        let notice = self.try_publish_tracked(message.topic, message.body, options);
        Ok(Box::pin(answer(notice.map_err(|error| error.to_string())?)))
    }

    fn disconnect(&self, patience: Duration) -> bool {
        self.try_disconnect_with_timeout(patience).is_ok()
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
    teller: Teller,
    client: AsyncClient,
    commands: Option<String>,
}

impl Driver {
    async fn drive(self, mut event_loop: EventLoop) {
        loop {
            match event_loop.poll().await {
                Ok(Event::Incoming(Packet::ConnAck(greeting))) => {
                    let said = greeting.properties.and_then(|said| said.max_packet_size);
                    self.teller.most_bytes.store(said.unwrap_or(0), Ordering::Relaxed);
                    self.listen();
                    self.teller.tell(LinkEvent::Up);
                }
                Ok(Event::Incoming(Packet::Publish(publish))) => {
                    self.teller.tell(LinkEvent::Request(request(publish)));
                }
                Ok(_) => {}
                Err(ConnectionError::RequestsDone) => return,
                // The first error ends the connection; whether and when there is another
                // one is decided elsewhere.
                Err(error) => return self.teller.tell(loss(&error)),
            }
        }
    }

    fn listen(&self) {
        let Some(filter) = &self.commands else { return };
        let input = SubscribeFilterInput::new(filter.clone(), QoS::AtLeastOnce)
            .retain_forward_rule(rumqttc::RetainForwardRule::Never)
            // A retained command is refused also where the device is listening when it is sent.
            .preserve_retain(true);
        if let Err(error) = self.client.try_subscribe_many([input]) {
            log::warn!("commands cannot be listened to: {error}");
        }
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

/// Waits for the broker's greeting, and says farewell.
pub(super) async fn greet(params: &BrokerParams) -> Result<(), ProbeError> {
    let options = options(params).map_err(ProbeError::Setup)?;
    let (client, mut line) = AsyncClient::builder(options).capacity(4).build();
    loop {
        match line.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(_))) => break,
            Ok(_) => {}
            Err(error) => return Err(refusal(&error, params.tls.is_some())),
        }
    }
    // A farewell; a broker that does not hear it closes the line by itself.
    let _ = client.try_disconnect();
    let farewell = async { while line.poll().await.is_ok() {} };
    let _ = tokio::time::timeout(Duration::from_secs(1), farewell).await;
    Ok(())
}

/// Subscribes once greeted, and listens until the line breaks.
pub(super) async fn hear(
    params: &BrokerParams,
    filters: &[String],
    greeted: &mut bool,
    take: &mut dyn FnMut(Heard),
) -> Result<(), ProbeError> {
    let mut options = options(params).map_err(ProbeError::Setup)?;
    options.set_max_packet_size(Some(MAX_HEARD));
    let (client, mut line) = AsyncClient::builder(options).capacity(64).build();
    loop {
        match line.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                *greeted = true;
                let inputs = filters
                    .iter()
                    .map(|of| SubscribeFilterInput::new(of.clone(), QoS::AtLeastOnce));
                let asked = client.try_subscribe_many(inputs);
                asked.map_err(|error| ProbeError::Setup(error.to_string()))?;
            }
            Ok(Event::Incoming(Packet::Publish(publish))) => {
                take(Heard::of(&publish.topic, &publish.payload, publish.retain));
            }
            Ok(_) => {}
            Err(error) => return Err(refusal(&error, params.tls.is_some())),
        }
    }
}

fn refusal(error: &ConnectionError, tls: bool) -> ProbeError {
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
        return ProbeError::tls(&words);
    }
    match error {
        ConnectionError::Tls(_) => ProbeError::tls(&words),
        ConnectionError::ConnectionRefused(
            code @ (Code::BadUserNamePassword
            | Code::NotAuthorized
            | Code::Banned
            | Code::BadAuthenticationMethod),
        ) => ProbeError::Credentials(format!("{code:?}")),
        ConnectionError::Timeout(_) => ProbeError::Silent(CONNECT.as_secs()),
        ConnectionError::Io(_) => ProbeError::Network(words),
        ConnectionError::MqttState(StateError::Deserialization(_)) => {
            ProbeError::Protocol("what answers there is no MQTT broker".to_owned())
        }
        _ => ProbeError::Protocol(words),
    }
}
