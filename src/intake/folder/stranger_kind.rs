//! What kind of file it is that belongs to no study.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

use serde::{Serialize, Serializer};

use crate::intake::refusal_codes::RefusalCode;

/// Kinds of files and how many there are, for messages.
pub type Counts = BTreeMap<Kind, usize>;

/// What a file is that is no image of a study. Ordered by name, as messages list them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// By its name no image: notes, programs, pictures.
    Foreign,
    /// A link, and links are not followed.
    Link,
    /// A file that holds others.
    Archive,
    /// By its name not finished, and nobody writes on.
    Unfinished,
    /// Its name begins with a dot.
    Hidden,
    /// It is written to without end.
    NeverStill,
    /// A folder that may not be read.
    ClosedFolder,
    /// It should be an image, and this is why it is none that can be used.
    Refused(RefusalCode),
    /// Those that are not told apart: no kind.
    More,
}

impl Kind {
    /// All that are neither a reason nor a mere number.
    pub const ALL: [Kind; 7] = [
        Kind::Foreign,
        Kind::Link,
        Kind::Archive,
        Kind::Unfinished,
        Kind::Hidden,
        Kind::NeverStill,
        Kind::ClosedFolder,
    ];

    /// The name in messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Foreign => "foreign",
            Kind::Link => "link",
            Kind::Archive => "archive",
            Kind::Unfinished => "unfinished",
            Kind::Hidden => "hidden",
            Kind::NeverStill => "never_still",
            Kind::ClosedFolder => "closed_folder",
            Kind::Refused(code) => code.as_str(),
            Kind::More => "more",
        }
    }

    /// Why a file of this kind cannot be used, where it should be an image.
    pub const fn reason(self) -> Option<RefusalCode> {
        match self {
            Kind::Refused(code) => Some(code),
            _ => None,
        }
    }
}

impl Ord for Kind {
    fn cmp(&self, other: &Kind) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl PartialOrd for Kind {
    fn partial_cmp(&self, other: &Kind) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}
