//! Files that a person names: one look at what lies still, without waiting.
//!
//! [`discover`] finds the studies in a place, [`survey`] every series of it, [`command_line`] takes
//! phases as they were named. The rules are those of the folder.

use std::io;
use std::path::{Path, PathBuf};

pub(crate) mod command_line;
pub(crate) mod discover;
pub(crate) mod survey;

/// A file as it is opened: who names a link means what it leads to, and files are opened without
/// following links.
fn behind_links(path: &Path) -> io::Result<PathBuf> {
    if path.is_symlink() { path.canonicalize() } else { Ok(path.to_owned()) }
}
