//! What each operation makes of small maps that are drawn here.

use std::sync::Arc;

use expect_test::{Expect, expect};
use hepalert_voxels::image::components::{InPlane, components};
use hepalert_voxels::volume::{Grid, Volume};
use proptest::prelude::*;

use super::*;
use crate::change::Change;
use crate::operation::{Axis, Enclosure, Seed};
use crate::regions::regions;

/// One slice or more, drawn: `.` is 0, digits are labels.
fn drawn(slices: &[&[&str]], spacing_mm: [f64; 3]) -> LabelMap {
    let (depth, height, width) = (slices.len(), slices[0].len(), slices[0][0].len());
    let voxels = Array3::from_shape_fn([depth, height, width], |(z, y, x)| {
        match slices[z][y].as_bytes()[x] {
            b'.' => 0,
            digit => digit - b'0',
        }
    });
    Volume::new(Arc::new(Grid::axial([depth, height, width], spacing_mm, [0.0; 3])), voxels)
}

fn empty(shape: [usize; 3], spacing_mm: [f64; 3]) -> LabelMap {
    Volume::new(Arc::new(Grid::axial(shape, spacing_mm, [0.0; 3])), Array3::zeros(shape))
}

fn shown(map: &LabelMap) -> String {
    let row = |row: ndarray::ArrayView1<u8>| -> String {
        row.iter().map(|label| if *label == 0 { '.' } else { char::from(b'0' + label) }).collect()
    };
    let slices = map
        .voxels()
        .outer_iter()
        .map(|slice| slice.outer_iter().map(|line| row(line) + "\n").collect::<String>());
    slices.collect::<Vec<_>>().join("-\n")
}

fn edited(map: &LabelMap, operation: &Operation, context: Context) -> Result<LabelMap, Refused> {
    let mut made = map.clone();
    let found = stretches(map, operation, context)?;
    Change::make(made.voxels_mut(), &found);
    Ok(made)
}

fn check(map: &LabelMap, operation: &Operation, expected: Expect) {
    expected.assert_eq(&shown(&edited(map, operation, Context::default()).unwrap()));
}

fn code(map: &LabelMap, operation: &Operation) -> &'static str {
    edited(map, operation, Context::default()).unwrap_err().code()
}

#[test]
fn a_region_is_relabelled_and_no_other() {
    let map = drawn(&[&["1..1", "..1.", "1..2"], &["....", "..1.", "1..."]], [5.0, 1.0, 1.0]);
    check(
        &map,
        &Operation::Relabel { at: [1, 1, 2], label: 4 },
        expect![[r#"
        1..4
        ..4.
        1..2
        -
        ....
        ..4.
        1...
    "#]],
    );
}

#[test]
fn a_deleted_region_becomes_what_it_lies_in() {
    let map = drawn(&[&["77777", "71137", "77777", "....."]], [5.0, 1.0, 1.0]);
    check(
        &map,
        &Operation::Delete { at: [0, 1, 1], becomes: None },
        expect![[r#"
        77777
        77737
        77777
        .....
    "#]],
    );
    check(
        &map,
        &Operation::Delete { at: [0, 1, 1], becomes: Some(0) },
        expect![[r#"
        77777
        7..37
        77777
        .....
    "#]],
    );
}

#[test]
fn merged_regions_are_one() {
    let map = drawn(&[&["11......", "11...22.", "......2."]], [5.0, 1.0, 1.0]);
    let merge = Operation::Merge { at: [0, 0, 0], with: [0, 1, 5] };
    check(
        &map,
        &merge,
        expect![[r#"
            111111..
            1111111.
            ..111.1.
        "#]],
    );
    let touching = drawn(&[&["11.", ".22"]], [5.0, 1.0, 1.0]);
    check(
        &touching,
        &Operation::Merge { at: [0, 1, 1], with: [0, 0, 0] },
        expect![[r#"
        22.
        .22
    "#]],
    );
    let mut row = "1".to_owned() + &".".repeat(40) + "1";
    let far = drawn(&[&[&row]], [5.0, 1.0, 1.0]);
    assert_eq!(code(&far, &Operation::Merge { at: [0, 0, 0], with: [0, 0, 41] }), "regions_apart");
    row.truncate(1);
    let same = drawn(&[&[&row]], [5.0, 1.0, 1.0]);
    let none = Operation::Merge { at: [0, 0, 0], with: [0, 0, 0] };
    assert!(stretches(&same, &none, Context::default()).unwrap().is_empty());
}

#[test]
fn a_plane_cuts_and_parts_of_one_label_are_parted() {
    let map = drawn(&[&["7777777", "7111117", "7111117", "7777777"]], [5.0, 1.0, 1.0]);
    let cut = |label| Operation::SplitPlane {
        at: [0, 1, 1],
        point_ras_mm: [3.0, 0.0, 0.0],
        normal: [2.0, 0.0, 0.0],
        label,
    };
    check(
        &map,
        &cut(3),
        expect![[r#"
        7777777
        7111337
        7111337
        7777777
    "#]],
    );
    check(
        &map,
        &cut(1),
        expect![[r#"
        7777777
        7111717
        7111717
        7777777
    "#]],
    );
    let nowhere = |normal| Operation::SplitPlane {
        at: [0, 1, 1],
        point_ras_mm: [3.0, 0.0, 0.0],
        normal,
        label: 2,
    };
    assert_eq!(code(&map, &nowhere([0.0; 3])), "number_out_of_range");
    assert_eq!(code(&map, &nowhere([f64::NAN, 0.0, 1.0])), "number_out_of_range");
}

#[test]
fn seeds_part_two_lesions_where_they_touch() {
    let map = drawn(
        &[&[
            "..111......1..",
            ".11111....111.",
            "1111111..11111",
            "11111111111111",
            "1111111..11111",
            ".11111....111.",
            "..111......1..",
        ]],
        [5.0, 1.0, 1.0],
    );
    let seeds = |label| {
        // Not in the middles: the narrow place decides, not the way from the seeds.
        let seeds = vec![Seed { at: [0, 3, 0], label: 1 }, Seed { at: [0, 3, 11], label }];
        Operation::SplitSeeds { at: [0, 3, 3], seeds }
    };
    check(
        &map,
        &seeds(2),
        expect![[r#"
        ..111......2..
        .11111....222.
        1111111..22222
        11111111222222
        1111111..22222
        .11111....222.
        ..111......2..
    "#]],
    );
    let parted = edited(&map, &seeds(1), Context::default()).unwrap();
    assert_eq!(regions(&parted, 1..=1).regions.len(), 2, "{}", shown(&parted));
    let one =
        Operation::SplitSeeds { at: [0, 3, 3], seeds: vec![Seed { at: [0, 3, 3], label: 2 }] };
    assert_eq!(code(&map, &one), "too_few");
    let outside = vec![Seed { at: [0, 3, 3], label: 2 }, Seed { at: [0, 0, 0], label: 3 }];
    assert_eq!(
        code(&map, &Operation::SplitSeeds { at: [0, 3, 3], seeds: outside }),
        "not_in_region"
    );
}

#[test]
fn strokes_paint_over_what_they_may() {
    let map = drawn(&[&["770", "711"]], [5.0, 1.0, 1.0]);
    let paint = |runs: Vec<[usize; 4]>, over| Operation::Paint { runs, label: 2, over };
    check(
        &map,
        &paint(vec![[0, 0, 0, 3], [0, 1, 1, 1], [0, 0, 1, 1]], None),
        expect![[r#"
        222
        721
    "#]],
    );
    check(
        &map,
        &paint(vec![[0, 0, 0, 3], [0, 1, 0, 3]], Some(vec![7])),
        expect![[r#"
        22.
        211
    "#]],
    );
    for run in [[0, 0, 1, 3], [0, 2, 0, 1], [1, 0, 0, 1], [0, 0, 3, 0], [0, 0, 0, usize::MAX]] {
        assert_eq!(code(&map, &paint(vec![run], None)), "run_outside_image", "{run:?}");
    }
    assert_eq!(code(&map, &paint(vec![[0, 0, 0, 3]; 9], None)), "too_many");
    assert_eq!(code(&map, &paint(vec![[0, 0, 0, 0]; MAX_RUNS + 1], None)), "too_many");
}

#[test]
fn holes_are_filled_and_what_lies_in_them_stays() {
    let map = drawn(
        &[&["11111", "1...1", "1.3.1", "11111"], &["77777", "71117", "71117", "77777"]],
        [5.0, 1.0, 1.0],
    );
    let fill = |within| Operation::Fill { at: [0, 0, 0], within };
    check(
        &map,
        &fill(Enclosure::Slices),
        expect![[r#"
        11111
        11111
        11311
        11111
        -
        77777
        71117
        71117
        77777
    "#]],
    );
    // Open towards the feet.
    check(
        &map,
        &fill(Enclosure::Volume),
        expect![[r#"
        11111
        1...1
        1.3.1
        11111
        -
        77777
        71117
        71117
        77777
    "#]],
    );
}

#[test]
fn a_closed_hole_is_filled_in_three_dimensions() {
    let mut map = empty([5; 3], [5.0, 1.0, 1.0]);
    map.voxels_mut().slice_mut(s![1..4, 1..4, 1..4]).fill(6);
    map.voxels_mut()[[2, 2, 2]] = 0;
    let fill = Operation::Fill { at: [1, 1, 1], within: Enclosure::Volume };
    assert_eq!(edited(&map, &fill, Context::default()).unwrap().voxels()[[2, 2, 2]], 6);
}

#[test]
fn slices_between_contours_are_drawn_by_distance() {
    let empty: [&str; 5] = ["........"; 5];
    let low: [&str; 5] = ["........", "111.....", "111.....", "111.....", "........"];
    let high: [&str; 5] = [".....111", ".....111", ".....111", "........", "........"];
    let map = drawn(&[&low, &empty, &empty, &empty, &high], [5.0, 1.0, 1.0]);
    let at = vec![[4, 1, 6], [0, 2, 1]];
    let made = Operation::Interpolate { at, axis: Axis::Axial, over: None };
    let made = edited(&map, &made, Context::default()).unwrap();
    // A square of nine pixels stays about one while it moves.
    for slice in 1..4 {
        let plane = made.voxels().index_axis(ndarray::Axis(0), slice);
        let area = plane.iter().filter(|label| **label == 1).count();
        assert!((6..=12).contains(&area), "{}", shown(&made));
    }
    assert_eq!(made.voxels()[[2, 1, 3]], 1, "half way: {}", shown(&made));
    assert_eq!(made.voxels()[[2, 1, 6]], 0);
    let other = drawn(
        &[&low, &empty, &["2.......", "........", "", "", ""].map(|_| "2.......")],
        [5.0, 1.0, 1.0],
    );
    let wrong = |at: Vec<[usize; 3]>| Operation::Interpolate { at, axis: Axis::Axial, over: None };
    assert_eq!(code(&other, &wrong(vec![[0, 2, 1], [2, 0, 0]])), "contours_do_not_match");
    assert_eq!(code(&other, &wrong(vec![[0, 2, 1], [0, 1, 1]])), "contours_do_not_match");
    assert_eq!(code(&other, &wrong(vec![[0, 2, 1], [1, 1, 1]])), "no_region");
    assert_eq!(code(&other, &wrong(vec![[0, 2, 1]])), "too_few");
}

/// Cuts of a ball, every fifth slice drawn: what is drawn between lies near the ball.
#[test]
fn a_ball_is_drawn_from_its_cuts_across_every_axis() {
    let inside = |(z, y, x): (usize, usize, usize)| {
        let d = [z, y, x].map(|n| n as f64 - 20.0);
        d.iter().map(|d| d * d).sum::<f64>() <= 225.0
    };
    for axis in [Axis::Axial, Axis::Coronal, Axis::Sagittal] {
        let across = axis.index();
        let grid = Arc::new(Grid::axial([41, 41, 41], [1.0; 3], [0.0; 3]));
        let drawn: Vec<usize> = (7..=33).step_by(3).map(|n| n - 1).chain([33]).collect();
        let voxels = Array3::from_shape_fn([41; 3], |at| {
            let slice = [at.0, at.1, at.2][across];
            u8::from(drawn.contains(&slice) && inside(at))
        });
        let map = Volume::new(grid, voxels);
        let at = drawn.iter().map(|slice| {
            let mut at = [20; 3];
            at[across] = *slice;
            at
        });
        let made = Operation::Interpolate { at: at.collect(), axis, over: None };
        let made = edited(&map, &made, Context::default()).unwrap();
        let (mut both, mut sum) = (0, 0);
        for (at, &label) in made.voxels().indexed_iter() {
            let slice = [at.0, at.1, at.2][across];
            if (6..=33).contains(&slice) {
                both += u32::from(label == 1 && inside(at));
                sum += u32::from(label == 1) + u32::from(inside(at));
            }
        }
        let dice = f64::from(2 * both) / f64::from(sum);
        assert!(dice > 0.985, "{axis:?}: {dice}");
    }
}

fn image(map: &LabelMap, hu: impl Fn([usize; 3]) -> f32) -> Volume<f32> {
    let voxels = Array3::from_shape_fn(map.grid().shape(), |(z, y, x)| hu([z, y, x]));
    Volume::new(Arc::clone(map.grid()), voxels)
}

#[test]
fn a_lesion_grows_over_what_looks_like_it_inside_the_liver() {
    let map = drawn(&[&["777777..", "717777..", "777777..", "777777.."]], [5.0, 1.0, 1.0]);
    // Dark in the first four columns and outside the liver, and again in one far corner.
    let ct = image(
        &map,
        |[_, y, x]| if !(4..=5).contains(&x) || (y, x) == (3, 5) { 40.0 } else { 110.0 },
    );
    let grow =
        |reach_mm, at| Operation::Grow { at, label: 1, hu: [0.0, 80.0], reach_mm, inside: vec![7] };
    let with = Context { image: Some(&ct), other: None };
    let grown = edited(&map, &grow(10.0, [0, 1, 1]), with).unwrap();
    expect![[r#"
        111177..
        111177..
        111177..
        111177..
    "#]]
    .assert_eq(&shown(&grown));
    let near = edited(&map, &grow(1.0, [0, 1, 1]), with).unwrap();
    expect![[r#"
        717777..
        111777..
        717777..
        777777..
    "#]]
    .assert_eq(&shown(&near));
    let seeded = edited(&map, &grow(1.0, [0, 3, 3]), with).unwrap();
    assert_eq!(regions(&seeded, 1..=1).regions.len(), 2, "begins where there is no lesion yet");
    assert_eq!(edited(&map, &grow(5.0, [0, 0, 7]), with).unwrap_err().code(), "not_in_region");
    assert_eq!(code(&map, &grow(5.0, [0, 1, 1])), "no_image");
    for reach_mm in [f64::NAN, f64::INFINITY, -1.0, 1e9] {
        let refused = edited(&map, &grow(reach_mm, [0, 1, 1]), with).unwrap_err();
        assert_eq!(refused.code(), "number_out_of_range");
    }
    let other = drawn(&[&["7"]], [5.0, 1.0, 1.0]);
    let elsewhere = image(&other, |_| 0.0);
    let with = Context { image: Some(&elsewhere), other: None };
    assert_eq!(edited(&map, &grow(5.0, [0, 1, 1]), with).unwrap_err().code(), "no_image");
}

#[test]
fn a_region_is_copied_to_where_it_lies_in_the_patient() {
    let mut from = empty([8; 3], [2.0, 1.0, 1.0]);
    from.voxels_mut().slice_mut(s![2..5, 1..5, 2..6]).fill(3);
    // Half as fine, mirrored, and begun elsewhere.
    let affine = [[-2.0, 0.0, 0.0, 8.5], [0.0, 2.0, 0.0, -1.5], [0.0, 0.0, 2.0, 2.0]];
    let grid = Arc::new(Grid::new([6, 5, 6], [2.0, 2.0, 2.0], affine));
    let to: LabelMap = Volume::new(grid, Array3::zeros([6, 5, 6]));
    let copy = |label, over| Operation::CopyFrom { phase: "ap".into(), at: [2, 1, 2], label, over };
    let with = Context { image: None, other: Some(&from) };
    let made = edited(&to, &copy(None, None), with).unwrap();
    // The definition, voxel by voxel.
    for ((z, y, x), &label) in made.voxels().indexed_iter() {
        let [px, py, pz] = to.grid().ras_mm([z, y, x].map(|n| n as f64));
        let at = [(pz / 2.0).round(), py.round(), px.round()];
        let inside = at.iter().all(|n| (0.0..8.0).contains(n));
        let expected = if inside { from.voxels()[at.map(|n| n as usize)] } else { 0 };
        assert_eq!(label, expected, "{z} {y} {x}");
    }
    assert_eq!(made.voxels().iter().filter(|l| **l == 3).count(), 3 * 2 * 2);
    let kept = edited(&to, &copy(Some(5), Some(vec![7])), with).unwrap();
    assert_eq!(kept.voxels(), to.voxels(), "nothing there may be painted over");
    assert_eq!(code(&to, &copy(None, None)), "no_such_phase");
}

fn map() -> impl Strategy<Value = LabelMap> {
    proptest::collection::vec(0..4u8, 3 * 6 * 8).prop_map(|voxels| {
        let grid = Arc::new(Grid::axial([3, 6, 8], [3.0, 1.0, 1.5], [0.0; 3]));
        Volume::new(grid, Array3::from_shape_vec([3, 6, 8], voxels).unwrap())
    })
}

proptest! {
    /// What holds for any map: parts stay apart, merged regions are one, nothing else changes.
    #[test]
    fn cuts_part_and_merges_join(map in map(), a in 0..144usize, b in 0..144usize) {
        let place = |n: usize| [n / 48, n / 8 % 6, n % 8];
        let (a, b) = (place(a), place(b));
        let (Ok(one), Ok(two)) = (RegionVoxels::at(&map, a), RegionVoxels::at(&map, b)) else { return Ok(()) };
        let merged = edited(&map, &Operation::Merge { at: a, with: b }, Context::default()).unwrap();
        let joined = RegionVoxels::at(&merged, a).unwrap().mask([0; 3], [3, 6, 8]);
        prop_assert!(joined[a] && joined[b], "{}{}", shown(&map), shown(&merged));
        if one == two && a != b {
            let seeds = vec![Seed { at: a, label: one.label }, Seed { at: b, label: one.label }];
            let cut = edited(&map, &Operation::SplitSeeds { at: a, seeds }, Context::default());
            let cut = cut.unwrap();
            let own = one.mask([0; 3], [3, 6, 8]);
            for (at, &label) in cut.voxels().indexed_iter() {
                prop_assert!(own[at] || label == map.voxels()[at], "nothing outside changes");
            }
            let parts = components(cut.voxels().view(), one.label..=one.label, InPlane::Eight);
            prop_assert!(parts.count >= 1);
        }
    }
}

#[test]
fn an_eraser_gives_back_what_lies_around() {
    let map = drawn(&[&["..777..", ".71177.", ".77777.", "...3..."]], [1.0; 3]);
    let runs = vec![[0, 1, 0, 4], [0, 2, 1, 1], [0, 3, 3, 1]];
    check(
        &map,
        &Operation::Paint { runs, label: 0, over: None },
        expect![[r#"
            ..777..
            ..7777.
            ..7777.
            .......
        "#]],
    );
}

#[test]
fn a_cut_leaves_no_dust() {
    // The gap lies where the first slice does; left of it ten voxels hang on nothing.
    let row = |ones: std::ops::Range<usize>| -> String {
        (0..62).map(|x| if ones.contains(&x) { '1' } else { '.' }).collect()
    };
    let mut rows = vec![row(10..21), row(0..61)];
    rows.extend((0..7).map(|_| row(30..61)));
    let slices: Vec<[&str; 1]> = rows.iter().map(|row| [row.as_str()]).collect();
    let slices: Vec<&[&str]> = slices.iter().map(|slice| &slice[..]).collect();
    let map = drawn(&slices, [5.0, 1.0, 1.0]);
    let cut = Operation::SplitPlane {
        at: [0, 0, 12],
        point_ras_mm: map.grid().ras_mm([0.5, 0.0, 12.0]),
        normal: [0.0, 0.0, 1.0],
        label: 1,
    };
    let made = edited(&map, &cut, Context::default()).unwrap();
    assert_eq!(components(made.voxels().view(), 1..=1, InPlane::Eight).count, 2);
    let lost = |map: &LabelMap| map.voxels().iter().filter(|label| **label == 1).count();
    assert_eq!(lost(&map) - lost(&made), 21, "the gap, and the ten");
}
