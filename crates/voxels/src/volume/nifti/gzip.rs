//! The bytes of a NIfTI file, inflated when they begin as gzip does.
//!
//! Owns members, checksums and padding. Bounds nothing by itself but the number of members:
//! whoever reads stops at what the header promised.

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;

use super::NiftiError;

const MAGIC: [u8; 2] = [0x1f, 0x8b];

/// No stream of bytes inflates to more than this many times its size (RFC 1951: 258 bytes
/// for two bits, less the block headers).
const MAX_INFLATION: u64 = 1032;

/// Block-wise writers put 64 KiB into a member, so that the largest volume of 4-byte voxels
/// needs half as many; a file of empty members costs time and holds nothing.
const MAX_MEMBERS: usize = 1 << 17;

/// A file's bytes as they are once unpacked.
pub(super) enum Source<'a> {
    Plain(&'a [u8]),
    Gzip(Gunzip<'a>),
}

impl<'a> Source<'a> {
    /// Told by the first two bytes: names lie.
    pub(super) fn of(bytes: &'a [u8]) -> Source<'a> {
        if bytes.starts_with(&MAGIC) {
            Source::Gzip(Gunzip {
                member: Box::new(GzDecoder::new(bytes)),
                members: 1,
                done: false,
            })
        } else {
            Source::Plain(bytes)
        }
    }

    /// More bytes than this cannot come out of `packed` bytes.
    pub(super) fn most(&self, packed: usize) -> u64 {
        match self {
            Source::Plain(_) => packed as u64,
            Source::Gzip(_) => (packed as u64).saturating_mul(MAX_INFLATION),
        }
    }
}

impl Read for Source<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Source::Plain(bytes) => bytes.read(into),
            Source::Gzip(members) => members.read(into),
        }
    }
}

/// Members one after the other, each with its checksum and length verified at its end;
/// zeros after the last are padding, anything else is damage.
pub(super) struct Gunzip<'a> {
    member: Box<GzDecoder<&'a [u8]>>,
    members: usize,
    done: bool,
}

impl Read for Gunzip<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while !self.done && !into.is_empty() {
            let count = self.member.read(into)?;
            if count > 0 {
                return Ok(count);
            }
            let rest: &[u8] = self.member.get_ref();
            if rest.iter().all(|byte| *byte == 0) {
                self.done = true;
            } else if rest.starts_with(&MAGIC) && self.members < MAX_MEMBERS {
                self.members += 1;
                *self.member = GzDecoder::new(rest);
            } else {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "bytes after the end"));
            }
        }
        Ok(0)
    }
}

/// How many bytes a gzipped file unpacks to, counted no further than `most`: members and
/// padding as in [`Gunzip`], without holding the file.
pub fn unpacked_bytes(mut packed: impl BufRead, most: u64) -> Result<u64, NiftiError> {
    let mut count = 0;
    for _ in 0..MAX_MEMBERS {
        let mut member = GzDecoder::new(packed);
        count += io::copy(&mut (&mut member).take(most - count), &mut io::sink())?;
        if count == most {
            return Ok(count);
        }
        packed = member.into_inner();
        match packed.fill_buf()?.first() {
            None => return Ok(count),
            Some(first) if *first == MAGIC[0] => {}
            Some(_) => {
                while let Some(rest) = Some(packed.fill_buf()?).filter(|rest| !rest.is_empty()) {
                    if rest.iter().any(|byte| *byte != 0) {
                        return Err(NiftiError::CorruptGzip("bytes after the end".into()));
                    }
                    let length = rest.len();
                    packed.consume(length);
                }
                return Ok(count);
            }
        }
    }
    Err(NiftiError::CorruptGzip("too many parts".into()))
}

impl From<io::Error> for NiftiError {
    fn from(error: io::Error) -> NiftiError {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => NiftiError::Truncated,
            _ => NiftiError::CorruptGzip(error.to_string()),
        }
    }
}

/// Reads until `into` is full, the bytes end or inflating fails; gives the number of bytes
/// and the failure, so that a prefix of a file can still be looked at.
pub(super) fn fill(source: &mut impl Read, into: &mut [u8]) -> (usize, Option<io::Error>) {
    let mut filled = 0;
    while filled < into.len() {
        match source.read(&mut into[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) => return (filled, Some(error)),
        }
    }
    (filled, None)
}
