//! MQTT behind [`Link`]: the only room that knows the client library and tokio.
//!
//! Owns connecting (TLS, user and password, last will), tracked publishes and the taking
//! down of a line. Every connection is a fresh client with a clean start: what was under way
//! on the one before is not resumed but sent again from the outbox, which is the only memory.
//! The client refuses to resume a session that only the broker remembers, as it is after a
//! restart of this process, so a session kept by the broker would buy nothing but a second
//! way to recover. What
//! differs between the versions of MQTT lies in `v5` and `v311`. Refuses to decide what is sent.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use super::link::{Link, LinkEvent, Message, Waker};
use hepalert_study::protocol::Protocol;

mod heard;
mod listen;
mod params;
mod probe;
mod refusal;
mod v311;
mod v5;

pub use heard::Heard;
pub use listen::listen;
pub use params::{BrokerParams, Tls};
pub use probe::probe;
pub use refusal::ProbeError;

/// Longest wait for TCP, TLS and the broker's greeting together.
const CONNECT: Duration = Duration::from_secs(10);
/// Largest packet taken from the broker: commands are short.
const MAX_INCOMING: u32 = 16 * 1024;

/// The broker's answer to a publish; `None` if the connection was lost over it.
type Answer = Pin<Box<dyn Future<Output = Option<Result<(), String>>> + Send>>;

/// A connection, in one version of MQTT.
trait Session: Send {
    /// Hands over a message; the words of a refusal to take it.
    fn publish(&self, message: Message) -> Result<Answer, String>;
    /// Begins a polite end; false if that cannot be said any more.
    fn disconnect(&self, patience: Duration) -> bool;
}

/// What a connection tells the link.
struct Teller {
    generation: u64,
    report: mpsc::UnboundedSender<(u64, LinkEvent)>,
    most_bytes: Arc<AtomicU32>,
}

impl Teller {
    fn tell(&self, event: LinkEvent) {
        let _ = self.report.send((self.generation, event));
    }
}

/// A line to a real broker. Lives in one thread, with its own runtime.
pub struct MqttLink {
    params: BrokerParams,
    runtime: Runtime,
    events: mpsc::UnboundedReceiver<(u64, LinkEvent)>,
    report: mpsc::UnboundedSender<(u64, LinkEvent)>,
    wake: Arc<Notify>,
    connection: Option<(Box<dyn Session>, JoinHandle<()>)>,
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
    pub fn new(params: BrokerParams) -> std::io::Result<MqttLink> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        // Unbounded, but at most the window of answers and the commands of one packet limit.
        let (report, events) = mpsc::unbounded_channel();
        let wake = Arc::new(Notify::new());
        Ok(MqttLink {
            params,
            runtime,
            events,
            report,
            wake,
            connection: None,
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
        let teller = Teller {
            generation: self.generation,
            report: self.report.clone(),
            most_bytes: Arc::clone(&self.most_bytes),
        };
        let _inside = self.runtime.enter();
        let opened = match self.params.protocol {
            Protocol::V5 => v5::open(&self.params, teller),
            Protocol::V311 => v311::open(&self.params, teller),
        };
        match opened {
            Ok(opened) => self.connection = Some(opened),
            Err(words) => self.tell(LinkEvent::Down(words)),
        }
    }

    fn send(&mut self, message: Message) {
        let Some((session, _)) = &self.connection else { return };
        let ticket = message.ticket;
        let _inside = self.runtime.enter();
        match session.publish(message) {
            Ok(answer) => {
                let (report, generation) = (self.report.clone(), self.generation);
                tokio::spawn(async move {
                    if let Some(outcome) = answer.await {
                        let _ = report.send((generation, LinkEvent::Answered(ticket, outcome)));
                    }
                });
            }
            Err(words) => self.tell(LinkEvent::Answered(ticket, Err(words))),
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
        let Some((session, mut driver)) = self.connection.take() else { return };
        self.generation += 1;
        let polite = polite.filter(|patience| session.disconnect(*patience));
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
