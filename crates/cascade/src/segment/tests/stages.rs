//! Every step of the first stage against its own golden array, made by nnU-Net's own functions
//! (tests/data/segment/make_stages.py); the sliding window's are in `half_sums`.

use ndarray::{Array3, Array4, ArrayD};

use super::*;

mod chain;
mod deciding;
mod preparing;
mod reading;

/// A file that nnU-Net's side has written.
macro_rules! stage {
    ($($name:tt)+) => {
        include_bytes!(concat!("../../../../../../tests/data/segment/stages/", $($name)+))
    };
}
use stage;

/// A table that nnU-Net's side has written.
macro_rules! table {
    ($name:literal) => {
        include_str!(concat!("../../../../../../tests/data/segment/stages/", $name))
    };
}
use table;

/// Shape and bytes of an `.npy` file of version 1 in C order.
fn npy(bytes: &[u8]) -> (Vec<usize>, &[u8]) {
    assert!(bytes.starts_with(b"\x93NUMPY\x01\x00"));
    let (header, values) =
        bytes[10..].split_at(usize::from(u16::from_le_bytes([bytes[8], bytes[9]])));
    let header = std::str::from_utf8(header).unwrap();
    assert!(header.contains("'fortran_order': False"), "{header}");
    let shape = header.split("'shape': (").nth(1).unwrap().split(')').next().unwrap();
    let sizes = shape.split(',').map(str::trim).filter(|size| !size.is_empty());
    (sizes.map(|size| size.parse().unwrap()).collect(), values)
}

fn floats(bytes: &[u8]) -> ArrayD<f32> {
    let (shape, values) = npy(bytes);
    let (words, _) = values.as_chunks::<4>();
    ArrayD::from_shape_vec(shape, words.iter().map(|word| f32::from_le_bytes(*word)).collect())
        .unwrap()
}

fn volume(bytes: &[u8]) -> Array3<f32> {
    floats(bytes).into_dimensionality().unwrap()
}

fn labels(bytes: &[u8]) -> Array3<u8> {
    let (shape, values) = npy(bytes);
    ArrayD::from_shape_vec(shape, values.to_vec()).unwrap().into_dimensionality().unwrap()
}

/// The numbers of a line.
fn numbers(line: &str) -> Vec<f64> {
    line.split_whitespace().map(|word| word.parse().unwrap()).collect()
}

fn triple<T: Copy>(values: &[T], first: usize) -> [T; 3] {
    [values[first], values[first + 1], values[first + 2]]
}

fn whole(values: &[f64], first: usize) -> [usize; 3] {
    triple(values, first).map(|value| value as usize)
}

/// The sources of both sides.
#[derive(Clone, Copy)]
struct Made {
    modulus: usize,
    scale: f64,
    offset: f64,
}

impl Made {
    const DEFAULT: Made = Made { modulus: 29, scale: 8.0, offset: -100.0 };

    /// `[c, z, y, x]`.
    fn array(self, [c, z, y, x]: [usize; 4]) -> Array4<f32> {
        Array4::from_shape_fn((c, z, y, x), |(c, z, y, x)| {
            let at = (31 * c + 7 * z * z + 3 * y + 5 * x + x * y + z * c) % self.modulus;
            (at as f64 * self.scale + self.offset) as f32
        })
    }

    /// The first channel.
    fn volume(self, [z, y, x]: [usize; 3]) -> Array3<f32> {
        self.array([1, z, y, x]).index_axis_move(ndarray::Axis(0), 0)
    }
}

/// `inner` with zeros around it.
fn padded(inner: &Array4<f32>, before: [usize; 3], after: [usize; 3]) -> Array4<f32> {
    let (c, z, y, x) = inner.dim();
    let size: [usize; 3] = std::array::from_fn(|i| before[i] + [z, y, x][i] + after[i]);
    let mut out = Array4::zeros((c, size[0], size[1], size[2]));
    let [bz, by, bx] = before;
    out.slice_mut(ndarray::s![.., bz..bz + z, by..by + y, bx..bx + x]).assign(inner);
    out
}

/// A study whose phases are the channels.
fn study_of_channels(channels: &Array4<f32>, spacing_mm: [f64; 3]) -> AlignedStudy {
    let (_, z, y, x) = channels.dim();
    let grid = Arc::new(Grid::axial([z, y, x], spacing_mm, [0.0; 3]));
    let wanted = &Phase::ALL[..channels.dim().0];
    let phases = wanted.iter().zip(channels.outer_iter()).map(|(&phase, channel)| {
        (phase, Volume::new(Arc::clone(&grid), channel.as_standard_layout().into_owned()))
    });
    let key = StudyKey::new(&"0".repeat(32)).unwrap();
    AlignedStudy::from_study(Study { key, phases: phases.collect() }, wanted).unwrap()
}

/// As nnU-Net runs: sums in f16, at this spacing.
fn plan_at(spacing_mm: [f64; 3], normalisation: &[Normalisation]) -> Plan {
    let mut plan = plan();
    plan.network.spacing_mm = spacing_mm;
    plan.network.normalisation = normalisation.to_vec();
    plan.network.channels = normalisation.len();
    plan.network.sums = Sums::F16;
    plan
}

const CT: Normalisation = Normalisation::Ct { mean: 40.7, std: 63.1, lower: -85.5, upper: 130.25 };

/// The largest difference, as a share of the largest value.
fn difference<D: ndarray::Dimension>(
    found: &ndarray::Array<f32, D>,
    golden: &ndarray::Array<f32, D>,
) -> f32 {
    assert_eq!(found.shape(), golden.shape());
    let largest = golden.iter().fold(0.0_f32, |largest, v| largest.max(v.abs()));
    let worst = found.iter().zip(golden).fold(0.0_f32, |worst, (a, b)| {
        assert!(a.is_finite() && b.is_finite());
        worst.max((a - b).abs())
    });
    worst / largest.max(f32::MIN_POSITIVE)
}
