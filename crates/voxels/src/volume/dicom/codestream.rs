//! What a compressed frame says of itself before it is decoded.
//!
//! The decoders trust that a frame is as large as the DICOM header says: they write past a
//! buffer (and panic), or leave the rest of it zero. So that is checked first.

use super::DicomError;

/// What a stream is coded in, by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    Jpeg,
    JpegLs,
    Jpeg2000,
}

impl Coding {
    /// `None` for anything else.
    pub(super) fn of(stream: &[u8]) -> Option<Coding> {
        const JP2: [u8; 8] = [0, 0, 0, 12, b'j', b'P', b' ', b' '];
        if stream.starts_with(&[0xff, 0x4f, 0xff, 0x51]) || stream.starts_with(&JP2) {
            Some(Coding::Jpeg2000)
        } else if stream.starts_with(&[0xff, 0xd8, 0xff]) {
            let is_ls = start_of_frame(stream).is_ok_and(|(kind, _)| kind == JPEG_LS);
            Some(if is_ls { Coding::JpegLs } else { Coding::Jpeg })
        } else {
            None
        }
    }
}

/// The start of frame of JPEG-LS.
const JPEG_LS: u8 = 0xf7;

/// The image in a compressed frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) rows: u32,
    pub(super) columns: u32,
    pub(super) components: u32,
    /// Bits per sample.
    pub(super) precision: u32,
}

/// The kind of the start-of-frame segment, and where its contents begin.
fn start_of_frame(stream: &[u8]) -> Result<(u8, usize), DicomError> {
    let bad = || DicomError::CodecFailed("no JPEG frame header".into());
    if !stream.starts_with(&[0xff, 0xd8]) {
        return Err(bad());
    }
    let mut at = 2;
    loop {
        let &[mark, kind, high, low] =
            stream.get(at..).and_then(|rest| rest.first_chunk()).ok_or_else(bad)?;
        if mark != 0xff {
            return Err(bad());
        }
        match kind {
            0xff => at += 1,
            // Tables and arithmetic conditioning carry numbers of the same range.
            0xc0..=0xcf if !matches!(kind, 0xc4 | 0xc8 | 0xcc) => return Ok((kind, at + 4)),
            JPEG_LS => return Ok((kind, at + 4)),
            0xda | 0xd9 => return Err(bad()),
            _ => at += 2 + usize::from(u16::from_be_bytes([high, low])),
        }
    }
}

/// The start-of-frame segment of JPEG (ISO 10918-1 B.2.2) and JPEG-LS (ISO 14495-1 C.2.2).
pub(super) fn jpeg(stream: &[u8]) -> Result<Frame, DicomError> {
    let (_, at) = start_of_frame(stream)?;
    let bad = || DicomError::CodecFailed("no JPEG frame header".into());
    let &[precision, r1, r0, c1, c0, components] =
        stream.get(at..).and_then(|rest| rest.first_chunk()).ok_or_else(bad)?;
    Ok(Frame {
        rows: u32::from(u16::from_be_bytes([r1, r0])),
        columns: u32::from(u16::from_be_bytes([c1, c0])),
        components: u32::from(components),
        precision: u32::from(precision),
    })
}

/// JPEG with cosine transform (baseline, extended, progressive) and samples of 12 bits.
pub(super) fn is_lossy_12_bit(stream: &[u8]) -> bool {
    let kind = start_of_frame(stream).map(|(kind, _)| kind);
    matches!(kind, Ok(0xc0..=0xc2)) && jpeg(stream).is_ok_and(|frame| frame.precision == 12)
}

/// The SIZ segment of JPEG 2000 (ISO 15444-1 A.5.1), in a bare codestream or a JP2 file.
pub(super) fn jpeg2000(stream: &[u8]) -> Result<Frame, DicomError> {
    let bad = || DicomError::CodecFailed("no JPEG 2000 image header".into());
    // A codestream begins with SOC and SIZ; a JP2 file has a few small boxes before.
    let start = stream[..stream.len().min(4096)]
        .windows(4)
        .position(|window| window == [0xff, 0x4f, 0xff, 0x51])
        .ok_or_else(bad)?;
    let siz = stream.get(start + 4..start + 45).ok_or_else(bad)?;
    let word = |at: usize| u32::from_be_bytes([siz[at], siz[at + 1], siz[at + 2], siz[at + 3]]);
    let components = u32::from(u16::from_be_bytes([siz[36], siz[37]]));
    if siz[39] != 1 || siz[40] != 1 {
        return Err(DicomError::UnsupportedPixels("subsampled JPEG 2000".into()));
    }
    Ok(Frame {
        rows: word(8).saturating_sub(word(16)),
        columns: word(4).saturating_sub(word(12)),
        components,
        precision: u32::from(siz[38] & 0x7f) + 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_header_is_found_behind_other_segments() {
        let stream = [
            0xff, 0xd8, 0xff, 0xfe, 0, 4, 1, 2, 0xff, 0xff, 0xc3, 0, 11, 16, 1, 0, 2, 0, 1, 1, 0x11,
        ];
        let frame = jpeg(&stream).unwrap();
        assert_eq!(frame, Frame { rows: 256, columns: 512, components: 1, precision: 16 });
        for length in 0..19 {
            assert!(jpeg(&stream[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn damaged_streams_have_no_frame() {
        assert!(jpeg(&[0xff, 0xd8, 0xff, 0xda, 0, 8, 0, 0]).is_err());
        assert!(jpeg2000(&[0xff, 0x4f, 0xff, 0x51, 0]).is_err());
        assert!(jpeg2000(b"").is_err());
    }
}
