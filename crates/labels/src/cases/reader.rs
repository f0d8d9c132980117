//! Who labels: a name that is a file's too.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What is no reader's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no reader's name: take up to 40 of a-z, 0-9, . _ -, a letter or digit first")]
pub struct NotAReader(pub String);

/// A reader's name. It stands in file names, so that few characters are allowed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reader(String);

impl Reader {
    /// Up to 40 of `a-z`, `0-9`, `.`, `_` and `-`, a letter or digit first.
    ///
    /// # Errors
    /// [`NotAReader`].
    pub fn new(name: &str) -> Result<Reader, NotAReader> {
        let is_first = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let is_allowed = |byte: u8| is_first(byte) || matches!(byte, b'.' | b'_' | b'-');
        let is_good = (1..=40).contains(&name.len())
            && name.bytes().next().is_some_and(is_first)
            && name.bytes().all(is_allowed);
        if is_good { Ok(Reader(name.to_owned())) } else { Err(NotAReader(name.to_owned())) }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Reader {
    type Error = NotAReader;

    fn try_from(name: String) -> Result<Reader, NotAReader> {
        Reader::new(&name)
    }
}

impl From<Reader> for String {
    fn from(reader: Reader) -> String {
        reader.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_is_no_path() {
        for good in ["anna", "reader-2", "0x", "a.b_c"] {
            assert_eq!(Reader::new(good).unwrap().as_str(), good);
        }
        for bad in ["", ".", "..", "../x", "a/b", "Anna", "a b", "é", &"x".repeat(41)] {
            assert!(Reader::new(bad).is_err(), "{bad:?}");
        }
    }
}
