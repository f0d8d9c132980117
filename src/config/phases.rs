//! Section `[phases]`, with the site's own rules: the words of the file, and what they compile to.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::unset;
use hepalert_phases::rules::{Field, Rule, Ruled};

/// Section `[phases]`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Phases {
    /// Folder of the bundle that tells contrast phases apart; empty means `ct-phase` beside the
    /// engine, or the installed one.
    #[serde(with = "unset")]
    pub phase_bundle: Option<PathBuf>,
    /// The site's own rules, first match wins.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rule: Vec<PhaseRule>,
}

/// One `[[phases.rule]]`: all expressions that it has must match.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PhaseRule {
    /// What a matching series is.
    #[serde(with = "ruled")]
    pub phase: Ruled,
    /// Expression over SeriesDescription.
    pub series_description: Option<String>,
    /// Expression over ProtocolName.
    pub protocol_name: Option<String>,
    /// Expression over AcquisitionNumber.
    pub acquisition_number: Option<String>,
    /// Expression over SeriesNumber.
    pub series_number: Option<String>,
}

/// How a file writes what a rule says: the code of a phase, or `never`.
mod ruled {
    use hepalert_phases::rules::Ruled;
    use hepalert_study::phase::Phase;
    use serde::{Deserialize, Deserializer, Serializer, de};

    const NEVER: &str = "never";

    pub(super) fn serialize<S: Serializer>(ruled: &Ruled, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(match ruled {
            Ruled::Phase(phase) => phase.code(),
            Ruled::Never => NEVER,
        })
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Ruled, D::Error> {
        let word = String::deserialize(from)?;
        match Phase::from_code(&word) {
            Some(phase) => Ok(Ruled::Phase(phase)),
            None if word == NEVER => Ok(Ruled::Never),
            None => Err(de::Error::unknown_variant(&word, &["nc", "ap", "vp", "dp", NEVER])),
        }
    }
}

impl PhaseRule {
    /// The rule, compiled.
    ///
    /// # Errors
    /// Which expression is bad, and where.
    fn compiled(&self) -> Result<Rule, String> {
        let fields = [
            (Field::SeriesDescription, &self.series_description),
            (Field::ProtocolName, &self.protocol_name),
            (Field::AcquisitionNumber, &self.acquisition_number),
            (Field::SeriesNumber, &self.series_number),
        ];
        let given: Vec<(Field, &str)> =
            fields.iter().filter_map(|(field, text)| Some((*field, text.as_deref()?))).collect();
        Rule::new(self.phase, &given)
    }
}

impl Phases {
    /// All rules, compiled.
    ///
    /// # Errors
    /// The number of the bad rule, which expression, and where in it.
    pub fn rules(&self) -> Result<Vec<Rule>, String> {
        let numbered = (1..).zip(&self.rule);
        numbered
            .map(|(n, rule)| rule.compiled().map_err(|reason| format!("rule {n}, {reason}")))
            .collect()
    }
}
