//! What surrounds a data set: the preamble, the file meta group, deflation.
//!
//! All of it may be missing: scanners and archives write bare data sets too.

use std::borrow::Cow;
use std::io::Read;

use dicom_dictionary_std::{tags, uids};
use flate2::bufread::DeflateDecoder;

use super::DicomError;
use super::elements::{EXPLICIT_VR_BIG_ENDIAN, Elements, Encoding, Value};

/// A deflated data set may not become larger than this: twice the largest slice there is.
const MAX_INFLATED: u64 = 64 << 20;

/// A data set and how it is written.
pub(super) struct Envelope<'a> {
    /// The UID that was declared, or what the bytes look like if none was.
    pub(super) syntax_uid: String,
    /// The SOP class in the file meta group, or nothing.
    pub(super) media_class: String,
    pub(super) encoding: Encoding,
    pub(super) dataset: Cow<'a, [u8]>,
}

/// Whether a file has the mark behind the preamble (PS3.10, 7.1). A DICOMDIR has it too.
pub fn begins_as_dicom(bytes: &[u8]) -> bool {
    bytes.get(128..132) == Some(b"DICM")
}

impl<'a> Envelope<'a> {
    /// Takes a whole file, or the beginning of one.
    pub(super) fn open(bytes: &'a [u8]) -> Result<Envelope<'a>, DicomError> {
        let body = if begins_as_dicom(bytes) {
            &bytes[132..]
        } else if bytes.starts_with(b"DICM") {
            &bytes[4..]
        } else {
            bytes
        };
        let bare = body.len() == bytes.len();
        let Meta { syntax: declared, media_class, dataset } = file_meta(body)?;
        if bare && declared.is_none() && !begins_like_a_dataset(dataset) {
            return Err(if bytes.len() < 132 && bytes.iter().all(|byte| *byte == 0) {
                DicomError::Truncated
            } else {
                DicomError::NotDicom
            });
        }
        if declared.as_deref() == Some(uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN) {
            let dataset = Cow::Owned(inflate(dataset)?);
            let encoding = Encoding::EXPLICIT;
            let syntax_uid = declared.unwrap_or_default();
            return Ok(Envelope { syntax_uid, media_class, encoding, dataset });
        }
        let (syntax_uid, encoding) = encoding_of(declared, dataset);
        let dataset = Cow::Borrowed(dataset);
        Ok(Envelope { syntax_uid, media_class, encoding, dataset })
    }
}

/// What the file meta group says, and what follows it.
struct Meta<'a> {
    syntax: Option<String>,
    media_class: String,
    dataset: &'a [u8],
}

fn file_meta(body: &[u8]) -> Result<Meta<'_>, DicomError> {
    let (mut syntax, mut media_class) = (None, String::new());
    let mut meta = Elements::new(body, Encoding::EXPLICIT);
    while meta.next_tag().is_some_and(|tag| tag.group() == 0x0002) {
        let Some(element) = meta.next()? else { break };
        let Value::Plain(value) = element.value else { continue };
        let uid = || String::from_utf8_lossy(value).trim_matches(['\0', ' ']).to_owned();
        if element.tag == tags::TRANSFER_SYNTAX_UID {
            syntax = Some(uid());
        } else if element.tag == tags::MEDIA_STORAGE_SOP_CLASS_UID {
            media_class = uid();
        }
    }
    let syntax = syntax.filter(|uid| !uid.is_empty());
    Ok(Meta { syntax, media_class, dataset: &body[meta.position()..] })
}

/// Bare data sets begin with group 8, in either byte order: that is all there is to tell
/// them from any other file.
fn begins_like_a_dataset(bytes: &[u8]) -> bool {
    match bytes {
        [8, 0, _, 0, rest @ ..] => rest.len() >= 4,
        [0, 8, 0, _, ..] => Encoding::looks_explicit(bytes),
        _ => false,
    }
}

/// What was declared, unless the bytes say otherwise: implicit VR declared as explicit, and
/// the reverse, are found in the field.
fn encoding_of(declared: Option<String>, dataset: &[u8]) -> (String, Encoding) {
    if declared.as_deref() == Some(EXPLICIT_VR_BIG_ENDIAN)
        || (declared.is_none() && dataset.first() == Some(&0))
    {
        return (EXPLICIT_VR_BIG_ENDIAN.to_owned(), Encoding::BIG);
    }
    let (uid, encoding) = if Encoding::looks_explicit(dataset) {
        (uids::EXPLICIT_VR_LITTLE_ENDIAN, Encoding::EXPLICIT)
    } else {
        (uids::IMPLICIT_VR_LITTLE_ENDIAN, Encoding::IMPLICIT)
    };
    (declared.unwrap_or_else(|| uid.to_owned()), encoding)
}

/// As much as can be inflated: where the stream ends early, so does the data set, and the
/// reader of its elements says so.
fn inflate(packed: &[u8]) -> Result<Vec<u8>, DicomError> {
    let mut dataset = Vec::new();
    let mut bounded = DeflateDecoder::new(packed).take(MAX_INFLATED + 1);
    if let Err(error) = bounded.read_to_end(&mut dataset)
        && dataset.is_empty()
    {
        return Err(DicomError::Corrupt(error.to_string()));
    }
    if dataset.len() as u64 > MAX_INFLATED {
        return Err(DicomError::Corrupt("it unpacks to more than any image has".into()));
    }
    Ok(dataset)
}
