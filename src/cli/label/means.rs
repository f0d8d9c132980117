//! What the values of labels mean that came with the cases, said from the command line.

use std::collections::BTreeMap;
use std::str::FromStr;

use jiff::Timestamp;
use serde_json::json;

use super::{Args, Failure, Ui, failure};
use crate::ui::counted;
use hepalert_labels::cases::given::Senses;
use hepalert_labels::cases::{CaseError, Folder};

/// `NAME:VALUE=LABEL,..`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Means {
    labels: String,
    values: BTreeMap<u8, u8>,
}

impl FromStr for Means {
    type Err = String;

    fn from_str(text: &str) -> Result<Means, String> {
        let pair = |part: &str| {
            let (value, label) = part.split_once('=')?;
            Some((value.trim().parse().ok()?, label.trim().parse().ok()?))
        };
        let read = || {
            let (labels, pairs) = text.rsplit_once(':')?;
            let values = pairs.split(',').map(pair).collect::<Option<_>>()?;
            Some(Means { labels: labels.to_owned(), values })
        };
        read().ok_or_else(|| format!("`{text}`: write NAME:VALUE=LABEL,.., like liver:1=7"))
    }
}

pub(super) fn run(args: &Args, folder: &Folder, ui: &Ui) -> Result<(), Failure> {
    let senses = Senses::of(folder);
    let (mut rows, mut lines) = (Vec::new(), Vec::new());
    for Means { labels, values } in &args.means {
        let with = folder.cases().iter().filter(|case| case.labels(labels).is_ok()).count();
        if with == 0 {
            let name = labels.clone();
            return Err(failure(CaseError::Unknown { what: "labels", name }));
        }
        senses.say(labels, values, args.reader.as_ref(), Timestamp::now()).map_err(failure)?;
        let name = |label: &u8| folder.meaning().names().get(label).map_or("", String::as_str);
        let told = values.iter().map(|(value, label)| match label {
            0 => format!("{value} is left out"),
            label => format!("{value} is {}", name(label)),
        });
        let told: Vec<String> = told.collect();
        lines.push(format!("{labels}, of {}: {}", counted(with, "case"), told.join(", ")));
        rows.push(json!({"labels": labels, "values": values, "cases": with}));
    }
    ui.result(&json!({"means": rows}), lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_said_by_the_name_of_a_file() {
        let means: Means = "organs:machine:1=11, 6=7,3=0".parse().unwrap();
        let values = BTreeMap::from([(1, 11), (3, 0), (6, 7)]);
        assert_eq!(means, Means { labels: "organs:machine".to_owned(), values });
        for bad in ["liver", "liver:", "liver:1", "liver:1=liver", "liver:256=7", "1=7"] {
            assert!(bad.parse::<Means>().is_err(), "{bad}");
        }
    }
}
