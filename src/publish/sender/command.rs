//! Commands from other programs: ping, ack, replay, reprocess. Off unless configured.
//!
//! Owns what is refused: kept commands, answers outside `reply/`, unknown names and
//! arguments. Engines and configuration cannot be changed from here because there is no
//! command for it.

use jiff::Timestamp;

use super::super::contract::{Code, Time, bounded, schema_id};
use super::super::exchange::Reprocess;
use super::super::link::{Link, Message, Request};
use super::super::messages::{Command, Reply};
use super::Sender;

/// Most events sent again for one request.
const MAX_REPLAYED: u64 = 10_000;
/// Longest response topic.
const MAX_TOPIC: usize = 256;

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
    let outcome = if request.retained {
        CommandOutcome::refused(Code::fixed("retained-command"))
    } else {
        match Command::read(name, &request.body) {
            Ok(command) => execute(sender, command),
            Err(code) => CommandOutcome::refused(code),
        }
    };
    if let Some(code) = outcome.code.as_ref().filter(|_| !outcome.ok) {
        log::warn!("a command was refused: {}", code.as_str());
    }
    reply(sender, request, outcome);
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

fn reply<L: Link>(sender: &mut Sender<L>, request: &Request, outcome: CommandOutcome) {
    let Some(topic) = &request.response_topic else { return };
    let prefix = format!("{}/reply/", sender.root);
    let good =
        topic.starts_with(&prefix) && topic.len() <= MAX_TOPIC && !topic.contains(['+', '#', '\0']);
    if !good {
        return log::warn!("a command asked for its answer outside reply/");
    }
    let CommandOutcome { ok, code, events } = outcome;
    let time = Time(Timestamp::now());
    let schema = schema_id("reply");
    let answer = Reply { schema: schema.clone(), time, ok, code, events };
    let Ok(body) = bounded("reply", &answer) else { return };
    let ticket = sender.ticket();
    sender.link.send(Message {
        ticket,
        topic: topic.clone(),
        retain: false,
        body,
        content_type: Some("application/json"),
        properties: vec![("schema".to_owned(), schema)],
        correlation: request.correlation.clone(),
    });
}
