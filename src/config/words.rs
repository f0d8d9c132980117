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
const WORDS: [(&str, &str); 7] = [
    ("unknown field `", "unknown key `"),
    ("missing field `", "missing key `"),
    ("duplicate field `", "the key stands twice: `"),
    ("unknown variant `", "unknown value `"),
    ("invalid type: ", "not possible here: "),
    ("invalid value: ", "not possible here: "),
    ("TOML parse error at ", "at "),
];

/// A message of the parser without the names of Rust's types.
pub(super) fn plain(said: &str) -> String {
    let mut text = said.trim_end().to_owned();
    for (theirs, ours) in WORDS {
        text = text.replace(theirs, ours);
    }
    let lines: Vec<String> = text.lines().map(line).collect();
    lines.join("\n")
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
            ("[device]\nname = \"a\"\nname = \"b\"\n", "duplicate key"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("hepalert.toml");
            std::fs::write(&file, text).unwrap();
            let said = Config::read(&file).unwrap_err().to_string();
            assert!(said.contains(expected), "{text}: {said}");
            for theirs in ["u16", "f64", "struct", "field", "variant", "a boolean", "invalid type"]
            {
                assert!(!said.contains(theirs), "{text}: {said}");
            }
        }
    }
}
