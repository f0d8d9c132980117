//! What a plain reader finds in a segmentation.

use dicom_dictionary_std::tags;
use dicom_object::from_reader;
use ndarray::Array3;
use proptest::prelude::*;

use super::*;
use crate::samples::{finding, maker, source};

fn identity() -> Identity {
    Identity::new("1.2.3", "aa", 1, "bb")
}

/// What a plain reader finds: per frame segment and slice, and the bits that are set.
fn unpacked(bytes: &[u8], rows: usize, columns: usize) -> Vec<(u32, u32, Vec<[usize; 2]>)> {
    let file = from_reader(bytes).unwrap();
    let pixels = file.element(tags::PIXEL_DATA).unwrap().to_bytes().unwrap().into_owned();
    let groups = file.element(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE).unwrap();
    let groups = groups.items().unwrap();
    let at = |bit: usize| pixels[bit / 8] >> (bit % 8) & 1 == 1;
    let frame = |(n, group): (usize, &dicom_object::InMemDicomObject)| {
        let content = &group.element(tags::FRAME_CONTENT_SEQUENCE).unwrap().items().unwrap()[0];
        let index = content.element(tags::DIMENSION_INDEX_VALUES).unwrap();
        let index = index.to_multi_int::<u32>().unwrap();
        let all = (0..rows * columns).filter(|pixel| at(n * rows * columns + pixel));
        (index[0], index[1], all.map(|pixel| [pixel / columns, pixel % columns]).collect())
    };
    groups.iter().enumerate().map(frame).collect()
}

#[test]
fn bits_are_packed_across_frames_and_empty_slices_left_out() {
    // 3 x 5 pixels: no frame but the first begins at a whole byte.
    let grid = Grid::axial([4, 3, 5], [5.0, 1.0, 1.0], [0.0; 3]);
    let mut mask = Array3::from_elem((3, 2, 2), false);
    mask[[0, 0, 1]] = true;
    mask[[2, 1, 0]] = true;
    let liver = Array3::from_shape_fn((4, 3, 5), |(z, y, x)| z == 3 && y == 2 && x < 5);
    let source = source(4);
    let findings = [finding(1, [0, 1, 3], &mask)];
    let organs = [(Organ::Liver, liver.view())];
    let content = Content { source: &source, grid: &grid, findings: &findings, organs: &organs };
    let object = write(&content, &maker(), &identity()).unwrap();
    let frames = unpacked(&object.bytes, 3, 5);
    let row: Vec<[usize; 2]> = (0..5).map(|x| [2, x]).collect();
    assert_eq!(frames, [(1, 1, vec![[1, 4]]), (1, 3, vec![[2, 3]]), (2, 4, row)]);
    let again = write(&content, &maker(), &identity()).unwrap();
    assert!(again.bytes == object.bytes, "same input, same bytes");
}

#[test]
fn nothing_found_is_no_object() {
    let grid = Grid::axial([4, 3, 5], [5.0, 1.0, 1.0], [0.0; 3]);
    let source = source(4);
    let liver = Array3::from_elem((4, 3, 5), false);
    let organs = [(Organ::Liver, liver.view())];
    let content = Content { source: &source, grid: &grid, findings: &[], organs: &organs };
    assert!(matches!(write(&content, &maker(), &identity()), Err(WriteError::Empty)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_is_packed_is_read_back(
        rows in 1usize..12,
        columns in 1usize..12,
        set in proptest::collection::vec(any::<bool>(), 3 * 12 * 12),
    ) {
        let grid = Grid::axial([3, rows, columns], [5.0, 1.0, 1.0], [0.0; 3]);
        let on = |(z, y, x)| set[(z * 12 + y) * 12 + x];
        let mut mask = Array3::from_shape_fn((3, rows, columns), on);
        mask[[0, 0, 0]] = true;
        let source = source(3);
        let findings = [finding(1, [0; 3], &mask)];
        let content = Content { source: &source, grid: &grid, findings: &findings, organs: &[] };
        let object = write(&content, &maker(), &identity()).unwrap();
        let mut back = Array3::from_elem((3, rows, columns), false);
        for (_, slice, pixels) in unpacked(&object.bytes, rows, columns) {
            prop_assert!(!pixels.is_empty());
            for [y, x] in pixels {
                back[[slice as usize - 1, y, x]] = true;
            }
        }
        prop_assert_eq!(back, mask);
    }
}

#[test]
fn the_liver_is_called_the_same_in_every_revision() {
    let grid = Grid::axial([4, 3, 5], [5.0, 1.0, 1.0], [0.0; 3]);
    let source = source(4);
    let liver = Array3::from_elem((4, 3, 5), true);
    let organs = [(Organ::Liver, liver.view())];
    let content = Content { source: &source, grid: &grid, findings: &[], organs: &organs };
    for revision in [1, 2] {
        let identity = Identity::new("1.2.3", "aa", revision, "bb");
        let object = write(&content, &maker(), &identity).unwrap();
        let file = from_reader(&object.bytes[..]).unwrap();
        let segment = &file.element(tags::SEGMENT_SEQUENCE).unwrap().items().unwrap()[0];
        let text = |tag| segment.element(tag).unwrap().to_str().unwrap().into_owned();
        let wanted = Tracking::of_organ(Organ::Liver, "1.2.3");
        assert_eq!([text(tags::TRACKING_ID), text(tags::TRACKING_UID)], [wanted.id, wanted.uid]);
    }
}
