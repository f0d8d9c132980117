//! Voxels, axes and spacing of files as nnU-Net's three readers of NIfTI give them.

use super::*;
use hepalert_voxels::volume::nifti::read::read;

fn check(file: &[u8], golden: &[u8], reader: Reader, spacing_mm: [f64; 3]) {
    let volume = read(file).unwrap();
    let key = StudyKey::new(&"0".repeat(32)).unwrap();
    let study = Study { key, phases: BTreeMap::from([(Phase::Vp, volume)]) };
    let study = AlignedStudy::from_study(study, &[Phase::Vp]).unwrap();
    let mut plan = plan_at(spacing_mm, &[Normalisation::None]);
    plan.network.reader = reader;
    let prepared = prepare(&study, &plan).unwrap();
    assert_eq!(prepared.geometry.study_spacing_mm, spacing_mm, "{reader:?}");
    let golden = super::volume(golden).insert_axis(ndarray::Axis(0));
    assert_eq!(prepared.voxels, golden, "{reader:?}");
}

macro_rules! check_file {
    ($name:literal) => {
        for line in table!("reading.txt").lines() {
            let mut words = line.split_whitespace();
            if words.next() != Some($name) {
                continue;
            }
            let (golden, reader): (&[u8], _) = match words.next() {
                Some("sitk") => (stage!("read_", $name, "_sitk.npy"), Reader::SimpleItk),
                Some("nibabel") => (stage!("read_", $name, "_nibabel.npy"), Reader::Nibabel),
                Some("reorient") => {
                    (stage!("read_", $name, "_reorient.npy"), Reader::NibabelWithReorient)
                }
                other => panic!("{other:?}"),
            };
            let spacing: Vec<f64> = words.map(|word| word.parse().unwrap()).collect();
            check(stage!($name, ".nii.gz"), golden, reader, triple(&spacing, 0));
        }
    };
}

#[test]
fn a_file_with_slope_and_intercept_is_read_by_all_readers() {
    check_file!("scaled");
}

#[test]
fn an_oblique_file_is_read_by_all_readers() {
    check_file!("oblique");
}

#[test]
fn a_coronal_file_is_read_by_all_readers() {
    check_file!("coronal");
    // The readers do not agree on it, so the test above can fail.
    let turned = stage!("read_coronal_reorient.npy");
    assert_ne!(super::volume(turned), super::volume(stage!("read_coronal_sitk.npy")));
}
