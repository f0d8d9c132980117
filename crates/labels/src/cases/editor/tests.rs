//! Edits that are kept, collide, come from outside.

use std::fs;
use std::sync::Arc;

use hepalert_voxels::volume::nifti::write::write_i16;
use hepalert_voxels::volume::{Grid, Orientation, Volume};
use ndarray::Array3;

use super::*;
use crate::cases::folder::labels_of;
use crate::cases::stored::{
    compare_labels, history_of, is_labelled, last_edit, reader_names, readers,
};
use crate::operation::Seed;

fn now() -> Timestamp {
    "2026-01-02T03:04:05Z".parse().unwrap()
}

fn anna() -> Reader {
    Reader::new("anna").unwrap()
}

/// A case of two phases, the second shifted and stored LPS, with labels of the first.
fn cohort() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let case = dir.path().join("p1");
    fs::create_dir(&case).unwrap();
    let grid = Arc::new(Grid::axial([3, 6, 6], [5.0, 1.0, 1.0], [0.0; 3]));
    let hu = Array3::from_shape_fn([3, 6, 6], |(_, _, x)| if x < 3 { 40 } else { 110 });
    fs::write(case.join("vp.nii.gz"), write_i16(&Volume::new(grid.clone(), hu))).unwrap();
    let mut labels = Array3::from_elem([3, 6, 6], 7);
    labels[[1, 2, 2]] = 1;
    fs::write(case.join("truth.nii.gz"), write_u8(&Volume::new(grid, labels))).unwrap();
    let lps = Grid::axial([3, 8, 8], [5.0, 1.0, 1.0], [-1.0, -1.0, 0.0]);
    let lps = Arc::new(Axes::to(Orientation::LPS, &lps).grid(&lps));
    let hu = Array3::zeros([3, 8, 8]);
    fs::write(case.join("ap.nii.gz"), write_i16(&Volume::new(lps, hu))).unwrap();
    dir
}

fn open(folder: &Folder, image: &str, reader: &Reader) -> LabelEditor {
    LabelEditor::open(folder, "p1", image, reader, &Start::Usual).unwrap()
}

fn relabel(label: u8) -> Operation {
    Operation::Relabel { at: [1, 2, 2], label }
}

#[test]
fn edits_are_kept_undone_and_read_again() {
    let dir = cohort();
    let folder = Folder::open(dir.path(), None).unwrap();
    let given = fs::read(dir.path().join("p1/truth.nii.gz")).unwrap();
    let mut editor = open(&folder, "vp", &anna());
    assert_eq!((editor.revision(), editor.labelling().map().voxels()[[1, 2, 2]]), (NEW, 1));
    let saved = editor.edit(&relabel(3), NEW, now()).unwrap();
    assert_eq!((saved.change.voxels(), saved.steps), (1, [1, 0]));
    let grow = Operation::Grow {
        at: [1, 2, 2],
        label: 3,
        hu: [0.0, 80.0],
        reach_mm: 1.0,
        inside: vec![7],
    };
    let grown = editor.edit(&grow, &saved.revision, now()).unwrap();
    assert_eq!(grown.change.voxels(), 3, "left, before and behind: the right is bright");
    let kept = editor.labelling().map().voxels().clone();
    assert_eq!(open(&folder, "vp", &anna()).labelling().map().voxels(), &kept);
    let back = editor.undo(&grown.revision, now()).unwrap().unwrap();
    assert_eq!(back.revision, saved.revision, "the same labels are the same revision");
    let again = editor.redo(&back.revision, now()).unwrap().unwrap();
    assert_eq!((again.revision.as_str(), again.steps), (grown.revision.as_str(), [2, 0]));
    assert_eq!(open(&folder, "vp", &anna()).labelling().map().voxels(), &kept);
    // Nothing is written for an edit that changes nothing.
    let same = editor.edit(&relabel(3), &again.revision, now()).unwrap();
    assert!(same.change.is_empty() && same.revision == again.revision);
    let told = history_of(&folder, folder.case("p1").unwrap()).unwrap();
    let ops: Vec<_> = told.iter().map(|t| t.entry.what["op"].as_str().unwrap()).collect();
    assert_eq!(ops, ["start", "relabel", "grow", "undo", "redo"]);
    assert!(told.iter().all(|told| told.kept));
    assert_eq!(told[0].entry.what["from"], "labels:truth");
    assert_eq!(fs::read(dir.path().join("p1/truth.nii.gz")).unwrap(), given, "never written to");
}

#[test]
fn two_readers_collide_and_neither_loses_work() {
    let dir = cohort();
    let folder = Folder::open(dir.path(), None).unwrap();
    let [mut one, mut other] = [(); 2].map(|()| open(&folder, "vp", &anna()));
    let saved = one.edit(&relabel(2), NEW, now()).unwrap();
    let refused = other.edit(&relabel(6), NEW, now()).unwrap_err();
    let CaseError::Conflict { current, by: Some(by), .. } = &refused else { panic!("{refused}") };
    assert_eq!((refused.code(), current), ("labels_changed", &saved.revision));
    assert_eq!((by.reader.as_str(), &by.what["op"]), ("anna", &json!("relabel")));
    // The refused editor shows what is there now, and goes on from it.
    assert_eq!(other.labelling().map().voxels()[[1, 2, 2]], 2);
    let mut mine = other.labelling().map().voxels().clone();
    mine[[0, 0, 0]] = 6;
    let mine = Volume::new(other.labelling().map().grid().clone(), mine);
    let taken = other.take_in(mine.clone(), "a page", &saved.revision, now()).unwrap();
    assert_eq!(taken.change.voxels(), 1);
    assert!(one.edit(&relabel(4), &saved.revision, now()).is_err());
    // Or under another name.
    let bert = Reader::new("bert").unwrap();
    let mut aside = open(&folder, "vp", &bert);
    aside.take_in(mine, "a page", NEW, now()).unwrap();
    let case = folder.case("p1").unwrap();
    let image = case.image("vp").unwrap();
    assert_eq!(readers(&folder, case, image).unwrap().len(), 2);
    assert!(reader_names(&folder, case, image).unwrap().into_iter().eq([anna(), bert.clone()]));
    assert!(is_labelled(&folder, case, image, &bert).unwrap());
    assert!(!is_labelled(&folder, case, case.image("ap").unwrap(), &bert).unwrap());
    assert_eq!(last_edit(&folder, case).unwrap(), Some(now()));
    let who = ["anna", "labels:truth"].map(|who| who.parse::<Who>().unwrap());
    let found = compare_labels(&folder, case, image, [&who[0], &who[1]]).unwrap();
    assert_eq!(found.disagreements.len(), 2, "{found:?}");
    let none = ["anna", "labels:none"].map(|who| who.parse::<Who>().unwrap());
    let refused = compare_labels(&folder, case, image, [&none[0], &none[1]]).unwrap_err();
    assert_eq!(refused.code(), "unknown_name");
}

/// Labels of one content have one revision, whoever made them.
#[test]
fn an_edit_is_told_by_its_reader_and_image_too() {
    let dir = cohort();
    let folder = Folder::open(dir.path(), None).unwrap();
    let mut stale = open(&folder, "vp", &anna());
    let mut editor = open(&folder, "vp", &anna());
    let saved = editor.edit(&relabel(2), NEW, now()).unwrap();
    let mut bert = open(&folder, "vp", &Reader::new("bert").unwrap());
    let same = bert.take_in(editor.labelling().stored(), "3D Slicer", NEW, now()).unwrap();
    assert_eq!(same.revision, saved.revision);
    let refused = stale.edit(&relabel(4), NEW, now()).unwrap_err();
    let CaseError::Conflict { by: Some(by), .. } = &refused else { panic!("{refused}") };
    assert_eq!((&by.reader, &by.what["op"]), (&anna(), &json!("relabel")));
    // Another program made bert's, and nobody's edits are lost with them.
    bert.keep_edits_aside(now()).unwrap();
    editor.keep_edits_aside(now()).unwrap();
    let case = folder.case("p1").unwrap();
    let names = reader_names(&folder, case, case.image("vp").unwrap()).unwrap();
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    assert_eq!(
        names,
        ["anna".to_owned(), format!("anna.{}", &saved.revision[..8]), "bert".to_owned()]
    );
}

/// Two processes, many edits each: every edit that was answered is in the labels, once.
#[test]
fn many_edits_at_once_lose_none() {
    let dir = cohort();
    let folder = Folder::open(dir.path(), None).unwrap();
    let edit = |row: usize| {
        let mut editor = open(&folder, "vp", &anna());
        for x in 0..6 {
            let paint = Operation::Paint { runs: vec![[0, row, x, 1]], label: 5, over: None };
            loop {
                let on = editor.revision().to_owned();
                match editor.edit(&paint, &on, now()) {
                    Ok(_) => break,
                    Err(CaseError::Conflict { .. }) => {}
                    Err(other) => panic!("{other}"),
                }
            }
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| edit(1));
        scope.spawn(|| edit(4));
    });
    let editor = open(&folder, "vp", &anna());
    let rows =
        [1, 4].map(|row| (0..6).all(|x| editor.labelling().map().voxels()[[0, row, x]] == 5));
    assert_eq!(rows, [true, true]);
}

#[test]
fn labels_changed_by_another_program_are_not_overwritten() {
    let dir = cohort();
    let folder = Folder::open(dir.path(), None).unwrap();
    let mut editor = open(&folder, "vp", &anna());
    let saved = editor.edit(&relabel(2), NEW, now()).unwrap();
    let path = dir.path().join("hepalert-labels/p1/vp/anna.nii.gz");
    let grid = labels_of(&path).unwrap().grid().clone();
    let theirs = write_u8(&Volume::new(grid, Array3::from_elem([3, 6, 6], 11)));
    fs::write(&path, &theirs).unwrap();
    let refused = editor.edit(&relabel(4), &saved.revision, now()).unwrap_err();
    assert!(matches!(refused, CaseError::Conflict { by: None, .. }), "{refused}");
    assert_eq!(fs::read(&path).unwrap(), theirs);
    let told = history_of(&folder, folder.case("p1").unwrap()).unwrap();
    assert!(told.iter().all(|told| !told.kept), "what is there was made by nobody here");
    // Damage is told, and not taken for no labels.
    fs::write(&path, &theirs[..20]).unwrap();
    assert_eq!(
        editor.edit(&relabel(4), editor.revision().to_owned().as_str(), now()).unwrap_err().code(),
        "truncated"
    );
}

#[test]
fn a_lesion_is_copied_to_the_other_phase_whatever_its_order() {
    let dir = cohort();
    let folder = Folder::open(dir.path(), None).unwrap();
    let mut editor = open(&folder, "ap", &anna());
    assert!(
        editor.labelling().map().voxels().iter().all(|label| *label == 0),
        "no labels lie on it"
    );
    let copy = |phase: &str| Operation::CopyFrom {
        phase: phase.to_owned(),
        at: [1, 2, 2],
        label: None,
        over: None,
    };
    let saved = editor.edit(&copy("vp"), NEW, now()).unwrap();
    assert_eq!(saved.change.voxels(), 1);
    assert_eq!(editor.labelling().map().voxels()[[1, 3, 3]], 1);
    assert_eq!(
        editor.edit(&copy("dp"), &saved.revision, now()).unwrap_err().code(),
        "unknown_name"
    );
    let file = dir.path().join("hepalert-labels/p1/ap/anna.nii.gz");
    let stored = labels_of(&file).unwrap();
    assert_eq!(Orientation::of(stored.grid()), Orientation::LPS);
    assert_eq!(stored.voxels()[[1, 8 - 1 - 3, 8 - 1 - 3]], 1);
}

#[test]
fn labels_of_another_image_are_not_taken_in() {
    let dir = cohort();
    let folder = Folder::open(dir.path(), None).unwrap();
    let mut editor = open(&folder, "ap", &anna());
    let other = labels_of(&dir.path().join("p1/truth.nii.gz")).unwrap();
    let refused = editor.take_in(other.clone(), "3D Slicer", NEW, now()).unwrap_err();
    assert_eq!(refused.code(), "geometry_mismatch");
    let mut editor = open(&folder, "vp", &anna());
    let mut changed = other;
    changed.voxels_mut().fill(4);
    assert_eq!(editor.take_in(changed, "3D Slicer", NEW, now()).unwrap().change.voxels(), 108);
    let start = Start::From("labels:truth".parse().unwrap());
    let refused =
        LabelEditor::open(&folder, "p1", "ap", &Reader::new("b").unwrap(), &start).unwrap_err();
    assert_eq!(refused.code(), "geometry_mismatch");
}

/// Nobody can say what a value without a name means: none is drawn, taken in or begun with.
#[test]
fn a_label_without_a_name_is_refused_by_its_value() {
    let dir = cohort();
    let named = r#"{"labels": {"background": 0, "liver": 7, "tumour": 1}}"#;
    fs::write(dir.path().join("dataset.json"), named).unwrap();
    let folder = Folder::open(dir.path(), None).unwrap();
    let mut editor = open(&folder, "vp", &anna());
    let before = editor.labelling().map().voxels().clone();
    let paint = |label| Operation::Paint { runs: vec![[0, 0, 0, 2]], label, over: None };
    let seed = |label| Seed { at: [1, 2, 2], label };
    let refused = [
        relabel(3),
        paint(200),
        Operation::Delete { at: [1, 2, 2], becomes: Some(13) },
        Operation::SplitSeeds { at: [1, 2, 2], seeds: vec![seed(1), seed(2)] },
    ];
    for operation in refused {
        let error = editor.edit(&operation, NEW, now()).unwrap_err();
        assert_eq!(error.code(), "unknown_label", "{operation:?}");
        assert!(error.to_string().contains("1 tumour, 7 liver"), "{error}");
    }
    let mut sent = before.clone();
    sent[[0, 0, 0]] = 79;
    let sent = Volume::new(editor.labelling().map().grid().clone(), sent);
    let error = editor.take_in(sent, "a file", NEW, now()).unwrap_err();
    assert!(error.to_string().starts_with("label 79 has no name"), "{error}");
    assert_eq!((editor.labelling().map().voxels(), editor.labelling().steps()), (&before, [0, 0]));
    let saved = editor.edit(&paint(1), NEW, now()).unwrap();
    editor.edit(&paint(0), &saved.revision, now()).unwrap();
    // Labels that came with the case and say more than the data set: nothing is begun unasked.
    let named = r#"{"labels": {"background": 0, "liver": 7}}"#;
    fs::write(dir.path().join("dataset.json"), named).unwrap();
    let folder = Folder::open(dir.path(), None).unwrap();
    let bert = Reader::new("bert").unwrap();
    let refused = LabelEditor::open(&folder, "p1", "vp", &bert, &Start::Usual).unwrap_err();
    assert_eq!(refused.code(), "unknown_label");
    assert!(LabelEditor::open(&folder, "p1", "vp", &bert, &Start::Empty).unwrap().is_empty());
    // What anna drew meanwhile is opened all the same: it is corrected here.
    assert!(!open(&folder, "vp", &anna()).is_empty());
    let house = folder.as_in_house().unwrap();
    assert_eq!(Folder::open(dir.path(), None).unwrap().meaning(), house.meaning());
}

/// An expert's liver and a network's organs: what the values mean is said, then they are taken over.
#[test]
fn what_came_with_a_case_is_begun_with_or_taken_over_where_its_values_are_known() {
    let dir = cohort();
    let case = dir.path().join("p1");
    fs::rename(case.join("truth.nii.gz"), case.join("organs.nii.gz")).unwrap();
    let grid = labels_of(&case.join("organs.nii.gz")).unwrap().grid().clone();
    let mut liver = Array3::zeros([3, 6, 6]);
    liver[[1, 2, 2]] = 1;
    liver[[1, 2, 3]] = 1;
    fs::write(case.join("liver.nii.gz"), write_u8(&Volume::new(grid, liver))).unwrap();
    let folder = Folder::open(dir.path(), None).unwrap();
    let mut editor = open(&folder, "vp", &anna());
    let labels = |editor: &LabelEditor, label| {
        editor.labelling().map().voxels().iter().filter(|own| **own == label).count()
    };
    assert_eq!((labels(&editor, 7), labels(&editor, 1)), (2, 0), "a liver is no HCC");
    let saved = editor.edit(&relabel(1), NEW, now()).unwrap();
    let told = history_of(&folder, folder.case("p1").unwrap()).unwrap();
    assert_eq!(told[0].entry.what["from"], "labels:liver");
    // Nobody has said what 1 and 7 of the other file are.
    let take = |at, over| Operation::TakeFrom { whose: "labels:organs".to_owned(), at, over };
    let refused = editor.edit(&take(None, None), &saved.revision, now()).unwrap_err();
    assert_eq!(refused.code(), "unknown_meaning");
    let start = Start::From("labels:organs".parse().unwrap());
    let bert = Reader::new("bert").unwrap();
    let refused = LabelEditor::open(&folder, "p1", "vp", &bert, &start).unwrap_err();
    assert_eq!(refused.code(), "unknown_meaning");
    let who = ["anna", "labels:organs"].map(|who| who.parse::<Who>().unwrap());
    let image = folder.case("p1").unwrap().image("vp").unwrap();
    let compared = compare_labels(&folder, folder.case("p1").unwrap(), image, [&who[0], &who[1]]);
    assert_eq!(compared.unwrap_err().code(), "unknown_meaning");
    let senses = Senses::of(&folder);
    senses.say("organs", &[(7, 11), (1, 2)].into(), Some(&anna()), now()).unwrap();
    assert_eq!(labels(&LabelEditor::open(&folder, "p1", "vp", &bert, &start).unwrap(), 11), 107);
    // One region alone, then the rest where nothing is labelled: her own lesion and liver stay.
    let one = editor.edit(&take(Some([1, 2, 2]), Some(vec![1])), &saved.revision, now()).unwrap();
    assert_eq!(
        (labels(&editor, 2), labels(&editor, 1)),
        (1, 1),
        "of what was HCC one voxel is ICC"
    );
    let all = editor.edit(&take(None, None), &one.revision, now()).unwrap();
    assert_eq!((labels(&editor, 2), labels(&editor, 1), labels(&editor, 11)), (1, 1, 106));
    editor.undo(&all.revision, now()).unwrap();
    assert_eq!(labels(&editor, 11), 0);
}
