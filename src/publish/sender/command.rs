//! Commands from other programs: ping, ack, replay, reprocess. Off unless configured.
//!
//! Owns what is refused: kept commands, answers outside `reply/`, unknown names and
//! arguments. Engines and configuration cannot be changed from here because there is no
//! command for it.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::super::contract::{Code, MAX_CORRELATION, Time, bounded, schema_id};
use super::super::exchange::Reprocess;
use super::super::link::{Link, Message, Request};
use super::super::messages::{Command, Reply};
use super::Sender;

/// Most events sent again for one request.
const MAX_REPLAYED: u64 = 10_000;
/// Longest response topic.
const MAX_TOPIC: usize = 256;

/// Where the answer to a command goes, and what is sent back with it: by the properties of MQTT 5, or by
/// `reply_to` and `correlation` of the body, which 3.1.1 has alone.
#[derive(Default)]
struct Answer {
    topic: Option<String>,
    correlation: Option<Vec<u8>>,
    correlation_text: Option<String>,
}

impl Answer {
    fn by_properties(request: &Request) -> Answer {
        let Request { response_topic, correlation, .. } = request;
        Answer {
            topic: response_topic.clone(),
            correlation: correlation.clone(),
            ..Answer::default()
        }
    }

    /// The command's own arguments; what the body says of the answer is kept here.
    fn read(&mut self, body: &[u8]) -> Result<Value, Code> {
        let bad = || Code::fixed("bad-arguments");
        let mut asked = match body {
            [] => Value::Object(Map::new()),
            body => serde_json::from_slice(body).map_err(|_| bad())?,
        };
        let fields = asked.as_object_mut().ok_or_else(bad)?;
        let mut text = |name: &str| match fields.remove(name) {
            None => Ok(None),
            Some(Value::String(text)) if text.len() <= MAX_CORRELATION => Ok(Some(text)),
            Some(_) => Err(bad()),
        };
        let reply_to = text("reply_to")?;
        self.correlation_text = text("correlation")?;
        self.topic = self.topic.take().or(reply_to);
        Ok(asked)
    }
}

/// What came of a command.
struct CommandOutcome {
    ok: bool,
    code: Option<Code>,
    events: Option<u64>,
}

impl CommandOutcome {
    const DONE: CommandOutcome = CommandOutcome { ok: true, code: None, events: None };

    const fn refused(code: Code) -> CommandOutcome {
        CommandOutcome { ok: false, code: Some(code), events: None }
    }
}

pub(super) fn handle_command<L: Link>(sender: &mut Sender<L>, request: &Request) {
    let prefix = format!("{}/cmd/", sender.root);
    let Some(name) = request.topic.strip_prefix(&prefix).filter(|_| sender.params.commands) else {
        return;
    };
    let mut answer_to = Answer::by_properties(request);
    let outcome = match answer_to.read(&request.body) {
        Err(code) => CommandOutcome::refused(code),
        Ok(_) if request.retained => CommandOutcome::refused(Code::fixed("retained-command")),
        Ok(arguments) => match Command::read(name, arguments) {
            Ok(command) => execute(sender, command),
            Err(code) => CommandOutcome::refused(code),
        },
    };
    if let Some(code) = outcome.code.as_ref().filter(|_| !outcome.ok) {
        log::warn!("a command was refused: {}", code.as_str());
    }
    reply(sender, &answer_to, outcome);
}

fn execute<L: Link>(sender: &mut Sender<L>, command: Command) -> CommandOutcome {
    match command {
        Command::Ping {} => CommandOutcome::DONE,
        Command::Ack { id, by, verdict } => {
            match sender.outbox.acknowledge(id, by.as_str(), verdict) {
                Ok(true) => {
                    sender.compare();
                    CommandOutcome::DONE
                }
                Ok(false) => CommandOutcome::refused(Code::fixed("no-open-alert")),
                Err(error) => {
                    log::error!("an alert cannot be acknowledged: {error}");
                    CommandOutcome::refused(Code::fixed("store-failed"))
                }
            }
        }
        Command::Reprocess { study_key } => match sender.outbox.reprocess(&study_key) {
            Ok(Reprocess::Queued) => CommandOutcome::DONE,
            Ok(Reprocess::Unknown) => CommandOutcome::refused(Code::fixed("unknown-study")),
            Ok(Reprocess::InOrder) => CommandOutcome::refused(Code::fixed("not-refused-or-failed")),
            Err(error) => {
                log::error!("a study cannot be put back: {error}");
                CommandOutcome::refused(Code::fixed("store-failed"))
            }
        },
        Command::Replay { from_seq, to_seq } => {
            let to_seq = to_seq.min(from_seq.saturating_add(MAX_REPLAYED - 1));
            if from_seq > to_seq {
                return CommandOutcome::refused(Code::fixed("bad-range"));
            }
            if !sender.schedule.replay(from_seq, to_seq) {
                return CommandOutcome::refused(Code::fixed("replay-under-way"));
            }
            CommandOutcome { events: Some(to_seq - from_seq + 1), ..CommandOutcome::DONE }
        }
    }
}

fn reply<L: Link>(sender: &mut Sender<L>, answer_to: &Answer, outcome: CommandOutcome) {
    let Some(topic) = &answer_to.topic else { return };
    let prefix = format!("{}/reply/", sender.root);
    let good =
        topic.starts_with(&prefix) && topic.len() <= MAX_TOPIC && !topic.contains(['+', '#', '\0']);
    if !good {
        return log::warn!("a command asked for its answer outside reply/");
    }
    let CommandOutcome { ok, code, events } = outcome;
    let time = Time(Timestamp::now());
    let schema = schema_id("reply");
    let correlation = answer_to.correlation_text.clone();
    let answer = Reply { schema: schema.clone(), time, ok, code, events, correlation };
    let Ok(body) = bounded("reply", &answer) else { return };
    let ticket = sender.ticket();
    sender.link.send(Message {
        ticket,
        topic: topic.clone(),
        retain: false,
        body,
        content_type: Some("application/json"),
        properties: vec![("schema".to_owned(), schema)],
        correlation: answer_to.correlation.clone(),
    });
}
