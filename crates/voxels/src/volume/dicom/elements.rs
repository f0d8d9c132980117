//! The elements of a data set, one after the other, without decoding them.
//!
//! `dicom-object` reserves and clears as many bytes as a length field says, and recurses as
//! deep as sequences nest. Here every length is held against the bytes that are there, and
//! nesting has a bound, so that only leaf elements of known size are handed to it; sequences
//! are stepped over, but for those that `frames` opens with [`items`].

use dicom_core::Tag;

use super::DicomError;

/// Real headers nest three or four deep.
const MAX_DEPTH: usize = 32;

/// Retired, and still written: no constant of the dictionary, which warns of it.
pub(super) const EXPLICIT_VR_BIG_ENDIAN: &str = "1.2.840.10008.1.2.2";

const UNDEFINED: u32 = u32::MAX;
const ITEM: Tag = Tag(0xfffe, 0xe000);
const ITEM_END: Tag = Tag(0xfffe, 0xe00d);
const SEQUENCE_END: Tag = Tag(0xfffe, 0xe0dd);

/// How the elements of a data set are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Encoding {
    pub(super) explicit_vr: bool,
    pub(super) big_endian: bool,
}

impl Encoding {
    pub(super) const EXPLICIT: Encoding = Encoding { explicit_vr: true, big_endian: false };
    pub(super) const IMPLICIT: Encoding = Encoding { explicit_vr: false, big_endian: false };
    pub(super) const BIG: Encoding = Encoding { explicit_vr: true, big_endian: true };

    /// Whether an element that begins here has two letters where an explicit VR has them.
    pub(super) fn looks_explicit(bytes: &[u8]) -> bool {
        bytes.get(4..6).is_some_and(|vr| vr.iter().all(u8::is_ascii_uppercase))
    }
}

/// One element of a data set or an item.
pub(super) struct Element<'a> {
    pub(super) tag: Tag,
    /// As written, `UN` in implicit VR.
    pub(super) vr: [u8; 2],
    /// Header and value, as written.
    pub(super) written: &'a [u8],
    pub(super) value: Value<'a>,
}

/// What an element holds.
pub(super) enum Value<'a> {
    /// Bytes of a length that was said.
    Plain(&'a [u8]),
    /// Items up to a delimiter, with it.
    Nested(&'a [u8]),
    /// Compressed pixels: the offset table first, then the fragments.
    Fragments(Vec<&'a [u8]>),
}

/// Steps through the elements of a data set.
#[derive(Clone)]
pub(super) struct Elements<'a> {
    bytes: &'a [u8],
    at: usize,
    encoding: Encoding,
}

/// Tag, VR, length and first byte of the value.
struct Head {
    tag: Tag,
    vr: [u8; 2],
    length: u32,
    value_at: usize,
}

impl<'a> Elements<'a> {
    pub(super) fn new(bytes: &'a [u8], encoding: Encoding) -> Elements<'a> {
        Elements { bytes, at: 0, encoding }
    }

    /// Byte at which the next element begins.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// The tag of the next element, if it is there at all.
    pub(super) fn next_tag(&self) -> Option<Tag> {
        tag_at(self.bytes, self.at, self.encoding).ok()
    }

    /// The next element, `None` at the end of the bytes.
    pub(super) fn next(&mut self) -> Result<Option<Element<'a>>, DicomError> {
        if self.at == self.bytes.len() {
            return Ok(None);
        }
        let head = head_at(self.bytes, self.at, self.encoding)?;
        let (value, end) = if head.length != UNDEFINED {
            let end = advance(self.bytes, head.value_at, head.length)?;
            (Value::Plain(&self.bytes[head.value_at..end]), end)
        } else if head.tag == dicom_dictionary_std::tags::PIXEL_DATA {
            let (fragments, end) = fragments(self.bytes, head.value_at, self.encoding, false)?;
            (Value::Fragments(fragments), end)
        } else {
            let end = skip_items(self.bytes, &head, self.encoding, 0)?;
            (Value::Nested(&self.bytes[head.value_at..end]), end)
        };
        let written = &self.bytes[self.at..end];
        self.at = end;
        Ok(Some(Element { tag: head.tag, vr: head.vr, written, value }))
    }
}

/// The items of a sequence: of known length, or up to a delimiter.
pub(super) fn items(bytes: &[u8], encoding: Encoding) -> Result<Vec<Elements<'_>>, DicomError> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let tag = tag_at(bytes, at, encoding)?;
        let length = u32_at(bytes, at + 4, encoding)?;
        at += 8;
        let (inside, end) = match (tag, length) {
            (SEQUENCE_END, _) => break,
            (ITEM, UNDEFINED) => {
                let end = skip_item(bytes, at, encoding, 0)?;
                (&bytes[at..end - 8], end)
            }
            (ITEM, length) => {
                let end = advance(bytes, at, length)?;
                (&bytes[at..end], end)
            }
            _ => return Err(DicomError::Corrupt("a sequence without items".into())),
        };
        found.push(Elements::new(inside, encoding));
        at = end;
    }
    Ok(found)
}

/// Compressed pixels that were written with a length of their own, as an unknown VR has it: the
/// delimiter may be missing.
pub(super) fn fragments_of(bytes: &[u8], encoding: Encoding) -> Result<Vec<&[u8]>, DicomError> {
    Ok(fragments(bytes, 0, encoding, true)?.0)
}

fn advance(bytes: &[u8], at: usize, length: u32) -> Result<usize, DicomError> {
    at.checked_add(length as usize).filter(|end| *end <= bytes.len()).ok_or(DicomError::Truncated)
}

fn take<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], DicomError> {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().ok_or(DicomError::Truncated)
}

fn u16_at(bytes: &[u8], at: usize, encoding: Encoding) -> Result<u16, DicomError> {
    let raw = take(bytes, at)?;
    Ok(if encoding.big_endian { u16::from_be_bytes(raw) } else { u16::from_le_bytes(raw) })
}

fn u32_at(bytes: &[u8], at: usize, encoding: Encoding) -> Result<u32, DicomError> {
    let raw = take(bytes, at)?;
    Ok(if encoding.big_endian { u32::from_be_bytes(raw) } else { u32::from_le_bytes(raw) })
}

fn tag_at(bytes: &[u8], at: usize, encoding: Encoding) -> Result<Tag, DicomError> {
    Ok(Tag(u16_at(bytes, at, encoding)?, u16_at(bytes, at + 2, encoding)?))
}

/// PS3.5 section 7.1: VRs with a 16-bit length; all others have 32 bits after a gap of two.
fn has_short_length(vr: [u8; 2]) -> bool {
    const SHORT: [&[u8; 2]; 21] = [
        b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FL", b"FD", b"IS", b"LO", b"LT", b"PN",
        b"SH", b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US",
    ];
    SHORT.contains(&&vr)
}

fn head_at(bytes: &[u8], at: usize, encoding: Encoding) -> Result<Head, DicomError> {
    let tag = tag_at(bytes, at, encoding)?;
    if !encoding.explicit_vr || tag.group() == 0xfffe {
        let length = u32_at(bytes, at + 4, encoding)?;
        return Ok(Head { tag, vr: *b"UN", length, value_at: at + 8 });
    }
    let vr = take(bytes, at + 4)?;
    if has_short_length(vr) {
        let length = u32::from(u16_at(bytes, at + 6, encoding)?);
        Ok(Head { tag, vr, length, value_at: at + 8 })
    } else {
        Ok(Head { tag, vr, length: u32_at(bytes, at + 8, encoding)?, value_at: at + 12 })
    }
}

/// The end of items of a sequence of undefined length.
fn skip_items(
    bytes: &[u8],
    head: &Head,
    encoding: Encoding,
    depth: usize,
) -> Result<usize, DicomError> {
    if depth > MAX_DEPTH {
        return Err(DicomError::Corrupt("sequences nest too deep".into()));
    }
    let mut at = head.value_at;
    loop {
        let tag = tag_at(bytes, at, encoding)?;
        let length = u32_at(bytes, at + 4, encoding)?;
        at += 8;
        match (tag, length) {
            (SEQUENCE_END, _) => return Ok(at),
            (ITEM, UNDEFINED) => {
                // PS3.5 section 6.2.2: an unknown VR of undefined length holds implicit VR,
                // whatever surrounds it. Some writers keep explicit VR all the same.
                let unknown = encoding.explicit_vr && &head.vr == b"UN";
                let inner = if unknown && !Encoding::looks_explicit(&bytes[at..]) {
                    Encoding { explicit_vr: false, ..encoding }
                } else {
                    encoding
                };
                at = skip_item(bytes, at, inner, depth)?;
            }
            (ITEM, length) => at = advance(bytes, at, length)?,
            _ => return Err(DicomError::Corrupt("a sequence without items".into())),
        }
    }
}

/// The end of an item of undefined length.
fn skip_item(
    bytes: &[u8],
    mut at: usize,
    encoding: Encoding,
    depth: usize,
) -> Result<usize, DicomError> {
    loop {
        let head = head_at(bytes, at, encoding)?;
        at = if head.tag == ITEM_END {
            return Ok(head.value_at);
        } else if head.length == UNDEFINED {
            skip_items(bytes, &head, encoding, depth + 1)?
        } else {
            advance(bytes, head.value_at, head.length)?
        };
    }
}

/// PS3.5 section A.4: items of known length up to a delimiter, or, where that `may_lack`, up to
/// the end of the bytes; and where they end.
fn fragments(
    bytes: &[u8],
    mut at: usize,
    encoding: Encoding,
    may_lack: bool,
) -> Result<(Vec<&[u8]>, usize), DicomError> {
    let mut found = Vec::new();
    while !may_lack || at < bytes.len() {
        let tag = tag_at(bytes, at, encoding)?;
        let length = u32_at(bytes, at + 4, encoding)?;
        at += 8;
        match (tag, length) {
            (SEQUENCE_END, _) => return Ok((found, at)),
            (ITEM, length) if length != UNDEFINED => {
                let end = advance(bytes, at, length)?;
                found.push(&bytes[at..end]);
                at = end;
            }
            _ => return Err(DicomError::Corrupt("pixel data without fragments".into())),
        }
    }
    Ok((found, at))
}
