//! The daemon's account and what its permission bits let it use. Access control lists and
//! what a file server refuses are not seen.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::machine::Machine;

/// An account of this system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    /// Its name.
    pub name: String,
    /// Its number.
    pub uid: u32,
    /// The numbers of its groups.
    pub gids: Vec<u32>,
}

impl Account {
    /// The account with this name, from `/etc/passwd` and `/etc/group`.
    pub(crate) fn named(name: &str, machine: &Machine) -> Option<Account> {
        let users = machine.read("etc/passwd")?;
        let fields: Vec<&str> = line_of(&users, name)?;
        let (uid, gid) = (fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?);
        let groups = machine.read("etc/group").unwrap_or_default();
        let member = groups.lines().filter_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let belongs = fields.get(3)?.split(',').any(|one| one == name);
            belongs.then(|| fields.get(2)?.parse().ok()).flatten()
        });
        let gids = std::iter::once(gid).chain(member).collect();
        Some(Account { name: name.to_owned(), uid, gids })
    }

    /// The first folder on the way, or the file itself, that this account may not read.
    pub(crate) fn first_denied(&self, path: &Path) -> Option<PathBuf> {
        let whole = path.canonicalize().ok()?;
        let mut way: Vec<&Path> = whole.ancestors().collect();
        way.reverse();
        let denied = way.into_iter().find(|at| {
            let Ok(meta) = at.metadata() else { return true };
            let wanted = match (meta.is_dir(), *at == whole) {
                (true, true) => 0o5,
                (true, false) => 0o1,
                (false, _) => 0o4,
            };
            let granted = if meta.uid() == self.uid {
                meta.mode() >> 6
            } else if self.gids.contains(&meta.gid()) {
                meta.mode() >> 3
            } else {
                meta.mode()
            };
            granted & wanted != wanted
        });
        denied.map(Path::to_owned)
    }
}

fn line_of<'a>(table: &'a str, name: &str) -> Option<Vec<&'a str>> {
    let mut lines = table.lines().map(|line| line.split(':').collect::<Vec<_>>());
    lines.find(|fields| fields.first() == Some(&name))
}
