//! How [`super::StudyFiles`] is written as JSON: by names, and paths without loss.
//!
//! Owns the encoding alone; domain types stay without serde.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// A module for `#[serde(with = ..)]` that writes a type by its name.
macro_rules! by_name {
    ($module:ident, $type:ty, $name:expr, $parse:expr) => {
        /// Written by its name.
        pub mod $module {
            use serde::{Deserialize, Deserializer, Serializer, de::Error};

            /// Writes the name.
            pub fn serialize<S: Serializer>(value: &$type, s: S) -> Result<S::Ok, S::Error> {
                let name: fn(&$type) -> String = $name;
                s.serialize_str(&name(value))
            }

            /// Reads the name.
            pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<$type, D::Error> {
                let text = String::deserialize(d)?;
                let parse: fn(&str) -> Option<$type> = $parse;
                parse(&text).ok_or_else(|| D::Error::custom(concat!("not a ", stringify!($module))))
            }
        }
    };
}

by_name!(
    key,
    hepalert_study::study::StudyKey,
    |k| k.to_string(),
    hepalert_study::study::StudyKey::new
);
by_name!(
    digest,
    crate::intake::fingerprint::Digest,
    |d| d.hex(),
    crate::intake::fingerprint::Digest::from_hex
);
by_name!(
    phase,
    hepalert_study::study::Phase,
    |p| p.code().to_owned(),
    hepalert_study::study::Phase::from_code
);
by_name!(
    source,
    crate::intake::phases::PhaseSource,
    |s| s.as_str().to_owned(),
    crate::intake::phases::PhaseSource::from_name
);
by_name!(
    confidence,
    crate::intake::phases::Confidence,
    |c| c.as_str().to_owned(),
    crate::intake::phases::Confidence::from_name
);

/// What a path that is not UTF-8 begins with.
const BYTES: &str = "bytes:";

/// Paths as text; what is not UTF-8 as `bytes:` and hex.
pub mod paths {
    use super::{PathBuf, path_of, text_of};
    use serde::{Deserialize, Deserializer, Serializer, de::Error, ser::SerializeSeq};

    /// Writes the list.
    pub fn serialize<S: Serializer>(paths: &[PathBuf], s: S) -> Result<S::Ok, S::Error> {
        let mut list = s.serialize_seq(Some(paths.len()))?;
        for path in paths {
            list.serialize_element(&text_of(path))?;
        }
        list.end()
    }

    /// Reads the list.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<PathBuf>, D::Error> {
        let texts = Vec::<String>::deserialize(d)?;
        let paths: Option<Vec<PathBuf>> = texts.iter().map(|text| path_of(text)).collect();
        paths.ok_or_else(|| D::Error::custom("not a path"))
    }
}

fn text_of(path: &Path) -> String {
    match path.to_str() {
        Some(text) if !text.starts_with(BYTES) => text.to_owned(),
        _ => path.as_os_str().as_bytes().iter().fold(BYTES.to_owned(), |mut text, byte| {
            text.push_str(&format!("{byte:02x}"));
            text
        }),
    }
}

fn path_of(text: &str) -> Option<PathBuf> {
    let Some(hex) = text.strip_prefix(BYTES) else { return Some(PathBuf::from(text)) };
    let pairs = (0..hex.len()).step_by(2);
    let bytes: Option<Vec<u8>> =
        pairs.map(|at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok()).collect();
    Some(PathBuf::from(OsString::from_vec(bytes?)))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;
    use crate::intake::facts::{Format, PhaseFiles, StudyFiles};
    use crate::intake::fingerprint::{Digest, study_key};
    use crate::intake::phases::{Confidence, PhaseSource};
    use hepalert_study::study::Phase;

    #[test]
    fn a_study_goes_over_the_wire_without_loss() {
        let odd = PathBuf::from(OsStr::from_bytes(b"/e/\xff x.dcm"));
        let study = StudyFiles {
            key: study_key(b"k", "1.2"),
            revision: 3,
            fingerprint: Digest::of(b"x"),
            phases: vec![PhaseFiles {
                phase: Phase::Vp,
                source: PhaseSource::OnlySeries,
                confidence: Confidence::Low,
                format: Format::Dicom,
                files: vec!["/e/ä.dcm".into(), odd, "bytes:zz".into()],
            }],
            candidates: Vec::new(),
            acquired: None,
            set_aside: 2,
        };
        let text = serde_json::to_string(&study).unwrap();
        assert!(
            text.contains(r#""phase":"vp","source":"only_series","confidence":"low""#),
            "{text}"
        );
        assert_eq!(serde_json::from_str::<StudyFiles>(&text).unwrap(), study);
        assert!(serde_json::from_str::<StudyFiles>(&text.replace("\"vp\"", "\"xx\"")).is_err());
        assert!(serde_json::from_str::<StudyFiles>(&text.replace("bytes:2f", "bytes:2")).is_err());
    }
}
