//! `quality`: how often people agreed with the alerts, by device, engine and month.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use jiff::tz::TimeZone;
use serde::Serialize;

use super::store::open_store;
use super::{Failure, Ui};
use crate::config::database_in;
use crate::store::{Answered, DEVICE_NAME};
use hepalert_lab::evaluate::rates::Rate;
use hepalert_study::outcome::Opinion;

/// Arguments of `quality`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The daemon's configuration.
    #[arg(long, default_value = crate::config::DEFAULT_FILE)]
    config: PathBuf,
    /// Stores to read in place of the configured one: of several devices one copy each.
    #[arg(long, value_name = "FOLDER", num_args = 1..)]
    store: Vec<PathBuf>,
}

/// Alerts of one device, engine and month.
#[derive(Debug, Default, Serialize)]
struct Line {
    device: String,
    engine: String,
    /// UTC, `2026-11`.
    month: String,
    alerts: usize,
    acknowledged: usize,
    agreed: usize,
    disagreed: usize,
    other: usize,
    /// Agreed of those agreed or disagreed.
    positive_predictive_value: Option<Rate>,
}

/// Runs the command.
///
/// # Errors
/// Exit 1 if there is no store or one cannot be read.
pub(crate) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    let mut stores = args.store.clone();
    if stores.is_empty() {
        stores.push(super::run::read(&args.config)?.store.folder);
    }
    let mut lines = Vec::new();
    for folder in &stores {
        let store = open_store(&database_in(folder))?;
        let device = store.fact(DEVICE_NAME).map_err(Failure::failed)?;
        let device = device.unwrap_or_else(|| folder.display().to_string());
        lines.extend(by_month(&device, &store.answers().map_err(Failure::failed)?));
    }
    ui.result(&serde_json::json!({ "alerts": lines }), table(&lines))
}

fn by_month(device: &str, answers: &[Answered]) -> Vec<Line> {
    let mut groups: BTreeMap<(String, String), Line> = BTreeMap::new();
    for answer in answers {
        let month = answer.raised_at.to_zoned(TimeZone::UTC).strftime("%Y-%m").to_string();
        let line = groups.entry((answer.engine.clone(), month.clone())).or_insert_with(|| Line {
            device: device.to_owned(),
            engine: answer.engine.clone(),
            month,
            ..Line::default()
        });
        line.alerts += 1;
        line.acknowledged += usize::from(answer.is_acknowledged);
        match answer.opinion {
            Some(Opinion::Agreed) => line.agreed += 1,
            Some(Opinion::Disagreed) => line.disagreed += 1,
            Some(Opinion::Other) => line.other += 1,
            None => {}
        }
    }
    let mut lines: Vec<Line> = groups.into_values().collect();
    for line in &mut lines {
        let of = line.agreed + line.disagreed;
        line.positive_predictive_value = (of > 0).then(|| Rate::new(line.agreed, of));
    }
    lines
}

fn table(lines: &[Line]) -> String {
    if lines.is_empty() {
        return "no alert was raised yet".to_owned();
    }
    let mut text = "device  engine  month  alerts  acknowledged  agreed  disagreed  other  \
                    positive predictive value, %\n"
        .to_owned();
    for line in lines {
        let Line { device, engine, month, alerts, acknowledged, .. } = line;
        let value = line.positive_predictive_value.as_ref();
        let value = value.map_or_else(|| "-".to_owned(), Rate::percent_with_interval);
        let _ = writeln!(
            text,
            "{device}  {engine}  {month}  {alerts}  {acknowledged}  {}  {}  {}  {value}",
            line.agreed, line.disagreed, line.other
        );
    }
    text += "agreed of agreed and disagreed, with its 95 % Wilson interval; who never answers is not counted";
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opinions_are_counted_by_engine_and_month() {
        let answer = |engine: &str, at: &str, opinion| Answered {
            engine: engine.to_owned(),
            raised_at: at.parse().unwrap(),
            is_acknowledged: opinion != Some(Opinion::Other),
            opinion,
        };
        let (agreed, disagreed) = (Some(Opinion::Agreed), Some(Opinion::Disagreed));
        let lines = by_month(
            "ct-1",
            &[
                answer("a 1", "2026-10-31T23:59:59Z", agreed),
                answer("a 1", "2026-11-01T00:00:00Z", agreed),
                answer("a 1", "2026-11-02T00:00:00Z", agreed),
                answer("a 1", "2026-11-03T00:00:00Z", disagreed),
                answer("a 1", "2026-11-03T00:00:00Z", Some(Opinion::Other)),
                answer("a 2", "2026-11-03T00:00:00Z", None),
            ],
        );
        let text = table(&lines);
        let rows: Vec<&str> = text.lines().skip(1).take(3).collect();
        // Wilson, 95 %: 1 of 1 and 2 of 3.
        assert_eq!(rows[0], "ct-1  a 1  2026-10  1  1  1  0  0  100.0 (20.7-100.0)");
        assert_eq!(rows[1], "ct-1  a 1  2026-11  4  3  2  1  1  66.7 (20.8-93.9)");
        assert_eq!(rows[2], "ct-1  a 2  2026-11  1  1  0  0  0  -");
    }
}
