//! MQTT 3.1.1, for brokers and gateways that speak no 5: no properties, no reasons.

use std::time::Duration;

use rumqttc_v4::{
    AsyncClient, ConnectionError, Event, EventLoop, LastWill, MqttOptions, Packet, PublishNotice,
    PublishNoticeError, PublishOptions, QoS, StateError, SubscribeFilterInput, Transport,
};
use tokio::task::JoinHandle;

use super::super::contract::MAX_BYTES;
use super::super::link::{LinkEvent, Message, Request};
use super::heard::{Heard, MAX_HEARD};
use super::params::{BrokerParams, Secrets, TlsFiles};
use super::refusal::ProbeError;
use super::{Answer, MAX_INCOMING, Session, Teller};

/// Largest packet that is sent: a body and its topic.
const MAX_OUTGOING: usize = MAX_BYTES + 1024;

fn options(params: &BrokerParams) -> Result<MqttOptions, String> {
    let address = (params.host.clone(), params.port);
    let mut options = MqttOptions::new(params.client_id.clone(), address);
    options
        .set_keep_alive(params.keep_alive_s)
        .set_clean_session(true)
        .set_max_packet_size(MAX_INCOMING as usize, MAX_OUTGOING)
        .set_inflight(params.inflight.max(1));
    let Secrets { password, tls } = params.secrets()?;
    match (&params.username, password) {
        (Some(name), Some(password)) => options.set_credentials(name.clone(), password),
        (Some(name), None) => options.set_username(name.clone()),
        // 3.1.1 knows no password without a name.
        (None, Some(_)) => return Err("MQTT 3.1.1 needs mqtt.username with a password".to_owned()),
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
    options.set_last_will(LastWill::new(topic, "offline", QoS::AtLeastOnce, true));
    let (client, event_loop) = AsyncClient::builder(options).capacity(params.capacity()).build();
    let driver = Driver { teller, client: client.clone(), commands: params.command_filter() };
    let driver = tokio::spawn(driver.drive(event_loop));
    Ok((Box::new(client), driver))
}

impl Session for AsyncClient {
    /// What properties say in MQTT 5 stands in the body, too.
    fn publish(&self, message: Message) -> Result<Answer, String> {
        let options = PublishOptions::new(QoS::AtLeastOnce).retain(message.retain);
        let notice = self.try_publish_tracked(message.topic, message.body, options);
        Ok(Box::pin(answer(notice.map_err(|error| error.to_string())?)))
    }

    fn disconnect(&self, patience: Duration) -> bool {
        self.try_disconnect_with_timeout(patience).is_ok()
    }
}

/// The broker's answer to a publish; `None` if the connection was lost over it.
async fn answer(notice: PublishNotice) -> Option<Result<(), String>> {
    match notice.wait_completion_async().await {
        Ok(()) => Some(Ok(())),
        Err(PublishNoticeError::Recv | PublishNoticeError::SessionReset) => None,
        Err(refusal) => Some(Err(refusal.to_string())),
    }
}

/// Drives one connection to its end.
struct Driver {
    teller: Teller,
    client: AsyncClient,
    commands: Option<String>,
}

impl Driver {
    async fn drive(self, mut event_loop: EventLoop) {
        loop {
            match event_loop.poll().await {
                Ok(Event::Incoming(Packet::ConnAck(_))) => {
                    self.listen();
                    self.teller.tell(LinkEvent::Up);
                }
                Ok(Event::Incoming(Packet::Publish(publish))) => {
                    self.teller.tell(LinkEvent::Request(Request {
                        topic: String::from_utf8_lossy(&publish.topic).into_owned(),
                        body: publish.payload.to_vec(),
                        retained: publish.retain,
                        response_topic: None,
                        correlation: None,
                    }));
                }
                Ok(_) => {}
                Err(ConnectionError::RequestsDone) => return,
                Err(error) => return self.teller.tell(loss(&error)),
            }
        }
    }

    /// Kept commands come, too: they are marked as kept, and refused by that.
    fn listen(&self) {
        let Some(filter) = &self.commands else { return };
        let input = SubscribeFilterInput::new(filter.clone(), QoS::AtLeastOnce);
        if let Err(error) = self.client.try_subscribe_many([input]) {
            log::warn!("commands cannot be listened to: {error}");
        }
    }
}

/// Why a connection ended, as far as this version tells.
fn loss(error: &ConnectionError) -> LinkEvent {
    match error {
        ConnectionError::MqttState(
            StateError::Io(_) | StateError::ConnectionAborted | StateError::AwaitPingResp,
        ) => LinkEvent::Down(error.to_string()),
        ConnectionError::MqttState(_) => LinkEvent::Nonsense(error.to_string()),
        error => LinkEvent::Down(error.to_string()),
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
    options.set_max_packet_size(MAX_HEARD as usize, MAX_OUTGOING);
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
    use rumqttc_v4::ConnectReturnCode as Code;
    let words = error.to_string();
    match error {
        ConnectionError::Io(io) | ConnectionError::MqttState(StateError::Io(io))
            if tls && io.kind() == std::io::ErrorKind::InvalidData =>
        {
            ProbeError::tls(&words)
        }
        ConnectionError::Tls(_) => ProbeError::tls(&words),
        ConnectionError::ConnectionRefused(
            code @ (Code::BadUserNamePassword | Code::NotAuthorized),
        ) => ProbeError::Credentials(format!("{code:?}")),
        ConnectionError::NetworkTimeout => ProbeError::Silent(super::CONNECT.as_secs()),
        ConnectionError::Io(_) => ProbeError::Network(words),
        ConnectionError::MqttState(StateError::Deserialization(_)) => {
            ProbeError::Protocol("what answers there is no MQTT broker".to_owned())
        }
        _ => ProbeError::Protocol(words),
    }
}
