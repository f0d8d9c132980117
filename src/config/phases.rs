//! Section `[phases]`, with the site's own rules: the words of the file, and what they compile to.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::unset;
use hepalert_phases::rules::{Field, Rule, Ruled};
use hepalert_study::phase::Phase;

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
    pub phase: RuledPhase,
    /// Expression over SeriesDescription.
    pub series_description: Option<String>,
    /// Expression over ProtocolName.
    pub protocol_name: Option<String>,
    /// Expression over AcquisitionNumber.
    pub acquisition_number: Option<String>,
    /// Expression over SeriesNumber.
    pub series_number: Option<String>,
}

/// What a rule says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuledPhase {
    /// Native.
    Nc,
    /// Arterial.
    Ap,
    /// Portal venous.
    Vp,
    /// Delayed.
    Dp,
    /// Such a series is never read.
    Never,
}

impl PhaseRule {
    /// The rule, compiled.
    ///
    /// # Errors
    /// Which expression is bad, and where.
    fn compiled(&self) -> Result<Rule, String> {
        let ruled = match self.phase {
            RuledPhase::Nc => Ruled::Phase(Phase::Nc),
            RuledPhase::Ap => Ruled::Phase(Phase::Ap),
            RuledPhase::Vp => Ruled::Phase(Phase::Vp),
            RuledPhase::Dp => Ruled::Phase(Phase::Dp),
            RuledPhase::Never => Ruled::Never,
        };
        let fields = [
            (Field::SeriesDescription, &self.series_description),
            (Field::ProtocolName, &self.protocol_name),
            (Field::AcquisitionNumber, &self.acquisition_number),
            (Field::SeriesNumber, &self.series_number),
        ];
        let given: Vec<(Field, &str)> =
            fields.iter().filter_map(|(field, text)| Some((*field, text.as_deref()?))).collect();
        Rule::new(ruled, &given)
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
