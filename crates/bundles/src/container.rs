//! The container of a packed bundle: a plain, uncompressed tar (POSIX ustar) in one form only.
//!
//! Owns the one header that a name and a length have. The reader rebuilds that header and
//! compares all of it, so that links, devices, long names, sparse files, owners, times and
//! everything else a tar can carry are refused by not being foreseen. Nothing is allocated
//! by a length that the container claims.

use std::io::{Read, Write};

use super::refused::PackageError;

/// Everything in a tar is a multiple of this.
pub(super) const BLOCK: usize = 512;
/// Two empty blocks end a tar.
pub(super) const END_BYTES: u64 = 2 * BLOCK as u64;
/// The name field of a header.
pub(super) const MAX_NAME_BYTES: usize = 100;

/// The header of a regular file that everybody may read; time and owner are zero, so that the
/// same files always make the same bytes.
///
/// # Errors
/// A sentence, if the name does not fit.
pub(super) fn header(name: &str, bytes: u64) -> Result<[u8; BLOCK], String> {
    let plain = name.bytes().all(|byte| byte.is_ascii_graphic());
    if name.is_empty() || name.len() > MAX_NAME_BYTES || !plain {
        return Err(format!(
            "`{name}`: a packed file's name has 1 to {MAX_NAME_BYTES} visible ASCII characters without spaces"
        ));
    }
    let mut block = [0; BLOCK];
    let mut put = |at: usize, text: &[u8]| block[at..at + text.len()].copy_from_slice(text);
    put(0, name.as_bytes());
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{bytes:011o}\0").as_bytes());
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000");
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Ok(block)
}

/// The place that a file takes: its header, its content and what fills the last block.
pub(super) fn place_bytes(bytes: u64) -> u64 {
    BLOCK as u64 + bytes.next_multiple_of(BLOCK as u64)
}

/// Writes files one after the other, then the end.
pub(super) struct Writer<W> {
    out: W,
}

impl<W: Write> Writer<W> {
    pub(super) fn new(out: W) -> Writer<W> {
        Writer { out }
    }

    /// Adds a file of exactly `bytes` bytes.
    pub(super) fn add(
        &mut self,
        name: &str,
        bytes: u64,
        content: &mut dyn Read,
    ) -> std::io::Result<()> {
        let head = header(name, bytes).map_err(std::io::Error::other)?;
        self.out.write_all(&head)?;
        let copied = std::io::copy(&mut content.take(bytes), &mut self.out)?;
        if copied != bytes {
            return Err(std::io::Error::other(format!(
                "`{name}` became shorter while it was read"
            )));
        }
        self.out.write_all(&[0; BLOCK][..fill(bytes)])
    }

    /// Ends the container and gives the output back.
    pub(super) fn end(mut self) -> std::io::Result<W> {
        self.out.write_all(&[0; END_BYTES as usize])?;
        Ok(self.out)
    }
}

fn fill(bytes: u64) -> usize {
    (bytes.next_multiple_of(BLOCK as u64) - bytes) as usize
}

/// Reads files one after the other.
pub(super) struct Reader<R> {
    input: R,
}

impl<R: Read> Reader<R> {
    pub(super) fn new(input: R) -> Reader<R> {
        Reader { input }
    }

    /// The length that the next file claims; it must be called `name`. The claim is only
    /// a claim: callers bound it before they use it.
    pub(super) fn claim(&mut self, name: &str) -> Result<u64, PackageError> {
        let block = self.block()?;
        let digits = &block[124..135];
        let bytes = std::str::from_utf8(digits).ok().and_then(|t| u64::from_str_radix(t, 8).ok());
        let foreseen = bytes.and_then(|bytes| Some((bytes, header(name, bytes).ok()?)));
        match foreseen {
            Some((bytes, head)) if head == block => Ok(bytes),
            Some(_) | None => Err(PackageError::Malformed {
                reason: format!(
                    "`{name}` is not where it belongs: this is no engine as `hepalert engine pack` writes it, or it is damaged"
                ),
            }),
        }
    }

    /// Passes the `bytes` bytes of the file whose header was just read on to `sink`, in
    /// pieces, and reads what fills the last block, which must be zero.
    pub(super) fn content(
        &mut self,
        bytes: u64,
        sink: &mut dyn FnMut(&[u8]) -> Result<(), PackageError>,
    ) -> Result<(), PackageError> {
        let mut piece = vec![0; 1 << 16];
        let mut left = bytes;
        while left > 0 {
            let count = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            self.fill_from_input(&mut piece[..count])?;
            sink(&piece[..count])?;
            left -= count as u64;
        }
        let mut rest = [0; BLOCK];
        let rest = &mut rest[..fill(bytes)];
        self.fill_from_input(rest)?;
        zero(rest)
    }

    /// The end must be here, and nothing after it.
    pub(super) fn end(&mut self) -> Result<(), PackageError> {
        for _ in 0..END_BYTES / BLOCK as u64 {
            zero(&self.block()?)?;
        }
        match self.input.read(&mut [0]) {
            Ok(0) => Ok(()),
            Ok(_) => Err(PackageError::Malformed { reason: "bytes follow its end".to_owned() }),
            Err(error) => Err(PackageError::Unreadable(error)),
        }
    }

    fn block(&mut self) -> Result<[u8; BLOCK], PackageError> {
        let mut block = [0; BLOCK];
        self.fill_from_input(&mut block)?;
        Ok(block)
    }

    fn fill_from_input(&mut self, buffer: &mut [u8]) -> Result<(), PackageError> {
        self.input.read_exact(buffer).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => PackageError::Truncated,
            _ => PackageError::Unreadable(error),
        })
    }
}

fn zero(bytes: &[u8]) -> Result<(), PackageError> {
    if bytes.iter().all(|&byte| byte == 0) {
        return Ok(());
    }
    Err(PackageError::Malformed { reason: "a gap between files is not empty".to_owned() })
}
