//! What kind of file it is that belongs to no study.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

use serde::{Serialize, Serializer};

use crate::intake::refusal_codes::RefusalCode;

/// Kinds of files and how many there are, for messages.
pub(crate) type Counts = BTreeMap<StrangerKind, usize>;

/// What a file is that is no image of a study. Ordered by name, as messages list them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StrangerKind {
    /// No image by its name or nature: notes, programs, pictures, pipes.
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

impl StrangerKind {
    /// All that are neither a reason nor a mere number.
    pub const ALL: [StrangerKind; 7] = [
        StrangerKind::Foreign,
        StrangerKind::Link,
        StrangerKind::Archive,
        StrangerKind::Unfinished,
        StrangerKind::Hidden,
        StrangerKind::NeverStill,
        StrangerKind::ClosedFolder,
    ];

    /// The name in messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            StrangerKind::Foreign => "foreign",
            StrangerKind::Link => "link",
            StrangerKind::Archive => "archive",
            StrangerKind::Unfinished => "unfinished",
            StrangerKind::Hidden => "hidden",
            StrangerKind::NeverStill => "never_still",
            StrangerKind::ClosedFolder => "closed_folder",
            StrangerKind::Refused(code) => code.as_str(),
            StrangerKind::More => "more",
        }
    }

    /// Why a file of this kind cannot be used, where it should be an image.
    pub const fn reason(self) -> Option<RefusalCode> {
        match self {
            StrangerKind::Refused(code) => Some(code),
            _ => None,
        }
    }
}

impl Ord for StrangerKind {
    fn cmp(&self, other: &StrangerKind) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl PartialOrd for StrangerKind {
    fn partial_cmp(&self, other: &StrangerKind) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for StrangerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for StrangerKind {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}
