//! The MIND-SSC descriptor: what a voxel's surroundings look like, whatever the contrast.
//!
//! Six neighbours at a distance of `step` voxels make twelve pairs that are not opposite. For
//! each pair: the squared difference of the two patches around the neighbours. The twelve
//! numbers, less the smallest and divided by their mean, are quantised to six levels and written
//! as thermometer codes of five bits, so the Hamming distance of two descriptors is the L1
//! distance of their levels. Beyond its border an image goes on with its border voxels: every
//! voxel of every image, however small, has a full descriptor.
//! Refuses spacing and anatomy; what lies outside the scanned volume is marked by the caller.

use ndarray::{Array3, ArrayView3, Axis};
use rayon::prelude::*;

use hepalert_voxels::image::vector::widest;

/// Pairs of neighbours.
const PAIRS: usize = 12;
/// Bits of one pair.
const BITS: u32 = 5;
/// Slices that one task describes, so many rows at a time: what it needs for them stays near the
/// processor. Numbers of their own, so no result depends on threads.
const SLAB: usize = 16;
/// See [`SLAB`].
const ROWS: usize = 32;

/// The descriptor of a voxel that was not scanned: level 2 in every pair, which is about as far
/// from anything as two random places are from each other, and equally far for all shifts.
pub const UNSEEN: u64 = 0b00011_00011_00011_00011_00011_00011_00011_00011_00011_00011_00011_00011;

/// Values below the n-th threshold have bit n: -ln((n + 1.5) / 6).
const THRESHOLDS: [f32; BITS as usize] =
    [1.386_294_4, 0.875_468_7, 0.538_996_5, 0.287_682_07, 0.087_011_38];

/// How far apart neighbours lie where whole images are compared.
pub const COMPARED: usize = 2;

/// How far apart neighbours lie when displacements are searched in steps of `quant` voxels.
pub fn step_of(quant: usize) -> usize {
    (quant / 2 + 1).clamp(1, 3)
}

/// A shift along two axes, and where the two pairs that differ by it begin, `[z, y, x]`.
struct Edge {
    shift: [isize; 3],
    begins: [[isize; 3]; 2],
}

/// Six shifts, two pairs each. For axes p and r: from -p to +r and from -r to +p differ by
/// (+p, +r); from -p to -r and from +r to +p by (+p, -r).
fn edges() -> [Edge; 6] {
    let unit = |axis: usize, sign: isize| {
        let mut v = [0; 3];
        v[axis] = sign;
        v
    };
    let edge = |p: usize, r: usize, sign: isize| {
        let mut shift = unit(p, 1);
        shift[r] = sign;
        Edge { shift, begins: [unit(p, -1), unit(r, -sign)] }
    };
    [edge(0, 1, 1), edge(0, 1, -1), edge(0, 2, 1), edge(0, 2, -1), edge(1, 2, 1), edge(1, 2, -1)]
}

/// The descriptor of every voxel, with neighbours `step` (1 to 3) voxels away.
///
/// # Panics
/// If `step` is not 1, 2 or 3.
pub fn describe(image: ArrayView3<'_, f32>, step: usize) -> Array3<u64> {
    let mut out = Array3::zeros(image.dim());
    if out.is_empty() {
        return out;
    }
    let slabs = out.axis_chunks_iter_mut(Axis(0), SLAB).into_par_iter().enumerate();
    slabs.for_each(|(slab, mut out)| {
        for (strip, mut out) in out.axis_chunks_iter_mut(Axis(1), ROWS).enumerate() {
            let first = [slab * SLAB, strip * ROWS];
            let extent = [out.len_of(Axis(0)), out.len_of(Axis(1))];
            match step {
                1 => Slab::<1>::new(image, first, extent).describe(&mut out),
                2 => Slab::<2>::new(image, first, extent).describe(&mut out),
                3 => Slab::<3>::new(image, first, extent).describe(&mut out),
                _ => panic!("a step of {step} voxels"),
            }
        }
    });
    out
}

/// Some rows of some slices with `3 Q` voxels of border on all sides: `Q` to the neighbour, `Q` for the
/// patch around it, `Q` for the shift to the other neighbour.
struct Slab<const Q: usize> {
    planes: usize,
    rows: usize,
    columns: usize,
    padded: Vec<f32>,
}

impl<const Q: usize> Slab<Q> {
    /// From `first` on, `[z, y]`.
    fn new(image: ArrayView3<'_, f32>, first: [usize; 2], extent: [usize; 2]) -> Slab<Q> {
        let (depth, all_rows, columns) = image.dim();
        let [planes, rows] = extent;
        let (wide, high) = (columns + 6 * Q, rows + 6 * Q);
        let mut padded = vec![0.0; (planes + 6 * Q) * high * wide];
        let inside =
            |at: usize, from: usize, n: usize| (at + from).saturating_sub(3 * Q).min(n - 1);
        for (row, out) in padded.chunks_exact_mut(wide).enumerate() {
            let z = inside(row / high, first[0], depth);
            let source = image.index_axis(Axis(0), z);
            let source = source.index_axis(Axis(0), inside(row % high, first[1], all_rows));
            for (x, value) in source.iter().enumerate() {
                out[3 * Q + x] = *value;
            }
            let (left, right) = (out[3 * Q], out[3 * Q + columns - 1]);
            out[..3 * Q].fill(left);
            out[3 * Q + columns..].fill(right);
        }
        Slab { planes, rows, columns, padded }
    }

    fn describe(&self, out: &mut ndarray::ArrayViewMut3<'_, u64>) {
        let distances: Vec<Vec<f32>> = edges()
            .iter()
            .map(|edge| {
                widest(
                    #[inline(always)]
                    || self.patch_distance(edge.shift),
                )
            })
            .collect();
        let (wide, high) = (self.columns + 2 * Q, self.rows + 2 * Q);
        for z in 0..self.planes {
            for y in 0..self.rows {
                let mut entries: [&[f32]; PAIRS] = [&[]; PAIRS];
                for (l, edge) in edges().iter().enumerate() {
                    for (side, begin) in edge.begins.iter().enumerate() {
                        let at = |axis: usize, i: usize| {
                            (i as isize + (1 + begin[axis]) * Q as isize) as usize
                        };
                        let start = (at(0, z) * high + at(1, y)) * wide + at(2, 0);
                        entries[2 * l + side] = &distances[l][start..start + self.columns];
                    }
                }
                let mut row = out.index_axis_mut(Axis(0), z);
                let mut row = row.index_axis_mut(Axis(0), y);
                if let Some(row) = row.as_slice_mut() {
                    widest(
                        #[inline(always)]
                        || encode(&entries, row),
                    );
                }
            }
        }
    }

    /// Sums of squared differences over patches of `(2 Q + 1)^3`, for all voxels and a border
    /// of `Q` around them.
    #[inline(always)]
    fn patch_distance(&self, shift: [isize; 3]) -> Vec<f32> {
        let (wide, high) = (self.columns + 2 * Q, self.rows + 2 * Q);
        let plane = wide * high;
        let mut boxed = vec![0.0; (self.planes + 4 * Q) * plane];
        let mut lines = vec![0.0; (self.rows + 4 * Q) * wide];
        let mut squares = vec![0.0; self.columns + 4 * Q];
        for (z, out) in boxed.chunks_exact_mut(plane).enumerate() {
            for (y, line) in lines.chunks_exact_mut(wide).enumerate() {
                self.squares(shift, z, y, &mut squares);
                for (x, sum) in line.iter_mut().enumerate() {
                    let mut total = squares[x];
                    for t in 1..=2 * Q {
                        total += squares[x + t];
                    }
                    *sum = total;
                }
            }
            add_up::<Q>(&lines, wide, out);
        }
        let mut sums = vec![0.0; (self.planes + 2 * Q) * plane];
        add_up::<Q>(&boxed, plane, &mut sums);
        sums
    }

    /// One row of squared differences; `z` and `y` count from `2 Q` before the slab.
    #[inline(always)]
    fn squares(&self, shift: [isize; 3], z: usize, y: usize, out: &mut [f32]) {
        let (wide, high) = (self.columns + 6 * Q, self.rows + 6 * Q);
        let start = |shift: [isize; 3]| {
            let at = |axis: usize, i: usize| (i as isize + (1 + shift[axis]) * Q as isize) as usize;
            (at(0, z) * high + at(1, y)) * wide + at(2, 0)
        };
        let here = &self.padded[start([0; 3])..][..out.len()];
        let there = &self.padded[start(shift)..][..out.len()];
        for ((square, a), b) in out.iter_mut().zip(here).zip(there) {
            *square = (b - a) * (b - a);
        }
    }
}

/// Every chunk of `out` is the sum of `2 Q + 1` chunks of `source` in a row, from its own on.
#[inline(always)]
fn add_up<const Q: usize>(source: &[f32], chunk: usize, out: &mut [f32]) {
    for (i, out) in out.chunks_exact_mut(chunk).enumerate() {
        out.copy_from_slice(&source[i * chunk..][..chunk]);
        for t in 1..=2 * Q {
            let more = &source[(i + t) * chunk..][..chunk];
            out.iter_mut().zip(more).for_each(|(sum, v)| *sum += v);
        }
    }
}

/// Voxels that are quantised together.
const LANES: usize = 16;

#[inline(always)]
fn encode(entries: &[&[f32]; PAIRS], out: &mut [u64]) {
    let mut values = [[0.0_f32; LANES]; PAIRS];
    for (chunk, out) in out.chunks_mut(LANES).enumerate() {
        for (value, entry) in values.iter_mut().zip(entries) {
            let entry = &entry[chunk * LANES..][..out.len()];
            match <&[f32; LANES]>::try_from(entry) {
                Ok(full) => *value = *full,
                Err(_) => value[..entry.len()].copy_from_slice(entry),
            }
        }
        let codes = encode_lanes(&values);
        out.copy_from_slice(&codes[..out.len()]);
    }
}

#[inline(always)]
fn encode_lanes(values: &[[f32; LANES]; PAIRS]) -> [u64; LANES] {
    let (mut least, mut sum) = (values[0], values[0]);
    for value in &values[1..] {
        for lane in 0..LANES {
            least[lane] = if value[lane] < least[lane] { value[lane] } else { least[lane] };
            sum[lane] += value[lane];
        }
    }
    let mut limits = [[0.0_f32; LANES]; BITS as usize];
    for (limit, threshold) in limits.iter_mut().zip(THRESHOLDS) {
        for lane in 0..LANES {
            let mean = sum[lane] / PAIRS as f32 - least[lane];
            let noise = if mean > 1e-6 { mean } else { 1e-6 };
            limit[lane] = least[lane] + threshold * noise;
        }
    }
    // Six pairs of five bits fill the halves.
    let mut halves = [[0_u32; LANES]; 2];
    for (pair, value) in values.iter().enumerate() {
        let half = &mut halves[pair / 6];
        for (bit, limit) in limits.iter().enumerate() {
            let weight = 1 << (BITS * (pair as u32 % 6) + bit as u32);
            for lane in 0..LANES {
                half[lane] |= if value[lane] < limit[lane] { weight } else { 0 };
            }
        }
    }
    std::array::from_fn(|lane| u64::from(halves[0][lane]) | u64::from(halves[1][lane]) << 30)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition, voxel by voxel.
    fn slow(image: &Array3<f32>, step: isize, at: [isize; 3]) -> u64 {
        let shape = image.shape();
        let value =
            |p: [isize; 3]| image[[0, 1, 2].map(|a| p[a].clamp(0, shape[a] as isize - 1) as usize)];
        let distance = |from: [isize; 3], shift: [isize; 3]| {
            let mut sum = 0.0_f64;
            for z in -step..=step {
                for y in -step..=step {
                    for x in -step..=step {
                        let p = [0, 1, 2].map(|a| from[a] + [z, y, x][a]);
                        let q = [0, 1, 2].map(|a| p[a] + step * shift[a]);
                        sum += f64::from(value(q) - value(p)).powi(2);
                    }
                }
            }
            sum
        };
        let pairs = edges().into_iter().flat_map(|edge| edge.begins.map(|b| (b, edge.shift)));
        let entries: Vec<f64> = pairs
            .map(|(begin, shift)| distance([0, 1, 2].map(|a| at[a] + step * begin[a]), shift))
            .collect();
        let least = entries.iter().copied().fold(f64::INFINITY, f64::min);
        let mean = entries.iter().map(|d| d - least).sum::<f64>() / 12.0;
        let level = |d: f64| {
            THRESHOLDS.iter().filter(|t| d - least < f64::from(**t) * mean.max(1e-6)).count()
        };
        let code = |d: &f64| (1_u64 << level(*d)) - 1;
        entries.iter().enumerate().map(|(l, d)| code(d) << (5 * l)).sum()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn every_voxel_of_any_image_has_the_descriptor_of_the_definition(
            (shape, step) in ([1..9_usize, 1..9, 1..20], 1..4_usize),
            seed in any::<u64>(),
        ) {
            // Whole numbers: sums are exact in either order.
            let mut state = seed;
            let image = Array3::from_shape_simple_fn(shape, || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                ((state >> 40) % 200) as f32
            });
            let fast = describe(image.view(), step);
            for ((z, y, x), code) in fast.indexed_iter() {
                let expected = slow(&image, step as isize, [z, y, x].map(|i| i as isize));
                // Rounding at a threshold may tip one level of one pair.
                prop_assert!((code ^ expected).count_ones() <= 1, "{:?}", (z, y, x));
            }
        }
    }

    /// More slices and rows than are described at a time.
    #[test]
    fn strips_join_without_a_seam() {
        let value = |(z, y, x): (usize, usize, usize)| ((z * 31 + y * y * 7 + x * 13) % 97) as f32;
        let image = Array3::from_shape_fn((SLAB + 2, ROWS + 3, 3), value);
        let fast = describe(image.view(), 2);
        for ((z, y, x), code) in fast.indexed_iter() {
            let expected = slow(&image, 2, [z, y, x].map(|i| i as isize));
            assert!((code ^ expected).count_ones() <= 1, "{:?}", (z, y, x));
        }
    }

    #[test]
    fn contrast_does_not_change_a_descriptor_and_a_constant_has_one() {
        let image =
            Array3::from_shape_fn((9, 9, 9), |(z, y, x)| ((z * 7 + y * 3 + x * x) % 11) as f32);
        let enhanced = image.mapv(|v| 40.0 - 2.0 * v);
        assert_eq!(describe(image.view(), 2), describe(enhanced.view(), 2));
        let flat = describe(Array3::from_elem((3, 1, 2), 7.0_f32).view(), 3);
        assert!(flat.iter().all(|code| *code == (1 << 60) - 1));
    }
}
