//! The site's own rules for phases: `[[phases.rule]]` of the configuration.
//!
//! Owns matching. A rule matches when every expression that it has matches. Refuses
//! expressions that cannot be read, with the place in them.

use hepalert_study::phase::Phase;
use regex::{Regex, RegexBuilder};

/// Most memory that one compiled expression may take, in bytes.
const MAX_BYTES: usize = 1 << 20;

/// What a header offers to the rules.
#[derive(Debug, Clone, Copy, Default)]
pub struct Header<'a> {
    /// SeriesDescription.
    pub series_description: &'a str,
    /// ProtocolName.
    pub protocol_name: &'a str,
    /// AcquisitionNumber.
    pub acquisition_number: Option<i64>,
    /// SeriesNumber.
    pub series_number: Option<i64>,
}

/// What a matching series is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ruled {
    /// This phase.
    Phase(Phase),
    /// Never read.
    Never,
}

/// One rule with its expressions compiled.
#[derive(Debug, Clone)]
pub struct Rule {
    /// What it says.
    pub ruled: Ruled,
    fields: Vec<(Field, Regex)>,
}

/// Which attribute an expression is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// `series_description`.
    SeriesDescription,
    /// `protocol_name`.
    ProtocolName,
    /// `acquisition_number`.
    AcquisitionNumber,
    /// `series_number`.
    SeriesNumber,
}

impl Field {
    /// The key in the configuration.
    pub const fn key(self) -> &'static str {
        match self {
            Field::SeriesDescription => "series_description",
            Field::ProtocolName => "protocol_name",
            Field::AcquisitionNumber => "acquisition_number",
            Field::SeriesNumber => "series_number",
        }
    }

    fn of(self, header: Header<'_>) -> String {
        let number = |n: Option<i64>| n.map_or(String::new(), |n| n.to_string());
        match self {
            Field::SeriesDescription => header.series_description.to_owned(),
            Field::ProtocolName => header.protocol_name.to_owned(),
            Field::AcquisitionNumber => number(header.acquisition_number),
            Field::SeriesNumber => number(header.series_number),
        }
    }
}

impl Rule {
    /// Compiles a rule. Letters match in either case.
    ///
    /// # Errors
    /// The key of the bad expression, and what is wrong with it and where.
    pub fn new(ruled: Ruled, fields: &[(Field, &str)]) -> Result<Rule, String> {
        if fields.is_empty() {
            let keys = [
                Field::SeriesDescription,
                Field::ProtocolName,
                Field::AcquisitionNumber,
                Field::SeriesNumber,
            ];
            return Err(format!("needs at least one of {}", keys.map(Field::key).join(", ")));
        }
        let compile = |(field, text): &(Field, &str)| {
            let built =
                RegexBuilder::new(text).case_insensitive(true).size_limit(MAX_BYTES).build();
            built.map(|regex| (*field, regex)).map_err(|error| {
                // The parser draws the place; what it says is in the last line.
                let said = error.to_string();
                let why = said.lines().last().unwrap_or_default().trim_start_matches("error: ");
                format!("{}: {text}: {why}", field.key())
            })
        };
        let fields = fields.iter().map(compile).collect::<Result<_, _>>()?;
        Ok(Rule { ruled, fields })
    }

    /// Whether all its expressions match.
    pub fn matches(&self, header: Header<'_>) -> bool {
        self.fields.iter().all(|(field, regex)| regex.is_match(&field.of(header)))
    }
}

impl PartialEq for Rule {
    fn eq(&self, other: &Rule) -> bool {
        let texts = |rule: &Rule| -> Vec<(Field, String)> {
            rule.fields.iter().map(|(field, regex)| (*field, regex.as_str().to_owned())).collect()
        };
        self.ruled == other.ruled && texts(self) == texts(other)
    }
}

/// The first rule that matches, counted from 1, and what it says.
pub fn first(rules: &[Rule], header: Header<'_>) -> Option<(usize, Ruled)> {
    (1..).zip(rules).find(|(_, rule)| rule.matches(header)).map(|(n, rule)| (n, rule.ruled))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_whose_every_expression_matches_speaks() {
        let rule =
            |phase, fields: &[(Field, &str)]| Rule::new(Ruled::Phase(phase), fields).unwrap();
        let rules = [
            rule(
                Phase::Dp,
                &[(Field::SeriesDescription, "^liver"), (Field::AcquisitionNumber, "^3$")],
            ),
            rule(Phase::Vp, &[(Field::SeriesNumber, "^1?03$")]),
        ];
        let header = |series_description, acquisition_number, series_number| Header {
            series_description,
            acquisition_number,
            series_number,
            ..Header::default()
        };
        assert_eq!(
            first(&rules, header("LIVER 3", Some(3), None)),
            Some((1, Ruled::Phase(Phase::Dp)))
        );
        assert_eq!(
            first(&rules, header("liver", Some(2), Some(103))),
            Some((2, Ruled::Phase(Phase::Vp)))
        );
        assert_eq!(first(&rules, header("liver", None, None)), None);
    }

    #[test]
    fn a_bad_expression_is_refused_with_its_place() {
        let error = Rule::new(Ruled::Never, &[(Field::ProtocolName, "a(b")]).unwrap_err();
        assert!(
            error.starts_with("protocol_name: ") && error.contains("unclosed group"),
            "{error}"
        );
        assert!(Rule::new(Ruled::Never, &[]).unwrap_err().contains("series_number"));
        let huge = Rule::new(Ruled::Never, &[(Field::ProtocolName, "a{1000}{1000}{9}")]);
        assert!(huge.is_err(), "bounded");
    }
}
