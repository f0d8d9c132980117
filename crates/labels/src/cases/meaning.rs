//! What label values mean in a folder.
//!
//! Owns the names: those that lie among the labels, or else of `dataset.json`, or else this
//! program's; and the rule that a value without a name is neither drawn, taken in nor exported.
//! Background is always there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hepalert_study::anatomy::class_names;
use hepalert_voxels::volume::LabelMap;
use serde_json::Value;

use super::error::CaseError;
use super::files::{hold, put, read};
use crate::refused::Refused;

/// A description of a data set.
const MAX_JSON_BYTES: u64 = 16 << 20;

/// Where a data set says what its labels mean.
pub(super) const DATA_SET: &str = "dataset.json";

/// Names by label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meaning(BTreeMap<u8, String>);

impl Meaning {
    /// What this program calls label values.
    pub fn house() -> Meaning {
        let named = (0..).zip(class_names()).map(|(label, name)| (label, name.to_owned()));
        Meaning(named.collect())
    }

    /// Of a map of which nobody has said what it means: its values are called as its file.
    pub fn of_values(values: impl Iterator<Item = u8>, file: &str) -> Meaning {
        Meaning(values.map(|value| (value, format!("{file}: value {value}"))).collect())
    }

    /// Of a folder of cases whose labels go into `work`; none where nobody has said it.
    ///
    /// # Errors
    /// [`CaseError::File`] if a description cannot be read.
    pub(super) fn of(root: &Path, work: &Path) -> Result<Option<Meaning>, CaseError> {
        for file in [kept(work), root.join(DATA_SET)] {
            if let Some(names) = described(&file)? {
                return Ok(Some(Meaning(names)));
            }
        }
        Ok(None)
    }

    /// Says among the labels that they mean this, whatever `dataset.json` says.
    ///
    /// # Errors
    /// [`CaseError::File`] if it cannot be written.
    pub fn keep(&self, work: &Path) -> Result<(), CaseError> {
        let path = kept(work);
        let bytes = serde_json::to_vec_pretty(&serde_json::json!({"labels": self.0}))
            .map_err(|error| CaseError::File { path: path.clone(), reason: error.into() })?;
        let _hold = hold(work)?;
        put(&path, &bytes)
    }

    /// The names.
    pub fn names(&self) -> &BTreeMap<u8, String> {
        &self.0
    }

    /// Whether values mean what they mean everywhere in this program.
    pub fn is_house(&self) -> bool {
        *self == Meaning::house()
    }

    /// Refuses values without a name.
    ///
    /// # Errors
    /// [`Refused::Unnamed`] with all of them.
    pub fn check(&self, labels: impl IntoIterator<Item = u8>) -> Result<(), Refused> {
        let unnamed = |label: &u8| *label != 0 && !self.0.contains_key(label);
        let mut found: Vec<u8> = labels.into_iter().filter(unnamed).collect();
        found.sort_unstable();
        found.dedup();
        if found.is_empty() {
            return Ok(());
        }
        let known = self.0.iter().filter(|(label, _)| **label != 0);
        let known: Vec<String> = known.map(|(label, name)| format!("{label} {name}")).collect();
        Err(Refused::Unnamed { found, known: known.join(", ") })
    }

    /// The same of every voxel of a map.
    ///
    /// # Errors
    /// As [`Meaning::check`].
    pub fn check_map(&self, labels: &LabelMap) -> Result<(), Refused> {
        let mut is_there = [false; 256];
        labels.voxels().iter().for_each(|label| is_there[usize::from(*label)] = true);
        self.check((0..=u8::MAX).filter(|label| is_there[usize::from(*label)]))
    }
}

pub(super) fn kept(work: &Path) -> PathBuf {
    work.join("names.json")
}

/// `labels` of a description: names to values (nnU-Net v2), or values to names (v1).
fn described(file: &Path) -> Result<Option<BTreeMap<u8, String>>, CaseError> {
    let Some(bytes) = read(file, MAX_JSON_BYTES)? else { return Ok(None) };
    let described: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let Some(labels) = described["labels"].as_object() else { return Ok(None) };
    let pair = |(key, value): (&String, &Value)| match value {
        Value::String(name) => Some((key.parse().ok()?, name.clone())),
        // A region of nnU-Net is several values: it is no label of its own.
        value => Some((u8::try_from(value.as_u64()?).ok()?, key.clone())),
    };
    Ok(Some(labels.iter().filter_map(pair).collect()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn names_come_from_among_the_labels_then_from_the_data_set_then_from_here() {
        let dir = tempfile::tempdir().unwrap();
        let work = dir.path().join("work");
        let of = || Meaning::of(dir.path(), &work).unwrap().unwrap();
        assert_eq!(Meaning::of(dir.path(), &work).unwrap(), None, "nobody has said it");
        let named = r#"{"labels": {"background": 0, "liver": 1, "tumour": 2, "both": [1, 2]}}"#;
        fs::write(dir.path().join("dataset.json"), named).unwrap();
        assert_eq!(of().names()[&2], "tumour");
        assert_eq!(of().names().len(), 3, "a region of several values is no label");
        fs::write(dir.path().join("dataset.json"), r#"{"labels": {"0": "bg", "4": "cyst"}}"#)
            .unwrap();
        assert_eq!(of().names()[&4], "cyst");
        Meaning::house().keep(&work).unwrap();
        assert!(of().is_house(), "what lies among the labels counts");
    }

    #[test]
    fn what_has_no_name_is_told_by_its_value() {
        let meaning = Meaning(BTreeMap::from([(1, "liver".to_owned()), (2, "tumour".to_owned())]));
        assert_eq!(meaning.check([0, 1, 2]), Ok(()));
        let refused = meaning.check([79, 2, 3, 79]).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "label 3, 79 has no name here; there are 1 liver, 2 tumour: take one of these, or \
             name it in dataset.json"
        );
        assert_eq!(refused.code(), "unknown_label");
    }
}
