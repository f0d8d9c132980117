//! Archives that results go to, and the port that images come in by.

use std::net::TcpListener;

use super::finding::Finding;
use crate::config::Config;
use crate::daemon::archives::{BUSY, BUSY_TRIES, target_of};
use crate::dicom::sender;
use crate::store::{Store, Waiting};
use crate::ui::counted;

/// What the archives answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ArchiveFacts {
    /// Name, and what was seen or what is wrong.
    pub answers: Vec<(String, Result<String, String>)>,
    /// What waits for an archive, by its name; none where the store cannot be read, which is told elsewhere.
    pub waiting: Vec<(String, Waiting)>,
    /// Where images come in, and why nothing can; none where nothing is received.
    pub receiver: Option<(String, Result<(), String>)>,
}

/// Asks every archive as the daemon does, and whether the receiver's port is free or the daemon's.
pub(super) fn look_at_archives(config: &Config) -> ArchiveFacts {
    let ask = |target| {
        let target = target_of(config, target);
        (target.name.clone(), sender::echo(&target).map_err(|error| error.to_string()))
    };
    let receiver = config.dicom.listen.map(|listen| {
        let free = TcpListener::bind(listen).map(drop);
        // Taken: by the daemon, one hopes. A peer that calls it hears who answers.
        let known = match free {
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => Ok(()),
            other => other.map_err(|error| error.to_string()),
        };
        (listen.to_string(), known)
    });
    let answers = config.dicom.archives().map(ask).collect();
    ArchiveFacts { answers, waiting: waiting(config), receiver }
}

fn waiting(config: &Config) -> Vec<(String, Waiting)> {
    let Ok(store) = Store::open_read_only(&config.store.database()) else { return Vec::new() };
    let of = |name: String| Some((name.clone(), store.waiting_for(&name).ok()??));
    config.dicom.archives().filter_map(|target| of(target.name.clone())).collect()
}

/// Whether images can come in by DICOM.
pub(super) fn receiver(facts: &ArchiveFacts) -> Finding {
    let name = "receiver";
    match &facts.receiver {
        None => Finding::ok(name, "off: nothing is received by DICOM"),
        Some((listen, Ok(()))) => Finding::ok(name, format!("images come in on {listen}")),
        Some((listen, Err(error))) => Finding::fail(
            name,
            format!("dicom.listen: {listen}: {error}"),
            "correct dicom.listen: an address of this machine, and a port from 1024 on",
        ),
    }
}

/// Results that no archive takes wait; alerts go out all the same.
pub(super) fn archives(facts: &ArchiveFacts) -> Finding {
    let name = "archives";
    let said = |answer: &Result<String, String>, name: &str| match answer {
        Ok(words) => format!("{name}: {words}{}", waits(facts, name)),
        Err(words) => format!("{words}{}", waits(facts, name)),
    };
    let of = |wanted: &dyn Fn(&Result<String, String>, &str) -> bool| -> Vec<String> {
        let answers = facts.answers.iter().filter(|(name, answer)| wanted(answer, name));
        answers.map(|(name, answer)| said(answer, name)).collect()
    };
    let failed = of(&|answer, _| answer.is_err());
    if !failed.is_empty() {
        return Finding::warn(
            name,
            failed.join("; "),
            "is it switched on, are host, port and ae_title right, does it know this device's AE title \
             and address, or its token? Results wait and are sent when it answers",
        );
    }
    let busy = of(&|_, name| is_busy(facts, name));
    if !busy.is_empty() {
        return Finding::warn(
            name,
            busy.join("; "),
            "it answers, but takes no objects now: look at its disk and load; the daemon's log has what it \
             said. Results wait and are sent when it takes them",
        );
    }
    let all = of(&|_, _| true);
    Finding::ok(name, if all.is_empty() { "none configured".to_owned() } else { all.join("; ") })
}

fn waiting_for<'a>(facts: &'a ArchiveFacts, archive: &str) -> Option<&'a Waiting> {
    facts.waiting.iter().find(|(name, _)| name == archive).map(|(_, waiting)| waiting)
}

/// Whether an archive that answers has not taken the first object that waits for it, time and again.
fn is_busy(facts: &ArchiveFacts, archive: &str) -> bool {
    let first = waiting_for(facts, archive).map(|waiting| &waiting.first);
    first.is_some_and(|one| one.code.as_deref() == Some(BUSY) && one.attempts >= BUSY_TRIES)
}

/// How much waits, and how often the first of it was tried.
fn waits(facts: &ArchiveFacts, archive: &str) -> String {
    let words = |waiting: &Waiting| {
        let (objects, tries) = (waiting.objects as usize, waiting.first.attempts as usize);
        let tried = match (&waiting.first.code, tries) {
            (Some(code), 1..) => format!(" ({code}, {})", counted(tries, "try")),
            _ => String::new(),
        };
        format!(", waiting for it: {}{tried}", counted(objects, "object"))
    };
    waiting_for(facts, archive).map_or(String::new(), words)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::doctor::finding::Level;
    use crate::store::Delivery;

    fn facts(answer: Result<&str, &str>, code: &str, attempts: u32) -> ArchiveFacts {
        let first = Delivery {
            n: 1,
            target: "pacs".to_owned(),
            study_key: "0".repeat(32),
            revision: 1,
            path: "dicom/report.dcm".to_owned(),
            attempts,
            not_before: Timestamp::UNIX_EPOCH,
            code: Some(code.to_owned()),
        };
        let answer = answer.map(str::to_owned).map_err(str::to_owned);
        ArchiveFacts {
            answers: vec![("pacs".to_owned(), answer)],
            waiting: vec![("pacs".to_owned(), Waiting { objects: 10, first })],
            receiver: None,
        }
    }

    #[test]
    fn an_archive_that_answers_and_takes_nothing_is_told_with_what_waits() {
        let busy = archives(&facts(Ok("it answers C-ECHO"), BUSY, 4));
        assert_eq!(busy.level, Level::Warn);
        let told =
            "pacs: it answers C-ECHO, waiting for it: 10 objects (dicom_target_busy, 4 tries)";
        assert_eq!(busy.finding, told);
        assert!(busy.advice.unwrap().contains("disk"));
        let moment = archives(&facts(Ok("it answers C-ECHO"), BUSY, 1));
        assert_eq!(moment.level, Level::Ok, "busy for a moment");
        assert!(moment.finding.contains("waiting for it: 10 objects"), "{moment:?}");
        let away = archives(&facts(Err("pacs cannot be reached"), BUSY, 4));
        assert!(away.advice.unwrap().contains("switched on"), "{}", away.finding);
    }
}
