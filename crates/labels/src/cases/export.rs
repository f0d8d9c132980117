//! Readers' labels as a training set.

use serde_json::json;
use std::path::Path;

use super::case::{Case, ImageFile};
use super::dataset::{DataSet, Written};
use super::error::CaseError;
use super::folder::Folder;
use super::stored::{Who, first_of};

/// What is wanted of every case.
#[derive(Debug, Clone)]
pub struct Wish {
    /// Whose labels: the first of these that a case has.
    pub whose: Vec<Who>,
    /// Images, by name: the channels, labels being those of the first. None: the image that is
    /// read first.
    pub images: Vec<String>,
}

/// Writes a data set of all cases that have such labels.
///
/// # Errors
/// [`CaseError::Export`] if there is no such case or `out` is not free, and what is wrong with a
/// file.
pub fn export(folder: &Folder, wish: &Wish, out: &Path) -> Result<Written, CaseError> {
    let channels = match wish.images.is_empty() {
        true => vec!["ct".to_owned()],
        false => wish.images.clone(),
    };
    let mut set = DataSet::begin(out, &channels, folder.meaning())?;
    for case in folder.cases() {
        let images = match images_of(case, wish) {
            Ok(images) => images,
            Err(missing) => {
                set.leave_out(&case.id, &format!("it has no image {missing}"));
                continue;
            }
        };
        match first_of(folder, case, images[0], &wish.whose)? {
            Some((who, labels, revision)) => {
                let origin = json!({"from": who.to_string(), "revision": revision});
                set.add(&case.id, &images, &labels.stored(), origin)?;
            }
            None => set.leave_out(&case.id, "nobody named has labelled it"),
        }
    }
    set.finish()
}

fn images_of<'a>(case: &'a Case, wish: &Wish) -> Result<Vec<&'a ImageFile>, String> {
    if wish.images.is_empty() {
        return Ok(vec![case.first_image()]);
    }
    wish.images.iter().map(|name| case.image(name).map_err(|_| name.clone())).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use hepalert_voxels::volume::nifti::read::{read, read_labels};
    use hepalert_voxels::volume::nifti::write::{write_i16, write_u8};
    use hepalert_voxels::volume::{Axes, Grid, Orientation, Volume};
    use ndarray::Array3;

    use super::*;
    use crate::cases::{LabelEditor, Reader, Start};
    use crate::operation::Operation;

    /// Three cases stored LPS; the last has a second phase elsewhere.
    fn cohort() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let upright = Grid::axial([2, 3, 4], [5.0, 0.8, 0.7], [0.0; 3]);
        let grid = Arc::new(Axes::to(Orientation::LPS, &upright).grid(&upright));
        for (n, case) in ["a", "b", "c"].into_iter().enumerate() {
            let folder = dir.path().join(case);
            fs::create_dir(&folder).unwrap();
            let hu =
                Array3::from_shape_fn([2, 3, 4], |(z, y, x)| (n * 100 + z * 12 + y * 4 + x) as i16);
            fs::write(folder.join("vp.nii.gz"), write_i16(&Volume::new(grid.clone(), hu.clone())))
                .unwrap();
            let elsewhere = Arc::new(Grid::axial([2, 3, 4], [5.0, 0.8, 0.7], [1.0; 3]));
            let second = if n < 2 { grid.clone() } else { elsewhere };
            fs::write(folder.join("ap.nii.gz"), write_i16(&Volume::new(second, hu))).unwrap();
            let truth = Array3::from_elem([2, 3, 4], 7);
            fs::write(folder.join("truth.nii.gz"), write_u8(&Volume::new(grid.clone(), truth)))
                .unwrap();
        }
        dir
    }

    #[test]
    fn a_training_set_is_what_was_drawn_on_the_images_as_they_were() {
        let dir = cohort();
        let folder = Folder::open(dir.path(), None).unwrap();
        let anna = Reader::new("anna").unwrap();
        let mut editor = LabelEditor::open(&folder, "a", "vp", &anna, &Start::Usual).unwrap();
        let paint = Operation::Paint { runs: vec![[1, 2, 0, 1]], label: 3, over: None };
        let now = "2026-01-02T03:04:05Z".parse().unwrap();
        let saved = editor.edit(&paint, "new", now).unwrap();
        let wish = |whose: &[&str], images: &[&str]| Wish {
            whose: whose.iter().map(|who| who.parse().unwrap()).collect(),
            images: images.iter().map(|name| (*name).to_owned()).collect(),
        };
        let out = dir.path().join("Dataset001");
        let written =
            export(&folder, &wish(&["anna", "labels:truth"], &["vp", "ap"]), &out).unwrap();
        assert_eq!((written.cases, written.left_out.len()), (2, 1));
        assert!(written.left_out[0].case == "c" && written.left_out[0].why.contains("one grid"));
        let bytes = |file: &str| fs::read(out.join(file)).unwrap();
        assert_eq!(
            bytes("imagesTr/a_0001.nii.gz"),
            fs::read(dir.path().join("a/ap.nii.gz")).unwrap()
        );
        let (image, labels) = (
            read(&bytes("imagesTr/a_0000.nii.gz")).unwrap(),
            read_labels(&bytes("labelsTr/a.nii.gz")).unwrap(),
        );
        assert!(image.grid() == labels.grid(), "one geometry");
        // RAS [1, 2, 0] is, stored to the left and to the back, row 0 and column 3.
        assert_eq!((labels.voxels()[[1, 0, 3]], labels.voxels()[[1, 2, 0]]), (3, 7));
        let json = |file: &str| serde_json::from_slice::<serde_json::Value>(&bytes(file)).unwrap();
        let described = json("dataset.json");
        assert_eq!(described["channel_names"], json!({"0": "CT", "1": "CT"}));
        assert_eq!(
            (&described["numTraining"], &described["labels"]["liver"]),
            (&json!(2), &json!(7))
        );
        let origin = &json("manifest.json")["cases"];
        assert_eq!(origin["a"]["labels"], json!({"from": "anna", "revision": saved.revision}));
        assert_eq!(origin["b"]["labels"]["from"], "labels:truth");
        // It is a folder of cases again.
        let again = Folder::open(&out, None).unwrap();
        assert_eq!(again.cases().len(), 2);
        assert_eq!(again.cases()[0].labels[0].name, "labelsTr");
        let taken = export(&folder, &wish(&["anna"], &[]), &out).unwrap_err();
        assert_eq!(taken.code(), "export_refused");
        let nobody = export(&folder, &wish(&["bert"], &[]), &dir.path().join("none")).unwrap_err();
        assert!(nobody.to_string().contains("nobody"), "{nobody}");
        let names: Vec<_> =
            fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert!(!names.iter().any(|n| n.to_string_lossy().starts_with(".dataset")), "{names:?}");
    }

    #[test]
    fn a_value_that_nobody_named_is_in_no_training_set() {
        let dir = cohort();
        let named = r#"{"labels": {"background": 0, "Meta": 3, "liver": 6}}"#;
        fs::write(dir.path().join("dataset.json"), named).unwrap();
        let folder = Folder::open(dir.path(), None).unwrap();
        let wish = Wish { whose: vec!["labels:truth".parse().unwrap()], images: Vec::new() };
        let nothing = export(&folder, &wish, &dir.path().join("none")).unwrap_err();
        assert!(nothing.to_string().contains("a: label 7 has no name"), "{nothing}");
        let named = r#"{"labels": {"background": 0, "Meta": 3, "liver": 7}}"#;
        fs::write(dir.path().join("dataset.json"), named).unwrap();
        let folder = Folder::open(dir.path(), None).unwrap();
        let out = dir.path().join("set");
        assert_eq!(export(&folder, &wish, &out).unwrap().cases, 3);
        let described = fs::read(out.join("dataset.json")).unwrap();
        let described: serde_json::Value = serde_json::from_slice(&described).unwrap();
        let labels = described["labels"].as_object().unwrap();
        assert_eq!(
            (labels.len(), &labels["liver"], &labels["unused_5"]),
            (8, &json!(7), &json!(5))
        );
    }
}
