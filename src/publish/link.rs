//! The line to a broker, as the sender sees it: six methods, so that tests can play a
//! broker and the MQTT client behind it can be exchanged.

use std::sync::Arc;
use std::time::Duration;

/// A message to send with QoS 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    /// Comes back with the answer.
    pub ticket: u64,
    /// The whole topic.
    pub topic: String,
    /// Whether the broker keeps it for late joiners.
    pub retain: bool,
    /// The payload.
    pub body: Vec<u8>,
    /// `application/json` or nothing for plain text.
    pub content_type: Option<&'static str>,
    /// User properties.
    pub properties: Vec<(String, String)>,
    /// From the request, in a reply to it.
    pub correlation: Option<Vec<u8>>,
}

/// A message that came in on a command topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    /// The whole topic.
    pub topic: String,
    /// The payload.
    pub body: Vec<u8>,
    /// Whether the broker had kept it: such a command is refused.
    pub retained: bool,
    /// Where the answer goes.
    pub response_topic: Option<String>,
    /// To be sent back with the answer.
    pub correlation: Option<Vec<u8>>,
}

/// What happened on the line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LinkEvent {
    /// The broker took the connection.
    Up,
    /// The connection is lost, or could not be made; the words are for the log.
    Down(String),
    /// The connection was given up over what the broker said, which makes no sense.
    Nonsense(String),
    /// The connection is lost: another client came under this one's name.
    Usurped,
    /// The connection is lost over a message that the broker found too large.
    TooLarge,
    /// The broker took the message with this ticket, or refused it with these words.
    Answered(u64, Result<(), String>),
    /// A command.
    Request(Request),
    /// Someone called the waker.
    Woken,
    /// Nothing happened in the given time.
    Idle,
}

/// Ends a [`Link::wait`] from another thread.
pub type Waker = Arc<dyn Fn() + Send + Sync>;

/// A line to a broker. Nothing but [`Link::wait`] and [`Link::close`] takes time.
pub(crate) trait Link: Send {
    /// Begins to connect, forgetting any connection before and what was under way on it.
    fn open(&mut self);
    /// Hands over a message; the answer comes as [`LinkEvent::Answered`] if the line holds.
    fn send(&mut self, message: Message);
    /// The next thing that happens, at latest after `most`.
    fn wait(&mut self, most: Duration) -> LinkEvent;
    /// Ends the connection: politely within the time given, which keeps the broker from
    /// publishing the last will; abruptly with `None`.
    fn close(&mut self, polite: Option<Duration>);
    /// Most bytes of a packet that the broker takes on this connection, if it said so.
    fn most_bytes(&self) -> Option<u64> {
        None
    }
    /// Ends a wait.
    fn waker(&self) -> Waker;
}
