//! Names by content: the study key, digests of files, the fingerprint of a study's input.
//!
//! Owns every hash of intake. A fingerprint depends on what is in the files alone, never on
//! their paths, their times or the order they came in. Refuses to keep a UID in clear.

use std::io::{self, Read};

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest as _, Sha256};

pub use hepalert_study::digest::Digest;
use hepalert_study::phase::Phase;
use hepalert_study::study::{PatientKey, StudyKey};
use hepalert_voxels::volume::dicom::{Identifiers, content};

/// The key of a study: 128 bits of HMAC-SHA256 of its StudyInstanceUID under the site key.
/// Padding that some writers leave behind a UID does not count.
///
/// # Panics
/// Never: HMAC takes a key of any length and a digest has 32 bytes.
#[allow(clippy::expect_used, reason = "HMAC takes a key of any length; 32 hex digits are a key")]
pub fn study_key(site_key: &[u8], study_uid: &str) -> StudyKey {
    let mut mac = Hmac::<Sha256>::new_from_slice(site_key).expect("any length is a key");
    mac.update(study_uid.trim_matches(['\0', ' ']).as_bytes());
    let digest = Digest::from(<[u8; 32]>::from(mac.finalize().into_bytes()));
    StudyKey::new(&digest.hex()[..32]).expect("hex digits")
}

/// Who a patient is, if there is a number: that means one patient only together with who gave it, and the
/// birth date tells apart whom a number such as `UNKNOWN` was given to.
pub(crate) fn patient_key(
    said: &Identifiers,
    key_of: impl Fn(&str) -> StudyKey,
) -> Option<PatientKey> {
    let trimmed = |text: &Option<String>| text.as_deref().unwrap_or_default().trim().to_owned();
    let [id, issuer, born] = [&said.patient_id, &said.issuer, &said.birth_date].map(trimmed);
    let name = format!("patient\n{id}\n{issuer}\n{born}");
    (!id.is_empty()).then(|| PatientKey::new(key_of(&name)))
}

/// The SHA-256 of everything in a reader, in constant memory.
///
/// # Errors
/// What the reader says.
pub(crate) fn digest_of(mut reader: impl Read) -> io::Result<Digest> {
    let mut hash = Sha256::new();
    // 64 KiB: larger blocks were no faster, and this one fits the second-level cache.
    let mut block = vec![0; 1 << 16];
    loop {
        match reader.read(&mut block) {
            Ok(0) => return Ok(Digest::from(<[u8; 32]>::from(hash.finalize()))),
            Ok(n) => hash.update(&block[..n]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// The digest of what CT images say and show, the same in every transfer syntax that loses nothing;
/// `None` of what cannot be decoded.
pub(crate) fn images_digest(bytes: &[u8]) -> Option<Digest> {
    let mut hash = Sha256::new_with_prefix(b"hepalert images 1");
    content::decoded(bytes, &mut |part| hash.update(part)).ok()?;
    Some(Digest::from(<[u8; 32]>::from(hash.finalize())))
}

/// One file of a study: who it is (digest of the SOPInstanceUID or NIfTI tag), what is in it.
pub(crate) type Item = (Digest, Digest);

/// The fingerprint of a study's input: SHA-256 over its phases and their items, each sorted.
pub(crate) fn fingerprint(phases: &[(Option<Phase>, Vec<Item>)]) -> Digest {
    let mut blocks: Vec<(&str, Vec<Item>)> = phases
        .iter()
        .map(|(phase, items)| (phase.map_or("--", Phase::code), items.clone()))
        .collect();
    for (_, items) in &mut blocks {
        items.sort_unstable();
    }
    blocks.sort_unstable();
    let mut hash = Sha256::new();
    hash.update(b"hepalert input 1");
    for (code, items) in blocks {
        hash.update(code.as_bytes());
        hash.update((items.len() as u64).to_le_bytes());
        for (identity, content) in items {
            hash.update(identity.as_bytes());
            hash.update(content.as_bytes());
        }
    }
    Digest::from(<[u8; 32]>::from(hash.finalize()))
}

/// The fingerprint of input that was there before and came back as a later revision: what
/// was said of another input in between no longer holds.
pub(crate) fn again(input: Digest, revision: u32) -> Digest {
    let mut hash = Sha256::new_with_prefix(b"hepalert input again 1");
    hash.update(input.as_bytes());
    hash.update(revision.to_le_bytes());
    Digest::from(<[u8; 32]>::from(hash.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_keyed_and_ignores_padding() {
        let key = study_key(b"site", "1.2.3");
        assert_eq!(key, study_key(b"site", "1.2.3\0"));
        assert_ne!(key, study_key(b"other", "1.2.3"));
        assert_ne!(key, study_key(b"site", "1.2.31"));
        // RFC 4231, test case 2, first 128 bits.
        let rfc = study_key(b"Jefe", "what do ya want for nothing?");
        assert_eq!(rfc.as_str(), "5bdcc146bf60754e6a042426089575c7");
    }

    #[test]
    fn digests_stream_and_round_trip() {
        let bytes: Vec<u8> = (0..200_000u32).map(|i| (i % 251) as u8).collect();
        let digest = digest_of(&bytes[..]).unwrap();
        assert_eq!(digest, Digest::of(&bytes));
        assert_eq!(Digest::from_hex(&digest.hex()), Some(digest));
        assert_eq!(Digest::from_hex("zz"), None);
        assert_eq!(
            Digest::of(b"abc").hex(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn a_fingerprint_knows_content_and_phase_but_no_order() {
        let item = |n: u8| (Digest::of(&[n]), Digest::of(&[n, n]));
        let one = fingerprint(&[(Some(Phase::Nc), vec![item(1), item(2)]), (None, vec![item(3)])]);
        let two = fingerprint(&[(None, vec![item(3)]), (Some(Phase::Nc), vec![item(2), item(1)])]);
        assert_eq!(one, two);
        let moved =
            fingerprint(&[(Some(Phase::Vp), vec![item(1), item(2)]), (None, vec![item(3)])]);
        assert_ne!(one, moved);
        let split =
            fingerprint(&[(Some(Phase::Nc), vec![item(1)]), (None, vec![item(2), item(3)])]);
        assert_ne!(one, split);
    }
}
