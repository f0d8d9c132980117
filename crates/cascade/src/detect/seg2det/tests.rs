//! Tests of the module this belongs to.

use expect_test::{Expect, expect};
use ndarray::{Axis, Slice, arr3};
use proptest::prelude::*;

use super::*;
use hepalert_voxels::image::components::oracle::flood_fill;

/// Slices side by side, rows below one another; `.` is background.
fn drawn(picture: &str) -> LabelMap {
    let rows: Vec<Vec<&[u8]>> = picture
        .split('/')
        .map(|line| line.split_whitespace().map(str::as_bytes).collect())
        .collect();
    let shape = [rows[0].len(), rows.len(), rows[0][0].len()];
    // '.' is just below '0'.
    volume(Array3::from_shape_fn(shape, |(z, y, x)| rows[y][z][x].saturating_sub(b'0')))
}

fn volume(voxels: Array3<u8>) -> LabelMap {
    let grid = Grid::axial(voxels.dim().into(), [5.0, 1.0, 1.0], [0.0; 3]);
    Volume::new(Arc::new(grid), voxels)
}

/// The instance map, drawn the same way, and one line per lesion.
fn check(picture: &str, expected: Expect) {
    let labels = drawn(picture);
    let found = seg2det(&labels, &DetectParams::default());
    let map = instance_map(&found, labels.grid()).unwrap();
    let [depth, height, _] = labels.grid().shape();
    let mut text = String::new();
    for y in 0..height {
        for z in 0..depth {
            let row = map.voxels().slice(s![z, y, ..]);
            text.extend(row.iter().map(|id| {
                char::from_digit(u32::from(*id), 36).filter(|c| *c != '0').unwrap_or('.')
            }));
            text.push(if z + 1 < depth { ' ' } else { '\n' });
        }
    }
    for lesion in &found {
        let Region { lo, hi } = lesion.region;
        text += &format!("{} {} {} {lo:?}..{hi:?}\n", lesion.id, lesion.kind, lesion.voxels);
    }
    expected.assert_eq(&text);
}

#[test]
fn the_arms_of_a_u_are_one_lesion() {
    check(
        "1..1 1..1 1111 / .... .... ....",
        expect![[r#"
            1..1 1..1 1111
            .... .... ....
            1 HCC 8 [0, 0, 0]..[3, 1, 4]
        "#]],
    );
}

#[test]
fn the_arms_of_an_inverted_u_are_one_lesion() {
    check(
        "1111 1..1 1..1 / .... .... ....",
        expect![[r#"
            1111 1..1 1..1
            .... .... ....
            1 HCC 8 [0, 0, 0]..[3, 1, 4]
        "#]],
    );
}

#[test]
fn three_meet_in_one_slice() {
    check(
        "2.2.2 22222 2.... / ..... ..... .....",
        expect![[r#"
            1.1.1 11111 1....
            ..... ..... .....
            1 ICC 9 [0, 0, 0]..[3, 1, 5]
        "#]],
    );
}

#[test]
fn corners_join_within_a_slice_and_not_across() {
    check(
        "1... .... / .1.. .... / .... ..1. / .... ...1",
        expect![[r#"
            1... ....
            .1.. ....
            .... ..2.
            .... ...2
            1 HCC 2 [0, 0, 0]..[1, 2, 2]
            2 HCC 2 [1, 2, 2]..[2, 4, 4]
        "#]],
    );
}

#[test]
fn touching_types_stay_apart() {
    check(
        "1122 2211 / 1122 2211 / .... ....",
        expect![[r#"
            1133 4422
            1133 4422
            .... ....
            1 HCC 4 [0, 0, 0]..[1, 2, 2]
            2 HCC 4 [1, 0, 2]..[2, 2, 4]
            3 ICC 4 [0, 0, 2]..[1, 2, 4]
            4 ICC 4 [1, 0, 0]..[2, 2, 2]
        "#]],
    );
}

#[test]
fn a_missing_slice_is_not_bridged() {
    check(
        "33. ... 33. / 33. ... 33.",
        expect![[r#"
            11. ... 22.
            11. ... 22.
            1 Meta 4 [0, 0, 0]..[1, 2, 2]
            2 Meta 4 [2, 0, 0]..[3, 2, 2]
        "#]],
    );
}

#[test]
fn organs_and_unknown_values_are_background() {
    let labels = volume(arr3(&[[[7u8, 13, 14, 255, 6, 0]]]));
    let found = seg2det(&labels, &DetectParams::default());
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].kind, found[0].region.lo), (Lesion::Cyst, [0, 0, 4]));
}

#[test]
fn four_neighbours_part_what_eight_join() {
    let labels = volume(arr3(&[[[1u8, 0], [0, 1]]]));
    let count = |in_plane| seg2det(&labels, &DetectParams { in_plane }).len();
    assert_eq!((count(InPlane::Eight), count(InPlane::Four)), (1, 2));
}

#[test]
fn a_fragmented_map_is_refused_before_masks_are_made() {
    let specks = Array3::from_shape_fn([1, 9, 9], |(_, y, x)| u8::from(y % 2 == 0 && x % 2 == 0));
    let labels = volume(specks);
    let within = |lesions, box_voxels| {
        seg2det_within(&labels, &DetectParams::default(), &FragmentLimits { lesions, box_voxels })
    };
    assert_eq!(within(25, 25).map(|found| found.len()), Ok(25));
    assert_eq!(within(24, 25), Err(TooFragmented::Lesions { found: 25, most: 24 }));
    assert_eq!(within(25, 24), Err(TooFragmented::Boxes { found: 25, most: 24 }));
}

#[test]
fn a_long_scan_with_little_in_it() {
    let mut voxels = Array3::zeros([1000, 512, 512]);
    voxels.slice_mut(s![100..900, 200..203, 300..304]).fill(3);
    voxels[[999, 511, 511]] = 1;
    let found = seg2det(&volume(voxels), &DetectParams::default());
    let seen: Vec<_> = found.iter().map(|lesion| (lesion.kind, lesion.voxels)).collect();
    assert_eq!(seen, [(Lesion::Hcc, 1), (Lesion::Meta, 800 * 12)]);
}

fn small_map() -> impl Strategy<Value = Array3<u8>> {
    ([1..5usize, 1..8usize, 1..12usize], 1..=8u8).prop_flat_map(|(shape, most)| {
        proptest::collection::vec(prop_oneof![Just(0), 0..=most], shape.iter().product::<usize>())
            .prop_map(move |voxels| Array3::from_shape_vec(shape, voxels).unwrap())
    })
}

/// Type and size of every lesion: what no change of place alters.
fn sizes(voxels: Array3<u8>) -> Vec<(Lesion, usize)> {
    let found = seg2det(&volume(voxels), &DetectParams::default());
    found.iter().map(|lesion| (lesion.kind, lesion.voxels)).collect()
}

fn flipped(voxels: &Array3<u8>, axis: usize) -> Array3<u8> {
    voxels.slice_axis(Axis(axis), Slice::new(0, None, -1)).as_standard_layout().into_owned()
}

proptest! {
    #[test]
    fn lesions_are_the_components_of_flood_fill(voxels in small_map()) {
        let labels = volume(voxels.clone());
        let found = seg2det(&labels, &DetectParams::default());
        let map = instance_map(&found, labels.grid()).unwrap();
        let filled = flood_fill(voxels.view(), 1..=6, InPlane::Eight);
        let mut pairs: Vec<_> = map.voxels().iter().copied().zip(filled.iter().copied()).collect();
        pairs.sort_unstable();
        pairs.dedup();
        // Each lesion is one component and each component one lesion, background included.
        let components = filled.iter().copied().max().unwrap_or(0) as usize;
        prop_assert_eq!(found.len(), components);
        prop_assert!(pairs.iter().all(|(id, part)| (*id == 0) == (*part == 0)));
        prop_assert_eq!(pairs.iter().filter(|(id, _)| *id > 0).count(), components);
    }

    #[test]
    fn a_detection_is_what_it_says(voxels in small_map()) {
        let labels = volume(voxels.clone());
        let found = seg2det(&labels, &DetectParams::default());
        for (lesion, id) in found.iter().zip(1..) {
            prop_assert_eq!(lesion.id, id);
            prop_assert_eq!(lesion.mask.dim(), lesion.region.shape().into());
            prop_assert_eq!(lesion.mask.iter().filter(|inside| **inside).count(), lesion.voxels);
            prop_assert_eq!(lesion.volume_cm3, lesion.voxels as f64 * 0.005);
            for axis in 0..3 {
                let [first, last] = [0, lesion.mask.len_of(Axis(axis)) - 1]
                    .map(|at| lesion.mask.index_axis(Axis(axis), at).iter().any(|inside| *inside));
                prop_assert!(first && last, "the box is tight");
            }
            for ([z, y], columns) in lesion.runs() {
                prop_assert!(columns.into_iter().all(|x| voxels[[z, y, x]] == lesion.kind.label()));
            }
        }
        let order = |lesion: &Detection| (lesion.kind, Reverse(lesion.voxels), lesion.region);
        prop_assert!(found.is_sorted_by_key(order));
        let inside: usize = found.iter().map(|lesion| lesion.voxels).sum();
        prop_assert_eq!(inside, voxels.iter().filter(|v| (1..=6).contains(*v)).count());
    }

    #[test]
    fn flipping_an_axis_moves_lesions_only(voxels in small_map(), axis in 0..3usize) {
        prop_assert_eq!(sizes(flipped(&voxels, axis)), sizes(voxels));
    }

    #[test]
    fn padding_moves_lesions_only(voxels in small_map(), by in [0..3usize, 0..3usize, 0..70usize]) {
        let shape: [usize; 3] = std::array::from_fn(|axis| voxels.shape()[axis] + 2 * by[axis]);
        let mut padded = Array3::zeros(shape);
        let [z, y, x]: [usize; 3] = voxels.dim().into();
        padded
            .slice_mut(s![by[0]..by[0] + z, by[1]..by[1] + y, by[2]..by[2] + x])
            .assign(&voxels);
        prop_assert_eq!(sizes(padded), sizes(voxels));
    }

    #[test]
    fn permuting_labels_permutes_lesions(voxels in small_map(), turn in 1..6u8) {
        let turned = voxels.mapv(|v| if (1..=6).contains(&v) { (v - 1 + turn) % 6 + 1 } else { v });
        let mut expected: Vec<_> = sizes(voxels)
            .into_iter()
            .filter_map(|(kind, n)| {
                Lesion::from_label((kind.label() - 1 + turn) % 6 + 1).map(|kind| (kind, Reverse(n)))
            })
            .collect();
        expected.sort_unstable();
        let found: Vec<_> = sizes(turned).into_iter().map(|(kind, n)| (kind, Reverse(n))).collect();
        prop_assert_eq!(found, expected);
    }

    /// Cutting between two slices parts lesions and never joins them, and only lesions that
    /// cross the cut change.
    #[test]
    fn splitting_at_a_slice_parts_what_crosses_it(voxels in small_map(), at in 1..5usize) {
        let depth = voxels.len_of(Axis(0));
        prop_assume!(at < depth);
        let (low, high) = voxels.view().split_at(Axis(0), at);
        let mut halves = sizes(low.to_owned());
        halves.extend(sizes(high.to_owned()));
        let whole = seg2det(&volume(voxels.clone()), &DetectParams::default());
        prop_assert!(halves.len() >= whole.len());
        let crosses = |lesion: &Detection| lesion.region.lo[0] < at && at < lesion.region.hi[0];
        for lesion in whole.iter().filter(|lesion| !crosses(lesion)) {
            let key = (lesion.kind, lesion.voxels);
            let found = halves.iter().position(|half| *half == key);
            prop_assert!(found.is_some());
            halves.swap_remove(found.unwrap_or(0));
        }
        let total = |lesions: &mut dyn Iterator<Item = usize>| lesions.sum::<usize>();
        prop_assert_eq!(
            total(&mut halves.iter().map(|half| half.1)),
            total(&mut whole.iter().filter(|l| crosses(l)).map(|l| l.voxels))
        );
    }
}

#[test]
fn a_map_of_one_type_is_one_lesion() {
    for shape in [[1, 1, 1], [3, 4, 5], [2, 70, 130]] {
        let found = seg2det(&volume(Array3::from_elem(shape, 6)), &DetectParams::default());
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].region, Region { lo: [0; 3], hi: shape });
    }
    assert!(seg2det(&volume(Array3::zeros([0, 3, 3])), &DetectParams::default()).is_empty());
}

#[test]
fn an_instance_map_has_no_number_for_the_65536th() {
    let labels = volume(Array3::from_elem([1, 1, 1], 1));
    let mut found = seg2det(&labels, &DetectParams::default());
    found[0].id = 65_535;
    assert_eq!(instance_map(&found, labels.grid()).map(|map| map.voxels()[[0, 0, 0]]), Ok(65_535));
    found[0].id += 1;
    assert!(instance_map(&found, labels.grid()).is_err());
}
