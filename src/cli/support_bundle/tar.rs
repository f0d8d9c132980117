//! A tar archive of a few small texts (POSIX ustar): enough for a support bundle, and one
//! dependency less. Refuses names that do not fit a header.

use std::io::{self, Write};

/// Archives come in blocks of this many bytes.
const BLOCK: usize = 512;
/// Longest name in a plain header.
const MOST_NAME: usize = 100;

/// Writes one file; `mode` is 0644, the owner nobody in particular.
///
/// # Errors
/// What the writer says; a name over 100 bytes.
pub fn add(out: &mut impl Write, name: &str, text: &[u8], modified_s: u64) -> io::Result<()> {
    if name.len() > MOST_NAME {
        return Err(io::Error::other("a name of the archive is too long"));
    }
    let mut header = [0u8; BLOCK];
    let mut put = |at: usize, field: &[u8]| header[at..at + field.len()].copy_from_slice(field);
    put(0, name.as_bytes());
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{:011o}\0", text.len()).as_bytes());
    put(136, format!("{modified_s:011o}\0").as_bytes());
    // The checksum counts its own field as blanks.
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    out.write_all(&header)?;
    out.write_all(text)?;
    out.write_all(&[0; BLOCK][..text.len().next_multiple_of(BLOCK) - text.len()])
}

/// Two empty blocks end an archive.
///
/// # Errors
/// What the writer says.
pub fn end(out: &mut impl Write) -> io::Result<()> {
    out.write_all(&[0; 2 * BLOCK])
}
