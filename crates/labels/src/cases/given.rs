//! What the values of labels mean that came with a case.
//!
//! Owns what readers said of them (`given.json` among the labels, by the name of the file) and which
//! files say it by their name. A map of which nobody knows is shown by its values: it is not begun
//! with, compared, exported or taken from.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use hepalert_voxels::volume::LabelMap;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::case::LabelFile;
use super::error::CaseError;
use super::files::{failed, hold, put, read};
use super::folder::{Folder, labels_of};
use super::meaning::Meaning;
use super::reader::Reader;
use crate::refused::Refused;

/// Labels that came with a case and mean what labels mean in the folder, where that is said; best to
/// begin with first.
pub(super) const AS_HERE: [&str; 7] =
    ["labelsTr", "labelsTs", "labels", "truth", "labels_base", "label", "labels_high"];
/// Those of them that this program writes: they mean what it means, also where nothing is said.
const OURS: [&str; 3] = ["truth", "labels_base", "labels_high"];
/// Words that say of a file that it holds labels, and nothing of which.
const EMPTY_WORDS: [&str; 9] =
    ["mask", "masks", "seg", "segmentation", "label", "labels", "gt", "manual", "annotation"];
/// A sentence on each file of a folder.
const MAX_BYTES: u64 = 4 << 20;

/// How it is known what the values of a map mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// They mean what labels mean in the folder.
    AsHere,
    /// It has one value, and is called as a label of the folder.
    ByName,
    /// A reader said so.
    Said,
    /// Not at all.
    Not,
}

/// A map that came with a case.
#[derive(Debug, Clone)]
pub struct Given {
    /// Labels of the folder; the file's own values where those are not known.
    pub map: LabelMap,
    /// Whether they are.
    pub known: Known,
    /// The values of the file that are there, with the number of their voxels and what they mean:
    /// 0 where they are left out, none where nobody knows.
    pub values: Vec<Value>,
}

/// A value of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Value {
    /// As stored.
    pub value: u8,
    /// How many voxels carry it.
    pub voxels: usize,
    /// The label of the folder that it means, 0 for none of them.
    pub means: Option<u8>,
}

/// What a reader said of the values of a file.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Said {
    values: BTreeMap<u8, u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    by: Option<Reader>,
    when: Timestamp,
}

/// What is known of the labels that came with the cases of a folder.
#[derive(Debug, Clone)]
pub struct Senses {
    work: PathBuf,
    meaning: Meaning,
    is_said: bool,
}

impl Senses {
    /// Of a folder.
    pub fn of(folder: &Folder) -> Senses {
        let (work, meaning) = (folder.work().to_owned(), folder.meaning().clone());
        Senses { work, meaning, is_said: folder.is_said() }
    }

    /// Whether files of this name mean what labels mean in the folder.
    fn is_as_here(&self, name: &str) -> bool {
        AS_HERE.contains(&name) && (self.is_said || OURS.contains(&name))
    }

    /// What labels mean in the folder.
    pub fn meaning(&self) -> &Meaning {
        &self.meaning
    }

    /// Reads a map for whoever only looks at it.
    ///
    /// # Errors
    /// What is wrong with a file.
    pub fn look(&self, labels: &LabelFile) -> Result<Given, CaseError> {
        let mut map = labels_of(&labels.path)?;
        let counts = counted(&map);
        let (known, table) = self.table(&labels.name, &counts)?;
        let means = |value: u8| table.as_ref().map_or(Some(value), |t| t.get(&value).copied());
        let there = (1..=u8::MAX).filter(|value| counts[usize::from(*value)] > 0);
        let values: Vec<Value> = there
            .map(|value| {
                let voxels = counts[usize::from(value)];
                Value {
                    value,
                    voxels,
                    means: if known == Known::Not { None } else { means(value) },
                }
            })
            .collect();
        if values.iter().any(|value| value.means.is_none()) {
            return Ok(Given { map, known: Known::Not, values });
        }
        if table.is_some() {
            let into: [u8; 256] = std::array::from_fn(|value| means(value as u8).unwrap_or(0));
            map.voxels_mut().mapv_inplace(|value| into[usize::from(value)]);
        }
        Ok(Given { map, known, values })
    }

    /// Reads a map as labels of the folder.
    ///
    /// # Errors
    /// [`Refused::OpenValues`] where nobody has said what its values mean.
    pub fn read(&self, labels: &LabelFile) -> Result<LabelMap, CaseError> {
        let given = self.look(labels)?;
        if given.known == Known::Not {
            let open = given.values.iter().filter(|value| value.means.is_none());
            let found = open.map(|value| value.value).collect();
            let labels = labels.name.clone();
            return Err(Refused::OpenValues { labels, found }.into());
        }
        Ok(given.map)
    }

    /// Whether the values of files of this name can mean something, as far as names tell.
    ///
    /// # Errors
    /// [`CaseError::File`].
    pub fn may_be_known(&self, name: &str) -> Result<bool, CaseError> {
        let is_known = self.is_as_here(name) || self.named(name).is_some();
        Ok(is_known || self.said()?.contains_key(name))
    }

    /// Keeps what the values of the files of this name mean, in every case: labels of the folder, 0
    /// for what is left out. A value that was said before and is not said now keeps its meaning.
    ///
    /// # Errors
    /// [`Refused::Unnamed`] for a label that there is not, or what the disk refuses.
    pub fn say(
        &self,
        name: &str,
        values: &BTreeMap<u8, u8>,
        by: Option<&Reader>,
        when: Timestamp,
    ) -> Result<(), CaseError> {
        self.meaning.check(values.values().copied())?;
        let _hold = hold(&self.work)?;
        let mut all = self.said()?;
        let mut known = all.remove(name).map(|said| said.values).unwrap_or_default();
        known.extend(values);
        all.insert(name.to_owned(), Said { values: known, by: by.cloned(), when });
        let path = kept(&self.work);
        let bytes = serde_json::to_vec_pretty(&all)
            .map_err(|error| CaseError::File { path: path.clone(), reason: error.into() })?;
        put(&path, &bytes)
    }

    fn said(&self) -> Result<BTreeMap<String, Said>, CaseError> {
        let path = kept(&self.work);
        let Some(bytes) = read(&path, MAX_BYTES)? else { return Ok(BTreeMap::new()) };
        serde_json::from_slice(&bytes).map_err(|error| failed(&path)(error.into()))
    }

    /// How the values of a map are known, and what each means where that is not itself.
    fn table(
        &self,
        name: &str,
        counts: &[usize; 256],
    ) -> Result<(Known, Option<BTreeMap<u8, u8>>), CaseError> {
        if let Some(said) = self.said()?.remove(name) {
            return Ok((Known::Said, Some(said.values)));
        }
        if self.is_as_here(name) {
            return Ok((Known::AsHere, None));
        }
        let mut there = (1..=u8::MAX).filter(|value| counts[usize::from(*value)] > 0);
        let only = there.next().filter(|_| there.next().is_none());
        Ok(match (only, self.named(name)) {
            (Some(value), Some(label)) => (Known::ByName, Some(BTreeMap::from([(value, label)]))),
            _ => (Known::Not, None),
        })
    }

    /// The label that a file is called as: `liver`, `liver_mask`, `hcc`.
    pub(super) fn named(&self, name: &str) -> Option<u8> {
        let words = |text: &str| -> BTreeSet<String> {
            let all = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
            all.map(str::to_lowercase).collect()
        };
        let mut own = words(name);
        own.retain(|word| !EMPTY_WORDS.contains(&word.as_str()));
        let names = self.meaning.names().iter().filter(|(label, _)| **label != 0);
        let found: Vec<u8> =
            names.filter(|(_, known)| words(known) == own).map(|(label, _)| *label).collect();
        found.first().copied().filter(|_| found.len() == 1)
    }

    /// The label that is called liver, where there is one.
    pub(super) fn liver(&self) -> Option<u8> {
        self.named("liver")
    }
}

fn kept(work: &Path) -> PathBuf {
    work.join("given.json")
}

fn counted(map: &LabelMap) -> [usize; 256] {
    let mut counts = [0; 256];
    map.voxels().iter().for_each(|value| counts[usize::from(*value)] += 1);
    counts
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use hepalert_voxels::volume::nifti::write::{write_i16, write_u8};
    use hepalert_voxels::volume::{Grid, Volume};
    use ndarray::Array3;

    use super::*;
    use crate::cases::{LabelEditor, Start};

    const WHEN: Timestamp = Timestamp::UNIX_EPOCH;

    /// A case with a map of each name, which carries these values.
    fn cohort(maps: &[(&str, [u8; 3])]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let grid = Arc::new(Grid::axial([1, 1, 3], [1.0; 3], [0.0; 3]));
        let hu = Array3::zeros([1, 1, 3]);
        let case = dir.path().join("p1");
        fs::create_dir(&case).unwrap();
        fs::write(case.join("ct.nii.gz"), write_i16(&Volume::new(grid.clone(), hu))).unwrap();
        for (name, values) in maps {
            let voxels = Array3::from_shape_vec([1, 1, 3], values.to_vec()).unwrap();
            let bytes = write_u8(&Volume::new(grid.clone(), voxels));
            fs::write(case.join(format!("{name}.nii.gz")), bytes).unwrap();
        }
        dir
    }

    fn told(dir: &Path, name: &str) -> (Known, Vec<u8>) {
        let folder = Folder::open(dir, None).unwrap();
        let case = &folder.cases()[0];
        let given = Senses::of(&folder).look(case.labels(name).unwrap()).unwrap();
        (given.known, given.map.voxels().iter().copied().collect())
    }

    #[test]
    fn a_value_is_a_class_only_where_that_is_known() {
        let maps = [
            ("truth", [0, 1, 7]),
            ("liver", [0, 1, 1]),
            ("liver_mask", [255, 0, 0]),
            ("liver_lesions", [0, 1, 1]),
            ("organs_machine", [0, 1, 6]),
        ];
        let dir = cohort(&maps);
        let told = |name| told(dir.path(), name);
        assert_eq!(told("truth"), (Known::AsHere, vec![0, 1, 7]));
        assert_eq!(told("liver"), (Known::ByName, vec![0, 7, 7]));
        assert_eq!(told("liver_mask"), (Known::ByName, vec![7, 0, 0]));
        assert_eq!(told("liver_lesions"), (Known::Not, vec![0, 1, 1]));
        assert_eq!(told("organs_machine"), (Known::Not, vec![0, 1, 6]));
        let two = cohort(&[("liver", [0, 1, 2])]);
        assert_eq!(super::tests::told(two.path(), "liver").0, Known::Not, "which is the liver?");
    }

    /// A file that is only called labels says nothing of them: 1 is a liver as often as a tumour.
    #[test]
    fn a_name_of_any_labels_says_nothing_until_the_folder_does() {
        let dir =
            cohort(&[("labels", [0, 1, 2]), ("label", [0, 0, 1]), ("labels_base", [0, 1, 7])]);
        assert_eq!(told(dir.path(), "labels"), (Known::Not, vec![0, 1, 2]));
        assert_eq!(told(dir.path(), "label"), (Known::Not, vec![0, 0, 1]));
        assert_eq!(told(dir.path(), "labels_base").0, Known::AsHere, "this program's own");
        let folder = Folder::open(dir.path(), None).unwrap();
        let senses = Senses::of(&folder);
        assert!(!senses.may_be_known("labels").unwrap());
        // Nothing is begun with what nobody knows.
        let (case, anna) = (&folder.cases()[0], Reader::new("anna").unwrap());
        let begun = |folder: &Folder| {
            let editor = LabelEditor::open(folder, &case.id, "ct", &anna, &Start::Usual).unwrap();
            editor.labelling().map().voxels().iter().copied().collect::<Vec<u8>>()
        };
        assert_eq!(begun(&folder), [0, 1, 7]);
        senses.say("labels", &BTreeMap::from([(1, 7), (2, 3)]), Some(&anna), WHEN).unwrap();
        assert_eq!(told(dir.path(), "labels"), (Known::Said, vec![0, 7, 3]));
        assert_eq!(begun(&folder), [0, 7, 3]);
        let curated = Folder::open(dir.path(), None).unwrap().as_in_house().unwrap();
        let given = Senses::of(&curated).look(case.labels("label").unwrap()).unwrap();
        assert_eq!(given.known, Known::AsHere, "who curates says so");
        let named = r#"{"labels": {"background": 0, "liver": 1, "tumour": 2}}"#;
        fs::write(dir.path().join("dataset.json"), named).unwrap();
        assert_eq!(told(dir.path(), "label").0, Known::AsHere);
    }

    #[test]
    fn what_a_reader_said_holds_until_another_value_comes() {
        let dir = cohort(&[("organs_machine", [0, 1, 6]), ("liver", [0, 1, 1])]);
        let folder = Folder::open(dir.path(), None).unwrap();
        let case = &folder.cases()[0];
        let organs = case.labels("organs_machine").unwrap();
        let senses = Senses::of(&folder);
        let refused = senses.read(organs).unwrap_err();
        assert_eq!(refused.code(), "unknown_meaning");
        assert!(refused.to_string().contains("1, 6"), "{refused}");
        let anna = Reader::new("anna").unwrap();
        let say = |values: &[(u8, u8)]| {
            let values = values.iter().copied().collect();
            senses.say("organs_machine", &values, Some(&anna), WHEN)
        };
        assert_eq!(say(&[(1, 99)]).unwrap_err().code(), "unknown_label");
        say(&[(1, 11)]).unwrap();
        assert_eq!(told(dir.path(), "organs_machine").0, Known::Not, "6 is open");
        say(&[(6, 7)]).unwrap();
        let (known, voxels) = told(dir.path(), "organs_machine");
        assert_eq!((known, voxels), (Known::Said, vec![0, 11, 7]));
        say(&[(1, 0)]).unwrap();
        let labels = senses.read(organs).unwrap();
        assert!(labels.voxels().iter().eq(&[0, 0, 7]), "left out");
        // A name that says it is overruled too.
        senses.say("liver", &BTreeMap::from([(1, 1)]), None, WHEN).unwrap();
        assert_eq!(told(dir.path(), "liver"), (Known::Said, vec![0, 1, 1]));
        fs::write(folder.work().join("given.json"), b"{").unwrap();
        assert_eq!(senses.read(organs).unwrap_err().code(), "file_failed", "damage is told");
    }

    /// In a folder that names its own labels those count.
    #[test]
    fn names_are_those_of_the_folder() {
        let dir = cohort(&[("liver", [0, 9, 9]), ("spleen", [0, 1, 1])]);
        let named = r#"{"labels": {"background": 0, "Liver": 2, "tumour": 1}}"#;
        fs::write(dir.path().join("dataset.json"), named).unwrap();
        assert_eq!(told(dir.path(), "liver"), (Known::ByName, vec![0, 2, 2]));
        assert_eq!(told(dir.path(), "spleen").0, Known::Not);
    }
}
