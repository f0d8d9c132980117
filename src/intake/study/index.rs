//! What is remembered of every study there ever was, in as little memory as it takes.
//!
//! Owns the studies whose files are gone: how far they came and by which fingerprint they are known
//! again; and whose each fingerprint is. It grows by some hundred bytes a study, so that the same
//! study is never taken in twice. Slices are remembered by `progress` alone.

use std::collections::BTreeMap;

use crate::intake::events::Known;
use crate::intake::fingerprint::Digest;
use hepalert_study::study::StudyKey;

/// A study's key as the number that its digits are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Short([u8; 16]);

impl From<&StudyKey> for Short {
    fn from(key: &StudyKey) -> Short {
        Short(u128::from_str_radix(key.as_str(), 16).unwrap_or_default().to_be_bytes())
    }
}

/// How a study stood when its files had gone.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Past {
    /// The fingerprint of its last account.
    pub account: Option<Digest>,
    /// Its last revision.
    pub revision: u32,
    /// The account was given by an earlier process.
    pub remembered: bool,
}

/// Studies of the past and all fingerprints.
#[derive(Debug, Default)]
pub(super) struct Index {
    studies: BTreeMap<Short, Past>,
    prints: BTreeMap<Digest, Short>,
}

impl Index {
    /// Of what an earlier process has taken in or refused.
    pub(super) fn new(known: Vec<Known>) -> Index {
        let mut index = Index::default();
        for Known { key, fingerprint, revision } in known {
            let new = Past { account: None, revision, remembered: false };
            let past = index.studies.entry(Short::from(&key)).or_insert(new);
            if revision >= past.revision {
                *past = Past { account: Some(fingerprint), revision, remembered: true };
            }
            index.note(fingerprint, &key);
        }
        index
    }

    /// This fingerprint is this study's from now on.
    pub(super) fn note(&mut self, fingerprint: Digest, key: &StudyKey) {
        self.prints.insert(fingerprint, Short::from(key));
    }

    /// Whether a fingerprint is this study's or another's; nothing if nobody's.
    pub(super) fn is_of(&self, fingerprint: &Digest, key: &StudyKey) -> Option<bool> {
        self.prints.get(fingerprint).map(|owner| *owner == Short::from(key))
    }

    /// Whether a fingerprint is any study's.
    pub(super) fn has(&self, fingerprint: &Digest) -> bool {
        self.prints.contains_key(fingerprint)
    }

    /// Whether this is a study of the past.
    pub(super) fn knows(&self, key: &StudyKey) -> bool {
        self.studies.contains_key(&Short::from(key))
    }

    /// Keeps of a study that went away what it is known again by.
    pub(super) fn put_away(&mut self, key: &StudyKey, past: Past) {
        self.studies.insert(Short::from(key), past);
    }

    /// A study that comes back, as it stood; nothing if it never was here.
    pub(super) fn take(&mut self, key: &StudyKey) -> Option<Past> {
        self.studies.remove(&Short::from(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_study_of_the_past_a_hundred_bytes_are_held() {
        // The maps add about half of it.
        let bytes = size_of::<(Short, Past)>() + size_of::<(Digest, Short)>();
        assert!(bytes <= 112, "{bytes}");
        let key = StudyKey::new("0123456789abcdef00000000000000ff").unwrap();
        assert_eq!(Short::from(&key).0[..2], [0x01, 0x23]);
        assert_eq!(Short::from(&key).0[15], 0xff);
    }

    #[test]
    #[ignore = "the memory of the whole process: to be run alone"]
    fn what_a_study_of_the_past_costs() {
        const STUDIES: u32 = 200_000;
        let resident_kib = || crate::system::memory_kib("self", "VmRSS").unwrap();
        let before = resident_kib();
        let mut index = Index::default();
        for n in 0..STUDIES {
            let fingerprint = Digest::of(&n.to_le_bytes());
            let key = StudyKey::new(&fingerprint.hex()[..32]).unwrap();
            let account = Some(fingerprint);
            index.put_away(&key, Past { account, revision: 1, remembered: false });
            index.note(fingerprint, &key);
        }
        let each = (resident_kib() - before) * 1024 / u64::from(STUDIES);
        println!("{each} bytes a study");
        assert!(each < 250 && index.has(&Digest::of(&0u32.to_le_bytes())), "{each}");
    }
}
