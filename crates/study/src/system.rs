//! What the system says of a file it refuses, without its number and in whole words, and how much
//! space is left for files.

use std::io::{Error, ErrorKind};
use std::path::Path;

/// Its reason, to stand behind the path.
pub fn reason(error: &Error) -> String {
    let known = match error.kind() {
        ErrorKind::NotFound => "there is no such file or folder",
        ErrorKind::PermissionDenied => {
            "this user has no permission for that; look at its owner and mode"
        }
        ErrorKind::AlreadyExists => "it is there already",
        ErrorKind::IsADirectory => "it is a folder",
        ErrorKind::NotADirectory => "a folder on the way to it is a file",
        ErrorKind::StorageFull => "no space is left on the disk",
        ErrorKind::ReadOnlyFilesystem => "the disk is read-only",
        _ => "",
    };
    if !known.is_empty() {
        return known.to_owned();
    }
    let said = error.to_string();
    said.split(" (os error").next().unwrap_or(&said).to_owned()
}

/// Free space for this user where a folder lies.
///
/// # Errors
/// The system's, if the folder cannot be looked at.
pub fn free_bytes(folder: &Path) -> Result<u64, Error> {
    let space = rustix::fs::statvfs(folder)?;
    Ok(space.f_bavail.saturating_mul(space.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_of_the_system_is_told() {
        for number in 1..=133 {
            let said = reason(&Error::from_raw_os_error(number));
            assert!(!said.is_empty() && !said.contains("os error"), "{number}: {said}");
        }
        assert_eq!(reason(&Error::other("odd")), "odd");
    }
}
