//! What kind of file system a folder lies on.
//!
//! Owns the numbers of those that others change too, where inotify does not tell.

use std::io;
use std::path::Path;

/// What kind of file system a folder lies on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileSystem {
    /// Inotify tells of every change.
    Local,
    /// Others change it too, and inotify does not tell.
    Network(&'static str),
}

/// Magic numbers (statfs(2), and the kernel's `magic.h`) of file systems without notices.
const NETWORK: [(u64, &str); 13] = [
    (0x6969, "nfs"),
    (0x517b, "smb"),
    (0xff53_4d42, "cifs"),
    (0xfe53_4d42, "smb2"),
    (0x6573_5546, "fuse"),
    (0x0102_1997, "9p"),
    (0x5346_414f, "afs"),
    (0x00c3_6400, "ceph"),
    (0x7375_7245, "coda"),
    (0x564c, "ncp"),
    (0x0bd0_0bd0, "lustre"),
    (0x786f_4256, "vboxsf"),
    (0x6a65_6a63, "virtiofs"),
];

/// The kind of a file system by its magic number.
pub(crate) fn file_system_of_magic(magic: u64) -> FileSystem {
    let magic = magic & 0xffff_ffff;
    let found = NETWORK.iter().find(|(number, _)| *number == magic);
    found.map_or(FileSystem::Local, |(_, name)| FileSystem::Network(name))
}

/// The kind of file system that a folder lies on.
///
/// # Errors
/// What statfs(2) says.
pub(crate) fn file_system(folder: &Path) -> io::Result<FileSystem> {
    let found = rustix::fs::statfs(folder)?;
    Ok(file_system_of_magic(found.f_type as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_are_known_by_their_numbers() {
        assert_eq!(file_system_of_magic(0x6969), FileSystem::Network("nfs"));
        assert_eq!(file_system_of_magic(0xff53_4d42), FileSystem::Network("cifs"));
        // As a signed 32-bit f_type is widened on some machines.
        assert_eq!(file_system_of_magic(0xffff_ffff_ff53_4d42), FileSystem::Network("cifs"));
        assert_eq!(file_system_of_magic(0xef53), FileSystem::Local);
    }
}
