//! Golden arrays of nnU-Net's own resampling (tests/data/segment/make_resample.py) and properties.

use ndarray::Array3;

use super::*;

fn source(shape: [usize; 3]) -> Array3<f32> {
    Array3::from_shape_fn(shape, |(z, y, x)| {
        let wave = (0.37 * (z * z) as f64 + 1.3 * y as f64).sin() * 100.0;
        (wave + ((7 * x + 3 * y + 5 * z) % 11) as f64 * 9.0) as f32
    })
}

fn golden(bytes: &[u8], shape: [usize; 3]) -> Array3<f32> {
    let values = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    Array3::from_shape_vec(shape, values.collect()).unwrap()
}

fn largest_difference(a: &Array3<f32>, b: &Array3<f32>) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

type Resize = fn(ArrayView3<'_, f32>, ArrayViewMut3<'_, f32>, Option<usize>);

fn check(
    resize: Resize,
    bytes: &[u8],
    (from, to): ([usize; 3], [usize; 3]),
    separate: Option<usize>,
    tolerance: f32,
) {
    let mut out = Array3::from_elem(to, f32::NAN);
    resize(source(from).view(), out.view_mut(), separate);
    let worst = largest_difference(&out, &golden(bytes, to));
    assert!(worst <= tolerance, "largest difference {worst}");
}

macro_rules! data {
    ($name:literal) => {
        include_bytes!(concat!("../../../../../tests/data/segment/", $name))
    };
}

/// Values reach 190: half a unit in the last place of f32 is 7.6e-6.
const ROUNDING: f32 = 1.6e-5;

#[test]
fn cubic_slices_equal_scikit_image_to_f32_rounding() {
    let bytes = data!("cubic_separate0.f32");
    check(resize_cubic, bytes, ([6, 11, 9], [4, 7, 13]), Some(0), ROUNDING);
    let bytes = data!("cubic_separate1.f32");
    check(resize_cubic, bytes, ([7, 6, 8], [9, 9, 5]), Some(1), ROUNDING);
    let bytes = data!("cubic_separate2.f32");
    check(resize_cubic, bytes, ([7, 6, 8], [5, 9, 12]), Some(2), ROUNDING);
}

#[test]
fn a_cubic_volume_equals_scikit_image_to_two_f32_roundings() {
    let bytes = data!("cubic_volume.f32");
    check(resize_cubic, bytes, ([7, 9, 8], [10, 6, 11]), None, 2.0 * ROUNDING);
}

#[test]
fn linear_equals_scikit_image_to_f32_arithmetic() {
    let bytes = data!("linear_separate0.f32");
    check(resize_linear, bytes, ([6, 11, 9], [9, 7, 13]), Some(0), 4.0 * ROUNDING);
    let bytes = data!("linear_volume.f32");
    check(resize_linear, bytes, ([7, 9, 8], [10, 6, 11]), None, 4.0 * ROUNDING);
}

#[test]
fn nearest_picks_the_samples_that_scipy_picks() {
    let table = include_str!("../../../../../tests/data/segment/nearest.txt");
    for line in table.lines() {
        let numbers: Vec<usize> = line.split(' ').map(|n| n.parse().unwrap()).collect();
        let [from, to, expected @ ..] = numbers.as_slice() else { panic!("{line}") };
        let found: Vec<usize> = (0..*to).map(|k| nearest_index(k, *from, *to)).collect();
        assert_eq!(found, expected, "{from} to {to}");
    }
}

#[test]
fn cubic_stays_inside_the_range_of_its_slice() {
    let mut image = Array3::<f32>::zeros((2, 12, 12));
    image.slice_mut(ndarray::s![1, 4..8, 4..8]).fill(100.0);
    let mut out = Array3::zeros((2, 30, 30));
    resize_cubic(image.view(), out.view_mut(), Some(0));
    assert!(out.index_axis(Axis(0), 0).iter().all(|&v| v == 0.0));
    assert!(out.iter().all(|&v| (0.0..=100.0).contains(&v)));
}

#[test]
fn the_same_shape_is_the_same_volume() {
    let image = source([4, 5, 6]);
    for separate in [None, Some(0)] {
        let mut out = Array3::zeros((4, 5, 6));
        resize_cubic(image.view(), out.view_mut(), separate);
        assert_eq!(out, image);
        resize_linear(image.view(), out.view_mut(), separate);
        assert_eq!(out, image);
    }
}

#[test]
fn a_volume_resized_along_one_axis_keeps_the_others() {
    let image = Array3::from_shape_fn((6, 3, 4), |(z, y, x)| (z + 10 * y + 100 * x) as f32);
    let mut out = Array3::zeros((6, 3, 8));
    resize_cubic(image.view(), out.view_mut(), None);
    // The outermost samples overshoot and are clipped to the range of the volume.
    for ((z, y, x), &value) in out.indexed_iter().filter(|((_, _, x), _)| (2..6).contains(x)) {
        let expected = out[[0, 0, x]] + (z + 10 * y) as f32;
        assert!((value - expected).abs() < 1e-3, "{value} instead of {expected}");
    }
}

#[test]
fn one_sample_fills_its_axis() {
    let image = Array3::from_elem((1, 1, 1), 3.5_f32);
    for resize in [resize_cubic as Resize, resize_linear] {
        for separate in [None, Some(0), Some(2)] {
            let mut out = Array3::zeros((2, 3, 4));
            resize(image.view(), out.view_mut(), separate);
            assert!(out.iter().all(|&v| (v - 3.5).abs() < 1e-6), "{out}");
        }
    }
}

#[test]
fn separate_axis_follows_the_current_spacing_first() {
    let iso = [1.0, 1.0, 1.0];
    assert_eq!(should_separate_z([5.0, 0.8, 0.8], iso), Some(0));
    assert_eq!(should_separate_z(iso, [0.8, 0.8, 5.0]), Some(2));
    assert_eq!(should_separate_z([1.0, 4.0, 1.0], [5.0, 0.8, 0.8]), Some(1));
    assert_eq!(should_separate_z([3.0, 1.0, 1.0], iso), None, "exactly three is not more");
    assert_eq!(should_separate_z([0.24, 1.25, 1.25], iso), None, "two axes tie");
    assert_eq!(should_separate_z([0.24, 1.25, 1.25], [5.0, 1.0, 1.0]), None, "current decides");
}

#[test]
fn shapes_round_half_to_even() {
    assert_eq!(new_shape([5, 7, 41], [0.5; 3], [1.0; 3]), [2, 4, 20]);
    assert_eq!(new_shape([41, 512, 512], [5.0, 0.797, 0.797], [5.0, 1.5, 1.5]), [41, 272, 272]);
}

#[test]
fn labels_resize_by_picking() {
    let labels = Array3::from_shape_fn((2, 2, 2), |(z, y, x)| (z * 4 + y * 2 + x) as u8);
    let mut out = Array3::zeros((4, 4, 4));
    resize_nearest(labels.view(), out.view_mut());
    assert_eq!(out[[0, 0, 0]], 0);
    assert_eq!(out[[3, 1, 2]], 5);
}
