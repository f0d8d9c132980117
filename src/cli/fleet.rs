//! `fleet`: every device at a broker.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::anyhow;
use jiff::Timestamp;

use super::{Exit, Failure, Ui, run as config, words};
use crate::daemon::broker_params;
use crate::fleet::{Device, Fleet, FleetState, Life, filters};
use crate::publish::messages::State;
use crate::publish::mqtt::{BrokerParams, listen};
use crate::ui::counted;
use hepalert_study::protocol::is_base_topic;

/// Arguments of `fleet`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A configuration that says how to reach the broker ([mqtt] alone is enough).
    #[arg(long, default_value = crate::config::DEFAULT_FILE, conflicts_with_all = ["host", "port"])]
    config: PathBuf,
    /// The broker, without TLS and password.
    #[arg(long)]
    host: Option<String>,
    /// Its port.
    #[arg(long, requires = "host", default_value_t = crate::config::Mqtt::default().port)]
    port: u16,
    /// First part of the topics, if not the configuration's.
    #[arg(long, value_parser = base_topic)]
    base: Option<String>,
    /// Seconds to listen: what the broker keeps comes at once; over two intervals of health messages
    /// clocks are compared as well, and a device whose clock is far off is not taken for silent.
    #[arg(long, default_value_t = 3, value_parser = words::number::<u16>(1..=3600))]
    seconds: u16,
    /// Devices that must be there; one nobody has heard of is a line of the table.
    #[arg(long, value_delimiter = ',')]
    expect: Vec<String>,
    /// End with exit code 1 unless every device is well.
    #[arg(long)]
    strict: bool,
}

fn base_topic(text: &str) -> Result<String, String> {
    match is_base_topic(text) {
        true => Ok(text.to_owned()),
        false => {
            Err("write lower-case letters, digits, - and _, in levels divided by /".to_owned())
        }
    }
}

/// Runs the command.
///
/// # Errors
/// Exit 5 for a broker that cannot be reached, 1 with `--strict` if a device is not well.
pub(crate) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    let params = match &args.host {
        // The name is part of the client's at the broker, no more.
        Some(host) => BrokerParams::new(host, args.port, "fleet"),
        None => broker_params(&config::read(&args.config)?),
    };
    let base = args.base.clone().unwrap_or_else(|| params.base_topic.clone());
    let mut fleet = Fleet::default();
    let span = Duration::from_secs(args.seconds.into());
    listen(&params, &filters(&base), span, &mut |heard| {
        fleet.take(&base, &heard, Timestamp::now())
    })
    .map_err(|error| {
        let error = anyhow!(
            "{}:{}: {error}; is a broker listening there, and do user and certificate fit?",
            params.host,
            params.port
        );
        Failure::new(Exit::Broker, error)
    })?;
    let judged = fleet.state_at(&args.expect, Timestamp::now());
    let ill: Vec<&str> =
        judged.devices.iter().filter(|one| !one.is_well()).map(|one| one.device.as_str()).collect();
    let failure = (args.strict && !ill.is_empty()).then(|| {
        let error = anyhow!("not well: {}; the table says why", ill.join(", "));
        Failure::failed(error).with_code("fleet_not_well")
    });
    ui.result_of(&judged, table(&judged), failure)
}

const HEADING: [&str; 11] = [
    "device",
    "life",
    "state",
    "version",
    "engine",
    "self-test",
    "queued",
    "backlog",
    "clock",
    "disk",
    "remarks",
];

fn table(judged: &FleetState) -> String {
    if judged.devices.is_empty() {
        return "no device was heard of; is this the broker, and the base of the topics?"
            .to_owned();
    }
    let rows: Vec<[String; 11]> = judged.devices.iter().map(row).collect();
    let heading = HEADING.map(str::to_owned);
    let width = |at: usize| {
        rows.iter().chain([&heading]).map(|row| row[at].chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..HEADING.len()).map(width).collect();
    let line = |row: &[String; 11]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let mut lines: Vec<String> = [&heading].into_iter().chain(&rows).map(line).collect();
    let alive = judged.devices.iter().filter(|one| one.life == Life::Alive).count();
    lines.push(format!("{alive} of {} alive, at {}", judged.devices.len(), judged.time));
    for (bridge, _) in judged.bridges.iter().filter(|(_, up)| !**up) {
        lines.push(format!(
            "bridge {bridge}: its line is down, and so is news of what is behind it"
        ));
    }
    for (topic, count) in &judged.strange {
        lines.push(format!("{topic}: {count} times not as the contract says; another version?"));
    }
    lines.join("\n")
}

fn row(device: &Device) -> [String; 11] {
    let number = |value: Option<u64>| value.map_or("-".to_owned(), |value| value.to_string());
    let state = device.state.map_or("-", State::name).to_owned();
    let clock = match (device.clock_ahead_s, device.clock_synced) {
        (Some(ahead), _) if ahead.abs() > 1 => format!("{ahead:+} s"),
        (_, Some(false)) => "not set".to_owned(),
        (Some(_), _) => "right".to_owned(),
        (None, Some(true)) => "synced".to_owned(),
        (None, None) => "-".to_owned(),
    };
    [
        device.device.clone(),
        device.life.name().to_owned(),
        state,
        device.version.clone().unwrap_or("-".to_owned()),
        device.engines.first().cloned().unwrap_or("-".to_owned()),
        device.self_test.map_or("-", |passed| if passed { "passed" } else { "FAILED" }).to_owned(),
        number(device.queued),
        number(device.backlog),
        clock,
        device.disk_free_mib.map_or("-".to_owned(), |mib| format!("{} GiB", mib / 1024)),
        remarks(device),
    ]
}

fn remarks(device: &Device) -> String {
    let mut words: Vec<String> = Vec::new();
    if device.life == Life::Silent {
        let age = device.health_age_s.map_or("no health".to_owned(), |age| {
            let valid = device.valid_for_s.unwrap_or(0);
            if age < 0 {
                format!("health from {} s ahead: its clock is off, or it is not heard", -age)
            } else {
                format!("health {age} s old, valid for {valid}")
            }
        });
        words.push(match device.availability {
            Some("online") => format!("{age}; the broker still says online"),
            _ => age,
        });
    }
    words.extend(device.reasons.iter().cloned());
    words.extend(device.differs.iter().map(|what| format!("other {} than most", what.name())));
    let open = device.open_alerts.filter(|count| *count > 0);
    words.extend(open.map(|count| counted(count as usize, "open alert")));
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_nobody_heard_of_is_a_line() {
        let fleet = Fleet::default();
        let said = table(&fleet.state_at(&["ct-1".to_owned()], Timestamp::UNIX_EPOCH));
        assert!(said.contains("ct-1    unknown  -"), "{said}");
        assert!(said.ends_with("0 of 1 alive, at 1970-01-01T00:00:00Z"), "{said}");
        assert!(table(&fleet.state_at(&[], Timestamp::UNIX_EPOCH)).contains("no device"));
    }
}
