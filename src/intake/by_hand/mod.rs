//! Files that a person names: one look at what lies still, without waiting.
//!
//! [`discover`] finds the studies in a place, [`survey`] every series of it, [`command_line`] takes
//! phases as they were named. The rules are those of the folder.

pub(crate) mod command_line;
pub(crate) mod discover;
pub(crate) mod survey;
