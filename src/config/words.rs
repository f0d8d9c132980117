//! What the parser of the configuration says, in the words of who writes one.
//!
//! The parser speaks of Rust's types (`expected u16`, `unknown field`); a file holds keys, whole
//! numbers and sections.

/// Types as the parser names them, and what a file holds there.
const TYPES: [(&str, &str); 15] = [
    ("u8", "a whole number from 0 to 255"),
    ("u16", "a whole number from 0 to 65535"),
    ("nonzero u16", "a whole number from 1 to 65535"),
    ("u32", "a whole number, not below 0"),
    ("nonzero u32", "a whole number above 0"),
    ("u64", "a whole number, not below 0"),
    ("usize", "a whole number, not below 0"),
    ("i64", "a whole number"),
    ("f32", "a number"),
    ("f64", "a number"),
    ("a boolean", "true or false"),
    ("a string", "text in quotes"),
    ("path string", "a path in quotes"),
    ("a sequence", "a list in brackets"),
    ("socket address", "an address with a port, as \"0.0.0.0:8080\""),
];

/// Words that stand before a name or a value.
const WORDS: [(&str, &str); 8] = [
    ("unknown field `", "unknown key `"),
    ("missing field `", "missing key `"),
    ("duplicate field `", "the key stands twice: `"),
    ("unknown variant `", "unknown value `"),
    ("invalid type: ", "not possible here: "),
    ("invalid value: ", "not possible here: "),
    ("TOML parse error at ", "at "),
    ("invalid socket address syntax", "an address and a port are expected, such as 0.0.0.0:11112"),
];

/// A message of the parser on one line, without its drawing of the place and the names of Rust's types:
/// `at line 2, column 1 (foldr = 1): unknown key ..`.
pub(super) fn plain(said: &str) -> String {
    let mut text = said.trim_end().to_owned();
    for (theirs, ours) in WORDS {
        text = text.replace(theirs, ours);
    }
    let mut lines = text.lines();
    let place = lines.next().unwrap_or_default();
    let (drawn, told): (Vec<&str>, Vec<&str>) = lines.partition(|line| is_drawn(line));
    let told: Vec<String> = told.into_iter().map(line).collect();
    if told.is_empty() {
        return line(place);
    }
    let quoted = drawn.iter().find_map(|line| {
        let (number, text) = line.split_once(" | ")?;
        number.trim().parse::<u32>().ok().map(|_| text.trim())
    });
    let quoted = quoted.map_or(String::new(), |text| format!(" ({text})"));
    format!("{place}{quoted}: {}", told.join("; "))
}

/// A line of the drawing: `  |`, `2 | foldr = 1`, `  | ^^^^^`.
fn is_drawn(line: &str) -> bool {
    let before = line.split('|').next().unwrap_or_default();
    line.contains('|') && before.trim().chars().all(|c| c.is_ascii_digit())
}

/// One line; what is expected stands at the end of its line.
fn line(said: &str) -> String {
    let Some((before, expected)) = said.rsplit_once(", expected ") else { return said.to_owned() };
    let ours = match TYPES.iter().find(|(theirs, _)| *theirs == expected) {
        Some((_, ours)) => *ours,
        None if expected.starts_with("struct ") => "a section of keys",
        None => expected,
    };
    format!("{before}; expected {ours}")
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    #[test]
    fn no_message_of_the_configuration_speaks_of_types_of_rust() {
        for (text, expected) in [
            ("[mqtt]\nport = \"x\"\n", "expected a whole number from 0 to 65535"),
            ("[mqtt]\nport = 70000\n", "expected a whole number from 0 to 65535"),
            ("[mqtt]\ntls = \"yes\"\n", "expected true or false"),
            ("[mqtt]\nhost = 5\n", "expected text in quotes"),
            ("[intake]\nfolder = 5\n", "expected a path in quotes"),
            ("[gate]\nkvp_max = \"x\"\n", "expected a number"),
            ("[mqtt]\nprt = 5\n", "unknown key `prt`"),
            ("mqtt = 5\n", "expected a section of keys"),
            ("[engine]\nbackend = \"x\"\n", "unknown value `x`"),
            ("[[phases.rule]]\nphase = \"xx\"\n", "unknown value `xx`"),
            ("[[phases.rule]]\nseries_number = \"xx\"\n", "missing key `phase`"),
            ("[dicom]\nlisten = \"x\"\n", "an address and a port are expected"),
            ("[dicom]\nallow_address = [\"x\"]\n", "no network such as 10.1.0.0/16"),
            ("[device]\nname = \"a\"\nname = \"b\"\n", "duplicate key"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("hepalert.toml");
            std::fs::write(&file, text).unwrap();
            let said = Config::read(&file).unwrap_err().to_string();
            assert!(said.contains(expected), "{text}: {said}");
            assert_eq!(said.lines().count(), 1, "{said}");
            for theirs in ["u16", "f64", "struct", "field", "variant", "a boolean", "invalid type"]
            {
                assert!(!said.contains(theirs), "{text}: {said}");
            }
        }
    }
}
