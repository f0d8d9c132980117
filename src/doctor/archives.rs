//! Archives that results go to, and the port that images come in by.

use std::net::TcpListener;

use super::finding::Finding;
use crate::config::Config;
use crate::daemon::archives::target_of;
use crate::dicom::sender;

/// What the archives answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveFacts {
    /// Name, and what was seen or what is wrong.
    pub answers: Vec<(String, Result<String, String>)>,
    /// Where images come in, and why nothing can; none where nothing is received.
    pub receiver: Option<(String, Result<(), String>)>,
}

/// Asks every archive as the daemon does, and whether the receiver's port is free or the daemon's.
pub fn look_at_archives(config: &Config) -> ArchiveFacts {
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
    ArchiveFacts { answers: config.dicom.archives().map(ask).collect(), receiver }
}

/// Results that no archive takes wait; alerts go out all the same.
pub fn archives(facts: &ArchiveFacts) -> Finding {
    let name = "archives";
    let failed: Vec<&String> =
        facts.answers.iter().filter_map(|(_, answer)| answer.as_ref().err()).collect();
    if let Some((listen, Err(error))) = &facts.receiver {
        let advice = "correct dicom.listen: an address of this machine, and a port from 1024 on";
        return Finding::fail(name, format!("dicom.listen: {listen}: {error}"), advice);
    }
    if !failed.is_empty() {
        let words: Vec<&str> = failed.iter().map(|words| words.as_str()).collect();
        return Finding::warn(
            name,
            words.join("; "),
            "is it switched on, are host, port and ae_title right, does it know this device's AE title \
             and address, or its token? Results wait and are sent when it answers",
        );
    }
    let mut said: Vec<String> = facts
        .answers
        .iter()
        .map(|(name, answer)| format!("{name}: {}", answer.as_deref().unwrap_or_default()))
        .collect();
    said.extend(facts.receiver.as_ref().map(|(listen, _)| format!("images come in on {listen}")));
    match said.is_empty() {
        true => Finding::ok(name, "none configured, and nothing is received by DICOM"),
        false => Finding::ok(name, said.join("; ")),
    }
}
